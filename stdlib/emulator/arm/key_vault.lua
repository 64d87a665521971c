--- Microsoft.KeyVault: vaults with soft delete, recover and purge; their secrets as ARM resources.
local json, task = require "json", require "task"
local world, clock = require "emulator.world", require "emulator.clock"
local records, operations = require "emulator.arm.records", require "emulator.arm.operations"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"
local system_data = require "emulator.arm.system_data"
local raise = problem.raise
local VAULT = "Microsoft.KeyVault/vaults"
local DAY = 86400

local function by_name(name)
  for record in records.each(VAULT) do
    if record.name:lower() == name:lower() then return record end
  end
end

local function deleted_of(name) return world.store:get("deleted_vault", name:lower()) end

--- Where a vault answers: who asks by Azure's own name meets the vaults by theirs.
local function uri(name, ctx)
  local real = ctx and ctx.req and ctx.req.headers.host == "management.azure.com"
  return ("https://%s.%s/"):format(name:lower(), real and "vault.azure.net" or world.vault_suffix)
end

local function check_policies(p)
  for _, policy in ipairs(p.accessPolicies or {}) do
    if type(policy.objectId) ~= "string" or policy.objectId == "" then
      raise(400, "BadRequest", "An access policy needs an objectId.")
    end
    policy.permissions = policy.permissions or {}
    for kind, list in pairs(policy.permissions) do
      for i, item in ipairs(list) do list[i] = item end
      policy.permissions[kind] = json.array(list)
    end
  end
end

records.define(VAULT, {
  kind = "azure.key_vault", style = style.vault, seconds = { create = 10 }, trailing_page = true,
  read_only = { "hsmPoolResourceId", "privateEndpointConnections" },
  prepare = function(body, ctx)
    local p, old = body.properties, ctx.old and ctx.old.body.properties
    if not ctx.old then
      local other, gone = by_name(ctx.name), deleted_of(ctx.name)
      if other then
        raise(409, "VaultAlreadyExists", ("The vault name '%s' is already in use. Vault names are globally unique so it is possible that the "
          .. "name is already taken. If you are sure that the vault name was not taken then it is possible that a vault with the same name was "
          .. "recently deleted but not purged after being placed in a recoverable state."):format(ctx.name))
      end
      if gone and p.createMode ~= "recover" then
        raise(409, "ConflictError", "A vault with the same name already exists in deleted state. You need to either recover or purge existing "
          .. "key vault. Follow this link https://go.microsoft.com/fwlink/?linkid=2149745 for more information on soft delete.")
      end
      if gone then
        ctx.recovered = gone
        local was = value.copy(gone.body)
        body.tags = body.tags or was.tags
        for key in pairs(value.copy(p)) do p[key] = nil end -- it comes back as it went
        for key, item in pairs(was.properties) do p[key] = item end
        world.store:delete("deleted_vault", ctx.name:lower())
      elseif p.createMode == "recover" then
        raise(404, "VaultNotFound", ("No deleted vault '%s' was found to recover."):format(ctx.name))
      end
    end
    p.createMode = nil
    if not p.tenantId or not value.at(p, "sku.name") then
      raise(400, "BadRequest", "The parameter tenantId or sku is missing or invalid.")
    end
    if p.accessPolicies == nil and p.enableRbacAuthorization ~= true then
      if old then p.accessPolicies = old.accessPolicies
      else raise(400, "BadRequest", "The parameter accessPolicies is not specified: it may be empty, but not absent, without RBAC.") end
    end
    p.accessPolicies = p.accessPolicies and json.array(p.accessPolicies) or json.array {}
    check_policies(p)
    value.fill(p, { enableSoftDelete = true, softDeleteRetentionInDays = 90, publicNetworkAccess = "Enabled" })
    if old and old.enablePurgeProtection and p.enablePurgeProtection == false then
      raise(400, "BadRequest", "The property \"enablePurgeProtection\" cannot be set to false. Enabling the purge protection for a vault is an "
        .. "irreversible action.")
    end
    if p.enablePurgeProtection == false then p.enablePurgeProtection = nil end
    p.vaultUri = uri(ctx.name)
    body.tags = body.tags or {}
  end,
  show = function(record, body, ctx)
    body.systemData = system_data.of(record)
    body.properties.vaultUri = uri(record.name, ctx)
    if record.state == "RegisteringDns" and ctx and ctx.req and ctx.req.method == "PUT" then
      body.properties.vaultUri = body.properties.vaultUri:gsub("/$", "")
    end
  end,
  destroy = function(record)
    local now = task.time()
    local days = record.body.properties.softDeleteRetentionInDays
    world.store:put("deleted_vault", record.name:lower(), { name = record.name, id = record.id, body = value.copy(record.body), deleted = now,
      purge = now + days * DAY, location = record.body.location })
  end,
  actions = {},
})

