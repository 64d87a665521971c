--- One line in a file that others write too.
local field, task = require "field", require "host.task"

-- The line reaches grep and awk on their standard input: arguments can be seen by others on the host. A short file needs neither.
local CHECK = [=[l={line}
  [ -z {replaces} ] || grep -E -e {replaces} </dev/null || [ $? -eq 1 ] || return 2
  [ -f {path} ] || return 1
  if [ -n {replaces} ]; then
    m=$(grep -E -e {replaces} -- {path} | while IFS= read -r x; do [ "$x" = "$l" ] || printf '%s\n' "$x"; done)
    [ -z "$m" ] || { oldis line "$m"; return 1; }
  fi
  look {path}
  if slurp {path}; then case $NL$text$NL in *"$NL$l$NL"*) return 0 ;; *) return 1 ;; esac; fi
  printf '%s\n' "$l" | grep -qxFf - -- {path}]=]

-- What a link leads to is changed, not the link; that may be a path which was looked at before.
local PLACE = [=[p={path}; [ ! -L "$p" ] || { SEEN= LISTED= DUE= SUMS=; p=$(readlink -f -- "$p") || return; }
  ]=]

-- The numbers of the lines that give way (none where the line only is not there), then one pass over the line itself and the
-- file.
local APPLY = PLACE .. [=[l={line} m=644 o=root:root
  if [ -f "$p" ]; then look "$p"; m=$mode o=$ids; fi
  if [ -z {replaces} ] && [ -f "$p" ] && slurp "$p"; then
    case $text in '' | *"$NL") ;; *) text=$text$NL ;; esac
    new() { printf '%s%s\n' "$text" "$l"; }
    put "$p" "$m" "$o"
    return
  fi
  k=
  [ -z {replaces} ] || [ ! -f "$p" ] || k=$({
    printf '%s\n' "$l" | grep -nxFf - -- "$p"
    grep -nE -e {replaces} -- "$p"
  } | cut -d: -f1 | tr '\n' ' ')
  f=$p; [ -f "$f" ] || f=/dev/null
  new() {
    printf '%s\n' "$l" | awk -v k="$k" 'BEGIN { n = split(k, a, " "); for (i = 1; i <= n; i++) hit[a[i]] = 1 }
      NR == 1 { line = $0; next }
      FNR in hit { if (!done) print line; done = 1; next }
      { print }
      END { if (!done) print line }' - "$f"
  }
  put "$p" "$m" "$o"]=]

return task "line" {
  doc = "A line of a file; the rest of the file is left alone.", key = "line",
  fields = {
    path = field.string { required = true, match = "^/" },
    line = field.string { required = true, match = "^[^\n]+$", doc = "The line; the task's own name unless given." },
    replaces = field.string { match = "^[^\n]*$", doc = "An extended regular expression: the first line that matches it gives way to the line, the others go." },
    state = field.choice { "present", "absent", default = "present" },
  },
  title = function(t) return ("line %s: %s"):format(t.path, t.line) end,
  prepare = function(t) t.replaces = t.replaces or "" end,
  shown = function(t) return { line = t.state == "present" and t.line or "" } end,
  check = function(t)
    if t.state == "present" then return CHECK end
    return "printf '%s\\n' {line} | grep -qxFf - -- {path} 2>/dev/null || return 0; oldis line {line}; return 1"
  end,
  inline = true, puts = true,
  looks_at = function(t) return t.state == "present" and t.path or nil end,
  proves = function(t) return t.state == "present" and t.replaces == "" end,
  apply = function(t)
    if t.state == "present" then return APPLY end
    return PLACE .. [[look "$p"
      new() { printf '%s\n' {line} | grep -vxFf - -- "$p" || [ $? -eq 1 ]; }
      put "$p" "$mode" "$ids"]]
  end,
}
