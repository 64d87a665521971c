--- Microsoft.ContainerRegistry: registries, as far as a control plane shows them.
local crypto, json = require "crypto", require "json"
local clock = require "emulator.clock"
local records = require "emulator.arm.records"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"
local system_data = require "emulator.arm.system_data"

local raise = problem.raise
local REGISTRY = "Microsoft.ContainerRegistry/registries"
local SKUS = { basic = "Basic", standard = "Standard", premium = "Premium" }

local function bad(code, message) raise(400, code, message) end

local function credentials(record)
  local p = record.body.properties
  if not p.adminUserEnabled then
    bad("UnAuthorizedForCredentialOperations",
      ("Cannot perform credential operations for %s as admin user is disabled. Kindly enable admin user."
      ):format(record.id))
  end
  record.private.passwords = record.private.passwords or { crypto.base64(crypto.random(24)), crypto.base64(crypto.random(24)) }
  records.save(record)
  local list = json.array {}
  for i, password in ipairs(record.private.passwords) do
    list[i] = { name = i == 1 and "password" or "password2", value = password }
  end
  return { username = record.name, passwords = list }
end

records.define(REGISTRY, {
  style = style.registry, name = "^[%w]+$", shortest = 5, longest = 50, read_only = { "loginServer", "creationDate",
    "privateEndpointConnections",
    "status", "dataEndpointHostNames" },
  prepare = function(body, ctx)
    local p, old = body.properties, ctx.old and ctx.old.body
    if not old then
      for other in records.each(REGISTRY) do
        if other.name:lower() == ctx.name:lower() then
          raise(409, "AlreadyInUse",
            ("The registry DNS name %s.azurecr.io is already in use. You can check if the name is already claimed using "
            .. "following API: https://docs.microsoft.com/en-us/rest/api/containerregistry/registries/checknameavailability"):format(
            ctx.name:lower()))
        end
      end
    else
      value.fill(p, old.properties)
      body.sku, body.tags = body.sku or value.copy(old.sku), body.tags or value.copy(old.tags)
    end
    local sku = body.sku and SKUS[tostring(body.sku.name):lower()]
    if not sku then bad("InvalidSku", "The registry needs a sku.name: Basic, Standard or Premium.") end
    body.sku, body.tags = { name = sku, tier = sku }, body.tags or {}
    local now, premium = clock.iso(), sku == "Premium"
    for field, needs in pairs { zoneRedundancy = p.zoneRedundancy == "Enabled",
      dataEndpointEnabled = p.dataEndpointEnabled == true,
      networkRuleSet = p.networkRuleSet and p.networkRuleSet.defaultAction == "Deny" } do
      if needs and not premium then
        bad("FeatureNotSupportedInSkuTier",
          ("The property '%s' is not supported for the SKU tier %s: it needs Premium."):format(field, sku))
      end
    end
    p.policies = p.policies or {}
    for name, policy in pairs { quarantinePolicy = { status = "disabled" },
      trustPolicy = { type = "Notary", status = "disabled" },
      retentionPolicy = { days = 7, lastUpdatedTime = now, status = "disabled" }, exportPolicy = { status = "enabled" },
      azureADAuthenticationAsArmPolicy = { status = "enabled" },
      softDeletePolicy = { retentionDays = 7, lastUpdatedTime = now, status = "disabled" } } do
      p.policies[name] = value.fill(p.policies[name] or {}, policy)
    end
    value.fill(p, { loginServer = ctx.name:lower() .. ".azurecr.io", creationDate = old and old.properties.creationDate or now,
      adminUserEnabled = false, encryption = { status = "disabled" }, dataEndpointEnabled = false,
        dataEndpointHostNames = json.array {},
      privateEndpointConnections = json.array {}, publicNetworkAccess = "Enabled", networkRuleBypassOptions = "AzureServices",
      zoneRedundancy = "Disabled", anonymousPullEnabled = false })
  end,
  show = function(record, body) body.systemData = system_data.of(record) end,
  actions = {
    importImage = { seconds = 10,
      check = function(_, input)
        if not value.at(input, "source.sourceImage") then bad("InvalidParameter", "The import needs source.sourceImage.") end
      end,
      run = function() return { status = "Succeeded" } end },
    listCredentials = { sync = true, run = credentials },
    regenerateCredential = { sync = true, run = function(record, input)
      local at = input.name == "password" and 1 or input.name == "password2" and 2
      if not at then bad("InvalidParameter", "The name of a credential is password or password2.") end
      credentials(record)
      record.private.passwords[at] = crypto.base64(crypto.random(24))
      return credentials(record)
    end },
  },
})

return {}
