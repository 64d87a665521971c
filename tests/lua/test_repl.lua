-- The REPL's Tab: names of its environment, and what the kinds' statements say: kinds, fields, values. And kinds as values.
local fs, process = require "fs", require "process"
local test = require "tap"
local repl = require "cli.repl"

-- What the last word of a line may become; words begin where libedit has them begin.
local function tab(line)
  local at = line:match "()[^ \t\n\"'`@$><=;|&{(,+%-*/%%^#~%[]*$"
  return repl.complete(("%d %s"):format(at - 1, line))
end

local function has(list, word)
  for _, item in ipairs(list) do
    if item == word then return true end
  end
  return false
end

local function open(rows) repl.open { rows = rows or {}, outputs = {} } end

test("a name of the environment", function(t)
  open()
  t.eq(tab "resou", { "resources" })
  t.ok(has(tab "string.fo", "string.format"))
  t.ok(has(tab "ki", "kinds"))
end)

test("a kind, by provider and name", function(t)
  open()
  t.ok(has(tab "kinds.", "kinds.azure") and has(tab "kinds.", "kinds.kubernetes"))
  t.eq(tab "kinds.azure.disk_", { "kinds.azure.disk_encryption_set" })
  t.eq(tab "x = kinds.azure.log_a", { "kinds.azure.log_analytics_workspace" })
  t.ok(not has(tab "kinds.azure.", "kinds.azure.arm"), "what is no kind is none")
end)

test("a field of a kind, but none twice", function(t)
  open()
  t.eq(tab "kinds.azure.virtual_machine { enc", { "encryption_set" })
  t.eq(tab "azure.virtual_machine \"m\" { pow", { "power" })
  t.eq(tab "azure.virtual_machine(\"m\") { pow", { "power" })
  t.ok(has(tab "kinds.azure.subnet { ", "cidr"))
  local rest = tab "kinds.azure.subnet { cidr = \"10.0.0.0/24\", "
  t.ok(has(rest, "vnet") and not has(rest, "cidr"), "what is there is not offered")
  t.eq(tab "kinds.azure.subnet { nonsense", {})
end)

test("a field within a field, in lists, and over lines", function(t)
  open()
  t.eq(tab "kinds.azure.virtual_machine { size = \"a{b\", disk = { ca", { "caching" })
  t.eq(tab "kinds.azure.virtual_machine { extensions = { { name = 'a' }, { auto", { "automatic_upgrade" })
  t.eq(tab "kinds.azure.virtual_machine { disk = { size = 3 }, pow", { "power" })
  t.eq(repl.feed "kinds.azure.virtual_machine { disk = {", "more")
  t.eq(tab "  caching = \"N", { "None" })
  repl.reset()
end)

test("a value of a field", function(t)
  open()
  t.eq(tab "kinds.azure.virtual_machine { power = \"r", { "running" })
  t.eq(tab "kinds.azure.virtual_machine { power = ", { '"deallocated"', '"running"' })
  t.eq(tab "kinds.azure.key_vault { rbac = t", { "true" })
  t.eq(tab "kinds.azure.key_vault_key { operations = { \"wrap", { "wrapKey" })
  t.eq(tab "kinds.azure.log_analytics_workspace { sku = 'Cap", { "CapacityReservation" })
  t.eq(tab "kinds.azure.network_security_group { rules = { { protocol = \"", { "*", "Ah", "Esp", "Icmp", "Tcp", "Udp" })
  t.eq(tab "kinds.azure.virtual_machine { size = \"Sta", {})
end)

test("an address of the state, and a type of Azure's", function(t)
  open { { address = "azure.virtual_machine.cp-1", fields = {}, outputs = {} }, { address = "ssh.host.jump", fields = {}, outputs = {} } }
  t.eq(tab "resources[\"ss", { "ssh.host.jump" })
  t.eq(tab "resources[\"azure.virtual_machine.cp-", { "1" })
  t.eq(tab "azure.list(\"Microsoft.Compute/disk", { "diskEncryptionSets", "disks" })
end)

