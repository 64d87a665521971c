--- How programs on a machine find addresses: by its /etc/hosts; the virtual network's name server knows no others.
local fs = require "fs"
local ip = require "emulator.kubernetes.ip"

local hosts = {}

--- The addresses of a name on a machine; nil when nobody knows it.
function hosts.resolve(machine, name)
  if ip.number(name) then return { name } end
  if name == "localhost" then return { "127.0.0.1" } end
  local found = {}
  for line in (fs.read(machine.root .. "/etc/hosts") or ""):gmatch("[^\n]+") do
    local words = {}
    for w in line:gsub("#.*$", ""):gmatch("%S+") do words[#words + 1] = w end
    for i = 2, #words do
      if words[i]:lower() == name:lower() and ip.number(words[1]) then found[#found + 1] = words[1] end
    end
  end
  if #found == 0 and name == machine.hostname then return { machine.private_ip } end
  return #found > 0 and found or nil
end

--- Where a connection from a machine to a name and port ends: {host, port} on loopback, or nil, Go's words for why, reason.
function hosts.dial(world, machine, name, port)
  local addresses = hosts.resolve(machine, name)
  if not addresses then
    return nil, ("dial tcp: lookup %s on 168.63.129.16:53: no such host"):format(name), "resolve"
  end
  local address = addresses[1]
  if address:match("^127%.") or address == machine.private_ip then return { host = machine.address, port = port } end
  local where, reason = world.fabric.dial({ machine = machine.id }, address, port)
  if where then return where end
  local words = { timeout = "i/o timeout", refused = "connect: connection refused", unreachable = "connect: no route to host" }
  return nil, ("dial tcp %s:%d: %s"):format(address, port, words[reason] or "i/o timeout"), reason or "timeout"
end

return hosts
