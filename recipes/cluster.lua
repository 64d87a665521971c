-- A Kubernetes cluster on Azure: from an empty subscription to a cluster that follows a Git
-- repository. `vmrun recipes/cluster.lua` runs it; `vmrun plan recipes/cluster.lua` only tells.
local azure, ssh, git = use("azure", "ssh", "git")
local kubeadm, flannel, flux = use("kubeadm", "flannel", "flux")

local p = params {
  name           = param.string  { default = "demo", match = "^%l[%l%d-]*%w$", help = "prefix" },
  location       = param.string  { default = "westus2", help = "Azure region" },
  control_planes = param.choice  { 1, 3, 5, default = 3, help = "odd, for etcd's majority" },
  workers        = param.range   { default = 2, min = 0, max = 100, help = "3, or 2-5 by itself" },
  user           = param.string  { default = "azureuser", help = "who logs in to the machines" },
  network        = param.cidr    { default = "10.0.0.0/16", help = "its range, or our part of it" },
  group_id       = param.string  { optional = true, help = "a resource group that exists" },
  network_id     = param.string  { optional = true, help = "a virtual network that exists" },
  subnet_id      = param.string  { optional = true, help = "one with rules and a way out" },
  egress_ip      = param.ip      { optional = true, help = "how network_id goes out, not by NAT" },
  size           = param.string  { default = "Standard_D2s_v5", help = "size of the machines" },
  image          = param.string  { default = "debian-12", help = "image of the machines" },
  image_version  = param.string  { optional = true, help = "of the workers; newest: rolls them" },
  zones          = param.list    { param.string {}, default = {}, help = "such as 1,2,3" },
  spot           = param.boolean { default = false, help = "workers are Spot instances" },
  spot_price     = param.number  { default = -1, help = "an hour; -1: regular" },
  version        = param.string  { default = "1.36.1", match = "^1%.%d+%.%d+$",
                                   help = "another one upgrades, by one minor release at most" },
  packages       = param.string  { optional = true, help = "a word: another upgrades Debian's" },
  security_only  = param.boolean { default = false, help = "packages are of the security archive" },
  reboot         = param.choice  { "needed", "always", "never", help = "after that" },
  max_unavailable = param.string { default = "1", match = "^[1-9]%d*%%?$", help = "such as 25%" },
  max_surge      = param.string  { default = "0", match = "^%d+%%?$", help = "more than workers" },
  restore        = param.string  { optional = true, help = "a backup, if all is lost" },
  restore_key    = param.secret  { optional = true, env = "VMRUN_BACKUP_KEY", help = "its key" },
  roll           = param.boolean { default = true, help = "stale machines are replaced" },
  access         = param.string  { default = "public", help = "public, peered or jump:HOST" },
  admin_cidr     = param.cidr    { default = "203.0.113.0/24", help = "who may come in" },
  admin_network  = param.string  { optional = true, help = "id of a virtual network to peer with" },
  jump_host_keys = param.list    { param.string {}, default = {}, help = "of jump:HOST" },
  disk_encryption = param.choice { "platform", "customer", help = "whose key; new machines" },
  encryption_key = param.string  { optional = true, match = "^[%l%d-]+$", help = "new: rotates" },
  monitoring     = param.boolean { default = false, help = "logs and metrics to Azure Monitor" },
  log_days       = param.integer { default = 30, min = 7, max = 730, help = "that logs are kept" },
  cloud_provider = param.boolean { default = false, help = "Azure makes load balancers, disks" },
  environment    = param.choice  { "production", "staging", "development", help = "what it runs" },
  git_url        = param.string  { optional = true, help = "else the emulator makes one" },
  git_branch     = param.string  { default = "main", help = "the branch to follow" },
  git_key        = param.secret  { optional = true, help = "may push to it" },
  git_hosts      = param.list    { param.string {}, default = {}, help = "its known_hosts lines" },
  containerd     = param.choice { "containerd.io", "containerd", help = "Docker's or Debian's" },
  containerd_repository = param.string { optional = true, help = "not download.docker.com" },
  kubernetes_repository = param.string { optional = true, help = "not pkgs.k8s.io" },
  debian_mirror  = param.string  { optional = true, help = "not the image's own" },
  registry_mirrors = param.map   { param.string {}, default = {}, help = "docker.io=URL,..." },
}
local tags, zones = { environment = p.environment, stack = p.name }, #p.zones > 0 and p.zones or nil
-- What is given by its id exists, and stays its owner's; machines live where their network does.
local function existing(name, id) return id and azure.existing(name) { id = id } end
local group = existing("group", p.group_id) or
  azure.resource_group "main" { name = p.name .. "-rg", location = p.location, tags = tags }
