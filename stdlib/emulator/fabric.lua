--- Who reaches whom: virtual networks and their peerings, security groups, load balancers, NAT gateways. Addresses of ARM go
-- in, loopback addresses come out: ports under 1024 of an address live at port + 20000.
--
-- A connection starts at `{ internet = IP }` or `{ machine = ID }`. What Azure would drop is `nil, reason, "timeout"`.
local world = require "emulator.world"
local records = require "emulator.arm.records"
local ip, security = require "emulator.ip", require "emulator.security"

local fabric = {}

local INTERFACES = { ["microsoft.network/networkinterfaces"] = true,
  ["microsoft.compute/virtualmachinescalesets/virtualmachines/networkinterfaces"] = true }
local PROBE_SOURCE = "168.63.129.16" -- where Azure's health probes come from

--- The port at which a port of an emulated address lives on loopback.
function fabric.port(port) return port < 1024 and port + 20000 or port end

local function at(body, ...)
  for _, key in ipairs { ... } do
    if type(body) ~= "table" then return nil end
    body = body[key]
  end
  return body
end

local function same(a, b) return a ~= nil and b ~= nil and a:lower() == b:lower() end

-- The address configurations of all interfaces: { nic, properties, ip, subnet (id), vnet (id), machine (record or nil) }.
local function endpoint_of(nic, configuration)
  local p = configuration.properties
  local subnet = at(p, "subnet", "id")
  local user = records.users(nic.id, "networkInterfaces")[1]
  return { nic = nic, properties = p, ip = p.privateIPAddress, subnet = subnet, vnet = subnet and subnet:match("^(.*)/subnets/"),
    machine = user and user.record }
end

