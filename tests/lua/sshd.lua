--- A real sshd for tests: on an address of its own, with its own keys; everything in a folder that goes with the test.
local fs = require "fs"
local process = require "process"
local stream = require "stream"
local task = require "task"
local ssh = require "ssh"

local M = {}

local function capture(argv, options)
  local given = { argv = argv }
  for key, value in pairs(options or {}) do given[key] = value end
  local result = assert(process.run(given))
  assert(result.code == 0, table.concat(argv, " ") .. ": " .. result.stderr)
  return result.stdout
end
M.capture = capture

local function find_sshd()
  for _, path in ipairs { "/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd" } do
    if fs.stat(path) then return path end
  end
end

--- Whether there is an sshd here at all: skips the test if not.
function M.need(t)
  if not find_sshd() then t.skip("no sshd on this machine") end
end

--- A new key pair: { private =, public = }.
function M.keypair(dir, name, kind, ...)
  local path = dir .. "/" .. name
  capture { "ssh-keygen", "-q", "-t", kind or "ed25519", "-N", "", "-C", name, "-f", path, ... }
  return { path = path, private = fs.read(path), public = fs.read(path .. ".pub") }
end

local function line_of(public) return public:match("^(%S+ %S+)") end

--- Whether it is there: by its keys, or only by its first word (to whom libssh2 has nothing to say).
function M.answers(server, scan)
  if scan then return ssh.scan { host = server.host, port = server.port, timeout = 5 } end
  local s <close>, message = stream.connect { host = server.host, port = server.port, timeout = 5 }
  if not s then return nil, message end
  return s:read(5)
end

local counter = 0

--- Starts one. `options.config` has more lines for sshd_config; `options.host_keys` the types of its keys;
-- `options.scan = false` for one that libssh2 cannot talk to.
-- @return { host, port, user, key (private), host_keys (lines), dir, pid, stop(), run() (again) }; stopped when the test ends
function M.start(t, options)
  M.need(t)
  options = options or {}
  counter = counter + 1
  local dir = t.tmp()
  local server = { dir = dir, user = capture { "id", "-un" }:match("%S+"), port = 2222, host_keys = {} }
  server.host = ("127.83.%d.%d"):format(process.pid() // 250 % 250, (process.pid() % 250 + counter) % 250 + 1)
  server.port = 20000 + (process.pid() * 7 + counter * 131) % 9000
  server.key = M.keypair(dir, "client", options.key_type or "ed25519", table.unpack(options.key_options or {})).private
  fs.write(dir .. "/authorized", fs.read(dir .. "/client.pub"))
  local lines = {
    "ListenAddress " .. server.host, "Port " .. server.port, "UsePAM no", "StrictModes no", "PidFile none",
    "SetEnv SHLVL=5", -- bash takes itself for no first shell then, and leaves the person's own ~/.bashrc alone
    "AuthorizedKeysFile " .. dir .. "/authorized", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
    "PrintMotd no", "UseDNS no", "PermitRootLogin yes", "MaxStartups 200",
    "Subsystem sftp internal-sftp",
  }
  for _, kind in ipairs(options.host_keys or { "ed25519", "ecdsa" }) do
    local pair = M.keypair(dir, "host_" .. kind, kind)
    lines[#lines + 1] = "HostKey " .. pair.path
    server.host_keys[#server.host_keys + 1] = line_of(pair.public)
  end
  for _, line in ipairs(options.config or {}) do
    for i = #lines, 1, -1 do -- the first of two lines counts, except for MaxStartups
      if lines[i]:match("^%S+") == line:match("^%S+") then table.remove(lines, i) end
    end
    table.insert(lines, 1, line)
  end
  fs.write(dir .. "/config", table.concat(lines, "\n") .. "\n")
  if server.user == "root" then fs.mkdir("/run/sshd") end
  local child
  function server.stop()
    if not child then return end
    child:kill("TERM")
    child:wait(5)
    child = nil
  end
  function server.run()
    child = assert(process.spawn { argv = { find_sshd(), "-D", "-e", "-f", dir .. "/config" }, stdin = "null", stdout = "null",
      stderr = dir .. "/log" })
    server.pid = child.pid
    local stop = task.now() + 10
    while true do
      local keys, message = M.answers(server, options.scan ~= false)
      if keys then break end
      if task.now() > stop then error(message .. "\n" .. (fs.read(dir .. "/log") or "")) end
      task.sleep(0.02)
    end
  end
  t.after(server.stop)
  server.run()
  return server
end

--- Options to connect to it, with changes.
function M.options(server, changes)
  local options = { host = server.host, port = server.port, user = server.user, key = server.key,
    host_keys = server.host_keys, timeout = 10 }
  for name, value in pairs(changes or {}) do options[name] = value end
  return options
end

return M
