--- The host's own name.
local field, task = require "field", require "host.task"

return task "hostname" {
  doc = "The host's name.", key = "name",
  fields = { name = field.string { required = true, match = "^[%w][%w.-]*$" } },
  shown = function(t) return { name = t.name } end,
  check = [[[ "$(hostname)" = {name} ] && [ "$(cat /etc/hostname 2>/dev/null)" = {name} ] || { oldis name "$(hostname)"; return 1; }]],
  apply = "new() { printf '%s\\n' {name}; }; put /etc/hostname 644 root:root && hostname {name}",
}
