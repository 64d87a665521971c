--- Time in the emulator. The factor shortens what operations take and what Retry-After asks for; dates and the life of
-- tokens are never touched.
local task = require "task"

local clock = { factor = 600 }

--- How long nominal seconds take here.
function clock.scale(seconds) return seconds / clock.factor end

--- Waits for nominal seconds.
function clock.sleep(seconds)
  if seconds > 0 then task.sleep(clock.scale(seconds)) end
end

--- Now, in wall clock seconds.
function clock.now() return task.time() end

local OVERDUE = 0.05 -- real seconds between polls of an operation whose scheduled time is over but whose work is not

--- The headers that ask a client to come back in nominal seconds. Foreign clients read whole seconds only, and none may
-- be 0: the Azure CLI then waits for 30. `ends`: when the operation is due, in wall clock seconds; the finer header, which
-- ours reads, then leads past that moment, so that fast time is not spent on polling.
function clock.retry_after(seconds, ends)
  local real = clock.scale(seconds)
  local fine = real
  if ends then
    local left = ends - task.time()
    fine = math.max(real, left > 0 and math.min(left + 0.001, 10 * real) or OVERDUE)
  end
  return { ["Retry-After"] = ("%d"):format(math.max(1, math.ceil(real))),
    ["retry-after-ms"] = ("%d"):format(math.max(1, math.ceil(fine * 1000))) }
end

--- A moment as ARM writes it.
function clock.iso(time)
  time = time or task.time()
  local whole = math.floor(time)
  return os.date("!%Y-%m-%dT%H:%M:%S", whole) .. (".%07dZ"):format(math.floor((time - whole) * 1e7))
end

return clock
