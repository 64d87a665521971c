--- Microsoft.Network: networks and subnets, peerings, security groups, addresses, NAT gateways, load balancers, interfaces,
-- private DNS.
local crypto, json = require "crypto", require "json"
local world, clock = require "emulator.world", require "emulator.clock"
local records, operations = require "emulator.arm.records", require "emulator.arm.operations"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"
local ip, prefixes = require "emulator.ip", require "emulator.arm.public_ip_prefixes"

local raise, network = problem.raise, style.network

local function bad_request(code, message, headers) raise(400, code, message, { details = json.array {}, headers = headers }) end

local function check_prefix(prefix, where)
  local first, _, _, given = ip.range(prefix)
  if not (first and tostring(prefix):find("/")) then
    bad_request("InvalidAddressPrefixFormat", ("Address prefix %s of resource %s is not formatted correctly. It should follow CIDR "
      .. "notation, for example 10.0.0.0/24."):format(tostring(prefix), where))
  elseif first ~= given then
    bad_request("InvalidCIDRNotation", ("The address prefix %s in resource %s has an invalid CIDR notation. For the given prefix "
      .. "length, the address prefix should be %s/%s."):format(prefix, where, ip.text(first), prefix:match("%d+$")))
  end
end

local function guid(body, ctx) body.properties.resourceGuid = ctx.old and ctx.old.body.properties.resourceGuid or crypto.uuid() end

-- Virtual networks ------------------------------------------------------------------------------------------------------

local function prefixes_of(element)
  local p = element.properties
  return p.addressPrefixes and #p.addressPrefixes > 0 and p.addressPrefixes or { p.addressPrefix }
end

local function subnet_in_use(id)
  local users = records.users(id, "subnet")
  if users[1] then
    bad_request("InUseSubnetCannotBeDeleted", ("Subnet %s is in use by %s and cannot be deleted. In order to delete the subnet, delete "
      .. "all the resources within the subnet. See aka.ms/deletesubnet."):format(id:match("[^/]+$"), users[1].from))
  end
end

