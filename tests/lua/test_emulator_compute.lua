local test = require "tap"
local json, task = require "json", require "task"
local lab = require "emulator_lab"

local N, C = "~/Microsoft.Network/", "~/Microsoft.Compute/"
local KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC6zy/xERWR+aM7SyXcwXOukHEyK0p+Oub5jXP/dm7lB test"

local function network(l)
  l:put(N .. "virtualNetworks/v", { location = "westus2", properties = { addressSpace = { addressPrefixes = { "10.0.0.0/16" } },
    subnets = { { name = "s", properties = { addressPrefix = "10.0.1.0/24" } } } } })
  return l:call("GET", N .. "virtualNetworks/v/subnets/s").json.id
end

local function nic(l, name, subnet)
  return l:call("PUT", N .. "networkInterfaces/" .. name, { location = "westus2", properties = { ipConfigurations = { { name = "c",
    properties = { subnet = { id = subnet } } } } } }).json.id
end

local IMAGE = { publisher = "Debian", offer = "debian-12", sku = "12-gen2", version = "latest" }

local function os_profile(key, value)
  return { adminUsername = "azureuser", customData = "c2VjcmV0", [key] = value, linuxConfiguration = { disablePasswordAuthentication = true,
    ssh = { publicKeys = { { path = "/home/azureuser/.ssh/authorized_keys", keyData = KEY } } } } }
end

local function vm(nic_id, set)
  return { location = "westus2", properties = { hardwareProfile = { vmSize = "Standard_D2s_v5" }, virtualMachineScaleSet = set and { id = set },
    osProfile = os_profile("computerName", "m"), storageProfile = { imageReference = IMAGE, osDisk = { createOption = "FromImage" } },
    networkProfile = { networkInterfaces = { { id = nic_id } } } } }
end

local function set(mode, capacity, subnet, more)
  local body = { location = "westus2", sku = { name = "Standard_D2s_v5", capacity = capacity }, properties = { orchestrationMode = mode,
    platformFaultDomainCount = mode == "Flexible" and 1 or nil,
    virtualMachineProfile = { osProfile = os_profile("computerNamePrefix", "w"), storageProfile = { imageReference = IMAGE },
      networkProfile = { networkApiVersion = "2020-11-01", networkInterfaceConfigurations = { { name = "nic", properties = { primary = true,
        ipConfigurations = { { name = "c", properties = { subnet = { id = subnet } } } } } } } } } } }
  for key, value in pairs(more or {}) do body[key] = value end
  return body
end

local function power(view)
  for _, status in ipairs(view.statuses) do
    local state = status.code:match("^PowerState/(.+)$")
    if state then return state end
  end
end

test("a machine: created, shown, changed, stopped, deleted", function(t)
  local l = lab.open(t)
  local subnet = network(l)
  local id = nic(l, "i", subnet)
  local answer = l:call("PUT", C .. "virtualMachines/m", vm(id))
  t.eq({ answer.status, answer.json.properties.provisioningState, answer.json.etag }, { 201, "Creating", '"1"' })
  t.ok(not answer.body:find("c2VjcmV0", 1, true), "custom data is never shown")
  t.eq(l:call("PUT", C .. "virtualMachines/m", vm(id)).status, 409, "one write at a time")
  local last = l:finish(answer)
  t.eq({ last.json.status, type(last.json.startTime), type(last.json.endTime) }, { "Succeeded", "string", "string" })
  local shown = l:call("GET", C .. "virtualMachines/m").json
  t.eq({ shown.etag, shown.properties.provisioningState }, { '"2"', "Succeeded" })
  t.eq(shown.properties.storageProfile.osDisk.deleteOption, "Detach")
  t.ok(shown.properties.storageProfile.osDisk.managedDisk.id, "its disk exists")
  t.eq(l:call("GET", shown.properties.storageProfile.osDisk.managedDisk.id, nil, { api = "2025-01-02" }).json.managedBy, shown.id)
  t.eq(power(l:call("GET", C .. "virtualMachines/m/instanceView").json), "running")
  t.eq(l:call("GET", N .. "networkInterfaces/i").json.properties.virtualMachine.id, shown.id)
  t.eq(l:call("DELETE", N .. "networkInterfaces/i").code, "NicInUse")
  t.eq(l:call("PUT", C .. "virtualMachines/m2", vm(id)).code, "NicInUse")
  l:finish(l:call("POST", C .. "virtualMachines/m/deallocate"))
  t.eq(power(l:call("GET", C .. "virtualMachines/m?$expand=instanceView").json.properties.instanceView), "deallocated")
  t.eq(l:call("POST", C .. "virtualMachines/m/runCommand", { commandId = "RunShellScript", script = { "true" } }).code, "OperationNotAllowed")
  l:finish(l:call("POST", C .. "virtualMachines/m/start"))
  t.eq(power(l:call("GET", C .. "virtualMachines/m/instanceView").json), "running")
  local other = vm(id)
  other.properties.osProfile.adminUsername = "root2"
  t.eq(l:call("PUT", C .. "virtualMachines/m", other).code, "PropertyChangeNotAllowed")
  local bad = vm(id)
  bad.properties.osProfile.linuxConfiguration.ssh = nil
  t.eq(l:call("PUT", C .. "virtualMachines/m3", bad).code, "InvalidParameter")
  l:delete(C .. "virtualMachines/m")
  t.eq(l:call("GET", C .. "virtualMachines/m").status, 404)
  t.eq(l:call("GET", shown.properties.storageProfile.osDisk.managedDisk.id, nil, { api = "2025-01-02" }).json.properties.diskState,
    "Unattached", "a detached disk stays")
  answer = l:call("DELETE", N .. "networkInterfaces/i")
  t.eq(answer.status, 202)
  l:finish(answer)
end)

