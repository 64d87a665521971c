-- The kinds that tests/e2e/azure/stack.lua lacks, and fields that it leaves out.
local azure = use "azure"
local p = params { later = param.boolean { default = false, help = "the second writing" } }
local group = azure.resource_group "main" { name = "u-rg", location = "westus2", tags = { later = tostring(p.later) } }
local ip = azure.public_ip_address "ip" { group = group, name = "u-ip", zones = { "1", "2", "3" }, idle_timeout = p.later and 15 or 10 }
local routes = azure.route_table "routes" { group = group, name = "u-routes",
  routes = { { name = "out", destination = "0.0.0.0/0", next_hop = "VirtualAppliance",
    next_hop_ip = p.later and "10.2.0.5" or "10.2.0.4" } } }
local network = azure.virtual_network "main" { group = group, name = "u-vnet", cidr = { "10.2.0.0/16", "10.3.0.0/16" } }
local subnet = azure.subnet "main" { vnet = network, name = "nodes", cidr = "10.2.1.0/24", route_table = routes }
local rules = azure.network_security_group "main" { group = group, name = "u-nsg", rules = {
  { name = "in", priority = 100, port = { "80", "8000-8100" }, source = { "10.0.0.0/8", "192.0.2.0/24" }, protocol = "*",
    description = "in" },
  { name = "out", priority = 110, direction = "Outbound", access = "Deny", destination = { "203.0.113.0/24", "198.51.100.0/24" } },
} }
local balancer = azure.load_balancer "main" {
  group = group, name = "u-lb", frontends = { { name = "public", public_ip = ip } }, pools = { { name = "pool" } },
  probes = { { name = "http", protocol = "Http", port = 80, path = "/", interval = p.later and 10 or 5, threshold = 2 } },
  rules = { { name = "http", frontend = "public", pool = "pool", probe = "http", frontend_port = 80, backend_port = 8080, protocol = "Tcp",
    idle_timeout = 5, floating_ip = false, disable_outbound_snat = true } },
  outbound_rules = { { name = "out", frontend = "public", pool = "pool", protocol = "All", ports = 1024 } },
}
azure.load_balancer "inner" { group = group, name = "u-inner", pools = { { name = "pool" } },
  frontends = { { name = "in", subnet = subnet, private_ip = "10.2.1.100", zones = { "1", "2", "3" } } } }
local own_ip = azure.public_ip_address "own" { group = group, name = "u-own" }
local interface = azure.network_interface "main" { group = group, name = "u-nic", subnet = subnet, private_ip = "10.2.1.50",
  public_ip = own_ip, security_group = rules, accelerated = true, forwarding = not p.later, pools = { balancer.pool_ids.pool } }
local me = azure.principal "me" {}
local identity = azure.user_assigned_identity "main" { group = group, name = "u-id" }
local vault = azure.key_vault "main" { group = group, name = "u-vault", rbac = false, purge_protection = true, sku = "premium",
  access_policies = { { object_id = me.object_id, keys = { "all" }, secrets = { "get", "set" } },
    { object_id = identity.principal_id, keys = { "get", "wrapKey", "unwrapKey" } } } }
local key = azure.key_vault_key "main" { vault = vault, name = "disks", size = 3072, operations = { "wrapKey", "unwrapKey" } }
azure.key_vault_key "curve" { vault = vault, name = "curve", type = "EC", curve = "P-256", expires = 2000000000 }
local encryption = azure.disk_encryption_set "main" { group = group, name = "u-des", key = key, identities = { identity } }
local extensions = { { name = "agent", publisher = "Microsoft.Azure.Monitor", type = "AzureMonitorLinuxAgent", version = "1.0",
  minor_upgrade = p.later, automatic_upgrade = true, settings = { of = p.later and "them" or "us" } } }
azure.data_disk "main" { group = group, name = "u-disk", size = p.later and 128 or 64, sku = "Premium_LRS", tier = "P30", zone = "1",
  encryption_set = encryption }
azure.data_disk "ultra" { group = group, name = "u-ultra", size = 64, sku = "PremiumV2_LRS", zone = "1", iops = 4000, throughput = 200,
  max_shares = 2, sector_size = 512 }
azure.virtual_machine "main" { group = group, name = "u-vm", interface = interface, size = "Standard_D2s_v5", image = "ubuntu-24.04",
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHHoHC/Kn3bD0sMl9q3PeqkMJJjI8P6dXu4vDmSjmzQU", hostname = "host", zone = "1",
  custom_data = "#cloud-config\n", disk = { size = 32, type = "StandardSSD_LRS", caching = "ReadOnly" }, encryption_set = encryption,
  extensions = extensions }
