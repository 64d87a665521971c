--- A virtual machine scale set and its collection of instances.
--
-- Capacity grows by a PUT of the capacity alone (absent means unchanged) and never goes down by one: instances leave by
-- their id, so that it is always known which one goes. Inside of a range it is an autoscaler's, and is never written.
local arm, field, json, task = require "azure.arm", require "field", require "json", require "task"
local profile, statement = require "azure.machine_profile", require "azure.statement"
local extension, fail = require "azure.machine_extension", require "fail"
local image_version, set_machines = require "azure.image_version", require "azure.set_machines"

local API, NETWORK_API = "2025-04-01", "2025-05-01"
local HEALTH = "health" -- the extension that the field of this name stands for

local fields = profile.fields("properties.virtualMachineProfile.")
-- A set of machines that are all attached from outside has no profile of its own.
for _, name in ipairs { "size", "image", "public_key" } do fields[name].required = nil end
for _, name in ipairs { "image", "image_version", "public_key", "custom_data" } do fields[name].replace = nil end
for _, name in ipairs { "size", "image", "image_version", "custom_data" } do fields[name].rolls = true end
fields.size.arm = "sku.name"
fields.mode = field.choice { "Flexible", "Uniform", default = "Flexible", replace = true, arm = "properties.orchestrationMode",
  doc = "The orchestration mode." }
fields.capacity = field.range { min = 0, max = 1000,
  doc = "How many instances, or between which numbers an autoscaler decides; absent: machines are attached from outside." }
fields.fault_domains = field.integer { min = 1, max = 5, replace = true, arm = "properties.platformFaultDomainCount" }
fields.subnet = field.resource { "azure.subnet", "azure.existing", doc = "The instances' subnet." }
fields.pools = field.list { field.string {}, doc = "Ids of the backend pools that instances join." }
fields.zones = field.list { field.string {}, arm = "zones", doc = "Availability zones." }
fields.prefix = field.string { replace = true, match = "^[%l%d][%l%d-]*$", doc = "The host names' prefix; the name unless given." }
fields.spot = field.object { { eviction = field.choice { "Deallocate", "Delete", arm = "evictionPolicy" },
  max_price = field.number { arm = "billingProfile.maxPrice" } }, arm_at = "properties.virtualMachineProfile", replace = true,
  doc = "Spot instances: what eviction does, and the highest price an hour (-1: up to the regular price)." }
fields.power = field.choice { "running", default = "running", doc = "Instances that were stopped or evicted are started." }
fields.extensions = extension.field()
fields.health = field.object { { protocol = field.choice { "tcp", "http", "https" }, port = field.integer { required = true },
  path = field.string {} }, doc = "The application health extension." }

