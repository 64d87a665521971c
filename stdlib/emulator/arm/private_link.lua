--- Microsoft.Network: private endpoints, each with a network interface that comes and goes with it, and their DNS zone groups.
local crypto, json = require "crypto", require "json"
local records = require "emulator.arm.records"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"
local network = require "emulator.arm.network"

local ENDPOINT, INTERFACE = "Microsoft.Network/privateEndpoints", "Microsoft.Network/networkInterfaces"
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
  p.groupIds = json.array(p.groupIds or {})
  p.privateLinkServiceConnectionState = old and value.copy(old.properties.privateLinkServiceConnectionState)
    or entry.manual and { status = "Pending", description = "Awaiting approval", actionsRequired = "None" }
    or { status = "Approved", description = "Auto-Approved", actionsRequired = "None" }
end

--- Makes the interface of an endpoint that is new; returns its id.
local function make_interface(record)
  local p = record.body.properties
  local group = record.id:match("^(/subscriptions/[^/]+/resourceGroups/[^/]+)")
  local name = p.customNetworkInterfaceName
  if not name or name == "" then name = ("%s.nic.%s"):format(record.name, crypto.uuid()) end
  local configurations = {}
  for i, fixed in ipairs(p.ipConfigurations) do
    configurations[i] = { name = fixed.name, properties = { subnet = { id = p.subnet.id }, primary = i == 1,
      privateIPAddress = fixed.properties.privateIPAddress, privateIPAllocationMethod = "Static" } }
  end
  if not configurations[1] then
    configurations[1] = { name = "privateEndpointIpConfig." .. crypto.uuid(),
      properties = { subnet = { id = p.subnet.id }, primary = true } }
  end
  local made = network.instance_interface(("%s/providers/%s/%s"):format(group, INTERFACE, name),
    { name = name, properties = { ipConfigurations = configurations } }, INTERFACE, record.body.location)
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
  style = style.network, name = "^[%w][%w_.-]*$", seconds = { create = 30, update = 3, delete = 15 },
  fixed = { "properties.subnet.id", "properties.customNetworkInterfaceName" },
  read_only = { "resourceGuid", "networkInterfaces", "customDnsConfigs" },
  children = { [AUTOMATIC] = { type = ENDPOINT .. "/" .. AUTOMATIC }, [MANUAL] = { type = ENDPOINT .. "/" .. MANUAL } },
  prepare = function(body, ctx)
    local p = body.properties
    if not value.at(p, "subnet.id") then
      bad_request("InvalidRequestFormat", ("Private endpoint %s has no subnet."):format(ctx.record_id))
    end
    local list = connections(p)
    if #list ~= 1 then
      bad_request("PrivateEndpointMustHaveOneConnection", ("Private endpoint %s must have exactly one private link service connection.")
        :format(ctx.record_id))
    end
    check_connection(list[1], ctx)
    p.resourceGuid = ctx.old and ctx.old.body.properties.resourceGuid or crypto.uuid()
    value.fill(p, { customNetworkInterfaceName = "", ipVersionType = "IPv4", ipConfigurations = json.array {} })
  end,
  provision = function(record)
    if not records.get(record.private.interface or "/") then
      record.private.interface = make_interface(record)
      records.save(record)
    end
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

return {}
