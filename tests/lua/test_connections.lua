--- Connections to hosts as recipes say them: keys and who has them, known hosts, configuration files, jump hosts, limits, and the
-- second transport; over real sshds.
local test = require "tap"
local connection = require "host.connection"
local agent, crypto, fs, login = require "ssh.agent", require "crypto", require "fs", require "ssh.login"
local process, ssh = require "process", require "ssh"
local json, sshd, stream, task = require "json", require "sshd", require "stream", require "task"

local TARGET = { kind = "none" }

-- An ssh.host of a server, with changes; false takes a field away.
local function host_of(server, changes)
  local host = { address = server.host, port = server.port, user = server.user, key = server.key, host_keys = server.host_keys }
  for name, value in pairs(changes or {}) do host[name] = value or nil end
  return host
end

local function open(t, host, timeout)
  t.after(connection.close_all)
  return connection.open(TARGET, host, timeout or 10)
end

local function says(t, host, command)
  local result = assert(open(t, host):exec(command or "echo in"))
  return (result.stdout:gsub("%s+$", ""))
end

-- The failure of a connection that must not come about.
local function refused(t, host, code, timeout)
  t.after(connection.close_all)
  local ok, err = pcall(connection.open, TARGET, host, timeout or 10)
  t.ok(not ok, "it was opened")
  if type(err) ~= "table" then error(err, 0) end
  t.eq(err.code, code, err.message)
  return err
end

-- How often somebody has logged in at a server.
local function logins(server)
  local count = 0
  for _ in fs.read(server.dir .. "/log"):gmatch("Accepted publickey") do count = count + 1 end
  return count
end

local function authorize(server, ...)
  fs.write(server.dir .. "/authorized", fs.read(server.dir .. "/authorized") .. table.concat({ ... }))
end

local function wait_until(what, fn)
  local stop = task.now() + 20
  while not fn() do
    if task.now() > stop then error("it did not come to be that " .. what, 2) end
    task.sleep(0.01)
  end
end