local vnet_id = p.network_id or p.subnet_id and p.subnet_id:match("^(.+)/subnets/")
local given_network, given_subnet = existing("main", vnet_id), existing("nodes", p.subnet_id)
-- What all resources of the group have: a name with our prefix, the group, the tags.
local function own(suffix, fields)
  fields.name, fields.group, fields.tags = p.name .. "-" .. suffix, group, tags
  fields.location = given_network and given_network.location
  return fields
end

-- Network: what comes in is listed here, port by port; what goes out leaves by the NAT gateway.
local api_ip = azure.public_ip_address "api" (own("api-ip", { zones = zones }))
local has_egress = given_subnet or given_network and p.egress_ip
local nat_ip = not has_egress and azure.public_ip_address "nat" (own("nat-ip", { zones = zones }))
local nat = nat_ip and azure.nat_gateway "nat" (own("nat", { public_ips = { nat_ip } })) or nil
local egress = nat and nat_ip.ip or p.egress_ip
local network = given_network or azure.virtual_network "main" (own("vnet", { cidr = p.network }))
local nodes, inside = cidr_subnet(p.network, 8, 1), { p.admin_cidr, p.network }
local admin = existing("admin", p.admin_network)
if admin then inside = concat(inside, admin.body.properties.addressSpace.addressPrefixes) end
local rules = not given_subnet and azure.network_security_group "nodes" (own("nsg", { rules = {
  { name = "ssh",       priority = 100, port = 22,    source = inside },
  { name = "api",       priority = 110, port = 6443,  source = concat(inside, { egress }) },
  { name = "api-probe", priority = 120, port = 6443,  source = "AzureLoadBalancer" },
  { name = "etcd",      priority = 130, port = "2379-2380", source = nodes },
  { name = "kubelet",   priority = 140, port = 10250, source = nodes },
  { name = "flannel",   priority = 150, port = 8472,  source = nodes, protocol = "Udp" },
  { name = "node-port", priority = 160, port = "30000-32767", source = p.network },
} }))
local subnet = given_subnet or azure.subnet "nodes" { name = p.name .. "-nodes",
  vnet = network, cidr = nodes, nat_gateway = nat, security_group = rules }
if admin then
  azure.virtual_network_peering "to-them" { vnet = network, remote = admin, allow_forwarded = true }
  azure.virtual_network_peering "to-us" { vnet = admin, remote = network, allow_forwarded = true }
end
local public = p.access == "public"
local balancer = azure.load_balancer "api" (own("lb", {
  frontends = { { name = "api", public_ip = api_ip } }, pools = { { name = "control-planes" } },
  probes = { { name = "readyz", protocol = "Https", port = 6443, path = "/readyz", interval = 5 } },
  rules  = { { name = "api", frontend = "api", pool = "control-planes", probe = "readyz",
               frontend_port = 6443, backend_port = 6443, disable_outbound_snat = true } },
  nat_rules = public and {
    { name = "ssh", frontend = "api", frontend_port = 22, backend_port = 22 } } or {},
}))

-- Identities and secrets. Keys live in the vault; machines can read nothing in it.
local vault, writer, disks, etcd = require "cluster.vault" (own, p)
local key = azure.ssh_key_pair "nodes" { vault = vault, after = { writer } }
azure.ssh_public_key "nodes" (own("key", { public_key = key.public_key }))
local monitor = require "cluster.monitor" (p.monitoring and own, p.log_days)
monitor.resources { vault = vault, balancer = balancer, rules = rules }
local control_identity = azure.user_assigned_identity "control" (own("control", {}))
local worker_identity = azure.user_assigned_identity "worker" (own("worker", {}))
azure.role_assignment "control" { scope = group, principal = control_identity, role = "Reader" }
local cloud = require "cluster.cloud" (p, own, { group = group, network = given_network,
  subnet = subnet, rules = rules, encryption = disks.set })

-- Machines. Control planes are known by name before they exist; of workers Azure says how many.
local function machine(suffix, fields)
  fields.size, fields.image, fields.user = p.size, p.image, p.user
  fields.public_key, fields.custom_data = key.public_key, file("cluster/cloud-init.yaml")
  return own(suffix, monitor.watched(disks.encrypted(fields)))
end
local control_set = azure.virtual_machine_scale_set "control" (
  own("control", { zones = zones, fault_domains = 1 }))
