--- Turns: `local turn = turns(8)`, then `local mine <close> = turn()` waits until fewer than eight others have theirs.
local task = require "task"

return function(count)
  local free = task.queue()
  for i = 1, count do free:push(i) end
  return function()
    local number = free:pop()
    return setmetatable({}, { __close = function() free:push(number) end })
  end
end
