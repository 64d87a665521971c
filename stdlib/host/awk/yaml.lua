--- Edits of one scalar in a YAML file, where it lies in block mappings and lists: see reader.lua. ARG are the steps: "name" in
-- quotes, or [n]. What is not understood is refused; flow collections, block scalars and the like are stepped over.
-- Lines count from 1, columns from 0; c is the column of what holds a node, d how many steps have led to it, or -1.
return [==[
function spaces(i) { match(X[i], /^ */); return RLENGTH }
function empty(i) { return X[i] ~ /^[ \t]*$/ }
function following(i) { # the next line with content
  while (i <= LAST && X[i] ~ /^[ \t]*(#.*)?$/) i++
  if (i <= LAST && X[i] ~ /^ *\t/) die(i, "a tab indents this line")
  return i
}
function at(i, p) { return substr(X[i], p + 1) }
function dash(i, p) { return at(i, p) ~ /^-([ \t]|$)/ }
function props_of(d,   k) {
  for (k = 0; k <= d; k++)
    if (PROPS[k] ~ /&/) die(PROPLINE[k], steps(1, k) " has an anchor: what else refers to it would change too")
  if (PROPS[d] != "") die(PROPLINE[d], steps(1, d) " has a tag")
}
# Whether a key of a mapping stands there: KEY is its canonical text, KEY_END the column behind its colon.
function key(i, p,   t, len) {
  t = at(i, p)
  if (t ~ /^[?]([ \t]|$)/) die(i, "a key in a form that cannot be edited safely")
  if (match(t, /^"([^"\\]|\\.)*"/) || match(t, /^\047([^\047]|\047\047)*\047/)) {
    len = RLENGTH
    if (substr(t, len + 1) !~ /^[ \t]*:([ \t]|$)/) return 0
    KEY = substr(t, 2, len - 2)
    if (substr(t, 1, 1) == "\"") KEY = decode(KEY, -i); else { gsub(/\047\047/, "\047", KEY); KEY = quoted(KEY) }
    match(substr(t, len + 1), /^[ \t]*:/); KEY_END = p + len + RLENGTH
    return 1
  }
  if (t ~ /^[]"\047[{|>@`%,}]/ || dash(i, p) || !match(t, /:([ \t]|$)/)) return 0
  len = RSTART
  if (match(t, /[ \t]#/) && RSTART < len) return 0
  if (t ~ /^[&*!]/) die(i, "a key in a form that cannot be edited safely")
  KEY = substr(t, 1, len - 1); sub(/[ \t]+$/, "", KEY); KEY = quoted(KEY); KEY_END = p + len
  return 1
}
function leaf(d, kind, i, p, ei, ep, c) {
  if (d < 0) return
  KIND = kind; I0 = i; P0 = p; I1 = ei; P1 = ep; HOLDER = c
  if (d == DEPTH) FOUND = 1; else STOPPED = d
}
function value(i, p, c, d, item,   k, t, start, pr) {
  match(at(i, p), /^[ \t]*/); start = p; p += RLENGTH; t = at(i, p); pr = ""
  while (t ~ /^[&!]/) {
    match(t, /^[^ \t]+/); pr = pr substr(t, 1, RLENGTH); start = p + RLENGTH; p = start
    match(at(i, p), /^[ \t]*/); p += RLENGTH; t = at(i, p)
  }
  if (pr != "" && d >= 0) { PROPS[d] = pr; PROPLINE[d] = i }
  if (t == "" || t ~ /^#/) {
    k = following(i + 1)
    if (k <= LAST && (spaces(k) > c || (!item && spaces(k) == c && dash(k, c)))) {
      if (d >= 0) { HOLD_LINE[d] = i; HOLD_AT[d] = start }
      return node(k, spaces(k), c, d)
    }
    leaf(d, "null", i, start, i, start, c)
    return i
  }
  if (item && pr == "") return node(i, p, c, d)
  if (item && key(i, p)) die(i, "a mapping in a form that cannot be edited safely")
  if (dash(i, p)) die(i, "a list inside a line")
  return scalar(i, p, c, d)
}
function node(i, p, c, d) {
  if (dash(i, p)) return sequence(i, p, d)
  if (key(i, p)) return mapping(i, p, d)
  return scalar(i, p, c, d)
}
function mapping(i, p, d,   on, seen, sub_d, last) {
  on = d >= 0 && d < DEPTH; seen = 0
  if (on) { TYPE[d] = "mapping"; COLUMN[d] = p; COUNT[d] = 0; DEEP = d }
  if (d == DEPTH) { FOUND = 1; KIND = "mapping"; I0 = i }
  for (;;) {
    if (!key(i, p)) die(i, "no key of a mapping")
    sub_d = -1
    if (on && KEY == ARG[d + 1]) {
      if (seen++) die(i, steps(1, d + 1) " stands there twice")
      sub_d = d + 1; LINE[sub_d] = i; LINE_AT[sub_d] = p
    }
    last = value(i, KEY_END, p, sub_d, 0)
    if (sub_d >= 0) LINE_LAST[sub_d] = last
    if (on) { COUNT[d]++; ENDS[d] = last }
    i = following(last + 1)
    if (i > LAST || spaces(i) < p) return last
    if (spaces(i) > p) die(i, "this line is indented otherwise than those before it")
  }
}
function sequence(i, p, d,   on, last, n) {
  on = d >= 0 && d < DEPTH; n = 0
  if (on) { TYPE[d] = "list"; COLUMN[d] = p; DEEP = d }
  if (d == DEPTH) { FOUND = 1; KIND = "list"; I0 = i }
  for (;;) {
    last = value(i, p + 1, p, on && ARG[d + 1] == "[" n "]" ? d + 1 : -1, 1)
    n++
    if (on) { COUNT[d] = n; ENDS[d] = last }
    i = following(last + 1)
    if (i > LAST || spaces(i) < p || (spaces(i) == p && !dash(i, p))) return last
    if (spaces(i) > p) die(i, "this line is indented otherwise than those before it")
  }
}
# Where the text in quotes ends that begins there: END_LINE, and END_AT, behind the quote.
function close_quote(i, p, q,   t, c) {
  t = at(i, p + 1); p++
  for (;;) {
    if (!match(t, q == "\"" ? "[\"\\\\]" : "\047")) {
      if (++i > LAST) die(i - 1, "a text in quotes has no end")
      t = X[i]; p = 0; continue
    }
    c = substr(t, RSTART, 1)
    if (c == q && !(q == "\047" && substr(t, RSTART + 1, 1) == q)) { END_LINE = i; END_AT = p + RSTART; return }
    p += RSTART + 1; t = substr(t, RSTART + 2)
  }
}
function close_flow(i, p,   open, c, before, from) {
  open = 0; before = ","; from = i
  for (;;) {
    c = substr(X[i], p + 1, 1)
    if (c == "" || (c == "#" && (p == 0 || substr(X[i], p, 1) ~ /[ \t]/))) {
      if (++i > LAST) die(from, "a collection in brackets has no end")
      p = 0; continue
    }
    if ((c == "\"" || c == "\047") && index("[{,:", before)) {
      close_quote(i, p, c); i = END_LINE; p = END_AT; before = c
      continue
    }
    if (c == "[" || c == "{") open++
    if ((c == "]" || c == "}") && --open == 0) { END_LINE = i; END_AT = p + 1; return }
    if (c !~ /[ \t]/) before = c
    p++
  }
}
function nothing_behind(i, p) {
  if (at(i, p) !~ /^[ \t]*$/ && at(i, p) !~ /^[ \t]+#/) die(i, "something stands behind a value")
}
function block(i, p, c, d,   k, e, t) {
  t = at(i, p); e = i
  if (t !~ /^[|>][-+0-9]*([ \t]+#.*)?[ \t]*$/) die(i, "something stands behind a value")
  for (k = i + 1; k <= LAST; k++) {
    if (X[k] ~ /^ *$/) { if (t ~ /^[|>][0-9]*[+]/) e = k; continue }
    if (spaces(k) <= c) break
    e = k
  }
  leaf(d, "block", i, p, e, length(X[e]), c)
  return e
}
function scalar(i, p, c, d,   t, e, k, ends, noted) {
  t = at(i, p)
  if (t ~ /^[|>]/) return block(i, p, c, d)
  if (t ~ /^["\047[{]/) {
    if (t ~ /^["\047]/) close_quote(i, p, substr(t, 1, 1)); else close_flow(i, p)
    nothing_behind(END_LINE, END_AT)
    leaf(d, t ~ /^["\047]/ ? (END_LINE == i ? "quoted" : "long") : "flow", i, p, END_LINE, END_AT, c)
    return END_LINE
  }
  if (t ~ /^[]&!@`%,}?]/ && t !~ /^[?][^ \t]/) die(i, "a value in a form that cannot be edited safely")
  if (match(t, /[ \t]+#/)) { noted = 1; t = substr(t, 1, RSTART - 1) } else noted = 0
  sub(/[ \t]+$/, "", t)
  if (t ~ /:([ \t]|$)/) die(i, "a mapping inside a line")
  e = i; ends = p + length(t)
  for (k = i + 1; k <= LAST; k++) {
    if (empty(k)) continue
    if (spaces(k) <= c || X[k] ~ /^[ \t]*#/) break
    if (noted || X[k] ~ /:([ \t]|$)/) die(k, "this line is indented otherwise than those before it")
    e = k
  }
  leaf(d, e > i ? "long" : t ~ /^[*]/ ? "alias" : "plain", i, p, e, e > i ? length(X[e]) : ends, c)
  return e
}
# The canonical form of a plain scalar. One that readers of YAML do not agree about stays as it is, and equals nothing.
function resolved(t) {
  if (t ~ /^(~|null|Null|NULL)$/) return "null"
  if (t ~ /^([tT]rue|TRUE)$/) return "true"
  if (t ~ /^([fF]alse|FALSE)$/) return "false"
  if (t ~ /^-?(0|[1-9][0-9]*)$/) return t == "-0" ? "0" : t
  if (t ~ /^-?(0|[1-9][0-9]*)\.[0-9]+([eE][-+][0-9]+)?$/) return float(t)
  if (t ~ /^[0-9]+\.[0-9]+(\.[0-9]+)+$/) return quoted(t)
  if (t ~ /^[-+.]?[0-9][0-9a-fA-FoxX_,.:eE+-]*$/ || tolower(t) ~ /^([-+]?\.(inf|nan)|yes|no|on|off|y|n|=|<<)$/) return t
  if (t ~ /^[0-9][0-9][0-9][0-9]-/) return t
  return quoted(t)
}
function raw(   i, s) {
  if (I0 == I1) return substr(X[I0], P0 + 1, P1 - P0)
  s = at(I0, P0)
  for (i = I0 + 1; i < I1; i++) s = s "\n" X[i]
  return s "\n" substr(X[I1], 1, P1)
}
function block_text(   i, ind, s, out, more) {
  for (i = I0 + 1; i <= I1 && empty(i); i++) ;
  ind = i <= I1 ? spaces(i) : 0; out = ""; more = ""
  for (i = I0 + 1; i <= I1; i++) {
    s = substr(X[i], ind + 1)
    if (s == "") more = more "\n"; else { out = out more s; more = "\n" }
  }
  return quoted(out (at(I0, P0) ~ /^[|]-/ ? "" : at(I0, P0) ~ /^[|][+]/ ? more : out == "" ? "" : "\n"))
}
function canonical(   t) {
  if (KIND == "mapping" || KIND == "list") return "[" KIND "]"
  if (PROPS[DEPTH] ~ /!/) return PROPS[DEPTH] " " raw()
  if (KIND == "null") return "null"
  t = raw()
  if (KIND == "plain") return resolved(t)
  if (KIND == "quoted" && t ~ /^"/) return decode(substr(t, 2, length(t) - 2), -I0)
  if (KIND == "quoted") { t = substr(t, 2, length(t) - 2); gsub(/\047\047/, "\047", t); return quoted(t) }
  if (KIND == "block" && t ~ /^[|][-+]?[ \t]*(#[^\n]*)?\n/) return block_text()
  return t
}
function write_key(k) {
  if (k !~ "^\"[A-Za-z_][A-Za-z0-9_./-]*\"$" || tolower(k) ~ /^"(true|false|null|yes|no|on|off|y|n)"$/) return k
  return substr(k, 2, length(k) - 2)
}
function pad(n,   s) { s = ""; while (n-- > 0) s = s " "; return s }
# What is not there yet from step k on, to stand at a column; an item of a list that is there may have any number.
function build(k, col, there) {
  if (ARG[k] ~ /^\[/) {
    if (ARG[k] != "[0]" && !there) die(0, steps(1, k - 1) " is not there, so " ARG[k] " cannot be its first item")
    return "- " (k == DEPTH ? LITERAL : build(k + 1, col + 2, 0))
  }
  if (k == DEPTH) return write_key(ARG[k]) ": " LITERAL
  return write_key(ARG[k]) ":" EOL pad(col + 2) build(k + 1, col + 2, 0)
}
function add_after(i, text) {
  if (i == n && !ENDED) { L[i] = L[i] CR; ENDED = 1 }
  AFTER[i] = text CR
}
function insert(   d, col, text) {
  d = DEEP
  if (STOPPED >= 0) {
    d = STOPPED; props_of(d)
    if (KIND == "flow" && raw() == (ARG[d + 1] ~ /^\[/ ? "[]" : "{}")) {
      text = substr(L[I0], 1, P0); sub(/[ \t]+$/, "", text)
      L[I0] = text substr(L[I0], P1 + 1)
      if (d == 0) { L[I0] = build(1, 0, 0) L[I0]; return }
    } else if (KIND != "null") stopped_at()
    col = HOLDER + 2
    return add_after(I0, pad(col) build(d + 1, col, 0))
  }
  if (!(0 in TYPE)) return add_after(LAST, build(1, 0, 0))
  props_of(d)
  if (TYPE[d] == "mapping" && ARG[d + 1] ~ /^\[/) die(ENDS[d], steps(1, d) " is a mapping, not a list")
  if (TYPE[d] == "list" && ARG[d + 1] !~ /^\[/) die(ENDS[d], steps(1, d) " is a list, not a mapping")
  if (TYPE[d] == "list" && ARG[d + 1] != "[" COUNT[d] "]")
    die(ENDS[d], steps(1, d) " has " COUNT[d] " items, so there is no place for " ARG[d + 1])
  add_after(ENDS[d], pad(COLUMN[d]) build(d + 1, COLUMN[d], 1))
}
# Whether the way ends at what may hold the rest of it.
function opaque() { return STOPPED >= 0 && (KIND == "alias" || (KIND == "flow" && raw() !~ /^(\{ *\}|\[ *\])$/)) }
function stopped_at(   what) {
  what = KIND == "flow" ? "a collection in brackets" : KIND == "alias" ? "a reference to an anchor" : "a single value"
  die(I0, steps(1, STOPPED) " is " what)
}
function replace(   i) {
  props_of(DEPTH)
  if (KIND == "flow") die(I0, steps(1, DEPTH) " is a collection in brackets, not a single value")
  if (KIND == "mapping" || KIND == "list") die(I0, steps(1, DEPTH) " is a " KIND ", not a single value")
  if (KIND == "quoted" && PLAIN ~ /^"/) LITERAL = PLAIN
  if (KIND == "null") { L[I0] = substr(L[I0], 1, P0) " " LITERAL substr(L[I0], P0 + 1); return }
  L[I0] = substr(L[I0], 1, P0) LITERAL substr(L[I1], P1 + 1)
  for (i = I0 + 1; i <= I1; i++) GONE[i] = 1
}
function remove(   i, d) {
  d = DEPTH
  if (!FOUND) stopped_at()
  props_of(d)
  if (substr(X[LINE[d]], 1, LINE_AT[d]) ~ /[^ ]/) die(LINE[d], steps(1, d) " shares its line with the dash of a list")
  for (i = LINE[d]; i <= LINE_LAST[d]; i++) {
    if (X[i] ~ /(^|[ \t])&[^ \t&]/) die(i, "what would go has an anchor that others may refer to")
    GONE[i] = 1
  }
  if (COUNT[d - 1] == 1 && d > 1) {
    i = HOLD_LINE[d - 1]
    L[i] = substr(L[i], 1, HOLD_AT[d - 1]) " {}" substr(L[i], HOLD_AT[d - 1] + 1)
  }
}
function document(   i, first) {
  first = 1
  for (i = 1; i <= n && X[i] ~ /^[ \t]*(#.*)?$/; i++) ;
  if (X[i] ~ /^%/) die(i, "a directive")
  if (i <= n && X[i] ~ /^---([ \t]|$)/) {
    if (X[i] !~ /^---[ \t]*(#.*)?$/) die(i, "content behind ---")
    first = i + 1
  }
  LAST = n
  for (i = first; i <= n; i++) if (X[i] ~ /^(---|\.\.\.)([ \t]|$)/) { LAST = i - 1; break }
  for (; i <= n; i++)
    if (i > LAST && X[i] !~ /^\.\.\.[ \t]*$/ && X[i] !~ /^[ \t]*(#.*)?$/) die(i, "there is more than one document")
  return first
}
BEGIN {
  request()
  ESC["0"] = 0; ESC["a"] = 7; ESC["v"] = 11; ESC["e"] = 27; ESC[" "] = 32
  ESC["N"] = 133; ESC["_"] = 160; ESC["L"] = 8232; ESC["P"] = 8233
  WIDE["x"] = 2; WIDE["U"] = 8
  CR = EOL == "\r\n" ? "\r" : ""
  n = split(S, L, "\n"); ENDED = n == 0 || L[n] == ""
  if (n && ENDED) n--
  for (i = 1; i <= n; i++) { X[i] = L[i]; sub(/\r$/, "", X[i]) }
  FOUND = DEEP = 0; STOPPED = -1; KIND = ""
  i = following(document())
  if (i <= LAST) {
    i = following(node(i, spaces(i), -1, 0) + 1)
    if (i <= LAST) die(i, "this line is indented otherwise than those before it")
  }
  if (VERB == "get") {
    if (!FOUND && !opaque()) exit 3
    print (FOUND ? canonical() : "[a part of " raw() "]")
    exit 0
  }
  if (VERB == "set") { if (FOUND) replace(); else insert() } else remove()
  if (0 in AFTER) printf "%s\n", AFTER[0]
  for (i = 1; i <= n; i++) {
    if (!(i in GONE)) printf "%s%s", L[i], (i < n || ENDED ? "\n" : "")
    if (i in AFTER) printf "%s\n", AFTER[i]
  }
}
]==]
