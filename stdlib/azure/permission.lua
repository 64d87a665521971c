--- Which actions of Azure's roles a kind needs: on its own type, on what it mentions, and for what its verbs ask besides.
-- The names: learn.microsoft.com, "Azure permissions" of each resource provider.
local kind = require "kind"

local M = {}

-- ARM's type -> what whoever mentions a resource of it must be allowed to do with it.
local JOINS = {
  ["microsoft.compute/diskencryptionsets"] = "Microsoft.Compute/diskEncryptionSets/read",
  ["microsoft.insights/datacollectionrules"] = "Microsoft.Insights/dataCollectionRules/read",
  ["microsoft.managedidentity/userassignedidentities"] = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
  ["microsoft.network/loadbalancers/backendaddresspools"] = "Microsoft.Network/loadBalancers/backendAddressPools/join/action",
  ["microsoft.network/loadbalancers/inboundnatrules"] = "Microsoft.Network/loadBalancers/inboundNatRules/join/action",
  ["microsoft.network/natgateways"] = "Microsoft.Network/natGateways/join/action",
  ["microsoft.network/networkinterfaces"] = "Microsoft.Network/networkInterfaces/join/action",
  ["microsoft.network/networksecuritygroups"] = "Microsoft.Network/networkSecurityGroups/join/action",
  ["microsoft.network/publicipaddresses"] = "Microsoft.Network/publicIPAddresses/join/action",
  ["microsoft.network/routetables"] = "Microsoft.Network/routeTables/join/action",
  ["microsoft.network/virtualnetworks"] = "Microsoft.Network/virtualNetworks/join/action",
  ["microsoft.network/virtualnetworks/subnets"] = "Microsoft.Network/virtualNetworks/subnets/join/action",
}

-- Where a kind means something else by the mention; false: nothing.
local OTHERWISE = {
  ["azure.diagnostic_setting"] = {
    ["microsoft.operationalinsights/workspaces"] = "Microsoft.OperationalInsights/workspaces/sharedKeys/action",
    ["microsoft.storage/storageaccounts"] = "Microsoft.Storage/storageAccounts/listKeys/action",
  },
  ["azure.role_assignment"] = { ["microsoft.managedidentity/userassignedidentities"] = false },
  ["azure.virtual_network_peering"] = { ["microsoft.network/virtualnetworks"] = "Microsoft.Network/virtualNetworks/peer/action" },
}

-- Fields that hold ids as texts, and the types of these.
local BY_ID = {
  ["azure.network_interface"] = { "Microsoft.Network/loadBalancers/backendAddressPools",
    "Microsoft.Network/loadBalancers/inboundNatRules" },
  ["azure.virtual_machine_scale_set"] = { "Microsoft.Network/loadBalancers/backendAddressPools" },
}

local VM, SET = "Microsoft.Compute/virtualMachines", "Microsoft.Compute/virtualMachineScaleSets"

local IMAGES = "Microsoft.Compute/locations/publishers/artifacttypes/offers/skus/versions/read"

-- What verbs ask for beside their own type.
local BESIDES = {
  ["azure.host_keys"] = { VM .. "/runCommand/action", SET .. "/virtualMachines/runCommand/action" },
  ["azure.key_vault"] = { "Microsoft.KeyVault/deletedVaults/read", "Microsoft.KeyVault/locations/deletedVaults/read" },
  ["azure.key_vault_key"] = { "Microsoft.KeyVault/vaults/keys/write" },
  ["azure.private_endpoint"] = { "Microsoft.Network/networkInterfaces/read" },
  ["azure.resource_group"] = { "Microsoft.Resources/subscriptions/resourceGroups/resources/read" },
  ["azure.virtual_machine"] = { VM .. "/instanceView/read", VM .. "/start/action", VM .. "/deallocate/action",
    "Microsoft.Compute/disks/read", "Microsoft.Compute/disks/write", "Microsoft.Compute/disks/delete", IMAGES },
  ["azure.virtual_machine_scale_set"] = { VM .. "/read", VM .. "/delete", VM .. "/start/action", VM .. "/instanceView/read",
    "Microsoft.Network/networkInterfaces/read", SET .. "/networkInterfaces/read", SET .. "/virtualMachines/read",
    SET .. "/virtualMachines/delete", SET .. "/virtualMachines/start/action", IMAGES },
}

