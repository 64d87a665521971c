--- Microsoft.Storage: accounts and blob containers, as far as a control plane shows them.
local crypto, json = require "crypto", require "json"
local clock = require "emulator.clock"
local records = require "emulator.arm.records"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"
local raise = problem.raise
local ACCOUNT = "Microsoft.Storage/storageAccounts"

records.define(ACCOUNT, {
  kind = "azure.storage_account", style = style.storage, seconds = { create = 20 },
  prepare = function(body, ctx)
    if not ctx.old then
      for record in records.each(ACCOUNT) do
        if record.name == ctx.name then
          raise(409, "StorageAccountAlreadyTaken", ("The storage account named %s is already taken."):format(ctx.name))
        end
      end
    end
    local p, old = body.properties, ctx.old and ctx.old.body
    if old then
      body.sku, body.kind = body.sku or old.sku, body.kind or old.kind
      for key, item in pairs(old.properties) do
        if p[key] == nil then p[key] = value.copy(item) end
      end
    end
    if not body.sku or not body.sku.name or not body.kind then
      raise(400, "InvalidRequestPropertiesValue", "The properties sku.name and kind are required.")
    end
    body.sku.tier = body.sku.name:match("^(%a+)_")
    body.tags = body.tags or {}
    local now = clock.iso()
    value.fill(p, { keyCreationTime = { key1 = now, key2 = now }, allowCrossTenantReplication = false, privateEndpointConnections =
      json.array {}, supportsHttpsTrafficOnly = true, creationTime = now, primaryLocation = body.location, statusOfPrimary = "available",
      minimumTlsVersion = "TLS1_2", allowBlobPublicAccess = false,
      networkAcls = {},
      encryption = { services = { file = { enabled = true, keyType = "Account" }, blob = { enabled = true, keyType = "Account" } },
        keySource = "Microsoft.Storage" } })
    value.fill(p.networkAcls, { ipv6Rules = json.array {}, bypass = "AzureServices", virtualNetworkRules = json.array {},
      ipRules = json.array {}, defaultAction = "Allow" })
    for _, service in pairs(p.encryption.services or {}) do service.lastEnabledTime = service.lastEnabledTime or now end
    local endpoints = {}
    for _, service in ipairs(body.kind == "StorageV2" and { "dfs", "web", "blob", "queue", "table", "file" }
      or { "blob", "queue", "table", "file" }) do
      endpoints[service] = ("https://%s.%s.core.windows.net/"):format(ctx.name, service)
    end
    p.primaryEndpoints = p.primaryEndpoints or endpoints
    if body.sku.name:find("GRS") and not p.secondaryLocation then
      p.secondaryLocation, p.statusOfSecondary = "westus", "available"
    end
  end,
  actions = { listKeys = { sync = true, run = function(record)
    local private = record.private
    private.keys = private.keys or { crypto.base64(crypto.random(64)), crypto.base64(crypto.random(64)) }
    records.save(record)
    local keys = {}
    for i, key in ipairs(private.keys) do
      keys[i] = { creationTime = record.body.properties.keyCreationTime["key" .. i], keyName = "key" .. i, value = key, permissions = "FULL" }
    end
    return { keys = json.array(keys) }
  end } },
})

records.define(ACCOUNT .. "/blobServices/containers", {
  kind = "azure.storage_container", style = style.container, located = false, stateless = true,
  not_found = function()
    raise(404, "ContainerNotFound", ("The specified container does not exist.\nRequestId:%s\nTime:%s"):format(crypto.uuid(), clock.iso()))
  end,
  prepare = function(body)
    value.fill(body.properties, { deleted = false, remainingRetentionDays = 0, publicAccess = "None", leaseStatus = "Unlocked",
      leaseState = "Available", hasImmutabilityPolicy = false, hasLegalHold = false, lastModifiedTime = clock.iso(),
      defaultEncryptionScope = "$account-encryption-key", denyEncryptionScopeOverride = false })
  end,
  -- The service says less of what it just wrote, and not the same in a list.
  show = function(_, body, ctx)
    local p = body.properties
    if not ctx then return end
    if ctx.req.method ~= "GET" then
      body.etag = nil
      for _, key in ipairs { "leaseStatus", "leaseState", "lastModifiedTime", "defaultEncryptionScope", "denyEncryptionScopeOverride" } do
        p[key] = nil
      end
    elseif ctx.id.whole then
      p.legalHold = { hasLegalHold = p.hasLegalHold, tags = json.array {} }
    else
      p.immutableStorageWithVersioning = { enabled = false }
    end
  end,
})

return {}
