-- tests/rows.tsv: what the recipe replaces, row by row, and each mistake of the old system that it must not have, with the test
-- that fails without it. These read what was made (ARM, the machines' disks, the cluster, Git), not the recipe's text.
local fs, json, process = require "fs", require "json", require "process"
local test = require "tap"

local root = arg[0]:match("^(.*)/tests/lua/") or "."

local function rows()
  local list = {}
  for line in assert(fs.read(root .. "/tests/rows.tsv")):gmatch("[^\n]+") do
    local id, what, file, name = line:match("^([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)")
    if id ~= "id" then list[#list + 1] = { id = id, what = what, file = file, name = name } end
  end
  return list
end

local function declared(parameters)
  local argv = { process.self(), "graph", root .. "/recipes/cluster.lua", "--format", "json" }
  for _, word in ipairs(parameters or {}) do argv[#argv + 1] = word end
  local result = assert(process.run { argv = argv, timeout = 30 })
  assert(result.code == 0, result.stderr)
  local addresses = {}
  for _, node in ipairs(json.decode(result.stdout).nodes) do addresses[node.address] = true end
  return addresses
end

test("all rows and mistakes are there, once", function(t)
  local seen = {}
  for _, row in ipairs(rows()) do
    t.eq(seen[row.id], nil)
    seen[row.id] = true
  end
  for i = 1, 78 do t.ok(seen[tostring(i)], "row " .. i) end
  for i = 1, 28 do t.ok(seen["B" .. i], "mistake B" .. i) end
end)

test("each row's test is there", function(t)
  for _, row in ipairs(rows()) do
    local text = fs.read(root .. "/" .. row.file) or ""
    t.ok(text:find(('test("%s", function'):format(row.name), 1, true) ~= nil, ("%s: %s has no test %q"):format(row.id, row.file, row.name))
  end
end)

test("what is optional comes with its parameter", function(t)
  local network = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/x/providers/Microsoft.Network/virtualNetworks/y"
  local addresses = declared { "admin_network=" .. network, "spot=true", "zones=1,2,3", "control_planes=5" }
  t.ok(addresses["azure.existing.admin"], "the admin network")
  t.ok(addresses["azure.virtual_network_peering.to-them"] and addresses["azure.virtual_network_peering.to-us"], "peerings")
  t.ok(addresses["azure.virtual_machine.cp-5"], "five control planes")
  local jump = declared { "access=jump:bastion.example.org", "jump_host_keys=ssh-ed25519 AAAA" }
  t.ok(jump["ssh.host.jump"], "a jump host")
end)

test("the recipe is short and narrow", function(t)
  local lines = 0
  for line in assert(fs.read(root .. "/recipes/cluster.lua")):gmatch("([^\n]*)\n") do
    lines = lines + 1
    t.ok(utf8.len(line) <= 100, "line " .. lines .. " has more than 100 columns")
  end
  t.ok(lines <= 200, "more than 200 lines")
end)

test.done()
