--- Microsoft.Authorization: role definitions and assignments, and what they admit.
local json, task = require "json", require "task"
local world, clock = require "emulator.world", require "emulator.clock"
local records, requests = require "emulator.arm.records", require "emulator.arm.requests"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"
local ids = require "emulator.arm.id"

local raise = problem.raise
local ASSIGNMENT, DEFINITION = "Microsoft.Authorization/roleAssignments", "Microsoft.Authorization/roleDefinitions"
local EFFECTIVE = 15 -- nominal seconds until an assignment is seen by everybody

-- learn.microsoft.com/azure/role-based-access-control/built-in-roles: the ids are the same in every tenant.
local BUILT_IN = {
  { "Owner", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", { "*" },
    description = "Grants full access to manage all resources, including the ability to assign roles in Azure RBAC." },
  { "Contributor", "b24988ac-6180-42a0-ab88-20f7382dd24c", { "*" }, { "Microsoft.Authorization/*/Delete",
    "Microsoft.Authorization/*/Write",
    "Microsoft.Authorization/elevateAccess/Action", "Microsoft.Blueprint/blueprintAssignments/write",
    "Microsoft.Blueprint/blueprintAssignments/delete", "Microsoft.Compute/galleries/share/action",
      "Microsoft.Purview/consents/write",
    "Microsoft.Purview/consents/delete", "Microsoft.Resources/deploymentStacks/manageDenySetting/action",
      "Microsoft.Subscription/cancel/action",
    "Microsoft.Subscription/enable/action" },
      description = "Grants full access to manage all resources, but does not allow you to assign "
    .. "roles in Azure RBAC, manage assignments in Azure Blueprints, or share image galleries." },
  { "Reader", "acdd72a7-3385-48ef-bd42-f606fba81ae7", { "*/read" } },
  { "User Access Administrator", "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9", { "*/read", "Microsoft.Authorization/*" } },
  { "Network Contributor", "4d97b98b-1d4f-4787-a291-c67834d212e7", { "Microsoft.Network/*", "Microsoft.Resources/subscriptions/resourceGroups/read" } },
  { "Virtual Machine Contributor", "9980e02c-c2be-4d73-94e8-173b1dc7cf3c", { "Microsoft.Authorization/*/read",
    "Microsoft.Compute/availabilitySets/*", "Microsoft.Compute/locations/*", "Microsoft.Compute/virtualMachines/*",
    "Microsoft.Compute/virtualMachineScaleSets/*", "Microsoft.Compute/disks/write", "Microsoft.Compute/disks/read",
    "Microsoft.Compute/disks/delete", "Microsoft.Network/loadBalancers/backendAddressPools/join/action",
    "Microsoft.Network/loadBalancers/inboundNatPools/join/action", "Microsoft.Network/loadBalancers/inboundNatRules/join/action",
    "Microsoft.Network/loadBalancers/probes/join/action", "Microsoft.Network/loadBalancers/read", "Microsoft.Network/locations/*",
    "Microsoft.Network/networkInterfaces/*", "Microsoft.Network/networkSecurityGroups/join/action",
    "Microsoft.Network/networkSecurityGroups/read", "Microsoft.Network/publicIPAddresses/join/action",
    "Microsoft.Network/publicIPAddresses/read", "Microsoft.Network/virtualNetworks/read",
    "Microsoft.Network/virtualNetworks/subnets/join/action", "Microsoft.Resources/deployments/*",
    "Microsoft.Resources/subscriptions/resourceGroups/read" } },
  { "Managed Identity Operator", "f1a07417-d97a-45cb-824c-7a7467783830", { "Microsoft.ManagedIdentity/userAssignedIdentities/*/read",
    "Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action", "Microsoft.ManagedIdentity/userAssignedIdentities/read" } },
  { "Managed Identity Contributor", "e40ec5ca-96e0-45a2-b4ff-59039f2c2b59", { "Microsoft.ManagedIdentity/userAssignedIdentities/*" } },
  { "Key Vault Contributor", "f25e0fa2-a7c8-4377-a976-54943a77a395", { "Microsoft.KeyVault/*" }, { "Microsoft.KeyVault/locations/deletedVaults/purge/action" } },
  { "Key Vault Administrator", "00482a5a-887f-4fb3-b363-3b7fe8e74483", { "Microsoft.KeyVault/vaults/read" }, {}, { "Microsoft.KeyVault/vaults/*" } },
  { "Key Vault Reader", "21090545-7ca7-4776-b22c-e363652d74d2", { "Microsoft.KeyVault/vaults/read" }, {}, { "Microsoft.KeyVault/vaults/*/read",
    "Microsoft.KeyVault/vaults/secrets/readMetadata/action" } },
  { "Key Vault Secrets Officer", "b86a8fe4-44ce-4948-aee5-eccb2c155cd7", { "Microsoft.KeyVault/vaults/read" }, {}, { "Microsoft.KeyVault/vaults/secrets/*" } },
  { "Key Vault Secrets User", "4633458b-17de-408a-b874-0445c86b69e6", {}, {}, { "Microsoft.KeyVault/vaults/secrets/getSecret/action",
    "Microsoft.KeyVault/vaults/secrets/readMetadata/action" } },
  { "Key Vault Crypto Officer", "14b46e9e-c2b7-41b4-b07b-48a6ebf60603", {}, {}, { "Microsoft.KeyVault/vaults/keys/*",
    "Microsoft.KeyVault/vaults/keyrotationpolicies/*" } },
  { "Key Vault Crypto Service Encryption User", "e147488a-f6f5-4113-8e2d-b22465e65bf6", {}, {}, { "Microsoft.KeyVault/vaults/keys/read",
    "Microsoft.KeyVault/vaults/keys/wrap/action", "Microsoft.KeyVault/vaults/keys/unwrap/action" } },
  { "Storage Blob Data Contributor", "ba92f5b4-2d11-453d-a403-e96b0029c9fe", { "Microsoft.Storage/storageAccounts/blobServices/containers/*" },
    {}, { "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/*" } },
  { "AcrPull", "7f951dda-4ed3-4680-a7ca-43fe172d538d", { "Microsoft.ContainerRegistry/registries/pull/read" } },
  { "Private DNS Zone Contributor", "b12aa53e-6015-4669-85d0-8515ebb3ae7f", { "Microsoft.Network/privateDnsZones/*" } },
}

