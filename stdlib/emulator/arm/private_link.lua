--- Microsoft.Network: private endpoints, each with a network interface that comes and goes with it, and their DNS zone groups.
local crypto, json = require "crypto", require "json"
local records = require "emulator.arm.records"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"
local network = require "emulator.arm.network"

local ENDPOINT, INTERFACE = "Microsoft.Network/privateEndpoints", "Microsoft.Network/networkInterfaces"
local SERVICE = "Microsoft.Network/privateLinkServices"
local AUTOMATIC, MANUAL = "privateLinkServiceConnections", "manualPrivateLinkServiceConnections"

-- learn.microsoft.com/azure/private-link/private-endpoint-overview: a resource's sub-resources, and the public name of each.
local GROUPS = {
  ["microsoft.storage/storageaccounts"] = { blob = "%s.blob.core.windows.net", file = "%s.file.core.windows.net",
    queue = "%s.queue.core.windows.net", table = "%s.table.core.windows.net", web = "%s.web.core.windows.net",
    dfs = "%s.dfs.core.windows.net" },
  ["microsoft.keyvault/vaults"] = { vault = "%s.vault.azure.net" },
}

local function bad_request(code, message) problem.raise(400, code, message, { details = json.array {} }) end

local function connections(p)
  local list = {}
  for _, key in ipairs { AUTOMATIC, MANUAL } do
    for _, connection in ipairs(p[key] or {}) do list[#list + 1] = { element = connection, manual = key == MANUAL } end
  end
  return list
end

local function check_connection(entry, ctx)
  local connection, p = entry.element, entry.element.properties
  local target = records.get(p.privateLinkServiceId or "/")
  if not target then
    bad_request("InvalidResourceReference", ("Resource %s referenced by resource %s was not found. Please make sure that the referenced "
      .. "resource exists, and that both resources are in the same region."):format(tostring(p.privateLinkServiceId), ctx.record_id))
  end
  local groups = GROUPS[target.type:lower()]
  for _, group in ipairs(groups and p.groupIds or {}) do
    if not groups[group:lower()] then
      bad_request("MissingOrInvalidGroupId", ("Call to %s failed. Error message: the group id '%s' is not one of the resource %s."):format(
        target.type, group, target.id))
    end
  end
  if groups and #(p.groupIds or {}) == 0 then
    bad_request("MissingOrInvalidGroupId", ("Connection %s to %s needs one group id."):format(connection.name, target.id))
  end
  local old = ctx.old and value.named(ctx.old.body.properties[entry.manual and MANUAL or AUTOMATIC], connection.name)
  p.groupIds = (groups or p.groupIds) and json.array(p.groupIds or {})
  p.privateLinkServiceConnectionState = old and value.copy(old.properties.privateLinkServiceConnectionState)
    or entry.manual and { status = "Pending", description = "Awaiting approval", actionsRequired = "None" }
    or { status = "Approved", description = target.type == SERVICE and "Auto Approved" or "Auto-Approved",
      actionsRequired = "None" }
end

local function make_interface(record, name, configurations)
  local group = record.id:match("^(/subscriptions/[^/]+/resourceGroups/[^/]+)")
  if not name or name == "" then name = ("%s.nic.%s"):format(record.name, crypto.uuid()) end
  return network.instance_interface(("%s/providers/%s/%s"):format(group, INTERFACE, name),
    { name = name, properties = { ipConfigurations = configurations } }, INTERFACE, record.body.location)
end

--- Makes the interface of an endpoint that is new; returns its id.
local function make_endpoint_interface(record)
  local p = record.body.properties
  local configurations = {}
  for i, fixed in ipairs(p.ipConfigurations) do
    configurations[i] = { name = fixed.name, properties = { subnet = { id = p.subnet.id }, primary = i == 1,
      privateIPAddress = fixed.properties.privateIPAddress, privateIPAllocationMethod = "Static" } }
  end
  if not configurations[1] then
    configurations[1] = { name = "privateEndpointIpConfig." .. crypto.uuid(),
      properties = { subnet = { id = p.subnet.id }, primary = true } }
  end
  local made = make_interface(record, p.customNetworkInterfaceName, configurations)
  made.body.properties.privateEndpoint = { id = record.id }
  records.save(made)
  return made.id
end

--- The public names that lead to the endpoint, for those who write DNS themselves.
local function dns_of(record, address)
  local list = json.array {}
  for _, entry in ipairs(connections(record.body.properties)) do
    local target = records.get(entry.element.properties.privateLinkServiceId)
    for _, group in ipairs(target and entry.element.properties.groupIds or {}) do
      local form = (GROUPS[target.type:lower()] or {})[group:lower()]
      if form then list[#list + 1] = { fqdn = form:format(target.name:lower()), ipAddresses = json.array { address } } end
    end
  end
  return list
end

records.define(ENDPOINT, {
  kind = "azure.private_endpoint", style = style.network, seconds = { create = 30, update = 3, delete = 15 },
  children = { [AUTOMATIC] = { type = ENDPOINT .. "/" .. AUTOMATIC, settled = true },
    [MANUAL] = { type = ENDPOINT .. "/" .. MANUAL, settled = true } },
  prepare = function(body, ctx)
    local p = body.properties
    local list = connections(p)
    if #list ~= 1 then
      bad_request("PrivateEndpointMustHaveOneConnection", ("Private endpoint %s must have exactly one private link service connection.")
        :format(ctx.record_id))
    end
    check_connection(list[1], ctx)
    p.resourceGuid = ctx.old and ctx.old.body.properties.resourceGuid or crypto.uuid()
    value.fill(p, { customNetworkInterfaceName = "", isIPv6EnabledPrivateEndpoint = false, ipConfigurations = json.array {} })
  end,
  began = function(record)
    if not records.get(record.private.interface or "/") then record.private.interface = make_endpoint_interface(record) end
  end,
  show = function(record, body)
    local interface = records.get(record.private.interface or "/")
    body.properties.networkInterfaces = json.array(interface and { { id = interface.id } } or {})
    local first = interface and interface.body.properties.ipConfigurations[1]
    body.properties.customDnsConfigs = json.array(first and dns_of(record, first.properties.privateIPAddress) or {})
  end,
  destroy = function(record)
    local interface = records.get(record.private.interface or "/")
    if interface then records.remove(interface) end
  end,
})

records.define(ENDPOINT .. "/privateDnsZoneGroups", {
  style = style.network, located = false, seconds = { create = 10, update = 5, delete = 5 },
    children = { privateDnsZoneConfigs = {} },
  prepare = function(body)
    for _, zone in ipairs(body.properties.privateDnsZoneConfigs or {}) do
      local id = value.at(zone, "properties.privateDnsZoneId")
      if not id or not records.get(id) then
        bad_request("InvalidPrivateDnsZoneIds", ("Private DNS zone %s was not found."):format(tostring(id)))
      end
      zone.properties.recordSets = zone.properties.recordSets or json.array {}
    end
  end,
})

-- The addresses of a service behind which a load balancer stands; endpoints of others lead to it.

local function connections_of(service)
  local list = json.array {}
  for endpoint in records.each(ENDPOINT) do
    for _, entry in ipairs(connections(endpoint.body.properties)) do
      local p = entry.element.properties
      if p.privateLinkServiceId and p.privateLinkServiceId:lower() == service.id:lower() then
        local name = ("%s.%s"):format(endpoint.name, endpoint.guid)
        list[#list + 1] = { name = name, id = service.id .. "/privateEndpointConnections/" .. name, etag = service.etag,
          type = SERVICE .. "/privateEndpointConnections", properties = { provisioningState = "Succeeded",
            privateEndpoint = { id = endpoint.id, location = endpoint.body.location },
            privateLinkServiceConnectionState = value.copy(p.privateLinkServiceConnectionState) } }
      end
    end
  end
  return list
end

local function check_service(body, ctx)
  local p = body.properties
  if #(p.loadBalancerFrontendIpConfigurations or {}) == 0 and not p.destinationIPAddress then
    bad_request("PrivateLinkServiceMustHaveLoadBalancerFrontendIpConfiguration", ("Private link service %s has no "
      .. "loadBalancerFrontendIpConfigurations."):format(ctx.record_id))
  elseif #p.ipConfigurations == 0 then
    bad_request("PrivateLinkServiceMustHaveIpConfiguration",
      ("Private link service %s has no ipConfigurations."):format(ctx.record_id))
  end
  local primary
  for _, configuration in ipairs(p.ipConfigurations) do
    local q = configuration.properties
    local subnet = records.child(value.at(q, "subnet.id") or "/")
    if not subnet then
      bad_request("InvalidRequestFormat", ("IP configuration %s of private link service %s has no subnet that is there."):format(
        configuration.name, ctx.record_id))
    elseif subnet.properties.privateLinkServiceNetworkPolicies ~= "Disabled" then
      bad_request("PrivateLinkServiceCannotBeCreatedInSubnetThatHasNetworkPoliciesEnabled",
        ("Private link service %s cannot be created in a "
        .. "subnet %s since it has private link service network policies enabled."):format(ctx.record_id, subnet.id))
    end
    primary = primary or q.primary == true
  end
  if not primary then p.ipConfigurations[1].properties.primary = true end
end

records.define(SERVICE, {
  style = style.network, name = "^[%w][%w_.-]*$", seconds = { create = 10, update = 5, delete = 10 },
  read_only = { "resourceGuid", "alias", "privateEndpointConnections", "networkInterfaces" },
  children = { ipConfigurations = { settled = true, defaults = { privateIPAllocationMethod = "Dynamic",
    privateIPAddressVersion = "IPv4",
    primary = false } } },
  prepare = function(body, ctx)
    local p, old = body.properties, ctx.old and ctx.old.body.properties
    check_service(body, ctx)
    p.resourceGuid = old and old.resourceGuid or crypto.uuid()
    p.alias = old and old.alias or ("%s.%s.%s.azure.privatelinkservice"):format(ctx.name:lower(), crypto.uuid(), body.location)
    value.fill(p, { fqdns = json.array {}, enableProxyProtocol = false })
  end,
  began = function(record)
    if records.get(record.private.interface or "/") then return end
    local configurations = {}
    for i, configuration in ipairs(record.body.properties.ipConfigurations) do
      local q = configuration.properties
      configurations[i] = { name = configuration.name, properties = { subnet = { id = q.subnet.id }, primary = q.primary,
        privateIPAddress = q.privateIPAddress, privateIPAllocationMethod = q.privateIPAllocationMethod } }
    end
    local made = make_interface(record, nil, configurations)
    made.body.properties.privateLinkService = { id = record.id }
    records.save(made)
    record.private.interface = made.id
  end,
  show = function(record, body)
    local interface = records.get(record.private.interface or "/")
    body.properties.networkInterfaces = json.array(interface and { { id = interface.id } } or {})
    body.properties.privateEndpointConnections = connections_of(record)
  end,
  busy = function(record)
    local connection = connections_of(record)[1]
    if connection then
      bad_request("PrivateLinkServiceCannotBeDeletedSinceItHasPrivateEndpointConnections",
        ("Private link service %s cannot be deleted: the "
        .. "private endpoint %s is connected to it."):format(record.id, connection.properties.privateEndpoint.id))
    end
  end,
  destroy = function(record)
    local interface = records.get(record.private.interface or "/")
    if interface then records.remove(interface) end
  end,
})

return {}