-- The pools that instances join: ours, and those that others let them join (a cloud provider does). `current`: the model as it is;
-- `left`: pools that were ours, in small letters.
local function pools_of(f, current)
  local items, have = {}, {}
  local function add(id)
    if not have[id:lower()] then items[#items + 1] = { id = id } end
    have[id:lower()] = true
  end
  for _, id in ipairs(f.pools or {}) do add(id) end
  local interfaces = current and statement.get(current, "networkProfile.networkInterfaceConfigurations") or {}
  local configurations = interfaces[1] and statement.get(interfaces[1], "properties.ipConfigurations") or {}
  for _, pool in ipairs(configurations[1] and statement.get(configurations[1], "properties.loadBalancerBackendAddressPools") or {}) do
    if not (f.left and f.left[pool.id:lower()]) then add(pool.id) end
  end
  return (f.pools or items[1]) and json.array(items) or nil
end

-- Ours in the form of the model, the health extension with them.
local function extensions_of(f)
  local list = extension.model(f.extensions)
  if f.health then
    table.insert(list, 1, { name = HEALTH, properties = {
      publisher = "Microsoft.ManagedServices", type = "ApplicationHealthLinux", typeHandlerVersion = "1.0",
      autoUpgradeMinorVersion = true,
      settings = { protocol = f.health.protocol or "tcp", port = f.health.port, requestPath = f.health.path } } })
  end
  return list
end

local function machine_profile(f, current)
  local spot = f.spot
  local interface = {
    name = f.name .. "-nic",
    properties = { primary = true, enableIPForwarding = false, deleteOption = f.mode ~= "Uniform" and "Delete" or nil,
      ipConfigurations = json.array { { name = "ipconfig1", properties = { primary = true, subnet = { id = f.subnet.id },
        loadBalancerBackendAddressPools = pools_of(f, current) } } } },
  }
  local network = { networkInterfaceConfigurations = json.array { interface } }
  if f.mode ~= "Uniform" then network.networkApiVersion = "2020-11-01" end
  return {
    osProfile = profile.os_profile(f, "computerNamePrefix", f.prefix or f.name), storageProfile = profile.storage_profile(f, f.version),
    networkProfile = network,
    extensionProfile = extension.profile(current and current.extensionProfile, extensions_of(f), f.gone or {}),
    priority = spot and "Spot" or nil, evictionPolicy = spot and (spot.eviction or "Deallocate") or nil,
    billingProfile = spot and { maxPrice = spot.max_price or -1 } or nil,
  }
end

local function uniform(f) return f.mode == "Uniform" end

local function set_id(ctx)
  return ctx.identity or
    ("%s/providers/Microsoft.Compute/virtualMachineScaleSets/%s"):format(ctx.fields.group.id, ctx.fields.name)
end

local function evicted(power, spot)
  if power == "deallocated" and spot then return "evicted" end
  return power == "starting" and "running" or power
end

-- What Azure answers when it has no machine to give: a matter of time, not of the recipe.
local NO_CAPACITY = { AllocationFailed = true, ZonalAllocationFailed = true, OverconstrainedAllocationRequest = true,
  OverconstrainedZonalAllocationRequest = true, SkuNotAvailable = true }

local STOPPED = { stopped = true, deallocated = true, stopping = true, deallocating = true }

--- Instances of a Uniform set: its own machines and interfaces.
local function uniform_members(client, id, spot)
  local addresses = {}
  for _, nic in ipairs(client:list(id .. "/networkInterfaces", "2018-10-01")) do
    local machine = nic.id:match("/virtualMachines/(%d+)/")
    if machine then addresses[machine] = nic.properties.ipConfigurations[1].properties.privateIPAddress end
  end
  local members = {}
  for _, vm in ipairs(client:list(id .. "/virtualMachines?$expand=instanceView", API)) do
    local p = vm.properties
    members[#members + 1] = { id = vm.instanceId, resource_id = vm.id, name = vm.name, private_ip = addresses[vm.instanceId],
      hostname = p.osProfile and p.osProfile.computerName, zone = vm.zones and vm.zones[1],
      state = p.provisioningState, status = evicted(profile.power(p.instanceView), spot), created = p.timeCreated, vm = vm }
  end
  return members
end

--- Instances of a Flexible set: ordinary machines that name the set; those attached from outside are not its members.
local function flexible_members(client, id, spot, name)
  local group, machines = id:match("^(.-)/providers/"), set_machines.list(client, id)
  local interfaces, members = {}, {}
  if #machines > 0 then
    for _, nic in ipairs(client:list(group .. "/providers/Microsoft.Network/networkInterfaces", NETWORK_API)) do
      interfaces[nic.id:lower()] = nic.properties.ipConfigurations[1].properties.privateIPAddress
    end
  end
  for _, vm in ipairs(machines) do
    local p = vm.properties
    local ours = vm.name:sub(1, #name + 1) == name .. "_"
    if ours and p.provisioningState ~= "Deleting" then
      local nic = p.networkProfile.networkInterfaces[1]
      members[#members + 1] = { id = vm.name, resource_id = vm.id, name = vm.name, private_ip = nic and interfaces[nic.id:lower()],
        hostname = p.osProfile and p.osProfile.computerName, zone = vm.zones and vm.zones[1],
        state = p.provisioningState, status = evicted(profile.power(p.instanceView), spot), created = p.timeCreated, vm = vm }
    end
  end
  return members
end

local function same(a, b) return tostring(a or ""):lower() == tostring(b or ""):lower() end

-- Whether a machine was made of the model as it is now: Azure says so of a Uniform instance, and writes the model's time on others.
local function is_latest(vm, model)
  if vm.properties.latestModelApplied ~= nil then return vm.properties.latestModelApplied end
  local made = vm.tags and vm.tags.VirtualMachineProfileTimeCreated
  return made ~= nil and made == model.timeCreated
end

local function same_image(is, wanted)
  for _, key in ipairs { "id", "publisher", "offer", "sku" } do
    if not same(is[key], wanted[key]) then return false end
  end
  return wanted.version == nil or wanted.version == "latest" or same(is.exactVersion or is.version, wanted.version)
end

-- Why a machine is not what the set would make now, or nil: by what it shows itself. Custom data nobody shows, so that the set
-- remembers (`behind`) who was there when it changed.
local function staleness(vm, body, behind)
  local model, p, why = body.properties.virtualMachineProfile, vm.properties, {}
  local size = p.hardwareProfile and p.hardwareProfile.vmSize or vm.sku and vm.sku.name
  if size and not same(size, body.sku.name) then why[#why + 1] = "size" end
  local image = statement.get(p, "storageProfile.imageReference")
  if image and not same_image(image, statement.get(model, "storageProfile.imageReference") or {}) then why[#why + 1] = "image" end
  if behind and not is_latest(vm, model) then why[#why + 1] = "custom_data" end
  return why[1] and table.concat(why, ", ")
end

local function set_of(list)
  local set = {}
  for _, item in ipairs(list or {}) do set[item] = true end
  return set
end

local function members(ctx, client, body)
  if not body.properties.virtualMachineProfile then return json.array {} end
  local spot = body.properties.virtualMachineProfile.priority == "Spot"
  local list
  if body.properties.orchestrationMode == "Uniform" then
    list = uniform_members(client, body.id, spot)
  else
    list = flexible_members(client, body.id, spot, body.name)
  end
  table.sort(list, function(a, b)
    if a.created ~= b.created then return tostring(a.created) < tostring(b.created) end
    return a.id < b.id
  end)
  ctx.stopped, ctx.evicted, ctx.running, ctx.first_image = nil, nil, {}, nil
  local behind = set_of(ctx.prior and ctx.prior.outputs and ctx.prior.outputs.behind)
  for _, member in ipairs(list) do
    local vm = member.vm
    member.vm = nil -- for us alone
    member.stale = staleness(vm, body, behind[member.id])
    ctx.first_image = ctx.first_image or statement.get(vm.properties, "storageProfile.imageReference")
    if member.status == "running" then
      table.insert(ctx.running, { id = vm.id, location = vm.location, extensions = vm.resources or {} })
    end
    if member.status == "evicted" then
      ctx.evicted = ctx.evicted or {}
      table.insert(ctx.evicted, member)
    end
    if STOPPED[member.status] then
      ctx.stopped = ctx.stopped or json.array {}
      table.insert(ctx.stopped, member.id)
    end
  end
  return json.array(list)
end

--- Starts what was evicted, each for itself: there may be a place for one and none for another. Who gets none is said.
local function start_evicted(ctx, client)
  local starts, refused, failure = {}, {}, nil
  for i, member in ipairs(ctx.evicted) do
    starts[i] = task.spawn(function() client:post(member.resource_id, "start", API, nil, { ctx = ctx }) end)
  end
  for i, start in ipairs(starts) do
    local ok, why = start:join()
    local code = type(why) == "table" and why.code
    if not ok and NO_CAPACITY[code] then
      refused[#refused + 1] = ("%s (%s)"):format(ctx.evicted[i].name, code)
    elseif not ok then
      failure = failure or why
    end
  end
  if failure then error(failure, 0) end
  if refused[1] then ctx.note = "warning: Azure has no capacity to start what it evicted: " .. table.concat(refused, ", ") end
end

--- Starts what was stopped or evicted, and brings extensions to machines that the model comes too late for.
local function start_stopped(ctx, client, body)
  members(ctx, client, body)
  local late = ctx.fields.extensions and (ctx.stopped or ctx.evicted)
  if ctx.stopped then client:post(body.id, "start", API, { instanceIds = ctx.stopped }, { ctx = ctx }) end
  if ctx.evicted then start_evicted(ctx, client) end
  if late then members(ctx, client, body) end
  extension.settle(ctx, client, ctx.running or {})
  return body
end

-- Who is behind in custom data: who was so, and whoever is there when it changes.
local function behind_of(ctx, list)
  local was, changes = set_of(ctx.prior and ctx.prior.outputs and ctx.prior.outputs.behind), false
  for _, change in ipairs(ctx.verb == "update" and ctx.changes or {}) do changes = changes or change.path == "custom_data" end
  local behind = {}
  for _, member in ipairs(list) do
    if changes or was[member.id] then behind[#behind + 1] = member.id end
  end
  return json.array(behind)
end

local function names_of(list)
  local names = {}
  for i, member in ipairs(list) do names[i] = member.name end
  return table.concat(names, ", ")
end

return statement.define {
  kind = "virtual_machine_scale_set", doc = "A virtual machine scale set.", type = "Microsoft.Compute/virtualMachineScaleSets",
  api = API, fields = fields, match = "^[%w][%w_.-]*[%w_]$",
  outputs = { unique_id = field.string { arm = "properties.uniqueId", doc = "Azure's own id of this set." },
    exact_version = field.string { doc = "The version of the image that instances are made of." },
    behind = field.list { field.string {}, volatile = true, doc = "Instances that were made before `custom_data` was last changed." } },
  timeouts = { create = 1800, update = 1800, delete = 1800, add = 1800, remove = 900 },
  collection = { output = "instances", count = "capacity", item = {
    id = field.string { doc = "The instance's id." }, resource_id = field.string { doc = "Its ARM id." },
    name = field.string { doc = "Its name in ARM." }, hostname = field.string { doc = "Its host name." },
    private_ip = field.string { doc = "Its private address." }, zone = field.string { doc = "Its zone." },
    status = field.string { doc = "running, stopped, deallocated or evicted." } } },
  prepare = function(ctx, client, f, current)
    local reference = current and statement.get(current, "properties.virtualMachineProfile.storageProfile.imageReference")
    -- A model that says "latest": its first machine says what that was.
    if reference and not image_version.of(reference) then
      members(ctx, client, current)
      reference = ctx.first_image or reference
    end
    if f.capacity ~= nil then f.version = image_version.resolve(ctx, client, f, f.location, reference) end
    f.gone, f.left = extension.gone(ctx), {}
    for _, id in ipairs(ctx.prior and ctx.prior.fields and ctx.prior.fields.pools or {}) do f.left[id:lower()] = true end
    local had = ctx.prior and ctx.prior.fields and ctx.prior.fields.health
    if had and not f.health then f.gone[HEALTH] = true end
  end,
  body = function(f, body, current)
    body.properties = body.properties or {}
    if f.capacity == nil then
      body.properties.singlePlacementGroup = false
      body.properties.platformFaultDomainCount = f.fault_domains or body.properties.platformFaultDomainCount or 1
      return
    end
    body.identity = profile.identity(f)
    -- Capacity belongs to add and remove once the set exists.
    body.sku = { name = f.size, tier = "Standard", capacity = current and current.sku and current.sku.capacity
      or type(f.capacity) == "table" and f.capacity.min or f.capacity }
    body.properties.virtualMachineProfile = machine_profile(f, current and body.properties.virtualMachineProfile)
    body.properties.upgradePolicy = uniform(f) and { mode = "Manual" } or nil
    if uniform(f) then
      body.properties.overprovision = false
    else
      body.properties.platformFaultDomainCount = f.fault_domains or (current and current.properties.platformFaultDomainCount) or 1
      body.properties.singlePlacementGroup = false
    end
    if current then
      body.properties.uniqueId, body.properties.timeCreated, body.properties.constrainedMaximumCapacity = nil, nil, nil
    end
  end,
  observed = function(f, body, ctx)
    local machine = body.properties.virtualMachineProfile
    if not machine then return {} end
    local shown = profile.observed(f, machine, body)
    shown.image_version = ctx.image_version
    shown.capacity = body.sku and body.sku.capacity
    shown.power = f.power and (ctx.stopped and "stopped" or ctx.evicted and "evicted" or f.power)
    local everywhere = {}
    for i, there in ipairs(ctx.running) do everywhere[i] = there.extensions end
    everywhere[#everywhere + 1] = statement.get(machine, "extensionProfile.extensions") or {}
    shown.extensions = extension.observed(ctx, everywhere)
    local configuration = statement.get(machine, "networkProfile.networkInterfaceConfigurations")
    local address = configuration and configuration[1].properties.ipConfigurations[1].properties
    if f.subnet and address and address.subnet and address.subnet.id:lower() ~= tostring(f.subnet.id):lower() then
      shown.subnet = address.subnet
    end
    if f.spot then
      shown.spot = machine.priority == "Spot" and { eviction = f.spot.eviction and machine.evictionPolicy,
        max_price = f.spot.max_price and machine.billingProfile and machine.billingProfile.maxPrice } or json.null
    end
    return shown
  end,
  found = function(ctx, client, body, outputs)
    ctx.members = members(ctx, client, body)
    outputs.behind = behind_of(ctx, ctx.members)
    local reference = statement.get(body, "properties.virtualMachineProfile.storageProfile.imageReference")
    if not image_version.of(reference) then reference = ctx.first_image or reference end
    outputs.exact_version = image_version.of(reference)
    if ctx.verb == "read" and reference and ctx.fields.image then
      ctx.image_version = image_version.observed(client, ctx.fields, body.location, reference)
    end
  end,
  members = function(ctx) return ctx.members end,
  listed = function(id) return id:match("^(.*)/[^/]+$") end,
  made = start_stopped,
  status = function(ctx) return ctx.evicted and "evicted: " .. names_of(ctx.evicted) end,
  add = function(ctx, n)
    local client, id = arm.open(ctx.target), set_id(ctx)
    local body = client:get(id, API)
    if not body then error(fail { "the scale set " .. id .. " is gone", code = "absent" }) end
    -- The note says what was there before, so that a run that follows a crash knows which instances are new.
    local note = ctx.recorded and ctx.recorded.before and ctx.recorded
    if not note then
      local before = {}
      for _, member in ipairs(members(ctx, client, body)) do before[#before + 1] = member.id end
      note = { before = json.array(before), goal = body.sku.capacity + n }
      ctx:record(note)
    end
    if body.sku.capacity < note.goal then
      client:put(id, API, { location = body.location, sku = { name = body.sku.name, tier = body.sku.tier, capacity = note.goal } },
        { etag = body.etag })
    end
    local old, fresh = {}, {}
    for _, name in ipairs(note.before) do old[name] = true end
    for _, member in ipairs(members(ctx, client, client:get(id, API))) do
      if not old[member.id] then fresh[#fresh + 1] = member end
    end
    return json.array(fresh)
  end,
  remove = function(ctx, member)
    local client, id = arm.open(ctx.target), set_id(ctx)
    if ctx.fields.mode == "Uniform" then
      client:delete(id .. "/virtualMachines/" .. member, API, { ctx = ctx })
    else
      client:delete(id:match("^(.-)/virtualMachineScaleSets/") .. "/virtualMachines/" .. member, API, { ctx = ctx })
    end
  end,
}
