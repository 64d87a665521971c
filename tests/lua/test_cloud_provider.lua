--- Azure's cloud provider: what it is made of for each release, what it may, and how a Node comes to be set up.
local test = require "tap"
local client = require "kubernetes.client"
local config = require "kubeadm.config"
local crypto, fs, json, process, yaml = require "crypto", require "fs", require "json", require "process", require "yaml"
local lab = require "kubernetes_lab"
local node = require "kubernetes.node"
local objects = require "kubernetes.objects"
local provider, disk = require "cloud_provider.azure", require "cloud_provider.azure_disk"
local task, versions = require "task", require "cloud_provider.versions"

local SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000001"
local GROUP = SUBSCRIPTION .. "/resourceGroups/demo-rg"
local api
require("kubernetes.connect").client = function() return api end

local function fields(changes)
  local f = { version = "1.36.1", cluster_name = "demo", group = { id = GROUP, location = "westus2" }, machines = "vmss", replicas = 1,
    subnet = { id = SUBSCRIPTION .. "/resourceGroups/net-rg/providers/Microsoft.Network/virtualNetworks/vnet/subnets/nodes" },
    security_group = { id = GROUP .. "/providers/Microsoft.Network/networkSecurityGroups/demo-nsg" }, disable_outbound_snat = true,
    identity = { client_id = "client", tenant_id = "tenant", id = "identity" } }
  for key, value in pairs(changes or {}) do f[key] = value end
  return f
end

local function provider_objects(changes, target)
  return provider.objects { fields = fields(changes), target = target or { kind = "emulator" } }
end

local function disk_objects(version, changes)
  local f = { provider = fields { version = version }, replicas = 1, class = "managed-csi", default = true, disks = "Premium_LRS" }
  for key, value in pairs(changes or {}) do f[key] = value end
  return disk.objects { fields = f }
end

local function find(list, kind, name)
  for _, object in ipairs(list) do
    if object.kind == kind and (not name or object.metadata.name == name) then return object end
  end
end

local function golden(t, name, list)
  local path = "tests/lua/golden/" .. name .. ".yaml"
  local text = yaml.encode_all(list)
  if process.env "UPDATE_GOLDEN" then fs.write(path, text) end
  t.eq(text, fs.read(path) or "")
end

test("the manifests of a release are what they were", function(t)
  golden(t, "cloud-provider-1.36", provider_objects())
  golden(t, "cloud-provider-1.20", provider_objects { version = "1.20.2" })
  golden(t, "azure-disk-1.36", disk_objects("1.36.1", { encryption_set = { id = "set" } }))
  golden(t, "azure-disk-1.20", disk_objects "1.20.2")
end)

