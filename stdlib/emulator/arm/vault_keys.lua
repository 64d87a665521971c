--- Microsoft.KeyVault: keys as ARM resources. ARM makes the first version of a key and shows the newest; nothing else.
local records = require "emulator.arm.records"
local problem, style = require "emulator.arm.problem", require "emulator.arm.style"
local keys, key_vault = require "emulator.keys", require "emulator.arm.key_vault"
local raise = problem.raise

local VAULT = "Microsoft.KeyVault/vaults"

local function key_of(record) return keys.find(record.id:match("/vaults/([^/]+)/"), record.name) end

local function not_allowed()
  raise(405, "HttpMethodNotAllowed", "The requested operation is not supported on keys; use the vault's own endpoint.")
end

records.define(VAULT .. "/keys", {
  kind = "azure.key_vault_key", style = style.plain, located = false, stateless = true, put_status = { 200, 200 },
  not_found = function(id)
    raise(404, "KeyNotFound", ("A key with (name/id) %s was not found in this key vault."):format(id.name))
  end,
  prepare = function(body, ctx)
    local vault, p = records.get(ctx.id.parent), body.properties
    local ok, why = pcall(keys.create, vault, ctx.name, { kty = p.kty, size = p.keySize, curve = p.curveName, operations = p.keyOps,
      attributes = p.attributes, tags = body.tags })
    if not ok then
      if getmetatable(why) == keys.problem then raise(why.status, why.code, why.message) end
      error(why, 0)
    end
    body.location, body.tags, body.properties = vault.body.location, nil, {}
  end,
  show = function(record, body, ctx)
    local key = key_of(record)
    local version = key and keys.version(key)
    if not version then return end
    local a = version.attributes
    local uri = ("%skeys/%s"):format(key_vault.uri(key.vault, ctx), key.name)
    body.tags = version.tags
    body.properties = { attributes = { enabled = a.enabled, created = a.created, updated = a.updated, nbf = a.nbf, exp = a.exp,
      exportable = a.exportable, recoveryLevel = a.recoveryLevel }, kty = version.kty, keyOps = version.operations,
      keySize = version.material.size, curveName = version.material.curve, keyUri = uri, keyUriWithVersion = uri .. "/" .. version.version }
  end,
  answers = {
    PUT = function(id, ctx)
      local there = records.get(id.path)
      return there and { status = 200, json = records.show(there, ctx) }
    end,
    PATCH = not_allowed, DELETE = not_allowed,
  },
})

--- ARM lists what the data plane made, and forgets what it deleted.
keys.on_change(function(vault, name, there)
  local id = ("%s/keys/%s"):format(vault.id, name)
  local record = records.get(id)
  if there and not record then
    records.save(records.new(VAULT .. "/keys", id, { location = vault.body.location, properties = {} }))
  elseif record and not there then
    records.remove(record)
  end
end)

return {}
