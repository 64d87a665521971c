-- What other clients ask and no kind of ours does: each was missed by one of them (Terraform's azurerm, the Azure CLI of PyPI).
local test = require "tap"
local crypto, http, json = require "crypto", require "http", require "json"
local lab = require "emulator_lab"

local N, C, KV = "~/Microsoft.Network/", "~/Microsoft.Compute/", "~/Microsoft.KeyVault/vaults/"
local KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC6zy/xERWR+aM7SyXcwXOukHEyK0p+Oub5jXP/dm7lB test"

local function names(list, key)
  local found = {}
  for i, item in ipairs(list) do found[i] = item[key or "name"] end
  return table.concat(found, " ")
end

test("conditions that are empty are none", function(t)
  local l = lab.open(t)
  local none = { ["If-Match"] = "", ["If-None-Match"] = "" }
  for _, status in ipairs { 201, 200 } do
    local answer = l:call("PUT", N .. "routeTables/rt", { location = "westus2", properties = {} }, { headers = none })
    t.eq(answer.status, status)
    l:finish(answer)
  end
end)

test("texts that are empty are none: the other form of several ports, an address that is to be chosen", function(t)
  local l = lab.open(t)
  local p = l:put(N .. "networkSecurityGroups/nsg", { location = "westus2", properties = { securityRules = { { name = "r", properties = {
    priority = 100, direction = "Inbound", access = "Allow", protocol = "Tcp", sourcePortRange = "*", destinationPortRange = "",
    destinationPortRanges = { "22", "443" }, sourceAddressPrefix = "", sourceAddressPrefixes = { "10.0.0.0/8" },
    destinationAddressPrefix = "*" } } } } }).properties.securityRules[1].properties
  t.eq({ p.destinationPortRange, p.destinationPortRanges, p.sourceAddressPrefix }, { nil, { "22", "443" }, nil })
  local subnet = l:put(N .. "virtualNetworks/v", { location = "westus2", properties = { addressSpace = { addressPrefixes = { "10.0.0.0/16" } },
    subnets = { { name = "s", properties = { addressPrefix = "10.0.1.0/24" } } } } }).properties.subnets[1].id
  for i = 1, 2 do
    local nic = l:put(N .. "networkInterfaces/i" .. i, { location = "westus2", properties = { ipConfigurations = { { name = "c", properties = {
      privateIPAddress = "", subnet = { id = subnet } } } } } })
    t.eq(nic.properties.ipConfigurations[1].properties.privateIPAddress, "10.0.1." .. 3 + i)
  end
end)

test("a zone has its SOA, which may be changed but for its host, and lists all of its sets", function(t)
  local l = lab.open(t)
  local Z, D = N .. "privateDnsZones/x.internal", N .. "dnsZones/example.org"
  l:put(Z, { location = "global" })
  t.eq(l:call("GET", Z .. "/SOA/@").json.properties.soaRecord.email, "azureprivatedns-host.microsoft.com")
  l:put(Z .. "/A/api", { properties = { ttl = 60, aRecords = { { ipv4Address = "10.0.0.9" } } } })
  t.eq(names(l:call("GET", Z .. "/ALL").json.value), "api @")
  local set = l:put(Z .. "/SOA/@", { properties = { ttl = 60, soaRecord = { email = "me.example.org", host = "mine", refreshTime = 7 } } })
  local soa = set.properties.soaRecord
  t.eq({ set.properties.ttl, soa.email, soa.host, soa.refreshTime, soa.retryTime },
    { 60, "me.example.org", "azureprivatedns.net", 7, 300 })
  t.eq(names(l:call("GET", Z .. "/SOA").json.value), "@")
  t.eq(l:call("GET", Z).json.properties.numberOfRecordSets, 2)
  t.eq(l:call("GET", Z .. "/SOA/other").status, 404)
  t.eq(l:call("GET", N .. "privateDnsZones/none.internal/SOA/@").status, 404)

  l:put(D, { location = "global" })
  l:put(D .. "/NS/sub", { properties = { TTL = 60, NSRecords = { { nsdname = "ns.example.net" } } } })
  local servers = l:call("GET", D .. "/NS/@").json.properties
  t.eq({ servers.TTL, names(servers.NSRecords, "nsdname") },
    { 172800, table.concat(l:call("GET", D).json.properties.nameServers, " ") })
  t.eq(l:call("GET", D .. "/SOA/@").json.properties.SOARecord.minimumTTL, 300)
  t.eq(names(l:call("GET", D .. "/recordsets").json.value, "type"):gsub("Microsoft.Network/dnsZones/", ""), "NS NS SOA")
  t.eq(l:call("GET", D).json.properties.numberOfRecordSets, 3)
end)

local function machine(nic, more)
  local body = { location = "westus2", properties = { hardwareProfile = { vmSize = "Standard_D2s_v5" }, additionalCapabilities = {},
    osProfile = { computerName = "m", adminUsername = "azureuser", linuxConfiguration = { disablePasswordAuthentication = true,
      ssh = { publicKeys = { { path = "/home/azureuser/.ssh/authorized_keys", keyData = KEY } } } } },
    storageProfile = { imageReference = { publisher = "Debian", offer = "debian-12", sku = "12-gen2", version = "latest" },
      osDisk = { createOption = "FromImage", managedDisk = { storageAccountType = "Premium_LRS" } } },
    networkProfile = { networkInterfaces = { { id = nic } } } } }
  for key, item in pairs(more or {}) do body[key] = item end
  return body
end

-- The object id of whom the metadata service of a machine gives a token.
local function who_am_i(l, id)
  local answer = assert(http.request { url = ("%s/machine%s/metadata/identity/oauth2/token?api-version=2018-02-01&resource=x"):format(
    l.endpoint.imds, id), headers = { Metadata = "true" } })
  return json.decode(crypto.unbase64url(json.decode(answer.body).access_token:match "^[^.]+%.([^.]+)")).oid
end

test("a PUT of a machine that says nothing of its identities keeps them, and disks are shown in full", function(t)
  local l = lab.open(t)
  l:put(N .. "virtualNetworks/v", { location = "westus2", properties = { addressSpace = { addressPrefixes = { "10.0.0.0/16" } },
    subnets = { { name = "s", properties = { addressPrefix = "10.0.1.0/24" } } } } })
  local nic = l:put(N .. "networkInterfaces/i", { location = "westus2", properties = { ipConfigurations = { { name = "c",
    properties = { subnet = { id = l:call("GET", N .. "virtualNetworks/v/subnets/s").json.id } } } } } }).id
  local identity = l:put("~/Microsoft.ManagedIdentity/userAssignedIdentities/one", { location = "westus2" }, { api = "2023-01-31" }).id
  local disk = l:put(C .. "disks/data", { location = "westus2", sku = { name = "Premium_LRS" },
    properties = { creationData = { createOption = "Empty" }, diskSizeGB = 16 } }, { api = "2025-01-02" }).id
  local has = { type = "UserAssigned", userAssignedIdentities = { [identity] = {} } }
  local shown = l:put(C .. "virtualMachines/m", machine(nic, { identity = has }))
  t.eq({ shown.identity.type, shown.properties.additionalCapabilities }, { "UserAssigned", nil })
  local body = machine(nic)
  body.properties.storageProfile.dataDisks = { { lun = 0, createOption = "Attach", managedDisk = { id = disk } } }
  shown = l:put(C .. "virtualMachines/m", body)
  t.ok(shown.identity.userAssignedIdentities[identity].principalId, "still there")
  local data = shown.properties.storageProfile.dataDisks[1]
  t.eq({ data.name, data.diskSizeGB, data.deleteOption, data.managedDisk.storageAccountType }, { "data", 16, "Detach", "Premium_LRS" })
  local both = { type = "SystemAssigned, UserAssigned", userAssignedIdentities = { [identity] = {} } }
  local own = l:put(C .. "virtualMachines/m", machine(nic, { identity = both })).identity.principalId
  t.eq(who_am_i(l, shown.id), own, "its own, when none is named")
  t.eq(l:put(C .. "virtualMachines/m", machine(nic, { identity = { type = "None" } })).identity, nil)
  t.eq(l:call("GET", C .. "virtualMachines/m/vmSizes").json.value[1].osDiskSizeInMB, 1047552)
end)

test("a resource's own identity is known to the directory as long as it is there", function(t)
  local l = lab.open(t)
  local A = "~/Microsoft.ContainerRegistry/registries/ownidentity"
  local function registry(kind)
    return l:put(A, { location = "westus2", sku = { name = "Basic" }, identity = kind and { type = kind, principalId = "given" },
      properties = {} }, { api = "2023-07-01" })
  end
  local serial = 0
  local function assign(principal)
    serial = serial + 1
    return l:call("PUT", ("~~/resourceGroups/g/providers/Microsoft.Authorization/roleAssignments/11111111-2222-4333-8444-%012d"):format(serial),
      { properties = { principalId = principal, roleDefinitionId = "/subscriptions/" .. l.endpoint.subscription
      .. "/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7" } }, { api = "2022-04-01" })
  end
  local own = registry("SystemAssigned").identity
  t.eq({ #own.principalId, own.tenantId }, { 36, l.endpoint.tenant })
  t.eq(registry("SystemAssigned").identity.principalId, own.principalId, "another write keeps it")
  t.eq(assign(own.principalId).status, 201)
  registry "None"
  t.eq(assign(own.principalId).code, "PrincipalNotFound")
end)

test("a Uniform set shows no policy that nobody asked for; its instances are made anew", function(t)
  local l = lab.open(t)
  local subnet = l:put(N .. "virtualNetworks/v", { location = "westus2", properties = { addressSpace = { addressPrefixes = { "10.0.0.0/16" } },
    subnets = { { name = "s", properties = { addressPrefix = "10.0.1.0/24" } } } } }).properties.subnets[1].id
  local of = machine().properties
  local body = { location = "westus2", sku = { name = "Standard_D2s_v5", capacity = 1 }, properties = { orchestrationMode = "Uniform",
    upgradePolicy = { mode = "Manual" }, virtualMachineProfile = { storageProfile = of.storageProfile, osProfile = {
      computerNamePrefix = "u", adminUsername = "azureuser", linuxConfiguration = of.osProfile.linuxConfiguration },
      networkProfile = { networkInterfaceConfigurations = { { name = "n", properties = { primary = true, ipConfigurations = { { name = "c",
        properties = { subnet = { id = subnet } } } } } } } } } } }
  t.eq(l:put(C .. "virtualMachineScaleSets/u", body).properties.upgradePolicy, { mode = "Manual" })
  body.properties.upgradePolicy.automaticOSUpgradePolicy = { enableAutomaticOSUpgrade = false }
  t.eq(l:put(C .. "virtualMachineScaleSets/u", body).properties.upgradePolicy.automaticOSUpgradePolicy,
    { enableAutomaticOSUpgrade = false, useRollingUpgradePolicy = false, disableAutomaticRollback = false })
  t.eq(l:finish(l:call("POST", C .. "virtualMachineScaleSets/u/reimageall", { instanceIds = { "0" } })).json.status, "Succeeded")
end)

test("a vault's secrets and keys by their names alone, rotation", function(t)
  local l = lab.open(t)
  l:put(KV .. "kvclients", { location = "westus2", properties = { tenantId = l.endpoint.tenant, sku = { family = "A", name = "standard" },
    enableRbacAuthorization = false, accessPolicies = { { tenantId = l.endpoint.tenant, objectId = l.endpoint.object_id,
      permissions = { secrets = { "all" }, keys = { "all" } } } } } })
  local token = l:login(l.endpoint.vault_audience).access_token
  local function call(method, path, body)
    return l:call(method, ("https://kvclients.%s%s"):format(l.endpoint.vault_suffix, path), body,
      { api = "7.4", token = token, connect_to = l.endpoint.vault_address })
  end
  call("PUT", "/secrets/s", { value = "v" })
  t.eq(call("PATCH", "/secrets/s/", { attributes = { enabled = false } }).json.attributes.enabled, false)
  t.eq(call("GET", "/secrets/s").status, 403)
  local first = call("POST", "/keys/k/create", { kty = "RSA", key_size = 2048 }).json.key
  local next_one = call("POST", "/keys/k/rotate").json.key
  t.ok(next_one.kid ~= first.kid and #next_one.n == #first.n, "another of the same size")
  t.eq(#call("GET", "/keys/k/versions").json.value, 2)
  t.eq(call("PATCH", "/keys/k", { attributes = { enabled = false } }).json.attributes.enabled, false)
  t.eq(call("GET", "/keys/k/rotationpolicy").json.lifetimeActions[1].action.type, "Notify")
  local set = call("PUT", "/keys/k/rotationpolicy", { attributes = { expiryTime = "P90D" }, lifetimeActions = { {
    trigger = { timeAfterCreate = "P60D" }, action = { type = "Rotate" } } } }).json
  t.eq({ set.attributes.expiryTime, call("GET", "/keys/k/rotationpolicy").json.lifetimeActions[1].action.type }, { "P90D", "Rotate" })
  t.eq(call("POST", "/keys/none/rotate").code, "KeyNotFound")
end)

test("names that are one for all of Azure", function(t)
  local l = lab.open(t)
  local function ask(namespace, name)
    local answer = l:call("POST", ("~~/providers/%s/checkNameAvailability"):format(namespace), { name = name, type = "any" }).json
    return answer.nameAvailable and "free" or answer.reason
  end
  t.eq(ask("Microsoft.Storage", "taken1"), "free")
  l:put("~/Microsoft.Storage/storageAccounts/taken1", { location = "westus2", kind = "StorageV2", sku = { name = "Standard_LRS" },
    properties = {} })
  t.eq({ ask("Microsoft.Storage", "taken1"), ask("Microsoft.Storage", "No_name") }, { "AlreadyExists", "AccountNameInvalid" })
  l:put(KV .. "kvnames", { location = "westus2", properties = { tenantId = l.endpoint.tenant, sku = { family = "A", name = "standard" },
    enableRbacAuthorization = true } })
  l:call("DELETE", KV .. "kvnames")
  t.eq({ ask("Microsoft.KeyVault", "kvnames"), ask("Microsoft.KeyVault", "kvother") }, { "AlreadyExists", "free" },
    "a deleted vault keeps its name")
  t.eq(l:call("POST", "~~/providers/Microsoft.Storage/checkNameAvailability", {}).code, "InvalidRequestContent")
end)

test("the catalog of a region: publishers, offers, skus, handlers of extensions, sizes", function(t)
  local l = lab.open(t)
  local P = "~~/providers/Microsoft.Compute/locations/westeurope/publishers"
  local function ask(path) return names(l:call("GET", P .. path).json) end
  t.has(ask "", "Debian")
  t.eq(ask "/debian/artifacttypes/vmimage/offers", "debian-11 debian-12")
  t.eq(ask "/Debian/artifacttypes/vmimage/offers/debian-12/skus", "12 12-arm64 12-gen2")
  t.eq(ask "/Nobody/artifacttypes/vmimage/offers", "")
  t.eq(ask "/Microsoft.Azure.Extensions/artifacttypes/vmextension/types", "CustomScript")
  t.eq(ask "/Microsoft.Azure.Extensions/artifacttypes/vmextension/types/customScript/versions", "2.0.7 2.1.10")
  t.has(l:call("GET", P .. "/Debian/artifacttypes/vmimage/offers").json[1].id, "/ArtifactTypes/VMImage/Offers/debian-11")
  t.eq(l:call("GET", "~~/providers/Microsoft.Compute/locations/westeurope/vmSizes").json.value[1].name, "Standard_B12ms")
end)

test("a workspace with no days of retention has those of its sku", function(t)
  local l = lab.open(t)
  local function days(n)
    return l:put("~/Microsoft.OperationalInsights/workspaces/logs", { location = "westus2", properties = { retentionInDays = n } },
      { api = "2023-09-01" }).properties.retentionInDays
  end
  t.eq({ days(0), days(60), days(0) }, { 30, 60, 60 })
end)

test("tags by themselves, of a group and of a resource", function(t)
  local l = lab.open(t)
  l:put(N .. "routeTables/rt", { location = "westus2", tags = { Owner = "a" }, properties = {} })
  local at = N .. "routeTables/rt/providers/Microsoft.Resources/tags/default"
  local function patch(operation, tags) return l:call("PATCH", at, { operation = operation, properties = { tags = tags } }) end
  t.eq(l:call("GET", at).json.properties.tags, { Owner = "a" })
  t.eq(patch("Merge", { owner = "b", x = "1" }).json.properties.tags, { owner = "b", x = "1" }, "names of tags have no case")
  t.eq(patch("Delete", { X = "1" }).json.properties.tags, { owner = "b" })
  t.eq(patch("Replace", { y = "2" }).json.properties.tags, { y = "2" })
  t.eq(patch("Other", {}).code, "InvalidRequestContent")
  t.eq(l:call("GET", N .. "routeTables/rt").json.tags, { y = "2" })
  t.eq(l:call("DELETE", at).status, 200)
  t.eq(l:call("GET", N .. "routeTables/rt").json.tags, nil)
  t.eq(l:call("PUT", "~~/resourceGroups/g/providers/Microsoft.Resources/tags/default", { properties = { tags = { a = "b" } } }).status, 200)
  t.eq(l:call("GET", "~~/resourceGroups/g").json.tags, { a = "b" })
  local many = {}
  for i = 1, 51 do many["t" .. i] = "x" end
  t.eq(l:call("PUT", at, { properties = { tags = many } }).code, "InvalidTagCount")
  t.eq(l:call("GET", N .. "routeTables/none/providers/Microsoft.Resources/tags/default").code, "ResourceNotFound")
end)

test.done()
