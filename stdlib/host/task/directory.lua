--- A directory.
local field, task = require "field", require "host.task"

return task "directory" {
  doc = "A directory, with its parents.", key = "path",
  fields = {
    path = field.string { required = true, match = "^/." },
    mode = field.string { default = "0755", match = "^0?[0-7][0-7][0-7]$" },
    owner = field.string { default = "root:root", match = "^[%w_-]+:[%w_-]+$" },
    state = field.choice { "present", "absent", default = "present", doc = "Absent removes it with all that is inside." },
  },
  prepare = function(t) t.mode = t.mode:gsub("^0", "") end,
  shown = function(t) return { mode = t.state == "present" and t.mode or "", owner = t.owner } end,
  check = function(t)
    if t.state == "absent" then return "[ ! -e {path} ] || { oldis mode present; return 1; }" end
    return [[[ -d {path} ] || return 1
      [ "$(modeof {path})" = {mode} ] || { oldis mode "$(modeof {path})"; r=1; }
      [ "$(ownerof {path})" = {owner} ] || { oldis owner "$(ownerof {path})"; r=1; }
      return ${r:-0}]]
  end,
  apply = function(t)
    if t.state == "absent" then return "rm -rf -- {path}" end
    return "mkdir -p -- {path} && chmod {mode} {path} && chown {owner} {path}"
  end,
}
