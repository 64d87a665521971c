--- Microsoft.Compute: disk encryption sets.
local json = require "json"
local world, clock = require "emulator.world", require "emulator.clock"
local records = require "emulator.arm.records"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"
local keys = require "emulator.keys"

local SET = "Microsoft.Compute/diskEncryptionSets"

local function bad_parameter(target, message) problem.raise(400, "InvalidParameter", message, { target = target }) end

local function check_identity(body)
  for id in pairs(value.at(body, "identity.userAssignedIdentities") or {}) do
    if not records.get(id) then bad_parameter("identity", ("The identity '%s' was not found."):format(id)) end
  end
end

local function check_key(p)
  local url = value.at(p, "activeKey.keyUrl")
  if type(url) ~= "string" or not url:find("^https://[^/]+/keys/[^/]+/%x+$") then
    bad_parameter("activeKey.keyUrl", ("The value '%s' of 'activeKey.keyUrl' is no URL of a key's version."):format(tostring(url)))
  end
  local vault, name, version = url:match("^https://([^.]+)%.[^/]+/keys/([^/]+)/(%x+)$")
  local key = vault and keys.find(vault, name)
  if not key or not keys.version(key, version) then
    problem.raise(404, "KeyVaultKeyNotFound", ("The key '%s' was not found."):format(url))
  end
  local record = world.vaults.by_name(vault)
  if record and not record.body.properties.enablePurgeProtection then
    bad_parameter("activeKey.sourceVault", ("The vault '%s' must have purge protection to be used for disk encryption."):format(vault))
  end
end

local function principals_of(record)
  local identity = record.body.identity or {}
  local list = { identity.principalId }
  for id in pairs(identity.userAssignedIdentities or {}) do
    local assigned = records.get(id)
    list[#list + 1] = assigned and assigned.body.properties.principalId
  end
  return list
end

--- Raises unless a disk in this region can be made with a set: what there is of it, and what its identity may do with its key.
local function check_use(id, location)
  if not id then return end
  local record = records.get(id)
  if not record then
    problem.raise(404, "ResourceNotFound", ("The disk encryption set '%s' was not found."):format(id))
  elseif location and record.body.location ~= location then
    bad_parameter("diskEncryptionSet.id", ("The disk encryption set '%s' is in %s, not in %s."):format(record.name, record.body.location,
      location))
  end
  local vault, key = record.body.properties.activeKey.keyUrl:match("^https://([^.]+)%.[^/]+/keys/([^/]+)/")
  local vault_record = world.vaults.by_name(vault)
  for _, principal in ipairs(vault_record and keys.find(vault, key) and principals_of(record) or {}) do
    if keys.serves(vault_record, key, principal) then return end
  end
  problem.raise(400, "KeyVaultAccessForbidden", ("Unable to access key vault resource '%s' to enable encryption at rest. Please grant get, "
    .. "wrap and unwrap key permissions to disk encryption set '%s'."):format(record.body.properties.activeKey.keyUrl, record.name))
end

records.define(SET, {
  kind = "azure.disk_encryption_set", style = style.disk, seconds = { create = 5, update = 4, delete = 5 }, output = true,
  prepare = function(body, ctx)
    local p, old = body.properties, ctx.old and ctx.old.body
    value.fill(p, { encryptionType = old and old.properties.encryptionType or "EncryptionAtRestWithCustomerKey", rotationToLatestKeyVersionEnabled = false })
    check_key(p)
    check_identity(body)
    local was = old and old.properties
    p.previousKeys = was and was.previousKeys and json.array(value.copy(was.previousKeys)) or json.array {}
    if was and was.activeKey.keyUrl ~= p.activeKey.keyUrl then
      table.insert(p.previousKeys, value.copy(was.activeKey))
      p.lastKeyRotationTimestamp = clock.iso()
    end
  end,
  busy = function(record)
    for disk in records.each("Microsoft.Compute/disks") do
      local used = value.at(disk.body, "properties.encryption.diskEncryptionSetId")
      if used and used:lower() == record.id:lower() then
        problem.raise(409, "OperationNotAllowed", ("Disk encryption set '%s' cannot be deleted: disk '%s' is encrypted with it."):format(
          record.name, disk.id))
      end
    end
  end,
})

return { check_use = check_use }
