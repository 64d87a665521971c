-- What the story makes with az, as a recipe.
local azure = use "azure"
local p = params { key = param.string { help = "a public key" } }
local image = "Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2:latest"
local group = azure.resource_group "main" { name = "ours", location = "westeurope", tags = { of = "both" } }
local rules = azure.network_security_group "main" { group = group, name = "nsg1",
  rules = { { name = "ssh", priority = 100, port = 22 } } }
local network = azure.virtual_network "main" { group = group, name = "vnet1", cidr = "10.0.0.0/16" }
local subnet = azure.subnet "main" { vnet = network, name = "s1", cidr = "10.0.1.0/24", security_group = rules }
local ip = azure.public_ip_address "main" { group = group, name = "ip1" }
local balancer = azure.load_balancer "main" { group = group, name = "lb1", frontends = { { name = "fe", public_ip = ip } },
  pools = { { name = "be" } }, probes = { { name = "p1", port = 80 } },
  rules = { { name = "r1", frontend = "fe", pool = "be", probe = "p1", frontend_port = 80, backend_port = 80,
    disable_outbound_snat = true } },
  nat_rules = { { name = "n1", frontend = "fe", frontend_port = 22, backend_port = 22 } } }
local interface = azure.network_interface "main" { group = group, name = "nic1", subnet = subnet, pools = { balancer.pool_ids.be },
  nat_rules = { balancer.nat_rule_ids.n1 } }
local identity = azure.user_assigned_identity "main" { group = group, name = "id1" }
azure.key_vault "main" { group = group, name = "kvofours", rbac = false,
  access_policies = { { object_id = azure.principal "me" {}.object_id, keys = { "all" }, secrets = { "all" } } } }
azure.ssh_public_key "main" { group = group, name = "key1", public_key = p.key }
azure.virtual_machine "main" { group = group, name = "vm1", image = image, user = "u", public_key = p.key, size = "Standard_B1s",
  interface = interface, identities = { identity }, disk = { size = 64, type = "Premium_LRS" } }
azure.virtual_machine_scale_set "flexible" { group = group, name = "sf", mode = "Flexible", image = image, user = "u", public_key = p.key,
  size = "Standard_B1s", subnet = subnet, capacity = 1, identities = { identity }, fault_domains = 1 }
azure.virtual_machine_scale_set "uniform" { group = group, name = "su", mode = "Uniform", image = image, user = "u", public_key = p.key,
  size = "Standard_B1s", subnet = subnet, capacity = 1, identities = { identity } }
