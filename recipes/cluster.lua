-- A Kubernetes cluster on Azure: from an empty subscription to a cluster that follows a Git
-- repository. `vmrun recipes/cluster.lua` runs it; `vmrun plan recipes/cluster.lua` only tells.
local azure, random, ssh, git, emulator = use("azure", "random", "ssh", "git", "emulator")
local linux, containerd, kubeadm = use("linux", "containerd", "kubeadm")
local kubernetes, flannel, flux = use("kubernetes", "flannel", "flux")

local p = params {
  name           = param.string  { default = "demo", match = "^[a-z][a-z0-9-]*[a-z0-9]$", help = "prefix of every name" },
  location       = param.string  { default = "westus2", help = "Azure region" },
  control_planes = param.integer { default = 3, choices = { 1, 3, 5 }, help = "an odd number: etcd needs a majority" },
  workers        = param.integer { default = 2, min = 0, max = 100, help = "how many worker machines" },
  size           = param.string  { default = "Standard_D2s_v5", help = "size of the machines" },
  zones          = param.list    { param.string {}, default = {}, help = "availability zones, such as 1,2,3" },
  spot           = param.boolean { default = false, help = "workers are Spot instances" },
  spot_price     = param.number  { default = -1, help = "highest price an hour; -1: the regular one" },
  image          = param.string  { default = "debian-12" },
  version        = param.string  { default = "1.36.1", match = "^%d+%.%d+%.%d+$", help = "Kubernetes release" },
  access         = param.string  { default = "public", help = "how we reach machines: public, peered or jump:HOST" },
  admin_cidr     = param.string  { default = "203.0.113.0/24", help = "who may reach SSH and the API from outside" },
  admin_network  = param.string  { optional = true, help = "id of a virtual network to peer with" },
  environment    = param.choice  { "production", "staging", "development", help = "what the cluster runs" },
  git_url        = param.string  { optional = true, help = "the Git repository; on the emulator one is made" },
  git_branch     = param.string  { default = "main" },
  git_key        = param.secret  { optional = true, help = "private key that may push to the repository" },
  git_hosts      = param.list    { param.string {}, default = {}, help = "known_hosts lines of the Git server" },
  kubernetes_repository = param.string { optional = true, help = "package repository instead of pkgs.k8s.io" },
}
local tags = { environment = p.environment, stack = p.name }
local zones = #p.zones > 0 and p.zones or nil

-- Network: what comes in is listed here, port by port; what goes out leaves by the NAT gateway.
local group = azure.resource_group "main" { name = p.name .. "-rg", location = p.location, tags = tags }
local api_ip = azure.public_ip_address "api" { name = p.name .. "-api-ip", group = group, zones = zones, tags = tags }
local nat_ip = azure.public_ip_address "nat" { name = p.name .. "-nat-ip", group = group, zones = zones, tags = tags }
local nat = azure.nat_gateway "nat" { name = p.name .. "-nat", group = group, public_ips = { nat_ip }, tags = tags }
local network = azure.virtual_network "main" { name = p.name .. "-vnet", group = group, cidr = "10.0.0.0/16", tags = tags }
local rules = azure.network_security_group "nodes" {
  name = p.name .. "-nsg", group = group, tags = tags,
  rules = {
    { name = "ssh",       priority = 100, port = 22,    source = { p.admin_cidr, "10.0.0.0/16", "10.1.0.0/16" } },
    { name = "api",       priority = 110, port = 6443,  source = { p.admin_cidr, nat_ip.ip, "10.0.0.0/16" } },
    { name = "api-probe", priority = 120, port = 6443,  source = "AzureLoadBalancer" },
    { name = "etcd",      priority = 130, port = "2379-2380", source = "10.0.1.0/24" },
    { name = "kubelet",   priority = 140, port = 10250, source = "10.0.1.0/24" },
    { name = "flannel",   priority = 150, port = 8472,  source = "10.0.1.0/24", protocol = "Udp" },
    { name = "node-port", priority = 160, port = "30000-32767", source = "10.0.0.0/16" },
  },
}
local subnet = azure.subnet "nodes" {
  name = p.name .. "-nodes", vnet = network, cidr = "10.0.1.0/24", security_group = rules, nat_gateway = nat,
}
if p.admin_network then
  local admin = azure.existing "admin" { id = p.admin_network }
  azure.virtual_network_peering "to-admin" { vnet = network, remote = admin, allow_forwarded = true }
  azure.virtual_network_peering "from-admin" { vnet = admin, remote = network, allow_forwarded = true }