local function endpoints()
  local list = {}
  for _, record in pairs(world.store:all("arm")) do
    if INTERFACES[record.type:lower()] then
      for _, configuration in ipairs(record.body.properties.ipConfigurations or {}) do
        list[#list + 1] = endpoint_of(record, configuration)
      end
    end
  end
  table.sort(list, function(a, b) return a.nic.id < b.nic.id end)
  return list
end

local function endpoint_of_machine(id)
  for _, endpoint in ipairs(endpoints()) do
    if endpoint.machine and same(endpoint.machine.id, id) then return endpoint end
  end
end

-- The networks that a network reaches: itself and its connected peers.
local function reachable_networks(vnet)
  local reached = { [vnet:lower()] = true }
  local record = records.get(vnet)
  for _, peering in ipairs(record and record.body.properties.virtualNetworkPeerings or {}) do
    local p = peering.properties
    local remote = at(p, "remoteVirtualNetwork", "id")
    if remote and p.peeringState == "Connected" and p.allowVirtualNetworkAccess ~= false then reached[remote:lower()] = true end
  end
  return reached
end

local function in_network(address, vnets)
  for vnet in pairs(vnets) do
    local record = records.get(vnet)
    for _, prefix in ipairs(record and at(record.body, "properties", "addressSpace", "addressPrefixes") or {}) do
      if ip.holds(prefix, address) then return true end
    end
  end
  return false
end

local function side(address, vnet)
  if address == PROBE_SOURCE then return { ip = address, tags = { AzureLoadBalancer = true } } end
  local inside = vnet and in_network(address, reachable_networks(vnet))
  return { ip = address, tags = { VirtualNetwork = inside or nil, Internet = not inside or nil } }
end

local function groups_of(endpoint)
  local subnet = records.child(endpoint.subnet)
  local list = {}
  for _, id in ipairs { at(subnet, "properties", "networkSecurityGroup", "id") or false,
    at(endpoint.nic.body, "properties", "networkSecurityGroup", "id") or false } do
    local group = id and records.get(id)
    if group then list[#list + 1] = group end
  end
  return list
end

-- Whether an endpoint's groups let a connection in (or out). Without any group a Standard public address is closed.
local function let_through(endpoint, direction, source, destination, port)
  local groups = groups_of(endpoint)
  if #groups == 0 and direction == "Inbound" and source.tags.Internet then
    return false, "no network security group lets anything in from the internet"
  end
  for _, group in ipairs(groups) do
    local ok, rule = security.allows(group, direction, source, destination, port)
    if not ok then
      return false, ("rule %s of the network security group %s denies %s -> %s:%d"):format(rule, group.name, source.ip, destination.ip, port)
    end
  end
  return true
end

local function machine_target(endpoint, port)
  local machine = endpoint.machine and world.machines and world.machines.get(endpoint.machine.id)
  if not machine then return nil, ("no machine answers at %s"):format(endpoint.ip), "timeout" end
  if machine.power ~= "running" then return nil, ("the machine at %s does not run"):format(endpoint.ip), "timeout" end
  if machine.reach then return machine:reach(port) end
  return { host = machine.address, port = fabric.port(port), machine = endpoint.machine.id }
end

-- From a source side into an endpoint's port.
local function into(endpoint, source, port)
  local ok, why = let_through(endpoint, "Inbound", source, side(endpoint.ip, endpoint.vnet), port)
  if not ok then return nil, why, "timeout" end
  return machine_target(endpoint, port)
end

local function public_record(address)
  for _, record in pairs(world.store:all("arm")) do
    if record.type:lower() == "microsoft.network/publicipaddresses" and record.body.properties.ipAddress == address then return record end
  end
end

--- The public address that a machine's connections to the internet come from; nil and a reason when it has no way out.
function fabric.egress(machine)
  local endpoint = endpoint_of_machine(machine)
  if not endpoint then return nil, "the machine has no interface" end
  local ok, why = let_through(endpoint, "Outbound", side(endpoint.ip, endpoint.vnet), { ip = "8.8.8.8", tags = { Internet = true } }, 443)
  if not ok then return nil, why end
  local function address_of(id)
    local record = id and records.get(id)
    return record and record.body.properties.ipAddress
  end
  local subnet = records.child(endpoint.subnet)
  local gateway = records.get(at(subnet, "properties", "natGateway", "id") or "/")
  local addresses = gateway and gateway.body.properties.publicIpAddresses
  local found = address_of(at(endpoint.properties, "publicIPAddress", "id")) or address_of(addresses and addresses[1] and addresses[1].id)
  if found then return found end
  for _, pool in ipairs(endpoint.properties.loadBalancerBackendAddressPools or {}) do
    local balancer = records.get(pool.id:match("^(.*)/backendAddressPools/") or "/")
    for _, rule in ipairs(balancer and balancer.body.properties.outboundRules or {}) do
      if same(at(rule, "properties", "backendAddressPool", "id"), pool.id) then
        local frontend = records.child(at(rule, "properties", "frontendIPConfigurations", 1, "id") or "/")
        found = address_of(at(frontend, "properties", "publicIPAddress", "id"))
        if found then return found end
      end
    end
  end
  if at(subnet, "properties", "defaultOutboundAccess") ~= false then return "20.0.0.4" end
  return nil, ("subnet %s has no way out: no NAT gateway, no public address, no default outbound access"):format(subnet.name)
end

--- The range of a subnet, or nil when there is none.
function fabric.prefix(subnet)
  local p = at(records.child(subnet), "properties")
  return p and (p.addressPrefix or at(p, "addressPrefixes", 1))
end

--- Where a machine's first interface is: { ip, subnet (id), prefix }, or nil.
function fabric.interface(machine)
  local endpoint = endpoint_of_machine(machine)
  if not endpoint or not endpoint.subnet then return nil end
  return { ip = endpoint.ip, subnet = endpoint.subnet, prefix = fabric.prefix(endpoint.subnet) }
end

--- What is let through to a machine and from it: { groups = lists of rules in their order, networks = ranges, platform }.
function fabric.guard(machine)
  local endpoint = endpoint_of_machine(machine)
  if not endpoint then return nil end
  local guard = { groups = {}, networks = {}, platform = PROBE_SOURCE }
  for i, group in ipairs(groups_of(endpoint)) do guard.groups[i] = security.rules(group) end
  for vnet in pairs(reachable_networks(endpoint.vnet)) do
    local record = records.get(vnet)
    for _, prefix in ipairs(record and at(record.body, "properties", "addressSpace", "addressPrefixes") or {}) do
      guard.networks[#guard.networks + 1] = prefix
    end
  end
  table.sort(guard.networks)
  return guard
end

--- The private addresses of load balancers: { ip, subnet (id) }.
function fabric.private_frontends()
  local list = {}
  for record in records.each("Microsoft.Network/loadBalancers") do
    for _, frontend in ipairs(record.body.properties.frontendIPConfigurations or {}) do
      local p = frontend.properties
      if p.privateIPAddress and at(p, "subnet", "id") then list[#list + 1] = { ip = p.privateIPAddress, subnet = p.subnet.id } end
    end
  end
  return list
end

-- The frontends of load balancers: { balancer, frontend, public (address) or private, vnet }.
local function frontend_at(address)
  for _, record in pairs(world.store:all("arm")) do
    if record.type:lower() == "microsoft.network/loadbalancers" then
      for _, frontend in ipairs(record.body.properties.frontendIPConfigurations or {}) do
        local public = records.get(at(frontend, "properties", "publicIPAddress", "id") or "/")
        if frontend.properties.privateIPAddress == address or (public and public.body.properties.ipAddress == address) then
          return record, frontend
        end
      end
    end
  end
end

local function id_of_frontend(balancer, frontend) return frontend.id or balancer.id .. "/frontendIPConfigurations/" .. frontend.name end

--- What a frontend does with a port: the rule, and whether it is a NAT rule; nil when nothing.
function fabric.rule_for(balancer, frontend, port)
  local own = id_of_frontend(balancer, frontend)
  for _, list in ipairs { "loadBalancingRules", "inboundNatRules" } do
    for _, rule in ipairs(balancer.body.properties[list] or {}) do
      local p = rule.properties
      if same(at(p, "frontendIPConfiguration", "id"), own) and p.frontendPort == port and (p.protocol == "Tcp" or p.protocol == "All") then
        return rule, list == "inboundNatRules"
      end
    end
  end
end

local function members(id, key)
  local list = {}
  for _, endpoint in ipairs(endpoints()) do
    for _, item in ipairs(endpoint.properties[key] or {}) do
      if same(item.id, id) then list[#list + 1] = endpoint end
    end
  end
  return list
end

--- The public addresses of load balancers that send connections to a machine's first interface, sorted.
function fabric.public_addresses(machine)
  local endpoint, pools, list = endpoint_of_machine(machine), {}, {}
  for _, pool in ipairs(endpoint and endpoint.properties.loadBalancerBackendAddressPools or {}) do pools[pool.id:lower()] = true end
  for record in records.each("Microsoft.Network/loadBalancers") do
    for _, frontend in ipairs(record.body.properties.frontendIPConfigurations or {}) do
      local public = records.get(at(frontend, "properties", "publicIPAddress", "id") or "/")
      for _, rule in ipairs(public and record.body.properties.loadBalancingRules or {}) do
        local p = rule.properties
        if pools[(at(p, "backendAddressPool", "id") or ""):lower()] and same(at(p, "frontendIPConfiguration", "id"), id_of_frontend(record, frontend)) then
          list[#list + 1] = public.body.properties.ipAddress
          break
        end
      end
    end
  end
  table.sort(list)
  return list
end

local turn = 0

--- The machine that a rule sends a connection to: a healthy member of its pool, in turn, or the NAT rule's own.
-- `source`: the client's side. `from`: the machine that asks, if it is one.
function fabric.backend(balancer, rule, nat, source, from)
  local p = rule.properties
  local id = rule.id or ("%s/%s/%s"):format(balancer.id, nat and "inboundNatRules" or "loadBalancingRules", rule.name)
  local candidates = nat and members(id, "loadBalancerInboundNatRules")
    or members(at(p, "backendAddressPool", "id") or "", "loadBalancerBackendAddressPools")
  if #candidates == 0 then return nil, ("rule %s of the load balancer %s has no backend"):format(rule.name, balancer.name), "timeout" end
  local why = nil
  turn = turn + 1
  local first = turn -- probes wait, and others take their turns meanwhile
  for i = 1, #candidates do
    local endpoint = candidates[(first + i) % #candidates + 1]
    local target, reason = into(endpoint, source, p.backendPort)
    if target and not nat and not fabric.probed(balancer, rule, endpoint, target) then
      target, reason = nil, ("the probe of rule %s finds no healthy machine behind the load balancer %s"):format(rule.name, balancer.name)
    end
    if target and from and same(from, target.machine) and balancer.body.properties.frontendIPConfigurations[1].properties.privateIPAddress then
      target, reason = nil, "an internal load balancer does not send a machine's own connection back to it"
    end
    if target then return target end
    why = why or reason
  end
  return nil, why, "timeout"
end

--- Whether a rule's probe finds a member healthy; a rule without a probe trusts all.
function fabric.probed(balancer, rule, endpoint, target)
  local probe = records.child(at(rule, "properties", "probe", "id") or "/")
  if not probe then return true end
  local port = probe.properties.port
  local ok = let_through(endpoint, "Inbound", side(PROBE_SOURCE), side(endpoint.ip, endpoint.vnet), port)
  return ok and require("emulator.balancer").healthy(target.host, fabric.port(port), probe.properties, balancer) or false
end

local function through_frontend(from, address, port)
  local balancer, frontend = frontend_at(address)
  if not balancer then return nil end
  local rule, nat = fabric.rule_for(balancer, frontend, port)
  if not rule then return false, ("the load balancer %s has no rule for port %d"):format(balancer.name, port), "timeout" end
  local source
  if from.machine then
    local own = endpoint_of_machine(from.machine)
    local private = frontend.properties.privateIPAddress
    local egress, why = nil, nil
    if not private then
      egress, why = fabric.egress(from.machine)
      if not egress then return false, why, "timeout" end
    end
    source = side(private and own.ip or egress, own.vnet)
  else
    source = side(from.internet)
    if frontend.properties.privateIPAddress then return false, "an internal load balancer is not reached from the internet", "timeout" end
  end
  local target, why, code = fabric.backend(balancer, rule, nat, source, from.machine)
  if not target then return false, why, code end
  -- People's own tools come in by the frontend's own address, so that every connection is balanced.
  if from.internet then
    local host = require("emulator.balancer").listen(balancer, frontend, port)
    if host then return { host = host, port = fabric.port(port) } end
  end
  return target
end

--- The machine at an address: a private one, its own public one, or the one that a NAT rule for SSH leads to.
function fabric.machine_at(address)
  for _, endpoint in ipairs(endpoints()) do
    local public = records.get(at(endpoint.properties, "publicIPAddress", "id") or "/")
    if endpoint.machine and (endpoint.ip == address or (public and public.body.properties.ipAddress == address)) then
      return endpoint.machine.id
    end
  end
  local balancer, frontend = frontend_at(address)
  local rule, nat = nil, nil
  if balancer then rule, nat = fabric.rule_for(balancer, frontend, 22) end
  if rule and nat then
    local endpoint = members(rule.id or balancer.id .. "/inboundNatRules/" .. rule.name, "loadBalancerInboundNatRules")[1]
    return endpoint and endpoint.machine and endpoint.machine.id
  end
end

local function from_machine(from, host, port)
  local own = endpoint_of_machine(from.machine)
  if not own then return nil, "the machine has no interface", "timeout" end
  local reached = reachable_networks(own.vnet)
  for _, endpoint in ipairs(endpoints()) do
    if endpoint.ip == host and endpoint.vnet and reached[endpoint.vnet:lower()] then
      local source = side(own.ip, endpoint.vnet)
      local ok, why = let_through(own, "Outbound", side(own.ip, own.vnet), side(host, own.vnet), port)
      if not ok then return nil, why, "timeout" end
      return into(endpoint, source, port)
    end
  end
  return nil, ("nothing of the network answers at %s"):format(host), "timeout"
end

--- Where a connection to host:port ends on loopback: { host, port }, or nil, reason, code.
function fabric.dial(from, host, port)
  if host == "127.0.0.1" or host == "localhost" then
    local machine = from.machine and world.machines and world.machines.get(from.machine)
    return { host = machine and machine.address or host, port = machine and fabric.port(port) or port }
  end
  if host:find("^127%.") then return { host = host, port = port } end
  local target, why, code = through_frontend(from, host, port)
  if target ~= nil then return target or nil, why, code end
  local public = public_record(host)
  if public then
    for _, endpoint in ipairs(endpoints()) do
      if same(at(endpoint.properties, "publicIPAddress", "id"), public.id) then
        local source_ip = from.internet or fabric.egress(from.machine)
        if not source_ip then return nil, "the machine has no way out", "timeout" end
        return into(endpoint, side(source_ip), port)
      end
    end
    return nil, ("nothing is behind the public address %s"):format(host), "timeout"
  end
  if from.machine then return from_machine(from, host, port) end
  return nil, ("%s is not reached from the internet"):format(host), "timeout"
end

return fabric
