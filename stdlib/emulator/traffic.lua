--- Counts requests, at the server: by service, and those of ARM by method and type. With `bodies` (a list), what was sent by
-- PUTs and PATCHes are kept, too.
local world = require "emulator.world"
local ids = require "emulator.arm.id"

local traffic = { bodies = nil }
local counts

function traffic.reset()
  counts = { arm = 0, vault = 0, token = 0, by = {} }
end
traffic.reset()

--- What was counted since the last reset.
function traffic.counts() return counts end

--- Notes a request to ARM.
function traffic.arm(req, path)
  counts.arm = counts.arm + 1
  local id = ids.parse(path)
  local what = id.type or "Microsoft.Resources" .. (id.rest and "/" .. id.rest:match("[^/]+") or "")
  local key = ("%s %s%s"):format(req.method, what, id.type and not id.whole and "[]" or "")
  counts.by[key] = (counts.by[key] or 0) + 1
  local kept, is_group = traffic.bodies, id.group and not id.type and not id.rest
  if kept and (id.whole or is_group) and (req.method == "PUT" or req.method == "PATCH") then
    kept[#kept + 1] = { method = req.method, type = is_group and "Microsoft.Resources/resourceGroups" or id.type,
      api = req.query["api-version"], body = req.body }
  end
end

--- Notes a request to another service: "vault", "token".
function traffic.other(service) counts[service] = counts[service] + 1 end

world.traffic = traffic

return traffic