-- Processes whose arguments hold a text.
local function running(text)
  local found = {}
  for _, pid in ipairs(fs.list("/proc")) do
    local line = pid:find("^%d+$") and fs.read("/proc/" .. pid .. "/cmdline")
    if line and line:find(text, 1, true) then found[#found + 1] = math.tointeger(tonumber(pid)) end
  end
  return found
end

-- --- keys ---

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
  -- One that the host did refuse is told apart.
  local wrong = assert(ssh.key(sshd.keypair(server.dir, "wrong").private))
  local mine = { blob = key:blob(), name = "mine", sign = function() return nil, "it is locked" end }
  message = t.err("auth", ssh.connect(sshd.options(server, { key = false, identities = { wrong, mine } })))
  t.has(message, ("refused user '%s' with each of the keys %s, mine (it is locked)"):format(server.user, wrong:name()))
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

-- --- known hosts ---

test("known_hosts files: plain, hashed, with ports and patterns", function(t)
  local server = sshd.start(t)
  local file = server.dir .. "/known"
  local key, name = server.host_keys[1], ("[%s]:%d"):format(server.host, server.port)
  local function try(text)
    connection.close_all()
    fs.write(file, text)
    return says(t, host_of(server, { host_keys = false, known_hosts = { server.dir .. "/none", file } }))
  end
  local function bad(text)
    connection.close_all()
    fs.write(file, text)
    return refused(t, host_of(server, { host_keys = false, known_hosts = { file } }), "hostkey")
  end
  t.eq(try(name .. " " .. key .. "\n"), "in")
  t.eq(try(server.host .. " " .. key .. " comment\n"), "in") -- without its port, as OpenSSH has it
  t.eq(try("# words\n\nother,[127.*]:* " .. key .. "\n"), "in")
  fs.write(file, name .. " " .. key .. "\n")
  sshd.capture { "ssh-keygen", "-q", "-H", "-f", file }
  local hashed = fs.read(file)
  t.has(hashed, "|1|")
  t.eq(try(hashed), "in")
  t.has(bad("*,!127.*,![127.*]:* " .. key .. "\n").message, "is not known in " .. file)
  t.has(bad(("[%s]:%d %s\n"):format(server.host, server.port + 1, key)).message, "is not known")
  t.has(bad("").message, "there is no host key in " .. file)
  local err = bad(("%s %s\n@revoked * %s\n"):format(name, key, key))
  t.has(err.message, "REVOKED HOST KEY")
  t.has(err.message, file .. ":2")
  t.eq(try(("@cert-authority %s %s\n%s %s\n"):format(name, key, server.host, key)), "in") -- which knows nothing of the port
  err = bad(("@cert-authority %s %s\n"):format(name, key))
  t.has(err.message, ("an authority vouches for it (%s:1), which only transport = \"openssh\" understands"):format(file))
end)

test("a changed key is told with its place and how to take it out", function(t)
  local server, other = sshd.start(t), sshd.start(t)
  local file = server.dir .. "/known"
  fs.write(file, ("# first\n[%s]:%d %s\n"):format(server.host, server.port, other.host_keys[1]))
  local err = refused(t, host_of(server, { host_keys = false, known_hosts = { file } }), "hostkey")
  t.has(err.message, "REMOTE HOST IDENTIFICATION HAS CHANGED")
  t.has(err.message, "(" .. file .. ":2)")
  t.has(err.hint, ("ssh-keygen -f '%s' -R '[%s]:%d'"):format(file, server.host, server.port))
end)

-- --- configuration files ---

test("a configuration says where, as whom, with what and through what", function(t)
  local outer, middle, inner = sshd.start(t), sshd.start(t), sshd.start(t)
  local dir = inner.dir
  local known = {}
  for _, server in ipairs { outer, middle, inner } do
    for _, line in ipairs(server.host_keys) do known[#known + 1] = ("[%s]:%d %s\n"):format(server.host, server.port, line) end
    fs.chmod(server.dir .. "/client", 384)
  end
  fs.write(dir .. "/known hosts", table.concat(known))
  fs.symlink(dir .. "/known hosts", dir .. "/known")
  fs.write(dir .. "/included", ([[
Host web-? !web-9
  HostName %s
  Port %d
  IdentityFile %s
  ProxyJump jump-1,%s@jump-2
Host web-*
  Port 1
]]):format(inner.host, inner.port, inner.dir .. "/client", middle.user))
  fs.write(dir .. "/config", ([[
Include %s/included
Host jump-1
  HostName %s
  Port %d
  IdentityFile %s
Host jump-2
  HostName %s
  Port %d
  IdentityFile %s
Match host %s
  IdentitiesOnly yes
Host *
  User %s
  UserKnownHostsFile %s
]]):format(dir, outer.host, outer.port, outer.dir .. "/client", middle.host, middle.port, middle.dir .. "/client", inner.host,
    inner.user, dir .. "/known"))
  local host = { address = "web-1", config = dir .. "/config" }
  local before = { logins(outer), logins(middle), logins(inner) }
  t.eq(says(t, host), "in")
  t.eq({ login.place(host) }, { inner.user, inner.port })
  -- Saying what the configuration says makes no other connection: roles know user and port from the host's outputs.
  t.eq(says(t, { address = "web-1", config = dir .. "/config", user = inner.user, port = inner.port }), "in")
  t.eq(says(t, { address = "web-2", config = dir .. "/config" }), "in")
  -- One connection to each jump host, two to the host that has two names.
  t.eq({ logins(outer) - before[1], logins(middle) - before[2], logins(inner) - before[3] }, { 1, 1, 2 })
  local err = refused(t, { address = "web-9", config = dir .. "/config", key = inner.key }, "unreachable", 5)
  t.has(err.message, "web-9")
  -- What the recipe says counts more.
  err = refused(t, { address = "web-1", config = dir .. "/config", port = 1 }, "unreachable", 5)
  t.has(err.message, ":1")
  fs.write(dir .. "/broken", "Host *\n  Nonsense 1\n")
  err = refused(t, { address = "web-1", config = dir .. "/broken" }, "config")
  t.has(err.message, "Bad configuration option")
  fs.write(dir .. "/command", "Host *\n  ProxyCommand nc %h %p\n")
  err = refused(t, { address = "web-1", config = dir .. "/command" }, "config")
  t.has(err.hint, "transport = \"openssh\"")
end)

test("without a configuration the person's files have no word", function(t)
  local server = sshd.start(t)
  local config = require "ssh.config"
  local was = config.of
  config.of = function() error("it was asked") end
  t.after(function() config.of = was end)
  t.eq(says(t, host_of(server)), "in")
end)

-- --- jump hosts, limits, losses ---

test("hosts of the same private address behind different jump hosts are different", function(t)
  local a, b, inner = sshd.start(t), sshd.start(t), sshd.start(t)
  local first = open(t, host_of(inner, { via = host_of(a) }))
  local second = open(t, host_of(inner, { via = host_of(b) }))
  t.ok(first ~= second)
  t.ok(open(t, host_of(inner, { via = host_of(a) })) == first, "the same way is the same connection")
  t.eq({ logins(a), logins(b) }, { 1, 1 })
end)

test("an sshd that drops strangers from ten on drops none", function(t)
  local server = sshd.start(t, { config = { "MaxStartups 10:100:10", "MaxSessions 100" } })
  local function storm()
    local jobs, lost = {}, 0
    for i = 1, 60 do
      jobs[i] = task.spawn(function()
        local conn <close> = assert(ssh.connect(sshd.options(server)))
        return conn:exec("echo " .. i).stdout
      end)
    end
    for i, job in ipairs(jobs) do
      local ok, text = job:join()
      if not ok or text ~= i .. "\n" then lost = lost + 1 end
    end
    return lost
  end
  t.eq(storm(), 0)
  ssh.limit(100, 100)
  t.after(function() ssh.limit(32, 8) end)
  t.ok(storm() > 0, "without the limit some are dropped")
end)

test("whoever waits for a turn behind a jump host that is lost is told so", function(t)
  local outer, inner = sshd.start(t), sshd.start(t)
  local jump = assert(ssh.connect(sshd.options(outer)))
  ssh.limit(32, 1)
  t.after(function() ssh.limit(32, 8) end)
  local jobs = {}
  for i = 1, 4 do
    jobs[i] = task.spawn(function() return ssh.connect(sshd.options(inner, { via = jump })) end)
  end
  task.sleep(0) -- all have begun
  jump:close()
  for _, job in ipairs(jobs) do
    local _, conn, message, code = job:join()
    message = t.err("unreachable", conn, message, code)
    t.ok(message:find("the jump host is gone", 1, true) or message:find(jump:label() .. " was closed", 1, true), message)
  end
end)

test("a host that hangs is noticed, also behind a jump host", function(t)
  local outer, inner = sshd.start(t), sshd.start(t)
  local jump <close> = assert(ssh.connect(sshd.options(outer)))
  for _, via in ipairs { false, jump } do
    local conn <close> = assert(ssh.connect(sshd.options(inner, { via = via or nil, keepalive = 0.2 })))
    t.eq(conn:exec("sleep 1.5; echo fine").stdout, "fine\n") -- silence alone is no loss
    local pid = tonumber(conn:exec("echo $PPID").stdout)
    process.kill(pid, "STOP")
    t.after(function() process.kill(pid, "KILL") end)
    local start = task.now()
    t.has(t.err("lost", conn:exec("true", { timeout = 20 })), "no answer for")
    t.ok(task.now() - start < 5, "it took long")
    process.kill(pid, "KILL")
  end
end)

test("a host that comes back is waited for", function(t)
  local server = sshd.start(t)
  local host = host_of(server)
  local conn = open(t, host)
  local pid = tonumber(conn:exec("echo $PPID").stdout)
  server.stop()
  process.kill(pid, "KILL")
  wait_until("the loss is seen", function() return conn:closed() end)
  local told, tried = nil, task.event()
  local job = task.spawn(connection.wait, TARGET, host, 20, function(text)
    told = text
    tried:set()
  end)
  tried:wait()
  t.has(told, "waiting for " .. server.host)
  server.run()
  local ok, again = job:join()
  t.ok(ok, tostring(again))
  t.ok(again ~= conn)
  t.eq(again:exec("echo back").stdout, "back\n")
end)

test("one who waits for another's attempt does not share its cancel", function(t)
  local server = sshd.start(t)
  process.kill(server.pid, "STOP")
  local first = task.spawn(open, t, host_of(server))
  local second = task.spawn(says, t, host_of(server))
  task.sleep(0)
  first:cancel("not me")
  t.eq((first:join()), false)
  process.kill(server.pid, "CONT")
  t.eq({ second:join() }, { true, "in" })
  -- The same where it is a key that is opened, and a configuration that is read.
  local keyring = require "ssh.keyring"
  sshd.capture { "ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-a", "100", "-f", server.dir .. "/client" }
  local text = fs.read(server.dir .. "/client")
  for _, work in ipairs { function() return keyring.open(text, "open sesame"):name() end,
    function() return require("ssh.config").of("web", { file = "/dev/null", user = "somebody" }).user end } do
    local jobs = { task.spawn(work), task.spawn(work) }
    task.sleep(0)
    jobs[1]:cancel("not me")
    t.eq((jobs[1]:join()), false)
    local ok, result = jobs[2]:join()
    t.ok(ok, tostring(result))
    t.eq(result, work())
  end
end)

-- --- the second transport ---

local function by_openssh(server, changes)
  local host = host_of(server, { transport = "openssh" })
  for name, value in pairs(changes or {}) do host[name] = value or nil end
  return host
end

test("openssh: commands, streams and exit codes", function(t)
  local server = sshd.start(t)
  local conn = open(t, by_openssh(server))
  t.eq(conn:exec("echo out; echo err >&2; exit 7"), { code = 7, stdout = "out\n", stderr = "err\n" })
  t.eq(conn:exec("cat; echo done", { stdin = "in" }).stdout, "indone\n")
  t.eq(conn:exec("exit 255").code, 255)
  t.eq(conn:exec("kill -KILL $$").code, 255)
  local data = ("0123456789abcdef"):rep(5 * 65536)
  t.ok(conn:exec("cat", { stdin = data }).stdout == data, "the same bytes")
  local noisy = conn:exec("head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2")
  t.eq({ #noisy.stdout, #noisy.stderr }, { 3000000, 3000000 })
  t.eq(conn:exec("exit 4", { stdin = ("x"):rep(8 << 20) }).code, 4)
  local heard = {}
  conn:exec("echo a; sleep 0.1; echo b >&2; sleep 0.1; echo c", { collect = false,
    on_stdout = function(chunk) task.sleep(0.001) heard[#heard + 1] = chunk end,
    on_stderr = function(chunk) heard[#heard + 1] = "!" .. chunk end })
  t.eq(heard, { "a\n", "!b\n", "c\n" })
  local value, message, code, partial = conn:exec("echo begun; sleep 20", { timeout = 1 })
  t.has(t.err("timeout", value, message, code), "did not end within 1 s")
  t.eq(partial.stdout, "begun\n")
  t.eq(conn:host_key(), server.host_keys[1])
  local jobs = {}
  for i = 1, 20 do jobs[i] = task.spawn(function() return conn:exec("cat; exit " .. i, { stdin = "x" .. i }) end) end
  for i, job in ipairs(jobs) do
    local _, result = job:join()
    t.eq({ result.code, result.stdout }, { i, "x" .. i })
  end
  t.eq(logins(server), 1)
end)

test("openssh: uploads, tunnels and terminals", function(t)
  local server = sshd.start(t)
  local conn = open(t, by_openssh(server))
  local path, data = server.dir .. "/it's a file", ("q"):rep(5 << 20) .. "\0end"
  t.eq(conn:upload(path, data, 0x180), true)
  t.ok(fs.read(path) == data)
  t.has(t.err("upload", conn:upload(server.dir .. "/no/such/folder", "x")), "cannot write")
  local listener = assert(stream.listen { host = "127.0.0.1", port = 0 })
  local echo = task.spawn(function()
    local peer <close> = listener:accept()
    local parts = {}
    for chunk in function() return peer:read() end do parts[#parts + 1] = chunk end
    peer:write(table.concat(parts):upper())
  end)
  local tunnel <close> = assert(conn:forward("127.0.0.1", listener:port()))
  tunnel:write(("a"):rep(500000))
  tunnel:shutdown()
  local got = {}
  for chunk in function() return tunnel:read() end do got[#got + 1] = chunk end
  t.ok(table.concat(got) == ("A"):rep(500000))
  echo:join()
  listener:close()
  local command = "trap 'stty size; kill $!; exit 3' WINCH; sleep 100 & stty size; wait"
  local ch <close> = assert(conn:open(command, { pty = { cols = 100, rows = 30 } }))
  local text = ""
  while not text:find("30 100", 1, true) do text = text .. assert(ch:read(5)) end
  ch:resize(120, 40)
  for chunk in function() return ch:read(5) end do text = text .. chunk end
  t.has(text, "40 120")
  t.eq(ch:wait(5), 3)
end)

test("openssh: what goes wrong is told as by the other transport", function(t)
  local server, other = sshd.start(t), sshd.start(t)
  local err = refused(t, by_openssh(server, { host_keys = other.host_keys }), "hostkey")
  t.has(err.message, "REMOTE HOST IDENTIFICATION HAS CHANGED")
  t.has(err.message, "expected ssh-ed25519 SHA256:")
  t.has(err.message, "SHA256:")
  local file = server.dir .. "/known"
  fs.write(file, ("[%s]:%d %s\n"):format(server.host, server.port, other.host_keys[1]))
  err = refused(t, by_openssh(server, { host_keys = false, known_hosts = { file } }), "hostkey")
  t.has(err.message, file .. ":1")
  t.has(err.hint, "ssh-keygen -f '" .. file .. "' -R")
  fs.write(file, "\n")
  err = refused(t, by_openssh(server, { host_keys = false, known_hosts = { file } }), "hostkey")
  t.has(err.message, "is not known")
  fs.write(file, ("[%s]:%d %s\n"):format(server.host, server.port, server.host_keys[1]))
  t.eq(says(t, by_openssh(server, { host_keys = false, known_hosts = { file } })), "in")
  connection.close_all()
  err = refused(t, by_openssh(server, { key = sshd.keypair(server.dir, "stranger").private }), "auth")
  t.has(err.message, "Permission denied")
  err = refused(t, by_openssh(server, { port = 1 }), "unreachable")
  t.has(err.message, "refused")
  local silent = assert(stream.listen { host = "127.0.0.1", port = 0 })
  err = refused(t, by_openssh(server, { address = "127.0.0.1", port = silent:port() }), "unreachable", 1)
  t.has(err.message, "no login within 1 s")
  silent:close()
end)

test("openssh: a lost connection is noticed by all who use it", function(t)
  local server = sshd.start(t)
  local conn = open(t, by_openssh(server))
  local jobs = {}
  for i = 1, 3 do jobs[i] = task.spawn(function() return conn:exec("sleep 20") end) end
  local pid = tonumber(conn:exec("echo $PPID").stdout)
  process.kill(pid, "KILL")
  for _, job in ipairs(jobs) do
    local _, value, message, code = job:join()
    t.err("lost", value, message, code)
  end
  t.ok(conn:closed())
  t.err("lost", conn:exec("true"))
  t.eq(says(t, by_openssh(server)), "in") -- a new one
  t.eq(logins(server), 2)
end)

test("openssh: nothing stays behind, and the key is nowhere", function(t)
  local server = sshd.start(t)
  local conn = open(t, by_openssh(server))
  local house = conn.house.path
  t.eq(fs.stat(house).mode & 511, 448)
  local secret = server.key:match("\n(%S+)\n", 40)
  for _, name in ipairs(fs.list(house)) do
    local text = fs.stat(house .. "/" .. name).type == "file" and fs.read(house .. "/" .. name) or ""
    t.ok(not text:find(secret, 1, true), name)
  end
  local mine = running(house)
  t.ok(#mine > 0)
  for _, pid in ipairs(mine) do
    t.ok(not (fs.read("/proc/" .. pid .. "/cmdline") or ""):find(secret, 1, true))
    t.ok(not (fs.read("/proc/" .. pid .. "/environ") or ""):find(secret, 1, true))
  end
  connection.close_all()
  wait_until("no ssh is left", function() return #running(house) == 0 end)
  t.eq(fs.stat(house), nil)
end)

test("a hardened sshd: libssh2 names the second transport, which gets in", function(t)
  local server = sshd.start(t, { config = { "Ciphers aes256-gcm@openssh.com,aes128-gcm@openssh.com",
    "MACs hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com" }, scan = false })
  local err = refused(t, host_of(server), "handshake")
  t.has(err.message, "no cipher in common")
  t.has(err.hint, "transport = \"openssh\"")
  t.eq(says(t, by_openssh(server)), "in")
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

test("jump hosts of either transport, in any order", function(t)
  local outer, middle, inner = sshd.start(t), sshd.start(t), sshd.start(t)
  for _, kinds in ipairs { { "openssh", "openssh", "openssh" }, { "libssh2", "openssh", "libssh2" },
    { "openssh", "libssh2", "openssh" } } do
    local first = host_of(outer, { transport = kinds[1] })
    local second = host_of(middle, { transport = kinds[2], via = first })
    local third = host_of(inner, { transport = kinds[3], via = second })
    local conn = open(t, third)
    local data = ("j"):rep(1 << 20)
    t.ok(conn:exec("cat", { stdin = data }).stdout == data, table.concat(kinds, " "))
    t.eq(conn:host_key(), inner.host_keys[1])
    -- It goes through the first indeed.
    process.kill(tonumber(open(t, first):exec("echo $PPID").stdout), "KILL")
    wait_until("the loss is seen", function() return conn:closed() end)
    connection.close_all()
  end
  t.eq({ logins(outer), logins(middle), logins(inner) }, { 3, 3, 3 })
  local first = host_of(outer, { transport = "openssh" })
  local err = refused(t, host_of(inner, { transport = "openssh", via = first, port = 1 }), "unreachable")
  t.has(err.message, "Connection refused")
  err = refused(t, host_of(inner, { via = first, host_keys = outer.host_keys }), "hostkey")
  t.has(err.message, "HAS CHANGED")
end)

test("a login that is tried again goes through the jump host of another transport again", function(t)
  local outer, inner = sshd.start(t), sshd.start(t)
  local path, keyring = inner.dir .. "/client", require "ssh.keyring"
  sshd.capture { "ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-a", "4", "-f", path }
  fs.write(inner.dir .. "/config", ("Host *\n  IdentityFile %s\n  IdentityAgent none\n"):format(path))
  local asked, was = 0, keyring.open
  keyring.open = function(text, passphrase, what)
    if what == path then asked, passphrase = asked + 1, "open sesame" end
    return was(text, passphrase, what)
  end
  t.after(function() keyring.open = was end)
  local host = host_of(inner, { key = false, config = inner.dir .. "/config", transport = "openssh", via = host_of(outer) })
  t.eq(says(t, host), "in")
  t.eq(asked, 1)
  t.eq({ logins(outer), logins(inner) }, { 1, 1 })
end)

test("nothing of a login that raises stays behind", function(t)
  local outer, inner = sshd.start(t), sshd.start(t)
  local count = task.count()
  local jump = host_of(outer, { transport = "openssh" })
  open(t, jump)
  local with_jump = task.count()
  t.ok(with_jump > count)
  refused(t, host_of(inner, { key = "no key", via = jump }), "key")
  t.eq(task.count(), with_jump)
end)

-- Connections to `name` lead to the server, as on the emulator.
local function redirect(t, name, server)
  local dial = require "dial"
  local was = dial.resolve
  dial.resolve = function(_, host) return host == name and ("%s:%d"):format(server.host, server.port) or nil end
  t.after(function() dial.resolve = was end)
end

test("openssh: it is the host's own key, wherever the connection goes", function(t)
  local server, other = sshd.start(t), sshd.start(t)
  local dir, count = server.dir, 0
  redirect(t, "10.9.9.9", server)
  local function try(known, more, port)
    connection.close_all()
    count = count + 1 -- ssh is asked once for each file
    fs.write(dir .. "/known", known)
    local text = "Host web\n  HostName 10.9.9.9\n  Port %d\n  User %s\n  UserKnownHostsFile %s/known\n%s"
    fs.write(dir .. "/config" .. count, text:format(port or 22, server.user, dir, more or ""))
    return { address = "web", key = server.key, config = dir .. "/config" .. count, transport = "openssh" }
  end
  local key, wrong = server.host_keys[1], other.host_keys[1]
  t.eq(says(t, try("10.9.9.9 " .. key .. "\n")), "in")
  t.eq(says(t, try("[10.9.9.9]:2022 " .. key .. "\n", nil, 2022)), "in")
  t.eq(says(t, try("known " .. key .. "\n", "  HostKeyAlias known\n")), "in")
  local err = refused(t, try("10.9.9.9 " .. wrong .. "\n", "  NoHostAuthenticationForLocalhost yes\n"), "hostkey")
  t.has(err.message, "HAS CHANGED")
  t.has(refused(t, try(("[%s]:%d %s\n"):format(server.host, server.port, key)), "hostkey").message, "is not known")
end)

test("openssh: a recipe's host keys count more than what the person's files say", function(t)
  local server, other = sshd.start(t), sshd.start(t)
  local dir, key, wrong = server.dir, server.host_keys[1], other.host_keys[1]
  fs.write(dir .. "/config", ("Host *\n  VerifyHostKeyDNS yes\n  KnownHostsCommand /bin/echo %%H %s\n"):format(key))
  local function host(changes)
    changes.config = dir .. "/config"
    return by_openssh(server, changes)
  end
  t.eq(says(t, host { host_keys = false }), "in") -- the command alone
  connection.close_all()
  t.has(refused(t, host { host_keys = { wrong } }, "hostkey").message, "HAS CHANGED")
  fs.write(dir .. "/known", ("[%s]:%d %s\n"):format(server.host, server.port, wrong))
  t.has(refused(t, host { host_keys = false, known_hosts = { dir .. "/known" } }, "hostkey").message, "HAS CHANGED")
  local conn = open(t, host {})
  local said = fs.read(("/proc/%d/cmdline"):format(conn.master.pid))
  t.has(said, "VerifyHostKeyDNS=no")
  t.eq(conn:host_key(), key)
end)

test("lines of host keys in all their forms, by both transports", function(t)
  local server, other = sshd.start(t), sshd.start(t)
  local key, name = server.host_keys[1], ("[%s]:%d"):format(server.host, server.port)
  local tabbed = key:gsub(" ", "\t")
  for _, transport in ipairs { "libssh2", "openssh" } do
    local function host(...) return host_of(server, { host_keys = { ... }, transport = transport }) end
    for _, line in ipairs { key .. " a comment", tabbed, "  " .. key, name .. " " .. key, "other," .. name .. "\t" .. tabbed,
      "* " .. key } do
      t.eq(says(t, host(line)), "in", transport .. ": " .. line)
      connection.close_all()
    end
    t.has(refused(t, host("elsewhere " .. key), "hostkey").message, "is not known")
    t.has(refused(t, host(name .. "\t" .. other.host_keys[1]), "hostkey").message, "expected ssh-ed25519 SHA256:")
    t.has(refused(t, host(key, "@revoked\t" .. key), "hostkey").message, "REVOKED HOST KEY")
  end
end)

test("openssh: folders and files with odd names", function(t)
  local server = sshd.start(t)
  local odd = server.dir .. [[/it's a "100%h" folder]]
  fs.mkdir(odd)
  fs.write(odd .. "/known", ("[%s]:%d %s\n"):format(server.host, server.port, server.host_keys[1]))
  fs.write(server.dir .. "/host.json", json.encode(by_openssh(server, { host_keys = false, known_hosts = { odd .. "/known" } })))
  fs.write(server.dir .. "/child.lua", [[
    local connection, fs, json = require "host.connection", require "fs", require "json"
    local conn = connection.open({ kind = "none" }, json.decode(fs.read(arg[1])))
    assert(conn:upload(arg[2] .. "/sent", "text"))
    print(conn:exec("echo in").stdout .. conn:host_key())
    connection.close_all()
  ]])
  local argv = { process.self(), "lua", server.dir .. "/child.lua", server.dir .. "/host.json", odd }
  local result = assert(process.run { argv = argv, env = { TMPDIR = odd, XDG_RUNTIME_DIR = odd }, timeout = 20 })
  t.eq({ result.stdout, result.stderr }, { "in\n" .. server.host_keys[1] .. "\n", "" })
  t.eq(fs.list(odd), { "known", "sent" })
end)

test("identity files of a configuration: variables and tokens", function(t)
  local server = sshd.start(t)
  local uid = sshd.capture({ "id", "-u" }):match("%d+")
  fs.chmod(server.dir .. "/client", 384)
  fs.rename(server.dir .. "/client", ("%s/%s-%s-100%%"):format(server.dir, uid, server.host))
  local home = "${HOME}" .. ("/.."):rep(select(2, process.env("HOME"):gsub("/", "")))
  local text = "Host *\n  IdentityAgent none\n  IdentityFile ${VMRUN_IS_NOT_SET}/x\n  IdentityFile %s%s/%%i-%%h-100%%%%\n"
  fs.write(server.dir .. "/config", text:format(home, server.dir))
  t.eq(says(t, host_of(server, { key = false, config = server.dir .. "/config" })), "in")
end)

test("a configuration's %i is who runs vmrun, not root", function(t)
  local dir, argv = t.tmp(), {}
  local me = sshd.capture({ "id", "-u" }):match("%d+")
  if me == "0" then
    me = "65534"
    argv = { "setpriv", "--reuid", me, "--inh-caps=+dac_override", "--ambient-caps=+dac_override" } -- what it loads is root's
  end
  fs.write(dir .. "/config", "Host *\n  IdentityFile /keys/%i\n")
  fs.write(dir .. "/ask.lua", [[print(require("ssh.config").of("h", { file = arg[1] }).identity_files[1])]])
  table.move({ process.self(), "lua", dir .. "/ask.lua", dir .. "/config" }, 1, 4, #argv + 1, argv)
  t.eq(sshd.capture(argv, { timeout = 20 }), "/keys/" .. me .. "\n")
end)

test("inventory: ssh verifies by the host's keys, then by its files", function(t)
  local server, other = sshd.start(t), sshd.start(t)
  local inventory = require "cli.inventory"
  local file, key = server.dir .. "/known hosts", server.host_keys[1]
  fs.chmod(server.dir .. "/client", 384)
  local function try(name, fields, way)
    fields.address, fields.port, fields.user = name or server.host, name and 22 or server.port, server.user
    local rows = { { kind = "ssh.host", address = "ssh.host.web", fields = fields, outputs = {} } }
    local args = { format = way or "ssh", identity = server.dir .. "/client" }
    local text = inventory.run({ session = { rows = rows, target = TARGET, stack = "s" }, args = args }).text
    if way then return text end
    fs.write(server.dir .. "/inventory", text)
    local result = process.run { argv = { "ssh", "-F", server.dir .. "/inventory", "web", "echo in" }, timeout = 20 }
    return result.code == 0 and result.stdout or result.stderr
  end
  fs.write(file, ("[%s]:%d %s\n"):format(server.host, server.port, other.host_keys[1]))
  t.eq(try(nil, { host_keys = { key:gsub(" ", "\t") .. "\tcomment" }, known_hosts = { file } }), "in\n")
  t.eq(try(nil, { host_keys = { ("[%s]:%d %s"):format(server.host, server.port, key) } }), "in\n")
  t.has(try(nil, { host_keys = { "elsewhere " .. key } }), "Host key verification failed")
  t.has(try(nil, { host_keys = { other.host_keys[1] } }), "IDENTIFICATION HAS CHANGED")
  t.has(try(nil, { known_hosts = { file } }), "IDENTIFICATION HAS CHANGED")
  t.eq(try(nil, { host_keys = { "web " .. key, key } }, "known_hosts"),
    ("web %s\n[%s]:%d %s"):format(key, server.host, server.port, key))
  redirect(t, "10.9.9.9", server)
  t.eq(try("10.9.9.9", { host_keys = { key } }), "in\n")
  fs.write(file, "10.9.9.9 " .. key .. "\n")
  t.eq(try("10.9.9.9", { known_hosts = { file } }), "in\n")
end)

test("openssh: a configuration of the person's", function(t)
  local outer, inner = sshd.start(t), sshd.start(t)
  local dir, known = inner.dir, {}
  for _, server in ipairs { outer, inner } do
    for _, line in ipairs(server.host_keys) do known[#known + 1] = ("[%s]:%d %s\n"):format(server.host, server.port, line) end
    fs.chmod(server.dir .. "/client", 384)
  end
  fs.write(dir .. "/known", table.concat(known))
  fs.write(dir .. "/config", ([[
Host web
  HostName %s
  Port %d
  IdentityFile %s
  ProxyCommand ssh -F %s -W %%h:%%p jump
Host jump
  HostName %s
  Port %d
  IdentityFile %s
Host *
  User %s
  UserKnownHostsFile %s
  StrictHostKeyChecking no
]]):format(inner.host, inner.port, inner.dir .. "/client", dir .. "/config", outer.host, outer.port, outer.dir .. "/client",
    inner.user, dir .. "/known"))
  local host = { address = "web", config = dir .. "/config", transport = "openssh" }
  t.eq(says(t, host), "in")
  fs.write(dir .. "/other", "IgnoreUnknown UseKeychain\nUseKeychain yes\nInclude " .. dir .. "/config\n") -- of other systems
  t.eq(says(t, { address = "web", config = dir .. "/other", transport = "openssh" }), "in")
  t.eq({ login.place(host) }, { inner.user, inner.port })
  -- Whatever the files say: a key that is not known is refused.
  fs.write(dir .. "/known", known[1])
  connection.close_all()
  t.has(refused(t, host, "hostkey").message, "not known")
end)

-- --- at a terminal ---

-- vmrun on a terminal of its own: says(text) waits until it was printed.
local function at_terminal(t, dir, ...)
  local child = assert(process.spawn { argv = { process.self(), ... }, cwd = dir, pty = { cols = 100, rows = 30 },
    env = { SSH_AUTH_SOCK = false, TERM = "xterm" } })
  t.after(function() child:kill("KILL") child:close() end)
  local self = { child = child, text = "" }
  function self.says(part)
    local stop = task.now() + 10
    while not self.text:find(part, 1, true) do
      local chunk, message, code = child:read(math.max(0.01, stop - task.now()))
      if not chunk then error(("it did not say %q (%s, %s) but:\n%s"):format(part, message, code, self.text), 2) end
      self.text = self.text .. chunk
    end
    self.text = self.text:sub(select(2, self.text:find(part, 1, true)) + 1)
  end
  function self.ends()
    for chunk in function() return child:read(10) end do self.text = self.text .. chunk end
    return (child:wait(10))
  end
  return self
end

local function recipe(t, hosts)
  local dir, lines = t.tmp(), { 'local ssh = use "ssh"' }
  for i, host in ipairs(hosts) do
    local server = host.server
    local fields = 'address = %q, port = %d, user = %q, key_file = %q, host_keys = { %q }, transport = %q'
    lines[#lines + 1] = ('ssh.host "h%d" { %s }'):format(i, fields:format(server.host, server.port, server.user,
      host.key_file or server.dir .. "/client", server.host_keys[1], host.transport or "libssh2"))
    fs.chmod(server.dir .. "/client", 384)
  end
  fs.write(dir .. "/r.lua", table.concat(lines, "\n") .. "\n")
  return dir
end

test("ssh at a terminal: keys, sizes and escapes, by both transports", function(t)
  local server = sshd.start(t)
  local dir = recipe(t, { { server = server }, { server = server, transport = "openssh" } })
  sshd.capture({ process.self(), "apply", "r.lua", "--yes" }, { cwd = dir })
  for i = 1, 2 do
    local screen = at_terminal(t, dir, "ssh", "r.lua", "h" .. i)
    screen.child:write("PS1='$ '; stty size; echo ready-$((1 + 1))\n")
    screen.says("30 100")
    screen.says("ready-2")
    screen.child:write("sh -c 'trap \"stty size; kill \\$!; exit\" WINCH; sleep 100 & echo waits-$((1 + 2)); wait'\n")
    screen.says("waits-3")
    screen.child:resize(120, 40)
    screen.says("40 120")
    screen.child:write("tty >/dev/null && echo has-$((2 + 2))\n")
    screen.says("has-4")
    screen.child:write("sh -c 'echo sleeps-$((2 + 3)); exec sleep 100'\n")
    screen.says("sleeps-5")
    screen.child:write("\3")
    screen.says("$ ") -- an interrupt takes along what was typed before the prompt
    screen.child:write("\recho still-$((3 + 3))\r")
    screen.says("still-6")
    screen.child:write("\r~?")
    screen.says("end the connection")
    screen.child:write("\r~.")
    t.eq(screen.ends(), 255)
    screen = at_terminal(t, dir, "ssh", "r.lua", "h" .. i)
    screen.child:write("exit 7\n")
    t.eq(screen.ends(), 7)
    screen = at_terminal(t, dir, "ssh", "r.lua", "h" .. i, "-t", "--", "tty >/dev/null && echo has one; exit 3")
    screen.says("has one")
    t.eq(screen.ends(), 3)
  end
end)

test("a passphrase is asked once for all hosts, and is not shown", function(t)
  local server, other = sshd.start(t), sshd.start(t)
  fs.write(other.dir .. "/authorized", fs.read(server.dir .. "/authorized"))
  local path = server.dir .. "/client"
  sshd.capture { "ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-a", "4", "-f", path }
  local dir = recipe(t, { { server = server }, { server = other, key_file = path },
    { server = other, key_file = path, transport = "openssh" } })
  local screen = at_terminal(t, dir, "apply", "r.lua", "--yes")
  screen.says("passphrase of " .. path .. ": ")
  screen.child:write("wrong\r")
  screen.says("not right; passphrase of " .. path .. ": ")
  screen.child:write("open sesamx\127e\r")
  screen.says("3 added")
  t.eq(screen.ends(), 0)
  t.ok(not screen.text:find("passphrase", 1, true), screen.text)
  screen = at_terminal(t, dir, "exec", "r.lua", "all", "--", "echo in")
  screen.says("passphrase of")
  screen.child:write("open sesame\r")
  screen.says("h1, h2, h3:")
  t.eq(screen.ends(), 0)
  t.ok(not screen.text:find("sesame", 1, true))
  screen = at_terminal(t, dir, "exec", "r.lua", "h1", "--", "echo in")
  screen.says("passphrase of")
  screen.child:write("\3")
  screen.says("no passphrase was given")
  t.eq(screen.ends(), 1)
end)

test.done()
