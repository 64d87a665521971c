--- A long wire in front of each host of a fleet: wires.lua FOLDER SECONDS. Reads `inventory.json` and `known_hosts` of FOLDER and
-- writes those of the same hosts at the wires' near ends into FOLDER/far, and `ready` there. Ends with its process.
local folder, seconds = arg[1], tonumber(arg[2])
local fs, json, process, task = require "fs", require "json", require "process", require "task"
local slow_wire = dofile(arg[0]:match("^(.*)/[^/]*$") .. "/../../lua/slow_wire.lua")

local function at(address, port) return port == 22 and address or ("[%s]:%d"):format(address, port) end

local inventory, known = assert(json.decode(assert(fs.read(folder .. "/inventory.json")))), {}
for name, line in assert(fs.read(folder .. "/known_hosts")):gmatch("(%S+)[ \t]+([^\n]+)") do
  known[name] = known[name] or {}
  table.insert(known[name], line)
end

local second, lines, names = 30 + process.pid() % 60, {}, {}
for name in pairs(inventory.all.hosts) do names[#names + 1] = name end
table.sort(names)
for i, name in ipairs(names) do
  local host = inventory.all.hosts[name]
  local near = ("127.%d.%d.%d"):format(second, i // 250, i % 250 + 1)
  local wire = slow_wire.start { to_host = host.ansible_host, to_port = host.ansible_port, host = near, seconds = seconds }
  for _, line in ipairs(known[at(host.ansible_host, host.ansible_port)] or {}) do
    lines[#lines + 1] = ("%s %s\n"):format(at(near, wire.port), line)
  end
  host.ansible_host, host.ansible_port = near, wire.port
end
assert(fs.mkdir(folder .. "/far", 448))
assert(fs.write(folder .. "/far/inventory.json", json.encode(inventory)))
assert(fs.write(folder .. "/far/known_hosts", table.concat(lines)))
assert(fs.write(folder .. "/far/key", assert(fs.read(folder .. "/key")), { mode = 384 }))
assert(fs.write(folder .. "/far/ready", ""))
task.event():wait()
