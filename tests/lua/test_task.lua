local test = require "tap"
local task = require "task"

test("spawn and join give the results", function(t)
  local job = task.spawn(function(a, b) return a + b, nil, "x", nil end, 1, 2)
  t.eq(job:status(), "ready")
  t.eq(table.pack(job:join()), { true, 3, nil, "x", nil, n = 5 })
  t.eq(table.pack(job:join()), { true, 3, nil, "x", nil, n = 5 }, "again")
  t.eq(job:status(), "done")
end)

test("join gives the error, of any type", function(t)
  local ok, err = task.spawn(function() error("plain", 0) end):join()
  t.eq({ ok, err }, { false, "plain" })
  local thrown = { message = "as a table" }
  local _, got = task.spawn(function() task.sleep(0.001) error(thrown) end):join()
  t.ok(rawequal(got, thrown))
end)

test("sleep waits, and others run meanwhile", function(t)
  local order, start = {}, task.now()
  local jobs = {}
  for i, s in ipairs { 0.03, 0.01, 0.02 } do
    jobs[i] = task.spawn(function() task.sleep(s) order[#order + 1] = i end)
  end
  for _, job in ipairs(jobs) do job:join() end
  t.eq(order, { 2, 3, 1 })
  t.ok(task.now() - start >= 0.03)
end)

test("cancel raises at the park and close variables unwind, waiting if they like", function(t)
  local log = {}
  local job = task.spawn(function()
    local guard <close> = setmetatable({}, { __close = function(_, err)
      task.sleep(0.005)
      log[#log + 1] = err.code
    end })
    task.sleep(100)
    log[#log + 1] = "not reached"
  end)
  task.sleep(0.001)
  t.eq(job:status(), "waiting")
  job:cancel("enough")
  local ok, err = job:join()
  t.eq({ ok, err.message, err.code, tostring(err) }, { false, "enough", "cancelled", "enough" })
  t.eq(log, { "cancelled" })
  t.eq(job:status(), "cancelled")
end)

test("a task cancelled before it started never runs", function(t)
  local job = task.spawn(t.expect(0))
  job:cancel()
  local _, err = job:join()
  t.eq(err.code, "cancelled")
end)

test("a cancelled task may go on after a pcall, and be cancelled again", function(t)
  local job = task.spawn(function()
    local _, err = pcall(task.sleep, 100)
    t.eq(err.code, "cancelled")
    task.sleep(100)
  end)
  task.sleep(0.001)
  job:cancel("one")
  task.sleep(0.005)
  t.eq(job:status(), "waiting")
  job:cancel("two")
  local _, err = job:join()
  t.eq(err.message, "two")
end)

test("a cancel of oneself comes at the next park", function(t)
  local job = task.spawn(function()
    task.current():cancel("me")
    local reached = true
    local ok, err = pcall(task.sleep, 1)
    return reached, ok, err.message
  end)
  t.eq({ job:join() }, { true, true, false, "me" })
end)

test("a result that came before the cancel is not lost", function(t)
  local q = task.queue()
  local got
  local job = task.spawn(function() got = q:pop() task.sleep(10) end)
  task.sleep(0.001)
  q:push("value")
  job:cancel()
  job:join()
  t.eq(got, "value")
end)

test("a joiner can be cancelled while what it waits for goes on", function(t)
  local slow = task.spawn(function() task.sleep(0.02) return "slow" end)
  local joiner = task.spawn(function() return slow:join() end)
  task.sleep(0.001)
  joiner:cancel()
  t.eq(select(2, joiner:join()).code, "cancelled")
  t.eq({ slow:join() }, { true, "slow" })
end)

test("deadline passes results, errors and timeouts", function(t)
  t.eq(table.pack(task.deadline(1, function(...) return ... end, 1, nil, 3)), { 1, nil, 3, n = 3 })
  t.fails("inner", task.deadline, 1, function() error("inner") end)
  local closed
  t.err("timeout", task.deadline(0.01, function()
    local guard <close> = setmetatable({}, { __close = function() task.sleep(0.001) closed = true end })
    task.sleep(100)
  end))
  t.ok(closed)
end)

test("the outer deadline wins over the inner one", function(t)
  local inner_done
  local value, _, code = task.deadline(0.01, function()
    task.deadline(100, task.sleep, 100)
    inner_done = true
  end)
  t.eq({ value, code, inner_done }, { nil, "timeout", nil })
  t.eq({ task.deadline(100, function() return select(3, task.deadline(0.01, task.sleep, 100)), "and on" end) },
    { "timeout", "and on" })
end)

test("a cancel goes through a deadline", function(t)
  local job = task.spawn(function() return task.deadline(100, task.sleep, 100) end)
  task.sleep(0.001)
  job:cancel("stop")
  t.eq(select(2, job:join()).message, "stop")
end)

test("a deadline that passed while the function computed is told at its next park", function(t)
  t.err("timeout", task.deadline(0.001, function()
    local stop = task.now() + 0.01
    repeat until task.now() > stop
    task.sleep(0)
    task.sleep(100)
  end))
end)

test("queues keep the order, wait, time out and close", function(t)
  local q = task.queue()
  t.err("timeout", q:pop(0.005))
  local jobs = {}
  for i = 1, 3 do jobs[i] = task.spawn(function() return i, q:pop() end) end
  task.sleep(0.001)
  for i = 1, 3 do t.ok(q:push("v" .. i)) end
  for i = 1, 3 do t.eq({ jobs[i]:join() }, { true, i, "v" .. i }) end
  q:push(false)
  q:close()
  t.eq(q:push(1), false)
  t.eq(q:pop(), false)
  t.err("closed", q:pop())
  t.fails("nil cannot be queued", q.push, q, nil)
end)

test("several pushes before anybody runs wake several poppers", function(t)
  local q, got = task.queue(), {}
  local jobs = {}
  for i = 1, 4 do jobs[i] = task.spawn(function() got[q:pop()] = true end) end
  task.sleep(0.001)
  for i = 1, 4 do q:push(i) end
  for i = 1, 4 do jobs[i]:join() end
  t.eq(got, { true, true, true, true })
end)

test("events wake all who wait", function(t)
  local e = task.event()
  t.eq(e:wait(0.002), false)
  local jobs = {}
  for i = 1, 3 do jobs[i] = task.spawn(function() return e:wait() end) end
  task.sleep(0.001)
  e:set()
  for i = 1, 3 do t.eq({ jobs[i]:join() }, { true, true }) end
  t.eq(e:wait(), true)
  e:clear()
  t.eq(e:wait(0), false)
end)

test("yield lets others go first", function(t)
  local order = {}
  local a = task.spawn(function() for _ = 1, 3 do order[#order + 1] = "a" coroutine.yield() end end)
  local b = task.spawn(function() for _ = 1, 3 do order[#order + 1] = "b" coroutine.yield() end end)
  a:join() b:join()
  t.eq(table.concat(order), "ababab")
end)

test("waiting where it is not possible is an error that says why", function(t)
  t.fails("inside of a coroutine", function() coroutine.wrap(function() task.sleep(1) end)() end)
  t.fails("cannot wait here", table.sort, { 2, 1, 3 }, function() task.sleep(1) end)
  t.fails("cannot join itself", function() task.current():join() end)
  package.preload["waits.at.load"] = nil
end)

test("many tasks", function(t)
  local n, sum = 10000, 0
  local done = task.event()
  local left = n
  for i = 1, n do
    task.spawn(function()
      task.sleep(0.001)
      sum = sum + i
      left = left - 1
      if left == 0 then done:set() end
    end)
  end
  t.ok(done:wait(20))
  t.eq(sum, n * (n + 1) // 2)
end)

test("now goes forward and time is the wall clock", function(t)
  local a = task.now()
  t.ok(task.now() >= a)
  t.ok(math.abs(task.time() - os.time()) < 2)
  t.eq(math.type(task.time()), "float")
end)

test.done()
