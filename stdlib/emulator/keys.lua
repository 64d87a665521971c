--- Keys of vaults: what is kept of them, and the data plane's requests on them. The material is only shaped like a key's: nothing
-- is encrypted with it.
local crypto, json, log, task = require "crypto", require "json", require "log", require "task"
local world = require "emulator.world"
local vault = require "emulator.vault"

local DAY = 86400
local keys = {}

local OPERATIONS = { RSA = { "encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey" }, EC = { "sign", "verify" } }
local BYTES = { ["P-256"] = 32, ["P-256K"] = 32, ["P-384"] = 48, ["P-521"] = 66 }

local meta = { __name = "key problem" }

local function raise(status, code, message, inner)
  error(setmetatable({ status = status, code = code, message = message, inner = inner }, meta), 0)
end

local function place_of(vault_name, name) return vault_name:lower() .. "/" .. name:lower() end

local function save(key) world.store:put("key", place_of(key.vault, key.name), key) end

--- A key that is not deleted, or nil.
function keys.find(vault_name, name)
  local key = world.store:get("key", place_of(vault_name, name))
  return key and not key.deleted and key or nil
end

--- A key that was deleted and can be recovered, or nil.
function keys.deleted(vault_name, name)
  local key = world.store:get("key", place_of(vault_name, name))
  if key and key.deleted and key.purge < task.time() then
    world.store:delete("key", place_of(vault_name, name))
    return nil
  end
  return key and key.deleted and key or nil
end

