--- A role assignment. Its name is a GUID derived from scope, principal and role, so that it is known before it exists.
local arm, crypto, field, fail = require "azure.arm", require "crypto", require "field", require "fail"
local statement = require "azure.statement"

local API = "2022-04-01"

-- learn.microsoft.com/azure/role-based-access-control/built-in-roles
local ROLES = {
  Owner = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
  Contributor = "b24988ac-6180-42a0-ab88-20f7382dd24c",
  Reader = "acdd72a7-3385-48ef-bd42-f606fba81ae7",
  ["Network Contributor"] = "4d97b98b-1d4f-4787-a291-c67834d212e7",
  ["Virtual Machine Contributor"] = "9980e02c-c2be-4d73-94e8-173b1dc7cf3c",
  ["Key Vault Administrator"] = "00482a5a-887f-4fb3-b363-3b7fe8e74483",
  ["Key Vault Crypto Officer"] = "14b46e9e-c2b7-41b4-b07b-48a6ebf60603",
  ["Key Vault Crypto Service Encryption User"] = "e147488a-f6f5-4113-8e2d-b22465e65bf6",
  ["Key Vault Secrets Officer"] = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
  ["Key Vault Secrets User"] = "4633458b-17de-408a-b874-0445c86b69e6",
  ["Managed Identity Operator"] = "f1a07417-d97a-45cb-824c-7a7467783830",
  ["Storage Blob Data Contributor"] = "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
}

local function role_guid(role)
  return ROLES[role] or role:match("^%x+%-%x+%-%x+%-%x+%-%x+$") and role
end

local function scope_of(f) return type(f.scope) == "table" and f.scope.id or f.scope end

local function principal_of(f)
  if type(f.principal) == "table" then return f.principal.principal_id end
  return f.principal
end

local function guid(text)
  local hex = crypto.sha1(text)
  return ("%s-%s-5%s-a%s-%s"):format(hex:sub(1, 8), hex:sub(9, 12), hex:sub(14, 16), hex:sub(18, 20), hex:sub(21, 32))
end

local function id_of(f)
  local scope, principal = scope_of(f), principal_of(f)
  if not scope or not principal or not f.role then return nil end
  local name = guid(scope:lower() .. "|" .. principal:lower() .. "|" .. role_guid(f.role))
  return scope .. "/providers/Microsoft.Authorization/roleAssignments/" .. name
end

return statement.define {
  kind = "role_assignment", doc = "A role for a principal on a scope.", type = "Microsoft.Authorization/roleAssignments",
  api = API, parent = "scope", located = false,
  fields = {
    name = field.string { replace = true },
    scope = field.any { required = true, replace = true, doc = "A resource or an id." },
    principal = field.any { required = true, replace = true, doc = "An identity or an object id." },
    principal_type = field.choice { "ServicePrincipal", "User", "Group", arm_also = { "ForeignGroup", "Device" },
      default = "ServicePrincipal",
      replace = true, arm = "properties.principalType" },
    role = field.string { required = true, replace = true, doc = "A built-in role's name or a role definition's GUID.",
      check = function(role)
        return not role_guid(role) and "a known built-in role or the GUID of a role's definition" or nil
      end },
  },
  identity = id_of,
  -- Those of a group and of all that is in it.
  listed = function(id)
    local group = id:match("^/subscriptions/[^/]+/resource[gG]roups/[^/]+")
    return group and group .. "/providers/Microsoft.Authorization/roleAssignments"
  end,
  verbs = {
    create = function(ctx)
      local client, f = arm.open(ctx.target), ctx.fields
      local body = client:put(id_of(f), API, { properties = {
        roleDefinitionId = ("/subscriptions/%s/providers/Microsoft.Authorization/roleDefinitions/%s"):format(
          client.subscription, role_guid(f.role)),
        principalId = principal_of(f), principalType = f.principal_type } })
      return { outputs = { id = body.id } }
    end,
    update = function() error(fail { "a role assignment cannot be changed in place", code = "replace" }) end,
  },
}
