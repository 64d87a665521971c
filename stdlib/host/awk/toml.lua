--- Edits of one value in a TOML file: see reader.lua. ARG are the steps, each a name in quotes. Paths are such names joined by
-- dots; the path - stands for what lies in a list of tables and can never be meant.
return [==[
function blank(i,   t) {
  t = ahead(i); match(t, /^[ \t]*/)
  return i + RLENGTH
}
function gap(i,   t) { # over blanks, ends of lines and comments
  while (i <= N) {
    t = ahead(i)
    if (match(t, /^[ \t\r\n]+/)) i += RLENGTH
    else if (match(t, /^#[^\n]*/)) { i += RLENGTH; while (i <= N && ch(i) != "\n") i++ }
    else break
  }
  return i
}
function line_end(i) {
  i = blank(i)
  if (ch(i) == "#") while (i <= N && ch(i) != "\n") i++
  if (ch(i) == "\r") i++
  if (i <= N && ch(i) != "\n") fail(i, "something stands behind a value")
  return i <= N ? i + 1 : i
}
function raw_end(i,   t) { # of a text in single quotes
  t = ahead(i)
  if (match(t, /^\047[^\047\n]*\047/)) return i + RLENGTH - 1
  for (t = i + 1; t <= N && ch(t) != "\n"; t++) if (ch(t) == "\047") return t
  fail(i, "a text has no end")
}
function long_end(i, q,   j, c) { # the place behind a text in three quotes; two more may stand before them
  for (j = i + 3; j <= N; j++) {
    c = ch(j)
    if (c == "\\" && q == "\"") { j++; continue }
    if (c != q || substr(ahead(j), 1, 3) != q q q) continue
    j += 3
    if (ch(j) == q) j++
    if (ch(j) == q) j++
    return j
  }
  fail(i, "a text of several lines has no end")
}
function name(i,   j, t) {
  t = ahead(i)
  if (t ~ /^("""|\047\047\047)/) fail(i, "no name where one must be")
  if (substr(t, 1, 1) == "\"") { j = string_end(i); NAME = decode(substr(S, i + 1, j - i - 1), i); return j + 1 }
  if (substr(t, 1, 1) == "\047") { j = raw_end(i); NAME = quoted(substr(S, i + 1, j - i - 1)); return j + 1 }
  if (!match(t, /^[A-Za-z0-9_-]+/)) fail(i, "no name where one must be")
  NAME = "\"" substr(t, 1, RLENGTH) "\""
  return i + RLENGTH
}
function names(i,   j, p) {
  p = ""
  for (;;) {
    i = name(i); p = p (p == "" ? "" : ".") NAME; j = blank(i)
    if (ch(j) != ".") { PATH = p; return i }
    i = blank(j + 1)
  }
}
function under(p, top) { return top == "" || index(p, top ".") == 1 }
# Digits of a base, as a decimal number; a long one stays as it is, and so is no value that is asked for.
function based(t, base,   i, n, d) {
  n = 0
  if (length(t) > 14) return t
  for (i = 3; i <= length(t); i++) {
    d = substr(t, i, 1)
    if (!(d in DIGIT) || DIGIT[d] >= base) return ""
    n = n * base + DIGIT[d]
  }
  return sprintf("%.0f", n)
}
function bare(i,   t, s) { # true, numbers, dates
  t = ahead(i)
  if (!match(t, /^[A-Za-z0-9_+:.-]+/)) fail(i, i > N ? "it ends too early" : "no TOML value")
  t = substr(t, 1, RLENGTH); TYPE = "value"; s = t
  if (t ~ /^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]/) {
    if (length(t) == 10 && ahead(i + 10) ~ /^ [0-9][0-9]:/) {
      match(ahead(i + 11), /^[0-9:.Z+-]+/)
      s = t = t " " substr(ahead(i + 11), 1, RLENGTH)
    }
  } else if (t ~ /^[0-9][0-9]:[0-9][0-9]/) ;
  else if (t ~ /__|_$|^[-+]?_|[^0-9a-fA-F]_[^0-9]|_[.eE]/) fail(i, "no TOML value")
  else {
    gsub(/_/, "", s)
    if (s == "true" || s == "false" || s ~ /^[-+]?(inf|nan)$/) ;
    else if (s ~ /^[-+]?(0|[1-9][0-9]*)$/) { sub(/^\+/, "", s); if (s == "-0") s = "0" }
    else if (s ~ /^0x[0-9a-fA-F]+$/) s = based(tolower(s), 16)
    else if (s ~ /^0o[0-7]+$/) s = based(s, 8)
    else if (s ~ /^0b[01]+$/) s = based(s, 2)
    else if (s ~ /^[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$/) s = float(s)
    else fail(i, "no TOML value")
  }
  CANON = s
  return i + length(t)
}
function value(i, p,   t, c, e, n, out) {
  t = substr(ahead(i), 1, 3); c = substr(t, 1, 1); TYPE = "value"
  if (t == "\"\"\"" || t == "\047\047\047") {
    e = long_end(i, c); t = substr(S, i + 3, e - i - 6); sub(/^\r?\n/, "", t)
    CANON = c == "\"" ? decode(t, i) : quoted(t)
    return e
  }
  if (c == "\"") { e = string_end(i); CANON = decode(substr(S, i + 1, e - i - 1), i); return e + 1 }
  if (c == "\047") { e = raw_end(i); CANON = quoted(substr(S, i + 1, e - i - 1)); return e + 1 }
  if (c == "{") return inline(i, p)
  if (c != "[") return bare(i)
  out = "["; n = 0; i = gap(i + 1)
  while (ch(i) != "]") {
    e = value(i, "-"); out = out (n++ ? "," : "") CANON; i = gap(e); c = ch(i)
    if (c == ",") i = gap(i + 1)
    else if (c != "]") fail(i, i > N ? "it ends too early" : "no comma between two items of a list")
  }
  CANON = out "]"; TYPE = "list"
  return i + 1
}
function inline(i, p,   open, last, k0, v0, q, e, mine, c) {
  open = i; last = mine = 0; i = gap(i + 1)
  while (ch(i) != "}") {
    k0 = i; i = blank(names(i)); q = p "." PATH
    if (ch(i) != "=") fail(i, "no = behind a name")
    v0 = blank(i + 1); e = value(v0, q)
    found(q, k0, v0, e)
    if (q == MEANT) { INLINE = 1; PREV = last; NEXT = 0; HOLE = open; mine = 1 }
    else if (mine == 1) { NEXT = k0; mine = 2 }
    last = e; i = gap(e); c = ch(i)
    if (c == ",") i = gap(i + 1)
    else if (c != "}") fail(i, i > N ? "it ends too early" : "no comma between two members of an inline table")
  }
  if (under(MEANT, p) && length(p) > length(TABLE)) { TABLE = p; TABLE0 = open; TABLE1 = i; TABLE_LAST = last }
  if (mine) SHUT = i
  CANON = substr(S, open, i - open + 1); TYPE = "table"
  return i + 1
}
function found(p, k0, v0, e) {
  if (p == MEANT) {
    if (FOUND) fail(k0, steps(1, DEPTH) " stands there twice")
    FOUND = 1; KEY = k0; T0 = v0; T1 = e; VALUE = CANON; FOUND_TYPE = TYPE
  } else if (under(MEANT, p) && TYPE != "table") { CLASH = k0; CLASH_WHAT = TYPE == "list" ? "a list" : "a single value" }
  else if (under(p, MEANT) && !WHOLE) WHOLE = k0
}
function header(i,   h, many, p, a) {
  h = i; many = substr(ahead(i), 1, 2) == "[["
  i = blank(names(blank(i + 1 + many))); p = PATH
  if (substr(ahead(i), 1, 1 + many) != (many ? "]]" : "]")) fail(i, "the name of a table has no end")
  i = line_end(i + 1 + many)
  if (!FRONT) FRONT = h
  CURRENT = p; INDENT = indent_at(h); EMPTY = 1
  for (a in LISTS) if (p == a || under(p, a)) CURRENT = "-"
  if (many) {
    LISTS[p] = 1; CURRENT = "-"
    if (p == MEANT) WHOLE = h
    if (under(MEANT, p)) { CLASH = h; CLASH_WHAT = "a list of tables" }
  }
  if (CURRENT != "-" && !WHOLE && (p == MEANT || under(p, MEANT))) WHOLE = h
  if (CURRENT == PARENT) {
    if (HAVE) fail(h, "the table " steps(1, DEPTH - 1) " stands there twice")
    HAVE = i; HAVE_INDENT = INDENT; HAVE_EMPTY = 1
  }
  return i
}
function entry(i,   k0, v0, p, e, ind) {
  k0 = i; i = blank(names(i)); p = CURRENT == "" ? PATH : CURRENT "." PATH
  if (ch(i) != "=") fail(i, "no = behind a name")
  v0 = blank(i + 1); e = value(v0, p); i = line_end(e)
  found(p, k0, v0, e); ind = indent_at(k0)
  if (p == MEANT) { LINE0 = k0 - length(ind); LINE1 = i }
  if (EMPTY && CURRENT != "" && DEEPER == "-" && substr(ind, 1, length(INDENT)) == INDENT)
    DEEPER = substr(ind, length(INDENT) + 1)
  EMPTY = 0
  if (CURRENT == PARENT) { HAVE = i; HAVE_INDENT = ind; HAVE_EMPTY = 0 }
  else if (under(PARENT, CURRENT) && under(p, PARENT)) { DOTTED = i; DOTTED_INDENT = ind; DOTTED_IN = CURRENT }
  return i
}
function join(n,   i, p) {
  p = ""
  for (i = 1; i <= n; i++) p = p (i > 1 ? "." : "") ARG[i]
  return p
}
# The steps behind the first n as they are written.
function written(n, to,   i, s, p) {
  s = ""
  for (i = n + 1; i <= to; i++) {
    p = ARG[i]
    if (p ~ /^"[A-Za-z0-9_-]+"$/) p = substr(p, 2, length(p) - 2)
    s = s (s == "" ? "" : ".") p
  }
  return s
}
function depth_of(p,   n) { for (n = 0; n <= DEPTH; n++) if (join(n) == p) return n }
function splice(from, to, text) { printf "%s%s%s", substr(S, 1, from - 1), text, substr(S, to) }
function add(at, text) { splice(at, at, (at > 1 && substr(S, at - 1, 1) != "\n" ? EOL : "") text EOL) }
function insert(   n, line, part) {
  if (CLASH) fail(CLASH, "what " steps(1, DEPTH) " lies in is " CLASH_WHAT)
  if (TABLE != "") {
    line = written(depth_of(TABLE), DEPTH) " = " LITERAL
    if (TABLE_LAST) splice(TABLE_LAST, TABLE_LAST, ", " line)
    else splice(TABLE0 + 1, TABLE1, " " line " ")
    return
  }
  line = written(DEPTH - 1, DEPTH) " = " LITERAL
  if (HAVE) return add(HAVE, HAVE_INDENT (HAVE_EMPTY && DEEPER != "-" ? DEEPER : "") line)
  if (DOTTED) return add(DOTTED, DOTTED_INDENT written(depth_of(DOTTED_IN), DEPTH) " = " LITERAL)
  if (PARENT == "") {
    # In front of the first table and the comments that stick to it.
    if (!FRONT) return add(N + 1, line)
    n = split(substr(S, 1, FRONT - 1), part, "\n")
    for (FRONT -= length(part[n]); n > 1 && part[n - 1] ~ /^[ \t]*#/; n--) FRONT -= length(part[n - 1]) + 1
    return splice(FRONT, FRONT, line EOL EOL)
  }
  add(N + 1, (N ? EOL : "") "[" written(0, DEPTH - 1) "]" EOL line)
}
BEGIN {
  request(); TABS = FOLD = 1; WIDE["U"] = 8; WIDE["x"] = 2; ESC["e"] = 27; delete ESC["/"]
  MEANT = join(DEPTH); PARENT = join(DEPTH - 1)
  FOUND = CLASH = WHOLE = HAVE = DOTTED = FRONT = INLINE = PREV = NEXT = EMPTY = 0
  CURRENT = TABLE = INDENT = ""; DEEPER = "-"
  for (AT = gap(1); AT <= N; AT = gap(AT)) AT = ch(AT) == "[" ? header(AT) : entry(AT)
  if (VERB == "get") {
    if (FOUND) print VALUE; else if (WHOLE) print "[table]"; else exit 3
    exit 0
  }
  if (WHOLE && !FOUND) fail(WHOLE, steps(1, DEPTH) " is a table, not a single value")
  if (VERB == "set") {
    if (!FOUND) insert()
    else if (FOUND_TYPE == "table") fail(T0, steps(1, DEPTH) " is an inline table, not a single value")
    else splice(T0, T1, LITERAL)
  } else if (!INLINE) splice(LINE0, LINE1, "")
  else if (PREV) splice(PREV, T1, "")
  else if (NEXT) splice(KEY, NEXT, "")
  else splice(HOLE + 1, SHUT, "")
}
]==]
