--- Does something to each of a list at the same time, or to so many of them at once:
--
--     local answers = at_once(hosts, function(host) return ask(host) end)
--
-- Returns the results in the list's order. The first failure is raised, once all have ended. None of them outlives the call: an
-- interruption of whoever called (a cancel, a deadline around it) is theirs too.
local fail, task = require "fail", require "task"

local function stop(workers)
  for _, worker in ipairs(workers) do worker:cancel("over") end
  for _, worker in ipairs(workers) do worker:join() end
end

return function(items, fn, limit)
  local at, failure, results = 0, nil, {}
  local workers <close> = setmetatable({}, { __close = stop })
  for i = 1, math.min(limit or #items, #items) do
    workers[i] = task.spawn(function()
      while at < #items do
        at = at + 1
        local mine = at
        local ok, result = pcall(fn, items[mine])
        if ok then
          results[mine] = result
        else
          failure = failure or result
          if fail.interrupted(result) then error(result, 0) end
        end
      end
    end)
  end
  for _, worker in ipairs(workers) do worker:join() end
  if failure then error(failure, 0) end
  return results
end
