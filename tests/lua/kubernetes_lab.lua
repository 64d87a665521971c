--- Machines and a world for tests of the emulated Kubernetes: what the emulator's other parts give it, as small as can be.
-- Each machine has a root of plain files and a loopback address of its own.
local addresses = require "emulator.addresses"
local crypto = require "crypto"
local fs = require "fs"
local stream = require "stream"
local task = require "task"

local lab = {}

local Machine = {}
Machine.__index = Machine

local function changed(m) m.world.kubernetes:changed(m) end

function Machine:service(name)
  local s = self.services[name]
  return s and { active = s.active, enabled = s.enabled }
end
function Machine:start_service(name)
  self.services[name].active = true
  changed(self)
end
function Machine:stop_service(name)
  if self.services[name] then self.services[name].active = false end
  changed(self)
end
function Machine:enable_service(name) self.services[name].enabled = true end
function Machine:package(name) return self.packages[name] end
function Machine:module(name) return self.modules[name] or false end
function Machine:sysctl(name) return self.sysctls[name] end
function Machine:swaps() return self.swap or {} end
function Machine:command(name) return self.missing[name] == nil end
function Machine:port_used(port) return self.ports[port] or false end
function Machine:journal(unit, line) table.insert(self.lines, unit .. ": " .. line) end

--- Runs a stand-in on the machine: {code=, out=, err=}.
function Machine:run(...)
  local argv = { ... }
  local call = { argv = argv, cwd = "/root", env = {}, uid = 0, o = {}, e = {} }
  function call:out(s) self.o[#self.o + 1] = s end
  function call:err(s) self.e[#self.e + 1] = s end
  local code = require("emulator.standin." .. argv[1])(self, call)
  return { code = code, out = table.concat(call.o), err = table.concat(call.e) }
end

--- Writes a file of the machine.
function Machine:file(path, text)
  assert(fs.mkdir(self.root .. path:match("^(.*)/")))
  assert(fs.write(self.root .. path, text))
end

local function memory_store()
  local tables = {}
  local store = {}
  function store:get(tab, key) return tables[tab] and tables[tab][key] end
  function store:put(tab, key, v)
    tables[tab] = tables[tab] or {}
    tables[tab][key] = v
  end
  function store:delete(tab, key)
    if tables[tab] then tables[tab][key] = nil end
  end
  function store:each(tab)
    local keys, i = {}, 0
    for k in pairs(tables[tab] or {}) do keys[#keys + 1] = k end
    table.sort(keys)
    return function()
      i = i + 1
      if keys[i] then return keys[i], tables[tab][keys[i]] end
    end
  end
  function store:sync() end
  return store
end

--- A lab: {world=, machine(name, options), close()}.
function lab.new(options)
  options = options or {}
  local world = require "emulator.world"
  local self = { world = world, machines = {}, blocked = {}, dir = assert(fs.mktemp "vmrun-kubernetes-") }
  local claimed -- test files run side by side, also with emulators, which claim their networks in the same way
  local net = addresses.claim({ get = function() end, put = function() end }, self.dir, function(net)
    claimed = stream.listen { host = net .. ".0.1", port = addresses.PORT }
    return claimed
  end).net
  world.store = options.store or memory_store()
  local factor = options.factor or 600
  world.clock = { factor = factor, sleep = function(s) if s > 0 then task.sleep(s / factor) end end }
  world.fabric = { dial = function(_, address, port)
    local blocked = self.blocked[address .. ":" .. port] or self.blocked[port]
    if blocked then return nil, blocked end
    local target = self.forward and self.forward[address .. ":" .. port] or address
    for _, m in pairs(self.machines) do
      if m.private_ip == target then
        if m.power ~= "running" then return nil, "timeout" end
        return { host = m.address, port = port }
      end
    end
    return nil, "timeout"
  end }
  world.kubernetes = require("emulator.kubernetes").new(world)

  function self.machine(name, o)
    o = o or {}
    self.count = (self.count or 0) + 1
    local n = self.count
    local version = o.version or "1.36.1-1.1"
    local m = setmetatable({ world = world, id = "machine-" .. name, hostname = name, private_ip = "10.77.0." .. 10 + n,
      address = ("%s.0.%d"):format(net, 10 + n), root = self.dir .. "/" .. name, power = "running", lines = {}, ports = {},
      missing = {},
      services = { containerd = { active = true, enabled = true }, kubelet = { active = false, enabled = true } },
      packages = { kubeadm = version, kubelet = version, ["containerd.io"] = "2.3.2-1~debian.12~bookworm" },
      modules = { br_netfilter = true, overlay = true },
      sysctls = { ["net.bridge.bridge-nf-call-iptables"] = "1", ["net.ipv4.ip_forward"] = "1" } }, Machine)
    m:file("/etc/containerd/config.toml", "version = 3\n  SystemdCgroup = true\n")
    m:file("/etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    m:file("/etc/hosts", "127.0.0.1 localhost\n")
    if o.cni then m:file("/etc/cni/net.d/10-test.conflist", "{}") end
    self.machines[m.id] = m
    return m
  end

  function self.close()
    world.kubernetes:close()
    claimed:close()
    fs.remove(self.dir, { recursive = true })
    task.sleep(0.05)
  end
  return self
end

--- The administrator's kubeconfig of a control plane, with its loopback address, for real clients.
function lab.kubeconfig(m)
  local yaml = require "yaml"
  local config = yaml.decode(fs.read(m.root .. "/etc/kubernetes/admin.conf"))
  local cluster = config.clusters[1].cluster
  cluster["tls-server-name"] = cluster.server:match("^https://([^:]+)")
  cluster.server = ("https://%s:6443"):format(m.address)
  return yaml.encode(config)
end

--- A client of the cluster as its administrator.
function lab.client(l, m)
  return require("emulator.kubernetes.client").from_kubeconfig(l.world, m, "/etc/kubernetes/admin.conf", "test")
end

--- Waits until fn gives a value; nil after so many seconds.
function lab.wait(seconds, fn)
  local ends = task.now() + seconds
  repeat
    local v = fn()
    if v then return v end
    task.sleep(0.05)
  until task.now() > ends
end

lab.crypto = crypto

return lab
