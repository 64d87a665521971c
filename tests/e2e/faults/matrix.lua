--- vmrun lua matrix.lua FOLDER [FAULT ...]: every kind of stdlib/azure by every fault that the emulator knows by name, on create, read,
-- update and delete. A stack has all kinds at once, each in a group of its own, and a run is one verb under one fault: so many cells.
-- A cell is right when its resource's step ended well, or failed and said where, what and why, and in both cases the next apply
-- ends right and the world holds what it has to and nothing else.
local here = arg[0]:match "^(.*)/" or "."
for _, name in ipairs { "emulator_lab", "kinds_azure_rows" } do -- modules are looked for beside the program only
  package.preload[name] = assert(loadfile(("%s/../../lua/%s.lua"):format(here, name)))
end
local fs, json, process, sqlite, task = require "fs", require "json", require "process", require "sqlite", require "task"
local faults, launch = require "emulator.faults", require "emulator.launch"
local emulator_lab, table_of = require "emulator_lab", require "rows"

local VERBS = { "create", "read", "update", "delete" }
local METHODS = { create = { "PUT" }, read = { "GET" }, update = { "PUT", "PATCH" }, delete = { "DELETE" } }
local FOLDERS, PATIENCE, DEADLINE = 2, 60, 2

-- How often a fault strikes each resource (absent: every time), and whether the client is to get over it by itself.
local STRIKES = {
  throttle = { times = 2, passes = true }, error = { times = 1, passes = true }, ["reset-before"] = { times = 1, passes = true },
  ["reset-after"] = { times = 1, passes = true }, expired = { times = 1, passes = true }, slow = { passes = true },
  -- What is not found once is looked for again; what is not found for a whole run is made again, unless it is to go.
  absent = { delete = 1, replace = 1 },
  stuck = { says = "did not end within" }, fail = {}, ["zone-outage"] = {},
}

local folder, only = arg[1], {}
for i = 2, #arg do only[arg[i]] = true end

local function has(words, word) return (" " .. words .. " "):find(" " .. word .. " ", 1, true) ~= nil end

-- Whether a fault can meet a row's requests of a verb.
local function reaches(row, fault, verb)
  local named = faults.named[fault]
  if not has(row.asks or "create read update delete", named.method == "GET" and "read" or verb) then return false end
  if not named.operation then return true end
  if verb == "read" or not has(row.operations or "create update delete", verb) then return false end
  return fault ~= "zone-outage" or row.zonal == true
end

local function rules_of(row, fault, verb)
  local named, strikes = faults.named[fault], STRIKES[fault]
  local methods = named.method and { named.method } or row.verbs and row.verbs[verb] or METHODS[verb]
  if named.operation and row.operated and row.operated[verb] then methods = row.operated[verb] end
  local where = row.at and row.at:gsub("STACK", row.name)
    or ("/resourceGroups/%s/providers/%s"):format(row.name, (row.path:gsub("STACK", row.name)))
  if named.operation and row.host then where = ("/resourceGroups/%s/providers/%s"):format(row.name, row.host) end
  local rules = {}
  for i, method in ipairs(methods) do
    local rule = { method = method or nil, path = where, of = row.kind }
    rule.times = strikes[verb == "update" and row.replaced and "replace" or verb] or strikes.times
    if fault == "zone-outage" then rule.zone = "1" end
    for key, item in pairs(named) do rule[key] = rule[key] or item end
    rules[i] = rule
  end
  return rules
end

local world = {}
world.__index = world

