--- Machines for tests: each a root of its own in namespaces of its own, with a real sshd in front of it, made by the keeper as
-- the emulator's are. What would touch the real machine is a script in the root's /usr/local/sbin.
local fs = require "fs"
local json = require "json"
local process = require "process"
local ssh = require "ssh"
local task = require "task"

local M = {}

local FOLDERS = { "usr", "proc", "sys", "dev", "run/sshd", "tmp", "root/.ssh", "home", "var/lib/dpkg", "var/log", "var/tmp",
  "etc/ssh", "etc/apt", "lib/modules" }
local LINKS = { bin = "usr/bin", sbin = "usr/sbin", lib32 = "usr/lib32", lib64 = "usr/lib64", libx32 = "usr/libx32" }

local FILES = {
  ["etc/passwd"] = "root:x:0:0:root:/root:/bin/sh\nsshd:x:0:0:sshd:/run/sshd:/usr/sbin/nologin\n%s",
  ["etc/group"] = "root:x:0:\ntty:x:0:\nsshd:x:0:\n",
  ["etc/shadow"] = "root:*:19000:0:99999:7:::\n",
  ["etc/hosts"] = "127.0.0.1 localhost\n",
  ["etc/hostname"] = "fresh\n",
  ["etc/os-release"] = 'ID=debian\nVERSION_CODENAME=bookworm\n',
  ["etc/nsswitch.conf"] = "passwd: files\ngroup: files\nhosts: files\n",
}

local SSHD = [[
HostKey /etc/ssh/host_ed25519
AuthorizedKeysFile /root/.ssh/authorized_keys
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
UseDNS no
LogLevel ERROR
PermitRootLogin yes
AcceptEnv LANG
Subsystem sftp internal-sftp
]]

local keeper_of = {} -- test's words -> keeper

local function keeper(t)
  if keeper_of[t] then return keeper_of[t] end
  local child = assert(process.spawn { argv = { process.self(), "machines" }, stdin = "pipe", stdout = "pipe", stderr = "inherit" })
  local waiting, count = {}, 0
  local reader = task.spawn(function()
    local rest = ""
    while true do
      local chunk = child:read()
      if not chunk then break end
      rest = rest .. chunk
      for line in rest:gmatch("([^\n]*)\n") do
        local message = json.decode(line)
        local wait = waiting[message.id]
        waiting[message.id] = nil
        if wait then wait.answer = message wait.event:set() end
      end
      rest = rest:match("[^\n]*$")
    end
  end)
  local made = {}
  function made.ask(message)
    count = count + 1
    message.id = count
    local wait = { event = task.event() }
    waiting[count] = wait
    child:write(json.encode(message) .. "\n")
    assert(wait.event:wait(20), "the keeper did not answer")
    if wait.answer.error then return nil, wait.answer.error end
    return wait.answer
  end
  keeper_of[t] = made
  t.after(function()
    keeper_of[t] = nil
    child:close_stdin()
    if not child:wait(5) then child:kill("KILL") end
    reader:join()
    child:close()
  end)
  return made
end

local function host_key(dir)
  local path = dir .. "/key"
  local pair = require("crypto").keypair("ed25519", { comment = "test" })
  assert(fs.write(path, pair.private, { mode = 384 }))
  return pair
end

local counter = 0

