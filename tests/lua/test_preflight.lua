-- What of Azure's roles a kind needs (azure.permission) and what machines need of quotas, without an emulator; tests/e2e/preflight.sh
-- asks one.
local test = require "tap"
local kind, permission = require "kind", require "azure.permission"

local BASE = "/subscriptions/s/resourceGroups/g/providers/"

local function has(list, item)
  for _, other in ipairs(list) do
    if other == item then return true end
  end
  return false
end

test("wildcards and what is taken out again", function(t)
  local all_but = { { actions = { "*" }, notActions = { "Microsoft.Authorization/*/Write" } } }
  t.ok(permission.admits(all_but, "Microsoft.Network/virtualNetworks/write"))
  t.ok(not permission.admits(all_but, "Microsoft.Authorization/roleAssignments/write"))
  local other = { all_but[1], { actions = { "microsoft.authorization/roleAssignments/*" } } }
  t.ok(permission.admits(other, "Microsoft.Authorization/roleAssignments/write"), "another role's own")
  t.ok(not permission.admits({ { actions = { "Microsoft.Network/*/read" } } }, "Microsoft.Network/virtualNetworks/write"))
  t.ok(not permission.admits({ { actions = { "Microsoft.Network/virtualNetworks" } } },
    "Microsoft.Network/virtualNetworks/write"))
  t.ok(not permission.admits({}, "Microsoft.Network/virtualNetworks/read"))
end)

test("the type of an id", function(t)
  t.eq(permission.type_of_id(BASE .. "Microsoft.Network/virtualNetworks/v/subnets/s"),
    "microsoft.network/virtualnetworks/subnets")
  t.eq(permission.type_of_id(BASE .. "Microsoft.Network/virtualNetworks/v/providers/Microsoft.Authorization/roleAssignments/r"),
    "microsoft.authorization/roleassignments")
  t.eq(permission.type_of_id("/subscriptions/s/resourceGroups/g"), nil)
end)

test("what a resource asks of those that it mentions", function(t)
  local subnet = BASE .. "Microsoft.Network/virtualNetworks/v/subnets/s"
  local pool = BASE .. "Microsoft.Network/loadBalancers/l/backendAddressPools/p"
  local list = permission.mentions(kind.find "azure.network_interface", {
    name = "n", group = { id = "/subscriptions/s/resourceGroups/g" },
    subnet = { id = subnet, vnet = { id = BASE .. "Microsoft.Network/virtualNetworks/v" } }, pools = { pool, pool } })
  t.eq(list, { { action = "Microsoft.Network/loadBalancers/backendAddressPools/join/action", id = pool },
    { action = "Microsoft.Network/virtualNetworks/subnets/join/action", id = subnet } })
  local vnet = BASE .. "Microsoft.Network/virtualNetworks/"
  local peering = { vnet = { id = vnet .. "a" }, remote = { id = vnet .. "b" } }
  t.eq(permission.mentions(kind.find "azure.virtual_network_peering", peering),
    { { action = "Microsoft.Network/virtualNetworks/peer/action", id = vnet .. "b" } })
  local identity = { id = BASE .. "Microsoft.ManagedIdentity/userAssignedIdentities/i" }
  t.eq(permission.mentions(kind.find "azure.role_assignment", { scope = { id = vnet .. "a" }, principal = identity }), {})
end)

test("a role has what its kinds need, and no more", function(t)
  local actions, data = permission.role { { kind = "azure.subnet", fields = {} },
    { kind = "azure.network_security_group", fields = {} } }
  t.ok(has(actions, "Microsoft.Network/virtualNetworks/subnets/delete"))
  t.ok(has(actions, "Microsoft.Network/networkSecurityGroups/join/action"))
  t.ok(not has(actions, "Microsoft.Network/routeTables/join/action"), "there is no route table")
  t.ok(not has(actions, "Microsoft.Compute/skus/read"), "nor a machine")
  t.eq(data, {})
  actions = permission.role { { kind = "azure.subnet", fields = {} }, { kind = "azure.existing", fields = {} } }
  t.ok(has(actions, "Microsoft.Network/routeTables/join/action"), "what exists may be one")

  actions, data = permission.role { { kind = "azure.key_vault_key", fields = {} }, { kind = "azure.vault_random", fields = {} } }
  t.eq(actions, { "Microsoft.KeyVault/vaults/keys/read", "Microsoft.KeyVault/vaults/keys/write" })
  t.ok(has(data, "Microsoft.KeyVault/vaults/keys/create/action")
    and has(data, "Microsoft.KeyVault/vaults/secrets/setSecret/action"))
  local vm, set = "Microsoft.Compute/virtualMachines/extensions/write",
    "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/extensions/write"
  actions = permission.role { { kind = "azure.virtual_machine", fields = {} },
    { kind = "azure.virtual_machine_scale_set", fields = { mode = "Uniform", extensions = { {} } } } }
  t.ok(has(actions, set) and not has(actions, vm), "extensions are of what has some")
  actions = permission.role { { kind = "azure.virtual_machine_scale_set", fields = { mode = "Flexible", extensions = { {} } } } }
  t.ok(has(actions, vm) and not has(actions, set), "instances of a Flexible set are machines")
  actions = permission.role { { kind = "azure.resource", fields = { type = "Microsoft.Cache/redis" } },
    { kind = "azure.action", fields = { action = "restart", resource = { ["$kind"] = "azure.virtual_machine" } } },
    { kind = "azure.action", fields = { action = "listKeys", resource = BASE .. "Microsoft.Storage/storageAccounts/a" } } }
  t.ok(has(actions, "Microsoft.Cache/redis/write") and has(actions, "Microsoft.Cache/register/action"))
  t.ok(has(actions, "Microsoft.Compute/virtualMachines/restart/action"))
  t.ok(has(actions, "microsoft.storage/storageaccounts/listKeys/action"))
  t.eq({ permission.role {} }, { {}, {} })
end)

