--- The network between machines with systemd: in the router's namespace a bridge for each subnet, on which the machines' cables
-- end. What machines send to each other stays there; every other connection of theirs comes to the emulator, which takes it to
-- where load balancers, public addresses and NAT gateways lead.
local crypto, log = require "crypto", require "log"
local ip, once, world = require "emulator.ip", require "emulator.once", require "emulator.world"
local internet, resolver = require "emulator.machines.internet", require "emulator.machines.resolver"
local fail = require "fail"

local network = {}

network.PLATFORM = "168.63.129.16" -- what Azure's own services come from, and its name server
local METADATA = "169.254.169.254"
local ROUTER_MAC = "12:34:56:78:9a:bc" -- a bridge without one changes it with its cables
local REDIRECT = 9040

local ROUTER = ([[
table ip router {
  set networks { type ipv4_addr; flags interval; }
  set frontends { type ipv4_addr; }
  chain prerouting {
    type nat hook prerouting priority dstnat;
    ip daddr @frontends meta l4proto tcp redirect to :%d
    ip daddr @networks accept
    meta l4proto tcp redirect to :%d
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ip daddr @networks accept
  }
}
]]):format(REDIRECT, REDIRECT)

-- Addresses that nobody on the internet has; those of one's own system are never a way out.
local OWN = { "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", network.PLATFORM }
local PRIVATE = { "10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
  "203.0.113.0/24" }

local keeper
local bridges, frontends, cables = {}, {}, 0

-- A program of the base, in a machine's network or the router's.
local function tool(machine, argv, stdin)
  local answer, why = keeper:ask { op = "tool", machine = machine, argv = argv, stdin = stdin }
  if answer and answer.code == 0 then return end
  error(fail { ("%s in the network of %s: %s"):format(argv[1], machine or "the router", answer and answer.stderr or why),
    code = "network" })
end

local function links(machine, lines) tool(machine, { "ip", "-batch", "-" }, table.concat(lines, "\n") .. "\n") end

--- Begins, with a keeper whose lab is new.
function network.open(with)
  keeper, bridges, frontends = with, {}, {}
  links(nil, { "link set lo up", ("address add %s/32 dev lo"):format(network.PLATFORM) })
  tool(nil, { "nft", "-f", "-" }, ROUTER)
  fail.check(keeper:ask { op = "serve", address = network.PLATFORM, redirect = REDIRECT })
end

-- The load balancers' private addresses are the router's, so that it answers for them.
local function set_frontends()
  local wanted, add, remove = {}, {}, {}
  for _, frontend in ipairs(world.fabric.private_frontends()) do
    local bridge = bridges[frontend.subnet:lower()]
    if bridge then wanted[frontend.ip] = bridge.name end
  end
  for address, bridge in pairs(frontends) do
    if wanted[address] ~= bridge then remove[address] = bridge end
  end
  for address, bridge in pairs(wanted) do
    if frontends[address] ~= bridge then add[address] = bridge end
  end
  for address, bridge in pairs(remove) do
    tool(nil, { "nft", "delete", "element", "ip", "router", "frontends", "{", address, "}" })
    links(nil, { ("address delete %s/32 dev %s"):format(address, bridge) })
    frontends[address] = nil
  end
  for address, bridge in pairs(add) do
    links(nil, { ("address add %s/32 dev %s"):format(address, bridge) })
    tool(nil, { "nft", "add", "element", "ip", "router", "frontends", "{", address, "}" })
    frontends[address] = bridge
  end
end

--- Follows what the load balancers are.
function network.reconcile() once("frontends", set_frontends) end

local function gateway_of(prefix)
  local first, _, length = ip.range(prefix)
  return ip.text(first + 1), length
end

local function element(verb, prefix) tool(nil, { "nft", verb, "element", "ip", "router", "networks", "{", prefix, "}" }) end

-- A subnet that is no more, or that got another range, leaves its bridge behind.
local function drop_bridge(subnet)
  local bridge = bridges[subnet]
  bridges[subnet] = nil
  network.reconcile()
  links(nil, { "link delete " .. bridge.name })
  element("delete", bridge.prefix)
end

