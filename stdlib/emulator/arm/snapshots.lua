--- Microsoft.Compute: snapshots of disks.
local crypto = require "crypto"
local clock = require "emulator.clock"
local records = require "emulator.arm.records"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"

local raise = problem.raise

local function bad_parameter(target, message) raise(400, "InvalidParameter", message, { target = target }) end

local SERVICE = { timeCreated = true, diskState = true, uniqueId = true } -- whatever is sent
local FILLED = { "encryption", "networkAccessPolicy", "publicNetworkAccess", "timeCreated", "diskState", "diskSizeBytes",
  "uniqueId",
  "incremental", "snapshotAccessState", "osType", "hyperVGeneration" }

records.define("Microsoft.Compute/snapshots", {
  style = style.disk, name = "^[%w_][%w_.-]*$", seconds = { create = 5, update = 2, delete = 5 }, output = true,
  fixed = { "properties.creationData.createOption", "properties.creationData.sourceResourceId", "properties.incremental" },
  prepare = function(body, ctx)
    local p, old = body.properties, ctx.old and ctx.old.body
    local from = value.at(p, "creationData.createOption")
    if not from then bad_parameter("creationData", "Required parameter 'creationData' is missing (null).") end
    -- Older clients name the disk where a blob's address stands.
    local source_id = value.at(p, "creationData.sourceResourceId") or from == "Copy" and value.at(p, "creationData.sourceUri")
    local source = source_id and records.get(source_id)
    if (from == "Copy" or from == "CopyStart") and not source_id then
      bad_parameter("creationData.sourceResourceId", "Required parameter 'creationData.sourceResourceId' is missing (null).")
    elseif source_id and not source then
      raise(404, "NotFound", ("Resource %s is not found."):format(source_id), { target = "/subscriptions" })
    end
    if source and not old then
      local q = source.body.properties
      ctx.private.source = { uniqueId = q.uniqueId, osType = q.osType, hyperVGeneration = q.hyperVGeneration,
        diskSizeGB = q.diskSizeGB }
      if p.diskSizeGB and p.diskSizeGB < q.diskSizeGB then
        bad_parameter("diskSizeGB", ("The size of the snapshot may not be below the %d GB of its source."):format(q.diskSizeGB))
      end
    end
    if old then
      for _, key in ipairs(FILLED) do
        if p[key] == nil or SERVICE[key] then p[key] = old.properties[key] end
      end
      p.diskSizeGB = p.diskSizeGB or old.properties.diskSizeGB
      value.fill(p.creationData, old.properties.creationData)
      body.sku = body.sku or old.sku
    end
  end,
  provision = function(record)
    local body, p = record.body, record.body.properties
    local source = record.private.source or {}
    body.sku = value.fill(body.sku or {}, { name = "Standard_LRS" })
    body.sku.tier = body.sku.name:match("^(%a+)_")
    p.creationData.sourceUniqueId = p.creationData.sourceUniqueId or source.uniqueId
    value.fill(p, { osType = source.osType, hyperVGeneration = source.hyperVGeneration, diskSizeGB = source.diskSizeGB or 30,
      incremental = false,
      encryption = { type = "EncryptionAtRestWithPlatformKey" }, networkAccessPolicy = "AllowAll",
        publicNetworkAccess = "Enabled",
      timeCreated = clock.iso(), diskState = "Unattached", uniqueId = crypto.uuid(), snapshotAccessState = "Available" })
    p.diskSizeBytes = p.diskSizeGB * 1024 ^ 3 // 1 | 0
  end,
  brief = function(record, body)
    local p = body.properties
    return { id = body.id, name = body.name, type = body.type, location = body.location, tags = body.tags, sku = body.sku,
      properties = {
      creationData = { createOption = p.creationData.createOption, sourceResourceId = p.creationData.sourceResourceId },
        provisioningState = record.state, diskSizeBytes = p.diskSizeBytes } }
  end,
})

return {}
