--- A key vault. With `recover`, a soft-deleted vault of the same name is recovered instead of refused.
local arm, field, json, task = require "azure.arm", require "field", require "json", require "task"
local statement, fail = require "azure.statement", require "fail"

local API = "2025-05-01"

local function deleted(client, name)
  for _, vault in ipairs(client:list(("/subscriptions/%s/providers/Microsoft.KeyVault/deletedVaults"):format(client.subscription), API)) do
    if vault.name:lower() == name:lower() then return vault end
  end
end

local page
page = statement.define {
  kind = "key_vault", doc = "A key vault.", type = "Microsoft.KeyVault/vaults", api = API, match = "^%a[%w-]*%w$", shortest = 3,
    longest = 24,
  fields = {
    sku = field.choice { "standard", "premium", default = "standard", arm = "properties.sku.name" },
    rbac = field.boolean { default = true, arm = "properties.enableRbacAuthorization",
      doc = "Role assignments decide; else access policies." },
    purge_protection = field.boolean { arm = "properties.enablePurgeProtection",
      doc = "Irreversible once on: it then stays, whether it is said or not." },
    retention_days = field.integer { min = 7, max = 90, default = 90, replace = true, arm = "properties.softDeleteRetentionInDays" },
    access_policies = field.list { field.object { object_id = field.string { required = true },
      secrets = field.list { field.string {} }, keys = field.list { field.string {} } }, doc = "Only without rbac." },
    recover = field.boolean { default = true, doc = "Recover a soft-deleted vault of this name." },
  },
  outputs = { uri = field.string { arm = "properties.vaultUri", doc = "The vault's URI." } },
  body = function(f, body, current)
    body.properties = body.properties or {}
    body.properties.sku = { family = "A", name = f.sku or "standard" }
    body.properties.tenantId = f.tenant
    body.properties.hsmPoolResourceId, body.properties.vaultUri = nil, nil
    if f.rbac == false then
      local policies = {}
      for i, policy in ipairs(f.access_policies or {}) do
        policies[i] = { tenantId = f.tenant, objectId = policy.object_id,
          permissions = { secrets = json.array(policy.secrets or {}), keys = json.array(policy.keys or {}) } }
      end
      body.properties.accessPolicies = json.array(policies)
    elseif not current then
      body.properties.accessPolicies = json.array {}
    end
  end,
  observed = function(f, body)
    -- Azure leaves out what was never said: access policies decide.
    return { rbac = statement.get(body, "properties.enableRbacAuthorization") == true,
      purge_protection = f.purge_protection == nil and json.null or nil }
  end,
  prepare = function(ctx, client, f, current)
    f.tenant = client.cloud.tenant
    if current then return end
    local gone = deleted(client, f.name)
    if not gone then return end
    if f.recover == false then
      error(fail { ("a vault named %s is soft-deleted until %s"):format(f.name,
        tostring(gone.properties.scheduledPurgeDate)), code = "deleted",
        hint = "purge it, choose another name, or set recover = true" })
    end
    ctx:progress("recovering the soft-deleted vault")
    ctx.recovers = true
    return function(body) body.properties.createMode = "recover" end
  end,
  made = function(ctx, client, body)
    -- Vaults have no operation to follow: the name is registered a while after the PUT.
    while body.properties.provisioningState == "RegisteringDns" do
      task.sleep(client.cloud.kind == "emulator" and 0.1 or 5)
      body = client:get(body.id, API)
    end
    -- It came back as it went; what is declared by now is said once more.
    if ctx.recovers then return client:put(body.id, API, statement.full_body(page, ctx.fields, client:get(body.id, API))) end
    return body
  end,
  verbs = {
    delete = function(ctx)
      local client = arm.open(ctx.target)
      local id = ctx.prior.id or ctx.prior.outputs.id
      client:delete(id, API, { ctx = ctx })
      local gone = deleted(client, id:match("[^/]+$"))
      local when = gone and gone.properties and gone.properties.scheduledPurgeDate
      if when then return { note = ("vault %s stays soft-deleted until %s"):format(id:match("[^/]+$"), when) } end
    end,
  },
}

return page
