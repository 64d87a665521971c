--- Does a pod fit on a node? The questions that the scheduler and the daemon set controller ask alike.
local value = require "emulator.kubernetes.value"
local selector = require "emulator.kubernetes.selector"

local scheduling = {}

local function term_matches(term, node)
  local labels = node.metadata.labels or {}
  if term.matchExpressions and not selector.expressions(term.matchExpressions)(labels) then return false end
  if term.matchFields and not selector.expressions(term.matchFields)({ ["metadata.name"] = node.metadata.name }) then return false end
  return (term.matchExpressions and #term.matchExpressions > 0) or (term.matchFields and #term.matchFields > 0) or false
end

--- By node selector and required node affinity.
function scheduling.node_matches(pod, node)
  for k, v in pairs(pod.spec.nodeSelector or {}) do
    if (node.metadata.labels or {})[k] ~= v then return false end
  end
  local required = value.get(pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
  if not required then return true end
  for _, term in ipairs(required.nodeSelectorTerms or {}) do
    if term_matches(term, node) then return true end
  end
  return false
end

--- Does one of the tolerations accept the taint? Returns it.
function scheduling.tolerated(tolerations, taint)
  for _, t in ipairs(tolerations or {}) do
    local effect = not t.effect or t.effect == "" or t.effect == taint.effect
    local key = not t.key or t.key == "" or t.key == taint.key
    if effect and key then
      if t.operator == "Exists" then return t end
      if t.key and t.key ~= "" and (t.value or "") == (taint.value or "") then return t end
    end
  end
end

--- The first taint that keeps the pod away, or nil. daemon: also count NoExecute only as daemon sets do.
function scheduling.untolerated(pod, node)
  for _, taint in ipairs(value.get(node, "spec", "taints") or {}) do
    if taint.effect ~= "PreferNoSchedule" and not scheduling.tolerated(pod.spec.tolerations, taint) then return taint end
  end
end

--- What the containers of a pod ask for: cpu, memory.
function scheduling.requests(pod)
  local cpu, memory = 0, 0
  for _, c in ipairs(pod.spec.containers or {}) do
    local r = value.get(c, "resources", "requests") or {}
    cpu, memory = cpu + (value.quantity(r.cpu) or 0), memory + (value.quantity(r.memory) or 0)
  end
  return cpu, memory
end

return scheduling
