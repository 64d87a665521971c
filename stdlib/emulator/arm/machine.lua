--- What virtual machines and instances of scale sets have in common: their profiles, their power, the machine behind them.
local crypto, json, log, task = require "crypto", require "json", require "log", require "task"
local world, clock = require "emulator.world", require "emulator.clock"
local records = require "emulator.arm.records"
local problem, value = require "emulator.arm.problem", require "emulator.arm.value"
local encryption = require "emulator.arm.disk_encryption_sets"
local raise = problem.raise
local machine = {}

local function is_windows(reference)
  return (reference and (tostring(reference.publisher) .. tostring(reference.offer)):lower():find("windows")) ~= nil
end

local function image_key(reference)
  return ("%s:%s:%s"):format(reference.publisher, reference.offer, reference.sku):lower()
end

--- The versions of an image, oldest first: one that always was, and what was published since.
function machine.versions(reference)
  local versions = { is_windows(reference) and "17763.8276.260109" or "0.20250428.2096" }
  for _, version in ipairs(world.store:get("image", image_key(reference)) or {}) do versions[#versions + 1] = version end
  return versions
end

--- What a publisher says of an image, by its name: `...-gen2` boots from UEFI, `...arm64` is of that architecture.
function machine.image_properties(reference)
  local sku = tostring(reference.sku):lower()
  local second = sku:find "gen2" or sku:find "%-g2"
  local features = json.array { { name = "IsAcceleratedNetworkSupported", value = "True" },
    { name = "DiskControllerTypes", value = second and "SCSI, NVMe" or "SCSI" }, { name = "IsHibernateSupported", value = "True" } }
  if second then table.insert(features, 1, { name = "SecurityType", value = "TrustedLaunchSupported" }) end
  return { hyperVGeneration = second and "V2" or "V1", architecture = sku:find "arm64" and "Arm64" or "x64", replicaType = "Managed",
    replicaCount = 10, disallowed = { vmDiskType = "Unmanaged" },
    automaticOSUpgradeProperties = { automaticOSUpgradeSupported = false }, imageDeprecationStatus = { imageState = "Active" },
    features = features,
    osDiskImage = is_windows(reference) and { operatingSystem = "Windows", sizeInGb = 127 }
      or { operatingSystem = "Linux", sizeInGb = 30 }, dataDiskImages = json.array {} }
end

--- What a PUT of a machine or a set does not say of it stays (hashicorp/terraform-provider-azurerm#2485: its identities), and what is empty
-- is not shown.
function machine.keep(body, old)
  if body.identity == nil then
    body.identity = old and value.copy(old.body.identity)
  elseif body.identity.type == "None" then
    body.identity = nil
  end
  local capabilities = body.properties.additionalCapabilities
  if type(capabilities) == "table" and next(capabilities) == nil then body.properties.additionalCapabilities = nil end
end

--- Publishes a newer version of an image.
function machine.publish(reference)
  local published = world.store:get("image", image_key(reference)) or {}
  published[#published + 1] = reference.version
  world.store:put("image", image_key(reference), published)
end

--- What "latest" is now.
function machine.exact_version(reference)
  if reference.version and reference.version ~= "latest" then return reference.version end
  local versions = machine.versions(reference)
  return versions[#versions]
end

local LINUX = { provisionVMAgent = true, patchSettings = { patchMode = "ImageDefault", assessmentMode = "ImageDefault" } }

--- Completes an osProfile and takes what is never shown out of it.
local function complete_os(os, private, windows, in_set)
  for _, key in ipairs { "customData", "adminPassword" } do
    if os[key] ~= nil then private[key], os[key] = os[key], nil end
  end
  if os.adminUsername == nil then
    raise(400, "InvalidParameter", "Required parameter 'adminUsername' is missing (null).", { target = "adminUsername" })
  end
  if windows then
    os.windowsConfiguration = value.fill(os.windowsConfiguration or {}, { provisionVMAgent = true, enableAutomaticUpdates = true })
    if not in_set then
      value.fill(os.windowsConfiguration, { patchSettings = { patchMode = "AutomaticByOS", assessmentMode = "ImageDefault" },
        enableVMAgentPlatformUpdates = true })
    end
  else
    os.linuxConfiguration = value.fill(os.linuxConfiguration or {}, LINUX)
    if os.linuxConfiguration.disablePasswordAuthentication == nil then os.linuxConfiguration.disablePasswordAuthentication = false end
    local keys = value.at(os, "linuxConfiguration.ssh.publicKeys")
    if not private.adminPassword and not (keys and keys[1]) then
      raise(400, "InvalidParameter", "Authentication using either SSH or by user name and password must be enabled in Linux profile.",
        { target = "linuxConfiguration" })
    end
    for _, key in ipairs(keys or {}) do
      if not tostring(key.keyData):find("^ssh%-%w+ %S+") and not tostring(key.keyData):find("^ecdsa%-") then
        raise(400, "InvalidParameter", "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid.",
          { target = "linuxConfiguration.ssh.publicKeys.keyData" })
      end
    end
  end
  value.fill(os, { secrets = json.array {}, allowExtensionOperations = true, requireGuestProvisionSignal = true })
end

--- Completes a profile: a VM's properties, or a set's virtualMachineProfile. `old` is what was there.
function machine.complete(p, old, private, options)
  local old_storage = old and old.storageProfile or {}
  p.storageProfile = p.storageProfile or value.copy(old_storage)
  local storage = p.storageProfile
  storage.imageReference = storage.imageReference or value.copy(old_storage.imageReference)
  if not storage.imageReference and not value.at(storage, "osDisk.managedDisk.id") then
    raise(400, "InvalidParameter", "Required parameter 'imageReference' is missing (null).", { target = "imageReference" })
  end
  local reference = storage.imageReference or {}
  local windows = is_windows(reference)
  storage.osDisk = value.fill(storage.osDisk or {}, value.copy(old_storage.osDisk or {}))
  local disk = storage.osDisk
  value.fill(disk, { osType = windows and "Windows" or "Linux", createOption = "FromImage", caching = "None",
    diskSizeGB = windows and 127 or 30 })
  disk.managedDisk = value.fill(disk.managedDisk or {}, { storageAccountType = "Premium_LRS" })
  local set, was = value.at(disk, "managedDisk.diskEncryptionSet"), value.at(old_storage, "osDisk.managedDisk.diskEncryptionSet")
  if not old then
    encryption.check_use(set and set.id, options.location)
  elseif not options.in_set and set and set.id:lower() ~= (was and was.id or ""):lower() then
    raise(409, "PropertyChangeNotAllowed", "Changing property 'osDisk.managedDisk.diskEncryptionSet.id' is not allowed.",
      { target = "osDisk.managedDisk.diskEncryptionSet.id" })
  else
    disk.managedDisk.diskEncryptionSet = value.copy(was)
  end
  if old_storage.osDisk and old_storage.osDisk.managedDisk then disk.managedDisk.id = old_storage.osDisk.managedDisk.id end
  if not options.in_set then
    reference.exactVersion = machine.exact_version(reference)
    disk.name = disk.name or (options.name .. "_OsDisk_1_" .. crypto.uuid():gsub("-", ""))
    disk.deleteOption = disk.deleteOption or "Detach"
    storage.dataDisks = storage.dataDisks or json.array {}
  end
  p.osProfile = p.osProfile or old and value.copy(old.osProfile)
  if p.osProfile then complete_os(p.osProfile, private, windows, options.uniform) end
end

--- The addresses and configuration of the interfaces of a machine, its first one first.
function machine.interfaces(record)
  local list = {}
  for _, item in ipairs(value.at(record.body, "properties.networkProfile.networkInterfaces") or {}) do
    local nic = records.get(item.id)
    if nic then list[#list + 1] = nic end
  end
  return list
end

function machine.private_ip(record)
  local nic = machine.interfaces(record)[1]
  local first = nic and nic.body.properties.ipConfigurations[1]
  return first and first.properties.privateIPAddress
end

local function public_key_of(os)
  local keys = value.at(os, "linuxConfiguration.ssh.publicKeys")
  local lines = {}
  for _, key in ipairs(keys or {}) do lines[#lines + 1] = key.keyData end
  return #lines > 0 and table.concat(lines, "\n") or nil
end

--- Makes and starts the machine behind a record (or finds that it is there). May wait.
function machine.boot(record)
  if not world.machines then
    record.power = "running"
    return
  end
  local p = record.body.properties
  local os = p.osProfile or {}
  local there = world.machines.get(record.id)
  if not there then
    local private = record.private
    if record.set and not private.customData then private = (records.get(record.set) or record).private end
    local reference = value.at(p, "storageProfile.imageReference") or {}
    local made, why = world.machines.create { id = record.id, hostname = os.computerName or record.name,
      private_ip = machine.private_ip(record), user = os.adminUsername, public_key = public_key_of(os),
      custom_data = private.customData and crypto.unbase64(private.customData) or nil,
      image = reference.publisher and ("%s:%s:%s:%s"):format(reference.publisher, reference.offer, reference.sku, reference.version)
        or reference.id, vm_id = p.vmId, size = value.at(p, "hardwareProfile.vmSize") }
    if not made and why then
      raise(409, "OSProvisioningInternalError", ("OS Provisioning failed for VM '%s': %s"):format(record.name, tostring(why)))
    end
  elseif there.power ~= "running" and record.power ~= "stopped" and record.power ~= "deallocated" then
    world.machines.start(record.id)
  end
  record.power = record.power or "running"
end

--- Removes the machine behind a record.
function machine.remove(record)
  if world.machines and world.machines.get(record.id) then world.machines.delete(record.id) end
end

local POWER_TEXT = { running = "VM running", stopped = "VM stopped", deallocated = "VM deallocated", starting = "VM starting",
  stopping = "VM stopping", deallocating = "VM deallocating" }

local STATE_TEXT = { Succeeded = { "succeeded", "Provisioning succeeded" }, Creating = { "creating", "Creating" },
  Updating = { "updating", "Updating" }, Deleting = { "deleting", "Deleting" }, Failed = { "failed", "Provisioning failed" } }

--- The statuses of an instance view.
function machine.statuses(record)
  local state = STATE_TEXT[record.state] or STATE_TEXT.Succeeded
  local list = { { code = "ProvisioningState/" .. state[1], level = record.state == "Failed" and "Error" or "Info",
    displayStatus = state[2], time = clock.iso(record.changed or record.created) } }
  local power = record.power
  if power then list[2] = { code = "PowerState/" .. power, level = "Info", displayStatus = POWER_TEXT[power] or power } end
  return json.array(list)
end

--- The instance view of a machine.
function machine.view(record)
  local p = record.body.properties
  local disk = value.at(p, "storageProfile.osDisk")
  local windows = disk and disk.osType == "Windows"
  local status = { code = "ProvisioningState/succeeded", level = "Info", displayStatus = "Ready",
    message = "GuestAgent is running and processing the extensions.", time = clock.iso() }
  local disk_status = { code = "ProvisioningState/succeeded", level = "Info", displayStatus = "Provisioning succeeded",
    time = clock.iso(record.created) }
  return {
    computerName = value.at(p, "osProfile.computerName"), osName = windows and "Windows Server 2019 Datacenter" or "debian",
    osVersion = windows and "10.0.17763.8276" or "12", hyperVGeneration = windows and "V1" or "V2",
    vmAgent = record.power == "running" and { vmAgentVersion = "2.7.41491.1149", statuses = json.array { status } } or nil,
    disks = json.array { { name = disk and disk.name, statuses = json.array { disk_status } } },
    statuses = machine.statuses(record),
  }
end

-- Power actions: what the machine does, what the power state is meanwhile and afterwards.
local function power_action(seconds, verb, during, after)
  return {
    seconds = seconds, updating = true,
    began = function(record)
      record.power_before, record.power = record.power, during
      records.save(record)
    end,
    run = function(record)
      if world.machines and world.machines.get(record.id) then world.machines[verb](record.id) end
      record.power, record.power_before = after, nil
      records.save(record)
    end,
    failed = function(record)
      record.power, record.power_before = record.power_before, nil
      records.save(record)
    end,
  }
end

local function script_of(input)
  local script = input.script
  if type(script) == "table" then script = table.concat(script, "\n") end
  return script or ""
end

local function message_of(result)
  return ("Enable succeeded: \n[stdout]\n%s\n[stderr]\n%s"):format(result.stdout or "", result.stderr or "")
end

--- The actions of VMs and instances alike.
function machine.actions()
  return {
    start = power_action(20, "start", "starting", "running"),
    powerOff = power_action(10, "stop", "stopping", "stopped"),
    deallocate = power_action(30, "deallocate", "deallocating", "deallocated"),
    restart = power_action(20, "restart", "running", "running"),
    redeploy = power_action(60, "restart", "starting", "running"),
    reimage = power_action(60, "reimage", "starting", "running"),
    runCommand = {
      seconds = 2, shared = true,
      check = function(record, input)
        if record.power ~= "running" then
          raise(409, "OperationNotAllowed", "Cannot modify extensions in the VM when the VM is not running.")
        end
        if not input.commandId then
          raise(400, "InvalidParameter", "Required parameter 'commandId' is missing (null).", { target = "commandId" })
        end
      end,
      run = function(record, input)
        if not world.machines then
          raise(409, "VMAgentStatusCommunicationError", ("VM '%s' has not reported status for VM agent or extensions: this emulator "
            .. "runs no machines."):format(record.name))
        end
        local result = world.machines.run(record.id, { "/bin/sh", "-c", script_of(input) }) or {}
        return { value = json.array { { code = "ProvisioningState/succeeded", level = "Info", displayStatus = "Provisioning succeeded",
          message = message_of(result) } } }
      end,
    },
  }
end

--- Runs a function for each item at once; the first failure is raised when all have ended.
function machine.all(items, fn)
  local tasks, failure = {}, nil
  for i, item in ipairs(items) do tasks[i] = task.spawn(fn, item) end
  for _, running in ipairs(tasks) do
    local ok, why = running:join()
    if not ok then failure = failure or why end
  end
  if failure then error(failure, 0) end
end

--- After a start of the emulator: every machine that should run is made to run.
function machine.restore()
  if not world.machines then return end
  for _, type_name in ipairs { "Microsoft.Compute/virtualMachines", "Microsoft.Compute/virtualMachineScaleSets/virtualMachines" } do
    for record in records.each(type_name) do
      if record.state ~= "Creating" and record.state ~= "Deleting" and record.power == "running" then
        task.spawn(function()
          local ok, why = pcall(machine.boot, record)
          if not ok then log.error("machine %s: %s", record.name, tostring(why)) end
        end)
      end
    end
  end
end

machine.power_action = power_action
return machine
