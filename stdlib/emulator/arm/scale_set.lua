--- Microsoft.Compute/virtualMachineScaleSets: Uniform and Flexible, their instances, capacity.
local crypto, json = require "crypto", require "json"
local world, clock = require "emulator.world", require "emulator.clock"
local records, operations, requests = require "emulator.arm.records", require "emulator.arm.operations", require "emulator.arm.requests"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"
local machine, network = require "emulator.arm.machine", require "emulator.arm.network"
local extensions = require "emulator.arm.extensions"

local raise = problem.raise
local SET, INSTANCE, VM = "Microsoft.Compute/virtualMachineScaleSets", "Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
  "Microsoft.Compute/virtualMachines"
local INSTANCE_NIC = INSTANCE .. "/networkInterfaces"

local function uniform(set) return set.body.properties.orchestrationMode ~= "Flexible" end

--- The instances that a set made, oldest first; `all`: also those that are going.
local function instances_of(set, all)
  local list = {}
  if uniform(set) then
    for record in records.each(INSTANCE, set.id .. "/") do
      if all or record.state ~= "Deleting" then list[#list + 1] = record end
    end
  else
    for record in records.each(VM) do
      if record.set_made == set.id and (all or record.state ~= "Deleting") then list[#list + 1] = record end
    end
  end
  return list
end

--- The next zone of a zonal set: the one with the fewest instances.
local function next_zone(set)
  local zones = set.body.zones
  if not zones or #zones == 0 then return nil end
  local count = {}
  for _, record in ipairs(instances_of(set)) do
    local zone = record.body.zones and record.body.zones[1]
    if zone then count[zone] = (count[zone] or 0) + 1 end
  end
  local best
  for _, zone in ipairs(zones) do
    if not best or (count[zone] or 0) < (count[best] or 0) then best = zone end
  end
  return best
end

local function base36(n, width)
  local digits, text = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", ""
  repeat
    text = digits:sub(n % 36 + 1, n % 36 + 1) .. text
    n = n // 36
  until n == 0
  return ("0"):rep(width - #text) .. text
end

local function random_name(length)
  local text = ""
  for byte in crypto.random(length):gmatch(".") do text = text .. base36(byte:byte() % 36, 1) end
  return text
end

local function os_of(profile, hostname)
  local os = value.copy(profile.osProfile)
  os.computerName, os.computerNamePrefix = hostname, nil
  return os
end

local function storage_of(profile, disk_name)
  local storage = value.copy(profile.storageProfile)
  local reference = storage.imageReference
  if reference then reference.exactVersion = machine.exact_version(reference) end
  storage.osDisk.name = disk_name
  storage.dataDisks = storage.dataDisks or json.array {}
  return storage
end

local function new_uniform(set)
  local profile = set.body.properties.virtualMachineProfile
  local number = set.next_instance or 0
  set.next_instance = number + 1 -- ids are never used again
  local id = ("%s/virtualMachines/%d"):format(set.id, number)
  local zone = next_zone(set)
  local nics = {}
  for _, configuration in ipairs(profile.networkProfile.networkInterfaceConfigurations) do
    local nic = network.instance_interface(id .. "/networkInterfaces/" .. configuration.name, configuration, INSTANCE_NIC)
    nic.owner = set.id
    nics[#nics + 1] = { id = nic.id }
  end
  local name = set.name .. "_" .. number
  local body = { location = set.body.location, tags = value.copy(set.body.tags), zones = zone and json.array { zone } or nil, properties = {
    latestModelApplied = true, modelDefinitionApplied = "VirtualMachineScaleSet",
    networkProfileConfiguration = { networkInterfaceConfigurations = value.copy(profile.networkProfile.networkInterfaceConfigurations) },
    hardwareProfile = { vmSize = set.body.sku.name }, resilientVMDeletionStatus = "Disabled", vmId = crypto.uuid(),
    storageProfile = storage_of(profile, ("%s_%s_OS__1_%s"):format(set.name, name, crypto.uuid():gsub("-", ""))),
    osProfile = os_of(profile, profile.osProfile.computerNamePrefix .. base36(number, 6)),
    networkProfile = { networkInterfaces = json.array(nics) }, timeCreated = clock.iso() } }
  local record = records.new(INSTANCE, id, body)
  record.name, record.instance, record.set, record.set_made, record.state = name, tostring(number), set.id, set.id, "Creating"
  record.owner = set.id
  records.save(record)
  extensions.install(record, profile)
  return record
end

local function new_flexible(set)
  local profile = set.body.properties.virtualMachineProfile
  local group = set.id:match("^(.-)/providers/")
  local name
  repeat
    name = ("%s_%s"):format(set.name, crypto.hex(crypto.random(4)))
  until not records.get(("%s/providers/%s/%s"):format(group, VM, name))
  local nics = {}
  for i, configuration in ipairs(profile.networkProfile.networkInterfaceConfigurations) do
    local nic = network.instance_interface(("%s/providers/Microsoft.Network/networkInterfaces/%s-%s"):format(group, configuration.name,
      crypto.hex(crypto.random(4))), configuration, "Microsoft.Network/networkInterfaces", set.body.location)
    nic.attached, nic.owner = true, set.id
    nics[i] = { id = nic.id, properties = { primary = configuration.properties.primary ~= false,
      deleteOption = configuration.properties.deleteOption or "Delete" } }
  end
  local tags = value.copy(set.body.tags) or {}
  tags.VirtualMachineProfileTimeCreated = profile.timeCreated
  local zone = next_zone(set)
  local properties = {
    hardwareProfile = { vmSize = set.body.sku.name }, vmId = crypto.uuid(), virtualMachineScaleSet = { id = set.id },
    storageProfile = storage_of(profile, ("%s_OsDisk_1_%s"):format(name, crypto.uuid():gsub("-", ""))),
    osProfile = os_of(profile, profile.osProfile.computerNamePrefix .. random_name(6)),
    networkProfile = { networkInterfaces = json.array(nics) }, timeCreated = clock.iso(), priority = profile.priority,
    evictionPolicy = profile.evictionPolicy, billingProfile = value.copy(profile.billingProfile),
  }
  local record = records.new(VM, ("%s/providers/%s/%s"):format(group, VM, name), { location = set.body.location, tags = tags,
    identity = value.copy(set.body.identity), zones = zone and json.array { zone } or nil, properties = properties })
  record.set, record.set_made, record.owner, record.state = set.id, set.id, set.id, "Creating"
  records.save(record)
  extensions.install(record, profile)
  return record
end

--- Which instances go when capacity is put downward: those of the fullest zone, highest (newest) first.
local function victims(set, count)
  local list, chosen = instances_of(set), {}
  for _ = 1, count do
    local per = {}
    for _, record in ipairs(list) do
      local zone = record.body.zones and record.body.zones[1] or ""
      per[zone] = (per[zone] or 0) + 1
    end
    local best
    for i = #list, 1, -1 do
      local zone = list[i].body.zones and list[i].body.zones[1] or ""
      if not best or per[zone] > per[list[best].body.zones and list[best].body.zones[1] or ""] then best = i end
    end
    chosen[#chosen + 1] = table.remove(list, best)
  end
  return chosen
end

--- Brings the instances' records to the set's capacity: new ones are Creating, surplus ones Deleting.
local function reconcile(set)
  local profile = set.body.properties.virtualMachineProfile
  if not profile or not set.body.sku then return end
  local missing = (set.body.sku.capacity or 0) - #instances_of(set)
  for _ = 1, missing do
    if uniform(set) then new_uniform(set) else new_flexible(set) end
  end
  for _, record in ipairs(missing < 0 and victims(set, -missing) or {}) do
    record.state, record.left = "Deleting", true
    record.scaled_in = true
    records.save(record)
  end
end

--- Boots what is Creating and removes what was scaled in.
local function settle(set)
  local creating, going = {}, {}
  for _, record in ipairs(instances_of(set, true)) do
    if record.state == "Creating" then creating[#creating + 1] = record end
    if record.scaled_in then going[#going + 1] = record end
  end
  machine.all(creating, function(record)
    machine.attach_disk(record, set.id)
    local ok, why = pcall(machine.boot, record)
    record.state = ok and "Succeeded" or "Failed"
    records.save(record)
    if not ok then error(why, 0) end
  end)
  for _, record in ipairs(going) do operations.destroy(record, {}) end
end

local function complete_network(profile, flexible, api)
  local configurations = value.at(profile, "networkProfile.networkInterfaceConfigurations")
  if not configurations or #configurations == 0 then
    raise(400, "InvalidParameter", "Required parameter 'networkInterfaceConfigurations' is missing (null).",
      { target = "networkInterfaceConfigurations" })
  end
  -- The field came with this version.
  if flexible and api < "2021-03-01" then value.fill(profile.networkProfile, { networkApiVersion = "2020-11-01" }) end
  if flexible and not profile.networkProfile.networkApiVersion then
    raise(400, "InvalidParameter", "Required parameter 'networkApiVersion' is missing (null).", { target = "networkApiVersion" })
  end
  for i, configuration in ipairs(configurations) do
    local p = configuration.properties or {}
    configuration.properties, configuration.id = p, nil
    if p.primary == "true" then p.primary = true elseif p.primary == "false" then p.primary = false end
    if p.primary == nil then p.primary = i == 1 end
    value.fill(p, flexible and { disableTcpStateTracking = false, enableIPForwarding = false, auxiliaryMode = "None",
      auxiliarySku = "None", deleteOption = "Delete" } or { enableAcceleratedNetworking = false, disableTcpStateTracking = false,
      enableIPForwarding = false })
    p.dnsSettings = value.fill(p.dnsSettings or {}, { dnsServers = json.array {} })
    if not p.ipConfigurations or #p.ipConfigurations == 0 then
      raise(400, "InvalidParameter", "Required parameter 'ipConfigurations' is missing (null).", { target = "ipConfigurations" })
    end
    for _, item in ipairs(p.ipConfigurations) do
      item.properties = value.fill(item.properties or {}, { privateIPAddressVersion = "IPv4" })
      if flexible then
        value.fill(item.properties, { applicationSecurityGroups = json.array {}, applicationGatewayBackendAddressPools = json.array {},
          loadBalancerBackendAddressPools = json.array {} })
      end
      local subnet = value.at(item, "properties.subnet.id")
      if not subnet or not records.child(subnet) then
        raise(400, "InvalidParameter", ("The subnet '%s' of interface '%s' was not found."):format(tostring(subnet), configuration.name),
          { target = "networkInterfaceConfigurations" })
      end
    end
  end
end

local function complete_profile(body, ctx, flexible)
  local p, old = body.properties, ctx.old and ctx.old.body.properties
  local profile = p.virtualMachineProfile
  local old_profile = old and old.virtualMachineProfile
  if not profile then return end
  profile.timeCreated = nil
  if old_profile then
    profile.networkProfile = profile.networkProfile or value.copy(old_profile.networkProfile)
    if profile.osProfile then
      for _, key in ipairs { "adminUsername", "computerNamePrefix" } do profile.osProfile[key] = profile.osProfile[key] or old_profile.osProfile[key] end
    end
  end
  local kept = old_profile and value.copy(old_profile)
  if kept and kept.storageProfile and kept.storageProfile.osDisk then kept.storageProfile.osDisk.managedDisk = nil end
  machine.complete(profile, kept, ctx.private, { in_set = true, uniform = not flexible, name = ctx.name, location = body.location })
  -- A set takes another one without a word, and keeps what it was made with.
  local made_with = old_profile and value.copy(value.at(old_profile, "storageProfile.osDisk.managedDisk.diskEncryptionSet"))
  if old_profile then profile.storageProfile.osDisk.managedDisk.diskEncryptionSet = made_with end
  if not profile.osProfile then
    raise(400, "InvalidParameter", "Required parameter 'osProfile' is missing (null).", { target = "osProfile" })
  end
  profile.osProfile.computerNamePrefix = profile.osProfile.computerNamePrefix or ctx.name:sub(1, 9)
  if flexible then profile.storageProfile.osDisk.deleteOption = profile.storageProfile.osDisk.deleteOption or "Delete" end
  complete_network(profile, flexible, ctx.api or "2025-04-01")
  for _, item in ipairs(value.at(profile, "extensionProfile.extensions") or {}) do extensions.complete(item.properties or {}) end
  local sent = ctx.sent_profile
  profile.timeCreated = (not sent and old_profile) and old_profile.timeCreated or clock.iso()
  if old_profile and sent then
    -- The same model said again is no new model.
    local was = old_profile.timeCreated
    profile.timeCreated = was
    local data, had = ctx.private.customData, ctx.old.private.customData -- which nobody is shown
    if not value.same(profile, old_profile) or data ~= nil and data ~= had then profile.timeCreated = clock.iso() end
  end
end

--- The address that grows and shrinks: only the capacity counts for how long a write takes.
local function duration(body, old)
  local capacity = body.sku and body.sku.capacity or 0
  local was = old and old.sku and old.sku.capacity or 0
  if not body.properties.virtualMachineProfile or capacity == was then return 0.1 end
  return capacity > was and 60 or 30
end

local function each_chosen(set, input, fn)
  local wanted, list = nil, {}
  if input.instanceIds and input.instanceIds[1] and input.instanceIds[1] ~= "*" then
    wanted = {}
    for _, id in ipairs(input.instanceIds) do wanted[tostring(id):match("[^/]+$"):lower()] = true end
  end
  for _, record in ipairs(instances_of(set, true)) do
    local name = (record.instance or record.name):lower()
    if not wanted or wanted[name] or wanted[record.name:lower()] then
      list[#list + 1] = record
      if wanted then wanted[name], wanted[record.name:lower()] = nil, nil end
    end
  end
  local missing = wanted and next(wanted)
  if missing then
    raise(400, "InvalidParameter", ("The provided instanceId %s is not an active Virtual Machine Scale Set VM instanceId."):format(missing),
      { target = "instanceIds" })
  end
  for _, record in ipairs(list) do fn(record) end
  return list
end

local function nothing() end

local function for_instances(verb, seconds)
  local one = records.statement(VM).actions[verb]
  return { seconds = seconds, shared = true,
    check = function(set, input) each_chosen(set, input, nothing) end,
    began = function(set, input)
      each_chosen(set, input, function(record) if one.began then one.began(record) end end)
    end,
    failed = function(set, input)
      each_chosen(set, input, function(record) if one.failed then one.failed(record) end end)
    end,
    run = function(set, input) machine.all(each_chosen(set, input, nothing), function(record) one.run(record, input) end) end }
end

local actions = {}
for verb, seconds in pairs { start = 30, powerOff = 15, deallocate = 40, restart = 40, reimage = 60, redeploy = 60 } do
  actions[verb] = for_instances(verb, seconds)
end
actions.reimageall = actions.reimage -- data disks, too, which are empty here anyhow

actions.delete = {
  seconds = 30, shared = true,
  check = function(set, input)
    if not input.instanceIds or #input.instanceIds == 0 then
      raise(400, "InvalidParameter", "Required parameter 'instanceIds' is missing (null).", { target = "instanceIds" })
    end
    each_chosen(set, input, nothing)
  end,
  began = function(set, input)
    each_chosen(set, input, function(record)
      if record.state ~= "Deleting" then
        machine.leave_set(record)
        record.state = "Deleting"
        records.save(record)
      end
    end)
  end,
  run = function(set, input)
    local wanted = {}
    for _, id in ipairs(input.instanceIds) do wanted[tostring(id):match("[^/]+$"):lower()] = true end
    for _, record in ipairs(instances_of(set, true)) do
      if wanted["*"] or wanted[(record.instance or record.name):lower()] then operations.destroy(record, {}) end
    end
  end,
}

actions.manualupgrade = {
  seconds = 60, shared = true,
  check = function(set, input) each_chosen(set, input, nothing) end,
  run = function(set, input)
    local profile = set.body.properties.virtualMachineProfile
    for _, record in ipairs(each_chosen(set, input, nothing)) do
      record.body.properties.latestModelApplied = uniform(set) and true or nil
      record.body.properties.storageProfile.imageReference = value.copy(profile.storageProfile.imageReference)
      if uniform(set) then record.body.properties.hardwareProfile = { vmSize = set.body.sku.name } end
      records.save(record)
    end
  end,
}

--- Instances made before a model changed are told apart.
local function mark_old_models(set, old)
  if not old or not uniform(set) then return end
  local same_size = value.at(old, "sku.name") == value.at(set.body, "sku.name")
  if same_size and value.same(old.properties.virtualMachineProfile, set.body.properties.virtualMachineProfile) then return end
  for _, record in ipairs(instances_of(set)) do
    record.body.properties.latestModelApplied = false
    records.save(record)
  end
end

local function summary(set)
  local count = {}
  for _, record in ipairs(instances_of(set)) do
    for _, status in ipairs(machine.statuses(record)) do count[status.code] = (count[status.code] or 0) + 1 end
  end
  local list = {}
  for _, code in ipairs(value.keys(count)) do list[#list + 1] = { code = code, count = count[code] } end
  return { virtualMachine = { statusesSummary = json.array(list) }, statuses = json.array { { code = "ProvisioningState/"
    .. set.state:lower(), level = "Info", displayStatus = "Provisioning " .. set.state:lower(), time = clock.iso(set.changed) } } }
end

local function refuse_flexible(set, what)
  raise(400, "BadRequest", ("Operation 'VirtualMachineScaleSets.%s.GET' is not allowed on Virtual Machine Scale Set '%s'."):format(what,
    set.name))
end

records.define(SET, {
  kind = "azure.virtual_machine_scale_set", style = style.compute, longest = 64, partial = true, seconds = { delete = 40 },
    duration = duration,
  name = "^[^%s\\/\"%[%]:|<>+=;,?*@&_][^%s\\/\"%[%]:|<>+=;,?*@&]*$",
  fixed = { "properties.virtualMachineProfile.priority", "properties.virtualMachineProfile.evictionPolicy" },
  prepare = function(body, ctx)
    local p, old = body.properties, ctx.old and ctx.old.body.properties
    machine.keep(body, ctx.old)
    p.orchestrationMode = p.orchestrationMode or old and old.orchestrationMode or "Uniform"
    local flexible = p.orchestrationMode == "Flexible"
    if flexible and not p.platformFaultDomainCount then
      raise(400, "InvalidParameter", "Required parameter 'platformFaultDomainCount' is missing (null).",
        { target = "platformFaultDomainCount" })
    end
    if body.zones and flexible and p.platformFaultDomainCount > 1 then
      raise(400, "BadRequest", "Specifying Availability Zones is not allowed when platformFaultDomainCount higher than 1 is specified.")
    end
    for _, zone in ipairs(ctx.old and ctx.old.body.zones or {}) do
      local still = false
      for _, other in ipairs(body.zones or {}) do still = still or other == zone end
      if not still then
        raise(409, "PropertyChangeNotAllowed", "Changing property 'zones' is not allowed.", { target = "zones" })
      end
    end
    p.uniqueId = old and old.uniqueId or crypto.uuid()
    local raw = ctx.req and ctx.req.body and json.decode(ctx.req.body)
    ctx.sent_profile = value.at(raw, "properties.virtualMachineProfile") ~= nil
    complete_profile(body, ctx, flexible)
    if p.virtualMachineProfile then
      if not body.sku or not body.sku.name then
        raise(400, "InvalidParameter", "Required parameter 'sku' is missing (null).", { target = "sku" })
      end
      value.fill(body.sku, { tier = "Standard", capacity = ctx.old and ctx.old.body.sku and ctx.old.body.sku.capacity or 0 })
      body.sku.capacity = math.tointeger(tonumber(body.sku.capacity)) or 0
      if body.sku.capacity > 1000 or body.sku.capacity < 0 then
        raise(400, "InvalidParameter", "The value of parameter sku.capacity is invalid.", { target = "sku.capacity" })
      end
      p.upgradePolicy = value.fill(p.upgradePolicy or {}, { mode = "Manual" })
      p.upgradePolicy.mode = p.upgradePolicy.mode:sub(1, 1):upper() .. p.upgradePolicy.mode:sub(2):lower()
      p.timeCreated = old and old.timeCreated or clock.iso()
    else
      body.sku, p.upgradePolicy, p.timeCreated = nil, nil, nil
    end
    if flexible then
      value.fill(p, { singlePlacementGroup = p.virtualMachineProfile and false or nil, constrainedMaximumCapacity = false })
    else
      value.fill(p, { singlePlacementGroup = not body.zones, overprovision = true, doNotRunExtensionsOnOverprovisionedVMs = false,
        platformFaultDomainCount = body.zones and 1 or 5 })
      if p.upgradePolicy and p.upgradePolicy.automaticOSUpgradePolicy then
        value.fill(p.upgradePolicy.automaticOSUpgradePolicy, { enableAutomaticOSUpgrade = false, useRollingUpgradePolicy = false,
          disableAutomaticRollback = false })
      end
    end
  end,
  began = function(record, ctx)
    mark_old_models(record, ctx.old)
    local ok, why = pcall(reconcile, record)
    if not ok then
      if not problem.is(why) or not ctx.op then error(why, 0) end
      ctx.op.fail, ctx.op.fail_message = why.code, why.message
      world.store:put("operation", ctx.op.id, ctx.op)
    end
  end,
  provision = function(record) settle(record) end,
  busy = function(record)
    for record_of in records.each(VM) do
      local id = value.at(record_of.body, "properties.virtualMachineScaleSet.id")
      if id and id:lower() == record.id:lower() and record_of.set_made ~= record.id then
        raise(409, "OperationNotAllowed", ("Virtual Machine Scale Set '%s' cannot be deleted: Virtual Machine '%s' is attached to it."):format(
          record.name, record_of.name))
      end
    end
  end,
  deleting = function(record)
    for _, instance in ipairs(instances_of(record)) do
      instance.state, instance.left = "Deleting", true
      records.save(instance)
    end
  end,
  destroy = function(record)
    for _, instance in ipairs(instances_of(record, true)) do operations.destroy(instance, {}) end
  end,
  views = {
    instanceView = function(record)
      if not uniform(record) then refuse_flexible(record, "instanceView") end
      return summary(record)
    end,
    networkInterfaces = function(record, ctx)
      if not uniform(record) then
        raise(404, "NotFound", ("Resource %s not found."):format(ctx.path), { details = json.array {} })
      end
      local items = {}
      for nic in records.each(INSTANCE_NIC, record.id .. "/") do items[#items + 1] = records.show(nic) end
      return requests.page(items, ctx)
    end,
    skus = function(record)
      return { value = json.array { { resourceType = SET, sku = { name = record.body.sku and record.body.sku.name, tier = "Standard" },
        capacity = { minimum = 0, maximum = 1000, defaultCapacity = 1, scaleType = "Automatic" } } } }
    end,
  },
  actions = actions,
})

-- Instances -------------------------------------------------------------------------------------------------------------

local function stubs(set)
  local list = {}
  for record in records.each(VM) do
    local id = value.at(record.body, "properties.virtualMachineScaleSet.id")
    if id and id:lower() == set.id:lower() then
      list[#list + 1] = { name = record.name, id = set.id .. "/virtualMachines/" .. record.name, type = INSTANCE,
        location = record.body.location, instanceId = record.name,
        zones = json.array { record.body.zones and record.body.zones[1] or json.null } }
    end
  end
  return list
end

local instance_actions = machine.actions()
instance_actions.simulateEviction = records.statement(VM).actions.simulateEviction

records.define(INSTANCE, {
  style = style.compute, located = false, partial = true, seconds = { update = 5, delete = 30 },
  read_only = { "vmId", "instanceView", "timeCreated", "latestModelApplied" },
  check_id = function(id)
    local set = records.get(id.parent)
    if set and uniform(set) and not id.name:find("^%d+$") then
      raise(400, "InvalidParameter", "Virtual Machine Scale Set VM instanceId must be a number.", { target = "instanceId" })
    end
  end,
  list = function(id, ctx)
    local set = records.get(id.parent)
    if not uniform(set) then
      if ctx.query["$expand"] then refuse_flexible(set, "virtualMachines") end
      return stubs(set)
    end
    local items = {}
    for record in records.each(INSTANCE, set.id .. "/") do items[#items + 1] = records.show(record, ctx) end
    return items
  end,
  prepare = function(body, ctx)
    if not ctx.old then
      raise(404, "NotFound", ("The entity was not found in this Azure location."):format())
    end
    local now = value.copy(ctx.old.body)
    for key in pairs(body) do body[key] = nil end
    for key, item in pairs(now) do body[key] = item end
  end,
  show = function(record, body, ctx)
    body.instanceId = record.instance
    body.sku = { name = body.properties.hardwareProfile.vmSize, tier = "Standard" }
    body.resources = extensions.shown(record)
    if ctx and ((ctx.query or {})["$expand"] or ""):lower() == "instanceview" then
      body.properties.instanceView = machine.view(record)
    end
  end,
  deleting = function(record) machine.leave_set(record) end,
  destroy = function(record)
    machine.remove(record)
    record.body.properties.storageProfile.osDisk.deleteOption = "Delete" -- always, for Uniform
    machine.release_disks(record)
  end,
  views = { instanceView = function(record)
    local view = machine.view(record)
    view.placementGroupId, view.platformUpdateDomain, view.platformFaultDomain = record.guid, 0, 0
    return view
  end },
  actions = instance_actions,
})

return {}
