--- What tests/rows.tsv says of Azure: recipes/cluster.lua is applied down to its machines, and ARM, the vault and the machines'
-- first boot are read. `base` has the defaults, `options` what is there by parameter.
local test = require "tap"
local cluster = require "cluster_lab"
local crypto, fs, json, process, task = require "crypto", require "fs", require "json", require "process", require "task"

local NETWORK, COMPUTE = "~/providers/Microsoft.Network/", "~/providers/Microsoft.Compute/"
local IDENTITY = "~/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
local READER, OFFICER = "acdd72a7-3385-48ef-bd42-f606fba81ae7", "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"

local function base() return cluster.stack("base", { targets = { "azure.*" } }) end

local ADMIN = "~~/resourceGroups/office/providers/Microsoft.Network/virtualNetworks/office"

local function options()
  return cluster.stack("options", { name = "other", targets = { "azure.*" }, given = { "name=other", "location=northeurope",
    "user=ops", "network=10.20.0.0/16", "image=ubuntu-22.04", "size=Standard_D4s_v5", "spot=true", "spot_price=0.5", "workers=1",
    "zones=1,2,3", "access=peered" },
    before = function(s)
      s.lab:put("~~/resourceGroups/office", { location = "westus2" })
      s.office = s.lab:put(ADMIN, { location = "westus2", properties = { addressSpace = { addressPrefixes = { "10.1.0.0/16" } } } })
      s.given[#s.given + 1] = "admin_network=" .. s.office.id
    end })
end

local function name_of(id) return id and id:match "[^/]+$" end
local function names(list)
  local found = {}
  for i, item in ipairs(list or {}) do found[i] = name_of(item.id) end
  table.sort(found)
  return found
end

local function vm(s, i) return s:arm(COMPUTE .. "virtualMachines/" .. s.name .. "-cp-" .. i) end
local function set(s) return s:arm(COMPUTE .. "virtualMachineScaleSets/" .. s.name .. "-worker") end
local function nic(s, i) return s:arm(NETWORK .. "networkInterfaces/" .. s.name .. "-cp-" .. i .. "-nic") end
local function balancer(s) return s:arm(NETWORK .. "loadBalancers/" .. s.name .. "-lb") end
local function subnet(s) return s:arm(NETWORK .. ("virtualNetworks/%s-vnet/subnets/%s-nodes"):format(s.name, s.name)) end
local function address(s, what) return s:arm(NETWORK .. "publicIPAddresses/" .. s.name .. "-" .. what) end
local function identity(s, what) return s:arm(IDENTITY .. s.name .. "-" .. what, "2023-01-31").principalId end

-- Security rules as Azure reads them: by priority, the first that fits decides.

local function number(ip)
  local value = 0
  for part in ip:gmatch "%d+" do value = value << 8 | tonumber(part) end
  return ip:find "^%d+%.%d+%.%d+%.%d+$" and value
end

local function range(prefix)
  if prefix == "*" or prefix == "Internet" then return 0, 0xffffffff end
  local ip, bits = prefix:match "^([%d.]+)/?(%d*)$"
  if not ip then return nil end
  local size = 1 << 32 - (bits == "" and 32 or tonumber(bits))
  local first = number(ip) & ~(size - 1)
  return first, first + size - 1
end

local function sources(rule)
  local list = rule.sourceAddressPrefixes
  return list and #list > 0 and list or { rule.sourceAddressPrefix }
end

local function ports(rule)
  local low, high = rule.destinationPortRange:match "^(%d+)%-?(%d*)$"
  if not low then return 0, 65535 end
  return tonumber(low), tonumber(high ~= "" and high or low)
end

local function rules(s)
  local list = {}
  for i, rule in ipairs(s:arm(NETWORK .. "networkSecurityGroups/" .. s.name .. "-nsg").securityRules) do
    list[i] = rule.properties
    list[i].name = rule.name
  end
  table.sort(list, function(a, b) return a.priority < b.priority end)
  return list
end

-- The first rule of ours that decides over a packet from a source to a machine's port; nil leaves it to Azure's own rules.
local function decides(list, from, port, protocol)
  for _, rule in ipairs(list) do
    local low, high = ports(rule)
    if rule.direction == "Inbound" and port >= low and port <= high
      and (rule.protocol == "*" or rule.protocol == (protocol or "Tcp")) then
      for _, source in ipairs(sources(rule)) do
        local first, last = range(source)
        if source == from or (first and number(from) and number(from) >= first and number(from) <= last) then return rule end
      end
    end
  end
end

local function allows(list, ...)
  local rule = decides(list, ...)
  return rule ~= nil and rule.access == "Allow"
end

-- Collections of ARM, each once, the list of the vault's secrets, a token for each of two.
test("a plan without changes asks for each collection once", function(t)
  local s = base()
  s.lab:ask("POST", "traffic?reset=1")
  t.eq(s:plan { "azure.*" }, {})
  local counts = s.lab:ask("POST", "traffic?reset=1").counts
  t.eq({ vault = counts.vault, token = counts.token }, { vault = 1, token = 2 })
  local collections, twice = 0, {}
  for path, count in pairs(counts.by) do
    if path:find("^GET ") then collections = collections + 1 end
    if count > 1 then twice[path] = count end
  end
  t.eq(twice, {})
  t.eq(counts.arm, collections)
  t.ok(counts.arm <= 16, "not more collections than there are: " .. counts.arm)
end)

test("secrets that nobody needs are read when the vault shows that they are others", function(t)
  local s = cluster.stack("secrets", { targets = { "azure.*" } })
  local function counts(targets)
    s.lab:ask("POST", "traffic?reset=1")
    local actions = s:plan(targets)
    return s.lab:ask("POST", "traffic?reset=1").counts.vault, actions
  end
  t.eq(counts { "azure.ssh_key_pair.*" }, 2, "alone, by its halves' names")
  local was = s:secret "nodes-public-key"
  task.sleep(1.1) -- a vault tells times in seconds
  local client = require("azure.arm").open(s:target())
  local vault = s:arm("~/providers/Microsoft.KeyVault/vaults/demo-vault", "2024-11-01").vaultUri
  client:vault("PUT", vault, "/secrets/nodes-public-key", { value = crypto.keypair("ed25519", {}).public })
  local asked, actions = counts { "azure.*" }
  t.eq(asked, 3, "the list, and both halves")
  t.ok(actions["azure.ssh_public_key.nodes"], "what was made of it is another")
  client:vault("PUT", vault, "/secrets/nodes-public-key", { value = was })
  t.eq(select(2, counts { "azure.*" }), {})
end)

test("one program has all providers, and the target is the stack's", function(t)
  local nodes, providers = cluster.graph(), {}
  for _, kind in pairs(nodes) do providers[kind:match "^[^.]+"] = true end
  t.eq(providers, { azure = true, ssh = true, git = true, linux = true, containerd = true, kubeadm = true, kubernetes = true,
    flannel = true, flux = true })
  for _, id in ipairs(base():ids()) do
    t.has(id:lower(), "/subscriptions/" .. base().lab.endpoint.subscription:lower())
  end
end)

test("location, prefix, user and address range are parameters", function(t)
  local a, b = base(), options()
  t.eq({ a:arm("~").location, b:arm("~").location }, { "westus2", "northeurope" })
  t.eq({ vm(a, 1).osProfile.adminUsername, vm(b, 1).osProfile.adminUsername }, { "azureuser", "ops" })
  t.eq({ set(a).virtualMachineProfile.osProfile.adminUsername, set(b).virtualMachineProfile.osProfile.adminUsername },
    { "azureuser", "ops" })
  t.eq(a:arm(NETWORK .. "virtualNetworks/demo-vnet").addressSpace.addressPrefixes, { "10.0.0.0/16" })
  t.eq(b:arm(NETWORK .. "virtualNetworks/other-vnet").addressSpace.addressPrefixes, { "10.20.0.0/16" })
  t.eq(subnet(b).addressPrefix, "10.20.1.0/24")
end)

test("every name begins with the prefix, and every resource has the tags", function(t)
  for _, s in ipairs { base(), options() } do
    local tagged = 0
    for _, id in ipairs(s:ids()) do
      local kind = id:match "/providers/Microsoft%.(%w+/%w+)"
      if not id:find("/office", 1, true) and not id:find("/roleAssignments/", 1, true) then
        t.ok(id:find("Peerings/", 1, true) or name_of(id):find("^" .. s.name .. "%-"), id)
        if kind and not id:find("/subnets/", 1, true) and not id:find("Peerings/", 1, true) then
          local api = kind:find "ManagedIdentity" and "2023-01-31" or nil
          t.eq(s:arm(id, api).tags, { environment = "production", stack = s.name }, id)
          tagged = tagged + 1
        end
      end
    end
    t.ok(tagged > 12, "resources with tags")
  end
end)

test("the resource group is in the location", function(t)
  local group = base():arm("~")
  t.eq({ group.name, group.location, group.tags.stack }, { "demo-rg", "westus2", "demo" })
end)

test("the virtual network has its range", function(t)
  t.eq(base():arm(NETWORK .. "virtualNetworks/demo-vnet").addressSpace.addressPrefixes, { "10.0.0.0/16" })
end)

test("all machines are in the one subnet", function(t)
  local s = base()
  local found = subnet(s)
  t.eq(found.addressPrefix, "10.0.1.0/24")
  for i = 1, 3 do t.eq(nic(s, i).ipConfigurations[1].properties.subnet.id:lower(), found.id:lower()) end
  local workers = set(s).virtualMachineProfile.networkProfile.networkInterfaceConfigurations[1].properties
  t.eq(workers.ipConfigurations[1].properties.subnet.id:lower(), found.id:lower())
end)

test("administrators come in by SSH", function(t)
  local list = rules(base())
  t.ok(allows(list, "203.0.113.7", 22), "from the administrators' range")
  t.eq(decides(list, "203.0.113.7", 22).priority, 100)
  t.ok(allows(rules(options()), "10.1.0.9", 22), "from the admin network")
end)

test("nobody else comes in by SSH", function(t)
  local list = rules(base())
  for _, from in ipairs { "198.51.100.9", "203.0.114.1", "10.1.0.9", "AzureLoadBalancer" } do
    t.ok(not allows(list, from, 22), "SSH from " .. from)
  end
end)

test("machines reach each other by SSH", function(t)
  t.ok(allows(rules(base()), "10.0.1.7", 22), "from another machine")
  t.ok(allows(rules(options()), "10.20.1.7", 22), "from another machine of another range")
end)

test("services are reached from the network, and only by node ports", function(t)
  local list = rules(base())
  t.ok(allows(list, "10.0.7.7", 30080) and allows(list, "10.0.7.7", 32767), "node ports")
  t.ok(not decides(list, "198.51.100.9", 30080) and not decides(list, "198.51.100.9", 80) and not decides(list, "10.0.7.7", 80),
    "nothing is open without a listener")
end)

test("the security group is the subnet's", function(t)
  t.eq(name_of((subnet(base()).networkSecurityGroup or {}).id), "demo-nsg")
end)

test("the API has a static public address", function(t)
  local ip = address(base(), "api-ip")
  t.eq(ip.publicIPAllocationMethod, "Static")
  t.ok(ip.ipAddress, "it has an address")
  t.eq(base():output "load_balancer_ip", ip.ipAddress)
end)

test("the load balancer answers at the API's address", function(t)
  local found = balancer(base()).frontendIPConfigurations
  t.eq({ #found, found[1].name, name_of(found[1].properties.publicIPAddress.id) }, { 1, "api", "demo-api-ip" })
end)

test("the control planes are the backend pool of the API", function(t)
  local s = base()
  local pools = balancer(s).backendAddressPools
  t.eq({ #pools, pools[1].name }, { 1, "control-planes" })
  for i = 1, 3 do
    t.eq(names(nic(s, i).ipConfigurations[1].properties.loadBalancerBackendAddressPools), { "control-planes" })
  end
end)

test("the workers are a scale set", function(t)
  local s = base()
  local found = set(s)
  t.eq({ found.orchestrationMode, found.sku.name, found.sku.capacity, found.upgradePolicy.mode },
    { "Uniform", "Standard_D2s_v5", 2, "Manual" })
  local extension = found.virtualMachineProfile.extensionProfile.extensions[1].properties
  t.eq({ extension.type, extension.settings.port }, { "ApplicationHealthLinux", 22 })
  t.eq(set(options()).sku.name, "Standard_D4s_v5")
  t.eq(#s.lab:call("GET", found.id .. "/virtualMachines").json.value, 2)
end)

test("workers are Spot instances by parameter, control planes never", function(t)
  local spot, usual = set(options()).virtualMachineProfile, set(base()).virtualMachineProfile
  t.eq({ spot.priority, spot.evictionPolicy, spot.billingProfile and spot.billingProfile.maxPrice }, { "Spot", "Deallocate", 0.5 })
  t.ok(usual.priority ~= "Spot", "not without the parameter")
  for i = 1, 3 do t.ok(vm(options(), i).priority ~= "Spot") end
end)

test("the image is a parameter and the same for all machines", function(t)
  local function image(profile)
    local i = profile.storageProfile.imageReference
    return i.publisher .. ":" .. i.offer .. ":" .. i.sku
  end
  for s, wanted in pairs { [base()] = "Debian:debian-12:12-gen2", [options()] = "Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2" } do
    t.eq(image(vm(s, 1)), wanted)
    t.eq(image(set(s).virtualMachineProfile), wanted)
  end
end)

test("system disks are Premium SSDs", function(t)
  local function disk(profile)
    local d = profile.storageProfile.osDisk
    return { d.managedDisk.storageAccountType, d.diskSizeGB, d.caching }
  end
  t.eq(disk(set(base()).virtualMachineProfile), { "Premium_LRS", 30, "ReadWrite" })
  t.eq(disk(vm(base(), 2)), { "Premium_LRS", 64, "ReadWrite" })
end)

test("interfaces have one private address and forward nothing", function(t)
  local s = base()
  local worker = set(s).virtualMachineProfile.networkProfile.networkInterfaceConfigurations[1].properties
  t.eq({ worker.primary, worker.enableIPForwarding, #worker.ipConfigurations }, { true, false, 1 })
  t.eq(worker.ipConfigurations[1].properties.publicIPAddressConfiguration, nil)
  for i = 1, 3 do
    local found = nic(s, i)
    t.eq({ #found.ipConfigurations, found.ipConfigurations[1].properties.primary }, { 1, true })
    t.eq(found.ipConfigurations[1].properties.publicIPAddress, nil)
    t.ok(not found.enableIPForwarding)
    t.eq(name_of(vm(s, i).networkProfile.networkInterfaces[1].id), found.name)
  end
end)

test("machines have an identity and the tag of their environment", function(t)
  local s = base()
  for machine, wanted in pairs { [vm(s, 1)] = "demo-control", [set(s)] = "demo-worker" } do
    t.eq(machine.tags.environment, "production")
    t.eq((machine.identity or {}).type, "UserAssigned")
    for id in pairs(machine.identity.userAssignedIdentities) do t.eq(name_of(id), wanted) end
  end
end)

test("the first boot keeps apt quiet and installs nothing", function(t)
  local s = base()
  for _, name in ipairs { "cp-1", "worker000000" } do
    local text = cluster.wait(5, function() return s:file(name, "/etc/apt/apt.conf.d/20auto-upgrades") end)
    t.has(text, 'APT::Periodic::Unattended-Upgrade "0"')
    t.has(text, 'APT::Periodic::Update-Package-Lists "0"')
    local installed = fs.read(s:machines()["demo-" .. name].root .. "/var/lib/dpkg/status") or ""
    t.ok(not installed:find("ansible", 1, true) and not installed:find("kubeadm", 1, true), "nothing was installed")
  end
end)

test("any other resource, such as a storage account, can be declared by type and body", function(t)
  local s = base()
  local recipe = s.dir .. "/storage.lua"
  fs.write(recipe, [[
local azure = use "azure"
local group = azure.resource_group "files" { name = "files", location = "westus2" }
azure.resource "account" { name = "vmscripts9s", type = "Microsoft.Storage/storageAccounts", api_version = "2024-01-01", parent = group,
  body = { location = "westus2", kind = "StorageV2", sku = { name = "Standard_LRS" }, properties = { minimumTlsVersion = "TLS1_2" } } }
]])
  local result = process.run { argv = { process.self(), "apply", recipe, "--emulator", "--yes", "--state-dir", s.dir }, timeout = 30 }
  t.eq(result.code, 0, result.stderr)
  local account = s:arm("/subscriptions/" .. s.lab.endpoint.subscription
    .. "/resourceGroups/files/providers/Microsoft.Storage/storageAccounts/vmscripts9s", "2024-01-01")
  t.eq({ account.sku.name, account.kind, account.minimumTlsVersion }, { "Standard_LRS", "StorageV2", "TLS1_2" })
  for _, id in ipairs(s:ids()) do t.ok(not id:lower():find("demo%-rg.*storageaccounts"), "the cluster has none") end
end)

test("the control planes' identity may read the group, and the workers' nothing", function(t)
  local s, found = base(), {}
  for _, role in ipairs(s:roles()) do
    if role.principal == identity(s, "control") then found[#found + 1] = { name_of(role.scope), role.role } end
    t.ok(role.principal ~= identity(s, "worker"), "a role of the workers")
  end
  t.eq(found, { { "demo-rg", READER } })
end)

test("the admin network is taken as it is, and let in", function(t)
  local s = options()
  local now = s:arm(s.office.id)
  t.eq(now.addressSpace.addressPrefixes, { "10.1.0.0/16" })
  t.eq({ now.location, now.tags }, { "westus2", nil })
  t.ok(allows(rules(s), "10.1.0.9", 22) and allows(rules(s), "10.1.0.9", 6443), "its range is let in")
  t.ok(not allows(rules(base()), "10.1.0.9", 22), "not without it")
  local said = s:run("state list")
  t.ok(not said:find("azure.virtual_network.office", 1, true), "it is not ours")
end)

test("networks are peered both ways", function(t)
  local s = options()
  for _, from in ipairs { NETWORK .. "virtualNetworks/other-vnet", s.office.id } do
    local list = s:arm(from .. "/virtualNetworkPeerings").value
    t.eq(#list, 1, from)
    local p = list[1].properties
    t.eq({ p.peeringState, p.allowVirtualNetworkAccess, p.allowForwardedTraffic }, { "Connected", true, true })
  end
end)

test("who applies has a role on the vault and on nothing else", function(t)
  local s, found = base(), {}
  for _, role in ipairs(s:roles()) do
    if role.principal ~= identity(s, "control") then found[#found + 1] = { name_of(role.scope), role.role } end
  end
  t.eq(found, { { "demo-vault", OFFICER } })
end)

test("secrets are written as soon as the role for it is known", function(t)
  local s = cluster.stack("slow roles", { targets = { "azure.vault_random.*" } })
  t.eq(#crypto.unbase64(s:secret "encryption"), 32)
  t.ok(s.said:find("Done: ", 1, true))
end)

test("the public key is a resource of the group", function(t)
  local found = base():arm(COMPUTE .. "sshPublicKeys/demo-key")
  t.eq(found.publicKey:match "^%S+ %S+", base():secret "nodes-public-key":match "^%S+ %S+")
end)

test("the key pair fits, and the machines admit it", function(t)
  local s = base()
  local private, public = s:secret "nodes-private-key", s:secret "nodes-public-key"
  t.has(private, "OPENSSH PRIVATE KEY")
  t.eq(crypto.public_key(private):match "^%S+ %S+", public:match "^%S+ %S+")
  t.eq(public:match "^%S+", "ssh-ed25519")
  for _, profile in ipairs { vm(s, 1).osProfile, set(s).virtualMachineProfile.osProfile } do
    t.eq(profile.linuxConfiguration.ssh.publicKeys[1].keyData:match "^%S+ %S+", public:match "^%S+ %S+")
    t.eq(profile.linuxConfiguration.disablePasswordAuthentication, true)
  end
end)

test("the key vault is of the standard kind and keeps what was deleted for a week", function(t)
  local vault = base():arm("~/providers/Microsoft.KeyVault/vaults/demo-vault", "2024-11-01")
  t.eq({ vault.sku.name, vault.softDeleteRetentionInDays }, { "standard", 7 })
end)

test("roles decide over the vault, not access policies", function(t)
  local vault = base():arm("~/providers/Microsoft.KeyVault/vaults/demo-vault", "2024-11-01")
  t.eq({ vault.enableRbacAuthorization, #(vault.accessPolicies or {}) }, { true, 0 })
end)

test("both halves of the key are secrets of the vault", function(t)
  for _, name in ipairs { "nodes-public-key", "nodes-private-key", "encryption" } do t.ok(base():secret(name), name) end
  t.eq(base():output "key_vault_secret_names", { "nodes-public-key", "nodes-private-key" })
end)

test("the outputs that the old system handed over are there", function(t)
  local s = base()
  local outputs = s:output()
  local wanted = { resource_group_name = "demo-rg", virtual_network_name = "demo-vnet", subnet_name = "demo-nodes",
    vmss_name = "demo-worker", key_vault_name = "demo-vault", load_balancer_ip = address(s, "api-ip").ipAddress,
    resource_group_id = s:arm("~").id, key_vault_secret_names = { "nodes-public-key", "nodes-private-key" } }
  for name, value in pairs(wanted) do
    t.ok(outputs[name], name)
    t.eq(outputs[name].value, value, name)
    t.eq(outputs[name].sensitive, false)
    t.ok(outputs[name].type, "in the shape of terraform output -json")
  end
end)

test("one graph orders everything from the network to Git", function(t)
  local _, needs = cluster.graph()
  for _, pair in ipairs {
    { "node.cp-1/linux.base.base", "azure.virtual_machine.cp-1" }, { "node.cp-1/containerd.runtime.runtime", "node.cp-1/linux.base.base" },
    { "node.cp-1/kubeadm.node.tools", "node.cp-1/containerd.runtime.runtime" }, { "kubeadm.init.cluster", "node.cp-1/kubeadm.node.tools" },
    { "kubeadm.join.cp-2", "kubeadm.init.cluster" }, { "kubeadm.join.cp-3", "kubeadm.join.cp-2" },
    { "flannel.network.flannel", "kubeadm.init.cluster" }, { "flux.bootstrap.flux", "kubeadm.init.cluster" },
    { "flux.bootstrap.flux", "git.files.layout" }, { "azure.ssh_key_pair.nodes", "azure.role_assignment.vault-writer" },
  } do t.ok(needs(pair[1], pair[2]), pair[1] .. " comes after " .. pair[2]) end
end)

test("an instance and its address belong together", function(t)
  local s = base()
  local id, seen = set(s).id, {}
  for _, vm_nic in ipairs(s.lab:call("GET", id .. "/networkInterfaces", nil, { api = "2018-10-01" }).json.value) do
    seen[vm_nic.id:match "/virtualMachines/(%d+)/"] = vm_nic.properties.ipConfigurations[1].properties.privateIPAddress
  end
  local row = json.decode((s:run("state show", { "azure.virtual_machine_scale_set.worker", "--json" })))
  local members = (row.outputs or row[1].outputs).instances
  t.eq(#members, 2)
  local addresses = {}
  for _, member in ipairs(members) do
    t.eq(member.private_ip, seen[member.id], "instance " .. member.id)
    t.eq(member.hostname, ("demo-worker%06d"):format(tonumber(member.id)))
    t.ok(not addresses[member.private_ip], "no address twice")
    addresses[member.private_ip] = true
  end
end)

test("every host gets the system, the runtime and the tools", function(t)
  local nodes, needs = cluster.graph()
  local hosts = 0
  for address, kind in pairs(nodes) do
    local prefix = kind == "ssh.host" and address:match "^(.*/)ssh%.host%.host$"
    if prefix then
      hosts = hosts + 1
      for _, role in ipairs { "linux.base.base", "containerd.runtime.runtime", "kubeadm.node.tools" } do
        t.ok(nodes[prefix .. role], prefix .. role)
        t.ok(needs(prefix .. role, address), role .. " is of its own host")
      end
    end
  end
  t.eq(hosts, 4, "three control planes and the template of the workers")
end)

-- Mistakes of the old system.

test("applying again changes nothing and destroys nothing", function(t)
  local s = base()
  local before = s.lab:ask("GET", "writes")
  local plan = s:plan { "azure.*" }
  for address, action in pairs(plan) do t.ok(false, address .. ": " .. action.action) end
  s:apply { "azure.*" }
  t.has(s.said, "No changes.")
  t.eq(s.lab:ask("GET", "writes").counts.total, before.counts.total)
end)

test("no rule is shadowed by one that says the opposite, and the cluster's ports are open to the machines", function(t)
  for _, s in ipairs { base(), options() } do
    local list = rules(s)
    for i, later in ipairs(list) do
      for j = 1, i - 1 do
        local sooner = list[j]
        local low, high = ports(later)
        local a, b = ports(sooner)
        if sooner.access ~= later.access and low <= b and a <= high then
          for _, source in ipairs(sources(later)) do
            for _, other in ipairs(sources(sooner)) do
              local first, last = range(source)
              local from, to = range(other)
              t.ok(not (first and from and from <= first and last <= to), sooner.name .. " shadows " .. later.name)
            end
          end
        end
      end
    end
    local node = s == base() and "10.0.1.5" or "10.20.1.5"
    for port, protocol in pairs { [22] = "Tcp", [6443] = "Tcp", [2379] = "Tcp", [2380] = "Tcp", [10250] = "Tcp", [8472] = "Udp" } do
      t.ok(allows(list, node, port, protocol), ("%d between machines"):format(port))
    end
    t.ok(allows(list, "AzureLoadBalancer", 6443), "the probe")
  end
end)

test("the load balancer has a rule with a probe for each pool", function(t)
  local found = balancer(base())
  local covered = {}
  for _, rule in ipairs(found.loadBalancingRules) do
    covered[name_of(rule.properties.backendAddressPool.id)] = true
    t.eq({ rule.properties.frontendPort, rule.properties.backendPort }, { 6443, 6443 })
    t.ok(rule.properties.probe, "rule " .. rule.name .. " has a probe")
  end
  for _, pool in ipairs(found.backendAddressPools) do t.ok(covered[pool.name], "pool " .. pool.name .. " has a rule") end
  local probe = found.probes[1].properties
  t.eq({ probe.protocol, probe.port, probe.requestPath }, { "Https", 6443, "/readyz" })
end)

test("addresses and balancer are of the Standard kind", function(t)
  for _, s in ipairs { base(), options() } do
    t.eq({ address(s, "api-ip").sku.name, address(s, "nat-ip").sku.name, balancer(s).sku.name }, { "Standard", "Standard", "Standard" })
  end
end)

test("machines have an explicit way out", function(t)
  local s = base()
  local found = subnet(s)
  t.eq({ name_of((found.natGateway or {}).id), found.defaultOutboundAccess }, { "demo-nat", false })
  t.eq(names(s:arm(NETWORK .. "natGateways/demo-nat").publicIpAddresses), { "demo-nat-ip" })
  t.eq(balancer(s).loadBalancingRules[1].properties.disableOutboundSnat, true)
end)

test("there are three control planes, none can be evicted, and etcd is on a fast disk", function(t)
  local s = options()
  for i = 1, 3 do
    local found = vm(s, i)
    t.ok(found.priority ~= "Spot", "control plane " .. i .. " is no Spot instance")
    t.eq(found.storageProfile.osDisk.managedDisk.storageAccountType, "Premium_LRS")
    t.eq(found.zones, { tostring(i) }, "each in a zone of its own")
    t.eq(name_of(found.virtualMachineScaleSet.id), "other-control")
  end
end)

test("no machine can read a secret", function(t)
  local s, machines = base(), {}
  for _, what in ipairs { "control", "worker" } do machines[identity(s, what)] = what end
  for _, role in ipairs(s:roles()) do
    if machines[role.principal] then
      t.eq(role.role, READER, "the role of " .. machines[role.principal] .. " on " .. role.scope)
      t.ok(not role.scope:find("/vaults/", 1, true), "a role on the vault")
    end
  end
  local vault = s:arm("~/providers/Microsoft.KeyVault/vaults/demo-vault", "2024-11-01")
  t.eq(#(vault.accessPolicies or {}), 0)
end)

test("no key is in the state, the log or a saved plan", function(t)
  local s = base()
  local words = { "--out", s.dir .. "/saved.plan" }
  s:run("plan", words)
  for _, name in ipairs { "nodes-private-key", "encryption" } do
    local value = s:secret(name)
    for _, part in ipairs { value, value:match "\n(%S+)\n" or value, json.encode(value):sub(2, -2) } do
      t.eq(s:leak(part), nil, name)
    end
  end
end)

cluster.close()
test.done()