azure.virtual_machine_scale_set "spot" { group = group, name = "u-spot", mode = "Flexible", capacity = 1, subnet = subnet,
  size = "Standard_D2s_v5", image = "debian-12", fault_domains = 1, zones = { "1", "2" }, identities = { identity }, prefix = "spot",
  pools = { balancer.pool_ids.pool }, custom_data = "#cloud-config\n", spot = { eviction = "Delete", max_price = 0.25 },
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHHoHC/Kn3bD0sMl9q3PeqkMJJjI8P6dXu4vDmSjmzQU",
  health = { protocol = "https", port = 443, path = "/ready" }, encryption_set = encryption, extensions = extensions }
local zone = azure.private_dns_zone "main" { group = group, name = "u.example", tags = { of = p.later and "them" or "us" } }
azure.private_dns_link "main" { zone = zone, name = "link", vnet = network, registration = not p.later }
azure.private_dns_record "main" { zone = zone, name = "api", addresses = { "10.2.1.4", "10.2.1.5" }, ttl = p.later and 60 or 300 }
local account = azure.storage_account "main" { group = group, name = "ufilesofstory", hierarchical = true, access_tier = "Cool",
  sftp = true, shared_keys = p.later, public_network_access = "Enabled",
  network = { default = "Deny", bypass = "AzureServices, Logging", ips = { "203.0.113.0/24" }, subnets = { subnet } } }
azure.storage_container "main" { account = account, name = "box", metadata = { of = p.later and "them" or "us" } }
azure.private_endpoint "main" { group = group, name = "u-pe", subnet = subnet, target = account, groups = { "blob" },
  interface_name = "u-pe-nic", addresses = { { name = "one", group = "blob", member = "blob", ip = "10.2.1.60" } } }
azure.private_endpoint "manual" { group = group, name = "u-pe-manual", subnet = subnet, target = vault, groups = { "vault" }, manual = true,
  request_message = "please" }
local workspace = azure.log_analytics_workspace "main" { group = group, name = "u-logs", retention_days = p.later and 60 or 90 }
azure.log_analytics_workspace "reserved" { group = group, name = "u-reserved", sku = "CapacityReservation", commitment = 100 }
azure.diagnostic_setting "main" { name = "all", scope = vault, workspace = workspace, storage_account = account,
  logs = { { category_group = "audit" }, { category = "AzurePolicyEvaluationDetails", enabled = false } },
  metrics = { { category = "AllMetrics" } } }
local machine = azure.resource "machine" { name = "u-machine", type = "Microsoft.HybridCompute/machines", api_version = "2024-07-10",
  parent = group, body = { location = "westus2" } }
local rule = azure.data_collection_rule "main" { group = group, name = "u-dcr", kind = "Linux", description = "logs",
  syslog = { { name = "log", facilities = { "auth" }, levels = { "Error", p.later and "Alert" or "Critical" } } },
  performance = { { name = "cpu", counters = { [[\Processor(*)\% Processor Time]] }, interval = 30 } },
  log_files = { { name = "nginx", streams = { "Custom-Nginx_CL" }, paths = { "/var/log/nginx/*.log" }, format = "text",
    timestamp = "ISO 8601" } },
  streams = { ["Custom-Nginx_CL"] = { { name = "TimeGenerated", type = "datetime" }, { name = "RawData", type = "string" } } },
  workspaces = { { name = "logs", workspace = workspace } }, metrics_name = "metrics",
  flows = { { streams = { "Microsoft-Syslog" }, destinations = { "logs" }, transform = "source" },
    { streams = { "Custom-Nginx_CL" }, destinations = { "logs" }, output_stream = "Custom-Nginx_CL" } } }
azure.data_collection_rule_association "main" { name = "all", scope = machine, rule = rule, description = p.later and "every" or "all" }
local plan = azure.resource "plan" { name = "u-plan", type = "Microsoft.Web/serverfarms", api_version = "2024-04-01", parent = group,
  body = { location = "westus2", sku = { name = "P1v3" } } }
azure.autoscale_setting "main" { group = group, name = "u-scale", target = plan, profiles = {
  { name = "usual", minimum = 1, maximum = p.later and 4 or 3, rules = { {
    metric = "CpuPercentage", operator = "GreaterThan", threshold = 75, direction = "Increase", value = 2 } } },
  { name = "night", minimum = 1, maximum = 1, recurrence = { frequency = "Week", days = { "Monday" }, hours = { 22 }, minutes = { 0 } } },
}, notifications = { { emails = { "ops@u.example" } } } }