local EXTENSIONS = { ["azure.virtual_machine"] = VM .. "/extensions",
  ["azure.virtual_machine_scale_set"] = SET .. "/virtualMachines/extensions" }

--- The type of what a resource with these fields writes below itself; or nil.
function M.below(page, fields)
  if type(fields.extensions) ~= "table" then return nil end
  return fields.mode == "Flexible" and EXTENSIONS["azure.virtual_machine"] or EXTENSIONS[page.name]
end

local SECRETS, KEYS = "Microsoft.KeyVault/vaults/secrets/", "Microsoft.KeyVault/vaults/keys/"
local secrets = { SECRETS .. "getSecret/action", SECRETS .. "readMetadata/action", SECRETS .. "setSecret/action", SECRETS .. "delete",
  SECRETS .. "recover/action" }
local DATA = {
  ["azure.key_vault_key"] = { KEYS .. "read", KEYS .. "create/action", KEYS .. "update/action", KEYS .. "delete",
    KEYS .. "recover/action" },
  ["azure.key_vault_secret"] = secrets, ["azure.ssh_key_pair"] = secrets, ["azure.vault_random"] = secrets,
}

-- What following operations, and asking before the first write, takes.
local ANYWHERE = { "Microsoft.Authorization/permissions/read", "Microsoft.Authorization/policyAssignments/read",
  -- The documented action is a read; a wildcard fits also where a POST counts as an action.
  "Microsoft.PolicyInsights/checkPolicyRestrictions/*", "Microsoft.Resources/subscriptions/operationresults/read",
  "Microsoft.Resources/subscriptions/providers/read", "Microsoft.Resources/subscriptions/read",
  "Microsoft.Resources/subscriptions/resourceGroups/read" }
-- By the beginning of a type.
local OF_TYPES = {
  { "Microsoft.Compute/", { "Microsoft.Compute/locations/operations/read", "Microsoft.Compute/locations/diskOperations/read" } },
  { "Microsoft.Compute/virtualMachine", { "Microsoft.Compute/locations/usages/read", "Microsoft.Compute/skus/read" } },
  { "Microsoft.KeyVault/", { "Microsoft.KeyVault/locations/operationResults/read" } },
  { "Microsoft.Network/", { "Microsoft.Network/locations/operations/read", "Microsoft.Network/locations/operationResults/read",
    "Microsoft.Network/locations/usages/read" } },
  { "Microsoft.Network/privateDnsZones", { "Microsoft.Network/privateDnsOperationStatuses/read",
    "Microsoft.Network/privateDnsOperationResults/read" } },
  { "Microsoft.OperationalInsights/", { "Microsoft.OperationalInsights/locations/operationStatuses/read" } },
  { "Microsoft.Storage/", { "Microsoft.Storage/locations/*/read" } },
}
local ALWAYS_REGISTERED = { ["Microsoft.Authorization"] = true, ["Microsoft.Resources"] = true }

local function has_pattern(text, patterns)
  for _, pattern in ipairs(patterns or {}) do
    local lua = pattern:lower():gsub("[%-%.%+%[%]%(%)%$%^%%%?]", "%%%0"):gsub("%*", ".*")
    if text:lower():find("^" .. lua .. "$") then return true end
  end
  return false
end

--- Whether permissions as ARM lists them (`{actions, notActions}`) admit an action.
function M.admits(permissions, action)
  for _, permission in ipairs(permissions) do
    if has_pattern(action, permission.actions) and not has_pattern(action, permission.notActions) then return true end
  end
  return false
end

--- Whether a kind is written over a vault's data plane: whatever ARM shows of it is only read.
function M.by_data(page) return DATA[page.name] ~= nil end

--- The type of a resource as roles and policies name it; nil where a kind is no resource of ARM's.
function M.type_of(page, fields)
  local name = page.type or page.name == "azure.resource" and type(fields) == "table" and fields.type or nil
  if name == "Microsoft.Resources/resourceGroups" then return "Microsoft.Resources/subscriptions/resourceGroups" end
  return type(name) == "string" and name or nil
end

