--- Faults on demand: a list of rules (`PUT /emulator/faults`, `vmrun emulator fault`); each is used up by `times` matches (absent: for ever).
--
--   {method = "PUT", path = "virtualNetworks", status = 429, code = "TooManyRequests", retry_after = 1, times = 2}
--   {path = "virtualMachines/vm1", fail = "AllocationFailed", message = "..."}   the operation ends in failure
--   {path = "loadBalancers", stuck = true}                                       the operation never ends
--   {path = "subnets", delay = 0.5}                                              the answer is late (real seconds)
--   {method = "PUT", reset = "before"}, "after"                                  the connection breaks, without or with the effect
--   {zone = "1", fail = "ZonalAllocationFailed"}                                 of machines in a zone only
--
-- `path` is a part of the request's path (of the operation's resource id), without case; `skip` lets so many matches pass first.
local world = require "emulator.world"

local faults = { rules = {} }

--- Faults by name: what a rule of each says. `operation`: it is of an operation, not of a request.
faults.named = {
  throttle = { status = 429, code = "TooManyRequests", message = "The request was throttled.", retry_after = 1 },
  error = { status = 503, code = "ServiceUnavailable", message = "The service is unavailable." },
  ["reset-before"] = { reset = "before" },
  ["reset-after"] = { reset = "after" },
  stuck = { stuck = true, operation = true },
  fail = { fail = "InternalExecutionError", message = "An internal execution error occurred. Please retry later.", operation = true },
  absent = { method = "GET", status = 404, code = "ResourceNotFound", message = "The resource was not found." },
  expired = { status = 401, code = "ExpiredAuthenticationToken", message = "The access token expiry UTC time is earlier than the current "
    .. "UTC time." },
  slow = { delay = 0.5 },
  ["zone-outage"] = { fail = "ZonalAllocationFailed", message = "Allocation failed. We do not have sufficient capacity for the requested VM "
    .. "size in this zone.", operation = true },
}

local function use(rule)
  if (rule.skip or 0) > 0 then
    rule.skip = rule.skip - 1
    return nil
  end
  if rule.times then
    rule.times = rule.times - 1
    if rule.times < 0 then return nil end
  end
  rule.used = (rule.used or 0) + 1
  return rule
end

local function find(method, path, wanted)
  for _, rule in ipairs(faults.rules) do
    local fits = (not rule.method or rule.method == method) and (not rule.path or path:lower():find(rule.path:lower(), 1, true))
    if fits and wanted(rule) and (rule.times or 1) > 0 then return use(rule) end
  end
end

--- The rule for a request, or nil.
function faults.request(method, path)
  return find(method, path, function(rule) return rule.status or rule.delay or rule.reset end)
end

local VERBS = { put = "PUT", delete = "DELETE", delete_group = "DELETE", action = "POST" }

local function names(zones, zone)
  for _, own in ipairs(zones or {}) do
    if own == zone then return true end
  end
  return false
end

-- An operation that makes something says its zones; the record is kept only then.
local function in_zone(op, zone)
  local record = op.resource and world.arm.get(op.resource)
  return names(op.zones or record and record.body.zones, zone)
end

--- The rule for an operation that starts, or nil.
function faults.operation(op)
  return find(VERBS[op.verb], op.resource or "", function(rule)
    return (rule.fail or rule.stuck) and (not rule.zone or in_zone(op, rule.zone))
  end)
end

--- Machines of a zone go down: what an outage does to those that are there.
function faults.darken(zone)
  local count = 0
  for _, type_name in ipairs { "Microsoft.Compute/virtualMachines", "Microsoft.Compute/virtualMachineScaleSets/virtualMachines" } do
    for record in world.arm.each(type_name) do
      if names(record.body.zones, zone) then
        world.arm.statement(type_name).actions.powerOff.run(record, {}, {})
        count = count + 1
      end
    end
  end
  return count
end

return faults
