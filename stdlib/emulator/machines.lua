--- What instances run on: machines with a disk, an sshd, and the state that a kernel and systemd would have. The keeper child
-- makes them reachable (machines/keeper.lua); everything else is here, kept in the world's store.
--
-- This is the unprivileged backend; the other one (machines/systemd.lua) has the same functions: new, restore, create, get, start,
-- stop, restart, deallocate, reimage, delete, run, host_keys, leftovers, ask, close.
local crypto, fs, log, process, task = require "crypto", require "fs", require "log", require "process", require "task"
local world = require "emulator.world"
local calls, Keeper, root = require "emulator.machines.calls", require "emulator.machines.keeper", require "emulator.machines.root"
local custom_data, path_of, program = require "emulator.machines.custom_data", require "emulator.machines.path", require "emulator.machines.program"
local packages = require "emulator.machines.packages"
local fail = require "fail"

local machines = {}

local Machine = {}
Machine.__index = Machine

local TABLE = "machine"
-- The commands that a fresh machine has; packages bring more.
local COMMANDS = { "apt-get", "apt-mark", "apt-cache", "dpkg-query", "dpkg", "systemctl", "modprobe", "lsmod", "sysctl", "swapon", "swapoff",
  "cloud-init", "curl", "wget", "journalctl", "hostnamectl", "timedatectl", "reboot", "shutdown" }
local SUDO = [[#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in
  -n | -E | -H | -S | -i) shift ;;
  -u | -g) shift 2 ;;
  --) shift; break ;;
  -*) echo "sudo: invalid option $1" >&2; exit 1 ;;
  *) break ;;
  esac
done
exec "$@"
]]
-- Values that the kernel starts with; a network namespace of its own would have them.
local KERNEL = { ["net.ipv4.ip_forward"] = "0", ["vm.overcommit_memory"] = "0", ["kernel.panic"] = "0", ["kernel.panic_on_oops"] = "1",
  ["fs.inotify.max_user_instances"] = "128", ["fs.inotify.max_user_watches"] = "65536", ["net.ipv6.conf.all.forwarding"] = "0",
  ["vm.swappiness"] = "60" }
local BRIDGE = { ["net.bridge.bridge-nf-call-iptables"] = "1", ["net.bridge.bridge-nf-call-ip6tables"] = "1",
  ["net.bridge.bridge-nf-call-arptables"] = "1" }

local live = {} -- lower id -> machine
local keeper, listener

local function save(machine) world.store:put(TABLE, machine.id:lower(), machine) end

local function changed(machine)
  save(machine)
  if world.kubernetes then world.kubernetes:changed(machine) end
end

--- Where a path of this machine lies on our disk; the machine's links are followed in its own root. nil and why.
function Machine:path(path) return path_of(self.root, path) end

--- Tells the world that something about this machine is other than it was.
function Machine:changed() changed(self) end

local function folder_of(machine) return world.dir .. "/machines/" .. machine.key end

-- Commands are links to one copy of our own program, named so that it knows it stands in.
local function install_command(machine, name)
  local path = folder_of(machine) .. "/commands/" .. name
  fs.remove(path)
  if name == "kubectl" and fs.stat("/usr/bin/kubectl", { follow = true }) then
    fs.symlink("/usr/bin/kubectl", path)
  else
    fs.symlink("vmrun", path)
  end
end

local function make_commands(machine)
  local folder = folder_of(machine) .. "/commands"
  fail.check(fs.mkdir(folder, 493))
  fs.remove(folder .. "/vmrun")
  fail.check(process.run { argv = { "/bin/ln", "-f", program(), folder .. "/vmrun" }, timeout = 10 })
  for _, name in ipairs(COMMANDS) do install_command(machine, name) end
  fail.check(fs.write(folder .. "/sudo", SUDO, { mode = 493 }))
  for _, package in pairs(machine.packages) do
    for _, name in ipairs(package.commands or {}) do install_command(machine, name) end
  end
