--- Applying programs outlive their connection: what is lost is found again, what is waited for ends, what is cancelled goes with
-- its children; facts, what hangs on an earlier task, and as whom a role acts.
local test = require "tap"
local connection = require "host.connection"
local fs = require "fs"
local lab = require "role_lab"
local machine = require "machine"
local sshd = require "sshd"
local stream = require "stream"
local task = require "task"

local check, apply = lab.check, lab.apply

local function start(t, options)
  local m = machine.start(t, options)
  t.after(connection.close_all)
  return m
end

local JOURNAL = "/var/lib/vmrun/run/test.role.pid"

-- Ends the sshd that this program's connection belongs to.
local CUT = "read -r p _ <" .. JOURNAL .. "\n" .. [[
  while read -r _ c _ </proc/$p/stat && [ "$c" != "(sshd)" ]; do set -- $(sed 's/.*) //' /proc/$p/stat); p=$2; done
  kill $p]]

local function wait_for(m, path)
  local deadline = task.now() + 10
  while not m.read(path) do
    assert(task.now() < deadline, path .. " did not come")
    task.sleep(0.01)
  end
end

local function nothing_left(t, m)
  t.eq(fs.list(m.root .. "/var/lib/vmrun/run"), { "test.role.life" }, "no journal is left")
end

for shell, path in pairs { dash = "/usr/bin/dash", ash = "/usr/bin/busybox" } do
  test("a lost connection is found again, with " .. shell, function(t)
    local m = start(t)
    m.command("sh", path)
    local function declare(host)
      host.file "/etc/before" { content = "b" }
      host.command "cut" { creates = "/etc/times",
        run = CUT .. "\necho in the dark; sleep 0.3; echo once >>/etc/times; sleep 0.3; echo ends" }
      host.file "/etc/after" { content = "a" }
    end
    local changed, _, told, said = apply(m, declare)
    t.eq(changed, 3)
    t.eq(m.read "/etc/times", "once\n")
    t.eq(m.read "/etc/after", "a")
    t.has(table.concat(told, "\n"), "connecting again")
    local all = table.concat(said, "\n")
    t.has(all, "command cut: in the dark")
    t.has(all, "command cut: ends")
    nothing_left(t, m)
    t.eq(check(m, declare), {})
  end)
end