function world:vmrun(verb, words)
  local argv = { process.self(), verb, self.recipe, "--state-dir", self.dir }
  for _, word in ipairs(words) do argv[#argv + 1] = word end
  local result, why = process.run { argv = argv, timeout = PATIENCE, env = { NO_COLOR = "1", AZURE_SUBSCRIPTION_ID = false } }
  if not result then error(("vmrun %s: %s"):format(table.concat(argv, " ", 2), why), 0) end
  result.plan, result.said = {}, {}
  for line in result.stdout:gmatch "[^\n]+" do
    local event = json.decode(line) or {}
    if event.event == "plan" then
      for _, action in ipairs(event.actions) do result.plan[action.address] = action end
    elseif event.address and event.event ~= "started" then
      result.said[event.address] = event
    end
  end
  return result
end

--- Writes the recipe: what all stand on, and the resources under test as `change` ("fields" or "update") says; none without it.
function world:write(change, more)
  local lines, count = { 'local azure = use "azure"' }, 1
  local function add(text)
    lines[#lines + 1] = text
    count = count + 1 + select(2, text:gsub("\n", ""))
  end
  for _, row in ipairs(self.rows) do
    local over = change == "update" and row.update or ""
    local below, own = table_of.texts(row, row.name, over .. (more and (over ~= "" and ", " or "") .. more or ""))
    add(('local %s = component "%s" { inputs = {}, build = function()'):format(row.name, row.name))
    add(below)
    if change then
      add(own)
      row.line = count
    end
    add(('end } %s "a" {}'):format(row.name))
  end
  assert(fs.write(self.recipe, table.concat(lines, "\n") .. "\n"))
end

--- What the emulator holds, by row: ids, and those whose last operation did not succeed.
function world:holds()
  local list, held = assert(self.lab:ask("GET", "list")), {}
  local function of(id)
    local name = id:lower():match "/resourcegroups/(k%d+)" or ""
    held[name] = held[name] or { ids = {}, broken = {} }
    return held[name]
  end
  for _, row in ipairs(self.rows) do of("/resourcegroups/" .. row.name) end
  for _, id in ipairs(list.arm) do table.insert(of(id).ids, id:lower()) end
  for _, item in ipairs(list.resources) do
    if item.state and item.state ~= "Succeeded" then table.insert(of(item.id).broken, item.id .. " is " .. item.state) end
  end
  for _, found in pairs(held) do
    table.sort(found.ids)
    found.text = table.concat(found.ids, "\n")
  end
  return held
end

--- Operations that hang go on: the emulator is told while it does not run, and takes them up when it starts.
function world:release()
  launch.stop(self.dir .. "/emulator")
  local db = assert(sqlite.open(self.dir .. "/emulator/world.db", {}))
  for _, item in ipairs(assert(db:query "select key, value from item where tab = 'operation'")) do
    local op = json.decode(item.value)
    if op.stuck then
      op.stuck = nil
      assert(db:exec("update item set value = ? where tab = 'operation' and key = ?", json.encode(op), item.key))
    end
  end
  db:close()
  self.lab:start()
end

function world:put(rules)
  assert(self.lab:ask("PUT", "faults", json.array {}))
  for _, rule in ipairs(rules) do assert(self.lab:ask("POST", "faults", rule)) end
end

local function action_of(result, row)
  local action = result.plan[row.address]
  return action and action.action or "none"
end

--- What is to do after a run, of one row's resources.
local function left(result, row)
  local found = {}
  for address, action in pairs(result.plan) do
    if address:sub(1, #row.name + 1) == row.name .. "." and action.action ~= "none" and action.action ~= "same" then
      found[#found + 1] = ("%s %s (%s)"):format(action.action, address, action.reason or "")
    end
  end
  return #found > 0 and table.concat(found, "; ") or nil
end

function world:targets()
  local words = { "--yes", "--json" }
  for _, row in ipairs(self.rows) do
    words[#words + 1] = "--target"
    words[#words + 1] = row.address
  end
  return words
end

function world:run(verb)
  if verb == "delete" then return self:vmrun("destroy", self:targets()) end
  return self:vmrun("apply", { "--yes", "--json", "--emulator" })
end

-- The lines of what was said that name the row; what preflight notes is no failure.
local function about(result, row)
  local lines = {}
  for line in (result.stderr .. "\n"):gmatch "([^\n]*)\n" do
    if line:find(row.name .. ".a/", 1, true) and not line:find(": note: ", 1, true) then lines[#lines + 1] = line end
  end
  return table.concat(lines, "\n")
end

--- Whether a run's failure of a row is told as it has to be; nil, or what is missing.
local function unclear(self, result, row, fault)
  local said = about(result, row)
  local named, strikes = faults.named[fault], STRIKES[fault]
  if result.code ~= 1 then return "the run ended with " .. tostring(result.code or result.signal) end
  local place = ("%s:%d: %s:"):format(self.recipe:match "[^/]+$", row.line, row.address)
  if not said:find(place, 1, true) then return ("no '%s' in: %s"):format(place, said ~= "" and said or result.stderr:sub(1, 600)) end
  local why = strikes.says or named.fail and row.says or named.fail or named.code or "unreachable"
  if not said:find(why, 1, true) then return ("no '%s' in: %s"):format(why, said) end
end

--- One verb under one fault, for all rows at once. `tell(row, fault, verb, problem or nil, how)`.
function world:cell(fault, verb, tell)
  local strikes = STRIKES[fault]
  self:write((verb == "create" or verb == "read") and "fields" or "update",
    fault == "stuck" and ("timeouts = { create = %d, update = %d, delete = %d }"):format(DEADLINE, DEADLINE, DEADLINE) or nil)
  local rules = {}
  for _, row in ipairs(self.rows) do
    for _, rule in ipairs(rules_of(row, fault, verb)) do rules[#rules + 1] = rule end
  end
  self:put(rules)
  local first
  if fault == "stuck" and verb == "delete" then
    -- `destroy` knows no deadline of the recipe's and would wait for ten minutes; a replacement deletes, and knows it.
    local words = { "--yes", "--json" }
    for _, row in ipairs(self.rows) do
      if reaches(row, fault, verb) then
        words[#words + 1] = "--replace"
        words[#words + 1] = row.address
      end
    end
    first = self:vmrun("apply", words)
  else
    first = self:run(verb)
  end
  local used = {}
  for _, rule in ipairs(assert(self.lab:ask("GET", "faults")).rules) do used[rule.of] = (used[rule.of] or 0) + (rule.used or 0) end
  self:put {}
  if fault == "stuck" and verb ~= "read" then self:release() end

  local second = first.code ~= 0 and self:run(verb) or nil
  local after
  if verb == "delete" then
    -- What they stand on may be in need of the next apply, too: an operation of a child is one of its parent.
    self:write()
    after = self:run "create"
  else
    after = self:vmrun("plan", { "--json" })
  end
  local held, anew = self:holds(), {}
  for _, row in ipairs(self.rows) do
    local problems = {}
    local function wrong(text, ...) problems[#problems + 1] = text:format(...) end
    local event = first.said[row.address] or {}
    local failed = event.event == "failed" or (first.code ~= 0 and about(first, row) ~= "")
    local struck = (used[row.kind] or 0) > 0
    if struck ~= reaches(row, fault, verb) then
      wrong(struck and "the fault met it: the table says that it cannot" or "did not run: the fault met no request of it")
    end
    if verb == "create" and action_of(first, row) ~= "create" then wrong("the plan said %s, not create", action_of(first, row)) end
    if failed then
      if strikes.passes then wrong("it failed: " .. about(first, row)) end
      local missing = unclear(self, first, row, fault)
      if missing then wrong(missing) end
    elseif event.event == "skipped" then
      wrong("it was skipped")
    end
    if second and second.code ~= 0 and ((second.said[row.address] or {}).event == "failed" or about(second, row) ~= "") then
      wrong("the next run failed: " .. about(second, row))
    end
    local todo = left(after, row)
    if todo and verb ~= "delete" then wrong("afterwards there is still to do: " .. todo) end
    local want = self.wanted[verb]
    local other = want[row.name].text ~= held[row.name].text
    if other then
      wrong("there is\n%s\nand there should be\n%s", held[row.name].text, want[row.name].text)
    end
    if held[row.name].broken[1] then wrong(table.concat(held[row.name].broken, ", ")) end
    if verb ~= "delete" and (held[row.name].broken[1] or other) then
      anew[#anew + 1] = "--replace"
      anew[#anew + 1] = row.address
    end
    tell(row, fault, verb, problems[1] and table.concat(problems, "\n  ") or nil, failed and "failed" or struck and "passed" or "unmet")
  end
  if anew[1] then self:vmrun("apply", { "--yes", "--json", table.unpack(anew) }) end -- what went wrong here is no cell of the next verb
  if second and second.code ~= 0 then self:note(("%s of %s: the next run ended with %s"):format(verb, fault, second.code), second) end
  if after.code ~= 0 then self:note(("%s of %s: the plan after it ended with %s"):format(verb, fault, after.code), after) end
end

function world:note(text, result)
  self.notes[#self.notes + 1] = text .. "\n" .. (result and (result.stderr):sub(1, 3000) or "")
end

local function open(number, rows, notes)
  local dir = ("%s/state%d"):format(folder, number)
  assert(fs.mkdir(dir))
  local self = setmetatable({ dir = dir, recipe = dir .. "/matrix.lua", rows = rows, wanted = {}, notes = notes }, world)
  self.lab = emulator_lab.at(dir .. "/emulator")
  return self
end

--- Without a fault: what there has to be after each verb. Raises when a row is wrong by itself.
function world:rehearse()
  self:write()
  local made = self:run "create"
  if made.code ~= 0 then error("what the rows stand on: " .. made.stderr, 0) end
  for _, verb in ipairs(VERBS) do
    self:write((verb == "create" or verb == "read") and "fields" or "update")
    local result = self:run(verb)
    if result.code ~= 0 then error(verb .. " without a fault: " .. result.stderr, 0) end
    if verb == "update" or verb == "create" then
      for _, row in ipairs(self.rows) do
        if action_of(result, row) == "none" then error(("the %s of azure.%s changes nothing"):format(verb, row.kind), 0) end
      end
    end
    local after = verb ~= "delete" and self:vmrun("plan", { "--json" })
    if after and next(after.plan) then error(verb .. " without a fault is not the end of it: " .. after.stdout, 0) end
    self.wanted[verb] = self:holds()
  end
end

--- At the end nothing is left, whatever happened before.
function world:finish()
  self:put {}
  self:write "update"
  local result = self:vmrun("destroy", { "--yes", "--json" })
  local list = assert(self.lab:ask("GET", "list"))
  launch.reset(self.dir .. "/emulator")
  if result.code ~= 0 then return "the last destroy failed: " .. result.stderr end
  if #list.resources > 0 then
    local ids = {}
    for i, item in ipairs(list.resources) do ids[i] = item.id end
    return "the last destroy left " .. table.concat(ids, ", ")
  end
end

-- Rows against pages, strikes against faults: what is missing is a failure by itself.
local function gaps(told)
  local by_kind, missing = {}, {}
  for number, row in ipairs(table_of.rows) do
    row.name = "k" .. number
    row.address = ("%s.a/azure.%s.it"):format(row.name, row.kind)
    by_kind[row.kind] = true
  end
  for _, name in ipairs(told) do
    local kind = name:match "^azure%.(.+)$"
    if kind and not by_kind[kind] and not table_of.without[kind] then missing[#missing + 1] = "azure." .. kind .. " has no row" end
    if kind and by_kind[kind] and table_of.without[kind] then missing[#missing + 1] = name .. " has a row and a reason for none" end
    if kind then by_kind[kind] = nil end
    if kind and table_of.without[kind] then table_of.without[kind] = nil end
  end
  for kind in pairs(by_kind) do missing[#missing + 1] = "a row is of azure." .. kind .. ", which is no kind" end
  for kind in pairs(table_of.without) do missing[#missing + 1] = "azure." .. kind .. " has a reason and is no kind" end
  for fault in pairs(faults.named) do
    if not STRIKES[fault] then missing[#missing + 1] = "nothing says how the fault '" .. fault .. "' strikes" end
  end
  for fault in pairs(STRIKES) do
    if not faults.named[fault] then missing[#missing + 1] = "there is no fault '" .. fault .. "'" end
  end
  for cell in pairs(table_of.gaps) do
    local kind, fault, verb = cell:match "^([%w_]+), ([%w-]+), (%l+)$"
    if not (kind and faults.named[fault] and has(table.concat(VERBS, " "), verb)) then missing[#missing + 1] = cell .. " is no cell" end
  end
  table.sort(missing)
  return missing
end

local pages = assert(process.run { argv = { process.self(), "kinds", "--json" }, timeout = 30 })
local missing = gaps(json.decode(pages.stdout))
for _, text in ipairs(missing) do print("not ok - " .. text) end

local order = {}
for fault in pairs(faults.named) do
  if STRIKES[fault] and (not next(only) or only[fault]) then order[#order + 1] = fault end
end
table.sort(order, function(a, b) return (a == "stuck" and "" or a) < (b == "stuck" and "" or b) end)

local told, counts, notes = {}, {}, {}
for _, fault in ipairs(order) do counts[fault] = { passed = 0, failed = 0, unmet = 0, wrong = 0, gaps = 0 } end

local function cell_of(row, fault, verb) return ("%s, %s, %s"):format(row.kind, fault, verb) end

local function tell(row, fault, verb, problem, how)
  local cell = cell_of(row, fault, verb)
  local gap = table_of.gaps[cell]
  told[cell] = true
  counts[fault][how] = counts[fault][how] + 1
  if gap and problem then
    counts[fault].gaps = counts[fault].gaps + 1
    return
  end
  problem = problem or gap and "it is right by now: take it out of the gaps"
  if problem then
    counts[fault].wrong = counts[fault].wrong + 1
    print(("not ok - azure.%s\n  %s"):format(cell, problem))
  end
end

local running, failures = {}, #missing
local waiting = { table.unpack(order) }
for number = 1, FOLDERS do
  running[number] = task.spawn(function()
    local rows = {} -- each world writes the lines of its own recipe into them
    for i, row in ipairs(table_of.rows) do rows[i] = setmetatable({}, { __index = row }) end
    local self = open(number, rows, notes)
    local ended <close> = setmetatable({}, { __close = function() launch.reset(self.dir .. "/emulator") end })
    self:rehearse()
    while #waiting > 0 do
      local fault = table.remove(waiting, 1)
      for _, verb in ipairs(VERBS) do
        self:cell(fault, verb, tell)
      end
    end
    local problem = self:finish()
    if problem then error(problem, 0) end
  end)
end
for number = 1, FOLDERS do
  local ok, why = running[number]:join()
  if not ok then
    failures = failures + 1
    print("not ok - world " .. number .. ": " .. tostring(type(why) == "table" and why.message or why))
  end
end

for _, note in ipairs(notes) do print("# " .. note:gsub("\n", "\n#   ")) end

-- The cells of a fault and verb that did not run, which are all or a few.
local function absent(fault, verb)
  local kinds = {}
  for _, row in ipairs(table_of.rows) do
    if not told[cell_of(row, fault, verb)] then kinds[#kinds + 1] = "azure." .. row.kind end
  end
  if #kinds > 0 then
    print(("not ok - %s, %s did not run: %s"):format(fault, verb, #kinds == #table_of.rows and "all kinds" or table.concat(kinds, ", ")))
  end
  return #kinds
end

local right, gaps_found = 0, 0
for _, fault in ipairs(order) do
  local c = counts[fault]
  for _, verb in ipairs(VERBS) do failures = failures + absent(fault, verb) end
  local count = c.passed + c.failed + c.unmet
  right, failures, gaps_found = right + count - c.wrong - c.gaps, failures + c.wrong, gaps_found + c.gaps
  print(("%-12s %d cells: %d got over it, %d failed and were mended, %d not met by it; %d known gaps, %d wrong"):format(fault, count,
    c.passed, c.failed, c.unmet, c.gaps, c.wrong))
end
print(("cells: %d right, %d wrong, %d known gaps"):format(right, failures, gaps_found))
os.exit(failures == 0 and 0 or 1)
