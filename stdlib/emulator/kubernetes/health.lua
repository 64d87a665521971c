--- Is an object as it is meant to be? The rules by which Flux and `kubectl wait`-like tools judge kinds they know.
local value = require "emulator.kubernetes.value"

local health = {}

local get = value.get

local function condition(o, type_) return value.find(get(o, "status", "conditions"), "type", type_) end

local rules = {}

function rules.Deployment(o)
  local s, wanted = o.status or {}, get(o, "spec", "replicas") or 1
  local progressing = condition(o, "Progressing")
  if progressing and progressing.reason == "ProgressDeadlineExceeded" then return "Failed" end
  if (s.updatedReplicas or 0) < wanted or (s.replicas or 0) > (s.updatedReplicas or 0) or (s.availableReplicas or 0) < wanted then return "InProgress" end
  return "Current"
end

function rules.DaemonSet(o)
  local s = o.status or {}
  if s.desiredNumberScheduled == nil then return "InProgress" end
  if (s.updatedNumberScheduled or 0) < s.desiredNumberScheduled or (s.numberAvailable or 0) < s.desiredNumberScheduled
    or (s.numberReady or 0) < s.desiredNumberScheduled then return "InProgress" end
  return "Current"
end

function rules.StatefulSet(o)
  local s, wanted = o.status or {}, get(o, "spec", "replicas") or 1
  return (s.readyReplicas or 0) >= wanted and (s.updatedReplicas or 0) >= wanted and "Current" or "InProgress"
end

function rules.ReplicaSet(o)
  return (get(o, "status", "availableReplicas") or 0) >= (get(o, "spec", "replicas") or 1) and "Current" or "InProgress"
end

function rules.Job(o)
  local failed, done = condition(o, "Failed"), condition(o, "Complete")
  if failed and failed.status == "True" then return "Failed" end
  if done and done.status == "True" then return "Current" end
  return get(o, "status", "startTime") and "Current" or "InProgress"
end

function rules.Pod(o)
  local phase = get(o, "status", "phase")
  if phase == "Succeeded" then return "Current" elseif phase == "Failed" then return "Failed" end
  local ready = condition(o, "Ready")
  return phase == "Running" and ready and ready.status == "True" and "Current" or "InProgress"
end

function rules.PersistentVolumeClaim(o) return get(o, "status", "phase") == "Bound" and "Current" or "InProgress" end

function rules.Service(o)
  if get(o, "spec", "type") == "LoadBalancer" and not get(o, "status", "loadBalancer", "ingress") then return "InProgress" end
  return "Current"
end

function rules.CustomResourceDefinition(o)
  local c = condition(o, "Established")
  return c and c.status == "True" and "Current" or "InProgress"
end

local plain = { Namespace = true, ConfigMap = true, Secret = true, Node = true }

--- "Current", "InProgress", "Failed", "Terminating" or "NotFound".
function health.of(o)
  if not o then return "NotFound" end
  if o.metadata.deletionTimestamp then return "Terminating" end
  local observed = get(o, "status", "observedGeneration")
  if observed and observed ~= o.metadata.generation then return "InProgress" end
  if rules[o.kind] then
    if o.kind ~= "Service" and o.kind ~= "Pod" and o.kind ~= "Job" and o.metadata.generation and o.kind:match("Set$") and not observed then
      return "InProgress"
    end
    return rules[o.kind](o)
  end
  if plain[o.kind] then return "Current" end
  local stalled, reconciling, ready = condition(o, "Stalled"), condition(o, "Reconciling"), condition(o, "Ready")
  if stalled and stalled.status == "True" then return "Failed" end
  if reconciling and reconciling.status == "True" then return "InProgress" end
  if ready and ready.status ~= "True" then return "InProgress" end
  return "Current"
end

return health
