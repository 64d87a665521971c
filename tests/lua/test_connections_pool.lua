--- Connections that tasks share: through jump hosts, within limits, lost, and waited for.
local test, lab = require "tap", require "connections_lab"
local connection, fs, process, ssh = require "host.connection", require "fs", require "process", require "ssh"
local sshd, task = require "sshd", require "task"

local TARGET = lab.TARGET
local host_of, open, says, refused, logins, wait_until = lab.host_of, lab.open, lab.says, lab.refused, lab.logins, lab.wait_until

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

test("a host that says no is asked again for a moment: its sshd may be restarting", function(t)
  local server = sshd.start(t)
  server.stop()
  local job = task.spawn(says, t, host_of(server))
  task.sleep(0.15)
  t.eq(job:status(), "waiting")
  server.run()
  t.eq({ job:join() }, { true, "in" })
  connection.close_all()
  server.stop()
  local began = task.now()
  t.has(refused(t, host_of(server), "unreachable").message, "refused")
  t.ok(task.now() - began < 10, "and not for long")
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

test.done()