end
local balancer = azure.load_balancer "api" {
  name = p.name .. "-lb", group = group, tags = tags,
  frontends = { { name = "api", public_ip = api_ip } },
  pools  = { { name = "control-planes" } },
  probes = { { name = "readyz", protocol = "Https", port = 6443, path = "/readyz", interval = 5, threshold = 1 } },
  rules  = { { name = "api", frontend = "api", pool = "control-planes", probe = "readyz",
               frontend_port = 6443, backend_port = 6443, disable_outbound_snat = true } },
  nat_rules = p.access == "public"
    and { { name = "ssh", frontend = "api", frontend_port = 22, backend_port = 22 } } or {},
}

-- Identities and secrets. The keys live in the vault; machines can read nothing in it.
local me = azure.principal "me" {}
local vault = azure.key_vault "main" { name = p.name .. "-vault", group = group, retention_days = 7, tags = tags }
local writer = azure.role_assignment "vault-writer" { scope = vault, principal = me.object_id,
  principal_type = me.type, role = "Key Vault Secrets Officer" }
local key = azure.ssh_key_pair "nodes" { vault = vault, after = { writer } }
local etcd_key = azure.vault_random "encryption" { vault = vault, bytes = 32, after = { writer } }
azure.ssh_public_key "nodes" { name = p.name .. "-key", group = group, public_key = key.public_key, tags = tags }
local control_identity = azure.user_assigned_identity "control" { name = p.name .. "-control", group = group, tags = tags }
local worker_identity = azure.user_assigned_identity "worker" { name = p.name .. "-worker", group = group, tags = tags }
azure.role_assignment "control-reader" { scope = group, principal = control_identity, role = "Reader" }

-- Machines. Control planes are named, so that their identity is known before they exist; workers are
-- instances of a scale set, of which Azure says how many there are.
local machine = {
  group = group, size = p.size, image = p.image, user = "azureuser", public_key = key.public_key, tags = tags,
  custom_data = file("cluster/cloud-init.yaml"),
}
local function with(more)
  local fields = {}
  for name, value in pairs(machine) do fields[name] = value end
  for name, value in pairs(more) do fields[name] = value end
  return fields
end
local control_set = azure.virtual_machine_scale_set "control" {
  name = p.name .. "-control", group = group, zones = zones, tags = tags, fault_domains = 1,
}
local worker_set = azure.virtual_machine_scale_set "worker" (with {
  name = p.name .. "-worker", mode = "Uniform", capacity = p.workers, subnet = subnet, zones = zones,
  identities = { worker_identity }, disk = { size = 30, type = "Premium_LRS", caching = "ReadWrite" },
  spot = p.spot and { eviction = "Deallocate", max_price = p.spot_price } or nil,
  health = { protocol = "tcp", port = 22 },
})

-- Hosts and what is on them.
local node = component "node" {
  inputs = {
    machine_id = param.string {}, vm_id = param.string { optional = true }, address = param.string {},
    hostname = param.string {}, groups = param.list { param.string {} }, jump = param.any { optional = true },
    port = param.integer { default = 22 }, through = param.string { optional = true },
  },
  build = function(input)
    local keys = azure.host_keys "keys" { machine_id = input.machine_id, vm_id = input.vm_id }
    local host = ssh.host "host" {
      name = input.hostname, hostname = input.hostname, address = input.through or input.address, port = input.port,
      user = "azureuser", key = key.private_key, host_keys = keys.lines, via = input.jump, groups = input.groups,
    }
    local base = linux.base "base" { host = host, hostname = input.hostname, after = { subnet } }
    local runtime = containerd.runtime "runtime" { host = host, after = { base } }
    local tools = kubeadm.node "tools" {
      host = host, runtime = runtime, version = p.version, repository = p.kubernetes_repository,
    }
    return { host = host, tools = tools }
  end,
}
local jump_host = p.access:match("^jump:(.+)$")
local jump = jump_host and ssh.host "jump" { address = jump_host, user = "azureuser", key = key.private_key,
  host_keys = p.git_hosts } or nil