local BUILT = "2015-02-02T21:55:09.8806423Z" -- when Azure's own roles were made

local function definition(row, scope)
  return { id = ("%s/providers/%s/%s"):format(scope, DEFINITION, row[2]), name = row[2], type = DEFINITION, properties = {
    roleName = row[1], type = "BuiltInRole", description = row.description or row[1], createdOn = BUILT, updatedOn = BUILT,
      createdBy = json.null,
    updatedBy = json.null, assignableScopes = json.array { "/" },
    permissions = json.array { { actions = json.array(value.copy(row[3])), notActions = json.array(value.copy(row[4] or {})),
      dataActions = json.array(value.copy(row[5] or {})), notDataActions = json.array {} } } } }
end

local function find_role(guid)
  for _, row in ipairs(BUILT_IN) do
    if row[2] == guid:lower() then
      return definition(row, "/subscriptions/" .. world.subscription)
    end
  end
  for record in records.each(DEFINITION) do
    if record.name:lower() == guid:lower() then return records.show(record) end
  end
end

local function matches(pattern, action)
  local lua = pattern:lower():gsub("[%-%.%+%[%]%(%)%$%^%%%?]", "%%%0"):gsub("%*", ".*")
  return action:lower():find("^" .. lua .. "$") ~= nil
end

local function any(patterns, action)
  for _, pattern in ipairs(patterns or {}) do
    if matches(pattern, action) then return true end
  end
  return false
end

local roles = {}

