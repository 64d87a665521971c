--- journalctl -u UNIT.
local fs = require "fs"

return function(machine, call)
  for i = 2, #call.argv do
    if call.argv[i] == "-u" or call.argv[i] == "-xeu" then
      local unit = (call.argv[i + 1] or ""):gsub("%.service$", "")
      call:out(fs.read(machine.root .. "/var/log/journal-" .. unit .. ".log") or "-- No entries --\n")
      return 0
    end
  end
  call:out("-- No entries --\n")
  return 0
end