local endpoint, cluster, last = "api." .. p.name .. ".internal", nil, nil
for i = 1, p.control_planes do
  local name = ("%s-cp-%d"):format(p.name, i)
  local entry = i == 1 and p.access == "public"
  local interface = azure.network_interface("cp-" .. i) {
    name = name .. "-nic", group = group, subnet = subnet, pools = { balancer.pool_ids["control-planes"] },
    nat_rules = entry and { balancer.nat_rule_ids.ssh } or nil, tags = tags,
  }
  local vm = azure.virtual_machine("cp-" .. i) (with {
    name = name, scale_set = control_set, interface = interface, identities = { control_identity },
    zone = zones and zones[(i - 1) % #zones + 1] or nil, disk = { size = 64, type = "Premium_LRS" },
  })
  local cp = node("cp-" .. i) { machine_id = vm.id, vm_id = vm.vm_id, address = interface.private_ip, hostname = name,
    groups = { "control_plane" }, through = entry and api_ip.ip or nil, jump = jump }
  local shared = { host = cp.host, node = cp.tools, address = interface.private_ip, encryption_key = etcd_key.value }
  if i == 1 then
    jump = entry and cp.host or jump
    shared.endpoint, shared.reach, shared.names = endpoint, api_ip.ip, { api_ip.ip }
    cluster = kubeadm.init "cluster" (shared)
    shared.node_name, last = name, cluster
  else
    shared.cluster, shared.control_plane, shared.endpoint_address = cluster, true, api_ip.ip
    shared.after = { last }
    last = kubeadm.join("cp-" .. i) (shared)
  end
  kubernetes.node("cp-" .. i) { cluster = cluster, name = name, after = { last } }
end
each(worker_set.instances, function(vm)
  local worker = node "worker" { machine_id = vm.resource_id, address = vm.private_ip, hostname = vm.hostname,
    groups = { "worker" }, jump = jump }
  local joined = kubeadm.join "join" { host = worker.host, node = worker.tools, cluster = cluster,
    address = vm.private_ip, endpoint_address = api_ip.ip }
  kubernetes.node "worker" { cluster = cluster, name = vm.hostname, labels = { ["node-role.kubernetes.io/worker"] = "" },
    after = { joined } }
end)
flannel.network "flannel" { cluster = cluster, pods = cluster.pods }

-- Git and Flux: the layout is written once and then the team's; only flux-system/ stays ours.
local repository = p.git_url
  and git.repository "cluster" { url = p.git_url, branch = p.git_branch, key = p.git_key, known_hosts = p.git_hosts }
  or emulator.git_repository "cluster" { branch = p.git_branch }
local layout = git.files "layout" { repository = repository, files = files("cluster/gitops"), keep_existing = true,
  message = "Add the clusters, the infrastructure and the apps" }
local gitops = flux.bootstrap "flux" { cluster = cluster, repository = repository,
  path = "clusters/" .. p.environment, after = { layout } }

outputs {
  resource_group_id = group.id, resource_group_name = group.name, virtual_network_name = network.name,
  subnet_name = subnet.name, load_balancer_ip = api_ip.ip, vmss_name = worker_set.name, key_vault_name = vault.name,
  key_vault_secret_names = { "nodes-public-key", "nodes-private-key" },
  endpoint = "https://" .. endpoint .. ":6443", git_url = repository.url, git_key_file = repository.key_file,
  revision = gitops.revision,
}
