--- Pod disruption budgets: how many pods may be evicted now.
local value = require "emulator.kubernetes.value"
local selector = require "emulator.kubernetes.selector"
local pods = require "emulator.kubernetes.controllers.pods"

local KEY = "policy/poddisruptionbudgets"

local budget = { name = "disruption", component = "kube-controller-manager", watches = {} }

function budget.all(cluster, add)
  for _, o in ipairs(cluster.store:list(KEY)) do add(o.metadata.namespace, o.metadata.name) end
end

budget.watches[KEY] = function(event, add)
  if event.type ~= "DELETED" then add(event.object.metadata.namespace, event.object.metadata.name) end
end

budget.watches["/pods"] = function(event, add, cluster)
  if event.type == "MODIFIED" and (pods.ready(event.old)) == (pods.ready(event.object)) then return end
  for _, o in ipairs(cluster.store:list(KEY, event.object.metadata.namespace)) do add(o.metadata.namespace, o.metadata.name) end
end

local function resolve(v, total)
  if type(v) == "number" then return v end
  return math.ceil(total * (tonumber((v or "0"):match("^(%d+)%%$")) or 0) / 100)
end

-- How many pods the owners of these pods want in all.
local function expected(cluster, list)
  local seen, total = {}, 0
  for _, p in ipairs(list) do
    local ref = pods.controller(p)
    if not ref then total = total + 1
    elseif not seen[ref.uid] then
      seen[ref.uid] = true
      local res = cluster.resources:of(ref.apiVersion, ref.kind)
      local owner = res and cluster.store:get(res.key, p.metadata.namespace, ref.name)
      total = total + (owner and value.get(owner, "spec", "replicas") or 0)
    end
  end
  return total
end

function budget.reconcile(cluster, namespace, name)
  local o = cluster.store:get(KEY, namespace, name)
  if not o then return end
  local matches = selector.object(o.spec.selector)
  local list, healthy = {}, 0
  for _, p in ipairs(cluster.store:list("/pods", namespace)) do
    if matches(p.metadata.labels or {}) and pods.active(p) then
      list[#list + 1] = p
      if pods.ready(p) then healthy = healthy + 1 end
    end
  end
  local total, wanted = 0, 0
  if o.spec.maxUnavailable ~= nil then
    total = expected(cluster, list)
    wanted = math.max(0, total - resolve(o.spec.maxUnavailable, total))
  else
    total = type(o.spec.minAvailable) == "string" and expected(cluster, list) or #list
    wanted = resolve(o.spec.minAvailable or 1, total)
  end
  local allowed = total > 0 and math.max(0, healthy - wanted) or 0
  cluster:status(KEY, namespace, name, function(new)
    new.status = { observedGeneration = new.metadata.generation, expectedPods = total, currentHealthy = healthy, desiredHealthy = wanted,
      disruptionsAllowed = allowed, conditions = value.copy(new.status and new.status.conditions or {}) }
    pods.condition(new.status.conditions, "DisruptionAllowed", allowed > 0 and "True" or "False",
      allowed > 0 and "SufficientPods" or "InsufficientPods", "")
  end)
end

return { budget }
