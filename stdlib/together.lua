--- What several tasks want at the same time is done by one of them:
--
--     local asking = require "together"()
--     local token = asking("token of " .. audience, ask, audience)
--
-- The first who comes calls the function; those who come with the same key meanwhile wait and get what it returned or raised. An
-- interruption (a cancel, a deadline around the task) is its own affair: then the next of those who wait calls the function.
-- Nothing is kept afterwards.
local fail, task = require "fail", require "task"

-- table.pack(pcall(...)), handed on.
local function hand_on(came)
  if not came[1] then error(came[2], 0) end
  return table.unpack(came, 2, came.n)
end

return function()
  local under_way = {} -- key -> { over = (event), came = (what came of it; nil: its task was interrupted) }
  return function(key, fn, ...)
    while under_way[key] do
      local others = under_way[key]
      others.over:wait()
      if others.came then return hand_on(others.came) end
    end
    local work = { over = task.event() }
    under_way[key] = work
    local came = table.pack(pcall(fn, ...))
    under_way[key] = nil
    if came[1] or not fail.interrupted(came[2]) then work.came = came end
    work.over:set()
    return hand_on(came)
  end
end
