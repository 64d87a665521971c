-- What the kinds state is what the emulator checks: one statement for both, refused in the form of each service.
local test = require "tap"
local fs, json, kind = require "fs", require "json", require "kind"
local lab = require "emulator_lab"

local N, C = "~/Microsoft.Network/", "~/Microsoft.Compute/"

local function at(properties, more)
  local body = { location = "westus2", properties = properties or {} }
  for key, item in pairs(more or {}) do body[key] = item end
  return body
end

test("each kind's type is checked by the kind, and says nothing twice", function(t)
  require "emulator.arm.server"
  local records = require "emulator.arm.records"
  local count = 0
  for _, name in ipairs(fs.list "stdlib/azure") do
    local ok, page = pcall(require, "azure." .. name:gsub("%.lua$", ""))
    if ok and kind.is(page) and type(page.type) == "string" then
      local known = records.types[page.type:lower()]
      local stated = known and (known.kind and known or known.spec)
      t.eq(stated and stated.kind, page.name, page.type)
      count = count + 1
    end
  end
  t.ok(count >= 30, "kinds were found")
end)

test("choices, in any case; numbers and truth as text; what is no choice", function(t)
  local l = lab.open(t)
  local function route(properties)
    return l:call("PUT", N .. "routeTables/r", at { routes = { { name = "a", properties = properties } } })
  end
  local made = route { addressPrefix = "10.0.0.0/8", nextHopType = "vnetLOCAL" }
  t.eq({ made.status, made.json.properties.routes[1].properties.nextHopType }, { 201, "VnetLocal" })
  l:finish(made)
  local wrong = route { addressPrefix = "10.0.0.0/8", nextHopType = "Moon" }
  t.eq({ wrong.status, wrong.code, wrong.json.error.message, wrong.json.error.details[1].code },
    { 400, "InvalidRequestFormat", "Cannot parse the request.", "InvalidJson" })
  t.has(wrong.json.error.details[1].message, "'properties.routes[0].properties.nextHopType' wants one of")
  wrong = route { addressPrefix = "10.0.0.0/8" }
  t.has(wrong.json.error.details[1].message, "Required parameter 'routes[0].properties.nextHopType' is missing (null)")
  local table_of = l:put(N .. "routeTables/b", at { disableBgpRoutePropagation = "True" })
  t.eq(table_of.properties.disableBgpRoutePropagation, true)
  t.eq(l:call("PUT", N .. "routeTables/b", at { disableBgpRoutePropagation = "perhaps" }).code, "InvalidRequestFormat")
  local address = l:put(N .. "publicIPAddresses/p", at({ publicIPAllocationMethod = "static", idleTimeoutInMinutes = "10" },
    { sku = { name = "standard" } }))
  t.eq({ address.sku.name, address.properties.publicIPAllocationMethod, address.properties.idleTimeoutInMinutes }, { "Standard",
    "Static", 10 })
  t.eq(l:call("PUT", N .. "publicIPAddresses/q", at({ idleTimeoutInMinutes = 31 }, { sku = { name = "Basic" } })).code,
    "InvalidRequestFormat")
end)

test("each service refuses in its own form", function(t)
  local l = lab.open(t)
  local disk = l:call("PUT", C .. "disks/d", at { creationData = { createOption = "Empty" }, diskSizeGB = 70000 })
  t.eq({ disk.status, disk.code, disk.json.error.target }, { 400, "InvalidParameter", "diskSizeGB" })
  t.has(disk.json.error.message, "at most 65536")
  t.eq(l:call("PUT", C .. "disks/d", at { creationData = { createOption = "Empty" },
    networkAccessPolicy = "Some" }).json.error.target,
    "networkAccessPolicy")
  local account = at({ minimumTlsVersion = "TLS9" }, { kind = "StorageV2", sku = { name = "Standard_LRS" } })
  t.eq(l:call("PUT", "~/Microsoft.Storage/storageAccounts/acc1", account).code, "InvalidRequestPropertiesValue")
  local vault = at { tenantId = l.endpoint.tenant, sku = { family = "A", name = "standard" }, accessPolicies = json.array {},
    softDeleteRetentionInDays = 5 }
  t.eq(l:call("PUT", "~/Microsoft.KeyVault/vaults/contract1", vault).code, "BadRequest")
  local function rule(properties)
    for key, item in pairs { protocol = "tcp", access = "allow", direction = "inbound", priority = 100, sourcePortRange = "*",
      destinationPortRange = "*", sourceAddressPrefix = "*", destinationAddressPrefix = "*" } do
      if properties[key] == nil then properties[key] = item end
    end
    return l:call("PUT", N .. "networkSecurityGroups/n", at { securityRules = { { name = "r", properties = properties } } })
  end
  t.eq(rule({ priority = 4097 }).code, "SecurityRuleInvalidPriority")
  t.eq(rule({ direction = "Sideways" }).code, "SecurityRuleParameterMissing")
  local good = rule({}).json.properties.securityRules[1].properties
  t.eq({ good.protocol, good.access, good.direction }, { "Tcp", "Allow", "Inbound" })
end)

