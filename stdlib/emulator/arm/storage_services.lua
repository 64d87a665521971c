--- Microsoft.Storage: the services of an account, which are there by themselves, and file shares.
local crypto, json = require "crypto", require "json"
local clock = require "emulator.clock"
local records = require "emulator.arm.records"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"

local raise = problem.raise
local ACCOUNT = "Microsoft.Storage/storageAccounts"

local function bad(message) raise(400, "InvalidRequestPropertiesValue", message) end

-- What a service says of itself as long as nobody said anything.
local GIVEN = {
  blobServices = { cors = { corsRules = json.array {} }, deleteRetentionPolicy = { enabled = false,
    allowPermanentDelete = false } },
  fileServices = { cors = { corsRules = json.array {} }, shareDeleteRetentionPolicy = { enabled = true, days = 7 },
    protocolSettings = { smb = {} } },
  queueServices = { cors = { corsRules = json.array {} } },
  tableServices = { cors = { corsRules = json.array {} } },
}

local POLICIES = { "deleteRetentionPolicy", "shareDeleteRetentionPolicy", "containerDeleteRetentionPolicy", "restorePolicy" }

local function check_policy(name, policy)
  local days = policy.days
  if policy.enabled and name ~= "restorePolicy" and days == nil then
    bad(("The property '%s.days' is required when the policy is enabled."):format(name))
  elseif days ~= nil and (math.type(days) ~= "integer" or days < 1 or days > 365) then
    bad(("The value '%s' of '%s.days' is out of range: it is between 1 and 365."):format(tostring(days), name))
  end
end

for name, given in pairs(GIVEN) do
  records.define(ACCOUNT .. "/" .. name, {
    style = style.plain, located = false, stateless = true, put_status = { 200, 200 },
    given = function() return value.copy(given) end,
    prepare = function(body, ctx)
      if ctx.name:lower() ~= "default" then
        raise(400, "InvalidResourceName",
          ("The resource name '%s' is not valid: a storage account has one such service, 'default'."):format(
          ctx.name))
      end
      for _, policy in ipairs(POLICIES) do
        if body.properties[policy] then check_policy(policy, body.properties[policy]) end
      end
      -- What is not said stays; the answer to a write shows only what was said.
      ctx.private.said = value.keys(body.properties)
      value.fill(body.properties, ctx.old and ctx.old.body.properties or given)
    end,
    show = function(record, body, ctx)
      if not ctx or ctx.req.method == "GET" then
        local account = records.get(record.id:match("^(.*)/[^/]+/[^/]+$"))
        body.sku = account and value.copy(account.body.sku)
        return
      end
      local said = {}
      for _, key in ipairs(record.private.said or {}) do said[key] = body.properties[key] end
      body.properties = said
    end,
  })
end

local TIERS = { TransactionOptimized = true, Hot = true, Cool = true, Premium = true }
local PROTOCOLS = { SMB = true, NFS = true }

records.define(ACCOUNT .. "/fileServices/shares", {
  style = style.share, located = false, stateless = true, name = "^[%l%d][%l%d-]*[%l%d]$", shortest = 3, longest = 63,
  not_found = function()
    raise(404, "ShareNotFound", ("The specified share does not exist.\nRequestId:%s\nTime:%s"):format(crypto.uuid(), clock.iso()))
  end,
  prepare = function(body, ctx)
    local p, old = body.properties, ctx.old and ctx.old.body.properties
    local account = records.get(ctx.record_id:match("^(.*)/fileServices/"))
    local large = account and account.body.properties.largeFileSharesState == "Enabled"
    ctx.private.said = value.keys(p)
    if p.accessTier and not TIERS[p.accessTier] then
      bad(("The value '%s' of 'accessTier' is not valid."):format(tostring(p.accessTier)))
    end
    if p.enabledProtocols and not PROTOCOLS[p.enabledProtocols] then
      bad(("The value '%s' of 'enabledProtocols' is not valid."):format(tostring(p.enabledProtocols)))
    elseif old and p.enabledProtocols and p.enabledProtocols ~= old.enabledProtocols then
      bad("The property 'enabledProtocols' cannot be changed once the share is there.")
    end
    value.fill(p, { shareQuota = old and old.shareQuota or large and 102400 or 5120 })
    if math.type(p.shareQuota) ~= "integer" or p.shareQuota < 1 or p.shareQuota > 102400 then
      bad(("The value '%s' of 'shareQuota' is out of range: it is between 1 and 102400."):format(tostring(p.shareQuota)))
    end
    local now = clock.iso()
    local tier = p.accessTier or old and old.accessTier or "TransactionOptimized"
    value.fill(p, { accessTier = tier, enabledProtocols = old and old.enabledProtocols or "SMB", leaseStatus = "unlocked",
      leaseState = "available", accessTierChangeTime = old and old.accessTier == tier and old.accessTierChangeTime or now })
    p.lastModifiedTime = now
  end,
  -- As of containers: a write is answered with what was said, and a list says other things than the share itself.
  show = function(record, body, ctx)
    local p = body.properties
    if not ctx then return end
    if ctx.req.method ~= "GET" then
      body.etag, body.properties = nil, {}
      for _, key in ipairs(record.private.said or {}) do body.properties[key] = p[key] end
    elseif ctx.id.whole then
      p.signedIdentifiers = json.array {}
      if p.enabledProtocols == "SMB" then p.enabledProtocols = nil end
    end
  end,
})

return {}
