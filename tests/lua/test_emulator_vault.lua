local test = require "tap"
local json, http, task = require "json", require "http", require "task"
local lab = require "emulator_lab"

local KV = "~/Microsoft.KeyVault/vaults/"

local function vault_body(l, more)
  local p = { tenantId = l.endpoint.tenant, sku = { family = "A", name = "standard" }, enableRbacAuthorization = true }
  for key, value in pairs(more or {}) do p[key] = value end
  return { location = "westus2", properties = p }
end

--- A vault that is ready, and how to call it: call(method, path, body, options).
local function open_vault(t, l, name, more)
  local answer = l:call("PUT", KV .. name, vault_body(l, more))
  t.eq({ answer.status, answer.json.properties.provisioningState }, { 200, "RegisteringDns" })
  local limit = task.now() + 10
  local shown
  repeat
    shown = l:call("GET", KV .. name).json
    task.sleep(0.005)
  until shown.properties.provisioningState == "Succeeded" or task.now() > limit
  local token = l:login("https://vault.azure.net").access_token
  return function(method, path, body, options)
    options = options or {}
    local url = (shown.properties.vaultUri:gsub("/$", "")) .. path .. (path:find("?", 1, true) and "&" or "?") .. "api-version=7.4"
    local answer_of = assert(http.request { method = method, url = url, ca = l.endpoint.ca, connect_to = l.endpoint.vault_address,
      body = body and json.encode(body), headers = { Authorization = options.token ~= false and "Bearer " .. (options.token or token) or nil,
      ["Content-Type"] = "application/json" } })
    answer_of.json = answer_of.body ~= "" and json.decode(answer_of.body) or nil
    answer_of.code = answer_of.json and answer_of.json.error and answer_of.json.error.code
    return answer_of
  end, shown
end

local OFFICER = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"

local function assign(l, scope, principal, role, name, more)
  local p = { roleDefinitionId = ("/subscriptions/%s/providers/Microsoft.Authorization/roleDefinitions/%s"):format(l.endpoint.subscription, role),
    principalId = principal, principalType = "ServicePrincipal" }
  for key, value in pairs(more or {}) do p[key] = value end
  return l:call("PUT", ("%s/providers/Microsoft.Authorization/roleAssignments/%s"):format(scope, name), { properties = p }, { api = "2022-04-01" })
end

local ROLE_NAME = "11111111-2222-4333-8444-555555555555"

