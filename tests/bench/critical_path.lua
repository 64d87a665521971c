-- The longest chain of a run's report, each step costing what it took: seconds.
local fs, json = require "fs", require "json"

local report = json.decode(assert(fs.read(arg[1])))
local steps, longest = {}, {}
for _, event in ipairs(report.events) do
  local step = steps[event.address] or { seconds = 0, needs = {} }
  step.seconds = step.seconds + event.seconds
  for _, need in ipairs(event.needs) do step.needs[#step.needs + 1] = need end
  steps[event.address] = step
end

local function path(address)
  if longest[address] then return longest[address] end
  longest[address] = 0
  local before = 0
  for _, need in ipairs(steps[address].needs) do
    if steps[need] then before = math.max(before, path(need)) end
  end
  longest[address] = before + steps[address].seconds
  return longest[address]
end

local most = 0
for address in pairs(steps) do most = math.max(most, path(address)) end
print(("%.3f"):format(most))
