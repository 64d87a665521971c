--- How often vmrun and a host wait for each other: whole applies over a wire that counts round trips, from the first byte after
-- the TCP connection to the end, however many tasks a role has, whether facts decide something or not.
local test = require "tap"
local fs = require "fs"
local machine = require "machine"
local process = require "process"
local slow_wire = require "slow_wire"
local task = require "task"

test.timeout = 120

-- Long enough that what one side says because of the other cannot be taken for what it says anyway.
local SECONDS = 0.02
local SAME, CHANGED = 10, 12

local LIBRARY = [[
local field, role = require "field", require "role"
return role "demo.many" {
  doc = "Many tasks, some of which hang on facts.",
  inputs = { count = field.integer { required = true }, text = field.string { required = true } },
  tasks = function(host, f)
    for i = 1, f.count - 2 do host.file ("/etc/many/" .. i) { content = f.text .. i .. host.kernel .. "\n" } end
    host.directory "/etc/many" {}
    if host.memory > 1 and host.mine == "own" then
      host.command "done" { run = "echo " .. f.text .. " >/etc/done", unless = "grep -qx " .. f.text .. " /etc/done" }
    end
  end,
  facts = { mine = "echo own" },
}
]]

local RECIPE = [[
local ssh, demo = use("ssh", "demo")
local p = params { key = param.secret {}, count = param.integer {}, text = param.string { default = "one" },
  addresses = param.list { param.string {} }, ports = param.list { param.integer {} }, lines = param.list { param.string {} } }
for i, address in ipairs(p.addresses) do
  local host = ssh.host("h" .. i) { address = address, port = p.ports[i], key = p.key, host_keys = { p.lines[i] } }
  demo.many("m" .. i) { host = host, count = p.count, text = p.text }
end
]]

-- A stack of roles on hosts, each behind a wire of its own.
local function stack(t, machines, seconds)
  local dir, wires = t.tmp(), {}
  local given = { addresses = {}, ports = {}, lines = {} }
  for i, m in ipairs(machines) do
    m.run { "mkdir", "-p", "/etc/many" }
    wires[i] = slow_wire.start { to_host = m.host, to_port = m.port, seconds = seconds }
    t.after(wires[i].close)
    table.insert(given.addresses, "127.0.0.1")
    table.insert(given.ports, wires[i].port)
    table.insert(given.lines, m.host_keys[1])
  end
  assert(fs.mkdir(dir .. "/demo"))
  assert(fs.write(dir .. "/demo/many.lua", LIBRARY))
  assert(fs.write(dir .. "/r.lua", RECIPE))
  assert(fs.write(dir .. "/key", machines[1].key, { mode = 384 }))
  local words = { "key=@key" }
  for name, list in pairs(given) do words[#words + 1] = name .. "=" .. table.concat(list, ",") end

  --- Applies, and returns what vmrun said, its seconds, and the round trips of the busiest connection: there must be one a host.
  return function(...)
    for _, wire in ipairs(wires) do wire.calls = {} end
    local argv = { process.self(), "apply", "r.lua", "--yes", "--state-dir", dir .. "/state", ... }
    table.move(words, 1, #words, #argv + 1, argv)
    local began = task.now()
    local result = assert(process.run { argv = argv, cwd = dir, timeout = 60, env = { VMRUN_PATH = dir } })
    local took, most = task.now() - began, 0
    t.eq(result.code, 0, result.stdout .. result.stderr)
    for _, wire in ipairs(wires) do
      t.eq(#wire.calls, 1, "connections to a host")
      most = math.max(most, wire.calls[1].trips)
    end
    return result.stdout, took, most
  end
end

for _, count in ipairs { 10, 60 } do
  test(("%d tasks: at most %d round trips when nothing changes, %d when something does"):format(count, SAME, CHANGED), function(t)
    local apply = stack(t, { machine.start(t) }, SECONDS)
    apply("count=" .. count)
    local said, _, trips = apply("count=" .. count)
    t.has(said, "No changes.")
    t.ok(trips <= SAME, ("%d round trips where nothing changes"):format(trips))
    t.ok(trips >= 5, "a login alone takes more round trips than were counted")
    said, _, trips = apply("count=" .. count, "text=two")
    t.has(said, "1 changed")
    t.ok(trips <= CHANGED, ("%d round trips where tasks change something"):format(trips))
  end)
end

test("over a long wire, hosts wait for the wire at the same time", function(t)
  local machines, seconds = {}, 0.2
  for i = 1, 8 do machines[i] = machine.start(t, { client = machines[1] and machines[1].client }) end
  local apply = stack(t, machines, seconds)
  apply "count=10"
  local said, took, trips = apply "count=10"
  t.has(said, "No changes.")
  -- Half a trip more is the host's greeting; what is left is work.
  t.ok(took >= trips * seconds, ("%.2f s are too short for %d round trips"):format(took, trips))
  t.ok(took < (trips + 0.5) * seconds + 2, ("%.2f s for %d round trips of %g s"):format(took, trips, seconds))
end)

test.done()
