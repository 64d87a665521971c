--- Instances that are Debian 12 with systemd as PID 1, on a network of their own (`--machines=systemd`; needs root). The keeper
-- holds them (runtime/machine/lab.h); their disks are overlays over one root that debootstrap made.
--
-- The other backend's functions (machines.lua), and `reach` of a machine: its ports are its own, and a way to them is asked for.
local crypto, fs, json, log, process, server, task = require "crypto", require "fs", require "json", require "log", require "process",
  require "server", require "task"
local world = require "emulator.world"
local debian, firewall, Keeper, network = require "emulator.machines.debian", require "emulator.machines.firewall",
  require "emulator.machines.keeper", require "emulator.machines.network"
local provision, program = require "emulator.machines.provision", require "emulator.machines.program"
local custom_data, path_of = require "emulator.machines.custom_data", require "emulator.machines.path"
local admin, internet = require "emulator.admin", require "emulator.machines.internet"
local once, records = require "emulator.once", require "emulator.arm.records"
local fail = require "fail"

local machines = {}

local Machine = {}
Machine.__index = Machine

local TABLE = "machine"
local BOOT, GRACE, LAST_GRACE = 300, 20000, 6000 -- seconds for a boot; milliseconds for a power-off, and for one at the emulator's end
local INOTIFY, INSTANCES = "/proc/sys/fs/inotify/max_user_instances", 8192
local NETWORKING = { ["microsoft.network/networksecuritygroups"] = true, ["microsoft.network/virtualnetworks"] = true,
  ["microsoft.network/networkinterfaces"] = true, ["microsoft.network/loadbalancers"] = true }

local live = {} -- lower id -> machine
local keeper, base, base_use
local closing = false

local function folder_of(machine) return world.dir .. "/machines/" .. machine.key end

-- What is kept of a machine; the rest is made anew.
local KEPT = { "id", "hostname", "private_ip", "user", "public_key", "custom_data", "image", "vm_id", "size", "key", "power", "provisioned",
  "boots", "host_key" }

local function save(machine)
  local record = {}
  for _, name in ipairs(KEPT) do record[name] = machine[name] end
  world.store:put(TABLE, machine.id:lower(), record)
end

--- Where a path of this machine lies while it runs; its links are followed in its own root. nil and why.
function Machine:path(path) return path_of(self.root, path) end

--- Where a port of this machine is found on loopback: { host, port, machine }, or nil, why, "refused" or "timeout".
function Machine:reach(port)
  local outer = world.fabric.port(port)
  local ok, why, code = keeper:ask { op = "reach", machine = self.key, from = network.PLATFORM, host = self.private_ip, port = port,
    address = self.address, listen = outer }
  if ok then return { host = self.address, port = outer, machine = self.id } end
  return nil, ("port %d of %s does not answer: %s"):format(port, self.hostname, why), code == "refused" and "refused" or "timeout"
end

--- The metadata service as this machine meets it: where it listens.
function Machine:metadata()
  if not self.imds then
    local handle, prefix = require("emulator.front").handle_plain, "/machine" .. self.id
    self.imds = fail.check(server.listen { host = world.addresses.front, port = 0, handler = function(req)
      req.path = prefix .. req.path
      return handle(req)
    end })
  end
  return { host = world.addresses.front, port = self.imds:port() }
end

local function close_metadata(machine)
  if machine.imds then machine.imds:close() end
  machine.imds = nil
end

-- The rules that a machine should have, if it has others.
local function guard(machine)
  local wanted = world.fabric.guard(machine.id)
  local text = wanted and firewall.text(wanted)
  if not text or text == machine.rules then return end
  network.guard(machine, text)
  machine.rules = text
end

-- What a machine last said, for a boot that did not end well.
local function last_words(machine)
  local text = fs.read(folder_of(machine) .. "/console.log") or ""
  local jobs = machines.run(machine.id, { "systemctl", "list-jobs", "--no-legend", "--no-pager" }).stdout
  return (text:sub(-300) .. jobs:sub(-500)):gsub("%s+$", "")
end

local function must(machine, what, ok, why)
  if ok then return ok end
  local words = last_words(machine)
  error(fail { ("%s of %s: %s%s"):format(what, machine.hostname, why or "it took too long", words ~= "" and "\n" .. words or ""),
    code = "machine" })
end

local function first_boot(machine, wanted)
  for _, argv in ipairs(wanted.commands) do machines.run(machine.id, argv) end
  machine.provisioned = true
end

local function boot(machine)
  local booted = must(machine, "the root", keeper:ask { op = "boot", machine = machine.key, folder = folder_of(machine),
    hostname = machine.hostname })
  machine.root, machine.rules = ("/proc/%d/root"):format(booted.pid), nil
  machine.private_ip = network.attach(machine, booted.pid)
  guard(machine)
  local wanted = not machine.provisioned and custom_data(machine.custom_data, machine.hostname)
  if wanted then provision(machine, wanted.files, function(argv, stdin) return machines.command(machine, argv, stdin) end) end
  must(machine, "the boot", task.deadline(BOOT, function() return keeper:ask { op = "go", machine = machine.key } end))
  if wanted then first_boot(machine, wanted) end