--- A version of a key, the newest unless named; or nil.
function keys.version(key, wanted)
  if not wanted or wanted == "" then return key.versions[#key.versions] end
  for _, version in ipairs(key.versions) do
    if version.version == wanted:lower() then return version end
  end
end

local function set_attributes(version, given)
  for _, name in ipairs { "enabled", "nbf", "exp" } do
    local value = type(given) == "table" and given[name]
    if type(given) == "table" and value ~= nil and value ~= json.null then version.attributes[name] = value end
  end
  version.attributes.updated = math.floor(task.time())
end

local function material(sent)
  local kind = sent.kty:match("^(%a+)")
  if kind == "RSA" then
    local size = sent.size or 2048
    if size ~= 2048 and size ~= 3072 and size ~= 4096 then
      raise(400, "BadParameter", ("Property key_size has invalid value: %s"):format(tostring(size)))
    end
    return { n = crypto.base64url(crypto.random(size // 8)), e = "AQAB", size = size }
  end
  local curve = sent.curve or "P-256"
  if not BYTES[curve] then raise(400, "BadParameter", ("Property crv has invalid value: %s"):format(tostring(curve))) end
  return { x = crypto.base64url(crypto.random(BYTES[curve])), y = crypto.base64url(crypto.random(BYTES[curve])), curve = curve }
end

--- Makes a key, or a new version of one. `sent`: `{kty, size, curve, operations, attributes, tags}`.
function keys.create(record, name, sent)
  if not name:find("^[%w-]+$") or #name > 127 then
    raise(400, "BadParameter", ("The request URI contains an invalid name: %s"):format(name))
  end
  local kty = sent.kty or "RSA"
  if not OPERATIONS[tostring(kty):match("^(%a+)")] or not ({ [""] = true, ["-HSM"] = true })[kty:match("^%a+(.*)$")] then
    raise(400, "BadParameter", ("Property kty has invalid value: %s"):format(tostring(kty)))
  end
  if kty:find("-HSM", 1, true) and record.body.properties.sku.name:lower() ~= "premium" then
    raise(400, "BadParameter", "The HSM-protected key types need a vault of the premium sku.")
  end
  if keys.deleted(record.name, name) then
    raise(409, "Conflict", ("Key %s is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the key "
      .. "can only be recovered or purged."):format(name), "ObjectIsDeletedButRecoverable")
  end
  local key = keys.find(record.name, name) or { vault = record.name, name = name, versions = {} }
  local p, now = record.body.properties, math.floor(task.time())
  local version = { version = crypto.hex(crypto.random(16)), kty = kty, tags = sent.tags ~= json.null and sent.tags or nil,
    material = material { kty = kty, size = sent.size, curve = sent.curve },
    operations = json.array(#(sent.operations or {}) > 0 and sent.operations or { table.unpack(OPERATIONS[kty:match("^%a+")]) }),
    attributes = { enabled = true, created = now, updated = now, exportable = false, recoverableDays = p.softDeleteRetentionInDays,
      recoveryLevel = p.enablePurgeProtection and "Recoverable" or "Recoverable+Purgeable" } }
  set_attributes(version, sent.attributes)
  table.insert(key.versions, version)
  save(key)
  return key, version
end

--- The keys of a vault, by name.
function keys.each(vault_name)
  local list = {}
  for _, key in world.store:each("key") do
    if key.vault:lower() == vault_name:lower() and not key.deleted then list[#list + 1] = key end
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local changed = function() end
--- Calls a function(vault's record, name, there) whenever the data plane made, recovered or deleted a key.
function keys.on_change(fn) changed = fn end

-- Who may do what: the data actions of roles, or the permissions of access policies.
local ACTIONS = { get = "keys/read", list = "keys/read", create = "keys/create/action", update = "keys/update/action",
  delete = "keys/delete", recover = "keys/recover/action", purge = "keys/purge/action", rotate = "keys/rotate/action",
  getrotationpolicy = "keyrotationpolicies/read", setrotationpolicy = "keyrotationpolicies/write" }

local function permit(ctx, permission, name)
  local p, principal = ctx.record.body.properties, ctx.principal
  if p.enableRbacAuthorization then
    local action = "Microsoft.KeyVault/vaults/" .. ACTIONS[permission]
    local scope = name and (ctx.record.id .. "/keys/" .. name) or ctx.record.id
    if world.roles.allows(principal.object_id, scope, action, true) then return end
    raise(403, "Forbidden", ("Caller is not authorized to perform action on resource.\r\nCaller: appid=%s;oid=%s;iss="
      .. "https://sts.windows.net/%s/\r\nAction: '%s'\r\nResource: '%s'\r\n"):format(principal.client_id, principal.object_id,
      world.tenant, action, scope), "ForbiddenByRbac")
  end
  for _, policy in ipairs(p.accessPolicies or {}) do
    if policy.objectId:lower() == principal.object_id:lower() then
      for _, given in ipairs(policy.permissions.keys or {}) do
        if given:lower() == permission or given:lower() == "all" then return end
      end
    end
  end
  raise(403, "Forbidden", ("The user, group or application 'appid=%s;oid=%s;iss=https://sts.windows.net/%s/' does not have keys %s "
    .. "permission on key vault '%s;location=%s'."):format(principal.client_id, principal.object_id, world.tenant, permission,
    ctx.record.name, ctx.record.body.location), "AccessDenied")
end

-- What a service does with a key for whoever lets it: access policies' words for it, and roles'.
local SERVICE = { get = "read", wrapKey = "wrap/action", unwrapKey = "unwrap/action" }

--- Whether a principal lets a service read a key, wrap and unwrap with it.
function keys.serves(vault_record, name, object_id)
  local p, given = vault_record.body.properties, {}
  for _, policy in ipairs(not p.enableRbacAuthorization and p.accessPolicies or {}) do
    for _, word in ipairs(policy.objectId:lower() == object_id:lower() and policy.permissions.keys or {}) do given[word:lower()] = true end
  end
  for word, action in pairs(SERVICE) do
    local by_role = p.enableRbacAuthorization
      and world.roles.allows(object_id, vault_record.id .. "/keys/" .. name, "Microsoft.KeyVault/vaults/keys/" .. action, true)
    if not (by_role or given.all or given[word:lower()]) then return false end
  end
  return true
end

-- Who asks by Azure's own name meets Azure's names in the answers.
local function base(ctx)
  local is_real = (ctx.req.headers.host or ""):lower():find("%.vault%.azure%.net")
  return ("https://%s.%s"):format(ctx.record.name:lower(), is_real and "vault.azure.net" or world.vault_suffix)
end

local function bundle(ctx, key, version)
  local m = version.material
  return { key = { kid = ("%s/keys/%s/%s"):format(base(ctx), key.name, version.version), kty = version.kty, key_ops = version.operations,
    n = m.n, e = m.e, crv = m.curve, x = m.x, y = m.y }, attributes = version.attributes, tags = version.tags }
end

local function deleted_bundle(ctx, key)
  local shown = bundle(ctx, key, keys.version(key))
  shown.recoveryId = ("%s/deletedkeys/%s"):format(base(ctx), key.name)
  shown.deletedDate, shown.scheduledPurgeDate = math.floor(key.deleted), math.floor(key.purge)
  return shown
end

local function found(key, name, deleted)
  if not key then
    raise(404, "KeyNotFound", (deleted and "Deleted Key not found: %s"
      or "A key with (name/id) %s was not found in this key vault."):format(name))
  end
  return key
end

local function body_of(ctx)
  local text = ctx.req.body
  local body = json.decode(text and text ~= "" and text or "{}")
  if type(body) ~= "table" then raise(400, "BadParameter", "The request body could not be parsed as JSON.") end
  return body
end

local routes = {}

routes["GET keys"] = function(ctx)
  permit(ctx, "list")
  local items = {}
  for i, key in ipairs(keys.each(ctx.record.name)) do
    local version = keys.version(key)
    items[i] = { kid = ("%s/keys/%s"):format(base(ctx), key.name), attributes = version.attributes, tags = version.tags }
  end
  return { value = json.array(items), nextLink = json.null }
end

local function get(ctx, name, wanted)
  permit(ctx, "get", name)
  local key = found(keys.find(ctx.record.name, name), name)
  return bundle(ctx, key, found(keys.version(key, wanted), name .. "/" .. tostring(wanted)))
end
routes["GET keys/*"], routes["GET keys/*/*"] = get, get

routes["POST keys/*/create"] = function(ctx, name)
  permit(ctx, "create", name)
  local sent = body_of(ctx)
  local key, version = keys.create(ctx.record, name, { kty = sent.kty, size = sent.key_size, curve = sent.crv, operations = sent.key_ops,
    attributes = sent.attributes, tags = sent.tags })
  changed(ctx.record, key.name, true)
  return bundle(ctx, key, version)
end

routes["GET keys/*/versions"] = function(ctx, name)
  permit(ctx, "list", name)
  local key, items = found(keys.find(ctx.record.name, name), name), {}
  for i, version in ipairs(key.versions) do
    items[i] = { kid = ("%s/keys/%s/%s"):format(base(ctx), key.name, version.version), attributes = version.attributes, tags = version.tags }
  end
  return { value = json.array(items), nextLink = json.null }
end

-- A new version as the newest one was asked for.
routes["POST keys/*/rotate"] = function(ctx, name)
  permit(ctx, "rotate", name)
  local key = found(keys.find(ctx.record.name, name), name)
  local last = keys.version(key)
  local m = last.material
  local _, version = keys.create(ctx.record, name, { kty = last.kty, size = m.size, curve = m.curve, operations = last.operations,
    tags = last.tags })
  return bundle(ctx, key, version)
end

-- Keys are rotated when they are asked to be; what is set is kept.
local function rotation_policy(ctx, key)
  local a = keys.version(key).attributes
  local policy = key.policy or { lifetimeActions = json.array { { trigger = { timeBeforeExpiry = "P30D" }, action = { type = "Notify" } } },
    attributes = { created = a.created, updated = a.updated } }
  return { id = ("%s/keys/%s/rotationpolicy"):format(base(ctx), key.name), lifetimeActions = policy.lifetimeActions,
    attributes = policy.attributes }
end

routes["GET keys/*/rotationpolicy"] = function(ctx, name)
  permit(ctx, "getrotationpolicy", name)
  return rotation_policy(ctx, found(keys.find(ctx.record.name, name), name))
end

routes["PUT keys/*/rotationpolicy"] = function(ctx, name)
  permit(ctx, "setrotationpolicy", name)
  local key, sent = found(keys.find(ctx.record.name, name), name), body_of(ctx)
  local given, now = type(sent.attributes) == "table" and sent.attributes or {}, math.floor(task.time())
  key.policy = { lifetimeActions = json.array(type(sent.lifetimeActions) == "table" and sent.lifetimeActions or {}),
    attributes = { expiryTime = given.expiryTime, created = key.policy and key.policy.attributes.created or now, updated = now } }
  save(key)
  return rotation_policy(ctx, key)
end

local function patch(ctx, name, wanted)
  permit(ctx, "update", name)
  local key, sent = found(keys.find(ctx.record.name, name), name), body_of(ctx)
  local version = found(keys.version(key, wanted), name .. "/" .. tostring(wanted))
  if sent.key_ops then version.operations = json.array(sent.key_ops) end
  if sent.tags and sent.tags ~= json.null then version.tags = sent.tags end
  set_attributes(version, sent.attributes)
  save(key)
  return bundle(ctx, key, version)
end
routes["PATCH keys/*"], routes["PATCH keys/*/*"] = patch, patch

routes["DELETE keys/*"] = function(ctx, name)
  permit(ctx, "delete", name)
  local key = found(keys.find(ctx.record.name, name), name)
  key.deleted = task.time()
  key.purge = key.deleted + (ctx.record.body.properties.softDeleteRetentionInDays or 90) * DAY
  save(key)
  changed(ctx.record, key.name, false)
  return deleted_bundle(ctx, key)
end

routes["GET deletedkeys/*"] = function(ctx, name)
  permit(ctx, "get", name)
  return deleted_bundle(ctx, found(keys.deleted(ctx.record.name, name), name, true))
end

routes["POST deletedkeys/*/recover"] = function(ctx, name)
  permit(ctx, "recover", name)
  local key = found(keys.deleted(ctx.record.name, name), name, true)
  key.deleted, key.purge = nil, nil
  save(key)
  changed(ctx.record, key.name, true)
  return bundle(ctx, key, keys.version(key))
end

routes["DELETE deletedkeys/*"] = function(ctx, name)
  permit(ctx, "purge", name)
  if ctx.record.body.properties.enablePurgeProtection then
    raise(403, "Forbidden", "Operation \"purge\" is not allowed because purge protection is enabled for this vault.", "ForbiddenByPolicy")
  end
  found(keys.deleted(ctx.record.name, name), name, true)
  world.store:delete("key", place_of(ctx.record.name, name))
  return nil
end

local function route(ctx)
  local steps = {}
  for step in ctx.path:gmatch("[^/]+") do steps[#steps + 1] = step end
  local head, method = steps[1]:lower(), ctx.req.method
  local forms = { method .. " " .. head, method .. " " .. head .. "/*",
    ("%s %s/*/%s"):format(method, head, (steps[3] or ""):lower()), ("%s %s/*/*"):format(method, head) }
  for i = math.min(#steps, 3), #steps > 2 and 4 or #steps do
    if routes[forms[i]] then return routes[forms[i]](ctx, steps[2], steps[3]) end
  end
  raise(404, "NotFound", ("The requested URI does not represent any resource on the server: %s"):format(ctx.path))
end

local function answer_of(ctx)
  local ok, answer = pcall(route, ctx)
  if ok then return { status = answer and 200 or 204, json = answer } end
  if getmetatable(answer) == meta then
    return { status = answer.status, json = { error = { code = answer.code, message = answer.message,
      innererror = answer.inner and { code = answer.inner } or nil } } }
  end
  if type(answer) == "table" and answer.code == "cancelled" then error(answer, 0) end
  log.error("vault %s %s: %s", ctx.req.method, ctx.path, tostring(answer))
  return { status = 500, json = { error = { code = "InternalServerError", message = "the emulator failed; its log says why" } } }
end

keys.problem = meta

-- The vault's own requests are of secrets; those of keys come here before it sees them.
local HEADS = { keys = true, deletedkeys = true }
local others, purge = vault.handle, vault.purge

function vault.handle(vault_name, req)
  local path = req.path:gsub("//+", "/"):gsub("(.)/$", "%1")
  local record = HEADS[(path:match("^/([^/]+)") or ""):lower()] and world.vaults.by_name(vault_name)
  local principal = record and world.entra.check(req.headers.authorization, "vault")
  if not principal or not (req.query or {})["api-version"] then return others(vault_name, req) end
  local answer = answer_of { req = req, query = req.query, path = path, record = record, principal = principal }
  if answer.status < 400 and req.method ~= "GET" then world.writes.add("vault", req.method, vault_name .. path, answer.status) end
  answer.headers = { ["x-ms-keyvault-region"] = record.body.location, ["x-ms-request-id"] = crypto.uuid() }
  return answer
end

function vault.purge(vault_name)
  for _, key in world.store:each("key") do
    if key.vault:lower() == vault_name:lower() then world.store:delete("key", place_of(key.vault, key.name)) end
  end
  return purge(vault_name)
end

return keys
