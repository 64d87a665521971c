--- The rows of the matrix of faults: those of tests/lua/kinds_azure_rows.lua and the kinds that have none there. A row has more here:
--
--   at          the part of its requests' path, where it is not below its group's providers, or looked for in a list
--   host        the same of what its operations are of, where they are its parent's
--   operations  which verbs are operations that may fail or hang; else the answer is all there is
--   asks        which verbs ask Resource Manager at all; a vault's own host is out of the faults' reach
--   says        what a failed operation is told as, where its service shows no more than that it failed
--   replaced    its update is a replacement
--   zonal       it stands in zone 1
--   verbs       methods other than those of a resource; `operated`: other than those of its operations (false: none fits)
local shared = require "kinds_azure_rows"

local M = { texts = shared.texts, rows = {} }

--- Kinds without a row, and why.
M.without = {
  existing = "reads what somebody else keeps, and writes nothing",
  principal = "says who we are out of the token: no request to a resource",
  host_keys = "reads over run-command what the machine has, and writes nothing",
}

--- Cells that are not right yet, and why; one that became right has to leave this table.
M.gaps = {}

local KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"

-- What the shared rows do not say.
local MORE = {
  data_disk = { zonal = true, fields = 'group = group, size = 64, sku = "Premium_LRS", tier = "P30", zone = "1"' },
  disk_encryption_set = {},
  key_vault_key = { operations = "", asks = "create read" },
  route_table = {},
  private_dns_zone = {},
  private_dns_link = {},
  private_dns_record = { operations = "" },
  private_endpoint = { fields = [[group = group, subnet = subnet, target = account, groups = { "blob" }, interface_name = "it-nic",
      tags = { of = "one" }]] },
  storage_account = { operations = "create" },
  storage_container = { operations = "" },
  log_analytics_workspace = {},
  diagnostic_setting = { operations = "" },
  data_collection_rule = { operations = "" },
  data_collection_rule_association = { operations = "" },
  autoscale_setting = { operations = "" },
  resource = { operations = "" },
  public_ip_address = { zonal = true, fields = 'group = group, idle_timeout = 10, zones = { "1" }' },
}

