--- The second transport, the system's ssh.
local test, lab = require "tap", require "connections_lab"
local connection, fs, json, process = require "host.connection", require "fs", require "json", require "process"
local sshd, stream, task = require "sshd", require "stream", require "task"

local host_of, by_openssh, open, says, refused = lab.host_of, lab.by_openssh, lab.open, lab.says, lab.refused
local logins, wait_until, running = lab.logins, lab.wait_until, lab.running

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

test("openssh: which ssh there is, one asks for all", function(t)
  local own, run, asked = package.loaded["ssh.openssh"], process.run, 0
  package.loaded["ssh.openssh"] = nil
  local fresh = require "ssh.openssh"
  process.run = function(options)
    if options.argv[2] == "-V" then asked = asked + 1 end
    return run(options)
  end
  t.after(function()
    process.run, package.loaded["ssh.openssh"] = run, own
    fresh.close_all()
  end)
  local function connect()
    return fresh.connect { host = "127.0.0.1", port = 1, keys = {}, host_keys = {}, timeout = 20 }
  end
  local jobs = {}
  for i = 1, 6 do jobs[i] = task.spawn(connect) end
  for _, job in ipairs(jobs) do
    local _, value, message, code = job:join()
    t.err("unreachable", value, message, code)
  end
  t.err("unreachable", connect())
  t.eq(asked, 1)
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

test.done()
