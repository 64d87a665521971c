--- A group of the host.
local field, task = require "field", require "host.task"

local NAME = "^[%l_][%w_.-]*%$?$"

return task "group" {
  doc = "A group.", key = "name",
  fields = {
    name = field.string { required = true, match = NAME },
    gid = field.integer { min = 0 },
    system = field.boolean { default = false, doc = "A new one gets a number of the system's." },
    members = field.list { field.string { match = NAME }, doc = "Exactly these users; anyone, unless given." },
    state = field.choice { "present", "absent", default = "present" },
  },
  prepare = function(t)
    t.id = t.gid and ("%d"):format(t.gid) or ""
    if t.members then table.sort(t.members) end
    t.list = table.concat(t.members or {}, ",")
    t.exactly = t.members and "1" or ""
  end,
  shown = function(t) return { gid = t.id, members = t.list, state = t.state, name = t.name } end,
  -- Without a program: these files are short, and a role may ask about many names.
  shared = { [[entry() { # FILE NAME -> $e, its line
  e=; while IFS= read -r _l; do case $_l in "$2":*) e=$_l; return 0 ;; esac; done <"$1"; return 1; }]] },
  check = function(t)
    if t.state == "absent" then return "entry /etc/group {name} || return 0; oldis state present; return 1" end
    return [[entry /etc/group {name} || return 1
      e=${e#*:}; e=${e#*:}; g=${e%%:*} m=${e#*:}
      [ -z {id} ] || [ "$g" = {id} ] || { r=1; oldis gid "$g"; }
      if [ -n {exactly} ]; then
        m=$(printf %s "$m" | tr , '\n' | sort | tr '\n' ,); m=${m%,}
        [ "$m" = {list} ] || { r=1; oldis members "$m"; }
      fi
      return $r]]
  end,
  apply = function(t)
    if t.state == "absent" then return "groupdel -- {name}" end
    return [[set --; [ -z {id} ] || set -- -g {id}
      if ! entry /etc/group {name}; then groupadd ]] .. (t.system and "-r " or "") .. [["$@" -- {name} || return
      elif [ $# -gt 0 ]; then groupmod "$@" -- {name} || return; fi
      [ -z {exactly} ] || gpasswd -M {list} {name} >/dev/null]]
  end,
}
