--- Microsoft.Compute: virtual machines, disks, SSH public keys.
local crypto, json = require "crypto", require "json"
local world, clock = require "emulator.world", require "emulator.clock"
local records, operations = require "emulator.arm.records", require "emulator.arm.operations"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"
local machine, encryption = require "emulator.arm.machine", require "emulator.arm.disk_encryption_sets"
local extensions = require "emulator.arm.extensions"

local raise = problem.raise
local VM = "Microsoft.Compute/virtualMachines"

local function bad_parameter(target, message) raise(400, "InvalidParameter", message, { target = target }) end

-- Disks -----------------------------------------------------------------------------------------------------------------

local TIERS = { { 64, 240, 50 }, { 128, 500, 100 }, { 256, 1100, 125 }, { 512, 2300, 150 }, { 1024, 5000, 200 }, { 2048, 7500, 250 } }

local function speed(sku, size)
  if not sku:find("^Premium") then return 500, 60 end
  for _, tier in ipairs(TIERS) do
    if size <= tier[1] then return tier[2], tier[3] end
  end
  return 20000, 900
end

local function complete_disk(record)
  local body = record.body
  body.sku = value.fill(body.sku or {}, { name = "Standard_LRS" })
  body.sku.tier = body.sku.name:match("^(%a+)_")
  local p = body.properties
  local iops, throughput = speed(body.sku.name, p.diskSizeGB)
  value.fill(p, { diskIOPSReadWrite = iops, diskMBpsReadWrite = throughput,
    encryption = { type = "EncryptionAtRestWithPlatformKey" }, networkAccessPolicy = "AllowAll", publicNetworkAccess = "Enabled",
    timeCreated = clock.iso(), diskState = "Unattached", diskSizeBytes = p.diskSizeGB * 1024 ^ 3 // 1 | 0, uniqueId = crypto.uuid() })
end

local FILLED = { "diskIOPSReadWrite", "diskMBpsReadWrite", "encryption", "networkAccessPolicy", "publicNetworkAccess", "timeCreated",
  "diskState", "diskSizeBytes", "uniqueId" }
local SERVICE = { timeCreated = true, diskState = true, uniqueId = true } -- whatever is sent

records.define("Microsoft.Compute/disks", {
  kind = "azure.data_disk", style = style.disk, seconds = { create = 3, update = 2, delete = 5 }, output = true,
  fixed = { "properties.creationData.createOption" },
  prepare = function(body, ctx)
    local p, old = body.properties, ctx.old and ctx.old.body
    encryption.check_use(value.at(p, "encryption.diskEncryptionSetId"), body.location)
    if not value.at(p, "creationData.createOption") then
      bad_parameter("creationData", "Required parameter 'creationData' is missing (null).")
    end
    p.diskSizeGB = p.diskSizeGB or old and old.properties.diskSizeGB or 30
    if old then
      if p.diskSizeGB < old.properties.diskSizeGB then
        raise(400, "BadRequest", "The value of property 'diskSizeGB' cannot be decreased.")
      end
      for _, key in ipairs(FILLED) do
        if p[key] == nil or SERVICE[key] then p[key] = old.properties[key] end
      end
      p.diskSizeBytes = p.diskSizeGB * 1024 ^ 3 // 1 | 0
      body.sku, body.managedBy = body.sku or old.sku, old.managedBy
    end
  end,
  provision = complete_disk,
  brief = function(record, body)
    local p = body.properties
    return { id = body.id, name = body.name, type = body.type, location = body.location, tags = body.tags, sku = body.sku, properties = {
      creationData = p.creationData, diskSizeGB = p.diskSizeGB, provisioningState = record.state, diskSizeBytes = p.diskSizeBytes } }
  end,
  busy = function(record)
    if record.body.managedBy then
      raise(409, "OperationNotAllowed", ("Disk %s is attached to VM %s."):format(record.name, record.body.managedBy))
    end
  end,
})

--- Makes the disk record of a machine's system disk; `owner`: what it came with, the machine unless given.
local function attach_disk(record, owner)
  local disk = value.at(record.body, "properties.storageProfile.osDisk")
  if not disk or not disk.name then return end
  local group = record.id:match("^(/subscriptions/[^/]+/resource[gG]roups/[^/]+)")
  local id = ("%s/providers/Microsoft.Compute/disks/%s"):format(group, disk.name)
  if not records.get(id) then
    local set = value.at(disk, "managedDisk.diskEncryptionSet.id")
    local made = records.new("Microsoft.Compute/disks", id, { location = record.body.location,
      sku = { name = disk.managedDisk.storageAccountType }, managedBy = record.id,
      properties = { creationData = { createOption = "FromImage" }, osType = disk.osType, diskSizeGB = disk.diskSizeGB,
        diskState = "Attached", encryption = set and { type = records.get(set).body.properties.encryptionType, diskEncryptionSetId = set } } })
    complete_disk(made)
    made.owner = owner or record.id
    records.save(made)
  end
  disk.managedDisk.id = id
end

--- Data disks follow what the machine says: new ones are made, existing ones attached, those it no longer names let go.
local function follow_data_disks(record)
  local group = record.id:match("^(/subscriptions/[^/]+/resource[gG]roups/[^/]+)")
  local named = {}
  for i, item in ipairs(value.at(record.body, "properties.storageProfile.dataDisks") or {}) do
    local id = value.at(item, "managedDisk.id")
    if not id then
      item.name = item.name or ("%s_disk%d_%s"):format(record.name, i + 1, crypto.uuid():gsub("-", ""))
      id = ("%s/providers/Microsoft.Compute/disks/%s"):format(group, item.name)
      item.managedDisk = value.fill(item.managedDisk or {}, { storageAccountType = "Premium_LRS" })
      item.managedDisk.id = id
    end
    local disk = records.get(id)
    if not disk then
      disk = records.new("Microsoft.Compute/disks", id, { location = record.body.location, sku = { name = item.managedDisk.storageAccountType },
        properties = { creationData = { createOption = "Empty" }, diskSizeGB = item.diskSizeGB or 32 } })
      complete_disk(disk)
      disk.owner = record.id
    end
    disk.body.managedBy, disk.body.properties.diskState = record.id, "Attached"
    item.managedDisk.storageAccountType = item.managedDisk.storageAccountType or disk.body.sku.name
    value.fill(item, { name = disk.name, caching = "None", deleteOption = "Detach", diskSizeGB = disk.body.properties.diskSizeGB,
      toBeDetached = false })
    named[id:lower()] = true
    records.save(disk)
  end
  local system = (value.at(record.body, "properties.storageProfile.osDisk.managedDisk.id") or ""):lower()
  for disk in records.each("Microsoft.Compute/disks") do
    if disk.body.managedBy == record.id and not named[disk.id:lower()] and disk.id:lower() ~= system then
      disk.body.managedBy, disk.body.properties.diskState, disk.owner = nil, "Unattached", nil
      records.save(disk)
    end
  end
end

local function check_data_disks(p, ctx)
  local luns = {}
  for _, item in ipairs(value.at(p, "storageProfile.dataDisks") or {}) do
    if item.lun == nil or luns[item.lun] then
      bad_parameter("dataDisk.lun", ("Data disk '%s' has no LUN of its own."):format(tostring(item.name)))
    end
    luns[item.lun] = true
    local disk = records.get(value.at(item, "managedDisk.id") or "/")
    if disk and disk.body.managedBy and disk.body.managedBy:lower() ~= ctx.record_id:lower() then
      raise(409, "AttachDiskWhileBeingDetached", ("Disk '%s' cannot be attached to VM '%s': it is attached to %s."):format(disk.name, ctx.name,
        disk.body.managedBy))
    end
  end
end

local function release_disks(record)
  local storage = value.at(record.body, "properties.storageProfile") or {}
  local disks = { storage.osDisk }
  for _, disk in ipairs(storage.dataDisks or {}) do disks[#disks + 1] = disk end
  for _, disk in ipairs(disks) do
    local own = records.get(value.at(disk, "managedDisk.id") or "/")
    if own and disk.deleteOption == "Delete" then
      records.remove(own)
    elseif own then
      own.body.managedBy, own.body.properties.diskState, own.owner = nil, "Unattached", nil
      records.save(own)
    end
  end
end
machine.attach_disk, machine.release_disks = attach_disk, release_disks

-- Virtual machines ------------------------------------------------------------------------------------------------------

local function check_set(p, ctx)
  local id = value.at(p, "virtualMachineScaleSet.id")
  local old_id = ctx.old and value.at(ctx.old.body, "properties.virtualMachineScaleSet.id")
  if old_id and id and old_id:lower() ~= id:lower() then
    raise(409, "PropertyChangeNotAllowed", "Changing property 'virtualMachineScaleSet.id' is not allowed.",
      { target = "virtualMachineScaleSet.id" })
  end
  local set = id and records.get(id)
  if not set or old_id then return end
  if set.body.properties.orchestrationMode ~= "Flexible" then
    raise(409, "OperationNotAllowed", ("This operation is not allowed because referenced Virtual Machine Scale Set '%s' does not have "
      .. "orchestration mode set to 'Flexible'"):format(set.name))
  end
  if set.body.properties.singlePlacementGroup then
    raise(409, "OperationNotAllowed", ("Virtual Machine '%s' cannot be attached to Virtual Machine Scale Set '%s' because it has "
      .. "'singlePlacementGroup' = true."):format(ctx.name, set.name))
  end
  if p.platformFaultDomain then p.platformFaultDomain = math.tointeger(tonumber(p.platformFaultDomain)) end
end

local function check_interfaces(p, ctx)
  local list = value.at(p, "networkProfile.networkInterfaces")
  if not list or #list == 0 then
    bad_parameter("networkProfile", "Required parameter 'networkProfile' is missing (null).")
  end
  for _, item in ipairs(list) do
    for _, user in ipairs(records.users(item.id or "/", "networkInterfaces")) do
      if user.record.id:lower() ~= ctx.record_id:lower() then
        raise(400, "NicInUse", ("Network Interface %s is used by existing resource %s. In order to delete the network interface, it must be "
          .. "dissociated from the resource. To learn more, see aka.ms/deletenic."):format(item.id, user.record.id))
      end
    end
    local nic = records.get(item.id or "/")
    if nic and nic.body.location ~= ctx.location then
      raise(400, "InvalidResourceReference", ("Resource %s referenced by resource %s was not found. Please make sure that the referenced "
        .. "resource exists, and that both resources are in the same region."):format(item.id, ctx.record_id))
    end
  end
end

--- Lets the set that made a machine know that it leaves: capacity falls with it.
local function leave_set(record)
  local set = record.set_made and records.get(record.set_made)
  if set and not record.left and set.body.sku then
    record.left = true
    set.body.sku.capacity = math.max(0, (set.body.sku.capacity or 0) - 1)
    records.save(set)
  end
end
machine.leave_set = leave_set

-- What a machine says of Spot; an instance of a Uniform set is as its set says.
local function spot_of(record)
  local set = not record.body.properties.priority and record.set_made and records.get(record.set_made)
  return set and set.body.properties.virtualMachineProfile or record.body.properties
end

local actions = machine.actions()
actions.generalize = { sync = true, run = function() return nil end }
actions.simulateEviction = {
  seconds = 30, check = function(record)
    if spot_of(record).priority ~= "Spot" then
      raise(409, "OperationNotAllowed", "Eviction can be simulated only for Azure Spot Virtual Machines.")
    end
  end,
  run = function(record)
    if spot_of(record).evictionPolicy == "Delete" then
      leave_set(record)
      operations.destroy(record, {})
      return
    end
    if world.machines and world.machines.get(record.id) then world.machines.deallocate(record.id) end
    record.power = "deallocated"
    records.save(record)
  end,
}

records.define(VM, {
  kind = "azure.virtual_machine", style = style.compute, seconds = { create = 30, update = 5, delete = 40 },
    provision_counts = true,
  quiet_noop = true, longest = 64,
  name = "^[^%s\\/\"%[%]:|<>+=;,?*@&_][^%s\\/\"%[%]:|<>+=;,?*@&]*$",
  fixed = { "properties.storageProfile.imageReference.publisher", "properties.storageProfile.imageReference.offer",
    "properties.storageProfile.imageReference.sku", "properties.priority", "properties.evictionPolicy",
    "properties.osProfile.linuxConfiguration.ssh.publicKeys" },
  read_only = { "instanceView", "timeCreated" },
  prepare = function(body, ctx)
    local p, old = body.properties, ctx.old and ctx.old.body.properties
    ctx.location = body.location
    machine.keep(body, ctx.old)
    p.hardwareProfile = p.hardwareProfile or old and old.hardwareProfile
    if not value.at(p, "hardwareProfile.vmSize") then
      bad_parameter("hardwareProfile", "Required parameter 'hardwareProfile.vmSize' is missing (null).")
    end
    p.vmId = old and old.vmId or crypto.uuid()
    p.timeCreated = old and old.timeCreated or clock.iso()
    if ctx.old and ctx.old.private.customData and p.osProfile and p.osProfile.customData
      and p.osProfile.customData ~= ctx.old.private.customData then
      raise(409, "PropertyChangeNotAllowed", "Changing property 'osProfile.customData' is not allowed.", { target = "osProfile.customData" })
    end
    machine.complete(p, old, ctx.private, { name = ctx.name, location = body.location })
    if ctx.old then ctx.private.adminPassword = ctx.old.private.adminPassword or ctx.private.adminPassword end
    if p.osProfile then p.osProfile.computerName = p.osProfile.computerName or ctx.name end
    p.networkProfile = p.networkProfile or old and value.copy(old.networkProfile)
    check_interfaces(p, ctx)
    check_data_disks(p, ctx)
    check_set(p, ctx)
    body.resources = nil
  end,
  began = function(record, ctx)
    for _, nic in ipairs(machine.interfaces(record)) do
      if not nic.attached then
        nic.attached = true
        records.save(nic)
      end
    end
    if ctx.created then record.power = nil end
  end,
  provision = function(record, op)
    if op.created or not record.power then
      attach_disk(record)
      machine.boot(record)
    end
    follow_data_disks(record)
  end,
  deleting = function(record) leave_set(record) end,
  destroy = function(record)
    machine.remove(record)
    release_disks(record)
    for _, item in ipairs(value.at(record.body, "properties.networkProfile.networkInterfaces") or {}) do
      local nic = records.get(item.id)
      if nic and value.at(item, "properties.deleteOption") == "Delete" then records.remove(nic) end
    end
  end,
  show = function(record, body, ctx)
    local query = ctx and ctx.query or {}
    if (query["$expand"] or ""):lower() == "instanceview" or query.statusOnly == "true" then
      body.properties.instanceView = machine.view(record)
    end
    body.resources = extensions.shown(record, ctx and not (ctx.path or ""):lower():find(record.id:lower(), 1, true))
  end,
  listed = function(record, ctx)
    local filter = ctx.query["$filter"]
    if not filter then return true end
    local id = filter:match("virtualMachineScaleSet/id'?%s+eq%s+'([^']*)'")
    local set = value.at(record.body, "properties.virtualMachineScaleSet.id")
    return not id or (set ~= nil and set:lower() == id:lower())
  end,
  views = { instanceView = function(record) return machine.view(record) end },
  actions = actions,
})

-- Availability sets -----------------------------------------------------------------------------------------------------

local MIGRATES = "2025-04-01" -- the api-version that began to say it

records.define("Microsoft.Compute/availabilitySets", {
  style = style.plain, stateless = true, name = "^[%w_][%w_.-]*$", put_status = { 200, 200 },
  fixed = { "properties.platformFaultDomainCount", "properties.platformUpdateDomainCount" },
  prepare = function(body, ctx)
    value.fill(body.properties, ctx.old and ctx.old.body.properties or {})
    value.fill(body.properties, { platformUpdateDomainCount = 5, platformFaultDomainCount = 3 })
    body.properties.virtualMachines = nil
    body.sku = body.sku or { name = "Classic" }
  end,
  show = function(record, body, ctx)
    -- What it would become, if it were migrated.
    if ctx and ctx.api and ctx.api >= MIGRATES and body.sku.name == "Aligned" then
      body.properties.virtualMachineScaleSetMigrationInfo = { defaultVirtualMachineScaleSetInfo = {
        constrainedMaximumCapacity = true,
        defaultVirtualMachineScaleSet = { id = record.id:gsub("/availabilitySets/", "/virtualMachineScaleSets/") } } }
    end
    if ctx and ctx.req.method == "PUT" then return end -- a write is answered without the machines
    body.properties.virtualMachines = records.back(record.id, "availabilitySet")
    if not body.properties.virtualMachines and ctx then body.properties.virtualMachines = json.array {} end
    body.properties.internalData = not ctx and {} or nil -- only templates see it
  end,
})

-- SSH public keys -------------------------------------------------------------------------------------------------------

records.define("Microsoft.Compute/sshPublicKeys", {
  kind = "azure.ssh_public_key", style = style.plain, stateless = true, untyped = true,
  new_id = function(id, group)
    return ("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/sshPublicKeys/%s"):format(world.subscription,
      group.name:upper(), id.name)
  end,
  prepare = function(body, ctx)
    local key = body.properties.publicKey
    if key and not key:find("^ssh%-%w+ %S+") and not key:find("^ecdsa%-") then
      bad_parameter("publicKey", "The value of parameter publicKey is invalid.")
    end
    if not key and ctx.old then body.properties.publicKey = ctx.old.body.properties.publicKey end
  end,
  actions = { generateKeyPair = { sync = true, run = function(record, input)
    local kind = tostring(input.encryptionType or "RSA"):lower()
    local pair = crypto.keypair(kind == "ed25519" and "ed25519" or "rsa", { bits = 3072, comment = "generated-by-azure" })
    record.body.properties.publicKey = pair.public
    records.save(record)
    return { privateKey = pair.private, publicKey = pair.public, id = record.id }
  end } },
})

return {}
