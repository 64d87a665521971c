--- The host's time zone.
local field, task = require "field", require "host.task"

return task "timezone" {
  doc = "The time zone.", key = "name",
  fields = { name = field.string { required = true, match = "^%u[%w_+/-]*$", doc = "Such as `Europe/Amsterdam` or `UTC`." } },
  prepare = function(t) t.zone = "/usr/share/zoneinfo/" .. t.name end,
  shown = function(t) return { name = t.name } end,
  -- Zones are links to each other: what counts is where both lead.
  check = [=[[ -f {zone} ] ||
      { echo "there is no time zone "{name}" on this host: see /usr/share/zoneinfo (package tzdata)" >&2; return 2; }
    l=$(readlink -f /etc/localtime) n=$(cat /etc/timezone 2>/dev/null) || :
    [ "$l" = "$(readlink -f {zone})" ] && [ "$n" = {name} ] && return 0
    [ "$n" != {name} ] || n=
    oldis name "${n:-${l#/usr/share/zoneinfo/}}"; return 1]=],
  apply = "relink {zone} /etc/localtime && new() { printf '%s\\n' {name}; } && put /etc/timezone 644 root:root",
}
