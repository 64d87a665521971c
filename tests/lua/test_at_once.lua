--- All of a list at once: results, failures, and what becomes of the others when whoever asked is interrupted.
local test = require "tap"
local at_once, fail, task = require "at_once", require "fail", require "task"

test("all run at once, and the results are in order", function(t)
  local here, all_here = 0, task.event()
  t.eq(at_once({ 3, 1, 2 }, function(n)
    here = here + 1
    if here == 3 then all_here:set() end
    all_here:wait()
    task.sleep(n / 1000)
    return n * 10
  end), { 30, 10, 20 })
  t.eq(at_once({}, error), {})
  local now, most = 0, 0
  at_once({ 1, 2, 3, 4 }, function()
    now = now + 1
    most = math.max(most, now)
    task.sleep(0)
    now = now - 1
  end, 2)
  t.eq(most, 2)
end)

test("a failure is raised when the others have ended", function(t)
  local ended = 0
  local ok, err = pcall(at_once, { 1, 2, 3 }, function(n)
    if n == 1 then error(fail { "broken", code = "x" }) end
    task.sleep(0.01)
    ended = ended + 1
  end)
  t.eq({ ok, err.code, ended }, { false, "x", 2 })
end)

test("nobody goes on when it is interrupted", function(t)
  local going, undone = 0, 0
  local function work()
    going = going + 1
    local tidy <close> = setmetatable({}, { __close = function() undone = undone + 1 end })
    task.event():wait()
  end
  local done, _, code = task.deadline(0.02, at_once, { 1, 2 }, work)
  t.eq({ done, code, going, undone }, { nil, "timeout", 2, 2 })
  local asking = task.spawn(at_once, { 1, 2 }, work)
  while going < 4 do task.sleep(0) end
  asking:cancel("enough")
  t.eq((asking:join()), false)
  t.eq(undone, 4)
end)

test.done()