test("secrets by role: challenge, refused, admitted after a while, versions", function(t)
  local l = lab.open(t)
  local call, shown = open_vault(t, l, "kv-one")
  local challenge = call("PUT", "/secrets/s", nil, { token = false })
  t.eq({ challenge.status, challenge.code }, { 401, "Unauthorized" })
  t.has(challenge.headers["www-authenticate"], ('resource="%s"'):format(l.endpoint.vault_audience))
  t.eq(call("GET", "/secrets", nil, { token = l.arm_token }).status, 401, "a token for ARM is none for the vault")
  local refused = call("PUT", "/secrets/s", { value = "v1" })
  t.eq({ refused.status, refused.code, refused.json.error.innererror.code }, { 403, "Forbidden", "ForbiddenByRbac" })
  t.eq(assign(l, shown.id, l.endpoint.object_id, OFFICER, ROLE_NAME).status, 201)
  local limit, answer = task.now() + 5, nil
  repeat
    answer = call("PUT", "/secrets/s", { value = "v1", contentType = "text/plain" })
    task.sleep(0.01)
  until answer.status ~= 403 or task.now() > limit
  t.eq(answer.status, 200)
  t.eq({ answer.json.value, answer.json.attributes.enabled, answer.json.attributes.recoverableDays }, { "v1", true, 90 })
  t.eq(call("PUT", "/secrets/s", { value = "v2" }).status, 200)
  t.eq(call("GET", "/secrets/s").json.value, "v2")
  t.eq(call("GET", "/secrets/s/" .. answer.json.id:match("[^/]+$")).json.value, "v1")
  t.eq(#call("GET", "/secrets/s/versions").json.value, 2)
  local listed = call("GET", "/secrets").json
  t.eq({ #listed.value, listed.value[1].value, listed.nextLink }, { 1, nil, json.null })
  t.eq(call("GET", "/secrets/none").code, "SecretNotFound")
  t.eq(call("PUT", "/secrets/bad_name", { value = "x" }).code, "BadParameter")
  t.ok(not l:ask("GET", "list").resources[1].value)
end)

test("a deleted secret is recovered or purged", function(t)
  local l = lab.open(t)
  local call = open_vault(t, l, "kv-two", { enableRbacAuthorization = false, accessPolicies = { { tenantId = l.endpoint.tenant,
    objectId = l.endpoint.object_id, permissions = { secrets = { "get", "set", "list", "delete", "recover" } } } } })
  call("PUT", "/secrets/s", { value = "v" })
  local gone = call("DELETE", "/secrets/s")
  t.eq(gone.status, 200)
  t.ok(gone.json.recoveryId and gone.json.scheduledPurgeDate > gone.json.deletedDate)
  t.eq(call("GET", "/secrets/s").status, 404)
  local refused = call("PUT", "/secrets/s", { value = "w" })
  t.eq({ refused.status, refused.json.error.innererror.code }, { 409, "ObjectIsDeletedButRecoverable" })
  t.eq(call("GET", "/deletedsecrets/s").status, 200)
  t.eq(call("POST", "/deletedsecrets/s/recover").status, 200)
  t.eq(call("GET", "/secrets/s").json.value, "v")
  call("DELETE", "/secrets/s")
  refused = call("DELETE", "/deletedsecrets/s")
  t.eq({ refused.status, refused.json.error.innererror.code }, { 403, "AccessDenied" }, "no policy admits purge")
end)

test("a deleted vault keeps its name until it is recovered or purged", function(t)
  local l = lab.open(t)
  local me = { { tenantId = l.endpoint.tenant, objectId = l.endpoint.object_id, permissions = { secrets = { "all" } } } }
  local call = open_vault(t, l, "kv-three", { enableRbacAuthorization = false, accessPolicies = me, softDeleteRetentionInDays = 7 })
  call("PUT", "/secrets/s", { value = "v" })
  t.eq(l:call("DELETE", KV .. "kv-three").status, 200)
  t.eq(call("GET", "/secrets/s").status, 404, "nothing answers")
  local gone = l:call("GET", "~~/providers/Microsoft.KeyVault/deletedVaults").json.value
  t.eq({ #gone, gone[1].name }, { 1, "kv-three" })
  t.eq(#l:ask("GET", "list").deleted_vaults, 1)
  t.eq(l:call("PUT", KV .. "kv-three", vault_body(l)).code, "ConflictError")
  t.eq(l:call("PUT", KV .. "kv-three", vault_body(l, { createMode = "recover" })).status, 200)
  local limit = task.now() + 5
  repeat
    task.sleep(0.01)
    local answer = call("GET", "/secrets/s")
  until answer.status == 200 or task.now() > limit
  t.eq(call("GET", "/secrets/s").json.value, "v", "with what it held")
  l:call("DELETE", KV .. "kv-three")
  local purge = "~~/providers/Microsoft.KeyVault/locations/westus2/deletedVaults/kv-three"
  t.eq(l:call("GET", purge).status, 200)
  local answer = l:call("POST", purge .. "/purge")
  t.eq(answer.status, 202)
  t.eq(l:finish(answer).json.status, "Succeeded")
  t.eq(l:call("GET", purge).status, 404)
  t.eq(l:call("PUT", KV .. "kv-three", vault_body(l)).status, 200)
  t.eq(l:call("PUT", KV .. "x", vault_body(l)).code, "InvalidResourceName")
  t.eq(l:call("PUT", KV .. "kv-four", { location = "westus2", properties = { tenantId = l.endpoint.tenant, sku = { name = "standard" } } }).code,
    "BadRequest", "without RBAC policies are required")
end)

test("role assignments: who, what, where, twice", function(t)
  local l = lab.open(t)
  local group = "/subscriptions/" .. l.endpoint.subscription .. "/resourceGroups/g"
  local identity = l:call("PUT", "~/Microsoft.ManagedIdentity/userAssignedIdentities/id1", { location = "westus2" })
  t.eq(identity.status, 201)
  local principal = identity.json.properties.principalId
  local READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
  local function code(...) return assign(l, ...).code end
  t.eq(code(group, principal, "00000000-0000-0000-0000-00000000dead", ROLE_NAME), "RoleDefinitionDoesNotExist")
  t.eq(code(group, principal, READER, "not-a-guid"), "InvalidRoleAssignmentId")
  local p = { roleDefinitionId = "/providers/Microsoft.Authorization/roleDefinitions/" .. READER, principalId = "00000000-0000-0000-0000-000000000001" }
  t.eq(l:call("PUT", group .. "/providers/Microsoft.Authorization/roleAssignments/" .. ROLE_NAME, { properties = p }, { api = "2022-04-01" }).code,
    "PrincipalNotFound")
  local made = assign(l, group, principal, READER, ROLE_NAME)
  t.eq({ made.status, made.json.properties.scope, made.json.properties.principalType }, { 201, group, "ServicePrincipal" })
  t.eq(assign(l, group, principal, READER, ROLE_NAME).status, 201, "said again")
  t.eq(code(group, principal, READER, "21111111-2222-4333-8444-555555555555"), "RoleAssignmentExists")
  t.eq(code(group, l.endpoint.object_id, READER, ROLE_NAME), "RoleAssignmentUpdateNotPermitted")
  local list = l:call("GET", group .. "/providers/Microsoft.Authorization/roleAssignments?$filter=principalId%20eq%20'" .. principal .. "'", nil,
    { api = "2022-04-01" }).json.value
  t.eq(#list, 1)
  local roles = l:call("GET", "~~/providers/Microsoft.Authorization/roleDefinitions?$filter=roleName%20eq%20'Reader'", nil, { api = "2022-04-01" }).json.value
  t.eq({ #roles, roles[1].name }, { 1, READER })
  -- The assignment goes with its scope.
  t.eq(l:call("DELETE", made.json.id, nil, { api = "2022-04-01" }).status, 200)
  t.eq(l:call("DELETE", made.json.id, nil, { api = "2022-04-01" }).status, 204)
end)

test.done()