test("what a machine's page writes itself is checked by its fields too", function(t)
  local records = require "emulator.arm.records"
  local machine = records.types["microsoft.compute/virtualmachines"]
  local set = records.types["microsoft.compute/virtualmachinescalesets"]
  local function fixed(statement, path)
    for _, one in ipairs(statement.fixed) do
      if one == path then return true end
    end
    return false
  end
  t.eq({ fixed(machine, "properties.osProfile.adminUsername"), fixed(machine, "zones"),
    fixed(set, "properties.virtualMachineProfile.osProfile.adminUsername"), fixed(set, "zones"),
    fixed(machine, "properties.storageProfile.osDisk.managedDisk.diskEncryptionSet.id") }, { true, true, true, false, true })
  local l = lab.open(t)
  local function disk(more)
    local body = at { hardwareProfile = { vmSize = "Standard_B2s" }, networkProfile = { networkInterfaces = json.array {} },
      osProfile = { computerName = "m", adminUsername = "u" }, storageProfile = { osDisk = more, imageReference = { publisher = "Debian",
        offer = "debian-12", sku = "12-gen2", version = "latest" } } }
    local answer = l:call("PUT", C .. "virtualMachines/m1", body)
    return { answer.code, answer.json.error.target }
  end
  t.eq(disk { createOption = "FromImage", caching = "Always" }, { "InvalidParameter", "storageProfile.osDisk.caching" })
  t.eq(disk { createOption = "FromImage", diskSizeGB = 0 }, { "InvalidParameter", "storageProfile.osDisk.diskSizeGB" })
  t.eq(disk { createOption = "FromImage", managedDisk = { storageAccountType = "Floppy" } },
    { "InvalidParameter", "storageProfile.osDisk.managedDisk.storageAccountType" })
end)

test("a body of the wrong shape is refused, not stumbled over", function(t)
  local l = lab.open(t)
  local function code(properties, more)
    local answer = l:call("PUT", N .. "routeTables/r", at(properties, more))
    return { answer.status, answer.code }
  end
  t.eq(code({ routes = "none" }), { 400, "InvalidRequestFormat" })
  t.eq(code({ routes = { 7 } }), { 400, "InvalidRequestFormat" })
  t.eq(code({ routes = { { name = "a", properties = 7 } } }), { 400, "InvalidRequestFormat" })
  t.eq(l:call("PUT", N .. "networkInterfaces/i", at { ipConfigurations = { 7 } }).code, "InvalidRequestFormat")
  t.eq(l:call("PUT", N .. "networkInterfaces/i", at { ipConfigurations = "x" }).code, "InvalidRequestFormat")
  t.eq(code({}, { tags = "a" }), { 400, "InvalidRequestContent" })
  t.eq(l:call("PUT", N .. "routeTables/r", { location = "westus2", properties = "none" }).code, "InvalidRequestContent")
  t.eq(l:call("PUT", N .. "publicIPAddresses/p", at({}, { sku = "Standard" })).code, "InvalidRequestContent")
  t.eq(code({}, { properties = json.null })[1], 201)
end)

test("names: patterns and lengths, of children too", function(t)
  local l = lab.open(t)
  local space = { addressSpace = { addressPrefixes = { "10.0.0.0/16" } } }
  t.eq(l:call("PUT", N .. "virtualNetworks/" .. ("v"):rep(65), at(space)).code, "InvalidResourceName")
  l:put(N .. "virtualNetworks/" .. ("v"):rep(64), at(space))
  local subnets = N .. "virtualNetworks/" .. ("v"):rep(64) .. "/subnets/"
  t.eq(l:call("PUT", subnets .. ("s"):rep(81), { properties = { addressPrefix = "10.0.1.0/24" } }).code, "InvalidResourceName")
  t.eq(l:call("PUT", subnets .. "_s", { properties = { addressPrefix = "10.0.1.0/24" } }).code, "InvalidResourceName")
  t.eq(l:call("PUT", "~/Microsoft.KeyVault/vaults/ab", at()).code, "InvalidResourceName")
  t.eq(l:call("PUT", "~~/resourceGroups/" .. ("g"):rep(91), { location = "westus2" }).code, "InvalidResourceGroup")
  -- A recipe hears it before anything is asked.
  local _, problems = kind.check(require "azure.virtual_network", { name = ("v"):rep(65), cidr = "10.0.0.0/16", group = nil })
  local told = {}
  for _, p in ipairs(problems) do told[#told + 1] = p.text end
  t.has(table.concat(told, "\n"), "at most 64")
end)

test("what may not change, what is not taken, how many there may be", function(t)
  local l = lab.open(t)
  l:put(N .. "publicIPAddresses/p", at({ publicIPAllocationMethod = "Static" }, { sku = { name = "Standard" } }))
  local changed = l:call("PUT", N .. "publicIPAddresses/p", at({ publicIPAllocationMethod = "Static" },
    { sku = { name = "StandardV2" } }))
  t.eq({ changed.status, changed.code, changed.json.error.target }, { 409, "PropertyChangeNotAllowed", "sku.name" })
  local account = at({ primaryEndpoints = { blob = "https://elsewhere/" } }, { kind = "StorageV2",
    sku = { name = "Standard_LRS" } })
  l:finish(l:call("PUT", "~/Microsoft.Storage/storageAccounts/acc1", account))
  t.eq(l:call("GET", "~/Microsoft.Storage/storageAccounts/acc1").json.properties.primaryEndpoints.blob,
    "https://acc1.blob.core.windows.net/")
  account.properties = { isHnsEnabled = true }
  l:finish(l:call("PUT", "~/Microsoft.Storage/storageAccounts/acc1", account))
  account.properties = { isHnsEnabled = false }
  t.eq(l:call("PUT", "~/Microsoft.Storage/storageAccounts/acc1", account).code, "PropertyChangeNotAllowed")
  local scale = l:call("PUT", "~/Microsoft.Insights/autoscaleSettings/a", at { targetResourceUri = "/x",
    profiles = json.array {} })
  t.eq(scale.code, "BadRequest")
  t.has(scale.json.error.message, "'properties.profiles' wants between 1 and 20 elements, got 0")
end)
test.done()
