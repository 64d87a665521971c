local test = require "tap"
local json, task = require "json", require "task"
local lab = require "emulator_lab"

local N = "~/Microsoft.Network/"
local function vnet_body(prefix, subnets)
  return { location = "westus2", properties = { addressSpace = { addressPrefixes = { prefix or "10.0.0.0/16" } }, subnets = subnets } }
end

local function subnet(name, prefix) return { name = name, properties = { addressPrefix = prefix } } end

test("a network and its subnets: operation, defaults, etags", function(t)
  local l = lab.open(t)
  local answer = l:call("PUT", N .. "virtualNetworks/v", vnet_body())
  t.eq({ answer.status, answer.json.properties.provisioningState }, { 201, "Updating" })
  t.ok(answer.headers["azure-asyncoperation"] and not answer.headers.location)
  t.ok(tonumber(answer.headers["retry-after"]) and tonumber(answer.headers["retry-after-ms"]))
  t.eq(l:finish(answer).json, { status = "Succeeded" })
  answer = l:call("GET", N .. "virtualNetworks/v")
  t.eq(answer.json.properties.subnets, json.array {})
  t.eq(answer.headers.etag, answer.json.etag)
  t.has(answer.json.etag, 'W/"')
  local made = l:put(N .. "virtualNetworks/v/subnets/s", { properties = { addressPrefix = "10.0.1.0/24" } })
  t.eq({ made.properties.privateEndpointNetworkPolicies, made.type },
    { "Disabled", "Microsoft.Network/virtualNetworks/subnets" })
  t.eq(#l:call("GET", N .. "virtualNetworks/v").json.properties.subnets, 1)
  -- A PUT of the network keeps subnets that it does not speak of.
  l:put(N .. "virtualNetworks/v", vnet_body())
  t.eq(#l:call("GET", N .. "virtualNetworks/v/subnets").json.value, 1)
  local stale = l:call("PUT", N .. "virtualNetworks/v", vnet_body(), { headers = { ["If-Match"] = 'W/"other"' } })
  t.eq({ stale.status, stale.code, stale.json.error.details[1].code },
    { 412, "PreconditionFailed", "PreconditionFailedEtagMismatch" })
  t.eq(l:call("PUT", N .. "virtualNetworks/v", vnet_body(), { headers = { ["If-None-Match"] = "*" } }).status, 412)
  local etag = l:call("GET", N .. "virtualNetworks/v").json.etag
  t.eq(l:call("PUT", N .. "virtualNetworks/v", vnet_body(), { headers = { ["If-Match"] = etag } }).status, 201)
end)

test("address ranges that cannot be", function(t)
  local l = lab.open(t)
  local function code(body) return l:call("PUT", N .. "virtualNetworks/v", body).code end
  t.eq(code(vnet_body("10.0.0.0")), "InvalidAddressPrefixFormat")
  t.eq(code(vnet_body("10.0.0.1/16")), "InvalidCIDRNotation")
  t.eq(code(vnet_body(nil, { subnet("a", "10.1.0.0/24") })), "NetcfgSubnetRangeOutsideVnet")
  t.eq(code(vnet_body(nil, { subnet("a", "10.0.0.0/24"), subnet("b", "10.0.0.128/25") })), "NetcfgSubnetRangesOverlap")
  t.eq(l:call("GET", N .. "virtualNetworks/v").status, 404, "nothing was made")
  t.eq(l:call("PUT", N .. "virtualNetworks/-v", vnet_body()).code, "InvalidResourceName")
end)

test("one write at a time in a network", function(t)
  local l = lab.open(t, { factor = 20 })
  l:put(N .. "virtualNetworks/v", vnet_body())
  local first = l:call("PUT", N .. "virtualNetworks/v/subnets/a", { properties = { addressPrefix = "10.0.1.0/24" } })
  t.eq(first.status, 201)
  local second = l:call("PUT", N .. "virtualNetworks/v/subnets/b", { properties = { addressPrefix = "10.0.2.0/24" } })
  t.eq({ second.status, second.code }, { 409, "AnotherOperationInProgress" })
  t.has(second.json.error.message, "/operations/")
  t.ok(second.headers["retry-after"])
  l:finish(first)
  t.eq(l:call("PUT", N .. "virtualNetworks/v/subnets/b", { properties = { addressPrefix = "10.0.2.0/24" } }).status, 201)
end)

test("peerings: both sides, overlap, a side that goes", function(t)
  local l = lab.open(t)
  local a, b = l:put(N .. "virtualNetworks/a", vnet_body("10.0.0.0/16")), l:put(N .. "virtualNetworks/b", vnet_body("10.1.0.0/16"))
  local same = l:put(N .. "virtualNetworks/c", vnet_body("10.0.0.0/8"))
  local function peer(from, name, to)
    return l:put(("%svirtualNetworks/%s/virtualNetworkPeerings/%s"):format(N, from, name),
      { properties = { remoteVirtualNetwork = { id = to.id }, allowVirtualNetworkAccess = true } }).properties
  end
  t.eq(peer("a", "to-b", b).peeringState, "Initiated")
  t.eq(peer("b", "to-a", a).peeringState, "Connected")
  t.eq(l:call("GET", N .. "virtualNetworks/a/virtualNetworkPeerings/to-b").json.properties.peeringState, "Connected")
  local refused = l:call("PUT", N .. "virtualNetworks/a/virtualNetworkPeerings/to-c", { properties = { remoteVirtualNetwork = { id = same.id } } })
  t.eq({ refused.status, refused.code }, { 400, "VnetAddressSpacesOverlap" })
  l:delete(N .. "virtualNetworks/a/virtualNetworkPeerings/to-b")
  t.eq(l:call("GET", N .. "virtualNetworks/b/virtualNetworkPeerings/to-a").json.properties.peeringState, "Disconnected")
  t.eq(l:call("PUT", N .. "virtualNetworks/a/virtualNetworkPeerings/to-b", { properties = { remoteVirtualNetwork = { id = b.id } } }).code,
    "RemotePeeringIsDisconnected")
end)

test("security rules are checked and the default ones are shown", function(t)
  local l = lab.open(t)
  local nsg = l:put(N .. "networkSecurityGroups/n", { location = "westus2" })
  t.eq({ #nsg.properties.defaultSecurityRules, nsg.properties.securityRules }, { 6, json.array {} })
  local function rule(name, changes)
    local p = { protocol = "Tcp", access = "Allow", direction = "Inbound", priority = 100, sourceAddressPrefix = "*", sourcePortRange = "*",
      destinationAddressPrefix = "*", destinationPortRange = "22" }
    for key, value in pairs(changes or {}) do p[key] = value end
    local answer = l:call("PUT", N .. "networkSecurityGroups/n/securityRules/" .. name, { properties = p })
    if answer.status < 300 then l:finish(answer) end
    return answer.code or answer.status
  end
  t.eq(rule "a", 201)
  t.eq(rule("b", {}), "SecurityRuleConflict")
  t.eq(rule("b", { priority = 99 }), "SecurityRuleInvalidPriority")
  t.eq(rule("b", { priority = 110, destinationPortRange = "99999" }), "SecurityRuleInvalidPortRange")
  t.eq(rule("b", { priority = 110, sourceAddressPrefix = "300.1.1.1" }), "SecurityRuleInvalidAddressPrefix")
  t.eq(rule("b", { priority = 110, protocol = "Quic" }), "SecurityRuleParameterMissing")
  t.eq(rule("b", { priority = 110, direction = "Outbound" }), 201)
  t.eq(rule("a", { priority = 105 }), 200)
  l:delete(N .. "networkSecurityGroups/n/securityRules/b")
  local shown = l:call("GET", N .. "networkSecurityGroups/n/securityRules").json.value
  t.eq({ #shown, shown[1].properties.priority, shown[1].properties.sourceAddressPrefixes }, { 1, 105, json.array {} })
end)

test("what is in use cannot be deleted, and says by whom", function(t)
  local l = lab.open(t)
  local nsg = l:put(N .. "networkSecurityGroups/n", { location = "westus2" })
  local public = { location = "westus2", sku = { name = "Standard" }, properties = { publicIPAllocationMethod = "Static" } }
  local ip = l:put(N .. "publicIPAddresses/p", public)
  t.ok(ip.properties.ipAddress)
  local nat = l:put(N .. "natGateways/nat", { location = "westus2", sku = { name = "Standard" },
    properties = { publicIpAddresses = { { id = ip.id } } } })
  l:put(N .. "virtualNetworks/v", vnet_body(nil, { { name = "s", properties = { addressPrefix = "10.0.1.0/24",
    networkSecurityGroup = { id = nsg.id }, natGateway = { id = nat.id } } } }))
  local subnet_id = l:call("GET", N .. "virtualNetworks/v/subnets/s").json.id
  local nic = l:call("PUT", N .. "networkInterfaces/i", { location = "westus2", properties = { ipConfigurations = { { name = "c",
    properties = { subnet = { id = subnet_id } } } } } })
  t.eq({ nic.status, nic.json.properties.provisioningState, nic.headers["azure-asyncoperation"] }, { 201, "Succeeded", nil })
  t.eq(nic.json.properties.ipConfigurations[1].properties.privateIPAddress, "10.0.1.4", "the first four are Azure's")
  local function code(path) return l:call("DELETE", path).code end
  t.eq(code(N .. "networkSecurityGroups/n"), "InUseNetworkSecurityGroupCannotBeDeleted")
  t.eq(code(N .. "publicIPAddresses/p"), "PublicIPAddressCannotBeDeleted")
  t.eq(code(N .. "natGateways/nat"), "InUseNatGatewayCannotBeDeleted")
  t.eq(code(N .. "virtualNetworks/v/subnets/s"), "InUseSubnetCannotBeDeleted")
  t.eq(code(N .. "virtualNetworks/v"), "InUseSubnetCannotBeDeleted")
  t.has(l:call("DELETE", N .. "virtualNetworks/v").body, "networkInterfaces/i")
  t.eq(l:call("PUT", N .. "virtualNetworks/v", vnet_body(nil, {})).code, "InUseSubnetCannotBeDeleted")
  t.eq(l:call("GET", N .. "networkSecurityGroups/n").json.properties.subnets[1].id, subnet_id)
  t.eq(l:call("GET", N .. "natGateways/nat").json.properties.subnets[1].id, subnet_id)
  t.eq(#l:call("GET", N .. "virtualNetworks/v/subnets/s").json.properties.ipConfigurations, 1)
  local gone = l:call("DELETE", N .. "networkInterfaces/i")
  t.eq(gone.status, 200, "an interface that no machine had goes at once")
  l:delete(N .. "virtualNetworks/v")
  l:delete(N .. "natGateways/nat")
  l:delete(N .. "publicIPAddresses/p")
  l:delete(N .. "networkSecurityGroups/n")
  t.eq(l:call("GET", "~~/resourceGroups/g/resources").json.value, json.array {})
end)

test("private addresses: given, taken, outside, none left", function(t)
  local l = lab.open(t)
  l:put(N .. "virtualNetworks/v", vnet_body(nil, { subnet("s", "10.0.1.0/29") }))
  local id = l:call("GET", N .. "virtualNetworks/v/subnets/s").json.id
  local function nic(name, address)
    local answer = l:call("PUT", N .. "networkInterfaces/" .. name, { location = "westus2", properties = { ipConfigurations = { { name = "c",
      properties = { subnet = { id = id }, privateIPAddress = address, privateIPAllocationMethod = address and "Static" or nil } } } } })
    return answer.code or answer.json.properties.ipConfigurations[1].properties.privateIPAddress
  end
  t.eq(nic("a", "10.0.1.5"), "10.0.1.5")
  t.eq(nic("b", "10.0.1.5"), "PrivateIPAddressIsAllocated")
  t.eq(nic("b", "10.0.2.5"), "PrivateIPAddressNotInSubnet")
  t.eq(nic("b", "10.0.1.1"), "PrivateIPAddressInReservedRange")
  t.eq(nic "b", "10.0.1.4")
  t.eq(nic "c", "10.0.1.6")
  t.eq(nic "d", "SubnetIsFull")
  t.eq(nic "b", "10.0.1.4", "the same one again")
  t.eq(l:call("PUT", N .. "networkInterfaces/e", { location = "westus2", properties = { ipConfigurations = { { name = "c",
    properties = { subnet = { id = id .. "x" } } } } } }).code, "InvalidResourceReference")
end)

test("a load balancer: children, references, conflicts, what a controller adds", function(t)
  local l = lab.open(t)
  local ip = l:put(N .. "publicIPAddresses/p", { location = "westus2", sku = { name = "Standard" }, properties = { publicIPAllocationMethod = "Static" } })
  local base = ip.id:gsub("publicIPAddresses/p$", "loadBalancers/lb")
  local function part(list, name) return { id = base .. "/" .. list .. "/" .. name } end
  local function rule(name, port, pool)
    return { name = name, properties = { frontendIPConfiguration = part("frontendIPConfigurations", "f"),
      backendAddressPool = part("backendAddressPools", pool or "p"), frontendPort = port, backendPort = port, protocol = "Tcp" } }
  end
  local function body(rules)
    return { location = "westus2", sku = { name = "Standard" }, properties = {
      frontendIPConfigurations = { { name = "f", properties = { publicIPAddress = { id = ip.id } } } },
      backendAddressPools = { { name = "p" } }, loadBalancingRules = rules,
      probes = { { name = "h", properties = { protocol = "Tcp", port = 22 } } } } }
  end
  t.eq(l:call("PUT", N .. "loadBalancers/lb", body { rule("r", 80, "q") }).code, "InvalidResourceReference")
  t.eq(l:call("PUT", N .. "loadBalancers/lb", body { rule("a", 80), rule("b", 80) }).code, "RulesUseSameFrontendPortProtocolAndIPConfig")
  local answer = l:call("PUT", N .. "loadBalancers/lb", body { rule("r", 80) })
  t.eq({ answer.status, answer.json.properties.provisioningState }, { 201, "Succeeded" })
  local made = answer.json.properties
  t.eq({ made.inboundNatRules, made.outboundRules, made.loadBalancingRules[1].properties.loadDistribution },
    { json.array {}, json.array {}, "Default" })
  t.eq(made.frontendIPConfigurations[1].properties.loadBalancingRules[1].id, base .. "/loadBalancingRules/r")
  l:finish(l:call("PUT", N .. "loadBalancers/lb/inboundNatRules/ssh", { properties = { frontendIPConfiguration =
    part("frontendIPConfigurations", "f"), frontendPort = 22, backendPort = 22, protocol = "Tcp" } }))
  t.eq(#l:call("GET", N .. "loadBalancers/lb").json.properties.inboundNatRules, 1)
  t.eq(l:call("PUT", N .. "loadBalancers/lb/inboundNatRules/x", { properties = { frontendIPConfiguration =
    part("frontendIPConfigurations", "f"), frontendPort = 80, backendPort = 22, protocol = "Tcp" } }).code,
    "RulesUseSameFrontendPortProtocolAndIPConfig")
  t.eq(l:call("DELETE", N .. "publicIPAddresses/p").code, "PublicIPAddressCannotBeDeleted")
  t.eq(l:call("PUT", N .. "loadBalancers/lb", { location = "westus2", sku = { name = "Basic" }, properties = {} }).code, "PropertyChangeNotAllowed")
  l:delete(N .. "loadBalancers/lb")
  t.eq(l:call("GET", N .. "loadBalancers/lb").status, 404)
end)

test("a group goes with all it holds", function(t)
  local l = lab.open(t)
  l:put(N .. "virtualNetworks/v", vnet_body(nil, { subnet("s", "10.0.1.0/24") }))
  l:put("~~/resourceGroups/other", { location = "westus2" })
  local id = l:call("GET", N .. "virtualNetworks/v/subnets/s").json.id
  local nic = "~~/resourceGroups/other/providers/Microsoft.Network/networkInterfaces/i"
  l:call("PUT", nic, { location = "westus2", properties = { ipConfigurations = { { name = "c", properties = { subnet = { id = id } } } } } })
  -- The interface of another group still needs the subnet of this one.
  t.eq(l:call("DELETE", "~~/resourceGroups/g").code, "ResourceGroupDeletionBlocked")
  l:delete(nic)
  local answer = l:call("DELETE", "~~/resourceGroups/g")
  t.eq(l:call("PUT", N .. "virtualNetworks/w", vnet_body()).code, "ResourceGroupBeingDeleted")
  t.eq(l:finish(answer).status, 200)
  t.eq(l:call("GET", N .. "virtualNetworks/v").code, "ResourceGroupNotFound")
  task.sleep(0)
end)

test.done()
