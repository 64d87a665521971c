--- Takes the pods off a Node that can move, as `kubectl drain --ignore-daemonsets --delete-emptydir-data` does.
local client = require "kubernetes.client"
local fail, task = require "fail", require "task"

local SECONDS = 300

local function belongs_to_daemon_set(pod)
  for _, owner in ipairs(pod.metadata.ownerReferences or {}) do
    if owner.kind == "DaemonSet" or owner.kind == "Node" then return true end
  end
  return (pod.metadata.annotations or {})["kubernetes.io/config.mirror"] ~= nil
end

local function evict(api, pod)
  local path = api:path("v1", "Pod", pod.metadata.namespace, pod.metadata.name) .. "/eviction"
  api:request("POST", path, { apiVersion = "policy/v1", kind = "Eviction",
    metadata = { name = pod.metadata.name, namespace = pod.metadata.namespace } }, { ok = { [404] = true, [429] = true } })
end

--- Evicts all that can move from a Node that takes no pods any more; a budget that says no is asked again until the deadline.
-- Where no kubelet answers nothing ends: what was asked to go does so with the Node.
return function(ctx, api, name)
  local deadline = task.now() + SECONDS
  while true do
    local left, node = 0, api:get("v1", "Node", nil, name)
    local silent = not node or client.condition(node, "Ready") == "Unknown"
    for _, pod in ipairs(api:list("v1", "Pod", { fields = "spec.nodeName=" .. name })) do
      local phase = pod.status and pod.status.phase
      local over = phase == "Succeeded" or phase == "Failed" or (silent and pod.metadata.deletionTimestamp)
      if not (over or belongs_to_daemon_set(pod)) then
        left = left + 1
        if not pod.metadata.deletionTimestamp then evict(api, pod) end
      end
    end
    if left == 0 then return end
    ctx:progress(("draining: %d pods left"):format(left))
    if task.now() > deadline then
      error(fail { ("%d pods are still on node %s after %d s"):format(left, name, SECONDS), code = "drain",
        hint = "a PodDisruptionBudget may forbid their eviction: kubectl get pdb -A" })
    end
    api:watch("v1", "Pod", { fields = "spec.nodeName=" .. name }, 2, function(event) return event == "DELETED" end)
  end
end
