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

local function project(t, width)
  local dir = t.tmp()
  fs.write(dir .. "/r.lua", (RECIPE:gsub("WIDTH", function() return width end)))
  local self = {}
  function self.run(code, ...)
    fs.remove(dir .. "/log")
    local result = assert(process.run { argv = { process.self(), ... }, cwd = dir, timeout = 25 })
    t.eq(result.code, code, result.stdout .. result.stderr)
    local order, began, ended = {}, {}, {}
    for word in (fs.read(dir .. "/log") or ""):gmatch("%S+") do
      order[#order + 1] = word
      local name = word:match("^(%a+)%.$")
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
  t.ok(began.c and not began.e and not began.f and not began.most, "two have failed and one may")
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

test("what is wrong with them is said with its place", function(t)
  local dir = t.tmp()
  local function wrong(text, line)
    fs.write(dir .. "/w.lua", 'local here = use("local")\nlocal a = here.command "a" { command = "true" }\n' .. line .. "\n")
    local result = assert(process.run { argv = { process.self(), "check", "w.lua" }, cwd = dir, timeout = 25 })
    t.eq(result.code, 1)
    t.has(result.stdout .. result.stderr, "w.lua:3: " .. text)
  end
  wrong("all wants at least one resource", "local x = all {}")
  wrong("any has no part 'max_fail'", "local x = any { a, max_fail = 1 }")
  wrong("'max_fail' of all wants a whole number of at least 0", "local x = all { a, max_fail = -1 }")
  wrong("serial has no option 'max_fial'; did you mean 'max_fail'?", "serial({ 1 }, { max_fial = 1 }, function() return a end)")
  wrong("'at_once' of serial wants a number or a share", "serial({ 1 }, { at_once = 'two' }, function() return a end)")
  wrong("the function of serial must return the resource", "serial({ 1 }, {}, function() end)")
  wrong("check.join \"all-1\": 'after' wants resources or their outputs, got the number 3", "local x = all { 3 }")
end)

test.done()
