--- What several tasks want at once: done by one, told to all, handed over when that one is interrupted.
local test = require "tap"
local fail, task, together = require "fail", require "task", require "together"

-- A piece of work that waits until it is let go: it counts its calls.
local function work(result)
  local self = { calls = 0, go = task.event(), begun = task.event() }
  function self.run(...)
    self.calls = self.calls + 1
    self.begun:set()
    self.go:wait()
    if type(result) == "function" then return result(...) end
    return result, ...
  end
  return self
end

local function spawn_each(count, fn)
  local jobs = {}
  for i = 1, count do jobs[i] = task.spawn(fn, i) end
  return jobs
end

test("the first does it, all get what it returned", function(t)
  local share, one = together(), work("done")
  local jobs = spawn_each(4, function() return share("key", one.run, "more", nil, 3) end)
  one.begun:wait()
  one.go:set()
  for _, job in ipairs(jobs) do t.eq({ n = select("#", job:join()), job:join() }, { n = 5, true, "done", "more", nil, 3 }) end
  t.eq(one.calls, 1)
  t.eq(share("key", one.run), "done") -- nothing is kept
  t.eq(one.calls, 2)
end)

test("keys do not wait for each other", function(t)
  local share, one = together(), work("slow")
  local job = task.spawn(share, "a", one.run)
  t.eq(share("b", function() return "quick" end), "quick")
  one.go:set()
  t.eq({ job:join() }, { true, "slow" })
end)

test("a failure is told to all, also one that only looks like an interruption", function(t)
  for _, code in ipairs { "broken", "timeout" } do
    local share, one = together(), work(function() error(fail { "it broke", code = code }) end)
    local jobs = spawn_each(3, function() return share("key", one.run) end)
    one.begun:wait()
    one.go:set()
    for _, job in ipairs(jobs) do
      local ok, err = job:join()
      t.eq({ ok, err.message, err.code }, { false, "it broke", code })
    end
    t.eq(one.calls, 1)
  end
end)

test("one that is cancelled hands over to the next", function(t)
  local share, one = together(), work("done")
  local jobs = spawn_each(4, function() return share("key", one.run) end)
  one.begun:wait()
  jobs[2]:cancel("not me either") -- of one that only waits
  jobs[1]:cancel("not me")
  local ok, err = jobs[1]:join()
  t.eq({ ok, err.code }, { false, "cancelled" })
  one.go:set()
  t.eq({ (jobs[2]:join()) }, { false })
  t.eq({ jobs[3]:join() }, { true, "done" })
  t.eq({ jobs[4]:join() }, { true, "done" })
  t.eq(one.calls, 2)
end)

test("one whose own time is over hands over to the next", function(t)
  local share, one = together(), work("done")
  local first = task.spawn(function() return task.deadline(0.05, share, "key", one.run) end)
  one.begun:wait()
  local second = task.spawn(share, "key", one.run)
  local _, value, message, code = first:join()
  t.err("timeout", value, message, code)
  one.go:set()
  t.eq({ second:join() }, { true, "done" })
  t.eq(one.calls, 2)
end)

test.done()
