--- Starts, stops and forgets the emulator of a state folder. It is a process of its own that outlives who started it.
local fs, process, task = require "fs", require "process", require "task"
local endpoint = require "emulator.endpoint"
local fail = require "fail"

local launch = {}

local PATIENCE = 30 -- seconds until a fresh emulator must answer, or say what takes its time

local function running(dir)
  local value = endpoint.read(dir)
  return value and process.alive(value.pid) and endpoint.alive(value) and value or nil
end

-- The end of a log, of what came after so many bytes.
local function last_words(path, from)
  local text = (fs.read(path) or ""):sub(from + 1)
  local lines = {}
  for line in text:gmatch("[^\n]+") do lines[#lines + 1] = line end
  return table.concat(lines, "\n", math.max(1, #lines - 4))
end

-- The new process says "ready" on its standard output when it answers, or ends. Until then it says what it does.
local function await_ready(child)
  local said = ""
  while true do
    local chunk = task.deadline(PATIENCE, function() return child:read() or "" end)
    if not chunk or chunk == "" then return false end
    said = said:sub(-16) .. chunk
    if ("\n" .. said):find("\nready\n", 1, true) then return true end
  end
end

local function start(dir, options)
  local log = dir .. "/emulator.log"
  local before = fs.stat(log)
  local argv = { process.self(), "emulator", "serve", dir }
  if options.factor then
    argv[#argv + 1] = "--clock"
    argv[#argv + 1] = tostring(options.factor)
  end
  for _, name in ipairs { "profile", "seed", "machines" } do
    if options[name] then
      argv[#argv + 1] = "--" .. name
      argv[#argv + 1] = tostring(options[name])
    end
  end
  local stdlib = process.env "VMRUN_STDLIB" -- it may be relative, and the emulator stands elsewhere
  local env = stdlib and { VMRUN_STDLIB = fs.realpath(stdlib) } or nil
  local child = fail.check(process.spawn { argv = argv, cwd = "/", env = env, stdin = "null", stdout = "pipe", stderr = log, detached = true })
  local ready = await_ready(child)
  child:close()
  if not ready then
    local words = last_words(log, before and before.size or 0)
    error(fail { ("the emulator of %s did not start%s"):format(dir, words ~= "" and ": " .. words or ""), code = "emulator",
      hint = "its log is " .. log })
  end
end

-- One that was started by somebody who was killed meanwhile, and does not answer yet: its endpoint when it does, nil when there is none.
local function await(dir, deadline)
  while task.now() < deadline do
    local lock, _, code = fs.lock(dir .. "/lock")
    if lock then lock:close() end
    if code ~= "locked" then return nil end
    local value = running(dir)
    if value then return value end
    task.sleep(0.05)
  end
end

--- The endpoint of a folder's emulator, which is started when it does not run. options: factor, profile, seed, machines. Two who ask at once start one.
function launch.ensure(dir, options)
  local value = running(dir)
  if value then return value end
  fail.check(fs.mkdir(dir, 448))
  local deadline = task.now() + PATIENCE
  while true do
    local lock, message, code = fs.lock(dir .. "/start.lock")
    if lock then
      local held <close> = lock
      value = running(dir) or await(dir, deadline)
      if not value then
        local ok, err = pcall(start, dir, options or {})
        value = running(dir) or not ok and await(dir, deadline) or nil -- the other one came first
        if not ok and not value then error(err) end
      end
      if not value then error(fail { ("the emulator of %s does not answer"):format(dir), code = "emulator" }) end
      return value
    end
    if code ~= "locked" then error(fail { message, code = code }) end
    if task.now() > deadline then error(fail { ("another process has been starting the emulator of %s for too long"):format(dir), code = "emulator" }) end
    -- Another process is starting it; its lock says nothing when it goes.
    task.sleep(0.05)
    value = running(dir)
    if value then return value end
  end
end

--- Stops it; false when it does not run. Its world stays on the disk.
function launch.stop(dir)
  local value = endpoint.read(dir)
  if not value or not process.alive(value.pid) then return false end
  endpoint.ask(value, "POST", "stop", nil, 10)
  local deadline = task.now() + 15
  while process.alive(value.pid) do
    if task.now() > deadline then
      process.kill(value.pid, 9)
    end
    task.sleep(0.02)
  end
  return true
end

--- Stops it and removes its world.
function launch.reset(dir)
  launch.stop(dir)
  if fs.stat(dir) then fail.check(fs.remove(dir, { recursive = true })) end
end

local function bundle(value, dir)
  local path = dir .. "/ca-bundle.pem"
  local system = fs.read("/etc/ssl/certs/ca-certificates.crt") or ""
  fail.check(fs.write(path, system .. value.ca, { mode = 384, atomic = true }))
  return path
end

-- The default principal's key and certificate, in a file of their own.
local function certificate(value, dir)
  local path = dir .. "/client.pem"
  local answer, why, code = endpoint.ask(value, "POST", "certificate")
  if not answer or not answer.pem then error(fail { why or "the emulator gives no certificate", code = code }) end
  fail.check(fs.write(path, answer.pem, { mode = 384, atomic = true }))
  return path
end

--- The environment in which `az`, the SDKs and Terraform talk to the emulator.
-- As Azure itself, by a proxy that ends TLS for its names; with `cloud`, by its own addresses as a cloud of its own.
function launch.env(value, dir, cloud)
  local ca = bundle(value, dir)
  local variables = { REQUESTS_CA_BUNDLE = ca, SSL_CERT_FILE = ca, NODE_EXTRA_CA_CERTS = ca, AZURE_TENANT_ID = value.tenant,
    AZURE_SUBSCRIPTION_ID = value.subscription, AZURE_CLIENT_ID = value.client_id, AZURE_CLIENT_SECRET = value.client_secret,
    AZURE_CLIENT_CERTIFICATE_PATH = certificate(value, dir), ARM_TENANT_ID = value.tenant, ARM_SUBSCRIPTION_ID = value.subscription,
    ARM_CLIENT_ID = value.client_id, ARM_CLIENT_SECRET = value.client_secret }
  if cloud then
    local host = value.arm:match("^https://(.+)$")
    variables.AZURE_CLOUD, variables.AZURE_AUTHORITY_HOST, variables.ARM_CLOUD_METADATA_URL = value.arm, value.entra, value.arm
    variables.ARM_METADATA_HOSTNAME, variables.ARM_ENVIRONMENT = host, "vmrun"
    variables.AZURE_POD_IDENTITY_AUTHORITY_HOST = value.imds
  else
    -- Plain HTTP is the instance metadata service.
    variables.HTTPS_PROXY, variables.HTTP_PROXY = "http://" .. value.arm:match("^https://(.+)$"), value.imds
    variables.NO_PROXY = "localhost,127.0.0.0/8"
  end
  return variables
end

return launch
