--- hostnamectl [set-hostname NAME].
local fs = require "fs"

return function(machine, call)
  local verb = call.argv[2]
  if verb == "set-hostname" or verb == "hostname" and call.argv[3] then
    fs.write(machine.root .. "/etc/hostname", call.argv[3] .. "\n")
    return 0
  end
  call:out((fs.read(machine.root .. "/etc/hostname") or machine.hostname):match("%S+") .. "\n")
  return 0
end