end

local function off(machine, power, grace)
  close_metadata(machine)
  keeper:ask { op = "halt", machine = machine.key, grace = grace }
  machine.power, machine.root, machine.rules = power, nil, nil
end

local function on(machine)
  machine.power = "starting"
  local ok, why = pcall(boot, machine)
  if not ok then
    off(machine, "stopped", 0)
    save(machine)
    return nil, tostring(why)
  end
  machine.power, machine.boots = "running", (machine.boots or 0) + 1
  save(machine)
  return machine
end

-- One thing at a time happens to a machine.
local function alone(machine, fn, ...) return once("machine " .. machine.key, fn, machine, ...) end

local function wipe(machine)
  if fs.stat(folder_of(machine)) then fail.check(fs.remove(folder_of(machine), { recursive = true })) end
  machine.provisioned = false
end

-- The lifecycle.

local function adopt(machine)
  setmetatable(machine, Machine)
  machine.address = world.addresses:allocate("machine", machine.id:lower())
  live[machine.id:lower()] = machine
  return machine
end

local function make(machine)
  wipe(machine) -- of one whose making was cut off
  return on(machine)
end

--- Makes and starts a machine: { id, hostname, private_ip, user, public_key, custom_data, image, vm_id, size }.
function machines.create(given)
  local machine = adopt { id = given.id, hostname = given.hostname, private_ip = given.private_ip, user = given.user or "azureuser",
    public_key = given.public_key, custom_data = given.custom_data, image = given.image, vm_id = given.vm_id, size = given.size,
    key = crypto.sha256(given.id:lower() .. (given.vm_id or "")):sub(1, 16), power = "stopped" }
  local made, why = alone(machine, make)
  if made then return made end
  machines.delete(given.id)
  return nil, why
end

function machines.get(id) return live[id:lower()] end