-- An Azure that has no quota left, and two sizes; which answers are asked for is its only client's affair.
local function sku(name, family, cores)
  return { resourceType = "virtualMachines", name = name, family = family, capabilities = { { name = "vCPUs", value = cores } } }
end
local ANSWERS = { permissions = { { actions = { "*" } } }, skus = { sku("Small", "s", "2"), sku("Large", "l", "4") }, usages = {} }
for i, name in ipairs { "cores", "s", "l", "lowPriorityCores", "virtualMachines" } do
  ANSWERS.usages[i] = { name = { value = name }, currentValue = 0, limit = 0 }
end

-- What a write of machines needs more of, by the name of a quota.
local function needed(t, kind_name, row, fields)
  local arm, preflight = require "azure.arm", require "azure.preflight"
  local open = arm.open
  t.after(function() arm.open = open end)
  local client = { subscription = "s" }
  function client.url(_, id) return id end
  function client.request(_, _, url)
    for word, list in pairs(ANSWERS) do
      if url:find("/" .. word, 1, true) then return { json = { value = list } } end
    end
    return { json = { value = {} } }
  end
  arm.open = function() return client end
  row.kind, row.address, row.fields = "azure." .. kind_name, "it", fields
  fields.name, fields.location, fields.group = "it", "west", { id = "/subscriptions/s/resourceGroups/g" }
  local found = {}
  for _, said in ipairs(preflight.run { recipe = "r", resources = { row } }) do
    local n, name = said.message:match("^quota: the plan needs (%d+) more of '(.-)'")
    if n then found[name] = tonumber(n) end
  end
  return found
end

test("machines need of a quota what they take at the moment at which it is most", function(t)
  local function set(row, fields)
    fields.size = fields.size or "Small"
    return needed(t, "virtual_machine_scale_set", row, fields)
  end
  local larger = { { path = "size", before = "Small", after = "Large" } }
  t.eq(set({ action = "create", add = 2 }, {}), { cores = 4, s = 4, virtualMachines = 2 })
  t.eq(set({ action = "create", add = 2 }, { spot = {} }), { lowPriorityCores = 4, virtualMachines = 2 })
  t.eq(set({ action = "add", add = 3 }, {}), { cores = 6, s = 6, virtualMachines = 3 })
  t.eq(set({ action = "update", roll = { -1, 1, -1, 1 } }, {}), {}, "one goes, one comes")
  t.eq(set({ action = "update", roll = { 1, -1, 1, -1 } }, {}), { cores = 2, s = 2, virtualMachines = 1 }, "with a surge")
  t.eq(set({ action = "update", roll = { 1, -1, 1, -1 } }, { spot = {} }), { lowPriorityCores = 2, virtualMachines = 1 })
  t.eq(set({ action = "update", add = 2, roll = { 1, -1, 1, -1 } }, { size = "Large" }), { cores = 12, l = 12, virtualMachines = 3 },
    "growth comes first")
  t.eq(set({ action = "update", changes = larger, roll = { -1, 1, -1, 1 } }, { size = "Large" }), { cores = 4, l = 8 },
    "another size: at the end")
  t.eq(set({ action = "update", changes = larger, roll = { 2, -3, 1 } }, { size = "Large" }), { cores = 8, l = 12, virtualMachines = 2 },
    "or with the first that come")
  t.eq(set({ action = "update", changes = { { path = "size", before = "Large", after = "Small" } }, roll = { 2, -3, 1 } }, {}),
    { cores = 4, s = 6, virtualMachines = 2 }, "smaller ones too come before others go")

  local function machine(row, fields)
    fields.size = fields.size or "Large"
    return needed(t, "virtual_machine", row, fields)
  end
  local started = { { path = "power", before = "deallocated", after = "running" } }
  t.eq(machine({ action = "create" }, {}), { cores = 4, l = 4, virtualMachines = 1 })
  t.eq(machine({ action = "update", changes = larger }, {}), { cores = 2, l = 4 })
  t.eq(machine({ action = "update", changes = started }, {}), { cores = 4, l = 4 })
  t.eq(machine({ action = "replace" }, {}), {})
end)

test("each kind of Azure's has its actions", function(t)
  local declare = require "declare"
  local without = { action = true, existing = true, principal = true, resource = true }
  for _, path in ipairs(declare.stdlib()) do
    local name = path:match("^azure/([%w_]+)%.lua$")
    local ok, page = pcall(kind.find, "azure." .. tostring(name))
    if name and ok and page and not without[name] then
      local actions, data = permission.role { { kind = page.name, fields = {} } }
      t.ok(#actions + #data > 0, page.name)
    end
  end
end)

test.done()
