--- Time in the emulator. The factor shortens what operations take and what Retry-After asks for; dates and the life of
-- tokens are never touched.
local task = require "task"

local clock = { factor = 600, profile = "instant" }

-- How long a request takes until it is answered (nominal seconds), by profile: about what Resource Manager shows from within Europe.
local LATENCY = { instant = {}, azure = { GET = 0.12, HEAD = 0.1, PUT = 0.7, PATCH = 0.6, POST = 0.4, DELETE = 0.5 } }

clock.profiles = LATENCY

local dice = 1

--- Sets what chance begins with: the same seed gives the same latencies, request by request.
function clock.seed(number) dice = (tonumber(number) or 1) % 2147483647 end

-- Park and Miller's minimal standard: math.random is shared with others.
local function chance()
  dice = math.max(dice, 1) * 48271 % 2147483647
  return dice / 2147483647
end

--- Nominal seconds of a request, in the profile that is set.
function clock.latency(method)
  local base = LATENCY[clock.profile][method]
  return base and base * (0.75 + 0.5 * chance()) or 0
end

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
