--- A role of one's own: the message of the day.
local field, role = require "field", require "role"

return role "motd.message" {
  doc = "The message that people see when they log in.",
  inputs = { text = field.string { required = true, doc = "The message." } },
  tasks = function(host, f)
    host.file "/etc/motd" { content = f.text .. "\n" }
  end,
}