for _, row in ipairs(shared.rows) do
  local more = MORE[row.kind] or error("azure." .. row.kind .. " has a shared row of which the faults' rows say nothing")
  M.rows[#M.rows + 1] = setmetatable(more, { __index = row })
end

local NETWORK = "Microsoft.Network/virtualNetworks/network"
local OF_PARENT = { delete = { "PUT" } } -- to remove a child is a change of its parent

for _, row in ipairs {
  { kind = "action", needs = "group account", path = "Microsoft.Storage/storageAccounts/STACKfiles/listKeys", operations = "",
    asks = "create update", verbs = { create = { "POST" }, update = { "POST" } },
    fields = 'resource = account, action = "listKeys", api_version = "2025-01-01", triggers = "one"', update = 'triggers = "two"' },

  { kind = "key_vault", needs = "group", path = "Microsoft.KeyVault/vaults/STACKit", operations = "create",
    says = "OperationFailed",
    fields = 'group = group, name = "STACKit", tags = { of = "one" }', update = 'tags = { of = "two" }' },

  { kind = "key_vault_secret", needs = "group vault", at = "/secrets/", operations = "", asks = "",
    fields = 'vault = vault, value = "one"', update = 'value = "two"' },

  { kind = "load_balancer", needs = "group", path = "Microsoft.Network/loadBalancers/it", operations = "update delete",
    before = 'local ip = azure.public_ip_address "ip" { group = group }',
    fields = 'group = group, frontends = { { name = "in", public_ip = ip } }, pools = { { name = "one" } }',
    update = 'pools = { { name = "one" }, { name = "two" } }' },

  { kind = "nat_gateway", needs = "group", path = "Microsoft.Network/natGateways/it", zonal = true,
    before = 'local ip = azure.public_ip_address "ip" { group = group, zones = { "1" } }',
    fields = 'group = group, public_ips = { ip }, zones = { "1" }, idle_timeout = 10', update = "idle_timeout = 15" },

  { kind = "network_interface", needs = "group network subnet", path = "Microsoft.Network/networkInterfaces/it",
    operations = "",
    fields = "group = group, subnet = subnet", update = "forwarding = true" },

  { kind = "network_security_group", needs = "group", path = "Microsoft.Network/networkSecurityGroups/it",
    fields = [[group = group, rules = { { name = "in", priority = 100, direction = "Inbound", access = "Allow", protocol = "Tcp",
      source = "10.0.0.0/8", destination = "*", port = 22 } }]],
    update = [[rules = { { name = "in", priority = 100, direction = "Inbound", access = "Allow", protocol = "Tcp",
      source = "10.0.0.0/8", destination = "*", port = 443 } }]] },

  { kind = "resource_group", needs = "group", at = "/resourceGroups/STACK-it", operations = "delete",
    operated = { delete = { false } },
    fields = 'name = "STACK-it", location = "westeurope", tags = { of = "one" }', update = 'tags = { of = "two" }' },

  { kind = "role_assignment", needs = "group", path = "Microsoft.Authorization/roleAssignments/", operations = "", replaced = true,
    at = "/resourceGroups/STACK/providers/Microsoft.Authorization/roleAssignments",
    before = 'local who = azure.user_assigned_identity "who" { group = group }',
    fields = 'scope = group, principal = who, role = "Reader"', update = 'role = "Contributor"' },

  { kind = "ssh_key_pair", needs = "group vault", at = "/secrets/", operations = "", asks = "",
    fields = "vault = vault", update = 'name = "other"' },

  { kind = "ssh_public_key", needs = "group", path = "Microsoft.Compute/sshPublicKeys/it", operations = "",
    fields = ('group = group, public_key = "%s one", tags = { of = "one" }'):format(KEY), update = 'tags = { of = "two" }' },

  { kind = "subnet", needs = "group network", path = NETWORK .. "/subnets/it", host = NETWORK, operated = OF_PARENT,
    fields = 'vnet = network, cidr = "10.0.3.0/24"', update = 'cidr = "10.0.4.0/24"' },

  { kind = "user_assigned_identity", needs = "group", path = "Microsoft.ManagedIdentity/userAssignedIdentities/STACK-it", operations = "",
    fields = 'group = group, name = "STACK-it", tags = { of = "one" }', update = 'tags = { of = "two" }' },

  { kind = "vault_random", needs = "group vault", at = "/secrets/", operations = "", asks = "",
    fields = "vault = vault, bytes = 32", update = "bytes = 64" },

  { kind = "virtual_machine", needs = "group network subnet", path = "Microsoft.Compute/virtualMachines/it", zonal = true,
    before = 'local interface = azure.network_interface "interface" { group = group, subnet = subnet }',
    fields = ([[group = group, interface = interface, size = "Standard_D2s_v5", image = "debian-12", zone = "1",
      public_key = "%s", tags = { of = "one" }]]):format(KEY), update = 'tags = { of = "two" }' },

  { kind = "virtual_machine_scale_set", needs = "group network subnet", path = "Microsoft.Compute/virtualMachineScaleSets/it", zonal = true,
    at = "/resourceGroups/STACK/providers/Microsoft.Compute/virtualMachineScaleSets",
    fields = ([[group = group, subnet = subnet, mode = "Uniform", capacity = 1, size = "Standard_D2s_v5", image = "debian-12",
      zones = { "1" }, public_key = "%s", tags = { of = "one" }]]):format(KEY), update = 'tags = { of = "two" }' },

  { kind = "virtual_network", needs = "group", path = "Microsoft.Network/virtualNetworks/it",
    fields = 'group = group, cidr = "10.2.0.0/16"', update = 'cidr = { "10.2.0.0/16", "10.3.0.0/16" }' },

  { kind = "virtual_network_peering", needs = "group network", path = NETWORK .. "/virtualNetworkPeerings/it", host = NETWORK,
    operated = OF_PARENT,
    before = 'local other = azure.virtual_network "other" { group = group, cidr = "10.1.0.0/16" }',
    fields = "vnet = network, remote = other", update = "allow_forwarded = true" },
} do
  M.rows[#M.rows + 1] = row
end

return M
