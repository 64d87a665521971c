--- Edits of one key in a file of lines with sections: see reader.lua. ARG are the style (`ini`, or `ssh` for keywords and
-- blanks), the section, the key, the way (`all` of the key's values, or `one` of them), then the values.
return [==[
function trim(s) { sub(/^[ \t]+/, "", s); sub(/[ \t]+$/, "", s); return s }
# What a line is: KIND of "", "section", "key"; NAME, VALUE, and HEAD, all up to the value.
function look(i,   t, p) {
  t = L[i]; sub(/\r$/, "", t); KIND = ""
  if (t ~ /^[ \t]*([#;]|$)/) { if (STYLE != "ssh" || t !~ /^[ \t]*;/) return }
  match(t, /^[ \t]*/); DENT = RLENGTH
  if (STYLE == "ssh") {
    p = trim(t); NAME = p; sub(/[ \t=].*/, "", NAME); NAME = tolower(NAME)
    match(p, /^[^ \t=]+[ \t]*=?[ \t]*/); HEAD = substr(t, 1, DENT + RLENGTH)
    if (HEAD !~ /[ \t=]$/) HEAD = HEAD " "
    VALUE = substr(p, RLENGTH + 1)
    KIND = "key"
    if (NAME == "match" || NAME == "host") { KIND = "section"; NAME = NAME " " VALUE; gsub(/[ \t]+/, " ", NAME) }
    return
  }
  if (t ~ /^[ \t]*\[[^]]*\][ \t]*([#;].*)?$/) {
    KIND = "section"; NAME = t; sub(/^[ \t]*\[/, "", NAME); sub(/\].*/, "", NAME); NAME = trim(NAME)
    return
  }
  KIND = "key"; p = index(t, "=")
  if (!p) { NAME = trim(t); VALUE = NONE; HEAD = t "="; return }
  NAME = trim(substr(t, 1, p - 1)); VALUE = trim(substr(t, p + 1))
  match(t, /^[^=]*=[ \t]*/); HEAD = substr(t, 1, RLENGTH)
}
# The last line of the entry that begins at i: a backslash joins lines, and so does a deeper indentation without a key. DEEPER
# is a deeper line that some readers would join and others would not.
function entry_end(i,   t) {
  DEEPER = 0
  while (i < n && STYLE != "ssh") {
    t = L[i]; sub(/\r$/, "", t)
    if (t !~ /\\$/) {
      if (L[i + 1] ~ /^[ \t]*([[#;]|\r?$)/) break
      match(L[i + 1], /^[ \t]*/)
      if (RLENGTH <= DENT) break
      if (index(L[i + 1], "=")) { DEEPER = i + 1; break }
    }
    i++
  }
  return i
}
function unclear(i) { die(i, "some would read this line as a part of the entry above it") }
function read_lines(   i, j, last, here, t, v, deeper) {
  here = SECTION == ""; deeper = 0
  for (i = 1; i <= n; i = last + 1) {
    look(i); last = i
    if (KIND == "section") {
      here = NAME == SECTION
      if (!first) first = i
      if (here && !place) place = i
    } else if (KIND == "key") {
      v = VALUE; last = entry_end(i)
      if (here && NAME == KEY) {
        if (DEEPER || deeper == i) unclear(DEEPER ? DEEPER : i)
        for (j = i + 1; j <= last; j++) { t = L[j]; sub(/\r$/, "", t); v = v "\n" t }
        FROM[++count] = i; TO[count] = last; IS[count] = v; PRE[count] = HEAD
      }
      deeper = DEEPER
      if (any == "") any = HEAD
      if (here) { model = HEAD; place = last }
    }
  }
}
# What stands before a new value: as its neighbours have it.
function lead(   glue) {
  if (count) return PRE[count]
  if (model == "") model = any
  glue = STYLE == "ssh" ? " " : "="
  if (STYLE != "ssh" && match(model, /[ \t]*=[ \t]*$/)) glue = substr(model, RSTART)
  match(model, /^[ \t]*/)
  return substr(model, 1, RLENGTH) ARG[3] glue
}
function drop(j,   k) { for (k = FROM[j]; k <= TO[j]; k++) GONE[k] = 1 }
BEGIN {
  request(); NONE = "\001"
  STYLE = ARG[1]; SECTION = ARG[2]; KEY = ARG[3]; WAY = ARG[4]; wanted = ARGS - 4
  for (j = 1; j <= wanted; j++) WANT[j] = ARG[4 + j]
  if (STYLE == "ssh") {
    KEY = tolower(KEY); gsub(/[ \t]+/, " ", SECTION); match(SECTION, /^[^ ]*/)
    SECTION = tolower(substr(SECTION, 1, RLENGTH)) substr(SECTION, RLENGTH + 1)
  }
  n = split(S, L, "\n"); ended = n == 0 || L[n] == ""
  if (n && ended) n--
  BREAK = EOL == "\r\n" ? "\r\n" : "\n"
  place = first = count = before = 0; model = any = add = ""
  read_lines()
  if (VERB == "get") {
    if (!count) exit 3
    for (j = 1; j <= count; j++) print (IS[j] == NONE ? "(no value)" : IS[j])
    exit 0
  }
  if (VERB == "has") {
    for (j = 1; j <= count; j++) if (IS[j] == WANT[1]) { print WANT[1]; exit 0 }
    exit 3
  }
  from = 1; fresh = lead()
  if (VERB == "set" && WAY == "one") for (j = 1; j <= count; j++) if (IS[j] == WANT[1]) from = 2
  if (VERB == "del") from = wanted + 1
  else if (WAY == "all") from = count + 1
  for (j = 1; j <= count; j++) {
    if (VERB == "del") { if (WAY == "all" || IS[j] == WANT[1]) drop(j) }
    else if (WAY == "all" && (j > wanted || IS[j] != WANT[j])) {
      drop(j)
      if (j <= wanted) NEW[FROM[j]] = PRE[j] WANT[j] (TO[j] == n && !ended ? "" : BREAK)
    }
  }
  for (j = from; j <= wanted; j++) add = add fresh WANT[j] BREAK
  if (count) place = TO[count]
  if (add != "" && !place) {
    if (SECTION != "") add = (n && L[n] !~ /^[ \t]*\r?$/ ? BREAK : "") (STYLE == "ssh" ? ARG[2] : "[" SECTION "]") BREAK add
    if (SECTION == "" && first) {
      # In front of the first section and the comments that stick to it.
      while (first > 1 && L[first - 1] ~ /^[ \t]*[#;]/) first--
      add = add BREAK; before = first
    } else place = n
  }
  if (n == 0) printf "%s", add
  for (i = 1; i <= n; i++) {
    if (i == before) printf "%s", add
    if (i in NEW) printf "%s", NEW[i]
    if (!(i in GONE)) printf "%s%s", L[i], (i < n || ended ? "\n" : "")
    if (i == place && add != "" && !before) printf "%s%s", (i < n || ended ? "" : BREAK), add
  }
}
]==]