-- accessPolicies/add|replace|remove: a write that only touches the policies it names.
records.define(VAULT .. "/accessPolicies", {
  style = style.plain, located = false, stateless = true,
  prepare = function(body, ctx)
    local vault = records.get(ctx.id.parent)
    if not vault then problem.not_found(VAULT .. "/" .. ctx.id.names[1], ctx.id.group) end
    local verb, p = ctx.name:lower(), vault.body.properties
    local kept = json.array {}
    for _, policy in ipairs(p.accessPolicies or {}) do
      local named = false
      for _, sent in ipairs(body.properties.accessPolicies or {}) do named = named or sent.objectId:lower() == policy.objectId:lower() end
      if verb ~= "replace" and not (named and (verb == "add" or verb == "remove")) then kept[#kept + 1] = policy end
    end
    if verb ~= "remove" then
      for _, sent in ipairs(body.properties.accessPolicies or {}) do kept[#kept + 1] = value.copy(sent) end
    end
    p.accessPolicies = kept
    check_policies(p)
    records.save(vault)
    body.properties = { accessPolicies = kept }
  end,
})

-- Secrets over ARM: written by value, never read.
records.define(VAULT .. "/secrets", {
  style = style.plain, located = false, stateless = true, put_status = { 200, 200 },
  not_found = function()
    raise(404, "ResourceNotFound", "The specified resource does not exist. Follow this link for more information: "
      .. "https://go.microsoft.com/fwlink/?linkid=2147446")
  end,
  prepare = function(body, ctx)
    local vault = records.get(ctx.id.parent)
    local p = body.properties
    if type(p.value) ~= "string" then raise(400, "BadRequest", "The parameter value is missing.") end
    local bundle = world.vault.set(vault, ctx.name, { value = p.value, contentType = p.contentType, attributes = p.attributes })
    local base = vault.body.properties.vaultUri .. "secrets/" .. ctx.name
    body.location = vault.body.location
    local a = bundle.attributes
    body.properties = { attributes = { enabled = a.enabled, created = a.created, updated = a.updated, nbf = a.nbf, exp = a.exp }, contentType = p.contentType, secretUri = base,
      secretUriWithVersion = base .. "/" .. bundle.version }
  end,
})

local function shown_deleted(gone)
  return { id = ("/subscriptions/%s/providers/Microsoft.KeyVault/locations/%s/deletedVaults/%s"):format(world.subscription, gone.location,
    gone.name), name = gone.name, type = "Microsoft.KeyVault/deletedVaults", properties = { vaultId = gone.id, location = gone.location,
    tags = gone.body.tags, deletionDate = clock.iso(gone.deleted), scheduledPurgeDate = clock.iso(gone.purge),
    purgeProtectionEnabled = gone.body.properties.enablePurgeProtection } }
end

local function drop_expired()
  local now = task.time()
  for name, gone in world.store:each("deleted_vault") do
    if gone.purge < now then
      world.vault.purge(name)
      world.store:delete("deleted_vault", name)
    end
  end
end

function operations.work.purge(op)
  world.vault.purge(op.name)
  world.store:delete("deleted_vault", op.name)
  op.location_json = { createdDateTime = os.date("!%Y-%m-%d %H:%M:%SZ", math.floor(op.started)),
    lastActionDateTime = os.date("!%Y-%m-%d %H:%M:%SZ"), status = "Succeeded" }
end

records.define("Microsoft.KeyVault/deletedVaults", {
  style = style.plain,
  list = function()
    drop_expired()
    local items = {}
    for _, gone in world.store:each("deleted_vault") do items[#items + 1] = shown_deleted(gone) end
    return items
  end,
})

records.define("Microsoft.KeyVault/locations/deletedVaults", {
  style = style.plain, orphan = true,
  answers = { GET = function(id)
    drop_expired()
    if not id.whole then return nil end
    local gone = deleted_of(id.name)
    if not gone then
      raise(404, "DeletedVaultNotFound", ("The specified deleted vault '%s' does not exist."):format(id.name))
    end
    return { status = 200, json = shown_deleted(gone) }
  end },
})

--- POST …/locations/L/deletedVaults/V/purge: not on a record, so routed here.
local function purge(name, ctx)
  local gone = deleted_of(name)
  if not gone then raise(404, "DeletedVaultNotFound", ("The specified deleted vault '%s' does not exist."):format(name)) end
  if gone.body.properties.enablePurgeProtection then
    raise(409, "DeletedVaultPurge", ("Operation 'DeletedVaultPurge' is not allowed on vault '%s': purge protection is enabled."):format(name))
  end
  local op = operations.start { verb = "purge", name = name:lower(), seconds = 60, style = "network", namespace = "Microsoft.KeyVault",
    location = gone.location }
  return { status = 202, headers = operations.headers(op, ctx, "location") }
end

world.vaults = { by_name = by_name, deleted = deleted_of, list_deleted = function()
  local items = {}
  for _, gone in world.store:each("deleted_vault") do items[#items + 1] = shown_deleted(gone) end
  return items
end }

return { purge = purge, uri = uri }