test("the versions of an image, all and one", function(t)
  local l = lab.open(t)
  local skus = "~~/providers/Microsoft.Compute/locations/westeurope/publishers/Debian/artifacttypes/vmimage/offers/debian-12/skus/"
  l:ask("POST", "images?image=Debian:debian-12:12-gen2:0.20300101.1")
  local function names(query)
    local found = {}
    for i, item in ipairs(l:call("GET", skus .. "12-gen2/versions" .. query).json) do found[i] = item.name .. (item.properties and "+" or "") end
    return table.concat(found, " ")
  end
  t.eq(names "", "0.20250428.2096 0.20300101.1")
  t.eq(names "?$top=1&$orderby=name%20desc&$expand=properties", "0.20300101.1+")
  local one = l:call("GET", skus .. "12-gen2/versions/0.20250428.2096").json
  t.eq(one.id, ("/Subscriptions/%s/Providers/Microsoft.Compute/Locations/westeurope/Publishers/Debian/ArtifactTypes/VMImage/Offers/"
    .. "debian-12/Skus/12-gen2/Versions/0.20250428.2096"):format(l.endpoint.subscription))
  t.eq({ one.properties.hyperVGeneration, one.properties.architecture, one.properties.features[1].value },
    { "V2", "x64", "TrustedLaunchSupported" })
  t.eq(l:call("GET", skus .. "12-arm64/versions/0.20250428.2096").json.properties.architecture, "Arm64")
  local none = l:call("GET", skus .. "12-gen2/versions/1.2.3")
  t.eq({ none.status, none.code }, { 404, "NotFound" })
end)

