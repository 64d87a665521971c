-- One row a kind of stdlib/azure: it is made, planned again without a change, changed in place, replaced, changed behind our back and
-- mended, and destroyed. The rows are those of kinds_azure_rows.lua.
local test = require "tap"
local emulator_lab, rows = require "emulator_lab", require "kinds_azure_rows"
local fs, json, process = require "fs", require "json", require "process"

test.timeout = 60

local dir = assert(fs.mktemp("vmrun-kinds-"))
local lab

local stack = {}
stack.__index = stack

local function vmrun(verb, recipe, words)
  local argv = { process.self(), verb, recipe, "--state-dir", dir, "--emulator" }
  for _, word in ipairs(words or {}) do argv[#argv + 1] = word end
  return assert(process.run { argv = argv, timeout = 30, env = { NO_COLOR = "1", AZURE_SUBSCRIPTION_ID = false } })
end

function stack:write(over)
  local stands_on, own = rows.texts(self.row, self.name, over)
  assert(fs.write(self.recipe, ('local azure = use "azure"\n%s\n%s\n'):format(stands_on, own)))
end

--- What a plan would do with the resource: "none", "create", "update", "replace"; and whether it would do anything else.
function stack:plan()
  local result = vmrun("plan", self.recipe, { "--json" })
  if result.code ~= 0 then error("plan: " .. result.stdout .. result.stderr, 0) end
  local own, others = "none", {}
  for _, action in ipairs(json.decode(result.stdout).actions) do
    local quiet = action.action == "none" or action.action == "same"
    if action.address == "azure." .. self.row.kind .. ".it" then
      own = quiet and "none" or action.action
      self.changes = action.changes
    elseif not quiet then
      others[#others + 1] = action.address .. " " .. action.action
    end
  end
  return own, others
end

function stack:run(verb, words)
  local result = vmrun(verb, self.recipe, { "--yes", table.unpack(words or {}) })
  if result.code ~= 0 then error(verb .. ": " .. result.stdout .. result.stderr, 0) end
end

function stack:get()
  local answer = lab:call("GET", self.id, nil, { api = self.row.api })
  return answer.status == 200 and answer.json or nil
end

--- Only the resource goes; what it needs stays.
function stack:destroy()
  self:run("destroy", { "--target", "azure." .. self.row.kind .. ".it" })
end

local function client()
  local e = lab.endpoint
  return require("azure.arm").open { kind = "emulator", subscription = e.subscription, tenant = e.tenant,
    emulator_dir = dir .. "/emulator" }
end

local function open(row, number)
  local self = setmetatable({ row = row, name = "k" .. number }, stack)
  self.recipe = ("%s/%s.lua"):format(dir, self.name)
  self.id = ("/subscriptions/%s/resourceGroups/STACK/providers/%s"):format(lab.endpoint.subscription, row.path):gsub("STACK", self.name)
  self:write()
  return self
end

lab = emulator_lab.at(dir .. "/emulator")

local function story(t, row, number)
  local s = open(row, number)
  t.eq(s:plan(), "create")
  s:run "apply"
  t.ok(s:get(), "it was made at " .. s.id)
  local own, others = s:plan()
  t.eq({ own, others }, { "none", {} }, "the plan after it was made")

  s:write(row.update)
  t.eq(s:plan(), "update")
  s:run "apply"
  t.eq(s:plan(), "none", "the plan after the update")
  local found = s:get()
  local wanted, got = row.shows(found.properties, found)
  t.eq(got, wanted, "what the update left")

  for _, over in ipairs(row.replace) do
    s:write(over)
    t.eq(s:plan(), "replace", over)
  end
  s:write(row.replace[1])
  s:run "apply"
  t.eq(s:plan(), "none", "the plan after it was replaced")

  s:destroy()
  s:write()
  s:run "apply"
  local body = s:get()
  if row.by_vault then
    row.drift(client(), body)
  else
    row.drift(body)
    lab:put(s.id, body, { api = row.api })
  end
  t.eq(s:plan(), "update", "the plan after somebody else changed it")
  s:run "apply"
  t.eq(s:plan(), "none", "the plan after that was mended")

  s:destroy()
  t.eq(s:get(), nil, "it is gone")
  s:run "destroy"
  t.eq(lab:call("GET", "~~/resourceGroups/" .. s.name).status, 404)
end

for number, row in ipairs(rows.rows) do
  test("azure." .. row.kind .. " is made, changed, replaced, mended and destroyed", function(t) story(t, row, number) end)
end

require("emulator.launch").reset(dir .. "/emulator")
fs.remove(dir, { recursive = true })
test.done()
