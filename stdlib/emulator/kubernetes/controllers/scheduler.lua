--- The scheduler: gives each pod without a node the emptiest node that it fits on.
local value = require "emulator.kubernetes.value"
local selector = require "emulator.kubernetes.selector"
local scheduling = require "emulator.kubernetes.scheduling"
local pods = require "emulator.kubernetes.controllers.pods"

local function waiting(pod)
  return not pod.spec.nodeName and not pod.metadata.deletionTimestamp and pods.active(pod)
    and (pod.spec.schedulerName or "default-scheduler") == "default-scheduler" and #(pod.spec.schedulingGates or {}) == 0
end

local function all(cluster, add)
  for _, p in ipairs(cluster.store:list "/pods") do
    if waiting(p) then add(p.metadata.namespace, p.metadata.name) end
  end
end

local scheduler = { name = "scheduler", component = "kube-scheduler", all = all, watches = {} }

scheduler.watches["/pods"] = function(event, add, cluster)
  if event.type ~= "DELETED" and waiting(event.object) then add(event.object.metadata.namespace, event.object.metadata.name) end
  if event.type == "DELETED" then all(cluster, add) end
end

scheduler.watches["/nodes"] = function(event, add, cluster)
  local a, b = event.old, event.object
  if event.type == "MODIFIED" and value.equal(a.spec, b.spec) and value.equal(a.metadata.labels, b.metadata.labels)
    and value.equal(value.get(a, "status", "allocatable"), value.get(b, "status", "allocatable")) then return end
  all(cluster, add)
end

scheduler.watches["/persistentvolumeclaims"] = function(_, add, cluster) all(cluster, add) end

local function usage(cluster)
  local out = {}
  for _, p in ipairs(cluster.store:list "/pods") do
    if p.spec.nodeName and pods.active(p) then
      local u = out[p.spec.nodeName]
      if not u then u = { pods = 0, cpu = 0, memory = 0, list = {} }; out[p.spec.nodeName] = u end
      local cpu, memory = scheduling.requests(p)
      u.pods, u.cpu, u.memory = u.pods + 1, u.cpu + cpu, u.memory + memory
      u.list[#u.list + 1] = p
    end
  end
  return out
end

local function kept_apart(cluster, pod, node, used)
  local terms = value.get(pod, "spec", "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
  for _, term in ipairs(terms or {}) do
    local place = (node.metadata.labels or {})[term.topologyKey]
    local matches = selector.object(term.labelSelector)
    for name, u in pairs(used) do
      local other = cluster.store:get("/nodes", nil, name)
      if place and other and (other.metadata.labels or {})[term.topologyKey] == place then
        for _, p in ipairs(u.list) do
          if p.metadata.namespace == pod.metadata.namespace and matches(p.metadata.labels or {}) then return true end
        end
      end
    end
  end
  return false
end

local function why_not(cluster, pod, node, used)
  if value.get(node, "spec", "unschedulable")
    and not scheduling.tolerated(pod.spec.tolerations, { key = "node.kubernetes.io/unschedulable", effect = "NoSchedule" }) then
    return "node(s) were unschedulable"
  end
  if not scheduling.node_matches(pod, node) then return "node(s) didn't match Pod's node affinity/selector" end
  local taint = scheduling.untolerated(pod, node)
  if taint then return ("node(s) had untolerated taint {%s: %s}"):format(taint.key, taint.value or "") end
  local u = used[node.metadata.name] or { pods = 0, cpu = 0, memory = 0 }
  local room = value.get(node, "status", "allocatable") or {}
  local cpu, memory = scheduling.requests(pod)
  if room.pods and u.pods + 1 > value.quantity(room.pods) then return "Too many pods" end
  if room.cpu and u.cpu + cpu > value.quantity(room.cpu) then return "Insufficient cpu" end
  if room.memory and u.memory + memory > value.quantity(room.memory) then return "Insufficient memory" end
  if kept_apart(cluster, pod, node, used) then return "node(s) didn't match pod anti-affinity rules" end
end

local function unbound_claim(cluster, pod)
  for _, v in ipairs(pod.spec.volumes or {}) do
    local name = value.get(v, "persistentVolumeClaim", "claimName")
    if name then
      local claim = cluster.store:get("/persistentvolumeclaims", pod.metadata.namespace, name)
      if not claim then return ('persistentvolumeclaim "%s" not found'):format(name) end
      if value.get(claim, "status", "phase") ~= "Bound" then return "pod has unbound immediate PersistentVolumeClaims" end
    end
  end
end

local function failed(cluster, pod, message)
  cluster:status("/pods", pod.metadata.namespace, pod.metadata.name, function(o)
    o.status = o.status or {}
    o.status.conditions = value.copy(o.status.conditions or {})
    local old = value.find(o.status.conditions, "type", "PodScheduled")
    if old and old.message == message then return false end
    pods.condition(o.status.conditions, "PodScheduled", "False", "Unschedulable", message)
  end, "kube-scheduler")
  cluster:event(pod, "Warning", "FailedScheduling", message, "default-scheduler")
end

function scheduler.reconcile(cluster, namespace, name)
  local pod = cluster.store:get("/pods", namespace, name)
  if not pod or not waiting(pod) then return end
  local claim = unbound_claim(cluster, pod)
  local nodes = cluster.store:list "/nodes"
  if claim then return failed(cluster, pod, ("0/%d nodes are available: %s."):format(#nodes, claim)) end
  if #nodes == 0 then return failed(cluster, pod, "no nodes available to schedule pods") end
  local used, reasons, best, least = usage(cluster), {}, nil, math.huge
  for _, node in ipairs(nodes) do
    local why = why_not(cluster, pod, node, used)
    if why then reasons[why] = (reasons[why] or 0) + 1 else
      local n = used[node.metadata.name] and used[node.metadata.name].pods or 0
      if n < least then best, least = node, n end
    end
  end
  if not best then
    local parts = {}
    for _, why in ipairs(value.keys(reasons)) do parts[#parts + 1] = reasons[why] .. " " .. why end
    return failed(cluster, pod, ("0/%d nodes are available: %s."):format(#nodes, table.concat(parts, ", ")))
  end
  cluster:bind(pod, best.metadata.name)
  cluster:event(pod, "Normal", "Scheduled", ("Successfully assigned %s/%s to %s"):format(namespace, name, best.metadata.name),
    "default-scheduler")
end

return { scheduler }
