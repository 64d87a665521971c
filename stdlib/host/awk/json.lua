--- Edits of one value in a JSON file: see reader.lua. ARG are the steps: "name" in quotes, or [n].
return [==[
function blanks(i,   t) {
  while (i <= N) {
    t = ahead(i)
    if (!match(t, /^[ \t\r\n]+/)) break
    i += RLENGTH
    if (RLENGTH < length(t)) break
  }
  return i
}
function value(i, d, want,   c, t, e) {
  if (d == DEPTH) { want = 1; T0 = i }
  c = ch(i)
  if (c == "{") e = object(i, d, want)
  else if (c == "[") e = array(i, d, want)
  else {
    if (c == "\"") {
      e = string_end(i)
      if (want) CANON = decode(substr(S, i + 1, e - i - 1), i)
      e++
    } else {
      t = ahead(i)
      if (match(t, /^(true|false|null)/)) CANON = substr(t, 1, RLENGTH)
      else if (match(t, /^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?/)) CANON = number(substr(t, 1, RLENGTH))
      else fail(i, i > N ? "it ends too early" : "no JSON value")
      e = i + RLENGTH
      if (ch(e) ~ /[^]},: \t\r\n]/) fail(e, "no JSON value")
    }
    if (d >= 0 && d < DEPTH) { SCALAR = i; AT = d }
  }
  if (d == DEPTH) { T1 = e; FOUND = 1; VALUE = CANON }
  return e
}
function object(i, d, want,   on, open, n, last, sep, k0, k1, v0, key, child, mine, keys, vals, m, e, c) {
  on = d >= 0 && d < DEPTH; open = i; n = last = mine = m = 0; sep = i + 1
  if (on) { KIND[d] = "{"; OPEN[d] = open; COUNT[d] = 0; DEEP = d }
  i = blanks(i + 1)
  if (ch(i) != "}") for (;;) {
    if (ch(i) != "\"") fail(i, i > N ? "it ends too early" : "no name where one must be")
    k0 = i; k1 = string_end(i) + 1; child = -1
    if (on || want) key = decode(substr(S, k0 + 1, k1 - k0 - 2), k0)
    if (on && key == ARG[d + 1]) {
      if (mine) fail(k0, steps(1, d + 1) " stands there twice")
      mine = n + 1; child = d + 1
      if (child == DEPTH) { PREV = last; KEY = k0; NEXT = 0; HOLE = open }
    }
    i = blanks(k1)
    if (ch(i) != ":") fail(i, "no colon behind a name")
    v0 = blanks(i + 1)
    e = value(v0, child, want)
    n++
    if (want) {
      for (c = ++m; c > 1 && keys[c - 1] > key; c--) { keys[c] = keys[c - 1]; vals[c] = vals[c - 1] }
      keys[c] = key; vals[c] = CANON
    }
    if (on) { ENDS[d] = e; SEP[d] = sep; KEY0[d] = k0; KEY1[d] = k1; VAL0[d] = v0; COUNT[d] = n }
    if (HOLE == open && mine && n == mine + 1) NEXT = k0
    last = e; i = blanks(e); c = ch(i)
    if (c == "}") break
    if (c != ",") fail(i, i > N ? "it ends too early" : "no comma between two members")
    sep = i + 1; i = blanks(i + 1)
  }
  if (on) CLOSE[d] = i
  if (mine && HOLE == open) SHUT = i
  if (want) {
    CANON = "{"
    for (c = 1; c <= m; c++) CANON = CANON (c > 1 ? "," : "") keys[c] ":" vals[c]
    CANON = CANON "}"
  }
  return i + 1
}
function array(i, d, want,   on, open, n, e, out, sep, c) {
  on = d >= 0 && d < DEPTH; open = i; n = 0; out = "["; sep = i + 1
  if (on) { KIND[d] = "["; OPEN[d] = open; COUNT[d] = 0; DEEP = d }
  i = blanks(i + 1)
  if (ch(i) != "]") for (;;) {
    e = value(i, on && ARG[d + 1] == "[" n "]" ? d + 1 : -1, want)
    if (want) out = out (n ? "," : "") CANON
    n++
    if (on) { ENDS[d] = e; SEP[d] = sep; KEY0[d] = i; COUNT[d] = n }
    i = blanks(e); c = ch(i)
    if (c == "]") break
    if (c != ",") fail(i, i > N ? "it ends too early" : "no comma between two items")
    sep = i + 1; i = blanks(i + 1)
  }
  if (on) CLOSE[d] = i
  if (want) CANON = out "]"
  return i + 1
}
# A compact value over several lines, as a file that is indented has them.
function lay(v, ind,   out, i, c, n, j) {
  n = length(v); out = ""
  for (i = 1; i <= n; i++) {
    c = substr(v, i, 1)
    if (c == "\"") {
      for (j = i + 1; (c = substr(v, j, 1)) != "\""; j++) if (c == "\\") j++
      out = out substr(v, i, j - i + 1); i = j
    } else if ((c == "{" || c == "[") && index("]}", substr(v, i + 1, 1))) { out = out substr(v, i, 2); i++ }
    else if (c == "{" || c == "[") { ind = ind UNIT; out = out c EOL ind }
    else if (c == "}" || c == "]") { ind = substr(ind, 1, length(ind) - length(UNIT)); out = out EOL ind c }
    else if (c == ",") out = out c EOL ind
    else if (c == ":") out = out ": "
    else out = out c
  }
  return out
}
function splice(from, to, text) { printf "%s%s%s", substr(S, 1, from - 1), text, substr(S, to) }
function insert(   d, i, v, sep, colon, lines) {
  d = DEEP
  if (SCALAR) fail(SCALAR, steps(1, AT) " is a single value, not what could hold " ARG[AT + 1])
  v = PLAIN
  for (i = DEPTH; i > d + 1; i--) {
    if (ARG[i] == "[0]") v = "[" v "]"
    else if (ARG[i] ~ /^\[/) fail(OPEN[d], steps(1, i - 1) " is not there, so " ARG[i] " cannot be its first item")
    else v = "{" ARG[i] ":" v "}"
  }
  if (KIND[d] == "{" && ARG[d + 1] ~ /^\[/) fail(OPEN[d], steps(1, d) " is an object, not a list")
  if (KIND[d] == "[" && ARG[d + 1] !~ /^\[/) fail(OPEN[d], steps(1, d) " is a list, not an object")
  if (KIND[d] == "[" && ARG[d + 1] != "[" COUNT[d] "]")
    fail(OPEN[d], steps(1, d) " has " COUNT[d] " items, so there is no place for " ARG[d + 1])
  if (COUNT[d]) {
    sep = substr(S, SEP[d], KEY0[d] - SEP[d]); lines = index(sep, "\n")
    colon = KIND[d] == "{" ? ARG[d + 1] substr(S, KEY1[d], VAL0[d] - KEY1[d]) : ""
    splice(ENDS[d], ENDS[d], "," sep colon (lines ? lay(v, indent_at(KEY0[d])) : v))
  } else {
    v = KIND[d] == "{" ? "{" ARG[d + 1] ":" v "}" : "[" v "]"
    splice(OPEN[d], CLOSE[d] + 1, MINI ? v : lay(v, indent_at(OPEN[d])))
  }
}
BEGIN {
  request(); FOUND = SCALAR = HOLE = 0; AT = -1; DEEP = 0
  EMPTY = S ~ /^[ \t\r\n]*$/
  if (EMPTY) { if (VERB != "set") exit 3; S = (ARG[1] ~ /^\[/ ? "[]" : "{}") EOL; N = length(S); W = "" }
  TOP = blanks(1); i = value(TOP, 0, 0)
  if (blanks(i) <= N) fail(blanks(i), "something stands behind the value")
  MINI = !EMPTY && S !~ /\n[ \t]*[^ \t\r\n]/
  UNIT = "  "
  if (match(S, /\n[ \t]+[^ \t\r\n]/)) UNIT = substr(S, RSTART + 1, RLENGTH - 2)
  if (VERB == "get") { if (!FOUND) exit 3; print VALUE; exit 0 }
  if (VERB == "set") {
    if (FOUND) splice(T0, T1, MINI ? PLAIN : lay(PLAIN, indent_at(T0)))
    else insert()
  } else if (PREV) splice(PREV, T1, "")
  else if (NEXT) splice(KEY, NEXT, "")
  else splice(HOLE + 1, SHUT, "")
}
]==]
