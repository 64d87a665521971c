--- A name in /etc/hosts.
local field, task = require "field", require "host.task"

return task "host_entry" {
  doc = "A name that /etc/hosts gives an address; other lines with that name go.", key = "name",
  fields = {
    name = field.string { required = true, match = "^[%w][%w._-]*$" },
    address = field.ip { required = true },
  },
  prepare = function(t) t.entry = t.address .. " " .. t.name end,
  shown = function(t) return { address = t.address } end,
  check = [[e=$(awk -v n={name} '$1 !~ /^#/ { for (i = 2; i <= NF; i++) if ($i == n) print $1 " " n }' /etc/hosts 2>/dev/null)
    [ "$e" = {entry} ] || { oldis address "${e%% *}"; return 1; }]],
  apply = [[{ awk -v n={name} '$1 ~ /^#/ { print; next } { k = 1; for (i = 2; i <= NF; i++) if ($i == n) k = 0; if (k) print }' /etc/hosts
    printf '%s\n' {entry}; } | put /etc/hosts 644 root:root]],
}
