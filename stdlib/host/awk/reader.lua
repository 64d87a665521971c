--- What every awk program that edits a file starts with: the request, the file, and texts in one canonical form, JSON's.
-- The input is a verb, a count, as many arguments, one a line, then the file and an x, which keeps its last newline apart
-- from none. Works in mawk, gawk, busybox's awk and the one true awk; no quote ' may stand in it.
return [==[
function die(line, why) { print "line " line ": " why >"/dev/stderr"; exit 2 }
function request(   i, l, b) {
  getline VERB; getline ARGS
  for (i = 1; i <= ARGS; i++) getline ARG[i]
  DEPTH = VERB == "set" ? ARGS - 2 : ARGS
  PLAIN = ARG[DEPTH + 1]; LITERAL = ARG[DEPTH + 2]
  S = b = ""; i = 0
  while ((getline l) > 0) { b = b (i++ ? "\n" : "") l; if (length(b) > 8192) { S = S b; b = "" } }
  S = S b; S = substr(S, 1, length(S) - 1); N = length(S); W0 = 1; W = ""
  if (substr(S, 1, 3) == "\357\273\277") die(1, "a byte order mark")
  EOL = index(S, "\r\n") ? "\r\n" : "\n"
  for (i = 1; i < 256; i++) CODE[sprintf("%c", i)] = i
  for (i = 0; i < 16; i++) DIGIT[substr("0123456789abcdef", i + 1, 1)] = i
  ESC["\""] = 34; ESC["\\"] = 92; ESC["/"] = 47; ESC["b"] = 8; ESC["f"] = 12; ESC["n"] = 10; ESC["r"] = 13; ESC["t"] = 9
  WIDE["u"] = 4
}
# A file is looked at through a window: substr of a long text is slow in busybox. ahead: at least the next 256 bytes.
function ch(i) {
  if (i < W0 || i >= W0 + 1024) { W0 = i; W = substr(S, i, 1024) }
  return substr(W, i - W0 + 1, 1)
}
function ahead(i) {
  if (i < W0 || i + 256 > W0 + 1024 || W == "") { W0 = i; W = substr(S, i, 1024) }
  return substr(W, i - W0 + 1)
}
# The line of a place; a place below zero is a line.
function line_of(at,   part) {
  if (at < 0) return -at
  return at > 1 ? split(substr(S, 1, at - 1), part, "\n") : 1
}
function fail(at, why) { die(line_of(at), why) }
# The indentation of the line of a place.
function indent_at(at,   t) {
  t = at > 512 ? substr(S, at - 512, 512) : substr(S, 1, at - 1)
  sub(/.*\n/, "", t); match(t, /^[ \t]*/)
  return substr(t, 1, RLENGTH)
}
function utf8(c) {
  if (c < 128) return sprintf("%c", c)
  if (c < 2048) return sprintf("%c%c", 192 + int(c / 64), 128 + c % 64)
  if (c < 65536) return sprintf("%c%c%c", 224 + int(c / 4096), 128 + int(c / 64) % 64, 128 + c % 64)
  return sprintf("%c%c%c%c", 240 + int(c / 262144), 128 + int(c / 4096) % 64, 128 + int(c / 64) % 64, 128 + c % 64)
}
function shown(c) {
  if (c == 34) return "\\\""
  if (c == 92) return "\\\\"
  if (c == 10) return "\\n"
  if (c == 9) return "\\t"
  if (c == 13) return "\\r"
  if (c == 8) return "\\b"
  if (c == 12) return "\\f"
  if (c < 32 || c == 127 || (c >= 55296 && c < 57344)) return sprintf("\\u%04x", c)
  return utf8(c)
}
function plain(s,   out, c) {
  if (s !~ /[\\"\001-\037\177]/) return s
  out = ""
  while (match(s, /[\\"\001-\037\177]/)) {
    c = substr(s, RSTART, 1)
    out = out substr(s, 1, RSTART - 1) shown(CODE[c])
    s = substr(s, RSTART + 1)
  }
  return out s
}
function quoted(s) { return "\"" plain(s) "\"" }
function hex(s,   i, n, c) {
  n = 0; s = tolower(s)
  for (i = 1; i <= length(s); i++) {
    c = substr(s, i, 1)
    if (!(c in DIGIT)) return -1
    n = n * 16 + DIGIT[c]
  }
  return n
}
# The canonical form of what stands between double quotes. FOLD: a backslash at the end of a line joins it with the next.
function decode(s, at,   part, n, i, p, c, w, code, low, out) {
  if (!index(s, "\\")) return quoted(s)
  n = split(s, part, /\\/) # a text would split at newlines too, for some awks
  out = plain(part[1])
  for (i = 2; i <= n; i++) {
    p = part[i]
    if (p == "") { out = out "\\\\" plain(part[++i]); continue }
    c = substr(p, 1, 1)
    if (FOLD && p ~ /^[ \t\r]*\n/) { sub(/^[ \t\r\n]+/, "", p); out = out plain(p); continue }
    if (c in WIDE) {
      w = WIDE[c]; code = length(p) > w ? hex(substr(p, 2, w)) : -1
      if (code < 0 || code > 1114111) fail(at, "the wrong escape \\" substr(p, 1, w + 1))
      if (code >= 55296 && code < 56320 && p ~ /^u....$/ && part[i + 1] ~ /^u[dD][c-fC-F]../) {
        low = hex(substr(part[i + 1], 2, 4))
        if (low >= 56320) { code = 65536 + (code - 55296) * 1024 + low - 56320; p = part[++i] }
      }
      out = out shown(code) plain(substr(p, w + 2))
    } else if (c in ESC) {
      out = out shown(ESC[c]) plain(substr(p, 2))
    } else fail(at, "the wrong escape \\" c)
  }
  return "\"" out "\""
}
# The place of the quote that ends the string which begins at i. TABS: whether these may stand in it.
function string_end(i,   t, c, from) {
  from = i++
  for (;;) {
    t = ahead(i)
    # A pattern that is written out is compiled once.
    if (TABS) match(t, /["\\\001-\010\012-\037]/)
    else match(t, /["\\\001-\037]/)
    if (!RSTART) {
      if (i + length(t) > N) fail(from, "a text has no end")
      i += length(t); continue
    }
    i += RSTART - 1; c = ch(i)
    if (c == "\"") return i
    if (c != "\\") fail(i, "a control character or the end of the line inside a text")
    c = ch(i + 1)
    if (!(c in ESC) && !(c in WIDE)) fail(i, "the wrong escape \\" c)
    i += 2
  }
}
function number(t,   f) {
  if (t ~ /^-?[0-9]+$/) return t == "-0" ? "0" : t
  f = t + 0
  if (f == int(f) && f < 1e15 && f > -1e15) return sprintf("%.0f", f)
  return sprintf("%.17g", f)
}
function float(t) {
  t = sprintf("%.17g", t + 0)
  return t ~ /[.e]/ ? t : t ".0"
}
function steps(from, to,   i, s) {
  s = ""
  for (i = from; i <= to; i++) s = s (s != "" && ARG[i] !~ /^\[/ ? "." : "") ARG[i]
  return s == "" ? "the whole file" : s
}
]==]
