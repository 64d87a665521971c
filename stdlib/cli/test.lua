--- `vmrun test`: recipes tested with mocked outputs or on the emulator, in parallel. A file NAME_test.lua holds cases:
--
--     case "two workers more" {
--       recipe = "../cluster.lua", params = { workers = 2 },       -- target = "emulator": not mocked
--       mock = { ["azure.public_ip_address.api"] = { ip = "203.0.113.9" } },
--       run = function(t)
--         t:equal(t:apply().summary.added, 65)
--         local plan = t:plan { workers = 4 }
--         t:equal(plan.summary.destroy, 0)
--         t:ok(plan.actions["azure.virtual_machine_scale_set.worker"])
--       end,
--     }
--
-- Each case has a state folder of its own. `t:check`, `t:plan`, `t:apply` and `t:destroy` run the recipe with the case's parameters and
-- those given, and give `{code, errors, actions by address, summary, outputs, notes}`; where an exit code of 1 is right, say so first:
-- `t:fails("pattern")` takes the next command's failure, and its text must match.
local fail, fs, json, process, task = require "fail", require "fs", require "json", require "process", require "task"
local sandbox = require "recipe.sandbox"

local M = {}

local SECONDS = 600 -- one command of a case

local CASE = { recipe = true, params = true, mock = true, target = true, run = true }

local function show(item)
  if type(item) == "string" then return ("%q"):format(item) end
  if type(item) ~= "table" then return tostring(item) end
  return json.encode(item) or tostring(item)
end

local function same(a, b) return a == b or (type(a) == "table" and type(b) == "table" and json.encode(a) == json.encode(b)) end

-- What a command said with --json.
local function read_events(text)
  local told = { actions = {}, notes = {}, outputs = {} }
  for line in text:gmatch("[^\n]+") do
    local event = json.decode(line)
    local name = type(event) == "table" and event.event
    if name == "plan" then
      told.plan_summary = event.summary
      for _, action in ipairs(event.actions) do
        action.after = {}
        for _, change in ipairs(action.changes or {}) do action.after[change.path] = change.after end
        told.actions[action.address] = action
      end
    elseif name == "summary" then
      told.summary = event
    elseif name == "outputs" then
      told.outputs = event.outputs
    elseif name == "note" then
      told.notes[event.address] = event.text
    end
  end
  told.summary = told.summary or told.plan_summary
  return told
end

local Case = {}
Case.__index = Case

