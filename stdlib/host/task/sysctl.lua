--- A kernel parameter, now and after a restart.
local field, task = require "field", require "host.task"

return task "sysctl" {
  doc = "A kernel parameter.", key = "key",
  fields = {
    key = field.string { required = true, match = "^[%w_.-]+$" },
    value = field.string { required = true, match = "^[^\n]*$" },
  },
  prepare = function(t)
    t.file = "/etc/sysctl.d/90-" .. t.key .. ".conf"
    t.entry = t.key .. " = " .. t.value
  end,
  shown = function(t) return { value = t.value, persistent = t.entry } end,
  check = [[n=$(sysctl -n {key} 2>/dev/null | tr '\t' ' ') || n=
    [ "$n" = {value} ] || { oldis value "$n"; r=1; }
    [ "$(cat {file} 2>/dev/null)" = {entry} ] || { cat {file} 2>/dev/null | old persistent; r=1; }
    return $r]],
  apply = "mkdir -p /etc/sysctl.d; new() { printf '%s\\n' {entry}; }; put {file} 644 root:root && sysctl -q -w {key}={value}",
}