--- Starts one. options: user ("root"), commands ({name = script text, or a path to link to}), files ({path = text}),
-- config (lines for sshd_config), hostname, client (the key pair that it lets in), host and port (where it answers).
-- @return { host, port, user, client, key, host_keys, root, run(argv, stdin), read(path), write(path, text) }
function M.start(t, options)
  options = options or {}
  counter = counter + 1
  local dir = t.tmp()
  local root, commands = dir .. "/root", dir .. "/commands"
  for _, path in ipairs(FOLDERS) do assert(fs.mkdir(root .. "/" .. path, 493)) end
  assert(fs.mkdir(root .. "/usr/local/sbin", 493))
  assert(fs.mkdir(commands, 493))
  for name, target in pairs(LINKS) do
    if fs.stat("/" .. name) and not fs.stat(root .. "/" .. name) then assert(fs.symlink(target, root .. "/" .. name)) end
  end
  if fs.stat("/lib").type == "link" then
    fs.remove(root .. "/lib", { recursive = true })
    assert(fs.symlink("usr/lib", root .. "/lib"))
  end
  local user = options.user or "root"
  local others = user ~= "root" and user .. ":x:0:0::/root:/bin/sh\n" or ""
  for path, text in pairs(FILES) do assert(fs.write(root .. "/" .. path, (text:gsub("%%s", others)))) end
  for path, text in pairs(options.files or {}) do
    assert(fs.mkdir((root .. path):match("^(.*)/"), 493))
    assert(fs.write(root .. path, text))
  end
  assert(fs.mkdir(root .. "/etc/alternatives", 493))
  for _, name in ipairs { "awk", "nawk" } do
    local target = fs.readlink("/etc/alternatives/" .. name)
    if target then assert(fs.symlink(target, root .. "/etc/alternatives/" .. name)) end
  end
  fs.write(root .. "/etc/ssh/sshd_config", table.concat(options.config or {}, "\n") .. "\n" .. SSHD)
  local key, pair = host_key(dir), options.client or require("crypto").keypair("ed25519", { comment = "client" })
  assert(fs.write(root .. "/etc/ssh/host_ed25519", key.private, { mode = 384 }))
  assert(fs.write(root .. "/root/.ssh/authorized_keys", pair.public .. "\n", { mode = 384 }))

  local machine = { root = root, dir = dir, user = user, client = pair, key = pair.private, host_keys = { key.public:match("^%S+ %S+") },
    name = "m" .. counter,
    host = options.host or ("127.84.%d.%d"):format(process.pid() // 250 % 250, (process.pid() + counter) % 250 + 1),
    port = options.port or 20000 + (process.pid() * 7 + counter * 131) % 9000 }
  machine.address = machine.host

  --- A command that stands in for the machine's own.
  function machine.command(name, text)
    local path = commands .. "/" .. name
    fs.remove(path)
    if text:find("^/") then return assert(fs.symlink(text, path)) end
    assert(fs.write(path, "#!/bin/sh\n" .. text, { mode = 493 }))
  end
  for name, text in pairs(options.commands or {}) do machine.command(name, text) end

  local ask = keeper(t).ask
  function machine.up()
    return ask { op = "up", machine = machine.name, root = root, commands = commands, hostname = options.hostname or "fresh",
      address = machine.host, port = machine.port }
  end
  local ok, message = machine.up()
  if not ok then t.skip(message) end

  --- Runs a command inside: { code, stdout, stderr }.
  function machine.run(argv, stdin)
    return assert(ask { op = "run", machine = machine.name, argv = json.array(argv), stdin = stdin or "" })
  end
  --- Kills everything inside and stops listening; up() is a start of the same root.
  function machine.down() ask { op = "down", machine = machine.name } end

  --- A command with the shell, which must succeed: its output.
  function machine.sh(text)
    local result = machine.run { "/usr/bin/dash", "-c", text }
    assert(result.code == 0, text .. ": " .. result.stderr)
    return (result.stdout:gsub("\n$", ""))
  end
  function machine.read(path) return fs.read(root .. path) end
  function machine.write(path, text, mode)
    fs.mkdir((root .. path):match("^(.*)/"), 493)
    return assert(fs.write(root .. path, text, { mode = mode }))
  end
  return machine
end

--- Options of ssh.connect for it, with changes.
function M.options(machine, changes)
  local options = { host = machine.host, port = machine.port, user = machine.user, key = machine.key,
    host_keys = machine.host_keys, timeout = 10 }
  for name, value in pairs(changes or {}) do options[name] = value end
  return options
end

M.connect = function(machine, changes) return ssh.connect(M.options(machine, changes)) end

return M