test("a line that names nodes is given the values of their hosts first", function(t)
  open { { address = "kubeadm.init.c", kind = "kubeadm.init", fields = { host = { ["$ref"] = "ssh.host.a" } }, outputs = {} },
    { address = "kubeadm.join.w", kind = "kubeadm.join", outputs = {},
      fields = { host = { ["$ref"] = "ssh.host.w" }, cluster = { ["$ref"] = "kubeadm.init.c" } } } }
  for _, line in ipairs { "nodes.list()", "x = 1; return nodes . reboot", "print(nodes.list())" } do
    t.eq(repl.feed(line), { values = { "ssh.host.a", "ssh.host.w" } }, line)
  end
  t.eq(repl.feed "x = { nodes = { y = 1 } }", "ok")
  t.eq(repl.feed "_ = x.nodes.y + x. nodes.y + (mynodes and mynodes.y or 0)", "ok", "another's field")
  repl.give { session = { rows = {} }, values = {} }
  t.eq(repl.feed "type(nodes.list)", "ok", "it is given once")
  t.eq(tab "nodes.re", { "nodes.reboot" })
end)

-- A REPL at a terminal, once it asks for a line.
local function terminal(t, arguments, cwd)
  local shell = ("TERM=xterm NO_COLOR=1 HOME=/nonexistent '%s' repl %s"):format(process.self(), arguments)
  local child, why = process.spawn { argv = { "script", "-qfec", shell, "/dev/null" }, stdin = "pipe", cwd = cwd,
    env = { VMRUN_MOCK = false, AZURE_SUBSCRIPTION_ID = false } }
  if not child then return t.skip("script(1): " .. why) end
  t.after(function() child:kill("KILL") child:close() end)
  local said = ""
  local function until_said(part)
    while not said:find(part, 1, true) do
      local chunk = child:read(10)
      if not chunk then error(("it did not say %q but:\n%s"):format(part, said), 2) end
      said = said .. chunk
    end
    return said
  end
  until_said "vmrun> "
  return child, until_said
end

test("Tab at a terminal goes on with what is typed", function(t)
  local child, until_said = terminal(t, "")
  child:write "kinds.azure.log_analytics_workspace { sku = \"Cap\t\", retention_days = 90 }.sku == \"CapacityRes\" .. \"ervation\"\n"
  until_said "\ntrue\r"
  child:write "\4"
  t.eq((child:wait(10)), 0)
end)

local STACK = [[
local azure, ssh, kubeadm, containerd = use("azure", "ssh", "kubeadm", "containerd")
azure.resource_group "g" { location = "westeurope" }
local host = ssh.host "h" { address = "192.0.2.1", user = "u", key = "none", host_keys = { "ssh-ed25519 AAAA" } }
local node = kubeadm.node "n" { host = host, runtime = containerd.runtime "r" { host = host }, version = "1.31.2" }
kubeadm.init "c" { host = host, node = node, address = "192.0.2.1", endpoint = "api.example" }
]]

test("a target is chosen once, however often values are asked for", function(t)
  local dir = t.tmp()
  fs.write(dir .. "/r.lua", STACK)
  fs.write(dir .. "/mock.json", "{}")
  local made = process.run { argv = { process.self(), "apply", "r.lua", "--yes" }, cwd = dir, env = { VMRUN_MOCK = "mock.json" }, timeout = 20 }
  t.eq(made.code, 0, made.stdout .. made.stderr) -- a mocked stack has no target
  fs.write(dir .. "/.vmrun/emulator", "") -- where the emulator's folder would be: it cannot start
  local child, until_said = terminal(t, "r.lua", dir)
  child:write "nodes.list()\nnodes.list()\nprint('the ' .. 'end')\n"
  local said = until_said "the end\r"
  t.eq(select(2, said:gsub("cannot make the folder", "")), 2, said)
  t.eq(select(2, said:gsub("target: the built%-in emulator", "")), 1, said)
end)

test("a kind shows what it takes, and checks fields", function(t)
  local function said(line)
    local result = process.run { argv = { process.self(), "repl" }, stdin = line .. "\n", timeout = 20 }
    return result.code, result.stdout .. result.stderr
  end
  local code, out = said "kinds.azure.disk_encryption_set"
  t.eq(code, 0)
  t.has(out, 'type: one of "EncryptionAtRestWithCustomerKey"')
  code, out = said "kinds.azure.data_disk { size = 'big', skuu = 1 }"
  t.eq(code, 1)
  t.has(out, "azure.data_disk 'size' wants an integer, got the text \"big\"")
  t.has(out, "has no field 'skuu'; did you mean 'sku'?")
  code, out = said "kinds.azure.data_disk { size = 3 }.sku"
  t.eq(code, 0, out)
  t.has(out, '"Premium_LRS"')
end)

test.done()