--- The type that an id is of, in small letters; nil for a group's or a subscription's.
function M.type_of_id(id)
  local namespace, rest = id:lower():match(".*/providers/([^/]+)/(.+)$")
  if not namespace then return nil end
  local types = { namespace }
  for name in rest:gmatch("([^/]+)/?[^/]*") do types[#types + 1] = name end
  return table.concat(types, "/")
end

--- The namespace that has to be registered for a type; nil where all subscriptions have it.
function M.namespace_of(type_name)
  local namespace = type_name:match("^[^/]+")
  return not ALWAYS_REGISTERED[namespace] and namespace or nil
end

local function join_of(page, type_name)
  local own = OTHERWISE[page.name] and OTHERWISE[page.name][type_name:lower()]
  if own == nil then own = JOINS[type_name:lower()] end
  return own or nil
end

--- What a resource's fields ask on other resources: a list of `{action=, id=}`.
function M.mentions(page, fields)
  local list, seen = {}, {}
  local function add(id)
    local type_name = M.type_of_id(id)
    local action = type_name and join_of(page, type_name)
    if action and not seen[action .. id:lower()] then
      seen[action .. id:lower()] = true
      list[#list + 1] = { action = action, id = id }
    end
  end
  local function walk(value)
    local id = type(value) == "table" and value.id or value
    if type(id) == "string" then
      if id:find("^/subscriptions/") then add(id) end
    elseif type(value) == "table" then
      for _, item in pairs(value) do walk(item) end
    end
  end
  for name in pairs(page.fields) do
    if name ~= "group" and name ~= page.parent then walk(fields[name]) end
  end
  table.sort(list, function(a, b) return a.action .. a.id < b.action .. b.id end)
  return list
end

-- The kinds that a page's fields may name.
local function named(specs, skip, found)
  for name, spec in pairs(specs) do
    local at = spec
    while at and (at.type == "list" or at.type == "map") do at = at.elem end
    if at and not (skip and skip[name]) then
      for _, other in ipairs(at.kinds or {}) do found[other] = true end
      if at.type == "object" and at.fields then named(at.fields, nil, found) end
    end
  end
  return found
end

local function sorted(set)
  local list = {}
  for item in pairs(set) do list[#list + 1] = item end
  table.sort(list, function(a, b)
    if a:lower() ~= b:lower() then return a:lower() < b:lower() end
    return a < b
  end)
  return list
end

-- The action of an azure.action, as far as the recipe says what it acts on.
local function action_of(fields)
  local on = fields.resource
  local page = type(on) == "table" and on["$kind"] and kind.find(on["$kind"])
  local type_name = page and M.type_of(page) or type(on) == "string" and M.type_of_id(on)
  return type_name and type(fields.action) == "string" and ("%s/%s/action"):format(type_name, fields.action) or nil
end

--- What a role needs for all verbs of some resources: sorted actions and data actions. A resource is `{kind=, fields=}`, the fields as far
-- as the recipe alone says them; a reference is `{["$kind"] = ...}`.
function M.role(resources)
  local actions, data, pages, types, outside = {}, {}, {}, {}, false
  local function add(...)
    for _, name in ipairs { ... } do actions[name] = true end
  end
  for _, resource in ipairs(resources) do
    local page = assert(kind.find(resource.kind))
    local type_name = M.type_of(page, resource.fields)
    outside = outside or page.name == "azure.existing"
    pages[page] = true
    if page.name == "azure.action" then add(action_of(resource.fields)) end
    local below = M.below(page, resource.fields)
    if below then add(below .. "/read", below .. "/write", below .. "/delete") end
    if type_name and M.by_data(page) then add(type_name .. "/read") elseif type_name then types[type_name] = true end
  end
  for type_name in pairs(types) do
    add(type_name .. "/read", type_name .. "/write", type_name .. "/delete")
    local namespace = M.namespace_of(type_name)
    if namespace then add(namespace .. "/register/action") end
    for _, row in ipairs(OF_TYPES) do
      if type_name:sub(1, #row[1]) == row[1] then add(table.unpack(row[2])) end
    end
  end
  if next(types) then add(table.unpack(ANYWHERE)) end
  for page in pairs(pages) do
    add(table.unpack(BESIDES[page.name] or {}))
    for _, name in ipairs(DATA[page.name] or {}) do data[name] = true end
    local mentioned = page.type and named(page.fields, { group = true, [page.parent or ""] = true }, {}) or {}
    for name in pairs(mentioned) do
      local other = kind.find(name)
      local join = other and other.type and (pages[other] or outside) and join_of(page, other.type)
      if join then add(join) end
    end
    for _, type_name in ipairs(BY_ID[page.name] or {}) do
      if types["Microsoft.Network/loadBalancers"] or outside then add(join_of(page, type_name)) end
    end
  end
  return sorted(actions), sorted(data)
end

return M
