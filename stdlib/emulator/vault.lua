--- Key Vault's data plane: secrets of the vaults that ARM shows, at https://NAME.vault.localhost:PORT.
local crypto, json, log, task = require "crypto", require "json", require "log", require "task"
local world = require "emulator.world"

local DAY = 86400
local vault = {}

local function key_of(vault_name, name) return vault_name:lower() .. "/" .. name:lower() end

local meta = { __name = "vault problem" }

local function raise(status, code, message, inner, headers)
  error(setmetatable({ status = status, code = code, message = message, inner = inner, headers = headers }, meta), 0)
end

local function attributes_of(given, old, record)
  local now = math.floor(task.time())
  local a = { enabled = true, created = old and old.created or now, updated = now,
    recoveryLevel = record.body.properties.enablePurgeProtection and "Recoverable" or "Recoverable+Purgeable",
    recoverableDays = record.body.properties.softDeleteRetentionInDays or 90 }
  for _, key in ipairs { "enabled", "nbf", "exp" } do
    if type(given) == "table" and given[key] ~= nil and given[key] ~= json.null then
      a[key] = given[key]
    elseif old and given == nil then
      a[key] = old[key]
    end
  end
  return a
end

--- Writes a new version of a secret; returns the version.
function vault.set(record, name, sent)
  if not name:find("^[%w-]+$") or #name > 127 then
    raise(400, "BadParameter", ("The request URI contains an invalid name: %s"):format(name))
  end
  local key = key_of(record.name, name)
  local secret = world.store:get("secret", key) or { name = name, versions = {} }
  if secret.deleted then
    raise(409, "Conflict", ("Secret %s is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the "
      .. "secret can only be recovered or purged."):format(name), "ObjectIsDeletedButRecoverable")
  end
  if type(sent.value) ~= "string" then raise(400, "BadParameter", "Property value has invalid value: it is required and is a text.") end
  local version = { version = crypto.hex(crypto.random(16)), value = sent.value,
    contentType = sent.contentType ~= json.null and sent.contentType or nil,
    tags = sent.tags ~= json.null and sent.tags or nil, attributes = attributes_of(sent.attributes, nil, record) }
  table.insert(secret.versions, version)
  world.store:put("secret", key, secret)
  return version
end

