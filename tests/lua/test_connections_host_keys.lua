--- Whom connections take for the host: keys of a recipe, known_hosts files, and what an inventory says of them.
local test, lab = require "tap", require "connections_lab"
local connection, fs, process, sshd = require "host.connection", require "fs", require "process", require "sshd"

local TARGET = lab.TARGET
local host_of, open, says, refused, by_openssh = lab.host_of, lab.open, lab.says, lab.refused, lab.by_openssh

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

test.done()
