local test = require "tap"
local ssh, sshd, task = require "ssh", require "sshd", require "task"
local fs, process = require "fs", require "process"

local function connect(t, server, changes)
  local conn = assert(ssh.connect(sshd.options(server, changes)))
  t.after(function() conn:close() end)
  return conn
end

--- What a stream gives until its end.
local function read_all(from)
  local parts = {}
  for chunk in function() return from:read() end do parts[#parts + 1] = chunk end
  return table.concat(parts)
end

--- How many descriptors this process has open.
local function open_fds() return #fs.list("/proc/self/fd") end

test("exec gives exit codes, both streams and signals", function(t)
  local conn = connect(t, sshd.start(t))
  t.eq(conn:exec("echo out; echo err >&2; exit 7"), { code = 7, stdout = "out\n", stderr = "err\n" })
  t.eq(conn:exec("true"), { code = 0, stdout = "", stderr = "" })
  t.eq(conn:exec("kill -KILL $$"), { code = -1, signal = "KILL", stdout = "", stderr = "" })
  t.eq(conn:exec("cat; echo done", { stdin = "in" }).stdout, "indone\n")
  t.eq(conn:exec("sh -s", { stdin = "exit 200" }).code, 200)
  t.has(conn:host_key(), "ssh-ed25519 ")
end)

test("megabytes go both ways at once", function(t)
  local conn = connect(t, sshd.start(t))
  local data = ("0123456789abcdef"):rep(5 * 65536)
  local result = conn:exec("cat", { stdin = data })
  t.eq(#result.stdout, #data)
  t.ok(result.stdout == data, "the same bytes")
  local noisy = conn:exec("head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2")
  t.eq({ #noisy.stdout, #noisy.stderr }, { 3000000, 3000000 })
end)

test("a command that does not read its input ends all the same", function(t)
  local conn = connect(t, sshd.start(t))
  t.eq(conn:exec("exit 4", { stdin = ("x"):rep(8 << 20) }).code, 4)
  t.eq(conn:exec("echo still here").stdout, "still here\n")
end)

test("output is heard while the command runs, by a function that may wait", function(t)
  local conn = connect(t, sshd.start(t))
  local heard = {}
  local result = conn:exec("echo a; sleep 0.1; echo b >&2; sleep 0.1; echo c", {
    on_stdout = function(chunk) task.sleep(0.001) heard[#heard + 1] = chunk end,
    on_stderr = function(chunk) heard[#heard + 1] = "!" .. chunk end,
  })
  t.eq(heard, { "a\n", "!b\n", "c\n" })
  t.eq(result.stdout, "a\nc\n")
  t.eq(conn:exec("echo a", { collect = false, on_stdout = t.expect(1) }).stdout, "")
  t.fails("my mistake", conn.exec, conn, "echo a", { on_stdout = function() error("my mistake", 0) end })
  t.eq(conn:exec("echo fine").stdout, "fine\n")
end)

test("many channels of one connection at once", function(t)
  local conn = connect(t, sshd.start(t))
  local jobs, data = {}, ("y"):rep(300000)
  for i = 1, 40 do
    jobs[i] = task.spawn(function() return conn:exec("cat; echo " .. i .. " >&2; exit " .. i, { stdin = data .. i }) end)
  end
  for i, job in ipairs(jobs) do
    local _, result = job:join()
    t.eq({ result.code, #result.stdout, result.stderr }, { i, 300000 + #tostring(i), i .. "\n" })
  end
end)

test("a host with too few sessions refuses some, and the connection stays", function(t)
  local conn = connect(t, sshd.start(t, { config = { "MaxSessions 1" } }))
  local ch = assert(conn:open("cat"))
  local message = t.err("channel", conn:exec("true"))
  t.has(message, "cannot open a channel")
  ch:close()
  while not conn:exec("true") do task.sleep(0.01) end
end)

test("whoever has no place among a host's few sessions waits for one", function(t)
  local conn = connect(t, sshd.start(t, { config = { "MaxSessions 3" } }))
  local jobs = {}
  for i = 1, 25 do jobs[i] = task.spawn(function() return conn:exec("sleep 0.02; exit " .. i) end) end
  for i, job in ipairs(jobs) do
    local _, result, message = job:join()
    t.eq(result and result.code, i, message)
  end
end)

-- Runs a program that says its shell's process id and `over`.
local function say(conn, words, command)
  local heard = ""
  local result, message, code = conn:program(command or "exec sh -s", { stdin = ("( %s )\necho $$ over\n"):format(words), timeout = 10,
    on_stdout = function(chunk) heard = heard .. chunk end, over = function() return heard:find("over\n", 1, true) ~= nil end })
  return result and (result.over and tonumber(heard:match("(%d+) over")) or result), message or heard, code
end

test("a shell runs one program after the other", function(t)
  local conn = connect(t, sshd.start(t))
  local pid, heard = say(conn, "echo one; exit 3")
  t.has(heard, "one\n")
  t.eq(say(conn, "exec </dev/null; cat; umask 0; set -f"), pid, "the same shell")
  local long = (":\n"):rep(50000)
  t.eq(say(conn, long), pid, "a long program")
  t.ok(say(conn, ":", "exec sh -s -- other") ~= pid, "another command is another shell")
  -- The last one ends with its program.
  local last = conn:program("exec sh -s", { stdin = "{ echo $$; exit 4; }\n", timeout = 10 })
  t.eq({ last.code, tonumber(last.stdout) }, { 4, pid })
  t.ok(say(conn, ":") ~= pid)
  -- One that has ended meanwhile.
  pid = say(conn, ":")
  t.eq(conn:exec("kill -9 " .. pid).code, 0)
  t.ok(say(conn, ":") ~= pid)
  -- One that ends within its program is not run again.
  local ended = say(conn, "kill -9 $$; echo never >&2")
  t.eq({ ended.code, ended.signal }, { -1, "KILL" })
end)

test("a shell that waits gives its place to others", function(t)
  local conn = connect(t, sshd.start(t, { config = { "MaxSessions 2" } }))
  local one, other = say(conn, ":"), say(conn, ":", "exec sh -s -- other")
  t.ok(one and other)
  local jobs = {}
  for i = 1, 30 do jobs[i] = task.spawn(function() return conn:exec("sleep 0.05; exit " .. i) end) end
  for i, job in ipairs(jobs) do
    local _, result, message = job:join()
    t.eq(result and result.code, i, message)
  end
  t.ok(say(conn, ":"))
end)

test("who waits for one of ours loses no patience by it", function(t)
  local sessions = require "ssh.sessions"
  local conn = {}
  do
    local held <close> = sessions.place(conn)
    for _ = 1, 20 do
      local job = task.spawn(sessions.refused, conn, 3)
      task.sleep(0)
      do local other <close> = sessions.place(conn) end
      t.eq({ job:join() }, { true, 3 })
    end
  end
  t.eq(sessions.refused(conn, 1), 2)
  t.eq(sessions.refused(conn, 10), nil)
end)

test("a wrong host key is refused, with both fingerprints", function(t)
  local server, other = sshd.start(t), sshd.start(t)
  local message = t.err("hostkey", ssh.connect(sshd.options(server, { host_keys = other.host_keys })))
  t.has(message, "REMOTE HOST IDENTIFICATION HAS CHANGED")
  t.has(message, server.host .. ":" .. server.port)
  t.has(message, "expected ssh-ed25519 SHA256:")
  t.has(message, "got      ssh-ed25519 SHA256:")
  t.err("hostkey", ssh.connect(sshd.options(server, { host_keys = {} })))
  t.err("hostkey", ssh.connect(sshd.options(server, { host_keys = { "nonsense", "ssh-ed25519 AAAA" } })))
  -- The key that is known decides which one the host is asked for.
  for _, line in ipairs(server.host_keys) do
    local conn = connect(t, server, { host_keys = { line } })
    t.eq(conn:host_key(), line)
  end
end)

test("scan lists the host's keys", function(t)
  local server = sshd.start(t)
  local lines = assert(ssh.scan { host = server.host, port = server.port })
  table.sort(lines)
  table.sort(server.host_keys)
  t.eq(lines, server.host_keys)
end)

test("a refused key, an unknown user and an unreadable key", function(t)
  local server = sshd.start(t)
  local other = sshd.keypair(server.dir, "stranger")
  local message = t.err("auth", ssh.connect(sshd.options(server, { key = other.private })))
  t.has(message, ("refused user '%s' with key ssh-ed25519 SHA256:"):format(server.user))
  t.err("auth", ssh.connect(sshd.options(server, { user = "nobody-of-this-name" })))
  t.has(t.err("auth", ssh.connect(sshd.options(server, { key = "no key" }))), "private key cannot be read")
end)

test("keys of all kinds log in", function(t)
  local server = sshd.start(t)
  local authorized = {}
  local pairs_of = {
    rsa = sshd.keypair(server.dir, "rsa", "rsa", "-b", "2048"),
    rsa_pem = sshd.keypair(server.dir, "rsa_pem", "rsa", "-b", "3072", "-m", "PEM"),
    ecdsa = sshd.keypair(server.dir, "ecdsa", "ecdsa"),
  }
  for _, pair in pairs(pairs_of) do authorized[#authorized + 1] = pair.public end
  fs.write(server.dir .. "/authorized", table.concat(authorized))
  for name, pair in pairs(pairs_of) do
    local conn, message = ssh.connect(sshd.options(server, { key = pair.private }))
    t.ok(conn, name .. ": " .. tostring(message))
    t.eq(conn:exec("echo in").stdout, "in\n")
    conn:close()
  end
end)

test("encrypted keys of all kinds and ciphers open with their passphrase", function(t)
  local server = sshd.start(t)
  local cases = {
    { "ecdsa", "aes256-ctr" }, { "ed25519", "aes256-cbc" }, { "rsa", "aes128-ctr" }, { "ed25519", "aes192-ctr" },
    { "rsa", nil, "PEM" }, { "ecdsa", nil, "PKCS8" },
  }
  local authorized = {}
  for i, case in ipairs(cases) do
    local pair = sshd.keypair(server.dir, "locked" .. i, case[1], "-a", "4")
    authorized[i] = pair.public
    local argv = { "ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-a", "4", "-f", pair.path }
    for _, word in ipairs(case[2] and { "-Z", case[2] } or { "-m", case[3] }) do argv[#argv + 1] = word end
    sshd.capture(argv)
    case.locked = fs.read(pair.path)
  end
  fs.write(server.dir .. "/authorized", table.concat(authorized))
  for _, case in ipairs(cases) do
    local locked = case.locked
    t.has(t.err("passphrase", ssh.connect(sshd.options(server, { key = locked }))), "is encrypted and no passphrase was given")
    t.has(t.err("passphrase", ssh.connect(sshd.options(server, { key = locked, passphrase = "wrong" }))), "does not open")
    connect(t, server, { key = locked, passphrase = "open sesame" })
  end
  sshd.capture { "ssh-keygen", "-q", "-p", "-P", "open sesame", "-N", "open sesame", "-Z", "aes256-gcm@openssh.com", "-f",
    server.dir .. "/locked2" }
  local key, message, code, hint = ssh.key(fs.read(server.dir .. "/locked2"), "open sesame")
  t.has(t.err("auth", key, message, code), "is encrypted with aes256-gcm@openssh.com, which is not known")
  t.has(hint, "ssh-keygen -p -Z aes256-ctr")
end)

test("a passphrase is tried beside the loop", function(t)
  local dir = t.tmp()
  sshd.keypair(dir, "slow")
  sshd.capture { "ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-a", "32", "-f", dir .. "/slow" }
  local longest, last, done = 0, task.now(), false
  local ticks = task.spawn(function()
    while not done do
      task.sleep(0.005)
      longest, last = math.max(longest, task.now() - last), task.now()
    end
  end)
  local start = task.now()
  t.ok(ssh.key(fs.read(dir .. "/slow"), "open sesame"))
  local took = task.now() - start
  done = true
  ticks:join()
  t.ok(longest < took / 2, ("it took %.3f s, and the loop stood still for %.3f s"):format(took, longest))
end)

test("nothing in common is told with both sides", function(t)
  local server = sshd.start(t)
  server.stop()
  local config = fs.read(server.dir .. "/config")
  fs.write(server.dir .. "/config", "KexAlgorithms diffie-hellman-group16-sha512\n" .. config)
  local child = assert(process.spawn { argv = { "/usr/sbin/sshd", "-D", "-e", "-f", server.dir .. "/config" }, stdin = "null",
    stdout = "null", stderr = "null" })
  t.after(function() child:kill("TERM") child:wait(5) end)
  local conn, message, code
  for _ = 1, 200 do
    conn, message, code = ssh.connect(sshd.options(server))
    if code ~= "unreachable" then break end
    task.sleep(0.02)
  end
  t.err("handshake", conn, message, code)
  t.has(message, "no key exchange in common")
  t.has(message, "the host has diffie-hellman-group16-sha512")
  t.has(message, "vmrun has ecdh-sha2-nistp256,curve25519-sha256")
end)

test("a port where nobody is, a server that says nothing, and one that hangs up", function(t)
  local stream = require "stream"
  local key = sshd.keypair(t.tmp(), "k")
  local function try(port)
    return ssh.connect { host = "127.0.0.1", port = port, user = "x", key = key.private, timeout = 0.3,
      host_keys = { key.public } }
  end
  local listener = assert(stream.listen { host = "127.0.0.1", port = 0 })
  local port = listener:port()
  t.has(t.err("timeout", try(port)), "no SSH server speaks")
  local job = task.spawn(function() listener:accept():close() listener:accept():close() end)
  t.has(t.err("unreachable", try(port)), "ended the connection")
  job:cancel()
  job:join()
  listener:close()
  t.has(t.err("unreachable", try(port)), "refused")
  t.err("unreachable", ssh.connect { host = "no-such-host.invalid", user = "x", key = key.private, timeout = 5,
    host_keys = { key.public } })
end)

test("a command has its time, and the connection outlives it", function(t)
  local conn = connect(t, sshd.start(t))
  local start = task.now()
  local value, message, code, partial = conn:exec("echo begun; sleep 20", { timeout = 1 })
  t.has(t.err("timeout", value, message, code), "did not end within 1 s")
  t.eq(partial.stdout, "begun\n")
  t.ok(task.now() - start < 5)
  t.eq(conn:exec("echo on").stdout, "on\n")
end)

test("a task cancelled in the middle leaves the connection whole", function(t)
  -- What they leave running counts as a session of the host.
  local conn = connect(t, sshd.start(t, { config = { "MaxSessions 100" } }))
  local jobs = {}
  for i = 1, 12 do
    jobs[i] = task.spawn(function() return conn:exec("cat >/dev/null; sleep 20", { stdin = ("z"):rep(i * 200000) }) end)
  end
  for i, job in ipairs(jobs) do
    task.sleep(i * 0.003)
    job:cancel("enough")
    local ok, err = job:join()
    t.eq(ok or err.code, "cancelled")
  end
  t.eq(conn:exec("cat", { stdin = ("k"):rep(1000000) }).stdout, ("k"):rep(1000000))
end)

test("a login can be cancelled at any time", function(t)
  local server = sshd.start(t)
  for i = 0, 14 do
    local job = task.spawn(function() ssh.connect(sshd.options(server)):close() task.sleep(5) end)
    task.sleep(i * 0.002)
    job:cancel()
    job:join()
  end
  connect(t, server)
end)

test("a lost connection wakes everybody with code lost", function(t)
  local server = sshd.start(t)
  local conn = connect(t, server)
  local jobs = {}
  for i = 1, 5 do jobs[i] = task.spawn(function() return conn:exec("echo $PPID; sleep 20") end) end
  local ch = assert(conn:open("sleep 20"))
  jobs[6] = task.spawn(function() return ch:read() end)
  jobs[7] = task.spawn(function() return ch:wait() end)
  local pid = tonumber(conn:exec("echo $PPID").stdout)
  process.kill(pid, "KILL")
  for _, job in ipairs(jobs) do
    local _, value, message, code = job:join()
    t.has(t.err("lost", value, message, code), "the connection to " .. server.host)
  end
  t.ok(conn:closed())
  t.err("lost", conn:exec("true"))
  t.err("lost", ch:write("x"))
end)

test("an idle connection notices its end", function(t)
  local server = sshd.start(t)
  local conn = connect(t, server)
  process.kill(tonumber(conn:exec("echo $PPID").stdout), "KILL")
  local stop = task.now() + 5
  while not conn:closed() and task.now() < stop do task.sleep(0.01) end
  t.ok(conn:closed(), "closed")
end)

test("closing wakes those who wait", function(t)
  local conn = connect(t, sshd.start(t))
  local job = task.spawn(function() return conn:exec("sleep 20") end)
  local ch = assert(conn:open("sleep 20"))
  local reader = task.spawn(function() return ch:read() end)
  task.sleep(0.05)
  ch:close()
  local _, a, b, c = reader:join()
  t.err("closed", a, b, c)
  conn:close()
  _, a, b, c = job:join()
  t.has(t.err("lost", a, b, c), "was closed")
  conn:close()
end)

test("an open channel with a terminal", function(t)
  local conn = connect(t, sshd.start(t))
  local ch = assert(conn:open("stty size; read x; stty size; exit 3", { pty = { cols = 100, rows = 30 } }))
  local got = ""
  while not got:find("30 100", 1, true) do got = got .. assert(ch:read(5)) end
  ch:resize(120, 40)
  task.sleep(0.05)
  ch:write("\n")
  t.has(got .. read_all(ch), "40 120")
  t.eq(table.pack(ch:wait()), { 3, nil, n = 2 })
  t.err("timeout", assert(conn:open("sleep 5")):read(0.01))
end)

test("uploads are whole or not there", function(t)
  local server = sshd.start(t)
  local conn = connect(t, server)
  local path = server.dir .. "/it's a file"
  t.eq(conn:upload(path, "one", 0x1ed), true)
  t.eq(fs.read(path), "one")
  t.eq(fs.stat(path).mode & 0xfff, 0x1ed)
  local data = ("q"):rep(5 << 20) .. "\0end"
  t.eq(conn:upload(path, data), true)
  t.ok(fs.read(path) == data)
  t.eq(fs.stat(path).mode & 0xfff, 0x1a4)
  t.has(t.err("upload", conn:upload(server.dir .. "/no/such/folder", "x")), "cannot write")
  for _, name in ipairs(fs.list(server.dir)) do t.ok(not name:find("vmrun"), name) end
end)

test("through a jump host, and through two", function(t)
  local outer, middle, inner = sshd.start(t), sshd.start(t), sshd.start(t)
  local first = connect(t, outer)
  local second = connect(t, middle, { via = first })
  local third = connect(t, inner, { via = second })
  local data = ("j"):rep(3 << 20)
  t.ok(third:exec("cat", { stdin = data }).stdout == data)
  local jobs = {}
  for i = 1, 20 do
    jobs[i] = task.spawn(function()
      local conn <close> = assert(ssh.connect(sshd.options(inner, { via = first })))
      return conn:exec("echo " .. i).stdout
    end)
  end
  for i, job in ipairs(jobs) do t.eq({ job:join() }, { true, i .. "\n" }) end
  t.err("unreachable", ssh.connect(sshd.options(inner, { via = first, connect_to = "127.0.0.1:1" })))
  t.err("hostkey", ssh.connect(sshd.options(inner, { via = first, host_keys = outer.host_keys })))
  local job = task.spawn(function() return third:exec("sleep 20") end)
  task.sleep(0.05)
  first:close()
  local _, a, b, c = job:join()
  t.err("lost", a, b, c)
  t.err("unreachable", ssh.connect(sshd.options(inner, { via = first })))
end)

test("connect_to replaces where the connection goes and nothing else", function(t)
  local server = sshd.start(t)
  local at = server.host .. ":" .. server.port
  local conn = connect(t, server, { host = "node-1.example", port = 22, connect_to = at })
  t.eq(conn:exec("true").code, 0)
  t.has(conn:label(), "node-1.example:22")
  t.fails("must be address:port", ssh.connect, sshd.options(server, { connect_to = "nowhere" }))
end)

test("a forwarded connection reads, writes and is half closed", function(t)
  local stream = require "stream"
  local conn = connect(t, sshd.start(t))
  local listener = assert(stream.listen { host = "127.0.0.1", port = 0 })
  local echo = task.spawn(function()
    local peer = listener:accept()
    peer:write(read_all(peer):upper())
    peer:close()
  end)
  local s = assert(conn:forward("127.0.0.1", listener:port()))
  s:write(("a"):rep(500000))
  s:write("bc")
  s:shutdown()
  t.ok(read_all(s) == ("A"):rep(500000) .. "BC")
  s:close()
  echo:join()
  listener:close()
  t.has(t.err("channel", conn:forward("127.0.0.1", 1)), "cannot reach 127.0.0.1 port 1")
end)

test("few handshakes at once, and all get in", function(t)
  local server = sshd.start(t)
  ssh.limit(2)
  t.after(function() ssh.limit(32) end)
  local jobs = {}
  for i = 1, 12 do
    jobs[i] = task.spawn(function()
      local conn <close> = assert(ssh.connect(sshd.options(server)))
      return conn:exec("echo " .. i).stdout
    end)
  end
  for i, job in ipairs(jobs) do t.eq({ job:join() }, { true, i .. "\n" }) end
end)

test("no descriptor is left behind", function(t)
  local server = sshd.start(t)
  local function round()
    local conn <close> = assert(ssh.connect(sshd.options(server)))
    conn:exec("true")
    local inner <close> = assert(ssh.connect(sshd.options(server, { via = conn })))
    inner:exec("true")
    ssh.connect(sshd.options(server, { host_keys = { "ssh-ed25519 AAAA" } }))
  end
  round()
  local before = open_fds()
  for _ = 1, 5 do round() end
  t.eq(open_fds(), before)
end)

test.done()
