--- Microsoft.OperationalInsights: Log Analytics workspaces. A deleted one comes back, as it was, when it is made again.
local crypto, task = require "crypto", require "task"
local world, clock = require "emulator.world", require "emulator.clock"
local records = require "emulator.arm.records"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"
local raise = problem.raise

local WORKSPACE, KEPT = "Microsoft.OperationalInsights/workspaces", 14 * 86400

style.workspace = { name = "workspace", refuses = "InvalidParameter", etag = "guid", pending = { "Creating", "Updating" }, operation = "operationStatuses",
  put_status = { 201, 200 }, delete = "async", retry = 5, body = style.network.body }

--- A workspace that was deleted not long ago.
local function deleted(id)
  local gone = world.store:get("deleted_workspace", id:lower())
  if gone and gone.deleted + KEPT < task.time() then
    world.store:delete("deleted_workspace", id:lower())
    return nil
  end
  return gone
end

local function check_retention(p)
  local days = p.retentionInDays
  local free = p.sku.name == "Free"
  if (free and days ~= 7) or (not free and days < 30) then
    raise(400, "InvalidParameter", ("'RetentionInDays' property doesn't match the SKU limits: %s with %s."):format(tostring(days),
      p.sku.name))
  end
end

records.define(WORKSPACE, {
  kind = "azure.log_analytics_workspace", style = style.workspace, seconds = { create = 15, update = 3, delete = 10 },
  prepare = function(body, ctx)
    local gone = not ctx.old and deleted(ctx.record_id)
    local p, old = body.properties, ctx.old and ctx.old.body.properties or gone and gone.properties or {}
    p.sku = p.sku or value.copy(old.sku) or { name = "PerGB2018" }
    p.sku.name = p.sku.name or "PerGB2018"
    local name = p.sku.name
    p.sku.lastSkuUpdate = old.sku and old.sku.name == name and old.sku.lastSkuUpdate or clock.iso()
    if name == "CapacityReservation" and not p.sku.capacityReservationLevel then
      raise(400, "InvalidParameter", "The sku CapacityReservation needs a capacityReservationLevel.")
    end
    if p.retentionInDays == 0 then p.retentionInDays = nil end -- what a client sends that says nothing of it
    value.fill(p, { retentionInDays = old.retentionInDays or (name == "Free" and 7 or 30), features = {}, workspaceCapping = {},
      publicNetworkAccessForIngestion = "Enabled", publicNetworkAccessForQuery = "Enabled" })
    value.fill(p.features, { legacy = 0, searchVersion = 1, enableLogAccessUsingOnlyResourcePermissions = true })
    value.fill(p.workspaceCapping, { dailyQuotaGb = -1.0, dataIngestionStatus = "RespectQuota",
      quotaNextResetTime = os.date("!%Y-%m-%dT00:00:00Z", math.floor(task.time()) + 86400) })
    check_retention(p)
    p.customerId, p.createdDate = old.customerId or crypto.uuid(), old.createdDate or clock.iso()
    p.modifiedDate = clock.iso()
    if gone then world.store:delete("deleted_workspace", ctx.record_id:lower()) end
  end,
  destroy = function(record)
    world.store:put("deleted_workspace", record.id:lower(), { deleted = task.time(), properties = value.copy(record.body.properties) })
  end,
  actions = { sharedKeys = { sync = true, run = function(record)
    local private = record.private
    private.keys = private.keys or { crypto.base64(crypto.random(64)), crypto.base64(crypto.random(64)) }
    records.save(record)
    return { primarySharedKey = private.keys[1], secondarySharedKey = private.keys[2] }
  end } },
})

return {}
