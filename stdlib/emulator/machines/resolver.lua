--- The name server of machines with systemd: private zones that are linked with their network, the names of its machines, what the
-- lab serves, and else what the emulator's own system resolves. IPv4 addresses only; other types have no records.
local process = require "process"
local records, world = require "emulator.arm.records", require "emulator.world"
local internet = require "emulator.machines.internet"

local resolver = {}

local INTERNAL = ".internal.cloudapp.net"
local TTL = 10
local NO_SUCH_NAME, REFUSED = 3, 5

-- The question of a packet: its name, its type, where it ends.
local function question_of(query)
  if #query < 17 then return nil end
  local labels, at = {}, 13
  while true do
    local length = query:byte(at)
    if not length or length > 63 then return nil end
    if length == 0 then break end
    labels[#labels + 1] = query:sub(at + 1, at + length)
    at = at + length + 1
  end
  if #query < at + 4 then return nil end
  return table.concat(labels, "."):lower(), string.unpack(">I2", query, at + 1), at + 4
end

local function linked(zone, vnet)
  for record in records.each("Microsoft.Network/privateDnsZones/virtualNetworkLinks") do
    local network = record.body.properties.virtualNetwork
    if record.id:lower():find(zone.id:lower() .. "/", 1, true) == 1 and network and vnet:lower() == tostring(network.id):lower() then
      return true, record.body.properties.registrationEnabled == true
    end
  end
  return false
end

local function vnet_of(machine)
  local where = world.fabric.interface(machine.id)
  return where and where.subnet:match("^(.*)/subnets/") or ""
end

-- The addresses of machines of a network by their host name.
local function machines_named(hostname, vnet)
  local list = {}
  for _, other in ipairs(world.machines.all()) do
    if other.hostname:lower() == hostname and vnet_of(other):lower() == vnet:lower() then list[#list + 1] = other.private_ip end
  end
  return list
end

-- A private zone says all there is about its names: nil when none holds the name.
local function private(name, vnet)
  for zone in records.each("Microsoft.Network/privateDnsZones") do
    local suffix = "." .. zone.name:lower()
    if name == zone.name:lower() or name:sub(-#suffix) == suffix then
      local is_linked, registers = linked(zone, vnet)
      if is_linked then
        local label = name == zone.name:lower() and "@" or name:sub(1, -#suffix - 1)
        local set, list = records.get(zone.id .. "/A/" .. label), {}
        for i, item in ipairs(set and set.body.properties.aRecords or {}) do list[i] = item.ipv4Address end
        if #list == 0 and registers then list = machines_named(label, vnet) end
        return list
      end
    end
  end
end

local told = {} -- addresses of names that our own system resolved

local function public(name)
  local served = internet.address(name)
  if served then return { served } end
  local result = process.run { argv = { "getent", "ahostsv4", name }, timeout = 10 }
  local list, seen = {}, {}
  for address in (result and result.stdout or ""):gmatch("(%d+%.%d+%.%d+%.%d+)%s+STREAM") do
    if not seen[address] then list[#list + 1] = address end
    seen[address], told[address] = true, true
  end
  return list
end

local function addresses(machine, name)
  local vnet = vnet_of(machine)
  local own = name:sub(-#INTERNAL) == INTERNAL and name:match("^[^.]+") or not name:find(".", 1, true) and name or nil
  return own and machines_named(own, vnet) or private(name, vnet) or public(name)
end

--- Whether a machine has been told this address for a name of the world outside: a mirror may stand in a private network.
function resolver.told(address) return told[address] == true end

--- The answer to a machine's packet, or nil when it is no question.
function resolver.answer(machine, query)
  local name, kind, last = question_of(query)
  if not name or query:byte(3) & 0x80 ~= 0 then return nil end
  local known = name:find("^[%w_.-]+$") ~= nil
  local list = known and addresses(machine, name) or {}
  local code = not known and REFUSED or #list == 0 and NO_SUCH_NAME or 0
  local found = kind == 1 and list or {}
  local flags = 0x8180 | (query:byte(3) & 1) << 8 | code
  local parts = { query:sub(1, 2), string.pack(">I2I2I2I2I2", flags, 1, #found, 0, 0), query:sub(13, last) }
  for i, address in ipairs(found) do
    local a, b, c, d = address:match("(%d+)%.(%d+)%.(%d+)%.(%d+)")
    parts[i + 3] = string.pack(">I2I2I2I4I2BBBB", 0xc00c, 1, 1, TTL, 4, tonumber(a), tonumber(b), tonumber(c), tonumber(d))
  end
  return table.concat(parts)
end

return resolver
