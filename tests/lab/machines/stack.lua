-- Machines to try: a gate that the internet reaches by a NAT rule, workers behind it and behind a load balancer, a private zone.
local azure, ssh = use("azure", "ssh")
local p = params {
  workers = param.integer { default = 1, min = 0, max = 50, help = "instances of the set" },
  web     = param.choice { "Allow", "Deny", default = "Allow", help = "port 8080 between the machines" },
}
local ANSWER = [[
#cloud-config
write_files:
  - path: /srv/web
    permissions: "0755"
    content: |
      #!/bin/bash
      while read -r line && [ "$line" != $'\r' ]; do :; done
      printf 'HTTP/1.0 200 OK\r\n\r\nhere'
]]
local group = azure.resource_group "main" { name = "lab-rg", location = "westus2" }
local ip, out = azure.public_ip_address "in" { group = group, name = "lab-in" }, azure.public_ip_address "out" { group = group, name = "lab-out" }
local nat = azure.nat_gateway "nat" { group = group, name = "lab-nat", public_ips = { out } }
local network = azure.virtual_network "main" { group = group, name = "lab-vnet", cidr = "10.0.0.0/16" }
local rules = azure.network_security_group "main" { group = group, name = "lab-nsg", rules = {
  { name = "ssh", priority = 100, port = 22, source = { "203.0.113.0/24", "10.0.0.0/16" } },
  { name = "web", priority = 110, port = 8080, source = "10.0.0.0/16", access = p.web },
  { name = "balanced", priority = 120, port = 8081, source = { "203.0.113.0/24", out.ip } },
} }
local subnet = azure.subnet "main" { vnet = network, name = "nodes", cidr = "10.0.1.0/24", security_group = rules, nat_gateway = nat }
local balancer = azure.load_balancer "main" {
  group = group, name = "lab-lb", frontends = { { name = "in", public_ip = ip } }, pools = { { name = "workers" } },
  probes = { { name = "web", protocol = "Tcp", port = 8081 } },
  rules = { { name = "web", frontend = "in", pool = "workers", probe = "web", frontend_port = 80, backend_port = 8081, disable_outbound_snat = true } },
  nat_rules = { { name = "ssh", frontend = "in", frontend_port = 22, backend_port = 22 } },
}
local me = azure.principal "me" {}
local vault = azure.key_vault "main" { group = group, name = "lab-vault", retention_days = 7 }
local writer = azure.role_assignment "writer" {
  scope = vault, principal = me.object_id, principal_type = me.type, role = "Key Vault Secrets Officer",
}
local key = azure.ssh_key_pair "main" { vault = vault, name = "nodes", after = { writer } }
local identity = azure.user_assigned_identity "main" { group = group, name = "lab-id" }
local interface = azure.network_interface "gate" { group = group, name = "gate-nic", subnet = subnet, nat_rules = { balancer.nat_rule_ids.ssh } }
local gate = azure.virtual_machine "gate" {
  group = group, name = "gate", interface = interface, identities = { identity }, size = "Standard_D2s_v5", image = "debian-12",
  user = "ops", public_key = key.public_key, custom_data = "#cloud-config\nwrite_files:\n  - path: /etc/motd\n    content: written first\n"
    .. "runcmd:\n  - systemctl is-active ssh >/root/first-boot\n",
}
local workers = azure.virtual_machine_scale_set "worker" {
  group = group, name = "worker", mode = "Uniform", capacity = p.workers, subnet = subnet, size = "Standard_D2s_v5", image = "debian-12",
  user = "ops", public_key = key.public_key, pools = { balancer.pool_ids.workers }, custom_data = ANSWER,
  health = { protocol = "tcp", port = 22 },
}
local gate_keys = azure.host_keys "gate" { machine_id = gate.id, vm_id = gate.vm_id }
local jump = ssh.host "gate" {
  name = "gate", hostname = "gate", address = ip.ip, user = "ops", key = key.private_key, host_keys = gate_keys.lines, groups = { "gate" },
}
each(workers.instances, function(vm)
  local keys = azure.host_keys "worker" { machine_id = vm.resource_id }
  ssh.host "worker" {
    name = vm.hostname, hostname = vm.hostname, address = vm.private_ip, user = "ops", key = key.private_key, host_keys = keys.lines,
    groups = { "worker" }, via = jump,
  }
end)
outputs { address = ip.ip, gate = interface.private_ip, instances = workers.instances }
