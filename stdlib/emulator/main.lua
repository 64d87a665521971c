--- The emulator's process: opens its world, listens, and works until it is told to stop.
local crypto, fs, log, process, server, task = require "crypto", require "fs", require "log", require "process", require "server",
  require "task"
local world = require "emulator.world"
local addresses, clock, endpoint, store = require "emulator.addresses", require "emulator.clock", require "emulator.endpoint",
  require "emulator.store"
local fail = require "fail"

local PORT, IMDS_PORT = addresses.PORT, 8169
local NAMES = { "localhost", "vault.localhost", "*.vault.localhost", "management.azure.com", "login.microsoftonline.com",
  "graph.microsoft.com", "*.vault.azure.net" }

--- A value that is made once and then kept.
local function kept(key, make)
  local value = world.store:get("world", key)
  if value == nil then
    value = make()
    world.store:put("world", key, value)
  end
  return value
end

-- What instances run on is the world's from its first start on.
local function choose_machines(wanted)
  world.backend = kept("machines", function() return wanted or "namespaces" end)
  if wanted and wanted ~= world.backend then
    error(fail { ("this emulator's machines are '%s', not '%s'"):format(world.backend, wanted), code = "usage",
      hint = "forget its world first: vmrun emulator reset" })
  end
end

local function open_world(dir, options)
  world.dir, world.clock, world.pid, world.started = dir, clock, process.pid(), task.time()
  world.store = store.open(dir .. "/world.db")
  fs.chmod(dir .. "/world.db", 384)
  world.id = kept("id", crypto.uuid)
  world.subscription, world.tenant = kept("subscription", crypto.uuid), kept("tenant", crypto.uuid)
  world.token = kept("token", function() return crypto.base64url(crypto.random(30)) end)
  world.token_key = kept("token_key", crypto.ec_key)
  world.ca = kept("ca", function()
    return fail.check(crypto.x509_ca { cn = "vmrun emulator " .. world.id:sub(1, 8), o = { "vmrun" }, days = 3650 })
  end)
  clock.factor = options.factor or tonumber(process.env("VMRUN_EMULATOR_FACTOR") or "")
    or world.store:get("world", "factor") or 600
  if options.factor then world.store:put("world", "factor", options.factor) end
  if options.profile then world.store:put("world", "profile", options.profile) end
  clock.profile = world.store:get("world", "profile") or "instant"
  clock.seed(options.seed)
  world.say = options.say
  choose_machines(options.machines)
  world.stopping = task.event()
end

local function listen()
  local front = require "emulator.front"
  local https, plain
  world.addresses = addresses.claim(world.store, world.dir, function(net)
    local host = net .. ".0.1"
    local leaf = fail.check(crypto.x509_issue { ca = world.ca, cn = host, dns = NAMES, ip = { host, "127.0.0.1" }, days = 825,
      usage = { "server" } })
    local listener, why, code = server.listen { host = host, port = PORT, tls = { cert = leaf.cert, key = leaf.key },
      proxy = front.proxied, handler = front.handle }
    if not listener then
      if code == "in_use" then return false end
      error(fail { why, code = code })
    end
    https = listener
    return true
  end)
  local net = world.addresses.front
  world.origin, world.authority = ("https://%s:%d"):format(net, PORT), ("%s:%d"):format(net, PORT)
  world.vault_suffix = ("vault.localhost:%d"):format(PORT)
  world.vault_audience = "https://" .. world.vault_suffix
  plain = fail.check(server.listen { host = net, port = IMDS_PORT, proxy = front.proxied, handler = front.handle_plain })
  https:plain(plain) -- who names one proxy for both schemes meets this port with plain HTTP, too
  return https, plain
end

--- Loads a part that others write; absent in an early build.
local function optional(name)
  local ok, part = pcall(require, name)
  if ok then return part end
  if not tostring(part):find("module '" .. name .. "' not found", 1, true) then error(part, 0) end
  return nil
end

local function assemble()
  world.arm = require "emulator.arm.records"
  world.entra, world.vault, world.writes = require "emulator.entra", require "emulator.vault", require "emulator.writes"
  world.faults = require "emulator.faults"
  require("emulator.arm.operations").fault = world.faults.operation
  world.fabric = require "emulator.fabric"
  require "emulator.arm.server"
  world.writes.restore()
end

local function start_parts()
  local real = world.backend == "systemd"
  local machines = optional(real and "emulator.machines.systemd" or "emulator.machines")
  if machines then world.machines = machines.new and machines.new(world) or machines end
  if machines then require("emulator.git").start(machines) end
  local kubernetes = not real and optional "emulator.kubernetes" -- real machines run the real thing
  if kubernetes then world.kubernetes = kubernetes.new and kubernetes.new(world) or kubernetes end
  world.arm.restore()
  if world.machines and world.machines.restore then world.machines.restore() end
  require("emulator.arm.operations").restore()
  require("emulator.arm.machine").restore()
  require("emulator.balancer").start()
end

local function principal()
  local client_id = world.store:get("world", "client_id")
  if not client_id then
    local made, secret = world.entra.add_application("vmrun")
    client_id = made.client_id
    world.store:put("world", "client_id", client_id)
    world.store:put("world", "client_secret", secret)
  end
  world.client_id = client_id
  return client_id, world.store:get("world", "client_secret")
end

local function publish()
  local client_id, secret = principal()
  world.store:sync()
  fail.check(endpoint.write(world.dir, {
    id = world.id, pid = world.pid, arm = world.origin, entra = world.origin,
    imds = ("http://%s:%d"):format(world.addresses.front, IMDS_PORT),
    vault_suffix = world.vault_suffix, vault_audience = world.vault_audience, vault_address = world.authority, ca = world.ca.cert,
    subscription = world.subscription, tenant = world.tenant, client_id = client_id, client_secret = secret,
    object_id = world.store:get("principal", client_id).object_id, token = world.token,
    net = world.addresses.net, machines = world.backend,
  }))
end

local function close_parts(https, plain)
  endpoint.remove(world.dir)
  require("emulator.balancer").stop()
  if world.kubernetes and world.kubernetes.close then world.kubernetes:close() end
  if world.machines and world.machines.close then world.machines.close() end
  https:close()
  plain:close()
  world.store:close()
end

--- Serves until it is stopped. `options`: `factor`, `profile`, `seed` (clock.lua); `machines`: "namespaces" or "systemd";
-- `ready()` is called when it answers, `say(text)` when something takes its time until then.
local function serve(dir, options)
  options = options or {}
  fail.check(fs.mkdir(dir, 448))
  local lock, why, code = fs.lock(dir .. "/lock")
  if not lock then
    error(fail { code == "locked" and ("an emulator serves %s already"):format(dir) or why, code = code })
  end
  local held <close> = lock
  open_world(dir, options)
  assemble()
  local https, plain = listen()
  start_parts()
  publish()
  log.info("the emulator of %s answers at %s (factor %g)", dir, world.origin, clock.factor)
  if options.ready then options.ready() end
  local ok, stopped = pcall(world.stopping.wait, world.stopping)
  close_parts(https, plain)
  log.info("the emulator of %s stopped", dir)
  if not ok then error(stopped, 0) end
end

return { serve = serve }
