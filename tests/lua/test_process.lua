local test = require "tap"
local task, process, fs = require "task", require "process", require "fs"

local function sh(script, options)
  options = options or {}
  options.argv = { "sh", "-c", script }
  return process.run(options)
end

local function gone(pid)
  local stop = task.now() + 10
  while process.alive(pid) and task.now() < stop do task.sleep(0.005) end
  return not process.alive(pid)
end

test("run gives code and output", function(t)
  t.eq(sh "echo out; echo err >&2; exit 3", { code = 3, stdout = "out\n", stderr = "err\n" })
  t.eq(sh("cat", { stdin = "text" }).stdout, "text")
  t.eq(sh("kill -9 $$").signal, 9)
  t.eq(process.run { argv = { "printf", "%s", 42 } }.stdout, "42")
end)

test("much output and input goes through", function(t)
  local text = string.rep("0123456789abcde\n", 100000)
  t.ok(sh("cat", { stdin = text }).stdout == text)
  t.eq(sh("true", { stdin = text }).code, 0, "one that does not read it")
  t.eq(#sh("head -c 3000000 /dev/zero >&2").stderr, 3000000)
end)

test("the pipes are pipes: they can be opened again", function(t)
  t.eq(sh "echo x > /dev/stderr; echo y > /dev/stdout", { code = 0, stdout = "y\n", stderr = "x\n" })
end)

test("environment and folder", function(t)
  local folder = fs.realpath(t.tmp())
  t.eq(sh("pwd", { cwd = folder }).stdout, folder .. "\n")
  t.eq(sh("echo $A-$HOME", { env = { A = 1, HOME = false } }).stdout, "1-\n")
  t.eq(process.run { argv = { "/usr/bin/env" }, env = { ONLY = "x" }, clear_env = true }.stdout, "ONLY=x\n")
  t.eq(process.env "PATH", os.getenv "PATH")
  t.eq(process.env "VMRUN_NOT_SET", nil)
  t.eq(process.environ().PATH, os.getenv "PATH")
end)

test("what cannot be run says why", function(t)
  t.eq(t.err("not_found", process.run { argv = { "vmrun-no-such" } }), "cannot run vmrun-no-such: there is no such program")
  t.has(t.err("not_found", sh("true", { cwd = "/no/such" })), "there is no folder /no/such")
  t.err("denied", process.run { argv = { "/etc/passwd" } })
  t.fails("argv is a list", process.run, {})
  t.fails("argv[2] is a table", process.run, { argv = { "x", {} } })
  t.fails("NUL", process.run, { argv = { "x\0y" } })
end)

test("a timeout kills the whole group", function(t)
  local path = t.tmp() .. "/pid"
  local pid
  for _, seconds in ipairs { 0.1, 1, 10 } do -- a busy machine may not have come so far
    local message = t.err("timeout", sh("sleep 100 & echo $! > " .. path .. "; wait", { timeout = seconds }))
    t.eq(message, ("sh: not done within %g s"):format(seconds))
    pid = tonumber(fs.read(path) or "")
    if pid then break end
  end
  t.ok(gone(pid))
end)

test("a cancel kills the whole group", function(t)
  local path = t.tmp() .. "/pid"
  local job = task.spawn(sh, "sleep 100 & echo $! > " .. path .. ".new; mv " .. path .. ".new " .. path .. "; wait")
  while not fs.stat(path) do task.sleep(0.005) end
  job:cancel()
  t.eq(select(2, job:join()).code, "cancelled")
  t.ok(gone(tonumber(fs.read(path))))
end)

test("too much output is an error and not all memory", function(t)
  t.err("output", sh("yes", { max_output = 100000 }))
end)

test("a child that stays in the background does not hold run", function(t)
  local result = sh "sleep 100 & echo $!"
  local pid = tonumber(result.stdout)
  t.ok(process.alive(pid), "it was waited for")
  process.kill(pid, "KILL")
end)

test("spawn: write, read, wait", function(t)
  local p <close> = t.ok(process.spawn { argv = { "sh", "-c", "cat; echo done >&2; exit 4" } })
  t.ok(process.alive(p.pid))
  t.eq(p:write("one "), true)
  t.eq(p:read(1), "one ")
  t.err("timeout", p:read(0.01))
  t.err("timeout", p:wait(0.01))
  t.eq(p:close_stdin(), true)
  t.eq(p:read(), nil)
  t.eq(p:read_error(), "done\n")
  t.eq(p:read_error(), nil)
  t.eq({ p:wait() }, { 4 })
  t.eq({ p:wait(1) }, { 4 }, "again")
end)

test("spawn: kill, and writing to one that has ended", function(t)
  local p <close> = t.ok(process.spawn { argv = { "cat" } })
  t.ok(p:kill())
  t.eq({ p:wait() }, { -1, 15 })
  t.err("not_found", process.kill(p.pid))
  t.eq(p:read(), nil)
  t.err("reset", p:write("x"))
  t.fails("is not a signal", p.kill, p, "NOPE")
end)

test("spawn: files for output, and no pipe where none was asked for", function(t)
  local path = t.tmp() .. "/log"
  local argv = { "sh", "-c", "echo a; echo b >&2" }
  local p <close> = t.ok(process.spawn { argv = argv, stdout = path, stderr = path, stdin = "null" })
  t.eq(p:wait(), 0)
  t.eq(fs.read(path), "a\nb\n")
  t.eq(fs.stat(path).mode, 0x180)
  t.fails("not started with a pipe for its stdout", p.read, p)
  t.fails("null, inherit or a path", process.spawn, { argv = { "true" }, stdout = "nowhere" })
  t.err("not_found", process.spawn { argv = { "true" }, stdout = "/no/such/file" })
end)

test("spawn: closing kills what runs, but not what is detached", function(t)
  local p = t.ok(process.spawn { argv = { "sleep", "100" } })
  p:close()
  t.ok(gone(p.pid))
  local d = t.ok(process.spawn { argv = { "sleep", "100" }, detached = true })
  local pid = d.pid
  d:close()
  task.sleep(0.02)
  t.ok(process.alive(pid))
  process.kill(pid, "KILL")
  t.ok(gone(pid))
end)

test("each is the leader of its own session", function(t)
  local p <close> = t.ok(process.spawn { argv = { "sleep", "10" } })
  local stat = fs.read("/proc/" .. p.pid .. "/stat")
  local group, session = stat:match("^%d+ %b() %a %d+ (%d+) (%d+)")
  t.eq({ tonumber(group), tonumber(session) }, { p.pid, p.pid })
end)

test("a wait can be cancelled and the process goes on", function(t)
  local p <close> = t.ok(process.spawn { argv = { "cat" } })
  local job = task.spawn(function() return p:wait() end)
  task.sleep(0.001)
  job:cancel()
  job:join()
  p:close_stdin()
  t.eq(p:wait(), 0)
end)

test("self is vmrun", function(t)
  t.has(process.run { argv = { process.self(), "version" } }.stdout, "vmrun ")
  t.ok(process.alive(process.pid()))
end)

test.done()