-- Two networks of Azure's may have the same addresses; one router cannot tell them apart.
local function make_room(subnet, prefix)
  for other, bridge in pairs(bridges) do
    if world.fabric.prefix(other) ~= bridge.prefix then
      drop_bridge(other)
    elseif other ~= subnet and ip.overlap(bridge.prefix, prefix) then
      error(fail { ("the subnets %s and %s share addresses, which machines with systemd cannot"):format(other:match("[^/]+$"),
        subnet:match("[^/]+$")), code = "network", hint = "give them ranges of their own" })
    end
  end
end

local function bridge_of(subnet, prefix)
  make_room(subnet, prefix)
  if bridges[subnet] then return bridges[subnet].name end
  local name = "b" .. crypto.sha256(subnet):sub(1, 12)
  local gateway, length = gateway_of(prefix)
  element("add", prefix)
  links(nil, { ("link add %s type bridge"):format(name), ("link set %s address %s"):format(name, ROUTER_MAC),
    ("address add %s/%d dev %s"):format(gateway, length, name), ("link set %s up"):format(name) })
  bridges[subnet] = { name = name, prefix = prefix }
  network.reconcile()
  return name
end

--- Plugs a machine in: { key, id }, whose first process is `pid`. Returns its address.
function network.attach(machine, pid)
  local where = world.fabric.interface(machine.id)
  if not where or not where.prefix then error(fail { machine.hostname .. " has no interface in a subnet", code = "network" }) end
  local bridge = once("bridges", bridge_of, where.subnet:lower(), where.prefix)
  local gateway, length = gateway_of(where.prefix)
  cables = cables + 1
  local cable = ("v%s.%d"):format(machine.key:sub(1, 8), cables % 10000) -- the kernel takes its time to drop one of before
  links(nil, { ("link add %s type veth peer name eth0 netns %d"):format(cable, pid), ("link set %s master %s up"):format(cable, bridge) })
  -- The address says it: its neighbours remember it, also when another machine has the address meanwhile.
  local number = ip.number(where.ip)
  local mac = (":%02x:%02x:%02x"):format(number >> 16 & 255, number >> 8 & 255, number & 255)
  links(machine.key, { "link set lo up", ("link set eth0 address 00:0d:3a%s"):format(mac),
    ("address add %s/%d dev eth0"):format(where.ip, length), "link set eth0 up", "route add default via " .. gateway })
  return where.ip
end

--- Gives a machine its rules: text for nft.
function network.guard(machine, text) tool(machine.key, { "nft", "-f", "-" }, text) end

local function is_in(ranges, host)
  for _, range in ipairs(ranges) do
    if ip.holds(range, host) then return true end
  end
  return false
end

local function outside(host) return not is_in(OWN, host) and (not is_in(PRIVATE, host) or resolver.told(host)) end

-- Where a machine's connection ends: { host, port } in our own network.
local function way_of(machine, host, port)
  if host == METADATA and port == 80 then return machine:metadata() end
  local target, why = world.fabric.dial({ machine = machine.id }, host, port)
  if target then return target end
  local served = internet.target(host, port)
  if served == nil and not outside(host) then return nil, why end
  local egress, reason = world.fabric.egress(machine.id)
  if not egress then return nil, reason end
  if served == false then return nil, "nothing is served there" end
  return served or { host = host, port = port }
end

--- A connection that a machine makes to somebody outside of its networks.
function network.connection(machine, message)
  local done, target, why = pcall(way_of, machine, message.host, message.port)
  if done and target then
    keeper:tell { op = "connect", connection = message.connection, host = target.host, port = target.port }
    return
  end
  log.debug("%s does not reach %s:%d: %s", machine and machine.hostname or message.from, message.host, message.port,
    tostring(why or target))
  keeper:tell { op = "refuse", connection = message.connection }
end

--- A question that a machine asks its name server.
function network.question(machine, message)
  local query = message.hex:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end)
  local done, reply = pcall(resolver.answer, machine, query)
  if not done then log.warn("a question of %s: %s", machine.hostname, tostring(reply)) end
  if done and reply then
    keeper:tell { op = "reply", to = message.from, hex = (reply:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end)) }
  end
end

return network
