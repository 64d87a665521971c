--- Tests that read straight down: each runs as a task, at once, and prints `ok`, `not ok` or `skip`.
--
--     local test = require "tap"
--     test("a queue keeps its order", function(t)
--       t.eq(pop(), 1)
--       t.fails("no such host", connect, "nowhere")        -- raises an error with this text
--       t.err("timeout", q:pop(0.01))                       -- nil, message, code
--       local heard = t.expect(2, function(...) end)        -- must be called twice
--     end)
--     test.done()
--
-- After each test there must be as many tasks as before it. run.lua counts the lines. Arguments of the file are names of tests:
-- only these run then (`vmrun lua tests/lua/test_x.lua "a queue keeps its order"`).
local task = require "task"
local fs_ok, fs = pcall(require, "fs")

-- counted: whether tasks are (a server in the same process has tasks of its own).
local M = { passed = 0, failed = 0, skipped = 0, timeout = 30, counted = true }

local SKIP = {}

local only, unknown = nil, {}
for _, name in ipairs(arg or {}) do
  only, unknown[name] = only or {}, true
  only[name] = true
end

--- A value as text, tables with their content.
local function show(value, depth)
  depth = depth or 0
  if type(value) == "string" then return string.format("%q", value) end
  if type(value) ~= "table" or depth > 6 then return tostring(value) end
  local parts, keys = {}, {}
  for key in next, value do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, key in ipairs(keys) do
    parts[#parts + 1] = (math.type(key) and "[" .. key .. "]" or tostring(key)) .. " = " .. show(value[key], depth + 1)
  end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

local function same(a, b)
  if math.type(a) ~= math.type(b) then return false end
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, value in next, a do if not same(value, b[key]) then return false end end
  for key in next, b do if a[key] == nil then return false end end
  return true
end

local function text_of(err)
  if type(err) == "table" and err.message then return tostring(err.message) end
  return tostring(err)
end

--- The words a test has.
local function words(state)
  local t = {}

  --- Ends the test unless the value is true.
  function t.ok(value, what)
    if not value then error((what or "expected a true value") .. ", got " .. show(value), 2) end
    return value
  end

  --- Ends the test unless both are the same, tables by their content; integers and floats differ.
  function t.eq(actual, expected, what)
    if not same(actual, expected) then
      error((what and what .. ": " or "") .. "expected " .. show(expected) .. "\n#   got      " .. show(actual), 2)
    end
  end

  --- Ends the test unless the text holds the part (plain, no pattern).
  function t.has(text, part)
    if not string.find(tostring(text), part, 1, true) then
      error("expected a text with " .. show(part) .. "\n#   got      " .. show(text), 2)
    end
  end

  --- Calls a function that must raise an error whose text holds the part; returns the error.
  function t.fails(part, fn, ...)
    local ok, err = pcall(fn, ...)
    if ok then error("expected an error with " .. show(part) .. ", but the call went well", 2) end
    if not string.find(text_of(err), part, 1, true) then
      error("expected an error with " .. show(part) .. "\n#   got      " .. show(text_of(err)), 2)
    end
    return err
  end

  --- Ends the test unless these are nil, a message and this code; returns the message.
  function t.err(code, value, message, got)
    if value ~= nil or got ~= code then
      error("expected nil, message, " .. show(code) .. "\n#   got      " .. show(value) .. ", " .. show(message)
        .. ", " .. show(got), 2)
    end
    if type(message) ~= "string" or message == "" then error("the failure has no message", 2) end
    return message
  end

  --- Wraps a function that must have been called `count` times when the test ends.
  function t.expect(count, fn)
    local call = { count = count, calls = 0 }
    state.expected[#state.expected + 1] = call
    return function(...)
      call.calls = call.calls + 1
      if fn then return fn(...) end
    end
  end

  --- A new folder that is removed after the test.
  function t.tmp()
    local path = assert(fs.mktemp("vmrun-test-"))
    state.folders[#state.folders + 1] = path
    return path
  end

  --- Runs a function after the test, last one first, whatever happened.
  function t.after(fn) table.insert(state.after, 1, fn) end

  --- Ends the test without a result.
  function t.skip(reason) error({ [SKIP] = reason or "" }, 0) end

  return t
end

--- What ends soon by itself (cancelled tasks that unwind) gets a few turns of the loop.
local function settle(count)
  local deadline = task.now() + 2
  while task.count() > count and task.now() < deadline do task.sleep(0.001) end
  return task.count()
end

local function run(fn)
  local state = { expected = {}, folders = {}, after = {} }
  local before = task.count()
  local job = task.spawn(function() return fn(words(state)) end)
  local ended, timed_out, code = task.deadline(M.timeout, function() return { job:join() } end)
  if not ended and code == "timeout" then
    job:cancel("the test took too long")
    job:join()
    ended = { false, timed_out }
  end
  for _, done in ipairs(state.after) do
    local ok, err = pcall(done)
    if not ok and ended[1] then ended = { false, err } end
  end
  for _, folder in ipairs(state.folders) do fs.remove(folder, { recursive = true }) end
  if not ended[1] then return ended[2] end
  for _, call in ipairs(state.expected) do
    if call.calls ~= call.count then
      return "a function was called " .. call.calls .. " times instead of " .. call.count
    end
  end
  local after = settle(before)
  if M.counted and after ~= before then return (after - before) .. " tasks were left behind" end
end

local function one(_, name, fn)
  if only and not only[name] then return end
  unknown[name] = nil
  local err = run(fn)
  if err == nil then
    M.passed = M.passed + 1
    print("ok " .. name)
  elseif type(err) == "table" and err[SKIP] then
    M.skipped = M.skipped + 1
    print("skip " .. name .. " # " .. err[SKIP])
  else
    M.failed = M.failed + 1
    print("not ok " .. name .. "\n#   " .. text_of(err))
  end
  io.stdout:flush()
end

--- Ends the file: its exit code says whether all went well.
function M.done()
  local name = next(unknown)
  if name then error({ message = ("no test has the name %q"):format(name) }, 0) end
  if M.failed > 0 then error({ message = M.failed .. " tests failed" }, 0) end
end

M.show, M.same = show, same
return setmetatable(M, { __call = one })
