--- What machines with systemd need of the emulator and what can be told without them: the rules as nftables, the name server, the
-- custom data.
local test = require "tap"
local custom_data, firewall = require "emulator.machines.custom_data", require "emulator.machines.firewall"
local fs, process = require "fs", require "process"

local function rule(access, fields)
  local p = { access = access, direction = "Inbound", protocol = "*", sourceAddressPrefix = "*", destinationAddressPrefix = "*",
    destinationPortRange = "*" }
  for key, value in pairs(fields or {}) do p[key] = value end
  return { name = "r", properties = p }
end

local function lines_of(rules, direction)
  local text = firewall.text { groups = { rules }, networks = { "10.0.0.0/16", "10.9.0.0/16" }, platform = "168.63.129.16" }
  local body, lines = text:match("chain " .. (direction or "inbound") .. "_1 {\n(.-)  }"), {}
  for line in body:gmatch("%s*([^\n]+)\n") do lines[#lines + 1] = line end
  return lines
end

test("a rule becomes lines of nftables, in the order of the rules", function(t)
  t.eq(lines_of { rule("Allow", { protocol = "Tcp", destinationPortRange = "22" }), rule("Deny") }, {
    "meta l4proto tcp th dport { 22 } counter return", "counter drop" })
  local ranges = { destinationPortRanges = { "80", "8000-8080" }, sourceAddressPrefixes = { "10.1.0.0/16", "10.2.3.4" } }
  t.eq(lines_of { rule("Deny", ranges) }, {
    "ip saddr { 10.1.0.0/16, 10.2.3.4 } meta l4proto { tcp, udp } th dport { 80, 8000-8080 } counter drop" })
  t.eq(lines_of({ rule("Allow"), rule("Deny", { direction = "Outbound", destinationAddressPrefix = "10.0.0.9" }) }, "outbound"), {
    "ip daddr { 10.0.0.9 } counter drop" })
end)

test("service tags are what they stand for", function(t)
  t.eq(lines_of { rule("Allow", { sourceAddressPrefix = "VirtualNetwork", destinationAddressPrefix = "VirtualNetwork" }) }, {
    "ip saddr { 10.0.0.0/16, 10.9.0.0/16 } ip daddr { 10.0.0.0/16, 10.9.0.0/16 } counter return" })
  t.eq(lines_of { rule("Allow", { sourceAddressPrefix = "Internet" }) },
    { "ip saddr != { 168.63.129.16, 10.0.0.0/16, 10.9.0.0/16 } counter return" })
  t.eq(lines_of { rule("Allow", { sourceAddressPrefix = "AzureLoadBalancer" }) }, { "ip saddr { 168.63.129.16 } counter return" })
  t.eq(lines_of { rule("Allow", { sourceAddressPrefix = "Storage.WestUS" }) }, {}, "one that is unknown fits nothing")
end)

test("the keeper listens in the router, once", function(t)
  local keeper = require "emulator.machines.keeper".new(process.self(), function() end)
  t.after(function() keeper:close() end)
  local function ask(message)
    local answer, why, code = keeper:ask(message)
    return answer and true, why, code
  end
  local function serve(address, port) return ask { op = "serve", address = address, redirect = port } end
  t.has(t.err("machine", serve("127.0.0.1", 8080)), "there is no router yet")
  local ok, why = ask { op = "lab", base = t.tmp(), prefix = ("vmrun-test-%d-"):format(process.pid()) }
  if not ok then return t.skip("the keeper has no lab: " .. why) end
  t.has(t.err("io", serve("192.0.2.1.2", 8080)), "192.0.2.1.2")
  t.eq(serve("0.0.0.0", 8080), true)
  local function open() return #fs.list(("/proc/%d/fd"):format(keeper:pid())) end
  local before = open()
  t.has(t.err("machine", serve("0.0.0.0", 8081)), "the router listens already")
  t.eq(open(), before)
end)

-- A packet with one question.
local function question(name, kind)
  local labels = name:gsub("([^.]+)%.?", function(label) return string.char(#label) .. label end)
  return string.pack(">I2I2I2I2I2I2", 0x1234, 0x0100, 1, 0, 0, 0) .. labels .. "\0" .. string.pack(">I2I2", kind or 1, 1)
end

-- Code and addresses of an answer to it.
local function read(asked, reply)
  local id, flags, questions, answers = string.unpack(">I2I2I2I2", reply)
  local list, at = {}, #asked + 1
  for i = 1, answers do
    local a, b, c, d = reply:byte(at + 12, at + 15)
    list[i], at = ("%d.%d.%d.%d"):format(a, b, c, d), at + 16
  end
  return { id = id, is_answer = flags & 0x8000 ~= 0, code = flags & 15, questions = questions, addresses = list,
    whole = at == #reply + 1 }
end

test("the name server", function(t)
  local world = require "emulator.world"
  local before = { store = world.store, fabric = world.fabric, machines = world.machines }
  t.after(function() world.store, world.fabric, world.machines = before.store, before.fabric, before.machines end)
  local kept = {}
  local function put(id, type_name, properties)
    kept[id:lower()] = { id = id, type = type_name, name = id:match("[^/]+$"), body = { properties = properties } }
  end
  local ZONE, VNET = "/g/Microsoft.Network/privateDnsZones/corp.internal", "/g/virtualNetworks/V"
  put(ZONE, "Microsoft.Network/privateDnsZones", {})
  put(ZONE .. "/A/api", "Microsoft.Network/privateDnsZones/A",
    { aRecords = { { ipv4Address = "10.0.1.9" }, { ipv4Address = "10.0.1.8" } } })
  put(ZONE .. "/virtualNetworkLinks/l", "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
    { virtualNetwork = { id = VNET:lower() }, registrationEnabled = true })
  world.store = { all = function() return kept end, get = function(_, _, id) return kept[id] end }
  local elsewhere = { id = "3", hostname = "three", private_ip = "10.8.0.4" }
  local machine = { id = "1", hostname = "one", private_ip = "10.0.1.4" }
  local other = { id = "2", hostname = "Two", private_ip = "10.0.1.5" }
  world.fabric = { interface = function(id)
    return { subnet = (id == "3" and "/g/virtualNetworks/other" or VNET) .. "/subnets/s" }
  end }
  world.machines = { all = function() return { machine, other, elsewhere } end }
  local resolver = require "emulator.machines.resolver"
  local function ask(name, kind, from)
    local asked = question(name, kind)
    local got = read(asked, resolver.answer(from or machine, asked))
    t.eq({ got.id, got.is_answer, got.questions, got.whole }, { 0x1234, true, 1, true }, name)
    return got
  end
  t.eq(ask("API.corp.internal").addresses, { "10.0.1.9", "10.0.1.8" })
  t.eq({ ask("api.corp.internal", 28).code, #ask("api.corp.internal", 28).addresses }, { 0, 0 },
    "a name that has no address of version 6 exists")
  t.eq(ask("nobody.corp.internal").code, 3)
  t.eq(ask("two.corp.internal").addresses, { "10.0.1.5" }, "a zone may have the machines' names")
  t.eq(ask("two").addresses, { "10.0.1.5" })
  t.eq(ask("two.internal.cloudapp.net").addresses, { "10.0.1.5" })
  t.eq(ask("three").code, 3, "another network's machine")
  t.eq(ask("api.corp.internal", 1, elsewhere).code, 3, "a network without a link")
  t.eq(ask("a b;c").code, 5, "what is no name is asked of nobody")
  t.eq(resolver.answer(machine, "\0\1"), nil)
  t.eq(resolver.answer(machine, question("one"):sub(1, 16)), nil)
end)

test("what the lab serves on the machines' internet", function(t)
  local world = require "emulator.world"
  local before = world.store
  t.after(function() world.store = before end)
  local kept = {}
  world.store = { all = function() return kept end, get = function(_, _, name) return kept[name] end,
    put = function(_, _, name, entry) kept[name] = entry end, delete = function(_, _, name) kept[name] = nil end }
  local internet = require "emulator.machines.internet"
  local first = internet.serve { { name = "A.test", port = 80, to = "127.0.0.1:8000" },
    { name = "b.test", port = 443, to = "127.0.0.2:9" },
    { name = "a.test", port = 443, to = "127.0.0.1:8443" } }
  t.eq(first, { ["a.test"] = "198.18.0.1", ["b.test"] = "198.18.0.2" })
  t.eq(internet.target("198.18.0.1", 443), { host = "127.0.0.1", port = 8443 })
  t.eq({ internet.target("198.18.0.1", 81), internet.target("198.18.0.9", 80) }, { false })
  t.eq(internet.serve { { name = "c.test", port = 80, to = "127.0.0.1:1" }, { name = "b.test", port = 80, to = "127.0.0.1:2" } },
    { ["b.test"] = "198.18.0.2", ["c.test"] = "198.18.0.1" }, "a name keeps its address, a free one is given again")
  t.eq({ internet.address "a.test", internet.address "c.test" }, { nil, "198.18.0.1" })
  for _, wrong in ipairs { 1, {}, { name = "x.test", port = "80", to = "127.0.0.1:1" },
    { name = "x.test", port = 80, to = "there" },
    { name = "x;y", port = 80, to = "127.0.0.1:1" } } do
    t.eq(pcall(internet.serve, { wrong }), false)
  end
  t.eq(internet.address "b.test", "198.18.0.2", "a list that is wrong changes nothing")
end)

test("custom data: files, commands, scripts", function(t)
  local wanted = custom_data("#cloud-config\nwrite_files:\n"
    .. "  - path: /a\n    permissions: '0600'\n    encoding: b64\n    content: aGk=\n"
    .. "  - path: /b\n    content: x\n    append: true\n  - path: relative\nruncmd:\n  - echo 1\n  - [ls, -l]\n", "m")
  t.eq(wanted.files, { { path = "/a", content = "hi", mode = 384, append = false },
    { path = "/b", content = "x", mode = 420, append = true } })
  t.eq(wanted.commands, { { "/bin/sh", "-c", "echo 1" }, { "ls", "-l" } })
  t.eq(custom_data("#!/bin/sh\nls\n", "m"), {
    files = { { path = "/var/lib/custom-data", content = "#!/bin/sh\nls\n", mode = 448 } },
    commands = { { "/var/lib/custom-data" } } })
  t.eq(custom_data(nil, "m"), { files = {}, commands = {} })
end)

test.done()
