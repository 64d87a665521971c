--- What machines with systemd find on the internet besides what is really there: names with an address of their own, whose ports
-- lead to servers on this machine. A lab's package repository is served so.
local ip, world = require "emulator.ip", require "emulator.world"
local fail = require "fail"

local internet = {}

local TABLE = "internet"
local FIRST, LAST = ip.range "198.18.0.0/16" -- for tests, by RFC 2544: nobody's
local OWN = ip.range "198.19.0.0/24" + 1

local function free_address(taken)
  for number = FIRST + 1, LAST do
    if not taken[ip.text(number)] then return ip.text(number) end
  end
end

local function checked(item)
  local name = type(item) == "table" and type(item.name) == "string" and item.name:lower()
  local host, port = tostring(type(item) == "table" and item.to or ""):match("^([%d.]+):(%d+)$")
  if not name or not name:find("^[%w_-][%w_.-]*$") or math.type(item.port) ~= "integer" or not host then
    error(fail { 'a server is {"name": "packages.test", "port": 80, "to": "127.0.0.1:8000"}', code = "usage" })
  end
  return name, item.port, { host = host, port = tonumber(port) }
end

--- Says anew which servers there are: { name, port, to = "ADDRESS:PORT" }. A name keeps its address. Returns name -> address.
function internet.serve(list)
  local before, names, order, taken, told = world.store:all(TABLE), {}, {}, {}, {}
  for _, item in ipairs(list) do
    local name, port, target = checked(item)
    if not names[name] then order[#order + 1], names[name] = name, { ports = {} } end
    names[name].ports[tostring(port)] = target
  end
  for name, entry in pairs(before) do
    if names[name] then
      names[name].address, taken[entry.address] = entry.address, true
    else
      world.store:delete(TABLE, name)
    end
  end
  for _, name in ipairs(order) do
    local entry = names[name]
    entry.address = entry.address or free_address(taken)
    taken[entry.address], told[name] = true, entry.address
    world.store:put(TABLE, name, entry)
  end
  return told
end

local own = {} -- what the emulator itself serves there: name -> { address, ports }

--- Offers a server of the emulator's own, for as long as it runs; there is room for a few.
function internet.offer(name, port, target)
  local count = 0
  for _ in pairs(own) do count = count + 1 end
  own[name] = own[name] or { address = ip.text(OWN + count), ports = {} }
  own[name].ports[tostring(port)] = target
end

--- The address of a name, or nil when it is not served here.
function internet.address(name)
  local entry = own[name] or world.store:get(TABLE, name)
  return entry and entry.address
end

--- Where a port of such an address leads, { host, port }; false when the address is served here but not the port, nil when it is not.
function internet.target(address, port)
  for _, list in ipairs { own, world.store:all(TABLE) } do
    for _, entry in pairs(list) do
      if entry.address == address then return entry.ports[tostring(port)] or false end
    end
  end
end

return internet
