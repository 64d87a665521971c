--- `vmrun lua FILE`, require and tracebacks, as somebody at the command line sees them.
local test = require "tap"
local task, process, fs = require "task", require "process", require "fs"

--- Writes files into a new folder and runs main.lua; returns what process.run does.
local function run(t, files, options)
  local folder = t.tmp()
  for name, text in pairs(files) do
    fs.mkdir((folder .. "/" .. name):match "^(.*)/")
    assert(fs.write(folder .. "/" .. name, text))
  end
  options = options or {}
  options.argv = { process.self(), "lua", "main.lua", table.unpack(options.args or {}) }
  options.cwd = options.cwd or folder
  options.timeout = 20
  return assert(process.run(options))
end

test("a file runs as a task, with its arguments", function(t)
  local r = run(t, { ["main.lua"] = [[#!/usr/bin/env vmrun lua
    print(arg[0], arg[1], require("task").current() ~= nil, ...)
    require("task").sleep(0.001)
  ]] }, { args = { "one", "two" } })
  t.eq(r, { code = 0, stdout = "main.lua\tone\ttrue\tone\ttwo\n", stderr = "" })
end)

test("an error is one message with its place, and exit code 1", function(t)
  local r = run(t, { ["main.lua"] = "local x\n\nprint(x.y)\n" })
  t.eq(r, { code = 1, stdout = "", stderr = "main.lua:3: attempt to index a nil value (local 'x')\n    print(x.y)\n" })
  r = run(t, { ["main.lua"] = "error { message = 'what', code = 'c', hint = 'do this' }" })
  t.eq(r.stderr, "vmrun: what\n    do this\n")
  r = run(t, { ["main.lua"] = "x = = 1" })
  t.has(r.stderr, "main.lua:1: unexpected symbol near '='")
  r = run(t, {})
  t.eq(r.stderr, "vmrun: cannot read main.lua: no such file or directory\n")
end)

test("a traceback comes when it is asked for", function(t)
  local files = { ["main.lua"] = "local function inner() error 'here' end\ninner()\nreturn 1" }
  t.has(run(t, files, { env = { VMRUN_TRACEBACK = 1 } }).stderr, "stack traceback:")
  t.ok(not run(t, files).stderr:find "traceback")
end)

test("tasks left behind unwind before the program ends", function(t)
  local r = run(t, { ["main.lua"] = [[
    local task = require "task"
    task.spawn(function()
      local guard <close> = setmetatable({}, { __close = function() task.sleep(0.01) print "unwound" end })
      task.sleep(1000)
    end)
    task.sleep(0.001)
  ]] })
  t.eq(r, { code = 0, stdout = "unwound\n", stderr = "" })
end)

test("a failure that nobody can see any more is logged soon", function(t)
  local r = run(t, { ["main.lua"] = [[
    require("task").spawn(function() error("lost", 0) end)
    require("task").sleep(0.01)
    io.stderr:write "later\n"
  ]] })
  t.eq(r.stderr, "error: a task failed: lost\nlater\n")
  r = run(t, { ["main.lua"] = [[
    local task = require "task"
    local job = task.spawn(function() error("kept", 0) end)
    task.sleep(0.01)
    print(job:join())
  ]] })
  t.eq(r, { code = 0, stdout = "false\tkept\n", stderr = "" })
end)

test("a failed task that nobody joined is logged at the end", function(t)
  local r = run(t, { ["main.lua"] = [[
    require("task").spawn(function() error("lost", 0) end)
    require("task").sleep(0.001)
  ]] })
  t.eq(r, { code = 0, stdout = "", stderr = "error: a task failed: lost\n" })
end)

test("a deadlock is told", function(t)
  local r = run(t, { ["main.lua"] = "require('task').event():wait()" })
  t.eq({ r.code, r.stderr }, { 1, "vmrun: main.lua waits for something that nobody will do\n" })
end)

test("a signal cancels", function(t)
  local folder = t.tmp()
  fs.write(folder .. "/main.lua", [[
    local guard <close> = setmetatable({}, { __close = function() print "unwound" io.stdout:flush() end })
    print "ready" io.stdout:flush()
    require("task").sleep(1000)
  ]])
  local p <close> = process.spawn { argv = { process.self(), "lua", folder .. "/main.lua" }, stdin = "null" }
  t.eq(p:read(10), "ready\n")
  p:kill "INT"
  t.eq(p:read(10), "unwound\n")
  t.eq(p:wait(10), 1)
  t.eq(p:read_error(), "vmrun: interrupted\n")
end)

test("require finds libraries beside the file, as a.lua and a/init.lua", function(t)
  local r = run(t, {
    ["main.lua"] = "print(require('pkg'), require('pkg.part'), require('lib'))",
    ["lib.lua"] = "return ...",
    ["pkg/init.lua"] = "return 'init'",
    ["pkg/part.lua"] = "return 'part'",
  })
  t.eq(r.stdout .. r.stderr, "init\tpart\tlib\t./lib.lua\n")
end)

test("require says what is wrong with a module", function(t)
  local function message(name, files)
    files = files or {}
    files["main.lua"] = "require '" .. name .. "'"
    return run(t, files).stderr
  end
  t.has(message "no.such", "module 'no.such' not found")
  t.has(message "../outside", "a module's name is words joined by dots")
  t.has(message "..", "a module's name is words joined by dots")
  t.has(message("broken", { ["broken.lua"] = "return = 1" }), "broken.lua:1: unexpected symbol near '='")
  t.has(message("bytes", { ["bytes.lua"] = "\27Lua" }), "bytes.lua is bytecode: only Lua text is loaded")
  t.has(message("slow", { ["slow.lua"] = "require('task').sleep(0.001)" }),
    "module 'slow' waits while it is loaded: do that in a function")
  t.has(message("yields", { ["yields.lua"] = "coroutine.yield()" }), "attempt to yield across a C-call boundary")
end)

test("no native code is loaded", function(t)
  local r = run(t, { ["main.lua"] = "print(package.loadlib, package.cpath, package.path, #package.searchers)" })
  t.eq(r.stdout, "nil\t\t\t4\n")
end)

test("a folder can stand in for the standard library", function(t)
  local folder = t.tmp()
  fs.write(folder .. "/only_here.lua", "return 'from the folder'")
  local r = run(t, { ["main.lua"] = "print(require 'only_here', pcall(require, 'fail'))" }, { env = { VMRUN_STDLIB = folder } })
  t.has(r.stdout, "from the folder\tfalse\t")
  t.has(run(t, { ["main.lua"] = "print(require 'fail')" }).stdout, "table")
end)

test("the log has levels and masks secrets", function(t)
  local main = [[
    local log = require "log"
    log.mask "hunter2-secret"
    log.debug("d %d", 1)
    log.info("i %s", "hunter2-secret")
    log.warn "w 100%"
    log.error("e hunter2-secret")
    error("x hunter2-secret", 0)
  ]]
  t.eq(run(t, { ["main.lua"] = main }).stderr, "warning: w 100%\nerror: e (secret)\nvmrun: x (secret)\n")
  t.eq(run(t, { ["main.lua"] = main }, { env = { VMRUN_LOG = "debug" } }).stderr,
    "debug: d 1\ninfo: i (secret)\nwarning: w 100%\nerror: e (secret)\nvmrun: x (secret)\n")
  t.has(run(t, { ["main.lua"] = "" }, { env = { VMRUN_LOG = "loud" } }).stderr, "it can be debug, info, warn")
end)

test.done()