end

-- Boot: what the disk says becomes what the kernel has.

local function lines_of(path)
  local list = {}
  for line in (fs.read(path) or ""):gmatch("[^\n]+") do
    if not line:find("^%s*[#;]") then list[#list + 1] = line end
  end
  return list
end

-- On a real machine these are in memory.
local function clear_memory(machine)
  for _, folder in ipairs { "/run", "/tmp" } do
    for _, name in ipairs(fs.list(machine.root .. folder) or {}) do fs.remove(machine.root .. folder .. "/" .. name, { recursive = true }) end
  end
  fail.check(fs.mkdir(machine.root .. "/run/sshd", 493))
  fail.check(fs.mkdir(machine.root .. "/run/lock", 493))
  fail.check(fs.write(machine.root .. "/run/machine-boot-id", crypto.uuid() .. "\n", { mode = 292, atomic = false }))
end

local function boot_kernel(machine)
  machine.modules, machine.sysctls, machine.swaps_on = {}, {}, {}
  for _, line in ipairs(lines_of(machine.root .. "/etc/fstab")) do
    local device, kind = line:match("^%s*(%S+)%s+%S+%s+(%S+)")
    if kind == "swap" then table.insert(machine.swaps_on, device) end
  end
  for _, name in ipairs(fs.list(machine.root .. "/etc/modules-load.d") or {}) do
    for _, line in ipairs(lines_of(machine.root .. "/etc/modules-load.d/" .. name)) do machine:load_module(line:match("%S+")) end
  end
  for _, name in ipairs(fs.list(machine.root .. "/etc/sysctl.d") or {}) do machine:read_sysctls("/etc/sysctl.d/" .. name) end
  for _, unit in pairs(machine.units) do unit.active = unit.enabled and not unit.masked end
end

local function write_file(machine, file)
  local path = machine:path(file.path)
  if not path then return end
  fs.mkdir(path:match("^(.*)/"), 493)
  fs.write(path, file.content, { mode = file.mode, append = file.append and fs.stat(path) ~= nil or nil, atomic = false })
end

local function first_boot(machine)
  if machine.initialised then return end
  machine.initialised = true
  local wanted = custom_data(machine.custom_data, machine.hostname)
  for _, file in ipairs(wanted.files) do write_file(machine, file) end
  for _, argv in ipairs(wanted.commands) do machines.run(machine.id, argv) end
end

-- `resumed`: the emulator was away, not the machine; it did not boot.
local function up(machine, resumed)
  if not resumed then clear_memory(machine) end
  root.address(machine.root, world.addresses.front, listener:port(), machine.token)
  local ok, why = keeper:ask { op = "up", machine = machine.key, root = machine.root, commands = folder_of(machine) .. "/commands",
    hostname = (fs.read(machine.root .. "/etc/hostname") or machine.hostname):match("%S+"), address = machine.address, port = 20022 }
  if not ok then return nil, why end
  machine.power = "running"
  if not resumed then boot_kernel(machine) end
  first_boot(machine)
  changed(machine)
  return machine
end

local function down(machine, power)
  if machine.power == "running" then keeper:ask { op = "down", machine = machine.key } end
  machine.power = power
  for _, unit in pairs(machine.units) do unit.active = false end
  changed(machine)
end

-- The lifecycle.

local function adopt(record)
  local machine = setmetatable(record, Machine)
  machine.root = folder_of(machine) .. "/root"
  machine.address = world.addresses:allocate("machine", machine.id:lower())
  live[machine.id:lower()] = machine
  return machine
end

local function make_disk(machine)
  machine.packages, machine.held, machine.units, machine.initialised = {}, {}, {}, false
  machine.modules, machine.sysctls, machine.swaps_on, machine.updated = {}, {}, {}, {}
  machine.units.ssh = { enabled = true, active = true }
  machine.packages[packages.KERNEL] = { version = packages.choose(packages.at(packages.DEBIAN)[packages.KERNEL]) }
  root.make(world.dir, machine)
  make_commands(machine)
end

--- Makes and starts a machine: { id, hostname, private_ip, user, public_key, custom_data, image, vm_id, size }.
function machines.create(given)
  local machine = adopt { id = given.id, hostname = given.hostname, private_ip = given.private_ip, user = given.user or "azureuser",
    public_key = given.public_key, custom_data = given.custom_data, image = given.image, vm_id = given.vm_id, size = given.size,
    key = crypto.sha256(given.id:lower() .. (given.vm_id or "")):sub(1, 16), token = crypto.hex(crypto.random(16)), power = "stopped" }
  local ok, why = pcall(make_disk, machine)
  if not ok then
    machines.delete(given.id)
    return nil, tostring(why)
  end
  local started, reason = up(machine)
  if not started then
    machines.delete(given.id)
    return nil, reason
  end
  return machine
end

function machines.get(id) return live[id:lower()] end

function machines.start(id)
  local machine = machines.get(id)
  if machine.power == "running" then return machine end
  return up(machine)
end

function machines.stop(id) down(machines.get(id), "stopped") end
function machines.deallocate(id) down(machines.get(id), "deallocated") end

function machines.restart(id)
  down(machines.get(id), "stopped")
  return up(machines.get(id))
end

--- A fresh disk from the image, and a start.
function machines.reimage(id)
  local machine = machines.get(id)
  down(machine, "stopped")
  if world.kubernetes then world.kubernetes:removed(machine.id) end
  fs.remove(folder_of(machine), { recursive = true })
  make_disk(machine)
  return up(machine)
end

function machines.delete(id)
  local machine = machines.get(id)
  if not machine then return end
  if machine.power == "running" then keeper:ask { op = "down", machine = machine.key } end
  live[id:lower()] = nil
  world.store:delete(TABLE, id:lower())
  world.addresses:release("machine", id:lower())
  fs.remove(folder_of(machine), { recursive = true })
  if world.kubernetes then world.kubernetes:removed(machine.id) end
end

--- Runs a command on a machine: { code, stdout, stderr }.
function machines.run(id, argv, stdin)
  local machine = machines.get(id)
  if not machine or machine.power ~= "running" then return { code = 255, stdout = "", stderr = "the machine does not run" } end
  local answer, why = keeper:ask { op = "run", machine = machine.key, argv = argv, stdin = stdin }
  return answer or { code = 255, stdout = "", stderr = why }
end

--- The public host key lines of a machine.
function machines.host_keys(id)
  local text = fs.read(machines.get(id).root .. "/etc/ssh/ssh_host_ed25519_key.pub") or ""
  return { (text:match("^(%S+ %S+)")) }
end

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

-- What a machine says of itself.

--- A unit: { active, enabled }; nil where no package has brought it. The kubelet is as active as it is.
function Machine:service(name)
  local unit = self.units[name]
  if not unit then return nil end
  return unit
end

function Machine:start_service(name)
  local unit = self.units[name]
  if not unit then return false, ("Unit %s.service not found."):format(name) end
  if unit.masked then return false, ("Unit %s.service is masked."):format(name) end
  unit.active = true
  changed(self)
  return true
end

function Machine:stop_service(name)
  local unit = self.units[name]
  if not unit then return false, ("Unit %s.service not loaded."):format(name) end
  unit.active = false
  changed(self)
  return true
end

function Machine:enable_service(name, enabled)
  local unit = self.units[name]
  if not unit then return false, ("Unit file %s.service does not exist."):format(name) end
  unit.enabled = enabled ~= false
  changed(self)
  return true
end

--- The installed version of a package, or nil.
function Machine:package(name) return self.packages[name] and self.packages[name].version end

--- Marks a package as installed, with what it brings.
function Machine:install(name, version, package)
  self.packages[name] = { version = version, commands = package.commands, units = package.units }
  for _, unit in ipairs(package.units or {}) do
    self.units[unit] = self.units[unit] or { enabled = true, active = unit ~= "kubelet" }
  end
  for _, command in ipairs(package.commands or {}) do install_command(self, command) end
  if name:find("^containerd") and not fs.stat(self.root .. "/etc/containerd/config.toml") then
    fs.mkdir(self.root .. "/etc/containerd")
    -- As packaged: Docker's switches the CRI plugin off.
    fs.write(self.root .. "/etc/containerd/config.toml", name == "containerd.io" and 'disabled_plugins = ["cri"]\n' or "version = 2\n")
  end
  changed(self)
end

function Machine:uninstall(name)
  local package = self.packages[name]
  for _, unit in ipairs(package.units or {}) do self.units[unit] = nil end
  for _, command in ipairs(package.commands or {}) do fs.remove(folder_of(self) .. "/commands/" .. command) end
  self.packages[name], self.held[name] = nil, nil
  changed(self)
end

function Machine:module(name) return self.modules[name:gsub("-", "_")] == true end

function Machine:load_module(name)
  if not name then return end
  self.modules[name:gsub("-", "_")] = true
end

--- A kernel parameter, or nil when the kernel has none of that name (now).
function Machine:sysctl(name)
  if BRIDGE[name] then return self:module("br_netfilter") and (self.sysctls[name] or BRIDGE[name]) or nil end
  return self.sysctls[name] or KERNEL[name]
end

--- Sets it; false when there is none.
function Machine:set_sysctl(name, value)
  if self:sysctl(name) == nil then return false end
  self.sysctls[name] = value
  changed(self)
  return true
end

function Machine:read_sysctls(path)
  for _, line in ipairs(lines_of(self.root .. path)) do
    local key, value = line:match("^%s*([%w_.-]+)%s*=%s*(.-)%s*$")
    if key and self:sysctl(key) then self.sysctls[key] = value end
  end
end

--- The swap devices in use.
function Machine:swaps() return self.swaps_on end

function Machine:command(name)
  return fs.stat(folder_of(self) .. "/commands/" .. name) ~= nil or fs.stat("/usr/bin/" .. name) ~= nil or fs.stat("/usr/sbin/" .. name) ~= nil
end

function Machine:journal(unit, line)
  local path = self.root .. "/var/log/journal-" .. unit .. ".log"
  local stat = fs.stat(path)
  fs.write(path, os.date("!%b %d %H:%M:%S ") .. self.hostname .. " " .. unit .. ": " .. line .. "\n",
    { append = stat ~= nil and stat.size < 1 << 20, mode = 416, atomic = false })
end

--- Whether something that is not Kubernetes listens on a port.
function Machine:port_used(port) return port == 22 end

function Machine:commands_folder() return folder_of(self) .. "/commands" end

-- Begin and end.

local function restore_all()
  local tasks = {}
  for _, machine in pairs(live) do
    if machine.power == "running" then
      tasks[#tasks + 1] = task.spawn(function()
        local ok, why = up(machine, true)
        if not ok then log.error("machine %s does not come back: %s", machine.hostname, tostring(why)) end
      end)
    end
  end
  for _, t in ipairs(tasks) do t:join() end
end

local function by_token(token)
  for _, machine in pairs(live) do
    if machine.token == token then return machine end
  end
end

--- Begins: the keeper, the listener for commands, and all machines that ran.
function machines.new()
  fail.check(fs.mkdir(world.dir .. "/machines", 448))
  keeper = Keeper.new(program(), function()
    task.spawn(function()
      restore_all()
      if machines.on_restart then machines.on_restart() end
    end)
  end)
  listener = calls.listen(world.addresses.front, by_token)
  for _, record in pairs(world.store:all(TABLE)) do
    adopt(record)
    make_commands(record)
  end
  return machines
end

--- Brings back what ran before the emulator stopped; when everything else of the world is there.
function machines.restore() restore_all() end

function machines.close()
  listener:close()
  keeper:close()
end

return machines
