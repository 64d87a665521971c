-- Every Azure kind once; the story beside this file changes it from outside and by its parameters.
local azure = use "azure"
local p = params {
  rules   = param.integer { default = 2, min = 1, max = 2, help = "how many security rules" },
  workers = param.integer { default = 1, min = 0, max = 9, help = "instances of the set" },
  mode    = param.choice { "Uniform", "Flexible", default = "Uniform", help = "of the set" },
  tag     = param.string { default = "a", help = "a tag" },
}
local group = azure.resource_group "main" { name = "t-rg", location = "westus2", tags = { v = p.tag } }
local ip = azure.public_ip_address "in" { group = group, name = "t-in" }
local out = azure.public_ip_address "out" { group = group, name = "t-out" }
local nat = azure.nat_gateway "nat" { group = group, name = "t-nat", public_ips = { out } }
local network = azure.virtual_network "main" { group = group, name = "t-vnet", cidr = "10.0.0.0/16" }
local admin = azure.virtual_network "admin" { group = group, name = "t-admin", cidr = "10.1.0.0/16" }
azure.virtual_network_peering "there" { vnet = network, remote = admin, name = "there" }
azure.virtual_network_peering "back" { vnet = admin, remote = network, name = "back" }
local list = { { name = "ssh", priority = 100, port = 22, source = { "203.0.113.0/24", "10.0.0.0/16" } } }
if p.rules > 1 then
  list[2] = { name = "api", priority = 110, port = { "6443", "443" }, source = { "10.0.0.0/16", ip.ip } }
end
local rules = azure.network_security_group "main" { group = group, name = "t-nsg", rules = list }
local subnet = azure.subnet "main" {
  vnet = network, name = "nodes", cidr = "10.0.1.0/24", security_group = rules, nat_gateway = nat,
}
local balancer = azure.load_balancer "main" {
  group = group, name = "t-lb", frontends = { { name = "in", public_ip = ip } }, pools = { { name = "pool" } },
  probes = { { name = "api", protocol = "Tcp", port = 6443 } },
  rules = { { name = "api", frontend = "in", pool = "pool", probe = "api", frontend_port = 6443, backend_port = 6443,
    disable_outbound_snat = true } },
  nat_rules = { { name = "ssh", frontend = "in", frontend_port = 22, backend_port = 22 } },
}
local me = azure.principal "me" {}
local vault = azure.key_vault "main" { group = group, name = "t-vault", retention_days = 7 }
local writer = azure.role_assignment "writer" {
  scope = vault, principal = me.object_id, principal_type = me.type, role = "Key Vault Secrets Officer",
}
local key = azure.ssh_key_pair "main" { vault = vault, name = "nodes", after = { writer } }
azure.key_vault_secret "plain" { vault = vault, name = "plain", value = "canary-" .. p.tag, after = { writer } }
azure.vault_random "random" { vault = vault, name = "random", after = { writer } }
azure.ssh_public_key "main" { group = group, name = "t-key", public_key = key.public_key }
local identity = azure.user_assigned_identity "main" { group = group, name = "t-id" }
azure.role_assignment "reader" { scope = group, principal = identity, role = "Reader" }
local set = azure.virtual_machine_scale_set "named" { group = group, name = "t-named", fault_domains = 1 }
local interface = azure.network_interface "m" {
  group = group, name = "t-nic", subnet = subnet, pools = { balancer.pool_ids.pool }, nat_rules = { balancer.nat_rule_ids.ssh },
}
local machine = azure.virtual_machine "m" {
  group = group, name = "m-1", interface = interface, scale_set = set, identities = { identity }, size = "Standard_D2s_v5",
  image = "debian-12", public_key = key.public_key, disk = { size = 64, type = "Premium_LRS" },
}
local workers = azure.virtual_machine_scale_set "worker" {
  group = group, name = "t-w", mode = p.mode, capacity = p.workers, subnet = subnet, size = "Standard_D2s_v5",
  fault_domains = p.mode == "Flexible" and 1 or nil, image = "debian-12", public_key = key.public_key,
  identities = { identity }, health = { protocol = "tcp", port = 22 },
}
azure.resource "any" {
  parent = group, name = "t-any", type = "Microsoft.Cache/redis", api_version = "2024-03-01",
  body = { location = "westus2", properties = { size = 3 } },
}
azure.host_keys "m" { machine_id = machine.id, vm_id = machine.vm_id }
each(workers.instances, function(worker) azure.host_keys "worker" { machine_id = worker.resource_id } end)
azure.action "restart" { resource = machine, action = "restart", api_version = "2025-04-01", triggers = p.tag }
outputs { address = ip.ip, instances = workers.instances, private_key = key.private_key }