local function arguments(verb, case, params)
  local all, argv = {}, { process.self(), verb, case.recipe, "--state-dir", case.folder .. "/state", "--json", "--no-color" }
  for key, item in pairs(case.given.params or {}) do all[key] = item end
  for key, item in pairs(params or {}) do all[key] = item end
  for key, item in pairs(all) do
    argv[#argv + 1] = ("%s=%s"):format(key, type(item) == "table" and table.concat(item, ",") or tostring(item))
  end
  if case.given.target == "emulator" and verb ~= "check" then argv[#argv + 1] = "--emulator" end
  if verb == "apply" or verb == "destroy" then argv[#argv + 1] = "--yes" end
  return argv
end

local function command(verb)
  return function(case, params)
    local env = { VMRUN_MOCK = case.given.target ~= "emulator" and case.folder .. "/mock.json" or false, AZURE_SUBSCRIPTION_ID = false }
    local done, message = process.run { argv = arguments(verb, case, params), env = env, stdin = "", timeout = SECONDS, cwd = case.cwd }
    if not done then error(message, 2) end
    local told = read_events(done.stdout)
    told.code, told.errors = done.code, done.stderr
    local wanted = case.wanted
    case.wanted = nil
    if wanted then
      if done.code == 0 then error(("%s went well, and was to fail with %s"):format(verb, show(wanted)), 2) end
      if not done.stderr:find(wanted) then error(("%s failed with:\n%swhich has no %s"):format(verb, done.stderr, show(wanted)), 2) end
    elseif done.code ~= 0 then
      error(("%s failed:\n%s"):format(verb, done.stderr), 2)
    end
    return told
  end
end

for _, verb in ipairs { "check", "plan", "apply", "destroy" } do Case[verb] = command(verb) end

function Case:fails(pattern)
  self.wanted = pattern
  return self
end

function Case:ok(item, what)
  if not item then error(what or ("expected a true value, got " .. show(item)), 2) end
  return item
end

function Case:equal(is, wanted, what)
  if not same(is, wanted) then error(("%s%s is not %s"):format(what and what .. ": " or "", show(is), show(wanted)), 2) end
end

function Case:matches(text, pattern)
  if type(text) ~= "string" or not text:find(pattern) then error(("%s does not match %s"):format(show(text), show(pattern)), 2) end
end

-- The cases of a file.
local function read_cases(path)
  local cases, words = {}, sandbox.base()
  words.error = error
  function words.case(name)
    return function(given)
      for key in pairs(given) do
        if not CASE[key] then error(("a case has no part '%s'"):format(tostring(key)), 2) end
      end
      if type(given.recipe) ~= "string" or type(given.run) ~= "function" then error(("case %q needs recipe and run"):format(name), 2) end
      cases[#cases + 1] = { name = name, given = given, file = path }
    end
  end
  local chunk, message = load(fail.check(fs.read(path)), "@" .. path, "t", setmetatable({}, { __index = function(_, key)
    if words[key] == nil then error(("unknown name '%s'"):format(tostring(key)), 2) end
    return words[key]
  end }))
  if not chunk then error(fail { message, code = "test" }) end
  local ok, err = pcall(chunk)
  if not ok then error(fail { tostring(type(err) == "table" and err.message or err), code = "test" }) end
  return cases
end

local function find_files(path, found)
  local stat = fs.stat(path, { follow = true })
  if not stat then error(fail { "there is no " .. path, code = "test" }) end
  if stat.type ~= "directory" then
    found[#found + 1] = path
    return found
  end
  for _, name in ipairs(fail.check(fs.list(path))) do
    local full = path .. "/" .. name
    if name:find("_test%.lua$") then
      found[#found + 1] = full
    elseif not name:find("^%.") and fs.stat(full).type == "directory" then
      find_files(full, found)
    end
  end
  return found
end

local function run_case(case)
  local began = task.now()
  case.folder = fs.mktemp("vmrun-case-")
  local beside = case.file:match("^(.*)/[^/]*$") or "."
  local path = case.given.recipe:find("^/") and case.given.recipe or beside .. "/" .. case.given.recipe
  case.recipe = fs.realpath(path) or path
  case.cwd = case.folder
  fail.check(fs.write(case.folder .. "/mock.json", json.encode { outputs = case.given.mock or {} }))
  local ok, err = pcall(case.given.run, setmetatable(case, Case))
  if case.given.target == "emulator" then
    process.run { argv = { process.self(), "emulator", "stop", "--state-dir", case.folder .. "/state" }, timeout = 30 }
  end
  fs.remove(case.folder, { recursive = true })
  case.seconds = task.now() - began
  if not ok then case.failure = tostring(type(err) == "table" and err.message or err) end
end

local function escape(text)
  return (text:gsub("[&<>\"]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }):gsub("[%z\1-\8\11\12\14-\31]", "?"))
end

local function junit(files, failed, seconds)
  local lines = { '<?xml version="1.0" encoding="UTF-8"?>' }
  local count = 0
  for _, file in ipairs(files) do count = count + #file.cases end
  lines[2] = ('<testsuites tests="%d" failures="%d" time="%.3f">'):format(count, failed, seconds)
  for _, file in ipairs(files) do
    local wrong, took = 0, 0
    for _, case in ipairs(file.cases) do wrong, took = wrong + (case.failure and 1 or 0), took + case.seconds end
    lines[#lines + 1] = ('  <testsuite name="%s" tests="%d" failures="%d" time="%.3f">'):format(escape(file.path), #file.cases, wrong, took)
    for _, case in ipairs(file.cases) do
      local head = ('    <testcase classname="%s" name="%s" time="%.3f"'):format(escape(file.path), escape(case.name), case.seconds)
      if case.failure then
        lines[#lines + 1] = head .. ">"
        lines[#lines + 1] = ('      <failure message="%s">%s</failure>'):format(escape(case.failure:match("^[^\n]*")), escape(case.failure))
        lines[#lines + 1] = "    </testcase>"
      else
        lines[#lines + 1] = head .. "/>"
      end
    end
    lines[#lines + 1] = "  </testsuite>"
  end
  lines[#lines + 1] = "</testsuites>\n"
  return table.concat(lines, "\n")
end

--- `call.args`: words (folders and files), parallel, out (the JUnit file).
function M.run(call)
  local began, files, queue, all = task.now(), {}, task.queue(), {}
  for _, path in ipairs(call.paths) do
    for _, found in ipairs(find_files(path, {})) do files[#files + 1] = { path = found, cases = read_cases(found) } end
  end
  for _, file in ipairs(files) do
    for _, case in ipairs(file.cases) do
      all[#all + 1] = case
      queue:push(case)
    end
  end
  queue:close()
  if not all[1] then error(fail { "there are no cases", code = "test", hint = "a test is a file NAME_test.lua with case \"...\" { ... }" }) end
  local workers = {}
  for i = 1, math.min(call.parallel, #all) do
    workers[i] = task.spawn(function()
      for case in function() return queue:pop() end do
        run_case(case)
        io.stdout:write(("%s - %s: %s (%.1f s)\n"):format(case.failure and "not ok" or "ok", case.file, case.name, case.seconds))
        if case.failure then io.stdout:write("    " .. case.failure:gsub("\n", "\n    ") .. "\n") end
      end
    end)
  end
  for _, worker in ipairs(workers) do
    local ok, err = worker:join()
    if not ok then error(err) end
  end
  local failed = 0
  for _, case in ipairs(all) do failed = failed + (case.failure and 1 or 0) end
  if call.junit then fail.check(fs.write(call.junit, junit(files, failed, task.now() - began), { mode = 420 })) end -- 0644
  return { text = ("%d passed, %d failed, 0 skipped"):format(#all - failed, failed), code = failed > 0 and 1 or 0 }
end

return M
