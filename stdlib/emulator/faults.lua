--- Faults on demand: `PUT /emulator/faults` gives a list of rules; each is used up by `times` matches (absent: for ever).
--
--   {method = "PUT", path = "virtualNetworks", status = 429, code = "TooManyRequests", retry_after = 1, times = 2}
--   {path = "virtualMachines/vm1", fail = "AllocationFailed", message = "..."}   the operation ends in failure
--   {path = "loadBalancers", stuck = true}                                       the operation never ends
--   {path = "subnets", delay = 0.5}                                              the answer is late (real seconds)
--
-- `path` is a part of the request's path (of the operation's resource id), without case.
local faults = { rules = {} }

local function use(rule)
  if rule.times then
    rule.times = rule.times - 1
    if rule.times < 0 then return nil end
  end
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
  return find(method, path, function(rule) return rule.status or rule.delay end)
end

local VERBS = { put = "PUT", delete = "DELETE", action = "POST" }

--- The rule for an operation that starts, or nil.
function faults.operation(op)
  return find(VERBS[op.verb], op.resource or "", function(rule) return rule.fail or rule.stuck end)
end

return faults