--- Whether some assignment admits an action (`data`: of the data plane) on a scope to a principal.
function roles.allows(object_id, scope, action, data)
  scope = scope:lower()
  for record in records.each(ASSIGNMENT) do
    local p = record.body.properties
    local own = p.scope:lower()
    if p.principalId:lower() == object_id:lower() and (own == "/" or scope == own or scope:sub(1, #own + 1) == own .. "/")
      and task.time() >= record.created + clock.scale(EFFECTIVE) then
      local role = find_role(p.roleDefinitionId:match("[^/]+$"))
      for _, permission in ipairs(role and role.properties.permissions or {}) do
        local yes, no = permission.actions, permission.notActions
        if data then yes, no = permission.dataActions, permission.notDataActions end
        if any(yes, action) and not any(no, action) then return true end
      end
    end
  end
  return false
end

records.define(DEFINITION, {
  style = style.plain, stateless = true, located = false, extension = true, put_status = { 201, 201 }, delete_body = true,
  prepare = function(body, ctx)
    local p = body.properties
    if not p.roleName then raise(400, "InvalidRoleDefinition", "The role definition needs a roleName.") end
    p.type = "CustomRole"
    local old, who = ctx.old and ctx.old.body.properties, ctx.principal and ctx.principal.object_id or json.null
    p.createdOn, p.createdBy = old and old.createdOn or clock.iso(), old and old.createdBy or who
    p.updatedOn, p.updatedBy = clock.iso(), who
    for _, permission in ipairs(p.permissions or {}) do
      value.fill(permission, { actions = json.array {}, notActions = json.array {}, dataActions = json.array {}, notDataActions = json.array {} })
    end
  end,
  answers = { GET = function(id)
    local role = id.whole and find_role(id.name)
    return role and { status = 200, json = role }
  end },
  list = function(id, ctx)
    local wanted = (ctx.query["$filter"] or ""):match("roleName%s+eq%s+'([^']*)'")
    local items = {}
    for _, row in ipairs(BUILT_IN) do
      if not wanted or wanted:lower() == row[1]:lower() then items[#items + 1] = definition(row, "/subscriptions/" .. world.subscription) end
    end
    for record in records.each(DEFINITION) do
      if not wanted or wanted:lower() == record.body.properties.roleName:lower() then items[#items + 1] = records.show(record) end
    end
    return items
  end,
})

records.define(ASSIGNMENT, {
  kind = "azure.role_assignment", style = style.plain, stateless = true, located = false, extension = true,
  put_status = { 201, 201 }, delete_body = true,
  prepare = function(body, ctx)
    local p = body.properties
    if not ctx.name:find("^%x+%-%x+%-%x+%-%x+%-%x+$") then
      raise(400, "InvalidRoleAssignmentId", ("The role assignment ID '%s' is not valid. The role assignment ID must be a GUID."):format(ctx.name))
    end
    local guid = type(p.roleDefinitionId) == "string" and p.roleDefinitionId:match("[^/]+$")
    if not guid or not find_role(guid) then
      raise(404, "RoleDefinitionDoesNotExist", ("The specified role definition with ID '%s' does not exist."):format(tostring(guid)))
    end
    if type(p.principalId) ~= "string" then
      raise(400, "InvalidPrincipalId", "The role assignment needs a principalId.")
    end
    local principal = world.entra.by_object(p.principalId)
    if not principal and not p.principalType then
      raise(400, "PrincipalNotFound", ("Principal %s does not exist in the directory %s. Check that you have the correct principal ID. If you "
        .. "are creating this principal and then immediately assigning a role, this error might be related to a replication delay. In this case, "
        .. "set the role assignment principalType property to a value, such as ServicePrincipal, User, or Group."):format(
        p.principalId:gsub("-", ""), world.tenant))
    end
    local scope = ctx.id.scope == "" and "/" or ctx.id.scope
    local target = ids.parse(scope)
    if target.type and not records.get(scope) and not records.child(scope) then
      problem.not_found(target.type .. "/" .. table.concat(target.names, "/"), target.group)
    elseif target.group then
      requests.group_record(target)
    end
    for record in records.each(ASSIGNMENT) do
      local q = record.body.properties
      local same = q.principalId:lower() == p.principalId:lower() and q.scope:lower() == scope:lower()
        and q.roleDefinitionId:match("[^/]+$"):lower() == guid:lower()
      if same and record.name:lower() ~= ctx.name:lower() then
        raise(409, "RoleAssignmentExists", ("The role assignment already exists. The ID of the existing role assignment is %s."):format(
          record.name:gsub("-", "")))
      end
    end
    local old = ctx.old and ctx.old.body.properties
    if old and (old.principalId:lower() ~= p.principalId:lower() or old.scope:lower() ~= scope:lower()
      or old.roleDefinitionId:match("[^/]+$"):lower() ~= guid:lower()) then
      raise(400, "RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.")
    end
    body.properties = { roleDefinitionId = ("/subscriptions/%s/providers/%s/%s"):format(world.subscription, DEFINITION, guid),
      principalId = p.principalId, principalType = p.principalType or principal and principal.type or "ServicePrincipal", scope = scope,
      condition = p.condition, conditionVersion = p.conditionVersion, description = p.description,
      createdOn = old and old.createdOn or clock.iso(), updatedOn = clock.iso(), createdBy = ctx.principal and ctx.principal.object_id or "",
      updatedBy = ctx.principal and ctx.principal.object_id or "" }
  end,
  list = function(id, ctx)
    local filter, items = ctx.query["$filter"] or "", {}
    local principal = filter:match("principalId%s+eq%s+'([^']*)'") or filter:match("assignedTo%('([^']*)'%)")
    local scope = id.scope:lower()
    for record in records.each(ASSIGNMENT) do
      local own = record.body.properties.scope:lower()
      local above = own == "/" or scope == own or scope:sub(1, #own + 1) == own .. "/"
      local below = own:sub(1, #scope) == scope and not filter:find("atScope%(%)")
      if (above or below) and (not principal or record.body.properties.principalId:lower() == principal:lower()) then
        items[#items + 1] = records.show(record)
      end
    end
    return items
  end,
})

world.roles = roles
return roles