local function check_subnets(body, ctx)
  local space = body.properties.addressSpace.addressPrefixes
  local seen = {}
  for _, subnet in ipairs(body.properties.subnets) do
    local prefixes = prefixes_of(subnet)
    if not prefixes[1] then
      bad_request("MissingAddressPrefix", ("Subnet '%s' has no address prefix."):format(subnet.name))
    end
    for _, prefix in ipairs(prefixes) do
      check_prefix(prefix, ctx.record_id .. "/subnets/" .. subnet.name)
      local inside = false
      for _, range in ipairs(space) do inside = inside or ip.inside(prefix, range) end
      if not inside then
        bad_request("NetcfgSubnetRangeOutsideVnet", ("Subnet '%s' is not valid because its IP address range is outside the IP address "
          .. "range of virtual network '%s'."):format(subnet.name, ctx.name))
      end
      for _, other in ipairs(seen) do
        if ip.overlap(prefix, other.prefix) and other.name ~= subnet.name then
          bad_request("NetcfgSubnetRangesOverlap", ("Subnet '%s' is not valid because its IP address range overlaps with that of an "
            .. "existing subnet in virtual network '%s'."):format(subnet.name, ctx.name))
        end
      end
      seen[#seen + 1] = { prefix = prefix, name = subnet.name }
    end
  end
  for _, was in ipairs(ctx.old and ctx.old.body.properties.subnets or {}) do
    local still = value.named(body.properties.subnets, was.name)
    if not still then
      subnet_in_use(was.id)
    elseif not value.same(prefixes_of(was), prefixes_of(still)) then
      local users = records.users(was.id, "subnet")
      if users[1] then
        bad_request("InUsePrefixCannotBeDeleted", ("IpPrefix %s on Subnet %s has active allocations and cannot be deleted."):format(
          prefixes_of(was)[1], was.name))
      end
    end
  end
end

local function reverse_of(vnet_id, remote_id)
  local remote = records.get(remote_id)
  for _, peering in ipairs(remote and remote.body.properties.virtualNetworkPeerings or {}) do
    local to = value.at(peering, "properties.remoteVirtualNetwork.id")
    if to and to:lower() == vnet_id:lower() then return peering, remote end
  end
end

local function check_peerings(body, ctx)
  for _, peering in ipairs(body.properties.virtualNetworkPeerings) do
    local p = peering.properties
    local remote_id = value.at(p, "remoteVirtualNetwork.id")
    local was = ctx.old and value.named(ctx.old.body.properties.virtualNetworkPeerings, peering.name)
    if was and was.properties.remoteVirtualNetwork.id:lower() ~= remote_id:lower() then
      bad_request("ChangingRemoteVirtualNetworkNotAllowed", ("Changing remote virtual network of peering '%s' is not allowed."):format(
        peering.name))
    end
    local remote = records.get(remote_id)
    if remote then
      if not was and operations.under_way(remote) then
        bad_request("ReferencedResourceNotProvisioned", ("Cannot proceed with operation because resource %s used by resource %s is not "
          .. "in Succeeded state. Resource is in Updating state and the last operation that updated/is updating the resource is "
          .. "PutSubnetOperation."):format(remote.id, ctx.record_id), clock.retry_after(network.retry))
      end
      for _, a in ipairs(body.properties.addressSpace.addressPrefixes) do
        for _, b in ipairs(remote.body.properties.addressSpace.addressPrefixes) do
          if ip.overlap(a, b) then
            bad_request("VnetAddressSpacesOverlap", ("Cannot create or update peering %s. Virtual networks %s and %s cannot be peered "
              .. "because their address spaces overlap. Overlapping address prefixes: %s"):format(ctx.record_id
              .. "/virtualNetworkPeerings/" .. peering.name, ctx.record_id, remote.id, a))
          end
        end
      end
      p.remoteAddressSpace = value.copy(remote.body.properties.addressSpace)
      p.remoteVirtualNetworkAddressSpace = value.copy(remote.body.properties.addressSpace)
    end
    p.resourceGuid = was and was.properties.resourceGuid or crypto.uuid()
    local back = reverse_of(ctx.record_id, remote_id)
    if was and was.properties.peeringState == "Disconnected" and not (back and back.properties.peeringState == "Initiated") then
      p.peeringState = "Disconnected"
    elseif not was and back and back.properties.peeringState ~= "Initiated" then
      bad_request("RemotePeeringIsDisconnected", ("Cannot create or update peering %s because remote peering %s referencing parent "
        .. "virtual network is in Disconnected state. Update or re-create the remote peering to get it back to Initiated state. Peering "
        .. "gets Disconnected when remote vnet or remote peering is deleted and re-created."):format(peering.name, back.id))
    else
      p.peeringState = back and "Connected" or "Initiated"
    end
    p.peeringSyncLevel = p.peeringState == "Connected" and "FullyInSync" or "RemoteNotInSync"
  end
end

--- The other side of each peering follows: connected when both are there, disconnected when one went.
local function tell_remotes(record, old_body)
  for _, peering in ipairs(record.body.properties.virtualNetworkPeerings) do
    local back, remote = reverse_of(record.id, peering.properties.remoteVirtualNetwork.id)
    if back and peering.properties.peeringState == "Connected" and back.properties.peeringState ~= "Connected" then
      back.properties.peeringState, back.properties.peeringSyncLevel = "Connected", "FullyInSync"
      records.new_etag(remote)
      records.save(remote)
    end
  end
  for _, was in ipairs(old_body and old_body.properties.virtualNetworkPeerings or {}) do
    if not value.named(record.body.properties.virtualNetworkPeerings, was.name) then
      local back, remote = reverse_of(record.id, was.properties.remoteVirtualNetwork.id)
      if back then
        back.properties.peeringState = "Disconnected"
        records.new_etag(remote)
        records.save(remote)
      end
    end
  end
end

records.define("Microsoft.Network/virtualNetworks", {
  kind = "azure.virtual_network", style = network, seconds = { create = 5, update = 4, delete = 10 },
  kept = { "subnets" }, read_only = { "resourceGuid" },
  children = {
    subnets = { kind = "azure.subnet", seconds = { create = 4, delete = 10 }, read_only = { "ipConfigurations",
      "resourceNavigationLinks", "purpose" },
      defaults = { delegations = json.array {}, privateEndpointNetworkPolicies = "Disabled",
        privateLinkServiceNetworkPolicies = "Enabled" },
      show = function(element) element.properties.ipConfigurations = records.back(element.id, "subnet", "/ipconfigurations/") end },
    virtualNetworkPeerings = { kind = "azure.virtual_network_peering", seconds = { create = 10, delete = 10 },
      defaults = { allowVirtualNetworkAccess = true, allowForwardedTraffic = false, allowGatewayTransit = false,
        useRemoteGateways = false, doNotVerifyRemoteGateways = false, peerCompleteVnets = true },
      read_only = { "peeringSyncLevel" } },
  },
  prepare = function(body, ctx)
    local p = body.properties
    local prefixes = value.at(p, "addressSpace.addressPrefixes") or {}
    if #prefixes == 0 then
      bad_request("InvalidRequestFormat", ("Virtual network '%s' has no address space: addressSpace.addressPrefixes is required."):format(
        ctx.name))
    end
    for _, prefix in ipairs(prefixes) do check_prefix(prefix, ctx.record_id) end
    guid(body, ctx)
    value.fill(p, { privateEndpointVNetPolicies = "Disabled", enableDdosProtection = false })
    check_subnets(body, ctx)
    check_peerings(body, ctx)
  end,
  began = function(record, ctx) tell_remotes(record, ctx.old) end,
  busy = function(record)
    for _, subnet in ipairs(record.body.properties.subnets) do subnet_in_use(subnet.id) end
  end,
  destroy = function(record)
    local was = { properties = { virtualNetworkPeerings = value.copy(record.body.properties.virtualNetworkPeerings) } }
    record.body.properties.virtualNetworkPeerings = json.array {}
    tell_remotes(record, was)
  end,
  put_status = { 201, 201 },
})

-- Security groups -------------------------------------------------------------------------------------------------------

local DEFAULT_RULES = {
  { "AllowVnetInBound", "Allow inbound traffic from all VMs in VNET", "VirtualNetwork", "VirtualNetwork", "Allow", 65000, "Inbound" },
  { "AllowAzureLoadBalancerInBound", "Allow inbound traffic from azure load balancer", "AzureLoadBalancer", "*", "Allow", 65001, "Inbound" },
  { "DenyAllInBound", "Deny all inbound traffic", "*", "*", "Deny", 65500, "Inbound" },
  { "AllowVnetOutBound", "Allow outbound traffic from all VMs to all VMs in VNET", "VirtualNetwork", "VirtualNetwork", "Allow", 65000,
    "Outbound" },
  { "AllowInternetOutBound", "Allow outbound traffic from all VMs to Internet", "*", "Internet", "Allow", 65001, "Outbound" },
  { "DenyAllOutBound", "Deny all outbound traffic", "*", "*", "Deny", 65500, "Outbound" },
}

local PLURALS = { sourcePortRanges = json.array {}, destinationPortRanges = json.array {}, sourceAddressPrefixes = json.array {},
  destinationAddressPrefixes = json.array {} }

local function default_rules()
  local rules = {}
  for i, rule in ipairs(DEFAULT_RULES) do
    rules[i] = { name = rule[1], properties = value.fill({ description = rule[2], protocol = "*", sourcePortRange = "*",
      destinationPortRange = "*", sourceAddressPrefix = rule[3], destinationAddressPrefix = rule[4], access = rule[5], priority = rule[6],
      direction = rule[7] }, PLURALS) }
  end
  return rules
end

local function check_port_range(range, rule, what)
  local text = tostring(range)
  if text == "*" then return end
  local first, last = text:match("^(%d+)%-?(%d*)$")
  if not first or tonumber(first) > 65535 or (last ~= "" and (tonumber(last) > 65535 or tonumber(last) < tonumber(first))) then
    bad_request("SecurityRuleInvalidPortRange", ("Security rule has invalid Port range. Value provided: %s. Value should be an integer OR "
      .. "integer range with '-' delimiter. Valid range 0-65535. (%s of %s)"):format(text, what, rule.name))
  end
end

local function check_rule_prefix(prefix, rule)
  if prefix == "*" or prefix:find("^%a[%w.]*$") or prefix:find(":", 1, true) then return end
  if not ip.range(prefix) then
    bad_request("SecurityRuleInvalidAddressPrefix", ("Security rule %s has invalid Address prefix. Value provided: %s"):format(rule.name,
      tostring(prefix)))
  end
end

local function check_rule(rule, taken)
  local p = rule.properties
  for _, side in ipairs { "source", "destination" } do
    local one, many = side .. "AddressPrefix", side .. "AddressPrefixes"
    local range, ranges = side .. "PortRange", side .. "PortRanges"
    if not p[one] and not (p[many] and #p[many] > 0) and not p[side .. "ApplicationSecurityGroups"] then
      bad_request("SecurityRuleParameterNotSpecified", ("Required security rule parameters are missing for security rule with Id: %s. "
        .. "Security rule must specify %s, %s or %sApplicationSecurityGroups."):format(rule.name, many, one, side))
    end
    if p[one] then check_rule_prefix(p[one], rule) end
    for _, prefix in ipairs(p[many] or {}) do check_rule_prefix(prefix, rule) end
    if not p[range] and not (p[ranges] and #p[ranges] > 0) then
      bad_request("SecurityRuleParameterNotSpecified", ("Required security rule parameters are missing for security rule with Id: %s. "
        .. "Security rule must specify %s or %s."):format(rule.name, ranges, range))
    end
    if p[range] then
      p[range] = tostring(p[range])
      check_port_range(p[range], rule, range)
    end
    for _, item in ipairs(p[ranges] or {}) do check_port_range(item, rule, ranges) end
  end
  local key = p.direction .. p.priority
  if taken[key] then
    bad_request("SecurityRuleConflict", ("Security rule %s conflicts with rule %s. Rules cannot have the same Priority and Direction. To "
      .. "learn more, see aka.ms/nsgrules."):format(rule.name, taken[key]))
  end
  taken[key] = rule.name
end

records.define("Microsoft.Network/networkSecurityGroups", {
  kind = "azure.network_security_group", style = network, seconds = { create = 4, update = 2, delete = 8 },
  read_only = { "resourceGuid", "defaultSecurityRules", "subnets", "networkInterfaces" },
  children = { securityRules = { seconds = { create = 2, delete = 2 }, defaults = PLURALS } },
  prepare = function(body, ctx)
    guid(body, ctx)
    local taken = {}
    for _, rule in ipairs(body.properties.securityRules) do check_rule(rule, taken) end
  end,
  show = function(record, body)
    local rules = default_rules()
    for _, rule in ipairs(rules) do
      rule.id = record.id .. "/defaultSecurityRules/" .. rule.name
      rule.etag, rule.type = record.etag, "Microsoft.Network/networkSecurityGroups/defaultSecurityRules"
      rule.properties.provisioningState = record.state
    end
    body.properties.defaultSecurityRules = json.array(rules)
    body.properties.subnets = records.back(record.id, "networkSecurityGroup", "/subnets/")
    body.properties.networkInterfaces = records.back(record.id, "networkSecurityGroup", "/networkinterfaces/")
  end,
  busy = function(record)
    local users = records.users(record.id, "networkSecurityGroup")
    if users[1] then
      bad_request("InUseNetworkSecurityGroupCannotBeDeleted", ("Network security group %s cannot be deleted because it is in use by the "
        .. "following resources: %s. In order to delete the Network security group, remove the association with the resource(s). To learn "
        .. "how to do this, see aka.ms/deletensg."):format(record.id, users[1].from))
    end
  end,
})

-- Public addresses ------------------------------------------------------------------------------------------------------

records.define("Microsoft.Network/publicIPAddresses", {
  kind = "azure.public_ip_address", style = network, seconds = { create = 3, update = 2, delete = 10 },
  fixed = { "properties.publicIPAddressVersion", "properties.publicIPPrefix.id" },
  read_only = { "resourceGuid", "ipConfiguration", "natGateway" },
  prepare = function(body, ctx)
    local p, old = body.properties, ctx.old and ctx.old.body
    guid(body, ctx)
    body.sku = body.sku or old and old.sku or { name = "Basic" }
    value.fill(body.sku, { tier = "Regional" })
    local standard = body.sku.name ~= "Basic"
    value.fill(p, { publicIPAddressVersion = "IPv4", publicIPAllocationMethod = "Dynamic", idleTimeoutInMinutes = 4,
      ipTags = json.array {} })
    if standard and p.publicIPAllocationMethod ~= "Static" then
      bad_request("StandardSkuPublicIPAddressMustBeStatic", ("Standard sku public IP address %s must use Static allocation."):format(
        ctx.record_id))
    end
    if standard then p.ddosSettings = p.ddosSettings or { protectionMode = "VirtualNetworkInherited" } end
    if p.dnsSettings and p.dnsSettings.domainNameLabel then
      p.dnsSettings.fqdn = ("%s.%s.cloudapp.azure.com"):format(p.dnsSettings.domainNameLabel, body.location)
    end
    p.ipAddress = old and old.properties.ipAddress or nil
  end,
  provision = function(record)
    local p = record.body.properties
    if p.publicIPAllocationMethod == "Static" and not p.ipAddress then
      local prefix = value.at(p, "publicIPPrefix.id")
      p.ipAddress = prefix and prefixes.take_address(prefix, record.id) or world.addresses:allocate("public", record.id:lower())
    end
  end,
  show = function(record, body)
    local user = records.users(record.id, "publicIPAddress")[1]
    if user then body.properties.ipConfiguration = { id = user.from } end
    local gateway = records.users(record.id, "publicIpAddresses")[1]
    if gateway then body.properties.natGateway = { id = gateway.record.id } end
  end,
  busy = function(record)
    local user = records.users(record.id, "publicIPAddress")[1] or records.users(record.id, "publicIpAddresses")[1]
    if user then
      bad_request("PublicIPAddressCannotBeDeleted", ("Public IP address %s can not be deleted since it is still allocated to resource %s. "
        .. "In order to delete the public IP, disassociate/detach the Public IP address from the resource."):format(record.id, user.from))
    end
  end,
  destroy = function(record)
    world.addresses:release("public", record.id:lower())
  end,
})

-- NAT gateways ----------------------------------------------------------------------------------------------------------

records.define("Microsoft.Network/natGateways", {
  kind = "azure.nat_gateway", style = network, seconds = { create = 13, update = 10, delete = 10 },
  read_only = { "resourceGuid", "subnets" },
  prepare = function(body, ctx)
    guid(body, ctx)
    body.sku = body.sku or ctx.old and ctx.old.body.sku
    if not body.sku or not body.sku.name then
      bad_request("InvalidRequestFormat", ("NAT gateway %s has no sku.name."):format(ctx.record_id))
    end
    value.fill(body.sku, { tier = "Regional" })
    value.fill(body.properties, { idleTimeoutInMinutes = 4, type = "Public" })
    for _, address in ipairs(body.properties.publicIpAddresses or {}) do
      local record = records.get(address.id)
      if record and record.body.sku.name == "Basic" then
        bad_request("NatGatewayAndPublicIpSkuMismatch", ("NAT gateway %s and public IP address %s have different skus."):format(
          ctx.record_id, record.id))
      end
      for _, user in ipairs(records.users(address.id)) do
        if user.record.id:lower() ~= ctx.record_id:lower() then
          bad_request("PublicIPAddressInUse", ("Resource %s is referencing public IP address %s that is already allocated to resource %s.")
            :format(ctx.record_id, address.id, user.from))
        end
      end
    end
  end,
  show = function(record, body) body.properties.subnets = records.back(record.id, "natGateway", "/subnets/") end,
  busy = function(record)
    local user = records.users(record.id, "natGateway")[1]
    if user then
      bad_request("InUseNatGatewayCannotBeDeleted", ("Nat gateway %s cannot be deleted because it is in use by the following resources: %s.")
        :format(record.id, user.from))
    end
  end,
})

-- Interfaces ------------------------------------------------------------------------------------------------------------

--- The addresses in use in a subnet, as numbers.
local function taken_in(subnet_id, except)
  local taken = {}
  for _, user in ipairs(records.users(subnet_id, "subnet")) do
    for _, list in ipairs { "ipConfigurations", "frontendIPConfigurations" } do
      for _, configuration in ipairs(user.record.body.properties[list] or {}) do
        local address = value.at(configuration, "properties.privateIPAddress")
        if address and configuration.id and configuration.id:lower() ~= (except or ""):lower() then
          taken[ip.number(address)] = configuration.id
        end
      end
    end
  end
  return taken
end

--- Finds or checks the private address of a configuration. Azure keeps the first four addresses and the last.
local function place_address(p, subnet_id, own_id, also)
  local subnet = records.child(subnet_id)
  if not subnet then return end
  local taken = taken_in(subnet_id, own_id)
  for n in pairs(also or {}) do taken[n] = "this resource" end
  local prefix = prefixes_of(subnet)[1]
  local first, last = ip.range(prefix)
  if p.privateIPAddress then
    local n = ip.number(p.privateIPAddress)
    if not n or n < first or n > last then
      bad_request("PrivateIPAddressNotInSubnet", ("Private IP address %s does not belong to the range of subnet prefix %s."):format(
        tostring(p.privateIPAddress), prefix))
    elseif n < first + 4 or n == last then
      bad_request("PrivateIPAddressInReservedRange", ("Private IP address %s falls within reserved IP range of subnet prefix %s."):format(
        p.privateIPAddress, prefix))
    elseif taken[n] then
      bad_request("PrivateIPAddressIsAllocated", ("IP configuration %s is using the private IP address %s which is already allocated to "
        .. "resource %s."):format(own_id, p.privateIPAddress, taken[n]))
    end
    return
  end
  for n = first + 4, last - 1 do
    if not taken[n] then
      p.privateIPAddress = ip.text(n)
      return
    end
  end
  bad_request("SubnetIsFull", ("Subnet %s with address prefix %s does not have enough capacity for 1 IP addresses."):format(
    subnet_id:match("[^/]+$"), prefix))
end

local function check_public_ip(p, own_id)
  local id = value.at(p, "publicIPAddress.id")
  if not id then return end
  for _, user in ipairs(records.users(id)) do
    if user.from:lower() ~= own_id:lower() then
      bad_request("PublicIPAddressInUse", ("Resource %s is referencing public IP address %s that is already allocated to resource %s."):format(
        own_id, id, user.from))
    end
  end
end

local function mac_address(id)
  local hex = crypto.sha256(id:lower()):upper()
  return ("00-22-48-%s-%s-%s"):format(hex:sub(1, 2), hex:sub(3, 4), hex:sub(5, 6))
end

local function vm_of(nic_id) return records.users(nic_id, "networkInterfaces")[1] end

local NIC_DEFAULTS = { enableAcceleratedNetworking = false, vnetEncryptionSupported = false, enableIPForwarding = false,
  disableTcpStateTracking = false, hostedWorkloads = json.array {}, tapConfigurations = json.array {}, nicType = "Standard",
  allowPort25Out = true, defaultOutboundConnectivityEnabled = false, auxiliaryMode = "None", auxiliarySku = "None" }

--- Completes an interface's configurations: addresses, the primary one. Interfaces of scale set instances come here too.
local function complete_configurations(body, ctx)
  local configurations = body.properties.ipConfigurations
  if #configurations == 0 then
    bad_request("NetworkInterfaceMustHaveOneIpConfiguration", ("Network interface %s must have at least one IP configuration."):format(
      ctx.record_id))
  end
  local own, primary = {}, nil
  for _, configuration in ipairs(configurations) do
    if configuration.properties.primary == true then primary = configuration end
  end
  if not primary then configurations[1].properties.primary = true end
  for _, configuration in ipairs(configurations) do
    local p = configuration.properties
    local id = ctx.record_id .. "/ipConfigurations/" .. configuration.name
    value.fill(p, { privateIPAllocationMethod = "Dynamic", privateIPAddressVersion = "IPv4" })
    if p.primary == nil then p.primary = false end
    local was = ctx.old and value.named(ctx.old.body.properties.ipConfigurations, configuration.name)
    local subnet = value.at(p, "subnet.id")
    if not subnet then
      bad_request("InvalidRequestFormat", ("IP configuration %s has no subnet."):format(id))
    end
    if not records.child(subnet) then
      bad_request("InvalidResourceReference", ("Resource %s referenced by resource %s was not found. Please make sure that the referenced "
        .. "resource exists, and that both resources are in the same region."):format(subnet, ctx.record_id))
    end
    local same_subnet = was and value.at(was, "properties.subnet.id"):lower() == subnet:lower()
    if p.privateIPAllocationMethod == "Dynamic" then p.privateIPAddress = same_subnet and was.properties.privateIPAddress or nil end
    place_address(p, subnet, id, own)
    own[ip.number(p.privateIPAddress)] = true
    check_public_ip(p, id)
  end
end

local NIC_CHILDREN = { ipConfigurations = { type = "Microsoft.Network/networkInterfaces/ipConfigurations" } }

records.define("Microsoft.Network/networkInterfaces", {
  kind = "azure.network_interface", style = network, seconds = { create = 0, update = 2, delete = 5 }, immediate = true,
    quiet = true,
  read_only = { "resourceGuid", "virtualMachine", "macAddress", "primary" }, children = NIC_CHILDREN,
  prepare = function(body, ctx)
    guid(body, ctx)
    body.kind = "Regular"
    local p = body.properties
    p.dnsSettings = p.dnsSettings or {}
    value.fill(p.dnsSettings, { dnsServers = json.array {}, appliedDnsServers = json.array {}, internalDomainNameSuffix =
      ctx.old and ctx.old.body.properties.dnsSettings.internalDomainNameSuffix
      or crypto.sha256(ctx.record_id:match("^(.*)/networkInterfaces/") or ctx.record_id):sub(1, 26) .. ".bx.internal.cloudapp.net" })
    value.fill(p, NIC_DEFAULTS)
    complete_configurations(body, ctx)
  end,
  show = function(record, body)
    local user = vm_of(record.id)
    if user then
      body.properties.virtualMachine = { id = user.record.id }
      body.properties.primary = true
      body.properties.macAddress = mac_address(record.id)
    end
  end,
  busy = function(record)
    local user = vm_of(record.id)
    if user then
      bad_request("NicInUse", ("Network Interface %s is used by existing resource %s. In order to delete the network interface, it must be "
        .. "dissociated from the resource. To learn more, see aka.ms/deletenic."):format(record.id, user.record.id))
    end
  end,
  delete_at_once = function(record) return not record.attached end,
})

--- Interfaces of scale set instances live below the instance.
records.define("Microsoft.Compute/virtualMachineScaleSets/virtualMachines/networkInterfaces", {
  style = network, located = false, children = NIC_CHILDREN,
  show = function(record, body)
    local instance = record.id:match("^(.*)/networkInterfaces/")
    body.type, body.location, body.kind = nil, nil, nil
    body.properties.virtualMachine = { id = instance }
    body.properties.macAddress = mac_address(record.id)
    body.properties.primary = record.body.properties.primary
  end,
})

--- A completed record of an instance's interface from its configuration in the profile.
local function instance_interface(id, configuration, type_name, location)
  local p = value.copy(configuration.properties)
  local configurations = {}
  for i, item in ipairs(p.ipConfigurations or {}) do
    local q = value.copy(item.properties)
    if q.publicIPAddressConfiguration then q.publicIPAddressConfiguration = nil end
    configurations[i] = { name = item.name, properties = q }
  end
  local body = { properties = { ipConfigurations = json.array(configurations), networkSecurityGroup = p.networkSecurityGroup,
    primary = p.primary ~= false, resourceGuid = crypto.uuid(),
    dnsSettings = { dnsServers = json.array {}, appliedDnsServers = json.array {},
      internalDomainNameSuffix = crypto.sha256(id):sub(1, 26) .. ".bx.internal.cloudapp.net" } } }
  value.fill(body.properties, NIC_DEFAULTS)
  body.properties.enableAcceleratedNetworking = p.enableAcceleratedNetworking or false
  body.properties.enableIPForwarding = p.enableIPForwarding or false
  if type_name == "Microsoft.Network/networkInterfaces" then body.location, body.kind = location, "Regular" end
  complete_configurations(body, { record_id = id })
  local record = records.new(type_name, id, body)
  for _, element in ipairs(body.properties.ipConfigurations) do
    element.id, element.type = id .. "/ipConfigurations/" .. element.name, "Microsoft.Network/networkInterfaces/ipConfigurations"
  end
  records.save(record)
  return record
end

-- Load balancers --------------------------------------------------------------------------------------------------------

local function named_child(body, id, list, what, owner)
  local name = id and id:match("/([^/]+)$")
  local found = name and value.named(body.properties[list], name)
  if not found then
    bad_request("InvalidResourceReference", ("Resource %s referenced by resource %s was not found. Please make sure that the referenced "
      .. "resource exists, and that both resources are in the same region."):format(tostring(id or what), owner))
  end
  return found
end

local function check_rules(body, ctx)
  local used = {}
  local function claim(rule, p, what)
    local key = ("%s|%s|%s"):format(tostring(value.at(p, "frontendIPConfiguration.id")):lower(), p.protocol, tostring(p.frontendPort))
    if used[key] then
      bad_request("RulesUseSameFrontendPortProtocolAndIPConfig", ("Load balancing rules %s and %s belong to the load balancer of the same type "
        .. "and use the same FrontendPort, Protocol and FrontendIPConfiguration."):format(used[key], what .. "/" .. rule.name))
    end
    used[key] = what .. "/" .. rule.name
  end
  for _, rule in ipairs(body.properties.loadBalancingRules) do
    local p, owner = rule.properties, ctx.record_id .. "/loadBalancingRules/" .. rule.name
    p.protocol = p.protocol or "Tcp"
    named_child(body, value.at(p, "frontendIPConfiguration.id"), "frontendIPConfigurations", "frontendIPConfiguration", owner)
    if p.backendAddressPools and not p.backendAddressPool then p.backendAddressPool = p.backendAddressPools[1] end
    if p.backendAddressPool then
      named_child(body, p.backendAddressPool.id, "backendAddressPools", "backendAddressPool", owner)
      p.backendAddressPools = json.array { { id = p.backendAddressPool.id } }
    end
    if p.probe then named_child(body, p.probe.id, "probes", "probe", owner) end
    claim(rule, p, "loadBalancingRules")
  end
  for _, rule in ipairs(body.properties.inboundNatRules) do
    local p, owner = rule.properties, ctx.record_id .. "/inboundNatRules/" .. rule.name
    p.protocol = p.protocol or "Tcp"
    named_child(body, value.at(p, "frontendIPConfiguration.id"), "frontendIPConfigurations", "frontendIPConfiguration", owner)
    if p.backendAddressPool then named_child(body, p.backendAddressPool.id, "backendAddressPools", "backendAddressPool", owner) end
    if not p.frontendPortRangeStart then claim(rule, p, "inboundNatRules") end
  end
  for _, rule in ipairs(body.properties.outboundRules) do
    local p, owner = rule.properties, ctx.record_id .. "/outboundRules/" .. rule.name
    named_child(body, value.at(p, "backendAddressPool.id"), "backendAddressPools", "backendAddressPool", owner)
    for _, frontend in ipairs(p.frontendIPConfigurations or {}) do
      named_child(body, frontend.id, "frontendIPConfigurations", "frontendIPConfiguration", owner)
    end
  end
end

--- Pools and rules that interfaces or scale sets still name may not go.
local function check_removed(body, ctx)
  if not ctx.old then return end
  for _, list in ipairs { "backendAddressPools", "inboundNatRules", "probes" } do
    for _, was in ipairs(ctx.old.body.properties[list]) do
      if not value.named(body.properties[list], was.name) then
        for _, user in ipairs(records.users(was.id)) do
          local of_set = user.record.type:find("virtualMachineScaleSets")
          if of_set and list == "backendAddressPools" then
            bad_request("LoadBalancerBackendAddressPoolInUseByVirtualMachineScaleSet", ("Cannot remove backend address pool %s from load "
              .. "balancer %s because it is in use by virtual machine scale set %s."):format(was.name, ctx.record_id, user.record.id))
          elseif of_set and list == "probes" then
            bad_request("CannotRemoveRuleUsedByProbeUsedByVMSS", ("Cannot remove probe %s: it is used by virtual machine scale set %s."):format(
              was.name, user.record.id))
          elseif user.record.id:lower() ~= ctx.record_id:lower() then
            bad_request(list == "inboundNatRules" and "InboundNatRuleInUse" or "InUseBackendAddressPoolCannotBeDeleted",
              ("%s is in use by %s and cannot be deleted."):format(was.id, user.from))
          end
        end
      end
    end
  end
end

local RULE_DEFAULTS = { enableFloatingIP = false, idleTimeoutInMinutes = 4, enableTcpReset = false }

local function back_rules(element, field)
  element.properties[field] = records.back(element.id, nil, "/" .. field:lower() .. "/")
end

records.define("Microsoft.Network/loadBalancers", {
  kind = "azure.load_balancer", style = network, seconds = { create = 3, update = 3, delete = 5 }, immediate_create = true,
  read_only = { "resourceGuid" },
  children = {
    frontendIPConfigurations = { defaults = { privateIPAllocationMethod = "Dynamic" }, read_only = { "loadBalancingRules",
      "inboundNatRules", "outboundRules", "inboundNatPools" },
      show = function(element)
        for _, list in ipairs { "loadBalancingRules", "inboundNatRules", "outboundRules" } do back_rules(element, list) end
      end },
    backendAddressPools = { alone = { loadBalancerBackendAddresses = json.array {} }, read_only = { "backendIPConfigurations",
      "loadBalancingRules", "outboundRules", "inboundNatRules" },
      show = function(element)
        element.properties.backendIPConfigurations = records.back(element.id, "loadBalancerBackendAddressPools", "/networkinterfaces/")
        for _, list in ipairs { "loadBalancingRules", "outboundRules" } do back_rules(element, list) end
      end },
    loadBalancingRules = { defaults = value.fill({ loadDistribution = "Default", disableOutboundSnat = false,
      allowBackendPortConflict = false, enableDestinationServiceEndpoint = false }, RULE_DEFAULTS) },
    probes = { defaults = { intervalInSeconds = 15, numberOfProbes = 2, probeThreshold = 1, noHealthyBackendsBehavior = "AllProbedDown" },
      read_only = { "loadBalancingRules" }, show = function(element) back_rules(element, "loadBalancingRules") end },
    inboundNatRules = { defaults = RULE_DEFAULTS, read_only = { "backendIPConfiguration" },
      show = function(element)
        local user = records.users(element.id, "loadBalancerInboundNatRules")[1]
        if user then element.properties.backendIPConfiguration = { id = user.from } end
      end },
    outboundRules = { defaults = { allocatedOutboundPorts = 0, idleTimeoutInMinutes = 4, enableTcpReset = false, protocol = "All" } },
    inboundNatPools = {},
  },
  prepare = function(body, ctx)
    guid(body, ctx)
    body.sku = body.sku or ctx.old and ctx.old.body.sku or { name = "Basic" }
    value.fill(body.sku, { tier = "Regional" })
    local own = {}
    for _, frontend in ipairs(body.properties.frontendIPConfigurations) do
      local p = frontend.properties
      local id = ctx.record_id .. "/frontendIPConfigurations/" .. frontend.name
      local subnet = value.at(p, "subnet.id")
      if not subnet and not p.publicIPAddress and not p.publicIPPrefix then
        bad_request("LoadBalancerFrontendIPConfigMustReferencePublicIPOrSubnet", ("Frontend IP configuration %s must reference either a "
          .. "subnet or a public IP address."):format(id))
      end
      if subnet and not records.child(subnet) then
        bad_request("InvalidResourceReference", ("Resource %s referenced by resource %s was not found."):format(subnet, id))
      elseif subnet then
        local was = ctx.old and value.named(ctx.old.body.properties.frontendIPConfigurations, frontend.name)
        if p.privateIPAllocationMethod == "Dynamic" then p.privateIPAddress = was and was.properties.privateIPAddress or nil end
        place_address(p, subnet, id, own)
        own[ip.number(p.privateIPAddress)] = true
        p.privateIPAddressVersion = p.privateIPAddressVersion or "IPv4"
      end
      local public = records.get(value.at(p, "publicIPAddress.id") or "/")
      if public and public.body.sku.name ~= body.sku.name then
        bad_request("LoadBalancerAndPublicIPSkuMismatch" , ("%s sku load balancer %s cannot reference %s sku publicIP %s."):format(
          body.sku.name, ctx.record_id, public.body.sku.name, public.id))
      end
      check_public_ip(p, id)
    end
    for _, probe in ipairs(body.properties.probes) do
      local p = probe.properties
      p.protocol = p.protocol or "Tcp"
      if p.protocol ~= "Tcp" and not p.requestPath then
        bad_request("InvalidRequestFormat", ("Probe %s of protocol %s needs requestPath."):format(probe.name, p.protocol))
      end
    end
    check_rules(body, ctx)
    check_removed(body, ctx)
  end,
  busy = function(record)
    for _, pool in ipairs(record.body.properties.backendAddressPools) do
      for _, user in ipairs(records.users(pool.id)) do
        if user.record.type:find("virtualMachineScaleSets$") then
          bad_request("LoadBalancerInUseByVirtualMachineScaleSet", ("Cannot delete load balancer %s since its child resources %s are in use "
            .. "by virtual machine scale set %s."):format(record.id, pool.name, user.record.id))
        end
      end
    end
  end,
  destroy = function(record)
    -- Interfaces that were members forget it.
    for _, lists in ipairs { { "backendAddressPools", "loadBalancerBackendAddressPools" }, { "inboundNatRules", "loadBalancerInboundNatRules" } } do
      for _, element in ipairs(record.body.properties[lists[1]]) do
        for _, user in ipairs(records.users(element.id, lists[2])) do
          for _, configuration in ipairs(user.record.body.properties.ipConfigurations or {}) do
            local kept = json.array {}
            for _, item in ipairs(configuration.properties[lists[2]] or {}) do
              if item.id:lower() ~= element.id:lower() then kept[#kept + 1] = item end
            end
            configuration.properties[lists[2]] = #kept > 0 and kept or nil
          end
          records.save(user.record)
        end
      end
    end
  end,
})

-- Private DNS -----------------------------------------------------------------------------------------------------------

local function lower_id(id)
  return (id:gsub("(/resourceGroups/)([^/]+)(/.*)$", function(a, group, rest)
    return a .. group:lower() .. rest:gsub("(/privateDnsZones/)(.+)$", function(b, tail) return b .. tail:lower():gsub("/virtualnetworklinks/",
      "/virtualNetworkLinks/") end)
  end))
end

local LINK = "Microsoft.Network/privateDnsZones/virtualNetworkLinks"

records.define("Microsoft.Network/privateDnsZones", {
  kind = "azure.private_dns_zone", style = style.dns, seconds = { create = 30, update = 10, delete = 30 },
  new_id = function(id, group) return lower_id(("%s/providers/Microsoft.Network/privateDnsZones/%s"):format(group.id, id.name)) end,
  prepare = function(body, ctx)
    value.fill(body.properties, { maxNumberOfRecordSets = 25000, maxNumberOfVirtualNetworkLinks = 1000,
      maxNumberOfVirtualNetworkLinksWithRegistration = 100, numberOfVirtualNetworkLinks = 0,
      numberOfVirtualNetworkLinksWithRegistration = 0, numberOfRecordSets = 1 })
    body.properties.internalId = ctx.old and ctx.old.body.properties.internalId
      or crypto.base64(("ImmutableZoneIdentity;%s;0"):format(crypto.uuid()))
  end,
  show = function(record, body)
    local links = 0
    for _ in records.each(LINK, record.id .. "/") do links = links + 1 end
    body.properties.numberOfVirtualNetworkLinks = links
    for child in records.each(nil, record.id .. "/") do
      if child.type ~= LINK and not child.type:find "/SOA$" then body.properties.numberOfRecordSets = body.properties.numberOfRecordSets + 1 end
    end
  end,
  busy = function(record)
    for link in records.each(LINK, record.id .. "/") do
      if link.state ~= "Deleting" then
        raise(409, "CannotDeleteResource", "Cannot delete resource while nested resources exist. Some existing nested resource IDs include: '"
          .. record.id .. "/virtualNetworkLinks'. Please delete all nested resources before deleting this resource.")
      end
    end
  end,
})

records.define(LINK, {
  kind = "azure.private_dns_link", style = style.dns, seconds = { create = 35, update = 20, delete = 30 },
  new_id = function(id)
    local zone = records.get(id.parent)
    if not zone then problem.not_found("Microsoft.Network/privateDnsZones/" .. id.names[1], id.group) end
    return ("%s/virtualNetworkLinks/%s"):format(zone.id, id.name:lower())
  end,
  prepare = function(body, ctx)
    value.fill(body.properties, { registrationEnabled = false })
    -- What becomes of names that are not there is said for zones of private links alone.
    if ctx.record_id:find("/privateDnsZones/[^/]*privatelink%.") then
      value.fill(body.properties, { resolutionPolicy = "Default" })
    end
    body.properties.virtualNetworkLinkState = "Completed"
  end,
})

return { default_rules = default_rules, instance_interface = instance_interface }
