-- How many instances there are is Azure's answer: `each` declares what every one of them gets.
local azure, ssh, linux = use("azure", "ssh", "linux")

local p = params { machines = param.integer { default = 2, min = 0, help = "how many machines" } }

local group = azure.resource_group "main" { name = "each-rg", location = "westeurope" }
local network = azure.virtual_network "main" { group = group, cidr = "10.0.0.0/16" }
local address = azure.public_ip_address "out" { group = group }
local gateway = azure.nat_gateway "out" { group = group, public_ips = { address } }
local subnet = azure.subnet "main" { vnet = network, cidr = "10.0.1.0/24", nat_gateway = gateway }
local me = azure.principal "me" {}
local vault = azure.key_vault "main" { name = "each-vault", group = group }
local writer = azure.role_assignment "writer" { scope = vault, principal = me.object_id, principal_type = me.type,
  role = "Key Vault Secrets Officer" }
local key = azure.ssh_key_pair "machines" { vault = vault, after = { writer } }
local set = azure.virtual_machine_scale_set "machines" {
  group = group, mode = "Uniform", capacity = p.machines, size = "Standard_B2s", image = "debian-12", subnet = subnet,
  user = "azureuser", public_key = key.public_key,
}

each(set.instances, function(machine)
  local keys = azure.host_keys "keys" { machine_id = machine.resource_id }
  local host = ssh.host "host" { address = machine.private_ip, user = "azureuser", key = key.private_key,
    host_keys = keys.lines }
  linux.base "base" { host = host, hostname = machine.hostname }
end)

outputs { addresses = each(set.instances, function(machine) return machine.private_ip end) }
