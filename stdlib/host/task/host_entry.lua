--- A name in /etc/hosts.
local field, task = require "field", require "host.task"

return task "host_entry" {
  doc = "A name that /etc/hosts gives one address; other lines lose that name.", key = "name",
  fields = {
    name = field.string { required = true, match = "^[%w][%w._-]*$" },
    address = field.ip { required = true },
  },
  shown = function(t) return { address = t.address } end,
  check = [[e=$(awk -v n={name} '{ sub(/#.*/, ""); for (i = 2; i <= NF; i++) if ($i == n) print $1 }' /etc/hosts 2>/dev/null)
    [ "$e" = {address} ] || { [ -z "$e" ] || oldis address "$e"; return 1; }]],
  -- What else a line names stays.
  apply = [[h=/etc/hosts; [ -f $h ] || h=/dev/null
    new() { awk -v n={name} '{
        text = $0; rest = ""; at = index(text, "#")
        if (at) { rest = " " substr(text, at); text = substr(text, 1, at - 1) }
        count = split(text, word, /[ \t]+/); line = ""; hit = 0; names = 0; address = ""
        for (i = 1; i <= count; i++) {
          if (word[i] == "") continue
          if (address == "") { address = word[i]; line = address; continue }
          if (word[i] == n) { hit = 1; continue }
          line = line " " word[i]; names++
        }
        if (!hit) print; else if (names) print line rest
      }' $h && printf '%s %s\n' {address} {name}; }
    put /etc/hosts 644 root:root]],
}
