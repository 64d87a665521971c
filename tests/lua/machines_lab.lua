--- Machines for tests as the emulator makes them, without Azure around them: a world with a store, addresses and a fabric in
-- which everybody reaches everybody. `lab.way` is nil when machines have no way out to the internet.
local crypto, fs, ssh, stream = require "crypto", require "fs", require "ssh", require "stream"
local addresses, clock, store = require "emulator.addresses", require "emulator.clock", require "emulator.store"
local machines, world = require "emulator.machines", require "emulator.world"

local lab = {}
lab.__index = lab

local function fabric(self)
  return {
    egress = function()
      if self.way then return self.way end
      return nil, "subnet nodes has no way out"
    end,
    dial = function(from, host, port)
      local mapped = port < 1024 and port + 20000 or port
      if host == "127.0.0.1" then return { host = machines.get(from.machine).address, port = mapped } end
      return nil, "nothing answers at " .. host, "timeout"
    end,
  }
end

local function begin(self)
  world.dir, world.clock, world.fabric = self.dir, clock, fabric(self)
  clock.factor = 6000
  world.store = store.open(self.dir .. "/world.db")
  world.addresses = addresses.claim(world.store, self.dir, function(net)
    self.claim = stream.listen { host = net .. ".0.1", port = 8443 }
    return self.claim ~= nil
  end)
  machines.new()
end

local function stop(self)
  machines.close()
  self.claim:close()
  world.store:close()
end

--- Opens one; it ends with the test.
function lab.open(t)
  local self = setmetatable({ dir = t.tmp() .. "/emulator", made = {}, way = "203.0.113.9", pair = crypto.keypair("ed25519") }, lab)
  assert(fs.mkdir(self.dir, 448))
  begin(self)
  t.after(function()
    for id in pairs(self.made) do machines.delete(id) end
    stop(self)
  end)
  return self
end

--- Makes a machine: `more` are more fields of machines.create.
function lab:machine(name, more)
  local given = { id = "/machines/" .. name, hostname = name, private_ip = "10.0.1.4", user = "ops", public_key = self.pair.public,
    image = "Debian:debian-12:12:latest" }
  for key, value in pairs(more or {}) do given[key] = value end
  local machine = assert(machines.create(given))
  self.made[machine.id] = machine
  return machine
end

--- What roles call a host.
function lab:host(machine)
  return { address = machine.address, port = 20022, user = "ops", key = self.pair.private, hostname = machine.hostname,
    host_keys = machines.host_keys(machine.id) }
end

--- A connection to a machine.
function lab:connect(machine, more)
  local options = self:host(machine)
  options.host, options.timeout = machine.address, 20
  for key, value in pairs(more or {}) do options[key] = value end
  return assert(ssh.connect(options))
end

--- Runs shell text on a machine; returns its output, what it said on standard error, and its code.
function lab.sh(_, machine, text)
  local result = machines.run(machine.id, { "/bin/sh", "-c", text })
  return result.stdout, result.stderr, result.code
end

--- The emulator ends and starts again; objects of machines are new ones then.
function lab:again()
  world.store:sync()
  stop(self)
  begin(self)
  machines.restore()
  for id in pairs(self.made) do self.made[id] = machines.get(id) end
end

lab.machines, lab.world = machines, world
return lab