--- Forgets all secrets of a vault that was purged.
function vault.purge(vault_name)
  for key in world.store:each("secret") do
    if key:sub(1, #vault_name + 1) == vault_name:lower() .. "/" then world.store:delete("secret", key) end
  end
end

-- Who may do what: the data actions of roles, or the permissions of access policies.
local ACTIONS = {
  get = "Microsoft.KeyVault/vaults/secrets/getSecret/action", list = "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
  set = "Microsoft.KeyVault/vaults/secrets/setSecret/action", delete = "Microsoft.KeyVault/vaults/secrets/delete",
  recover = "Microsoft.KeyVault/vaults/secrets/recover/action", purge = "Microsoft.KeyVault/vaults/secrets/purge/action",
}

local function permit(ctx, permission, name)
  local p = ctx.record.body.properties
  local principal = ctx.principal
  if p.enableRbacAuthorization then
    local scope = name and (ctx.record.id .. "/secrets/" .. name) or ctx.record.id
    if world.roles.allows(principal.object_id, scope, ACTIONS[permission], true) then return end
    raise(403, "Forbidden", ("Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role "
      .. "definitions were changed recently, please observe propagation time.\r\nCaller: appid=%s;oid=%s;iss=https://sts.windows.net/%s/\r\n"
      .. "Action: '%s'\r\nResource: '%s'\r\nAssignment: (not found)\r\nDecisionReason: 'DeniedWithNoValidRBAC'\r\nVault: %s;location=%s\r\n")
      :format(principal.client_id, principal.object_id, world.tenant, ACTIONS[permission], scope, ctx.record.name,
        ctx.record.body.location), "ForbiddenByRbac")
  end
  for _, policy in ipairs(p.accessPolicies or {}) do
    if policy.objectId:lower() == principal.object_id:lower() then
      for _, given in ipairs(policy.permissions.secrets or {}) do
        if given:lower() == permission or given:lower() == "all" then return end
      end
    end
  end
  raise(403, "Forbidden", ("The user, group or application 'appid=%s;oid=%s;iss=https://sts.windows.net/%s/' does not have secrets %s "
    .. "permission on key vault '%s;location=%s'. For help resolving this issue, please see "
    .. "https://go.microsoft.com/fwlink/?linkid=2125287"):format(principal.client_id, principal.object_id, world.tenant, permission,
    ctx.record.name, ctx.record.body.location), "AccessDenied")
end

-- Who asks by Azure's own name meets Azure's names in the answers.
local function is_real(ctx) return (ctx.req.headers.host or ""):lower():find("%.vault%.azure%.net") ~= nil end

local function base(ctx)
  return ("https://%s.%s"):format(ctx.record.name:lower(), is_real(ctx) and "vault.azure.net" or world.vault_suffix)
end

local function bundle(ctx, secret, version, with_value)
  return { value = with_value and version.value or nil, id = ("%s/secrets/%s/%s"):format(base(ctx), secret.name, version.version),
    contentType = version.contentType, tags = version.tags, attributes = version.attributes }
end

local function deleted_bundle(ctx, secret, with_value)
  local shown = bundle(ctx, secret, secret.versions[#secret.versions], with_value)
  shown.recoveryId = ("%s/deletedsecrets/%s"):format(base(ctx), secret.name)
  shown.deletedDate, shown.scheduledPurgeDate = math.floor(secret.deleted), math.floor(secret.purge)
  return shown
end

local function find(ctx, name, deleted)
  local secret = world.store:get("secret", key_of(ctx.record.name, name))
  if secret and secret.deleted and secret.purge < task.time() then
    world.store:delete("secret", key_of(ctx.record.name, name))
    secret = nil
  end
  if not secret or (secret.deleted ~= nil) ~= (deleted or false) then
    raise(404, "SecretNotFound", deleted and ("Deleted Secret not found: %s"):format(name)
      or ("A secret with (name/id) %s was not found in this key vault. If you recently deleted this secret you may be able to recover it "
      .. "using the correct recovery command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182")
      :format(name))
  end
  return secret
end

local function version_of(secret, wanted)
  if not wanted then return secret.versions[#secret.versions] end
  for _, version in ipairs(secret.versions) do
    if version.version == wanted:lower() then return version end
  end
  raise(404, "SecretNotFound", ("A secret with (name/id) %s/%s was not found in this key vault."):format(secret.name, wanted))
end

local function pages(ctx, items)
  local size = math.min(tonumber(ctx.query.maxresults) or 25, 25)
  local skip = tonumber(ctx.query["$skiptoken"]) or 0
  local shown = {}
  for i = skip + 1, math.min(skip + size, #items) do shown[#shown + 1] = items[i] end
  return { value = json.array(shown), nextLink = skip + size < #items and ("%s%s?api-version=%s&$skiptoken=%d&maxresults=%d"):format(
    base(ctx), ctx.path, ctx.query["api-version"], skip + size, size) or json.null }
end

local function secrets_of(ctx, deleted)
  local prefix, list = ctx.record.name:lower() .. "/", {}
  for key, secret in world.store:each("secret") do
    if key:sub(1, #prefix) == prefix and (secret.deleted ~= nil) == deleted then list[#list + 1] = secret end
  end
  return list
end

local function body_of(ctx)
  local body = json.decode(ctx.req.body or "")
  if type(body) ~= "table" then raise(400, "BadParameter", "The request body could not be parsed as JSON.") end
  return body
end

local routes = {}

routes["PUT secrets/*"] = function(ctx, name)
  permit(ctx, "set", name)
  local version = vault.set(ctx.record, name, body_of(ctx))
  return bundle(ctx, world.store:get("secret", key_of(ctx.record.name, name)), version, true)
end

local function get(ctx, name, wanted)
  permit(ctx, "get", name)
  local secret = find(ctx, name)
  local version = version_of(secret, wanted)
  if version.attributes.enabled == false then
    raise(403, "Forbidden", "Operation get is not allowed on a disabled secret.", "SecretDisabled")
  end
  return bundle(ctx, secret, version, true)
end
routes["GET secrets/*"], routes["GET secrets/*/*"] = get, get

local function patch(ctx, name, wanted)
  permit(ctx, "set", name)
  local secret = find(ctx, name)
  local version, sent = version_of(secret, wanted), body_of(ctx)
  version.contentType = sent.contentType or version.contentType
  version.tags = sent.tags or version.tags
  version.attributes = attributes_of(sent.attributes, version.attributes, ctx.record)
  world.store:put("secret", key_of(ctx.record.name, name), secret)
  return bundle(ctx, secret, version, false)
end
routes["PATCH secrets/*"], routes["PATCH secrets/*/*"] = patch, patch

routes["GET secrets"] = function(ctx)
  permit(ctx, "list")
  local items = {}
  for _, secret in ipairs(secrets_of(ctx, false)) do
    local shown = bundle(ctx, secret, secret.versions[#secret.versions], false)
    shown.id = ("%s/secrets/%s"):format(base(ctx), secret.name)
    items[#items + 1] = shown
  end
  return pages(ctx, items)
end

routes["GET secrets/*/versions"] = function(ctx, name)
  permit(ctx, "list", name)
  local secret, items = find(ctx, name), {}
  for _, version in ipairs(secret.versions) do items[#items + 1] = bundle(ctx, secret, version, false) end
  return pages(ctx, items)
end

routes["DELETE secrets/*"] = function(ctx, name)
  permit(ctx, "delete", name)
  local secret = find(ctx, name)
  secret.deleted = task.time()
  secret.purge = secret.deleted + (ctx.record.body.properties.softDeleteRetentionInDays or 90) * DAY
  world.store:put("secret", key_of(ctx.record.name, name), secret)
  return deleted_bundle(ctx, secret, false)
end

routes["GET deletedsecrets"] = function(ctx)
  permit(ctx, "list")
  local items = {}
  for _, secret in ipairs(secrets_of(ctx, true)) do items[#items + 1] = deleted_bundle(ctx, secret, false) end
  return pages(ctx, items)
end

routes["GET deletedsecrets/*"] = function(ctx, name)
  permit(ctx, "get", name)
  return deleted_bundle(ctx, find(ctx, name, true), false)
end

routes["POST deletedsecrets/*/recover"] = function(ctx, name)
  permit(ctx, "recover", name)
  local secret = find(ctx, name, true)
  secret.deleted, secret.purge = nil, nil
  world.store:put("secret", key_of(ctx.record.name, name), secret)
  return bundle(ctx, secret, secret.versions[#secret.versions], false)
end

routes["DELETE deletedsecrets/*"] = function(ctx, name)
  permit(ctx, "purge", name)
  if ctx.record.body.properties.enablePurgeProtection then
    raise(403, "Forbidden", "Operation \"purge\" is not allowed because purge protection is enabled for this vault.", "ForbiddenByPolicy")
  end
  find(ctx, name, true)
  world.store:delete("secret", key_of(ctx.record.name, name))
  return nil
end

local function route(ctx)
  local steps = {}
  for step in ctx.path:gmatch("[^/]+") do steps[#steps + 1] = step end
  local head = (steps[1] or ""):lower()
  local forms = { ctx.req.method .. " " .. head }
  if #steps == 2 then forms = { ctx.req.method .. " " .. head .. "/*" } end
  if #steps == 3 then
    forms = { ("%s %s/*/%s"):format(ctx.req.method, head, steps[3]:lower()), ("%s %s/*/*"):format(ctx.req.method, head) }
  end
  for _, form in ipairs(forms) do
    if routes[form] then return routes[form](ctx, steps[2], steps[3]) end
  end
  raise(404, "NotFound", ("The requested URI does not represent any resource on the server: %s"):format(ctx.path))
end

local READ_ONLY = { GET = true, HEAD = true }

local function authenticate(ctx)
  local principal = world.entra.check(ctx.req.headers.authorization, "vault")
  if not principal then
    local audience = is_real(ctx) and "https://vault.azure.net" or world.vault_audience
    raise(401, "Unauthorized", ("AKV10000: Request is missing a Bearer or PoP token, or the token is not valid for %s."):format(audience),
      nil, { ["WWW-Authenticate"] = ('Bearer authorization="https://%s/%s", resource="%s"'):format(
      is_real(ctx) and "login.microsoftonline.com" or world.authority, world.tenant, audience) })
  end
  ctx.principal = principal
end

--- Answers a request to a vault's host name.
function vault.handle(vault_name, req)
  local ctx = { req = req, query = req.query or {}, path = (req.path:gsub("//+", "/"):gsub("(.)/$", "%1")) }
  local ok, answer = pcall(function()
    ctx.record = world.vaults.by_name(vault_name)
    if not ctx.record then
      raise(404, "VaultNotFound", ("No key vault is named '%s' in this emulator."):format(vault_name))
    end
    authenticate(ctx)
    if not ctx.query["api-version"] then raise(400, "BadParameter", "api-version must be specified") end
    return { status = 200, json = route(ctx) }
  end)
  if not ok then
    local why = answer
    if getmetatable(why) == meta then
      answer = { status = why.status, headers = why.headers, json = { error = { code = why.code, message = why.message,
        innererror = why.inner and { code = why.inner } or nil } } }
    elseif type(why) == "table" and why.code == "cancelled" then
      error(why, 0)
    else
      log.error("vault %s %s: %s", req.method, ctx.path, tostring(why))
      answer = { status = 500, json = { error = { code = "InternalServerError", message = "the emulator failed; its log says why" } } }
    end
  end
  if answer.json == nil and answer.status == 200 then answer.status = 204 end
  if answer.status < 400 and not READ_ONLY[req.method] then
    world.writes.add("vault", req.method, ("%s%s"):format(vault_name, ctx.path), answer.status)
  end
  answer.headers = answer.headers or {}
  answer.headers["x-ms-keyvault-region"] = ctx.record and ctx.record.body.location or nil
  answer.headers["x-ms-request-id"], answer.headers["x-ms-keyvault-service-version"] = crypto.uuid(), "1.9.2152.1"
  return answer
end

return vault
