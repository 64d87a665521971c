--- all, any and serial: where things meet though some of them fail.
local test = require "tap"
local fs = require "fs"
local process = require "process"

local RECIPE = [[
local here = use("local")
local p = params { fail = param.string { default = "" }, max_fail = param.integer { default = 1 }, slow = param.string { default = "" } }
local function step(name, after)
  return here.command(name) { after = after, command = 'echo ' .. name .. ' >>log; case " ' .. p.fail .. ' " in *" ' .. name ..
    ' "*) exit 1;; esac; case " ' .. p.slow .. ' " in *" ' .. name .. ' "*) sleep 0.5;; esac; echo ' .. name .. '. >>log' }
end
local done = serial({ "a", "b", "c", "d", "e", "f" }, { at_once = WIDTH, max_fail = p.max_fail }, step)
step("most", all { done[1], done[2], done[3], done[4], done[5], done[6], max_fail = 2 })
step("every", all(done))
step("first", any(done))
]]

-- A collection whose members are lines of a file.
local SET = [[
local field, kind, fs = require "field", require "kind", require "fs"
local function members()
  local list = {}
  for id in (fs.read("members") or ""):gmatch("%S+") do list[#list + 1] = { id = id } end
  return list
end
local function found(ctx) return { fields = ctx.fields, outputs = { members = members() } } end
return kind "pool.set" {
  fields = { count = field.integer { required = true } }, outputs = {},
  collection = { output = "members", count = "count", item = { id = field.string {} } },
  read = function(ctx) return ctx.prior and found(ctx) end,
  create = found, update = found, delete = function() fs.remove("members") end,
  add = function(_, n)
    local text, fresh = fs.read("members") or "", {}
    for i = #members() + 1, #members() + n do
      fresh[#fresh + 1] = { id = "m" .. i }
      text = text .. "m" .. i .. "\n"
    end
    fs.write("members", text)
    return fresh
  end,
  remove = function(_, id) fs.write("members", (fs.read("members"):gsub(id .. "\n", ""))) end,
}
]]

-- Where there is a FIFO `met`, m1 ends its turn when m2 has come to it, and the other way round. Who must wait is given the time
-- to come too early.
local MEMBERS = [[
local here, pool = use("local", "pool")
local p = params { count = param.integer { default = 5 }, fail = param.string { default = "" }, word = param.string { default = "" } }
local set = pool.set "s" { count = p.count }
local done = serial(set.members, { at_once = WIDTH, max_fail = 1 }, function(item, before)
  return here.command "step" { after = before, triggers = { word = p.word }, command = "echo " .. item.id .. " >>log; case ' " .. p.fail ..
    " ' in *' " .. item.id .. " '*) exit 1;; esac; [ ! -p met ] || case " .. item.id .. " in m1) timeout 10 cat met;; " ..
    "m2) timeout 10 sh -c ': >met';; esac || exit 1; sleep 0.1; echo " .. item.id .. ". >>log" }
end)
here.command "end" { after = done, command = "echo all. >>log" }
]]

-- Where there is a FIFO `met`, m1 ends when `first` has come to it.
local GATHERED = [[
local here, pool = use("local", "pool")
local p = params { count = param.integer { default = 4 }, fail = param.string { default = "" }, word = param.string { default = "" } }
local function step(name, after, more)
  return here.command(name) { after = after, triggers = { word = p.word }, command = "echo " .. name .. " >>log; " .. (more or "true") .. " || exit 1; echo " ..
    name .. ". >>log" }
end
local set = pool.set "s" { count = p.count }
local done = each(set.members, function(item)
  return here.command "step" { triggers = { word = p.word }, command = "echo " .. item.id .. " >>log; case ' " .. p.fail .. " ' in *' " ..
    item.id .. " '*) exit 1;; esac; [ " .. item.id .. " != m1 ] || [ ! -p met ] || timeout 10 cat met || exit 1; echo " .. item.id .. ". >>log" }
end)
step("every", all(done))
step("most", all { done, done[1], max_fail = 2 })
step("first", any(done), "[ ! -p met ] || timeout 10 sh -c ': >met'")
step("two", all { done[1], done[2] })
each(set.members, function(item) here.command "more" { after = all { done, max_fail = 2 }, triggers = { word = p.word }, command =
  "echo more" .. item.id .. ". >>log" } end)
]]

local function project(t, width, recipe)
  local dir = t.tmp()
  fs.write(dir .. "/r.lua", ((recipe or RECIPE):gsub("WIDTH", function() return width end)))
  fs.mkdir(dir .. "/pool")
  fs.write(dir .. "/pool/set.lua", SET)
  local self = { dir = dir }
  -- Whether the first two members shall meet.
  function self.meet(whether)
    if whether then t.eq(process.run({ argv = { "mkfifo", dir .. "/met" } }).code, 0) else fs.remove(dir .. "/met") end
  end
  function self.run(code, ...)
    fs.remove(dir .. "/log")
    local result = assert(process.run { argv = { process.self(), ... }, cwd = dir, timeout = 25 })
    t.eq(result.code, code, result.stdout .. result.stderr)
    local order, began, ended = {}, {}, {}
    for word in (fs.read(dir .. "/log") or ""):gmatch("%S+") do
      order[#order + 1] = word
      local name = word:match("^(%w+)%.$")
      if name then ended[name] = #order else began[word] = #order end
    end
    return result.stdout .. result.stderr, began, ended
  end
  return self
end

test("serial goes two at a time, and a second apply has nothing to do", function(t)
  local p = project(t, 2)
  local plan = p.run(0, "plan", "r.lua")
  t.has(plan, "check.join.serial-1: read during apply")
  local _, began, ended = p.run(0, "apply", "r.lua", "--yes")
  for name, before in pairs { c = "a", d = "b", e = "c", f = "d", every = "f", most = "e" } do
    t.ok(began[name] > ended[before], name .. " after " .. before)
  end
  t.has(p.run(0, "plan", "r.lua", "--detailed-exitcode"), "No changes.")
end)

test("a failure is carried up to max_fail, and no further", function(t)
  local p = project(t, 2)
  local out, began = p.run(1, "apply", "r.lua", "fail=a", "--yes")
  t.ok(began.f and began.most and began.first and not began.every)
  t.has(out, "local.command.every: not done: local.command.a failed")
  t.has(out, "1 failed, 2 not done because of that")
  -- The next run makes up for it.
  local _, again = p.run(0, "apply", "r.lua", "fail=nobody", "--yes")
  t.ok(again.a and again.every)

  p = project(t, "'50%'")
  out, began = p.run(1, "apply", "r.lua", "fail=a b", "slow=c", "--yes")
  -- Whose failure is told first is let go on.
  t.ok(began.c and not (began.d and began.e) and not began.f and not began.most, "two have failed and one may")
  out, began = p.run(1, "apply", "r.lua", "fail=a b", "slow=c", "max_fail=2", "--yes")
  t.ok(began.f and began.most and not began.every)
  t.ok(not out:find("most: not done", 1, true))
end)

test("the failures of one rolling change are counted together", function(t)
  local p = project(t, 1)
  local out, began = p.run(1, "apply", "r.lua", "fail=a c", "--yes")
  t.ok(began.c and not began.d)
  t.has(out, "check.join.serial-3: not done: local.command.c failed")
end)

test("any waits for the first that comes to be", function(t)
  local p = project(t, 6)
  local _, began, ended = p.run(1, "apply", "r.lua", "fail=a b d e f", "max_fail=6", "slow=c", "--yes")
  t.ok(began.first > ended.c)
  _, began = p.run(1, "apply", "r.lua", "fail=a b c d e f", "max_fail=6", "--yes")
  t.eq(began.first, nil)
end)

test("members that the world decides about take turns as well, also those that come later", function(t)
  local p = project(t, 2, MEMBERS)
  p.meet(true)
  local _, began, ended = p.run(0, "apply", "r.lua", "--yes")
  for name, before in pairs { m3 = "m1", m4 = "m2", m5 = "m3" } do t.ok(began[name] > ended[before], name .. " after " .. before) end
  t.ok(began.m2 < ended.m1 and began.m1 < ended.m2, "two at once")
  p.meet(false)
  t.has(p.run(0, "plan", "r.lua", "--detailed-exitcode"), "No changes.")
  _, began, ended = p.run(0, "apply", "r.lua", "word=other", "count=7", "--yes")
  for name, before in pairs { m3 = "m1", m4 = "m2", m5 = "m3", m6 = "m4", m7 = "m5" } do
    t.ok(began[name] > ended[before], name .. " after " .. before)
  end
  -- Those in between went: who is left stands in a line of its own.
  p.run(0, "apply", "r.lua", "word=other", "count=3", "--yes")
  p.meet(true)
  _, began, ended = p.run(0, "apply", "r.lua", "word=third", "count=3", "--yes")
  t.ok(began.m3 > ended.m1 and began.m2 < ended.m1 and not began.m4)

  p = project(t, "'40%'", MEMBERS)
  p.meet(true)
  _, began, ended = p.run(0, "apply", "r.lua", "--yes")
  t.ok(began.m3 > ended.m1 and began.m2 < ended.m1, "40 % of five are two")
end)

test("failures of members are counted together", function(t)
  local p = project(t, 1, MEMBERS)
  local out, began = p.run(1, "apply", "r.lua", "fail=m1", "--yes")
  t.ok(began.m2 and began.m5)
  t.has(out, "local.command.end: not done")
  p = project(t, 1, MEMBERS)
  out, began = p.run(1, "apply", "r.lua", "fail=m1 m3", "--yes")
  t.ok(began.m3 and not began.m4 and not began.m5)
  t.has(out, "2 failed, 3 not done")
end)

test("all and any take what each gives back, and count its members", function(t)
  local p = project(t, 1, GATHERED)
  p.meet(true)
  local _, began, ended = p.run(0, "apply", "r.lua", "--yes")
  t.ok(began.first < ended.m1, "any goes on while m1 has not ended")
  for _, name in ipairs { "m1", "m2", "m3", "m4" } do
    t.ok(began.every > ended[name] and began.most > ended[name], "all wait for " .. name)
  end
  t.ok(began.two > ended.m1 and began.two > ended.m2)
  p.meet(false)
  t.has(p.run(0, "plan", "r.lua", "--detailed-exitcode"), "No changes.")

  local out
  out, began = p.run(1, "apply", "r.lua", "word=a", "fail=m1", "--yes")
  t.ok(not began.every and began.most and began.first and not began.two, out)
  t.has(out, "local.command.every: not done: pool.set.s.members[m1]/local.command.step failed")
  out, began, ended = p.run(1, "apply", "r.lua", "word=b", "fail=m1 m4", "--yes")
  t.ok(not began.every and began.most and began.first, out)
  t.has(out, "2 failed, 4 not done")
  t.ok(ended.morem1 and ended.morem4, "each member counts for itself what it waits for")
  out, began = p.run(1, "apply", "r.lua", "word=c", "fail=m1 m2 m4", "--yes")
  t.ok(not began.most and began.first, out)
  t.has(out, "local.command.most: not done: pool.set.s.members[")
  out, began = p.run(1, "apply", "r.lua", "word=d", "fail=m1 m2 m3 m4", "--yes")
  t.ok(not began.most and not began.first, out)
  t.has(out, "local.command.first: not done: pool.set.s.members[")
  -- What has come since counts too; and nobody to wait for is no failure.
  _, began, ended = p.run(0, "apply", "r.lua", "word=e", "fail=nobody", "count=6", "--yes")
  t.ok(began.every > ended.m6)
  p = project(t, 1, [[
    local here, pool = use("local", "pool")
    local done = each(pool.set "s" { count = 0 }.members, function(item) return here.command "step" { command = item.id } end)
    here.command "every" { after = all(done), command = "echo every >>log" }
    here.command "first" { after = any(done), command = "echo first >>log" }
  ]])
  _, began = p.run(0, "apply", "r.lua", "--yes")
  t.ok(began.every and began.first)
end)

test("all and any take lists of items that the recipe knows", function(t)
  local p = project(t, 1, [[
    local here = use("local")
    local p = params { fail = param.string { default = "" } }
    local function step(name, after)
      return here.command(name) { after = after, command = "echo " .. name .. " >>log; case ' " .. p.fail .. " ' in *' " .. name ..
        " '*) exit 1;; esac; echo " .. name .. ". >>log" }
    end
    local three = each({ "a", "b", "c" }, function(name) return step(name) end)
    step("every", all(each({ "d" }, function(name) return step(name, all(three)) end)))
    step("most", all { three, step "e", max_fail = 1 })
    step("first", any { three })
  ]])
  local _, began, ended = p.run(0, "apply", "r.lua", "--yes")
  t.ok(began.d > ended.c and began.every > ended.d and began.most > ended.e)
  _, began = p.run(1, "apply", "r.lua", "fail=a e", "--yes")
  t.ok(began.first and not began.most and not began.every)
end)

-- Waits until nobody else of the run is at work.
local LAST = [[
local field, fs, kind, task = require "field", require "fs", require "kind", require "task"
return kind "pool.last" {
  fields = { name = field.string { required = true } }, outputs = {}, timeouts = { create = 8 },
  read = function() return nil end,
  create = function(ctx)
    while not ctx:waits(true) do task.sleep(0.02) end
    ctx:waits(false)
    fs.write("log", (fs.read("log") or "") .. ctx.fields.name .. ".\n")
    return {}
  end,
  delete = function() end,
}
]]

test("who waits for what others do learns when nobody does anything", function(t)
  local p = project(t, 1, [[
    local here, pool = use("local", "pool")
    local p = params { fail = param.string { default = "" } }
    for _, name in ipairs { "x", "y" } do pool.last(name) { name = name } end
    local a = here.command "a" { command = "sleep 0.3; echo a. >>log; case '" .. p.fail .. "' in a) exit 1;; esac" }
    here.command "b" { after = a, command = "sleep 0.3; echo b. >>log" }
  ]])
  fs.write(p.dir .. "/pool/last.lua", LAST)
  local _, _, ended = p.run(1, "apply", "r.lua", "fail=a", "--yes")
  t.ok(not ended.b and ended.x > ended.a and ended.y > ended.a, "both, after what failed")
  _, _, ended = p.run(0, "apply", "r.lua", "--state-dir", "other", "--yes")
  t.ok(ended.x > ended.b and ended.y > ended.b, "between two steps nobody is the last")
  for state, limit in pairs { all = "1", each = "pool.last=1" } do
    _, _, ended = p.run(0, "apply", "r.lua", "--state-dir", state, "--parallel", limit, "--yes")
    t.ok(ended.x > ended.b and ended.y > ended.b, "who waits keeps nobody from it: " .. limit)
  end
end)

test("what is wrong with them is said with its place", function(t)
  local dir = t.tmp()
  local function wrong(text, line)
    fs.write(dir .. "/w.lua", 'local here = use("local")\nlocal a = here.command "a" { command = "true" }\n' .. line .. "\n")
    local result = assert(process.run { argv = { process.self(), "check", "w.lua" }, cwd = dir, timeout = 25 })
    t.eq(result.code, 1)
    t.has(result.stdout .. result.stderr, "w.lua:3: " .. text)
  end
  wrong("all wants at least one resource", "local x = all {}")
  wrong("all waits for resources, and this each() gives none back",
    'local s = use("azure").virtual_machine_scale_set "s" { capacity = 1 } local x = all(each(s.instances, function() end))')
  wrong("any wants a list of resources: any { a, b }", "local x = any(a)")
  wrong("any has no part 'max_fail'", "local x = any { a, max_fail = 1 }")
  wrong("'max_fail' of all wants a whole number of at least 0", "local x = all { a, max_fail = -1 }")
  wrong("serial has no option 'max_fial'; did you mean 'max_fail'?", "serial({ 1 }, { max_fial = 1 }, function() return a end)")
  wrong("'at_once' of serial wants a number or a share", "serial({ 1 }, { at_once = 'two' }, function() return a end)")
  wrong("the function of serial must return the resource", "serial({ 1 }, {}, function() end)")
  wrong("the function of serial must return the resource that ends a member's turn",
    'local s = use("azure").virtual_machine_scale_set "s" { capacity = 1 } serial(s.instances, {}, function() return a end)')
  wrong("check.join \"all-1\": 'after' wants resources or their outputs, got the number 3", "local x = all { 3 }")
end)

test.done()
