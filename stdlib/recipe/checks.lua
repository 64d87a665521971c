--- The tests of `check` blocks: functions of the recipe, called with plain values when these are known.
local json = require "json"

local M = {}

local STEPS = 50000000 -- of Lua's machine: about a second

M.tests = {} -- address of the declaration -> function

--- Calls a test with its values. True; or false and what the test said; raises what went wrong in the test itself.
function M.run(address, values)
  local test, plain = M.tests[address], {}
  for i, item in ipairs(values) do
    if item ~= json.null then plain[i] = item end
  end
  local thread = coroutine.create(test)
  debug.sethook(thread, function() error("it is still running: an endless loop?", 0) end, "", STEPS)
  local ok, holds, text = coroutine.resume(thread, table.unpack(plain, 1, #values))
  if not ok then error(type(holds) == "table" and holds.message or tostring(holds), 0) end
  if coroutine.status(thread) ~= "dead" then error("a test cannot wait", 0) end
  return holds and true or false, text
end

return M
