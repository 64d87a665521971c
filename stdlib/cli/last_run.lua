--- What the last run did and when: the report that apply leaves beside the state.
local fs, json = require "fs", require "json"

local M = {}

--- `{events = {{address, verb, start, seconds, ok, needs}, ...} in the order of their starts, length = seconds}`; nil without a run.
function M.read(session)
  local text = fs.read(session.folder .. "/report.json")
  local report = text and json.decode(text)
  if type(report) ~= "table" then return nil end
  local events, length = report.events or {}, 0
  table.sort(events, function(a, b)
    if a.start ~= b.start then return a.start < b.start end
    return a.address < b.address
  end)
  for _, event in ipairs(events) do length = math.max(length, event.start + event.seconds) end
  report.events, report.length = events, length
  return report
end

--- The longest chain of steps that needed each other: ends with the event that ended last, and goes back by what it needed.
-- @return the events in it as a set, and what they took together, in seconds
function M.critical(events)
  local by_address, last = {}, nil
  for _, event in ipairs(events) do
    by_address[event.address] = by_address[event.address] or {}
    table.insert(by_address[event.address], event)
    if not last or event.start + event.seconds > last.start + last.seconds then last = event end
  end
  local chain, total = {}, 0
  while last and not chain[last] do
    chain[last] = true
    total = total + last.seconds
    local before
    for _, needed in ipairs(last.needs or {}) do
      for _, event in ipairs(by_address[needed] or {}) do
        if not chain[event] and (not before or event.start + event.seconds > before.start + before.seconds) then before = event end
      end
    end
    last = before
  end
  return chain, total
end

return M
