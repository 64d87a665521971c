--- Does something to each of a list at the same time, or to so many of them at once:
--
--     local answers = at_once(hosts, function(host) return ask(host) end)
--
-- Returns the results in the list's order. The first failure is raised, once all have ended.
local fail, task = require "fail", require "task"

return function(items, fn, limit)
  local at, failure, results, workers = 0, nil, {}, {}
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
