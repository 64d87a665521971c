--- The kinds of stdlib/azure by rows: what makes one, changes it in place and replaces it. A row:
--
--   kind             of the resource under test, which is declared last, as `it`
--   needs, before    what it stands on: names out of NEEDS, and more as text of a recipe
--   fields           its fields, as text of a recipe; STACK is a name of the row's own
--   update, replace  fields that are laid over these ("none": not given); each of `replace` forces replacement, the first is applied
--   path, api        of the resource, below its group's providers
--   drift            function(body): changes what ARM shows, which is then written; `by_vault`: function(client, body), which writes itself
--   shows            function(properties, body): what ARM has to show after the update, and what it shows
local json = require "json"

local M = {}

local NEEDS = {
  { "group", 'local group = azure.resource_group "group" { name = "STACK", location = "westeurope" }' },
  { "network", 'local network = azure.virtual_network "network" { group = group, cidr = "10.0.0.0/16" }' },
  { "subnet", 'local subnet = azure.subnet "subnet" { vnet = network, cidr = "10.0.1.0/24" }' },
  { "vault", [[
local me = azure.principal "me" {}
local vault = azure.key_vault "vault" { name = "STACKvault", group = group, rbac = false, purge_protection = true,
  access_policies = { { object_id = me.object_id, keys = { "all" }, secrets = { "all" } } } }]] },
  { "account", 'local account = azure.storage_account "account" { name = "STACKfiles", group = group }' },
  { "workspace", 'local workspace = azure.log_analytics_workspace "workspace" { name = "STACK-logs", group = group }' },
  { "machine", [[
local machine = azure.resource "machine" { name = "STACK-machine", type = "Microsoft.HybridCompute/machines",
  api_version = "2024-07-10", parent = group, body = { location = "westeurope" } }]] },
  { "plan", [[
local plan = azure.resource "plan" { name = "STACK-plan", type = "Microsoft.Web/serverfarms", api_version = "2024-04-01",
  parent = group, body = { location = "westeurope", sku = { name = "P1v3" } } }]] },
}

local FLOW = '{ streams = { "Microsoft-Syslog" }, destinations = { "logs" } }'