test("each release has images of its own, and what is not known is refused", function(t)
  for minor = 20, 36 do
    local images = versions.provider(("1.%d.0"):format(minor))
    local at = minor >= 32 and "mcr.microsoft.com/oss/v2/kubernetes/" or "mcr.microsoft.com/oss/kubernetes/"
    t.eq(images.controller:sub(1, #at), at)
    if minor >= 23 then t.has(images.node, ("azure-cloud-node-manager:v1.%d."):format(minor)) end
    t.eq(versions.objection(("1.%d.0"):format(minor)), nil)
    t.has(versions.disk(("1.%d.0"):format(minor)).driver, "azuredisk-csi:v1.")
  end
  t.eq(versions.disk("1.99.0").driver, versions.disk("1.36.0").driver)
  local function refusals(kind, f)
    local list = {}
    kind.check(f, function(path, text) list[#list + 1] = path .. ": " .. text end)
    return list
  end
  t.eq(refusals(provider, fields { version = "1.37.0" }), { "version: has the 'version' 1.37.0: no version of cloud-provider-azure is known "
    .. "for Kubernetes 1.37.0; known are those for 1.20 to 1.36; or give 'controller_image' and 'node_image'" })
  t.eq(refusals(provider, fields { version = "1.37.0", controller_image = "a:1", node_image = "b:1" }), {})
  t.eq(refusals(provider, fields { version = "1.19.0" })[1]:match("no version of"), "no version of")
  t.eq(refusals(disk, { provider = fields { version = "1.19.0" } }), {
    "provider: has the 'provider' of a release that no version of the driver is known for: 1.19.0" })
end)

test("azure.json says where the cluster is, and holds no secret", function(t)
  local secret = find(provider_objects(), "Secret")
  t.eq({ secret.metadata.namespace, secret.metadata.name }, { "kube-system", "azure-cloud-provider" })
  t.eq(json.decode(crypto.unbase64(secret.data["cloud-config"])), { cloud = "AzurePublicCloud", tenantId = "tenant",
    subscriptionId = "00000000-0000-0000-0000-000000000001", resourceGroup = "demo-rg", location = "westus2", vnetName = "vnet",
    vnetResourceGroup = "net-rg", subnetName = "nodes", securityGroupName = "demo-nsg", securityGroupResourceGroup = "demo-rg",
    vmType = "vmss", enableVmssFlexNodes = true, loadBalancerSku = "standard", excludeMasterFromStandardLB = true, disableOutboundSNAT = true,
    useManagedIdentityExtension = true, userAssignedIdentityID = "client", useInstanceMetadata = true, cloudProviderBackoff = true })
  local function cloud(target)
    return json.decode(crypto.unbase64(find(provider_objects(nil, target), "Secret").data["cloud-config"])).cloud
  end
  t.eq(cloud { kind = "azure", cloud = "AzureUSGovernment" }, "AzureUSGovernmentCloud")
  t.fails("knows no cloud 'https://arm.example'", cloud, { kind = "azure", cloud = "https://arm.example" })
  -- Other settings roll the controller manager, which reads them when it starts.
  local function mark(changes)
    return find(provider_objects(changes), "Deployment").spec.template.metadata.annotations["vmrun/config"]
  end
  t.eq(mark(), mark())
  t.ok(mark() ~= mark { location = "eastus" })
end)

-- What documents of the projects themselves ask for; ours may be less, never more (release 1.36 of the chart, v1.34.5 of the driver).
local UPSTREAM = {
  ["cloud-controller-manager"] = { [""] = { events = "create patch update", nodes = "*", ["nodes/status"] = "patch",
    services = "list patch update watch get", ["services/status"] = "list patch update watch", endpoints = "create get list watch update" },
    ["discovery.k8s.io"] = { endpointslices = "get list watch" } },
  ["cloud-node-manager"] = { [""] = { nodes = "watch list get update patch", ["nodes/status"] = "patch" } },
  ["csi-azuredisk-controller"] = { [""] = { persistentvolumes = "get list watch create update patch delete",
    persistentvolumeclaims = "get list watch update", ["persistentvolumeclaims/status"] = "update patch", pods = "get list watch",
    nodes = "get list watch", events = "get list watch create update patch" },
    ["storage.k8s.io"] = { storageclasses = "get list watch", csinodes = "get list watch", volumeattributesclasses = "get list watch",
      volumeattachments = "get list watch update patch", ["volumeattachments/status"] = "get list watch update patch" } },
  ["csi-azuredisk-node"] = { [""] = { nodes = "get patch" }, ["storage.k8s.io"] = { csinodes = "get",
    volumeattachments = "get list watch" } },
}

test("its accounts may no more than the projects' own, and secrets are one Secret", function(t)
  local list = provider_objects()
  table.move(disk_objects "1.36.1", 1, #disk_objects "1.36.1", #list + 1, list)
  local seen = 0
  for _, object in ipairs(list) do
    if object.kind == "ClusterRole" then
      seen = seen + 1
      for _, rule in ipairs(object.rules) do
        for _, resource in ipairs(rule.resources) do
          local allowed = UPSTREAM[object.metadata.name][rule.apiGroups[1]][resource]
          for _, verb in ipairs(rule.verbs) do
            t.ok(allowed and (allowed == "*" or (" " .. allowed .. " "):find(" " .. verb .. " ", 1, true)),
              ("%s: %s %s"):format(object.metadata.name, verb, resource))
          end
        end
      end
    elseif object.kind == "Role" then
      for _, rule in ipairs(object.rules) do
        if rule.resources[1] == "secrets" then
          t.eq({ rule.verbs, rule.resourceNames }, { { "get" }, { "azure-cloud-provider" } })
        else
          t.eq(rule.resources, { "leases" })
        end
      end
    end
  end
  t.eq(seen, 4)
  for _, object in ipairs(list) do
    local pod = object.spec and object.spec.template and object.spec.template.spec
    if pod then
      t.ok(find(list, "ServiceAccount", pod.serviceAccountName))
      t.eq(pod.hostNetwork, true)
      for _, container in ipairs(pod.containers) do
        local privileged = container.securityContext.privileged
        t.eq(privileged or false, container.name == "azuredisk" and object.kind == "DaemonSet")
      end
    end
  end
end)

-- What the main recipe declares with the parameters: { [address] = { [address that it needs] = true } }.
local function declared(...)
  local root = arg[0]:match("^(.*)/tests/lua/") or "."
  local result = assert(process.run { argv = { process.self(), "graph", root .. "/recipes/cluster.lua", "--format", "json", ... }, timeout = 30 })
  assert(result.code == 0, result.stderr)
  local graph, needs = json.decode(result.stdout), {}
  for _, item in ipairs(graph.nodes) do needs[item.address] = {} end
  for _, edge in ipairs(graph.edges) do
    if needs[edge.from] then needs[edge.from][edge.to] = true end
  end
  return needs
end

local function added(...)
  local without, list = declared(), {}
  for address in pairs(declared("cloud_provider=true", ...)) do
    if not without[address] then list[#list + 1] = address end
  end
  table.sort(list)
  return list
end

test("the main recipe has it by parameter, in an order that cannot wait for itself", function(t)
  local always = { "azure.role_assignment.cloud-machines", "azure.role_assignment.cloud-network", "azure.user_assigned_identity.cloud",
    "cloud_provider.azure.azure", "cloud_provider.azure_disk.disks" }
  t.eq(added(), always)
  local graph = declared "cloud_provider=true"
  for address in pairs(graph) do
    t.ok(not (address:find "^kubernetes%.node" and graph[address]["cloud_provider.azure.azure"]), address .. " waits for its programs")
  end
  for address in pairs(graph["cloud_provider.azure.azure"]) do
    t.ok(not address:find "kubernetes%.node" and not address:find "kubeadm%.join", "its programs wait for " .. address)
  end
  t.ok(graph["cloud_provider.azure.azure"]["azure.role_assignment.cloud-network"], "roles come first")
  t.ok(graph["flux.bootstrap.flux"]["cloud_provider.azure_disk.disks"], "what needs pods comes after")
  t.ok(graph["azure.virtual_machine.cp-1"]["azure.user_assigned_identity.cloud"], "control planes have the identity")
  t.ok(not graph["azure.virtual_machine_scale_set.worker"]["azure.user_assigned_identity.cloud"], "workers have it not")
end)

test("somebody else's subnet and rules, and a key of our own, want a role more each", function(t)
  local network = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/x/providers/Microsoft.Network/virtualNetworks/y"
  local list = added("subnet_id=" .. network .. "/subnets/z", "disk_encryption=customer")
  local roles = {}
  for _, address in ipairs(list) do
    if address:find "role_assignment%.cloud" then roles[#roles + 1] = address:match "[^.]+$" end
  end
  t.eq(roles, { "cloud-encryption", "cloud-machines", "cloud-network", "cloud-rules", "cloud-subnet" })
end)

-- A cluster whose kubelet waits for a cloud provider, on a machine as Azure would tell of it.
local function cluster(t)
  local l = lab.new()
  t.after(l.close)
  local m = l.machine("demo-cp-1", { cni = true })
  local id = GROUP .. "/providers/Microsoft.Compute/virtualMachines/demo-cp-1"
  l.machines[m.id] = nil
  m.id, l.machines[id] = id, m
  l.public = { "20.0.0.9" }
  l.world.arm = { get = function(asked)
    if asked ~= id then return nil end
    return { id = id, name = "demo-cp-1", body = { location = "westus2", zones = { "2" }, properties = { vmId = "x",
      hardwareProfile = { vmSize = "Standard_D2s_v5" } } } }
  end }
  l.world.fabric.interface = function() return { ip = m.private_ip, prefix = "10.77.0.0/24" } end
  l.world.fabric.public_addresses = function() return l.public end
  m:file("/etc/hosts", "127.0.0.1 localhost api.demo.internal\n")
  m:file("/etc/kubeadm.yaml", yaml.encode_all(config.init { version = "1.36.1", node_name = "demo-cp-1", address = m.private_ip,
    endpoint = "api.demo.internal", port = 6443, cluster_name = "kubernetes", pods = "10.244.0.0/16", services = "10.96.0.0/12",
    domain = "cluster.local", cloud_provider = true }))
  local result = m:run("kubeadm", "init", "--config", "/etc/kubeadm.yaml")
  t.eq(result.code, 0, result.err .. result.out)
  api = client.new(require("kubernetes.kubeconfig").parts(lab.kubeconfig(m)))
  return l, m
end

local function context(seconds)
  return { fields = { name = "demo-cp-1", cluster = { host = {} }, ready = true, seconds = seconds or 20, serving = true },
    progress = function() end }
end

local function is_tainted()
  for _, taint in ipairs(api:get("v1", "Node", nil, "demo-cp-1").spec.taints or {}) do
    if taint.key == "node.cloudprovider.kubernetes.io/uninitialized" then return true end
  end
  return false
end

local function serving_names()
  local list = {}
  for _, request in ipairs(api:list("certificates.k8s.io/v1", "CertificateSigningRequest")) do
    if request.spec.signerName == "kubernetes.io/kubelet-serving" then
      local asked = crypto.x509_read(crypto.unbase64(request.spec.request))
      list[#list + 1] = { asked.ip, request.status and request.status.conditions and request.status.conditions[1].type }
    end
  end
  return list
end

test("a Node without its cloud provider is waited for, and the error says for what", function(t)
  cluster(t)
  local err = t.fails("Node demo-cp-1 is Ready, but after 1.5 s it still has the taint", node.create, context(1.5))
  t.eq(err.code, "timeout")
  t.has(err.hint, "cloud-node-manager")
  t.ok(is_tainted())
  t.eq(node.read(context()).status, "not set up by its cloud provider")
end)

test("with it the Node says its machine, and its kubelet's second request is approved", function(t)
  local _, m = cluster(t)
  objects.apply(api, provider_objects())
  node.create(context())
  t.eq(is_tainted(), false)
  local made = api:get("v1", "Node", nil, "demo-cp-1")
  t.eq(made.spec.providerID, "azure:///subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/demo-rg/providers/"
    .. "Microsoft.Compute/virtualMachines/demo-cp-1")
  local labels = made.metadata.labels
  t.eq({ labels["node.kubernetes.io/instance-type"], labels["topology.kubernetes.io/region"], labels["topology.kubernetes.io/zone"] },
    { "Standard_D2s_v5", "westus2", "westus2-2" })
  t.eq(made.status.addresses, { { type = "Hostname", address = "demo-cp-1" }, { type = "InternalIP", address = m.private_ip },
    { type = "ExternalIP", address = "20.0.0.9" } })
  local found = false
  for _, request in ipairs(serving_names()) do
    if #request[1] == 2 then found = request[2] == "Approved" end
  end
  t.ok(found, "a request for both addresses is approved: " .. json.encode(serving_names()))
  t.eq(node.read(context()).fields.serving, true)
  t.eq(node.read(context()).status, nil)
end)

test("it looks when its Node changes, also in the middle of a look, and seldom otherwise", function(t)
  local l = cluster(t)
  objects.apply(api, provider_objects())
  node.create(context())
  local looks, during = 0, nil
  l.world.fabric.public_addresses = function()
    looks = looks + 1
    local once = during
    during = nil
    if once then once() end
    return l.public
  end
  local function touch(word)
    api:merge({ apiVersion = "v1", kind = "Node", metadata = { name = "demo-cp-1" } }, { metadata = { labels = { touched = word } } })
  end
  task.sleep(3)
  t.ok(looks <= 3, looks .. " looks in three seconds")
  looks, during = 0, function() touch "again" end
  touch "once"
  task.sleep(1)
  t.ok(looks >= 2, looks .. " looks after two changes")
end)

test("without a right of its account it does not", function(t)
  local l, m = cluster(t)
  local list = provider_objects()
  local role = find(list, "ClusterRole", "cloud-node-manager")
  role.rules[1].verbs = json.array { "get", "list", "watch" }
  objects.apply(api, list)
  t.fails("still has the taint", node.create, context(3))
  local said = {}
  for _, lines in pairs(l.world.kubernetes:kubelet(m).logs) do
    for _, line in ipairs(lines) do said[#said + 1] = line.text end
  end
  t.has(table.concat(said, "\n"), 'User "system:serviceaccount:kube-system:cloud-node-manager" cannot update resource "nodes"')
end)

test.done()
