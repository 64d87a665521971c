--- Whose keys log in: agents, files and their passphrases, certificates; and that none is left in memory.
local test, lab = require "tap", require "connections_lab"
local connection, agent, crypto, fs = require "host.connection", require "ssh.agent", require "crypto", require "fs"
local process, ssh, sshd, task = require "process", require "ssh", require "sshd", require "task"

local host_of, by_openssh, says, refused = lab.host_of, lab.by_openssh, lab.says, lab.refused
local authorize, wait_until = lab.authorize, lab.wait_until

test("an agent's keys log in, of all kinds", function(t)
  local server = sshd.start(t)
  for _, kind in ipairs { "ed25519", "rsa", "ecdsa" } do
    local pair = sshd.keypair(server.dir, "with_agent_" .. kind, kind)
    authorize(server, pair.public)
    local path = server.dir .. "/" .. kind .. ".sock"
    local child = assert(process.spawn { argv = { "ssh-agent", "-D", "-a", path }, stdout = "null", stderr = "null" })
    t.after(function() child:kill() child:wait(5) child:close() end)
    wait_until("the agent listens", function() return fs.stat(path) end)
    sshd.capture({ "ssh-add", "-q", pair.path }, { env = { SSH_AUTH_SOCK = path } })
    local keys = assert(agent.keys(path))
    t.eq(#keys, 1)
    local conn = assert(ssh.connect(sshd.options(server, { key = false, identities = { { blob = keys[1].blob, name = keys[1].name,
      sign = function(data) return assert(agent.sign(path, keys[1], data)) end } } })))
    t.eq(conn:exec("echo in").stdout, "in\n")
    conn:close()
  end
end)

-- An agent in this process with one key, which signs by `sign(key, data, algorithm)`.
local function agent_with(t, path, key, sign)
  local mine = setmetatable({}, { __index = function(_, name)
    return function(_, ...) if name == "sign" then return sign(key, ...) end return key[name](key) end
  end })
  local served = assert(agent.serve(path, { mine }))
  t.after(function() served:close() end)
end

test("an agent in this very process signs: nothing blocks", function(t)
  local server = sshd.start(t)
  local path = server.dir .. "/a.sock"
  local key = assert(ssh.key(server.key))
  local signing, all_here = 0, task.event() -- no signature comes before all are asked for
  agent_with(t, path, key, function(of, ...)
    signing = signing + 1
    if signing == 6 then all_here:set() end
    all_here:wait()
    return of:sign(...)
  end)
  local keys = assert(agent.keys(path))
  local identity = { blob = keys[1].blob, name = keys[1].name, sign = function(data) return agent.sign(path, keys[1], data) end }
  local jobs = {}
  for i = 1, 6 do
    jobs[i] = task.spawn(function()
      local conn <close> = assert(ssh.connect(sshd.options(server, { key = false, identities = { identity } })))
      return conn:exec("echo " .. i).stdout
    end)
  end
  for i, job in ipairs(jobs) do t.eq({ job:join() }, { true, i .. "\n" }) end
end)

test("a signature that is refused, and keys one after the other", function(t)
  local server = sshd.start(t, { config = { "MaxAuthTries 4" } })
  local right, wrong = assert(ssh.key(server.key)), {}
  for i = 1, 6 do wrong[i] = assert(ssh.key(sshd.keypair(server.dir, "wrong" .. i).private)) end
  local conn = assert(ssh.connect(sshd.options(server, { key = false, identities = { wrong[1], wrong[2], right } })))
  conn:close()
  local message = t.err("auth", ssh.connect(sshd.options(server, { key = false, identities = { wrong[1], wrong[2] } })))
  t.has(message, "with each of the keys ssh-ed25519 SHA256:")
  t.has(t.err("auth", ssh.connect(sshd.options(server, { key = false,
    identities = { wrong[1], wrong[2], wrong[3], wrong[4], wrong[5], right } }))), "of 6 keys and heard no more")
  t.err("auth", ssh.connect(sshd.options(server, { key = false, identities = { { blob = right:blob(), name = "mine",
    sign = function() return nil end } } })))
  t.has(t.err("auth", ssh.connect(sshd.options(server, { identities = {} }))), "no private key was given")
end)

test("an agent that does not sign, or not as asked, is named by both transports", function(t)
  local server = sshd.start(t, { key_type = "rsa" })
  local key = assert(ssh.key(server.key))
  local config = ("Host *\n  User %s\n  IdentityFile none\n  IdentityAgent %s/%%s.sock\n"):format(server.user, server.dir)
  fs.write(server.dir .. "/locked", config:format("locked"))
  agent_with(t, server.dir .. "/locked.sock", key, function() return nil end)
  fs.write(server.dir .. "/old", config:format("old"))
  agent_with(t, server.dir .. "/old.sock", key, function(of, data) return of:sign(data, "ssh-rsa") end)
  fs.write(server.dir .. "/empty", config:format("empty"))
  agent_with(t, server.dir .. "/empty.sock", key, function() return "", "rsa-sha2-256" end)
  local function try(name, transport)
    local err = refused(t, host_of(server, { key = false, config = server.dir .. "/" .. name, transport = transport }), "auth")
    t.ok(not err.message:find(" refused user ", 1, true), err.message)
    t.has(err.hint, "ssh-add -X")
    return err.message
  end
  local message = try("locked")
  t.has(message, "nobody has signed with key " .. key:name())
  t.has(message, "the ssh-agent at " .. server.dir .. "/locked.sock refused to sign")
  t.has(try("locked", "openssh"), "nobody has signed with key RSA")
  t.has(try("old"), ("the ssh-agent at %s/old.sock signed with \"ssh-rsa\" instead of rsa-sha2-256"):format(server.dir))
  t.has(try("empty"), ("the ssh-agent at %s/empty.sock gave an empty signature"):format(server.dir))
  -- One that the host did refuse is told apart.
  local wrong = assert(ssh.key(sshd.keypair(server.dir, "wrong").private))
  local mine = { blob = key:blob(), name = "mine", sign = function() return nil, "it is locked" end }
  message = t.err("auth", ssh.connect(sshd.options(server, { key = false, identities = { wrong, mine } })))
  t.has(message, ("refused user '%s' with each of the keys %s, mine (it is locked)"):format(server.user, wrong:name()))
end)

test("an empty signature is none: the next key is tried", function(t)
  local server = sshd.start(t)
  local right = assert(ssh.key(server.key))
  local function empty(name) return { blob = right:blob(), name = name, sign = function() return "" end } end
  local conn = assert(ssh.connect(sshd.options(server, { key = false, identities = { empty("one"), empty("two"), right } })))
  t.eq(conn:exec("echo in").stdout, "in\n")
  conn:close()
  t.has(t.err("auth", ssh.connect(sshd.options(server, { key = false, identities = { empty("one"), empty("two") } }))),
    "nobody has signed with any of the keys one (an empty signature was given), two (an empty signature was given)")
end)

test("agent = true, and none that answers", function(t)
  local server = sshd.start(t)
  local err = refused(t, host_of(server, { key = false, agent = true }), "key")
  if process.env("SSH_AUTH_SOCK") then t.skip("an agent is there") end
  t.has(err.message, "SSH_AUTH_SOCK is not set")
end)

test("key files: read once, for nobody else, with a passphrase", function(t)
  local server = sshd.start(t)
  local path = server.dir .. "/client"
  t.eq(says(t, host_of(server, { key = false, key_file = path })), "in")
  fs.chmod(path, 420)
  connection.close_all()
  local err = refused(t, host_of(server, { key = false, key_file = path }), "key")
  t.has(err.message, "can be read by others (mode 644)")
  t.has(err.hint, "chmod 600")
  fs.chmod(path, 384)
  sshd.capture { "ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-a", "4", "-f", path }
  err = refused(t, host_of(server, { key = false, key_file = path }), "passphrase")
  t.has(err.message, path)
  t.has(err.message, "is encrypted and no passphrase was given")
  err = refused(t, host_of(server, { key = false, key_file = path, passphrase = "no" }), "passphrase")
  t.has(err.message, "does not open")
  t.eq(says(t, host_of(server, { key = false, key_file = path, passphrase = "open sesame" })), "in")
  connection.close_all()
  err = refused(t, host_of(server, { key = false, key_file = server.dir .. "/none" }), "key")
  t.has(err.message, "/none")
end)

test("RSA: the key by both transports, a host with no other key by the second", function(t)
  local server = sshd.start(t, { key_type = "rsa", host_keys = { "rsa" }, scan = false })
  local err = refused(t, host_of(server), "handshake")
  t.has(err.message, "no host key type in common")
  t.has(err.hint, "transport = \"openssh\"")
  t.eq(says(t, by_openssh(server)), "in")
  local other = sshd.start(t, { key_type = "rsa" })
  t.eq(says(t, host_of(other)), "in")
  t.eq(says(t, by_openssh(other)), "in")
end)

test("a user certificate", function(t)
  local server = sshd.start(t)
  sshd.keypair(server.dir, "authority")
  sshd.capture { "ssh-keygen", "-q", "-s", server.dir .. "/authority", "-I", "me", "-n", server.user,
    server.dir .. "/client.pub" }
  fs.write(server.dir .. "/authorized", "cert-authority " .. fs.read(server.dir .. "/authority.pub"))
  local err = refused(t, host_of(server), "auth")
  t.has(err.hint, "transport = \"openssh\" and `certificate`")
  err = refused(t, by_openssh(server), "auth")
  t.has(err.message, "Permission denied")
  local certificate = fs.read(server.dir .. "/client-cert.pub"):gsub("\n", "")
  t.eq(says(t, by_openssh(server, { certificate = certificate })), "in")
end)

-- The secret numbers of an unencrypted private key in OpenSSH's format, as libcrypto keeps them: the lowest byte first.
local function secrets_of(text)
  local data = crypto.unbase64((text:match("KEY%-%-%-%-%-(.-)%-%-%-%-%-END"):gsub("%s", "")))
  local section = select(7, (">zs4s4s4I4s4s4"):unpack(data))
  local _, _, kind, at = (">I4I4s4"):unpack(section)
  local strings = {}
  for i = 1, kind == "ssh-rsa" and 6 or 3 do strings[i], at = (">s4"):unpack(section, at) end
  if kind == "ssh-rsa" then return { d = strings[3]:reverse(), p = strings[5]:reverse(), q = strings[6]:reverse() } end
  return { scalar = strings[3]:reverse() }
end

local LARGEST = 1 << 28 -- bytes of a piece of memory; a sanitizer's books are larger

-- Which of the numbers are anywhere in the memory that a process writes to.
local function found_in_memory(pid, numbers)
  local memory <close> = assert(io.open(("/proc/%d/mem"):format(pid), "rb"))
  local found = {}
  for from, to in fs.read(("/proc/%d/maps"):format(pid)):gmatch("(%x+)%-(%x+) rw") do
    local start, size = tonumber(from, 16), tonumber(to, 16) - tonumber(from, 16)
    local part = size <= LARGEST and memory:seek("set", start) and memory:read(size)
    for name, number in pairs(numbers) do
      if part and part:find(number:sub(9, 28), 1, true) then found[name] = true end
    end
  end
  return found
end

test("a private key that nobody holds any more is nowhere in memory", function(t)
  local dir = t.tmp()
  fs.write(dir .. "/hold.lua", [[
    local fs, ssh, terminal = require "fs", require "ssh", require "terminal"
    local input = terminal.input()
    local key = assert(ssh.key(fs.read(arg[1])))
    for _ = 1, 2 do
      io.write("ready\n") io.flush()
      input:read()
      key = nil
      collectgarbage() collectgarbage()
    end
  ]])
  for _, kind in ipairs { "rsa", "ecdsa" } do
    local pair = sshd.keypair(dir, kind, kind)
    local child <close> = assert(process.spawn { argv = { process.self(), "lua", dir .. "/hold.lua", pair.path } })
    t.eq(child:read(10), "ready\n")
    local secrets = secrets_of(pair.private)
    t.ok(next(found_in_memory(child.pid, secrets)), "the search finds nothing")
    child:write("\n")
    t.eq(child:read(10), "ready\n")
    t.eq(found_in_memory(child.pid, secrets), {}, kind)
    child:kill()
  end
end)

test.done()
