-- Types of Azure's own that no kind is made for: shapes, defaults, refusals; and how a type answers of which nothing is stated.
local test = require "tap"
local json = require "json"
local lab = require "emulator_lab"

local N, C, S = "~/Microsoft.Network/", "~/Microsoft.Compute/", "~/Microsoft.Storage/storageAccounts/acc1"

-- A body at our place.
local function at(properties, more)
  local body = { location = "westus2", properties = properties or {} }
  for key, item in pairs(more or {}) do body[key] = item end
  return body
end

local function id_of(l, path) return (path:gsub("^~", "/subscriptions/" .. l.endpoint.subscription
  .. "/resourceGroups/g/providers")) end

local function account(l)
  l:put(S, { location = "westus2", kind = "StorageV2", sku = { name = "Standard_LRS" },
    properties = { largeFileSharesState = "Enabled" } })
end

test("the services of an account are there with it, and a write is answered with what it said", function(t)
  local l = lab.open(t)
  local lost = l:call("GET", S .. "/blobServices/default")
  t.eq({ lost.status, lost.code }, { 404, "ParentResourceNotFound" })
  t.has(lost.json.error.message, "Failed to perform 'read' on resource(s) of type 'storageAccounts/blobServices'")
  account(l)
  local shown = l:call("GET", S .. "/blobServices/default").json
  t.eq(shown.properties, { cors = { corsRules = json.array {} }, deleteRetentionPolicy = { enabled = false,
    allowPermanentDelete = false } })
  t.eq(shown.sku, { name = "Standard_LRS", tier = "Standard" })
  t.eq(l:call("GET", S .. "/fileServices").json.value[1].properties.shareDeleteRetentionPolicy, { enabled = true, days = 7 })
  local said = l:call("PUT", S .. "/blobServices/default", { properties = { deleteRetentionPolicy = { enabled = true,
    days = 3 } } })
  t.eq({ said.status, said.json.properties }, { 200, { deleteRetentionPolicy = { enabled = true, days = 3 } } })
  shown = l:call("GET", S .. "/blobServices/default").json.properties
  t.eq({ shown.deleteRetentionPolicy.days, shown.cors }, { 3, { corsRules = json.array {} } })
  t.eq(#l:call("GET", S .. "/blobServices").json.value, 1)
  t.eq(l:call("PUT", S .. "/blobServices/default", { properties = { deleteRetentionPolicy = { enabled = true,
    days = 400 } } }).code,
    "InvalidRequestPropertiesValue")
  t.eq(l:call("PUT", S .. "/blobServices/other", { properties = {} }).code, "InvalidResourceName")
  t.eq(l:call("PUT", "~/Microsoft.Storage/storageAccounts/none1/blobServices/default/containers/c-1", { properties = {} }).code,
    "ParentResourceNotFound")
end)

test("file shares", function(t)
  local l = lab.open(t)
  account(l)
  local made = l:call("PUT", S .. "/fileServices/default/shares/share1", { properties = { accessTier = "Cool" } })
  t.eq({ made.status, made.json.properties, made.json.etag }, { 201, { accessTier = "Cool" } })
  t.has(made.headers.etag, '"0x')
  local shown = l:call("GET", S .. "/fileServices/default/shares/share1").json
  t.eq({ shown.properties.shareQuota, shown.properties.leaseState, shown.etag }, { 102400, "available", made.headers.etag })
  t.eq(l:call("GET", S .. "/fileServices/default/shares").json.value[1].properties.enabledProtocols, "SMB")
  t.eq(l:call("GET", S .. "/fileServices/default/shares/other").code, "ShareNotFound")
  t.eq(l:call("PUT", S .. "/fileServices/default/shares/share1", { properties = { shareQuota = 0 } }).code,
    "InvalidRequestPropertiesValue")
  t.eq(l:call("PUT", S .. "/fileServices/default/shares/share1", { properties = { enabledProtocols = "NFS" } }).code,
    "InvalidRequestPropertiesValue")
  t.eq(l:call("DELETE", S .. "/fileServices/default/shares/share1").status, 200)
end)

test("public prefixes give addresses to those who name them", function(t)
  local l = lab.open(t)
  local prefix = l:put(N .. "publicIPPrefixes/p", at({ prefixLength = 31 }, { sku = { name = "Standard" } }))
  t.has(prefix.properties.ipPrefix, "/31")
  local function address(name)
    return l:call("PUT", N .. "publicIPAddresses/" .. name, at({ publicIPAllocationMethod = "Static",
      publicIPPrefix = { id = prefix.id } },
      { sku = { name = "Standard" } }))
  end
  local seen = {}
  for _, name in ipairs { "a", "b" } do
    l:finish(address(name))
    seen[l:call("GET", N .. "publicIPAddresses/" .. name).json.properties.ipAddress] = true
  end
  local first = prefix.properties.ipPrefix:match "^[^/]+"
  t.eq(seen, { [first] = true, [first:gsub("%d+$", function(n) return tostring(n + 1) end)] = true })
  t.eq(l:finish(address("c")).json.error.code, "PublicIPPrefixOutOfIpAddresses")
  t.eq(#l:call("GET", N .. "publicIPPrefixes/p").json.properties.publicIPAddresses, 3)
  t.eq(l:call("DELETE", N .. "publicIPPrefixes/p").code, "InUsePublicIpPrefixCannotBeDeleted")
  t.eq(l:call("PUT", N .. "publicIPPrefixes/p", at({ prefixLength = 30 }, { sku = { name = "Standard" } })).code,
    "PropertyChangeNotAllowed")
  t.eq(l:call("PUT", N .. "publicIPPrefixes/q", at({ prefixLength = 32 })).code, "PublicIpPrefixLengthInvalid")
end)

test("what belongs to firewalls answers in the manner of its older provider", function(t)
  local l = lab.open(t)
  local made = l:call("PUT", N .. "ipGroups/g1", at { ipAddresses = json.array { "10.0.0.1", "10.1.0.0/16",
    "10.2.0.1-10.2.0.9" } })
  t.eq({ made.status, made.json.type, made.json.properties.provisioningState }, { 201, "Microsoft.Network/IpGroups", "Updating" })
  t.has(made.headers["azure-asyncoperation"], "/nfvOperations/")
  t.eq(l:finish(made).json, { status = "Succeeded" })
  local shown = l:call("GET", N .. "ipGroups/g1")
  t.eq(shown.headers.etag, '"' .. shown.json.etag .. '"')
  t.eq({ shown.json.properties.firewalls, shown.json.properties.firewallPolicies }, { json.array {}, json.array {} })
  t.eq(l:call("PUT", N .. "ipGroups/g2", at { ipAddresses = json.array { "10.0.0.9-10.0.0.1" } }).code, "InvalidIpAddressFormat")
  local policy = l:put(N .. "firewallPolicies/f", at())
  t.eq({ policy.properties.threatIntelMode, policy.properties.sku }, { "Alert", { tier = "Standard" } })
  l:put(N .. "firewallPolicies/f/ruleCollectionGroups/r", { properties = { priority = 200 } })
  t.eq(#l:call("GET", N .. "firewallPolicies/f").json.properties.ruleCollectionGroups, 1)
  t.eq(l:call("PUT", N .. "firewallPolicies/f/ruleCollectionGroups/s", { properties = { priority = 200 } }).code,
    "FirewallPolicyRuleCollectionGroupDuplicatePriority")
  t.eq(l:call("DELETE", N .. "ipGroups/g1").status, 200)
end)

test("a private link service: its interface, its alias, who is connected", function(t)
  local l = lab.open(t)
  l:put(N .. "virtualNetworks/v", at { addressSpace = { addressPrefixes = { "10.0.0.0/16" } }, subnets = {
    { name = "open", properties = { addressPrefix = "10.0.0.0/24", privateLinkServiceNetworkPolicies = "Disabled" } },
    { name = "shut", properties = { addressPrefix = "10.0.1.0/24" } } } })
  local subnet = function(name) return { id = id_of(l, N .. "virtualNetworks/v/subnets/" .. name) } end
  l:put(N .. "loadBalancers/lb", at({ frontendIPConfigurations = { { name = "f", properties = { subnet = subnet "open" } } } },
    { sku = { name = "Standard" } }))
  local function service(where)
    return at { loadBalancerFrontendIpConfigurations = { { id = id_of(l, N .. "loadBalancers/lb/frontendIPConfigurations/f") } },
      ipConfigurations = { { name = "one", properties = { subnet = subnet(where) } } } }
  end
  t.eq(l:call("PUT", N .. "privateLinkServices/s", service "shut").code,
    "PrivateLinkServiceCannotBeCreatedInSubnetThatHasNetworkPoliciesEnabled")
  local made = l:call("PUT", N .. "privateLinkServices/s", service "open")
  local p = made.json.properties
  t.eq({ p.provisioningState, p.ipConfigurations[1].properties.provisioningState, p.ipConfigurations[1].properties.primary },
    { "Updating", "Succeeded", true })
  t.has(p.alias, ".westus2.azure.privatelinkservice")
  t.has(p.networkInterfaces[1].id, "/networkInterfaces/s.nic.")
  l:finish(made)
  l:put(N .. "privateEndpoints/e", at { subnet = subnet "shut", privateLinkServiceConnections = {
    { name = "c", properties = { privateLinkServiceId = made.json.id } } } })
  local seen = l:call("GET", N .. "privateLinkServices/s").json.properties.privateEndpointConnections
  t.eq({ #seen, seen[1].properties.privateLinkServiceConnectionState.status }, { 1, "Approved" })
  t.eq(l:call("DELETE", N .. "privateLinkServices/s").code,
    "PrivateLinkServiceCannotBeDeletedSinceItHasPrivateEndpointConnections")
  l:finish(l:call("DELETE", N .. "privateEndpoints/e"))
  l:finish(l:call("DELETE", N .. "privateLinkServices/s"))
  t.eq(#l:call("GET", N .. "networkInterfaces").json.value, 0)
end)

test("service gateways keep what is said to them", function(t)
  local l = lab.open(t)
  l:put(N .. "virtualNetworks/v", at { addressSpace = { addressPrefixes = { "10.0.0.0/16" } } })
  t.eq(l:call("PUT", N .. "serviceGateways/s", at()).code, "InvalidRequestFormat")
  local made = l:put(N .. "serviceGateways/s", at { virtualNetwork = { id = id_of(l, N .. "virtualNetworks/v") } })
  t.eq({ made.properties.services, made.sku }, { json.array {}, { name = "Standard", tier = "Regional" } })
  local function tell(action, requests)
    return l:finish(l:call("POST", N .. "serviceGateways/s/updateServices", { action = action, serviceRequests = requests }))
  end
  local function names()
    local list = {}
    for i, service in ipairs(l:call("GET", N .. "serviceGateways/s/services").json.value) do list[i] = service.name end
    return table.concat(list, " ")
  end
  tell("PartialUpdate", { { service = { name = "a" } }, { service = { name = "b" } } })
  tell("PartialUpdate", { { service = { name = "A" }, isDelete = true }, { service = { name = "c" } } })
  t.eq(names(), "b c")
  tell("FullUpdate", { { service = { name = "d" } } })
  t.eq(names(), "d")
  t.eq(tell("Other", {}).json.error.code, "InvalidRequestFormat")
end)

test("registries", function(t)
  local l = lab.open(t)
  local R = "~/Microsoft.ContainerRegistry/registries/"
  local made = l:call("PUT", R .. "reg001", { location = "westus2", sku = { name = "standard" } })
  local p = made.json.properties
  t.eq({ made.status, made.headers.location, p.provisioningState, p.loginServer, made.json.sku, p.policies.retentionPolicy.days },
    { 200, nil, "Succeeded", "reg001.azurecr.io", { name = "Standard", tier = "Standard" }, 7 })
  t.eq(made.json.systemData.createdBy, l.endpoint.client_id)
  t.eq(l:call("POST", R .. "reg001/listCredentials").code, "UnAuthorizedForCredentialOperations")
  l:call("PUT", R .. "reg001", { location = "westus2", sku = { name = "Standard" }, properties = { adminUserEnabled = true } })
  local one = l:call("POST", R .. "reg001/listCredentials").json
  t.eq({ one.username, one.passwords[1].name }, { "reg001", "password" })
  local other = l:call("POST", R .. "reg001/regenerateCredential", { name = "password2" }).json
  t.eq({ other.passwords[1].value == one.passwords[1].value, other.passwords[2].value == one.passwords[2].value }, { true,
    false })
  local import = l:call("POST", R .. "reg001/importImage", { source = { sourceImage = "library/nginx" } })
  t.eq({ import.status, import.headers["azure-asyncoperation"] }, { 202, nil })
  t.has(import.headers.location, "/operationResults/")
  t.eq(l:finish(import).json, { status = "Succeeded" })
  t.eq(l:call("PUT", R .. "reg002", { location = "westus2", sku = { name = "Basic" },
    properties = { zoneRedundancy = "Enabled" } }).code,
    "FeatureNotSupportedInSkuTier")
  t.eq(l:call("PUT", R .. "REG001x-", { location = "westus2", sku = { name = "Basic" } }).code, "InvalidResourceName")
end)

test("snapshots of disks; what becomes of availability sets", function(t)
  local l = lab.open(t)
  l:put(C .. "disks/d", at { creationData = { createOption = "Empty" }, diskSizeGB = 64 })
  local made = l:call("PUT", C .. "snapshots/s", at { creationData = { createOption = "Copy", sourceResourceId = id_of(l,
    C .. "disks/d") } })
  t.eq({ made.status, made.json.properties.provisioningState, made.json.sku, made.json.properties.diskSizeGB }, { 202,
    "Updating" })
  l:finish(made)
  local p = l:call("GET", C .. "snapshots/s").json.properties
  t.eq({ p.diskSizeGB, p.incremental, p.snapshotAccessState, p.diskSizeBytes, p.diskIOPSReadWrite },
    { 64, false, "Available", 64 * 1024 ^ 3 // 1 | 0 })
  t.eq(p.creationData.sourceUniqueId, l:call("GET", C .. "disks/d").json.properties.uniqueId)
  t.eq(l:call("PUT", C .. "snapshots/t", at { creationData = { createOption = "Copy" } }).code, "InvalidParameter")
  local by_uri = l:put(C .. "snapshots/u", at { creationData = { createOption = "Copy", sourceUri = id_of(l, C .. "disks/d") } },
    { api = "2025-01-02" })
  t.eq(by_uri.properties.creationData.sourceUniqueId, p.creationData.sourceUniqueId, "older clients")
  t.eq(l:call("PUT", C .. "snapshots/t", at { creationData = { createOption = "Copy", sourceResourceId = id_of(l,
    C .. "disks/none") } }).status, 404)
  local set = l:put(C .. "availabilitySets/a", at({}, { sku = { name = "Aligned" } }))
  t.has(set.properties.virtualMachineScaleSetMigrationInfo.defaultVirtualMachineScaleSetInfo.defaultVirtualMachineScaleSet.id,
    "/virtualMachineScaleSets/a")
  t.eq(l:call("GET", C .. "availabilitySets/a", nil, { api = "2019-07-01" }).json.properties.virtualMachineScaleSetMigrationInfo,
    nil)
end)

test("zones of public DNS, and record sets of all sorts", function(t)
  local l = lab.open(t)
  local Z = N .. "dnsZones/example.org"
  t.eq(l:call("PUT", Z, at()).code, "LocationNotAvailableForResourceType")
  local zone = l:call("PUT", Z, { location = "global" })
  t.eq({ zone.status, #zone.json.properties.nameServers, zone.json.properties.numberOfRecordSets, zone.json.properties.zoneType },
    { 201, 4, 2, "Public" })
  t.eq(zone.headers.etag, '"' .. zone.json.etag .. '"')
  local function put(path, properties) return l:call("PUT", path, { properties = properties }) end
  local made = put(Z .. "/A/www", { TTL = 60, ARecords = { { ipv4Address = "192.0.2.1" } } })
  t.eq({ made.status, made.headers["azure-asyncoperation"], made.json.properties }, { 201, nil, { TTL = 60,
    ARecords = { { ipv4Address =
    "192.0.2.1" } }, fqdn = "www.example.org.", provisioningState = "Succeeded", targetResource = {},
      trafficManagementProfile = {} } })
  t.eq(put(Z .. "/AAAA/www", { TTL = 60, AAAARecords = { { ipv6Address = "192.0.2.1" } } }).code, "BadRequest")
  t.eq(put(Z .. "/CNAME/www", { TTL = 60, CNAMERecord = { cname = "other.org" } }).code, "CnameRecordConflict")
  t.eq(l:call("GET", Z).json.properties.numberOfRecordSets, 3)
  local gone = l:call("DELETE", Z)
  t.eq(gone.status, 202)
  l:finish(gone)
  t.eq(l:call("GET", Z).status, 404)
  local P = N .. "privateDnsZones/example.internal"
  l:finish(l:call("PUT", P, { location = "global" }))
  local mail = put(P .. "/MX/@", { ttl = 60, mxRecords = { { preference = 10, exchange = "mail.example.internal" } } })
  t.eq({ mail.status, mail.json.properties.fqdn, mail.headers["azure-asyncoperation"] }, { 201, "example.internal." })
  t.eq(put(P .. "/SRV/s", { ttl = 60, srvRecords = { { priority = 1, weight = 1, port = 70000, target = "t" } } }).code,
    "BadRequest")
  t.eq(put(P .. "/TXT/s", { ttl = 60, txtRecords = json.array {} }).code, "BadRequest")
end)

test("locks keep a scope and what is below from being deleted, or written", function(t)
  local l = lab.open(t)
  local A = N .. "applicationSecurityGroups/a"
  l:put(A, at())
  local function lock(scope, level) return l:call("PUT", scope .. "/providers/Microsoft.Authorization/locks/l",
    { properties = { level = level } }) end
  t.eq(lock("~~/resourceGroups/g", "Never").code, "InvalidLockLevel")
  t.eq(lock("~~/resourceGroups/g", "cannotdelete").json.properties.level, "CanNotDelete")
  local kept = l:call("DELETE", A)
  t.eq({ kept.status, kept.code, kept.headers["x-ms-failure-cause"] }, { 409, "ScopeLocked", "gateway" })
  t.has(kept.json.error.message, "cannot perform delete operation because following scope(s) are locked: '")
  local tagged = l:call("PUT", A, at({}, { tags = { a = "b" } }))
  t.eq(tagged.status, 200)
  l:finish(tagged)
  t.eq(l:call("DELETE", "~~/resourceGroups/g").code, "ScopeLocked")
  t.eq(#l:call("GET", A .. "/providers/Microsoft.Authorization/locks").json.value, 1)
  t.eq(l:call("DELETE", "~~/resourceGroups/g/providers/Microsoft.Authorization/locks/l").status, 200)
  t.eq(lock(A, "ReadOnly").status, 201)
  t.eq(l:call("PUT", A, at()).code, "ScopeLocked")
  t.eq(l:call("PUT", N .. "applicationSecurityGroups/b", at()).status, 201)
  t.eq(l:call("DELETE", "~~/resourceGroups/g").code, "ScopeLocked", "what is below keeps its group")
  t.eq(l:call("DELETE", A .. "/providers/Microsoft.Authorization/locks/l").status, 200)
  t.eq(l:call("DELETE", A).status, 202)
end)

test("a type of which nothing is stated answers as its provider does", function(t)
  local l = lab.open(t)
  local made = l:call("PUT", N .. "networkProfiles/n", at { a = 1 })
  t.eq({ made.status, made.json.properties.provisioningState }, { 201, "Updating" })
  t.has(made.json.etag, 'W/"')
  t.ok(made.headers["azure-asyncoperation"])
  l:finish(made)
  t.eq(l:call("GET", N .. "networkProfiles/n").json.properties, { a = 1, provisioningState = "Succeeded" })
  t.eq(l:call("GET", N .. "networkProfiles/n/parts/p").code, "NotFound")
  t.eq(l:call("DELETE", N .. "networkProfiles/n").status, 202)
  t.eq(l:call("PUT", "~/Microsoft.Authorization/policyAssignments/p", { properties = { displayName = "x" } }).status, 201)
end)
test.done()
