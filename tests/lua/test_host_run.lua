--- Roles and the verbs for hosts through the whole program: recipes that are planned and applied over real sshds, one behind
-- the other; what is said when a host is not what it should be; and ssh, exec and inventory on them.
local test = require "tap"
local crypto = require "crypto"
local fs = require "fs"
local json = require "json"
local machine = require "machine"
local process = require "process"
local ssh_escapes = require("cli.ssh").escapes
local task = require "task"

local ROLE = [[
local role, field = require "role", require "field"
return role "demo.motd" {
  doc = "A greeting.",
  inputs = { text = field.string { required = true }, token = field.secret {}, extra = field.boolean { default = false } },
  tasks = function(host, f)
    host.handler "tell" { run = "echo told >>/var/log/told" }
    host.file "/etc/motd" { content = f.text .. "\n", notify = "tell" }
    if f.extra then host.line "extra" { path = "/etc/extra" } end
    if f.token then host.file "/etc/token" { content = "token=" .. f.token .. "\n", mode = "0600" } end
  end,
  asks = { name = "hostname" }, outputs = { hostname = field.string {} },
  results = function(answers) return { hostname = answers.name } end,
}
]]

-- A folder with a recipe over these machines, the second reached through the first; run(code, verb, ...) runs vmrun in it.
local function project(t, machines, options)
  options = options or {}
  local dir = t.tmp()
  local lines = { 'local ssh, demo = use("ssh", "demo")', "local hosts = {}", "local p = params {",
    '  text = param.string { default = "hello" }, extra = param.boolean { default = false }, token = param.secret { optional = true },' }
  for i in ipairs(machines) do lines[#lines + 1] = ("  k%d = param.secret {},"):format(i) end
  lines[#lines + 1] = "}"
  for i, m in ipairs(machines) do
    fs.write(("%s/key%d"):format(dir, i), m.key, { mode = 384 })
    lines[#lines + 1] = ('hosts[%d] = ssh.host "%s" { address = %q, port = %d, user = %q, key = p.k%d, host_keys = { %q }, groups = { %q }, via = %s }'):format(
      i, m.title or "node-" .. i, m.address, m.port, m.user, i, options.host_key or m.host_keys[1], i == 1 and "edge" or "inner",
      i > 1 and "hosts[1]" or "nil")
    lines[#lines + 1] = ('demo.motd "m%d" { host = hosts[%d], text = p.text, extra = p.extra, token = p.token }'):format(i, i)
  end
  fs.write(dir .. "/r.lua", table.concat(lines, "\n") .. "\n")
  fs.mkdir(dir .. "/demo")
  fs.write(dir .. "/demo/motd.lua", ROLE)
  local self = { dir = dir }

  function self.argv(verb, ...)
    local argv, keys = { process.self() }, {}
    for word in (verb .. " r.lua"):gmatch("%S+") do argv[#argv + 1] = word end
    for i in ipairs(machines) do keys[#keys + 1] = ("k%d=@key%d"):format(i, i) end
    local words = table.pack(...)
    local rest = false
    for i = 1, words.n do
      if words[i] == "--" then
        table.move(keys, 1, #keys, #argv + 1, argv)
        rest = true
      end
      argv[#argv + 1] = words[i]
    end
    if not rest then table.move(keys, 1, #keys, #argv + 1, argv) end
    return argv
  end

  --- The program's output, and what it said on stderr.
  function self.run(code, verb, ...)
    local result = assert(process.run { argv = self.argv(verb, ...), cwd = dir, timeout = 25, stdin = self.stdin or "",
      env = { VMRUN_PATH = dir, AZURE_SUBSCRIPTION_ID = false } })
    t.eq(result.code, code, verb .. ": " .. result.stdout .. result.stderr)
    return result.stdout, result.stderr
  end
  return self
end

test("a role over ssh, the second host through the first", function(t)
  local a, b = machine.start(t, { hostname = "one" }), machine.start(t, { hostname = "two" })
  local p = project(t, { a, b })
  local canary = "canary-" .. crypto.hex(crypto.random(8))
  fs.write(p.dir .. "/token", canary .. "\n", { mode = 384 })
  t.has(p.run(0, "apply", "token=@token"), "Done: 4 added")
  t.eq(a.read "/etc/motd" .. b.read "/etc/motd", "hello\nhello\n")
  t.eq(b.read "/etc/token", "token=" .. canary .. "\n")
  t.has(p.run(0, "plan", "--detailed-exitcode", "token=@token"), "No changes.")
  t.has(p.run(0, "state show", "demo.motd.m2"), 'hostname = "two"')

  -- What others changed, and what the recipe changed, are told apart; secrets are not shown.
  b.write("/etc/motd", "edited\n")
  b.write("/etc/token", "mine\n", 384)
  local out = p.run(2, "plan", "--detailed-exitcode", "token=@token")
  t.has(out, "demo.motd.m2: change (field `file /etc/motd.content` changed outside")
  t.has(out, "-edited\n        +hello")
  t.ok(not out:find(canary, 1, true), "no secret in a plan")
  t.ok(not out:find("demo.motd.m1", 1, true), "the other host is as it should be")
  t.has(p.run(0, "apply", "token=@token"), "Done: 0 added, 1 changed, 0 destroyed")
  t.eq(b.read "/etc/motd", "hello\n")
  t.eq(b.read "/var/log/told", "told\ntold\n")
  t.has(p.run(0, "plan", "text=bye", "token=@token"), "changed)\n")

  -- A task that is no longer declared stays on the host, and the plan says so once.
  p.run(0, "apply", "extra=true", "token=@token")
  t.eq(a.read "/etc/extra", "extra\n")
  t.has(p.run(2, "plan", "--detailed-exitcode", "extra=false", "token=@token"), "no longer declared; stays on the host as it is")
  p.run(0, "apply", "extra=false", "token=@token")
  t.eq(a.read "/etc/extra", "extra\n")
  t.has(p.run(0, "plan", "--detailed-exitcode", "extra=false", "token=@token"), "No changes.")

  -- A role that is no longer declared leaves what it did, and the plan says that, too.
  local recipe = fs.read(p.dir .. "/r.lua")
  fs.write(p.dir .. "/r.lua", (recipe:gsub("demo%.motd \"m1\"[^\n]*\n", "")))
  t.has(p.run(2, "plan", "--detailed-exitcode", "token=@token"), "demo.motd.m1: destroy (no longer declared; what it did stays on the host)\n")
  fs.write(p.dir .. "/r.lua", recipe)

  -- A host that does not answer is neither changed nor gone.
  b.down()
  local told
  out, told = p.run(1, "plan", "extra=false", "token=@token")
  t.has(out .. told, "unknown (unreachable)")
  for _, name in ipairs(fs.list(p.dir .. "/.vmrun/stacks/r")) do
    local text = fs.read(p.dir .. "/.vmrun/stacks/r/" .. name)
    t.ok(not (text and text:find(canary, 1, true)), "no secret in " .. name)
  end
end)

test("a host that is not what it should be", function(t)
  local m = machine.start(t)
  local other = crypto.keypair("ed25519", {}).public:match("^%S+ %S+")
  local _, err = project(t, { m }, { host_key = other }).run(1, "apply")
  t.has(err, "r.lua:7: ssh.host.node-1: create failed")
  t.has(err, "if the host was made anew on purpose")
  t.eq(m.read "/etc/motd", nil)

  m.title = "gone"
  local bare = machine.start(t, { user = "guest" })
  _, err = project(t, { bare }).run(1, "apply")
  t.has(err, "the host's shell ended early (exit code 127)")
  t.has(err, "'sudo -n' must work for user guest")
  bare.command("sudo", "shift; exec \"$@\"")
  t.has(project(t, { bare }).run(0, "apply"), "Done: 2 added")
  t.eq(bare.read "/etc/motd", "hello\n")
end)

test("ssh and exec", function(t)
  local a, b = machine.start(t, { hostname = "one" }), machine.start(t, { hostname = "two" })
  local p = project(t, { a, b })
  p.run(0, "apply")

  -- One host, by name, the end of its name, address and resource.
  for _, name in ipairs { "node-2", "2", b.address, "ssh.host.node-2" } do
    t.eq(p.run(3, "ssh", name, "--", "hostname; exit 3"), "two\n", name)
  end
  t.eq(p.run(0, "ssh", "node-1", "--", "printf", "%s|", "a b", "$HOME", "it's"), "a b|$HOME|it's|")
  p.stdin = ("x"):rep(300000)
  t.eq(p.run(0, "ssh", "node-1", "--", "wc -c"), "300000\n")
  p.stdin = nil
  local _, err = p.run(1, "ssh", "node-3")
  t.has(err, "there is no host 'node-3'; did you mean 'node-1'?\n    hosts are node-1, node-2")
  _, err = p.run(1, "ssh", "node-")
  t.has(err, "there is no host 'node-'")
  _, err = p.run(255, "ssh", "node-1", "--", "kill -9 $$")
  t.has(err, "ended by signal KILL")

  -- Several: those that say the same are shown together.
  t.eq(p.run(0, "exec", "all", "--", "cat /etc/motd"), "node-1, node-2:\n  hello\n")
  t.eq(p.run(0, "exec", "node*", "--", "hostname"), "node-1:\n  one\nnode-2:\n  two\n")
  t.eq(p.run(0, "exec", "@inner", "--", "true"), "node-2: done\n")
  t.eq(p.run(0, "exec", "de-2", "--", "hostname"), "node-2:\n  two\n", "the end of one name")
  t.eq(p.run(0, "exec", "all,!node-1", "--", "echo", "$(x)", "it's"), "node-2:\n  $(x) it's\n")
  local out
  out, err = p.run(1, "exec", "all", "--", "[ $(hostname) = one ] || { echo no >&2; exit 9; }")
  t.eq({ out, err }, { "node-1: done\nnode-2: exit code 9\n  no\n", "failed on 1 of 2: node-2\n" })
  out = p.run(1, "exec", "node-1", "--timeout", "0.3", "--", "echo started; sleep 20")
  t.has(out, "the command did not end within 0.3 s\n  started")
  out = p.run(1, "exec", "edge", "--json", "--", "echo o; echo e >&2; exit 4")
  local told = json.decode(out)
  t.eq({ told.host, told.code, told.stdout, told.stderr }, { "node-1", 4, "o\n", "e\n" })
  _, err = p.run(1, "exec", "node-1,nod-2", "--", "true")
  t.has(err, "no host fits 'nod-2'")
  b.down()
  out, err = p.run(1, "exec", "all", "--", "true")
  t.has(out, "node-1: done\nnode-2: ")
  t.has(err, "failed on 1 of 2: node-2")
end)

test("inventories", function(t)
  local a, b = machine.start(t, { hostname = "one" }), machine.start(t, { hostname = "two" })
  local p = project(t, { a, b })
  p.run(0, "apply")
  local made = json.decode((p.run(0, "inventory", "--format", "ansible", "--identity", "/keys/id")))
  local vars = made.all.hosts["node-2"]
  local way = vars.ansible_ssh_common_args
  t.has(way, "ProxyCommand=ssh ")
  t.has(way, ("-i /keys/id -p %d -l root -W %%h:%%p %s"):format(a.port, a.address))
  for _, m in ipairs { a, b } do t.has(way, m.host_keys[1]) end
  vars.ansible_ssh_common_args = nil
  t.eq(vars, { ansible_host = b.address, ansible_port = b.port, ansible_user = "root", ansible_ssh_private_key_file = "/keys/id" })
  t.eq(made.all.children.edge.hosts["node-1"], {})
  t.eq(p.run(0, "inventory", "--format", "known_hosts"), ("[%s]:%d %s\n[%s]:%d %s\n"):format(a.address, a.port, a.host_keys[1],
    b.address, b.port, b.host_keys[1]))
  local _, err = p.run(1, "inventory", "--format", "toml")
  t.has(err, "--format is ansible, ssh or known_hosts, not 'toml'")
  local found = process.run { argv = { "sh", "-c", "command -v ssh" } }.code == 0
  if found then -- the real ssh finds its way with it, and knows the hosts
    fs.write(p.dir .. "/key1", a.key, { mode = 384 })
    fs.write(b.root .. "/root/.ssh/authorized_keys", fs.read(a.root .. "/root/.ssh/authorized_keys"))
    fs.write(p.dir .. "/config", (p.run(0, "inventory", "--format", "ssh", "--identity", p.dir .. "/key1")))
    local result = process.run { argv = { "ssh", "-F", p.dir .. "/config", "node-2", "hostname" }, timeout = 15 }
    t.eq({ result.stdout, result.code }, { "two\n", 0 }, result.stderr)
  end
  if process.run { argv = { "sh", "-c", "command -v ansible-inventory" } }.code == 0 then
    fs.write(p.dir .. "/hosts.json", (p.run(0, "inventory")))
    local result = process.run { argv = { "ansible-inventory", "-i", p.dir .. "/hosts.json", "--list" }, timeout = 25 }
    t.eq(result.code, 0, result.stderr)
    t.eq(json.decode(result.stdout).inner.hosts[1], "node-2")
  end
end)

test("a shell with a terminal", function(t)
  if process.run { argv = { "sh", "-c", "command -v script" } }.code ~= 0 then t.skip "no script(1)" end
  local m = machine.start(t)
  local p = project(t, { m })
  p.run(0, "apply")
  -- script(1) gives it a terminal; what is typed comes bit by bit.
  local words = {}
  for i, word in ipairs(p.argv("ssh", "node-1")) do words[i] = "'" .. word .. "'" end
  local child = assert(process.spawn { argv = { "script", "-qec", "stty cols 91 rows 33; " .. table.concat(words, " "), "/dev/null" },
    cwd = p.dir, stdout = "pipe", stderr = "null", env = { TERM = "vt220", SHELL = "/bin/sh" } })
  local text = ""
  local function expect(part)
    local ok = task.deadline(10, function()
      while not text:find(part, 1, true) do
        local chunk = child:read()
        if not chunk then return false end
        text = text .. chunk
      end
      return true
    end)
    t.ok(ok, "waiting for " .. part .. " in " .. text)
    text = ""
  end
  expect "# "
  child:write "stty size; echo $TERM; tty\r"
  expect "33 91\r\nvt220\r\n/dev/pts/"
  child:write "exit 5\r"
  t.eq(child:wait(5), 5)
  child:close()
end)

test("escapes behind a line's start", function(t)
  local said = {}
  local function typed(...)
    local filter, out, asked = ssh_escapes(function(text) said[#said + 1] = text end), {}, nil
    for _, chunk in ipairs { ... } do
      local text, what = filter(chunk)
      out[#out + 1], asked = text, asked or what
    end
    return table.concat(out), asked
  end
  t.eq({ typed("ls\r", "~.", "x") }, { "ls\r" .. "x", "end" })
  t.eq({ typed("~", ".") }, { "", "end" })
  t.eq({ typed("a~.\r~~.") }, { "a~.\r~." })
  t.eq({ typed("~x\r~\26") }, { "~x\r", "stop" })
  t.eq({ typed("~?~.") }, { "", "end" })
  t.has(said[1], "end the connection")
end)

test.done()