local worker_set = azure.virtual_machine_scale_set "worker" (machine("worker", {
  mode = "Uniform", capacity = p.workers, subnet = subnet, zones = zones,
  identities = { worker_identity }, disk = { size = 30, type = "Premium_LRS" },
  spot = p.spot and { eviction = "Deallocate", max_price = p.spot_price } or nil,
  health = { protocol = "tcp", port = 22 }, image_version = p.image_version,
  roll = p.roll and { max_unavailable = p.max_unavailable, max_surge = p.max_surge },
}))
monitor.machine("worker", worker_set)
local node = require "cluster.node" (p, key) -- what is on every machine before it joins
local life = require "cluster.life" (p) -- what happens to Nodes from then on
local jump_host = p.access:match("^jump:(.+)$")
local jump = jump_host and ssh.host "jump" { address = jump_host, user = p.user,
  key = key.private_key, host_keys = p.jump_host_keys }
local endpoint, cluster, last = "api." .. p.name .. ".internal"
local backup = kubeadm.backup "restore" {
  file = p.restore, key = p.restore_key, endpoint = endpoint, version = p.version }
local hosts, changed = {}, {} -- control planes are changed one after the other, then workers
for i = 1, p.control_planes do
  local name, entry = ("cp-%d"):format(i), i == 1 and public
  local interface = azure.network_interface(name) (own(name .. "-nic", {
    subnet = subnet, pools = { balancer.pool_ids["control-planes"] },
    nat_rules = entry and { balancer.nat_rule_ids.ssh } or nil,
  }))
  local vm = azure.virtual_machine(name) (machine(name, {
    scale_set = control_set, interface = interface,
    identities = cloud.identities { control_identity },
    zone = zones and zones[(i - 1) % #zones + 1], disk = { size = 64, type = "Premium_LRS" },
    size_apart = true, when_stale = p.roll and p.control_planes > 1 and "roll" or "keep",
  }))
  monitor.machine(name, vm)
  local cp = node(name) {
    machine_id = vm.id, vm_id = vm.vm_id, hostname = vm.name, address = interface.private_ip,
    group = "control_plane", through = entry and api_ip.ip or nil, jump = jump,
  }
  local fields = { host = cp.host, node = cp.tools, address = interface.private_ip,
    encryption_key = etcd.value, encryption_name = etcd.name }
  hosts[i] = cp.host
  if i == 1 then
    jump = entry and cp.host or jump
    fields.endpoint, fields.reach, fields.names = endpoint, api_ip.ip, { api_ip.ip }
    fields.cloud_provider, fields.restore = p.cloud_provider, backup
    cluster = kubeadm.init "cluster" (fields)
    last = cluster
  else
    fields.cluster, fields.endpoint_address, fields.control_plane = cluster, api_ip.ip, true
    fields.after = { last }
    last = kubeadm.join(name) (fields)
  end
  changed[i] = life.control_plane(name, cluster, vm, cp.host, { last, cp.tools, changed[i - 1] })
end
kubeadm.encryption "secrets" { cluster = cluster, hosts = hosts, name = etcd.name,
  key = etcd.value, after = changed }
each(worker_set.instances, function(vm)
  local worker = node "worker" { machine_id = vm.resource_id, hostname = vm.hostname,
    address = vm.private_ip, group = "worker", jump = jump }
  local joined = kubeadm.join "join" { host = worker.host, node = worker.tools,
    cluster = cluster, address = vm.private_ip, endpoint_address = api_ip.ip }
  life.worker(cluster, vm, worker.host, concat({ joined, worker.tools }, changed))
end)
flannel.network "flannel" { cluster = cluster, pods = cluster.pods, version = p.version }
local provider = cloud.manage(cluster)

-- Git and Flux: the layout is written once and then the team's; only flux-system/ stays ours.
local repo = p.git_url and git.repository "cluster" {
  url = p.git_url, branch = p.git_branch, key = p.git_key, known_hosts = p.git_hosts,
} or git.emulator_repository "cluster" { branch = p.git_branch }
local layout = git.files "layout" { repository = repo, files = files("cluster/gitops"),
  keep_existing = true, message = "Add the clusters, the infrastructure and the apps" }
local gitops = flux.bootstrap "flux" { cluster = cluster, repository = repo,
  path = "clusters/" .. p.environment, after = { layout, provider } }
outputs {
  resource_group_id = group.id, resource_group_name = group.name, subnet_name = subnet.name,
  virtual_network_name = network.name, load_balancer_ip = api_ip.ip, vmss_name = worker_set.name,
  key_vault_name = vault.name, key_vault_secret_names = { "nodes-public-key", "nodes-private-key" },
  endpoint = "https://" .. endpoint .. ":6443", revision = gitops.revision,
  git_url = repo.url, git_key_file = repo.key_file,
}
