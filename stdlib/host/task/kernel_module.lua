--- A kernel module, now and after a restart.
local field, task = require "field", require "host.task"

return task "kernel_module" {
  doc = "A kernel module that is loaded.", key = "name",
  fields = { name = field.string { required = true, match = "^[%w_-]+$" } },
  prepare = function(t)
    t.file = "/etc/modules-load.d/" .. t.name .. ".conf"
    t.loaded, t.either = t.name:gsub("-", "_"), t.name:gsub("[-_]", "[-_]")
  end,
  shown = function(t) return { loaded = "yes", persistent = t.name } end,
  check = [[lsmod | grep -q "^"{loaded}" " ||
      grep -q "/"{either}"\.ko" "/lib/modules/$(uname -r)/modules.builtin" 2>/dev/null || { oldis loaded no; r=1; }
    [ "$(cat {file} 2>/dev/null)" = {name} ] || { cat {file} 2>/dev/null | old persistent; r=1; }
    return $r]],
  apply = "mkdir -p /etc/modules-load.d; new() { printf '%s\\n' {name}; }; put {file} 644 root:root && modprobe {name}",
}