M.rows = {
  { kind = "data_disk", needs = "group", path = "Microsoft.Compute/disks/it", api = "2025-01-02",
    fields = 'group = group, size = 64, sku = "Premium_LRS", tier = "P30"',
    update = "size = 128", shows = function(p) return 128, p.diskSizeGB end,
    replace = { "size = 32", 'sku = "StandardSSD_LRS"', 'zone = "2"' },
    drift = function(body) body.properties.tier = "P40" end },

  { kind = "disk_encryption_set", needs = "group vault", path = "Microsoft.Compute/diskEncryptionSets/it", api = "2025-01-02",
    before = [[
local first = azure.key_vault_key "first" { vault = vault }
local second = azure.key_vault_key "second" { vault = vault }]],
    fields = "group = group, key = first",
    update = "key = second", shows = function(p) return "second", p.activeKey.keyUrl:match("/keys/([^/]+)/") end,
    replace = { 'type = "EncryptionAtRestWithPlatformAndCustomerKeys"' },
    drift = function(body) body.properties.rotationToLatestKeyVersionEnabled = true end },

  { kind = "key_vault_key", needs = "group vault", path = "Microsoft.KeyVault/vaults/STACKvault/keys/it", api = "2025-05-01",
    fields = "vault = vault, size = 2048",
    update = 'operations = { "wrapKey", "unwrapKey" }',
    shows = function(p) return { "wrapKey", "unwrapKey" }, p.keyOps end,
    replace = { "size = 3072", 'type = "EC", size = "none"' },
    drift = function(client, body)
      local uri, version = body.properties.keyUri:match("^https://[^/]+"), body.properties.keyUriWithVersion:match("[^/]+$")
      client:vault("PATCH", uri, "/keys/it/" .. version, { attributes = { enabled = false } })
    end, by_vault = true },

  { kind = "route_table", needs = "group", path = "Microsoft.Network/routeTables/it", api = "2025-05-01",
    fields = [[group = group,
      routes = { { name = "out", destination = "0.0.0.0/0", next_hop = "VirtualAppliance", next_hop_ip = "10.0.0.4" } }]],
    update = 'routes = { { name = "out", destination = "0.0.0.0/0", next_hop = "Internet" } }',
    shows = function(p) return "Internet", p.routes[1].properties.nextHopType end,
    replace = { 'location = "northeurope"' },
    drift = function(body)
      local route = body.properties.routes[1].properties
      route.nextHopType, route.nextHopIpAddress = "None", nil
    end },

  { kind = "private_dns_zone", needs = "group", path = "Microsoft.Network/privateDnsZones/it.example", api = "2024-06-01",
    fields = 'group = group, name = "it.example", tags = { of = "one" }',
    update = 'tags = { of = "two" }', shows = function(_, body) return { of = "two" }, body.tags end,
    replace = { 'name = "other.example"' },
    drift = function(body) body.tags.of = "three" end },

  { kind = "private_dns_link", needs = "group network", path = "Microsoft.Network/privateDnsZones/it.example/virtualNetworkLinks/it",
    api = "2024-06-01",
    before = [[
local zone = azure.private_dns_zone "zone" { group = group, name = "it.example" }
local other = azure.virtual_network "other" { group = group, cidr = "10.1.0.0/16" }]],
    fields = "zone = zone, vnet = network",
    update = "registration = true", shows = function(p) return true, p.registrationEnabled end,
    replace = { "vnet = other" },
    drift = function(body) body.properties.registrationEnabled = true end },

  { kind = "private_dns_record", needs = "group", path = "Microsoft.Network/privateDnsZones/it.example/A/it", api = "2024-06-01",
    before = [[
local zone = azure.private_dns_zone "zone" { group = group, name = "it.example" }
local other = azure.private_dns_zone "other" { group = group, name = "other.example" }]],
    fields = 'zone = zone, addresses = { "10.0.0.4", "10.0.0.5" }',
    update = 'ttl = 60, addresses = { "10.0.0.6" }',
    shows = function(p) return { 60, "10.0.0.6" }, { p.ttl, p.aRecords[1].ipv4Address } end,
    replace = { "zone = other" },
    drift = function(body) body.properties.aRecords[2].ipv4Address = "10.9.9.9" end },

  { kind = "private_endpoint", needs = "group network subnet account", path = "Microsoft.Network/privateEndpoints/it", api = "2025-05-01",
    before = 'local other = azure.subnet "other" { vnet = network, cidr = "10.0.2.0/24" }',
    fields = 'group = group, subnet = subnet, target = account, groups = { "blob" }, tags = { of = "one" }',
    update = 'tags = { of = "two" }', shows = function(_, body) return { of = "two" }, body.tags end,
    replace = { 'subnet = other, addresses = { { name = "one", group = "blob", member = "blob", ip = "10.0.2.50" } }', "subnet = other",
      'groups = { "file" }', "manual = true", 'interface_name = "it-nic"' },
    drift = function(body) body.tags.of = "three" end },

  { kind = "storage_account", needs = "group", path = "Microsoft.Storage/storageAccounts/STACKit", api = "2025-01-01",
    fields = 'group = group, name = "STACKit", network = { default = "Deny", ips = { "203.0.113.0/24" } }',
    update = 'sku = "Standard_GRS", network = { default = "Deny", ips = { "203.0.114.0/24" } }',
    shows = function(p, body) return { "Standard_GRS", "203.0.114.0/24" }, { body.sku.name, p.networkAcls.ipRules[1].value } end,
    replace = { 'sku = "Premium_LRS"', "hierarchical = true", 'kind = "BlobStorage"' },
    drift = function(body) body.properties.networkAcls.defaultAction = "Allow" end },

  { kind = "storage_container", needs = "group account",
    path = "Microsoft.Storage/storageAccounts/STACKfiles/blobServices/default/containers/it1", api = "2025-01-01",
    fields = 'account = account, name = "it1", metadata = { of = "one" }',
    update = 'metadata = { of = "two" }', shows = function(p) return { of = "two" }, p.metadata end,
    replace = { 'encryption_scope = "own-scope"', 'name = "it2"' },
    drift = function(body) body.properties.publicAccess = "Blob" end },

  { kind = "log_analytics_workspace", needs = "group", path = "Microsoft.OperationalInsights/workspaces/STACK-it", api = "2025-02-01",
    fields = 'group = group, name = "STACK-it"',
    update = 'retention_days = 90, sku = "CapacityReservation", commitment = 100',
    shows = function(p) return { 90, "CapacityReservation" }, { p.retentionInDays, p.sku.name } end,
    replace = { 'sku = "Standalone"', 'location = "northeurope"' },
    drift = function(body) body.properties.retentionInDays = 365 end },

  { kind = "diagnostic_setting", needs = "group vault account workspace",
    path = "Microsoft.KeyVault/vaults/STACKvault/providers/Microsoft.Insights/diagnosticSettings/it", api = "2021-05-01-preview",
    fields = 'scope = vault, workspace = workspace, logs = { { category_group = "audit" } }',
    update = 'storage_account = account, logs = { { category_group = "allLogs" } }, metrics = { { category = "AllMetrics" } }',
    shows = function(p) return { "allLogs", "AllMetrics" }, { p.logs[1].categoryGroup, p.metrics[1].category } end,
    replace = { "scope = account" },
    drift = function(body) body.properties.logs[1].enabled = false end },

  { kind = "data_collection_rule", needs = "group workspace", path = "Microsoft.Insights/dataCollectionRules/it", api = "2024-03-11",
    fields = [[group = group, kind = "Linux", syslog = { { name = "log", facilities = { "auth" }, levels = { "Error", "Critical" } } },
      workspaces = { { name = "logs", workspace = workspace } }, flows = { FLOW }]],
    update = 'syslog = { { name = "log", facilities = { "auth", "cron" }, levels = { "Error" } } }',
    shows = function(p) return { "auth", "cron" }, p.dataSources.syslog[1].facilityNames end,
    replace = { 'kind = "Windows"', 'location = "northeurope"' },
    drift = function(body) body.properties.dataSources.syslog[1].logLevels = json.array { "Emergency" } end },

  { kind = "data_collection_rule_association", needs = "group workspace machine",
    path = "Microsoft.HybridCompute/machines/STACK-machine/providers/Microsoft.Insights/dataCollectionRuleAssociations/it",
    api = "2024-03-11",
    before = [[
local function rule(name)
  return azure.data_collection_rule(name) { group = group, syslog = { { name = "log", facilities = { name }, levels = { "*" } } },
    workspaces = { { name = "logs", workspace = workspace } }, flows = { FLOW } }
end
local auth, cron = rule "auth", rule "cron"]],
    fields = 'scope = machine, rule = auth, description = "one"',
    update = 'rule = cron, description = "two"',
    shows = function(p) return { "cron", "two" }, { p.dataCollectionRuleId:match("[^/]+$"), p.description } end,
    replace = { "scope = group" },
    drift = function(body) body.properties.description = "three" end },

  { kind = "autoscale_setting", needs = "group plan", path = "Microsoft.Insights/autoscaleSettings/it", api = "2022-10-01",
    before = [[
local other = azure.resource "other" { name = "STACK-other", type = "Microsoft.Web/serverfarms", api_version = "2024-04-01",
  parent = group, body = { location = "westeurope", sku = { name = "P1v3" } } }
local busy = { metric = "CpuPercentage", operator = "GreaterThan", threshold = 75, direction = "Increase", value = 2 }]],
    fields = 'group = group, target = plan, profiles = { { name = "usual", minimum = 1, maximum = 3, rules = { busy } } }',
    update = 'profiles = { { name = "usual", minimum = 2, maximum = 5, rules = { busy } } }',
    shows = function(p) return { "2", "5", "2" }, { p.profiles[1].capacity.minimum, p.profiles[1].capacity.maximum,
      p.profiles[1].rules[1].scaleAction.value } end,
    replace = { "target = other" },
    drift = function(body) body.properties.profiles[1].rules[1].metricTrigger.threshold = 90 end },

  -- Another name leaves nothing behind.
  { kind = "resource", needs = "group", path = "Microsoft.Web/serverfarms/it", api = "2024-04-01",
    fields = [[name = "it", type = "Microsoft.Web/serverfarms", api_version = "2024-04-01", parent = group,
      body = { location = "westeurope", sku = { name = "P1v3" }, tags = { of = "one" } }]],
    update = 'body = { location = "westeurope", sku = { name = "P1v3" }, tags = { of = "two" } }',
    shows = function(_, body) return { of = "two" }, body.tags end,
    replace = { 'name = "other"' },
    drift = function(body) body.tags.of = "three" end },

  { kind = "public_ip_address", needs = "group", path = "Microsoft.Network/publicIPAddresses/it", api = "2025-05-01",
    fields = "group = group, idle_timeout = 10",
    update = "idle_timeout = 15", shows = function(p) return 15, p.idleTimeoutInMinutes end,
    replace = { 'name = "other"', 'sku = "StandardV2"' },
    drift = function(body) body.properties.idleTimeoutInMinutes = 20 end },
}

--- What a row stands on, and the row itself, as two texts of a recipe that has `azure`; `over` is laid over the row's fields. The second
-- is lines of which the last declares `it`.
function M.texts(row, name, over)
  local lines = {}
  for _, need in ipairs(NEEDS) do
    if (" " .. row.needs .. " "):find(" " .. need[1] .. " ", 1, true) then lines[#lines + 1] = need[2] end
  end
  lines[#lines + 1] = row.before
  local own = { ("local fields = { %s }"):format(row.fields),
    ("for name, value in pairs { %s } do fields[name] = value ~= 'none' and value or nil end"):format(over or ""),
    ('azure.%s "it" (fields)'):format(row.kind) }
  local function filled(list) return (table.concat(list, "\n"):gsub("STACK", name):gsub("FLOW", FLOW)) end
  return filled(lines), filled(own)
end

return M
