--- A directory.
local field, task = require "field", require "host.task"

return task "directory" {
  doc = "A directory, with its parents.", key = "path",
  fields = {
    path = field.string { required = true, match = "^/." },
    mode = field.string { default = "0755", match = "^0?[0-7]?[0-7][0-7][0-7]$" },
    owner = field.string { default = "root:root", match = "^[%w_.-]+:[%w_.-]+$" },
    state = field.choice { "present", "absent", default = "present", doc = "Absent removes it with all that is inside." },
  },
  prepare = function(t) t.mode = ("%o"):format(tonumber(t.mode, 8)) end,
  shown = function(t) return { mode = t.state == "present" and t.mode or "", owner = t.owner } end,
  check = function(t)
    if t.state == "absent" then return "[ ! -e {path} ] && [ ! -L {path} ] || { look {path}; oldis mode \"$mode\"; return 1; }" end
    return [[[ -d {path} ] || return 1
      look {path}
      [ "$mode" = {mode} ] || { oldis mode "$mode"; r=1; }
      [ "$owner" = {owner} ] || [ "$ids" = {owner} ] || { oldis owner "$owner"; r=1; }
      return $r]]
  end,
  inline = true,
  looks_at = function(t) return t.path end,
  proves = function(t) return t.state == "present" end,
  apply = function(t)
    if t.state == "absent" then return "rm -rf -- {path}" end
    return [[if [ ! -d {path} ]; then
        mkdir -p -m {mode} -- {path} || return
        ! mine {path} {owner} || return 0
      fi
      look {path}
      [ "$owner" = {owner} ] || [ "$ids" = {owner} ] || { chown {owner} {path} && mode=; } || return
      [ "$mode" = {mode} ] || chmod {mode} {path}]]
  end,
}
