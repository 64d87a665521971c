--- One line in a file that others write too.
local field, task = require "field", require "host.task"

-- The line reaches grep and awk on their standard input: arguments can be seen by others on the host.
local CHECK = [=[l={line}
  [ -z {replaces} ] || grep -E -e {replaces} </dev/null || [ $? -eq 1 ] || return 2
  [ -f {path} ] || return 1
  if [ -n {replaces} ]; then
    m=$(grep -E -e {replaces} -- {path} | while IFS= read -r x; do [ "$x" = "$l" ] || printf '%s\n' "$x"; done)
    [ -z "$m" ] || { oldis line "$m"; return 1; }
  fi
  printf '%s\n' "$l" | grep -qxFf - -- {path}]=]

-- The numbers of the lines that give way (none where the line only is not there), then one pass over the line itself and the
-- file.
local APPLY = [=[l={line} m=644 o=root:root
  if [ -f {path} ]; then look {path}; m=$mode o=$ids; fi
  k=
  [ -z {replaces} ] || [ ! -f {path} ] || k=$({
    printf '%s\n' "$l" | grep -nxFf - -- {path}
    grep -nE -e {replaces} -- {path}
  } | cut -d: -f1 | tr '\n' ' ')
  f={path}; [ -f "$f" ] || f=/dev/null
  new() {
    printf '%s\n' "$l" | awk -v k="$k" 'BEGIN { n = split(k, a, " "); for (i = 1; i <= n; i++) hit[a[i]] = 1 }
      NR == 1 { line = $0; next }
      FNR in hit { if (!done) print line; done = 1; next }
      { print }
      END { if (!done) print line }' - "$f"
  }
  put {path} "$m" "$o"]=]

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
  proves = function(t) return t.state == "present" and t.replaces == "" end,
  apply = function(t)
    if t.state == "present" then return APPLY end
    return [[look {path}
      new() { printf '%s\n' {line} | grep -vxFf - -- {path} || [ $? -eq 1 ]; }
      put {path} "$mode" "$ids"]]
  end,
}
