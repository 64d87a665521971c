--- What a person's ssh_config says of hosts.
local test, lab = require "tap", require "connections_lab"
local connection, fs, login, process = require "host.connection", require "fs", require "ssh.login", require "process"
local sshd = require "sshd"

local host_of, says, refused, logins = lab.host_of, lab.says, lab.refused, lab.logins

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

test.done()