-- A way to a machine that can be cut as when a network goes without a word: we see the end of a connection, its sshd does not.
local function silent_cut(t, m)
  local dial = require "dial"
  local listener, far, near, pumps = assert(stream.listen { host = "127.0.0.1", port = 0 }), nil, nil, {}
  local host, port, was = m.host, m.port, dial.resolve
  dial.resolve = function() return "127.0.0.1:" .. listener:port() end
  local function pump(from, to)
    for chunk in function() return from:read() end do if not to:write(chunk) then return end end
  end
  local accepting = task.spawn(function()
    for accepted in function() return listener:accept() end do
      near = accepted
      far = assert(stream.connect { host = host, port = port })
      pumps = { task.spawn(pump, near, far), task.spawn(pump, far, near) }
    end
  end)
  local held = {}
  local function cut()
    for _, one in ipairs(pumps) do one:cancel("cut") one:join() end
    near:close()
    held[#held + 1] = far
  end
  t.after(function()
    dial.resolve = was
    listener:close()
    accepting:join()
    cut()
    for _, one in ipairs(held) do one:close() end
  end)
  return cut
end

test("an sshd that does not hear of the loss keeps no program that has much to say", function(t)
  local m = start(t)
  local cut = silent_cut(t, m)
  local running = task.spawn(apply, m, function(host)
    host.command "talk" { creates = "/etc/said", run = [[
      : >/etc/here; while [ ! -e /etc/cut ]; do sleep 0.05; done
      awk 'BEGIN { for (i = 0; i < 8000; i++) printf "%01000d\n", 0 }'; : >/etc/said; echo the end]] }
  end)
  wait_for(m, "/etc/here")
  cut()
  m.write("/etc/cut", "")
  local ok, changed, _, told, said = running:join()
  t.ok(ok, tostring(changed))
  t.eq(changed, 1)
  t.has(table.concat(told, "\n"), "connecting again")
  t.has(table.concat(said, "\n"), "the end")
  nothing_left(t, m)
end)

test("a step that fails in the dark is the error, with its words", function(t)
  local m = start(t)
  t.fails("`command cut` failed: exit code 3\nbad luck", apply, m, function(host)
    host.command "cut" { run = CUT .. "\nsleep 0.2; echo bad luck; exit 3", creates = "/etc/x" }
    host.file "/etc/never" { content = "" }
  end)
  t.eq(m.read "/etc/never", nil)
  nothing_left(t, m)
end)

test("a connection that is lost again and again", function(t)
  local m = start(t)
  m.command("sh", [[p=$$
    while read -r _ c _ </proc/$p/stat && [ "$c" != "(sshd)" ]; do set -- $(sed 's/.*) //' /proc/$p/stat); p=$2; done
    echo x >>/etc/lost; kill $p; sleep 1]])
  local err = t.fails("lost", check, m, function(host) host.file "/x" { content = "" } end)
  t.eq({ err.code, #m.read "/etc/lost" // 2 }, { "unreachable", 6 })
end)

test("a program that died with its host runs once more", function(t)
  local m = start(t)
  local function declare(host)
    host.command "fall" { creates = "/etc/done",
      run = "echo x >>/etc/tries; : >/etc/here; [ -e /etc/again ] || sleep 60; : >/etc/done" }
  end
  local running = task.spawn(apply, m, declare)
  wait_for(m, "/etc/here")
  m.down()
  m.write("/etc/again", "")
  m.up()
  local ok, changed = running:join()
  t.eq({ ok, changed }, { true, 1 })
  t.eq(m.read "/etc/tries", "x\nx\n")
  nothing_left(t, m)
end)

test("a cancelled step goes with its children", function(t)
  local m = start(t)
  local function declare(host)
    host.command "long" { run = "(sleep 791 & sleep 792 & wait) & : >/etc/here; sleep 793", creates = "/etc/x" }
  end
  local running = task.spawn(apply, m, declare)
  wait_for(m, "/etc/here")
  t.ok(m.run({ "pgrep", "-f", "sleep 79[123]" }).stdout ~= "")
  running:cancel "enough"
  local ok, err = running:join()
  t.eq(ok, false)
  t.has(tostring(err), "enough")
  t.eq(m.run({ "pgrep", "-f", "sleep 79[123]" }).stdout, "")
  nothing_left(t, m)

  m.sh "rm /etc/here"
  local late = t.fails("the tasks did not end within 1 s", apply, m, declare, nil, { seconds = 1 })
  t.eq(late.code, "timeout")
  t.eq(m.run({ "pgrep", "-f", "sleep 79[123]" }).stdout, "")
  nothing_left(t, m)
end)

test("more roles at once than a host takes sessions: all of them run, and cancelled at once, none goes on", function(t)
  local m = start(t)
  local function spawn(run)
    local jobs = {}
    for i = 1, 14 do
      jobs[i] = task.spawn(apply, m, function(host) host.command "step" { run = run:gsub("@", i), creates = "/etc/x" } end,
        { name = "test.role" .. i, timeouts = lab.PAGE.timeouts })
    end
    return jobs
  end
  m.sh "mkdir /etc/ran"
  for _, job in ipairs(spawn ": >/etc/ran/@; sleep 0.1; exit 3") do
    local ok, err = job:join()
    t.eq(ok, false)
    t.has(tostring(err), "exit code 3")
  end
  t.eq(#fs.list(m.root .. "/etc/ran"), 14)
  local jobs = spawn "rm /etc/ran/@; sleep 794"
  local deadline = task.now() + 10
  while #fs.list(m.root .. "/etc/ran") > 6 and task.now() < deadline do task.sleep(0.01) end
  for _, job in ipairs(jobs) do job:cancel "enough" end
  for _, job in ipairs(jobs) do t.eq((job:join()), false) end
  t.eq(m.run({ "pgrep", "-f", "sleep 794" }).stdout, "")
end)

test("a run whose vmrun has gone is waited for", function(t)
  local m = start(t)
  local function first(host)
    host.command "long" { run = ": >/etc/here; sleep 1; echo 1 >>/etc/ran; echo late", creates = "/etc/ran" }
  end
  local program = require "host.program"
  local types = require "host.task"
  local tasks = {}
  local declared = setmetatable({}, { __index = function(_, name) return function(title)
    return function(given) tasks[#tasks + 1] = types.declare(types.find(name), title, given, "test.role") end
  end end })
  first(declared)
  local conn = assert(machine.connect(m))
  local channel = assert(conn:open "sh -s")
  channel:write((program.compile("apply", tasks, { scope = "test.role" })))
  channel:eof()
  wait_for(m, "/etc/here")
  conn:close()

  local ctx = lab.context(m)
  t.eq((require("role").perform(lab.PAGE, ctx, "check", first)), {})
  t.has(table.concat(ctx.told, "\n"), "still at work there")
  t.has(table.concat(ctx.said, "\n"), "late")
  t.eq(m.read "/etc/ran", "1\n")
  nothing_left(t, m)
end)

test("a program that arrives in part does nothing", function(t)
  local m = start(t)
  local conn <close> = assert(machine.connect(m))
  local program = require "host.program"
  local types = require "host.task"
  local tasks = { types.declare(types.find "file", "/etc/a", { content = "a" }, "test.role"),
    types.declare(types.find "file", "/etc/b", { content = "b" }, "test.role") }
  local text = program.compile("apply", tasks, { scope = "test.role" })
  for _, part in ipairs { 0.3, 0.6, 0.9, 0.99 } do
    local result = assert(conn:exec("sh -s", { stdin = text:sub(1, math.floor(#text * part)) }))
    t.ok(result.code ~= 0)
  end
  t.eq(m.read "/etc/a", nil)
  t.eq(m.read "/var/lib/vmrun", nil)
end)

test("facts cost one question, then none", function(t)
  local m = start(t)
  local page = { name = "test.role", timeouts = lab.PAGE.timeouts, facts = { motd = "cat /etc/motd 2>/dev/null || echo none" } }
  local asked = 0
  m.command("getconf", "echo x >>/etc/asked; echo 4")
  local function declare(host)
    asked = asked + 1
    host.file "/etc/facts" { content = ("%s %d %s\n"):format(host.os, host.processors, host.motd) }
  end
  local function questions()
    local text = m.read "/etc/asked" or ""
    fs.remove(m.root .. "/etc/asked")
    return #text // 2
  end
  local changes, _, titles, used = check(m, declare, page)
  t.eq(changes, { { path = "file /etc/facts", new = "debian 4 none\n" } })
  t.eq(used, { os = "debian", processors = "4", motd = "none" })
  apply(m, declare, page)
  t.eq({ questions(), asked }, { 1, 2 })

  -- Another run, on a connection of its own: what was known then is taken, and verified beside the checks.
  connection.close_all()
  local prior = { outputs = { facts = used, tasks = titles } }
  t.eq(check(m, declare, page, { prior = prior }), {})
  t.eq({ questions(), asked }, { 1, 3 })

  -- It is not so any more: the tasks are declared once more.
  connection.close_all()
  m.write("/etc/motd", "hello\n")
  t.eq(check(m, declare, page, { prior = prior }),
    { { path = "file /etc/facts.content", old = "debian 4 none\n", new = "debian 4 hello\n" } })
  t.eq(asked, 5)
  local _, _, _, now = check(m, declare, page, { prior = prior })
  t.eq(now.motd, "hello")

  -- An error that comes of an old fact is none.
  connection.close_all()
  t.eq(#check(m, function(host)
    if host.motd == "none" then error "no motd" end
    host.file "/etc/facts" { content = host.motd }
  end, page, { prior = prior }), 1)
end)

test("addresses are a list, and a fact may not take another's name", function(t)
  local m = start(t)
  m.command("ip", "echo '2: eth0    inet 10.0.0.4/24 brd x'; echo '2: eth0    inet6 fd00::4/64 scope global'")
  check(m, function(host) t.eq(host.addresses, { "10.0.0.4", "fd00::4" }) end)
  t.fails("the fact 'file' has the name of another",
    function() require "role" "a.b" { facts = { file = "x" }, tasks = function() end } end)
end)

test("what hangs on an earlier task is known after it", function(t)
  local m = start(t)
  local function declare(host)
    host.file "/etc/level" { content = "3\n" }
    local level = tonumber(host.ask "cat /etc/level 2>/dev/null")
    for i = 1, level do host.file("/etc/level." .. i) { content = "" } end
  end
  t.eq(check(m, declare), { { path = "file /etc/level", new = "3\n" },
    { path = "tasks", new = "(known after file /etc/level)" } })
  m.write("/etc/level", "1\n", 420)
  m.sh "chown 0:0 /etc/level"
  t.eq(check(m, declare), { { path = "file /etc/level.content", old = "1\n", new = "3\n" },
    { path = "file /etc/level.1", new = "(known after file /etc/level)" } })
  t.eq(apply(m, declare), 4)
  t.eq(check(m, declare), {})
  -- An answer that nothing undone stands before is an answer.
  fs.remove(m.root .. "/etc/level.2")
  t.eq(check(m, declare), { { path = "file /etc/level.2", new = "" } })
  t.fails("cannot check `line", check, m, function(host) host.line "a" { path = "/etc/x", replaces = "(" } end)
  t.eq(check(m, function(host)
    host.file "/etc/new" { content = "x" }
    host.line "a" { path = "/etc/x", replaces = "(" }
  end), { { path = "file /etc/new", new = "x" }, { path = "line /etc/x: a", new = "(known after file /etc/new)" } })
end)

test("a role acts as its `become` says", function(t)
  local m = start(t, { user = "guest" })
  m.command("sudo", [[echo "sudo $*" | head -n 1 >>/etc/sudo; while [ "$1" != sh ]; do shift; done; exec "$@"]])
  local function run(become)
    fs.remove(m.root .. "/etc/sudo")
    apply(m, function(host) host.command "x" { run = "true" } end,
      { name = "test.role", timeouts = lab.PAGE.timeouts, become = become })
    return m.read "/etc/sudo"
  end
  t.eq(run(nil), "sudo -n sh -s\n")
  t.eq(run "web", "sudo -n -H -u web -- sh -s\n")
  t.ok(m.read "/root/.local/state/vmrun/run" == nil and fs.stat(m.root .. "/root/.local/state/vmrun/run"),
    "in the user's own home")
  t.eq(run(function(f) return f.host.user end), nil)
  t.eq(run(false), nil)
  local r = start(t)
  r.command("su", [[echo "su $*" >>/etc/su; shift 2; shift; exec sh -c "$1"]])
  apply(r, function(host) host.command "x" { run = "true" } end,
    { name = "test.role", timeouts = lab.PAGE.timeouts, become = "web" })
  t.eq(r.read "/etc/su", "su -s /bin/sh -c sh -s -- web\n")
end)

test("what tells of a program's end is there before what tells of the program", function(t)
  local m = start(t)
  m.command("mkfifo", 'ls /var/lib/vmrun/run >/etc/before; exec /usr/bin/mkfifo "$@"')
  apply(m, function(host) host.file "/etc/one" { content = "1" } end)
  t.eq(m.read "/etc/before", "")
end)

-- In a container the sshd that all come through may be the first process, to which what has lost its own sshd belongs.
test("an sshd that is the first process is nobody's connection", function(t)
  local dir = t.tmp()
  local folder = dir .. "/.local/state/vmrun/run"
  fs.mkdir(folder)
  sshd.capture { "cp", "/bin/sh", dir .. "/sshd" }
  fs.write(dir .. "/follow", "M=mark\n" .. require("host.journal").follow("x", true, true))
  fs.write(dir .. "/first", ([[
    trap 'echo killed' TERM
    cd %s && mkfifo x.life && echo told >x.log
    sh -c '{ : >up; until grep -q told out; do sleep 0.05; done; } 2>/dev/null 9<>x.life & echo $! >program'
    until [ -e up ] && [ -s program ]; do sleep 0.05; done
    read -r p <program; read -r l <"/proc/$p/stat"; set -- ${l##*) }
    [ "$2" = 1 ] || echo "it belongs to $2"
    read -r boot </proc/sys/kernel/random/boot_id
    echo "$p ${20} $4 $boot mark" >x.pid
    sh ../../../../follow >out; cat out; echo "and $(cat /proc/1/comm) goes on"]]):format(folder))
  local argv = { "unshare", "-U", "-r", "-p", "-f", "--mount-proc", dir .. "/sshd", dir .. "/first" }
  t.eq(sshd.capture(argv, { env = { HOME = dir }, timeout = 20 }), "told\n\nmark again\ntold\nand sshd goes on\n")
end)

test.done()