--- All of them, in no order.
function machines.all()
  local list = {}
  for _, machine in pairs(live) do list[#list + 1] = machine end
  return list
end

local function raised(done, why)
  if not done then error(fail { why, code = "machine" }) end
  return done
end

function machines.start(id)
  return alone(machines.get(id), function(machine)
    return machine.power == "running" and machine or raised(on(machine))
  end)
end

local function power_off(id, power)
  alone(machines.get(id), function(machine)
    off(machine, power, GRACE)
    save(machine)
  end)
end

function machines.stop(id) power_off(id, "stopped") end
function machines.deallocate(id) power_off(id, "deallocated") end

function machines.restart(id)
  return alone(machines.get(id), function(machine)
    off(machine, "stopped", GRACE)
    return raised(on(machine))
  end)
end

--- A fresh disk from the image, and a start.
function machines.reimage(id)
  return alone(machines.get(id), function(machine)
    off(machine, "stopped", 0)
    wipe(machine)
    return raised(on(machine))
  end)
end

function machines.delete(id)
  local machine = machines.get(id)
  if not machine then return end
  alone(machine, function()
    off(machine, "stopped", 0)
    live[id:lower()] = nil
    wipe(machine)
    world.store:delete(TABLE, id:lower())
    world.addresses:release("machine", id:lower())
  end)
end

--- Runs a command in a machine that has a root, whether or not systemd is up: { code, stdout, stderr }.
function machines.command(machine, argv, stdin)
  local answer, why = keeper:ask { op = "run", machine = machine.key, argv = argv, stdin = stdin }
  return answer or { code = 255, stdout = "", stderr = why }
end

--- Runs a command on a machine: { code, stdout, stderr }.
function machines.run(id, argv, stdin)
  local machine = machines.get(id)
  if not machine or not machine.root then return { code = 255, stdout = "", stderr = "the machine does not run" } end
  return machines.command(machine, argv, stdin)
end

--- The public host key lines of a machine.
function machines.host_keys(id) return { machines.get(id).host_key } end

--- Folders below machines/ that belong to no machine.
function machines.leftovers()
  local known, left = { base = true, vmrun = true }, {}
  for _, machine in pairs(live) do known[machine.key] = true end
  for _, name in ipairs(fs.list(world.dir .. "/machines") or {}) do
    if not known[name] and not name:find("^git") then left[#left + 1] = name end
  end
  return left
end

--- The keeper itself, for the parts of the emulator that serve something else over SSH.
function machines.ask(message) return keeper:ask(message) end

-- What the keeper tells.

local function with_key(key)
  for _, machine in pairs(live) do
    if machine.key == key then return machine end
  end
end

local function at_address(address)
  for _, machine in pairs(live) do
    if machine.private_ip == address and machine.root then return machine end
  end
end

-- A machine ended by itself: somebody in it asked for it, or killed its first process. The power state in Azure follows.
local function ended(machine, how)
  if machine.power ~= "running" or closing then return end
  off(machine, "stopped", 0)
  local record = records.get(machine.id)
  if how == "reboot" then
    local ok, why = on(machine)
    if not ok then log.error("machine %s does not come back: %s", machine.hostname, why) end
  end
  save(machine)
  if record and record.power == "running" and machine.power ~= "running" then
    record.power = "stopped"
    records.save(record)
  end
end

local happened = {}

function happened.ended(message)
  local machine = with_key(message.machine)
  if machine then alone(machine, ended, message.how) end
end

function happened.connection(message) network.connection(at_address(message.from), message) end

function happened.question(message)
  local machine = at_address(message.from:match("^[^:]+"))
  if machine then network.question(machine, message) end
end

-- Groups, networks and interfaces change in several records; one look at all machines does for those of one moment.
local function follow()
  local pending = task.event()
  records.on_change(function(record)
    if NETWORKING[record.type:lower()] then pending:set() end
  end)
  task.spawn(function()
    while not closing do
      pending:wait()
      pending:clear()
      for _, machine in pairs(machines.all()) do
        local ok, why = pcall(function()
          if machine.power == "running" then guard(machine) end
        end)
        if not ok and machine.power == "running" then log.error("the rules of %s: %s", machine.hostname, tostring(why)) end
      end
      local ok, why = pcall(network.reconcile)
      if not ok then log.error("the load balancers' addresses: %s", tostring(why)) end
    end
  end)
end

-- Begin and end.

-- Servers of this machine's that the machines find on their internet, instead of those of before (machines/internet.lua).
local function serve(req)
  local list = json.decode(req.body)
  if type(list) ~= "table" then
    return { status = 400, json = { error = { code = "BadRequest", message = "wants a JSON list of servers" } } }
  end
  local ok, told = pcall(internet.serve, list)
  if ok then return { status = 200, json = told } end
  return { status = 400, json = { error = { code = "BadRequest", message = tostring(told) } } }
end

-- Every machine that ran is booted, one beside the other; who starts the emulator hears of it.
local function restore_all(say)
  local tasks = {}
  for _, machine in pairs(live) do
    if machine.power == "running" then
      tasks[#tasks + 1] = task.spawn(function()
        local ok, why = alone(machine, on)
        if not ok then log.error("machine %s does not come back: %s", machine.hostname, tostring(why)) end
        if say then say(machine.hostname .. " is up") end
      end)
    end
  end
  for _, one in ipairs(tasks) do one:join() end
end

-- What the names of this world's cgroups begin with.
local function prefix() return ("vmrun-%s-"):format(world.id:sub(1, 8)) end

local function open_lab()
  fail.check(keeper:ask { op = "lab", base = base, prefix = prefix() })
  network.open(keeper)
end

-- Five of them are held by a machine's systemd and its services, and the kernel counts them for all machines together: its 128
-- are too few for twenty. The limit stays raised.
local function raise_limit()
  local limit = tonumber(fs.read(INOTIFY) or "")
  if not limit or limit >= INSTANCES then return end
  local ok, why = fs.write(INOTIFY, INSTANCES .. "\n", { atomic = false })
  if not ok then
    error(fail { ("machines with systemd need more inotify instances than the %d that root has, and the limit cannot be raised: %s")
      :format(limit, why), code = "machine", hint = ("sysctl fs.inotify.max_user_instances=%d"):format(INSTANCES) })
  end
end

-- Says what this system lacks before anything is made.
local function try_out()
  local folder = world.dir .. "/machines/try"
  local ok, why = keeper:ask { op = "try", folder = folder, cgroup = prefix() .. "try" }
  fs.remove(folder, { recursive = true })
  if not ok then error(fail { "this system cannot have machines with systemd: " .. why, code = "machine" }) end
end

--- Begins: the base, the keeper, the network. `world.say(text)` hears of what takes its time.
function machines.new()
  local uid = process.run { argv = { "id", "-u" }, timeout = 10 }
  if not uid or uid.stdout ~= "0\n" then
    error(fail { "machines with systemd need root", code = "denied", hint = "start the emulator as root, or without --machines=systemd" })
  end
  fail.check(fs.mkdir(world.dir .. "/machines", 448))
  keeper = Keeper.new(program(), function()
    for _, machine in pairs(live) do
      close_metadata(machine)
      machine.root = nil
    end
    task.spawn(function()
      open_lab()
      restore_all()
      if machines.on_restart then machines.on_restart() end
    end)
  end, function(message) happened[message.event](message) end)
  try_out()
  raise_limit()
  base, base_use = debian.root(world.id, world.say)
  open_lab()
  admin.route("PUT /emulator/internet", serve)
  for _, record in pairs(world.store:all(TABLE)) do adopt(record) end
  follow()
  return machines
end

--- Boots what ran before the emulator stopped; when everything else of the world is there.
function machines.restore() restore_all(world.say) end

--- Powers all machines off; which ran is remembered.
function machines.close()
  closing = true
  local tasks = {}
  for _, machine in pairs(live) do
    close_metadata(machine)
    if machine.root then
      tasks[#tasks + 1] = task.spawn(function() keeper:ask { op = "halt", machine = machine.key, grace = LAST_GRACE } end)
    end
  end
  for _, one in ipairs(tasks) do one:join() end
  keeper:close()
  base_use:close()
end

return machines