test("a Uniform set: instances, growth, removal by id, ids are not used again", function(t)
  local l = lab.open(t)
  local subnet = network(l)
  local answer = l:call("PUT", C .. "virtualMachineScaleSets/w", set("Uniform", 2, subnet))
  t.eq({ answer.status, answer.json.properties.provisioningState }, { 201, "Creating" })
  local function list() return l:call("GET", C .. "virtualMachineScaleSets/w/virtualMachines?$expand=instanceView").json.value end
  t.eq(#list(), 2)
  t.eq(list()[1].properties.provisioningState, "Creating")
  l:finish(answer)
  local members = list()
  t.eq({ members[1].name, members[1].instanceId, members[1].properties.osProfile.computerName, power(members[1].properties.instanceView) },
    { "w_0", "0", "w000000", "running" })
  local nics = l:call("GET", C .. "virtualMachineScaleSets/w/networkInterfaces", nil, { api = "2018-10-01" }).json.value
  t.eq({ #nics, nics[1].properties.ipConfigurations[1].properties.privateIPAddress }, { 2, "10.0.1.4" })
  t.has(nics[1].properties.virtualMachine.id, "/virtualMachines/0")
  -- Only the capacity: all else is unchanged.
  local grown = l:put(C .. "virtualMachineScaleSets/w", { location = "westus2", sku = { name = "Standard_D2s_v5", capacity = 4 } })
  t.eq({ grown.sku.capacity, grown.properties.virtualMachineProfile.osProfile.adminUsername }, { 4, "azureuser" })
  t.eq(#list(), 4)
  l:delete(C .. "virtualMachineScaleSets/w/virtualMachines/1")
  l:finish(l:call("POST", C .. "virtualMachineScaleSets/w/delete", { instanceIds = { "3" } }))
  t.eq(l:call("GET", C .. "virtualMachineScaleSets/w").json.sku.capacity, 2, "capacity falls with them")
  t.eq({ list()[1].instanceId, list()[2].instanceId }, { "0", "2" })
  l:put(C .. "virtualMachineScaleSets/w", { location = "westus2", sku = { name = "Standard_D2s_v5", capacity = 3 } })
  t.eq(list()[3].instanceId, "4", "ids are never used again")
  t.eq(l:call("GET", C .. "virtualMachineScaleSets/w/virtualMachines/x").code, "InvalidParameter")
  t.eq(l:call("POST", C .. "virtualMachineScaleSets/w/delete", { instanceIds = { "9" } }).code, "InvalidParameter")
  t.eq(#l:call("GET", C .. "virtualMachineScaleSets/w/instanceView").json.virtualMachine.statusesSummary, 2)
  t.eq(l:call("DELETE", N .. "virtualNetworks/v").code, "InUseSubnetCannotBeDeleted")
  l:delete(C .. "virtualMachineScaleSets/w")
  l:delete(N .. "virtualNetworks/v")
  t.eq(#l:ask("GET", "list").resources, 1, "only the group is left")
end)

test("a Flexible set: machines of their own, stubs, attached ones", function(t)
  local l = lab.open(t)
  local subnet = network(l)
  t.eq(l:call("PUT", C .. "virtualMachineScaleSets/c", { location = "westus2", properties = { orchestrationMode = "Flexible" } }).code,
    "InvalidParameter")
  local empty = l:put(C .. "virtualMachineScaleSets/c", { location = "westus2", properties = { orchestrationMode = "Flexible",
    platformFaultDomainCount = 1, singlePlacementGroup = false } })
  t.eq({ empty.sku, empty.properties.upgradePolicy }, {}, "a set without a profile has neither")
  l:put(C .. "virtualMachines/cp-1", vm(nic(l, "i", subnet), empty.id))
  t.eq(l:call("DELETE", C .. "virtualMachineScaleSets/c").code, "OperationNotAllowed")
  local made = l:put(C .. "virtualMachineScaleSets/f", set("Flexible", 2, subnet, { zones = { "1", "2" } }))
  t.eq(made.sku.capacity, 2)
  local stubs = l:call("GET", C .. "virtualMachineScaleSets/f/virtualMachines").json.value
  t.eq({ #stubs, stubs[1].properties }, { 2 })
  t.ok(stubs[1].name:find("^f_%x%x%x%x%x%x%x%x$"))
  t.eq(l:call("GET", C .. "virtualMachineScaleSets/f/virtualMachines?$expand=instanceView").status, 400)
  t.eq(l:call("GET", C .. "virtualMachineScaleSets/f/instanceView").status, 400)
  local filter = "?$filter='virtualMachineScaleSet/id'%20eq%20'" .. made.id .. "'"
  local machines = l:call("GET", C .. "virtualMachines" .. filter).json.value
  t.eq(#machines, 2)
  t.ok(machines[1].properties.osProfile.computerName:find("^w%w%w%w%w%w%w$"))
  t.eq({ machines[1].zones[1], machines[2].zones[1] }, { "1", "2" })
  t.ok(machines[1].tags.VirtualMachineProfileTimeCreated)
  l:delete(C .. "virtualMachines/" .. machines[1].name)
  t.eq(l:call("GET", C .. "virtualMachineScaleSets/f").json.sku.capacity, 1)
  l:finish(l:call("POST", C .. "virtualMachineScaleSets/f/delete", { instanceIds = { machines[2].name } }))
  t.eq(#l:call("GET", C .. "virtualMachines").json.value, 1, "its disks and interfaces went with them")
  l:delete(C .. "virtualMachineScaleSets/f")
  local left = {}
  for _, item in ipairs(l:ask("GET", "list").resources) do left[#left + 1] = item.id:match("[^/]+$") end
  t.eq(#left, 7, table.concat(left, " "))
end)

test("a subnet without room fails the operation, not the request", function(t)
  local l = lab.open(t)
  network(l)
  l:put(N .. "virtualNetworks/v/subnets/tiny", { properties = { addressPrefix = "10.0.2.0/29" } })
  local id = l:call("GET", N .. "virtualNetworks/v/subnets/tiny").json.id
  local last = l:finish(l:call("PUT", C .. "virtualMachineScaleSets/w", set("Uniform", 5, id)))
  t.eq({ last.json.status, last.json.error.code }, { "Failed", "SubnetIsFull" })
  t.eq(l:call("GET", C .. "virtualMachineScaleSets/w").json.properties.provisioningState, "Failed")
end)

test("Spot: eviction deallocates or deletes", function(t)
  local l = lab.open(t)
  local subnet = network(l)
  for _, policy in ipairs { "Deallocate", "Delete" } do
    local body = set("Flexible", 1, subnet)
    local profile = body.properties.virtualMachineProfile
    profile.priority, profile.evictionPolicy, profile.billingProfile = "Spot", policy, { maxPrice = -1 }
    local made = l:put(C .. "virtualMachineScaleSets/" .. policy, body)
    local name = l:call("GET", C .. "virtualMachineScaleSets/" .. policy .. "/virtualMachines").json.value[1].name
    l:finish(l:call("POST", C .. "virtualMachines/" .. name .. "/simulateEviction"))
    local answer = l:call("GET", C .. "virtualMachines/" .. name .. "/instanceView")
    if policy == "Deallocate" then t.eq(power(answer.json), "deallocated") else t.eq(answer.status, 404) end
    t.eq(l:call("GET", made.id, nil, { api = "2025-04-01" }).json.sku.capacity, policy == "Deallocate" and 1 or 0)
  end
end)

test("an emulator that is killed goes on with what was under way", function(t)
  local l = lab.open(t, { factor = 60 })
  local subnet = network(l)
  local answer = l:call("PUT", C .. "virtualMachineScaleSets/w", set("Uniform", 3, subnet))
  t.eq(answer.status, 201)
  local removed = l:call("PUT", N .. "networkSecurityGroups/n", { location = "westus2" })
  require("process").kill(l.endpoint.pid, 9)
  local old = l.endpoint
  l:start()
  t.eq({ l.endpoint.arm, l.endpoint.subscription }, { old.arm, old.subscription })
  t.ok(l.endpoint.pid ~= old.pid)
  t.eq(l:finish(answer).json.status, "Succeeded", "the old operation's URL still leads to its end")
  t.eq(l:finish(removed).json.status, "Succeeded")
  local list = l:call("GET", C .. "virtualMachineScaleSets/w/virtualMachines").json.value
  t.eq(#list, 3)
  for _, item in ipairs(list) do t.eq(item.properties.provisioningState, "Succeeded") end
  task.sleep(0)
end)

test("data disks are attached and let go", function(t)
  local l = lab.open(t)
  local id = nic(l, "i", network(l))
  local function disk(name) return l:call("GET", C .. "disks/" .. name, nil, { api = "2025-01-02" }).json end
  l:finish(l:call("PUT", C .. "disks/d", { location = "westus2", properties = { creationData = { createOption = "Empty" }, diskSizeGB = 8 } },
    { api = "2025-01-02" }))
  local body = vm(id)
  body.properties.storageProfile.dataDisks = { { lun = 0, createOption = "Attach", managedDisk = { id = disk("d").id } },
    { lun = 1, name = "new", createOption = "Empty", diskSizeGB = 16 } }
  local made = l:put(C .. "virtualMachines/m", body)
  t.eq({ disk("d").managedBy, disk("d").properties.diskState, disk("new").properties.diskSizeGB }, { made.id, "Attached", 16 })
  t.eq(l:call("DELETE", C .. "disks/d", nil, { api = "2025-01-02" }).code, "OperationNotAllowed")
  body.properties.storageProfile.dataDisks = { { lun = 1, createOption = "Attach", managedDisk = { id = disk("new").id } } }
  l:put(C .. "virtualMachines/m", body)
  t.eq({ disk("d").managedBy, disk("d").properties.diskState }, { nil, "Unattached" })
  l:delete(C .. "virtualMachines/m")
  t.eq(disk("new").properties.diskState, "Unattached")
end)

test("SSH keys and disks", function(t)
  local l = lab.open(t)
  local made = l:call("PUT", C .. "sshPublicKeys/k", { location = "westus2" })
  t.eq({ made.status, made.json.type }, { 201 })
  local pair = l:call("POST", C .. "sshPublicKeys/k/generateKeyPair", { encryptionType = "Ed25519" }).json
  t.has(pair.privateKey, "PRIVATE KEY")
  t.eq(l:call("GET", C .. "sshPublicKeys/k").json.properties.publicKey, pair.publicKey)
  t.eq(l:call("PUT", C .. "sshPublicKeys/bad", { location = "westus2", properties = { publicKey = "nonsense" } }).code, "InvalidParameter")
  local answer = l:call("PUT", C .. "disks/d", { location = "westus2", properties = { creationData = { createOption = "Empty" }, diskSizeGB = 8 } },
    { api = "2025-01-02" })
  t.eq(answer.status, 202)
  t.ok(answer.headers.location and answer.headers["azure-asyncoperation"])
  t.eq(l:finish(answer).json.properties.output.properties.diskState, "Unattached")
  t.eq(l:call("PUT", C .. "disks/d", { location = "westus2", properties = { creationData = { createOption = "Empty" }, diskSizeGB = 4 } },
    { api = "2025-01-02" }).code, "BadRequest")
  t.eq(json.is_array(l:call("GET", C .. "disks", nil, { api = "2025-01-02" }).json.value), true)
end)

test.done()
