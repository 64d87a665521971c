--- One at a time: what several tasks want made is made by the first, while the others wait.
local task = require "task"

local busy = {} -- key -> event, set when the one that is inside has left

--- Calls fn(...) when nobody else is inside of the same key, and returns what it returns. fn looks first whether there is
-- anything left to do.
return function(key, fn, ...)
  while busy[key] do busy[key]:wait() end
  local left = task.event()
  busy[key] = left
  local guard <close> = setmetatable({}, { __close = function()
    busy[key] = nil
    left:set()
  end })
  return fn(...)
end
