--- One line in a file that others write too.
local field, task = require "field", require "host.task"

return task "line" {
  doc = "A line of a file; the rest of the file is left alone.", key = "line",
  fields = {
    path = field.string { required = true, match = "^/" },
    line = field.string { required = true, match = "^[^\n]*$", doc = "The line; the task's own name unless given." },
    replaces = field.string { doc = "An extended regular expression: lines that match it give way to the line." },
    state = field.choice { "present", "absent", default = "present" },
  },
  prepare = function(t) t.replaces = t.replaces or "" end,
  shown = function(t) return { line = t.state == "present" and t.line or "" } end,
  check = function(t)
    if t.state == "absent" then return "grep -qxF -- {line} {path} 2>/dev/null && { oldis line {line}; return 1; }; return 0" end
    return [=[n=$(grep -cxF -- {line} {path} 2>/dev/null) || n=${n:-0}
      if [ -n {replaces} ]; then m=$(grep -E -- {replaces} {path} 2>/dev/null | grep -vxF -- {line}) || m=
        [ -z "$m" ] || { oldis line "$m"; return 1; }; fi
      [ "$n" -ge 1 ]]=]
  end,
  apply = function(t)
    if t.state == "absent" then
      return "c=$(grep -vxF -- {line} {path}); printf '%s\\n' \"$c\" | put {path} \"$(modeof {path})\" \"$(ownerof {path})\""
    end
    return [[if [ -f {path} ]; then m=$(modeof {path}) o=$(ownerof {path}); else m=644 o=root:root; fi
      { if [ -f {path} ]; then
          if [ -n {replaces} ]; then grep -vE -- {replaces} {path} | grep -vxF -- {line}; else grep -vxF -- {line} {path}; fi
        fi; printf '%s\n' {line}; } | put {path} "$m" "$o"]]
  end,
}
