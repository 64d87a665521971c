--- The life of nodes: pod ranges, missed heartbeats, the taints that follow, and pods of nodes that are gone.
local json = require "json"
local task = require "task"
local value = require "emulator.kubernetes.value"
local ip = require "emulator.kubernetes.ip"
local scheduling = require "emulator.kubernetes.scheduling"
local pods = require "emulator.kubernetes.controllers.pods"
local heartbeat = require "emulator.kubernetes.heartbeat"

local NODES, KCM = "/nodes", "kube-controller-manager"

local function all(cluster, add)
  for _, n in ipairs(cluster.store:list(NODES)) do add(nil, n.metadata.name) end
end

-- Pod ranges

local range = { name = "node-ipam", component = KCM, all = all, watches = {} }

range.watches[NODES] = function(event, add)
  if event.type ~= "DELETED" and not value.get(event.object, "spec", "podCIDR") then add(nil, event.object.metadata.name) end
end

function range.reconcile(cluster, _, name)
  local node = cluster.store:get(NODES, nil, name)
  if not node or not cluster.pod_cidr or value.get(node, "spec", "podCIDR") then return end
  local used = {}
  for _, n in ipairs(cluster.store:list(NODES)) do
    local cidr = value.get(n, "spec", "podCIDR")
    if cidr then used[cidr] = true end
  end
  local i, cidr = 0, nil
  repeat
    cidr = ip.part(cluster.pod_cidr, 24, i)
    i = i + 1
  until not cidr or not used[cidr]
  if not cidr then
    cluster:event(node, "Warning", "CIDRNotAvailable", "Node " .. name .. " status is now: CIDRNotAvailable", "cidrAllocator")
    return
  end
  cluster:modify(NODES, nil, name, function(o)
    o.spec = o.spec or {}
    o.spec.podCIDR, o.spec.podCIDRs = cidr, json.array { cidr }
  end)
end

-- What every node carries: how long kubelets may keep secrets, and the old names of labels beside the new.

local marks = { name = "node-marks", component = KCM, all = all, watches = {} }

local old_labels = { ["kubernetes.io/os"] = "beta.kubernetes.io/os", ["kubernetes.io/arch"] = "beta.kubernetes.io/arch" }

marks.watches[NODES] = function(event, add)
  if event.type ~= "DELETED" then add(nil, event.object.metadata.name) end
end

function marks.reconcile(cluster, _, name)
  cluster:modify(NODES, nil, name, function(o)
    local changed = false
    local function put(field, key, v)
      o.metadata[field] = o.metadata[field] or {}
      if o.metadata[field][key] ~= v then o.metadata[field][key], changed = v, true end
    end
    put("annotations", "node.alpha.kubernetes.io/ttl", "0")
    for new, old in pairs(old_labels) do
      local v = (o.metadata.labels or {})[new]
      if v then put("labels", old, v) end
    end
    return changed
  end)
end

-- Heartbeats and taints

local NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"

local function wanted_taint(node)
  local ready = value.find(value.get(node, "status", "conditions"), "type", "Ready")
  if ready and ready.status == "True" then return nil end
  return ready and ready.status == "Unknown" and UNREACHABLE or NOT_READY
end

local function retaint(cluster, node)
  local key = wanted_taint(node)
  local unschedulable = value.get(node, "spec", "unschedulable")
  cluster:modify(NODES, nil, node.metadata.name, function(o)
    o.spec = o.spec or {}
    local before = o.spec.taints or {}
    local kept = value.filter(before, function(t)
      return t.key ~= NOT_READY and t.key ~= UNREACHABLE and t.key ~= "node.kubernetes.io/unschedulable"
    end)
    local function put(k, effect)
      local old
      for _, t in ipairs(before) do
        if t.key == k and t.effect == effect then old = t end
      end
      kept[#kept + 1] = old or { key = k, effect = effect, timeAdded = value.time() }
    end
    if unschedulable then put("node.kubernetes.io/unschedulable", "NoSchedule") end
    if key then
      put(key, "NoSchedule")
      put(key, "NoExecute")
    end
    o.spec.taints = #kept > 0 and kept or nil
  end)
end

local unknown = { "Ready", "MemoryPressure", "DiskPressure", "PIDPressure" }

local function mark_unknown(cluster, node)
  local changed = false
  cluster:status(NODES, nil, node.metadata.name, function(o)
    o.status = o.status or {}
    o.status.conditions = o.status.conditions or json.array {}
    for _, type_ in ipairs(unknown) do
      local old, at = value.find(o.status.conditions, "type", type_)
      if not old or old.status ~= "Unknown" then
        changed = true
        o.status.conditions[at or #o.status.conditions + 1] = { type = type_, status = "Unknown", reason = "NodeStatusUnknown",
          message = "Kubelet stopped posting node status.", lastHeartbeatTime = old and old.lastHeartbeatTime or value.time(),
          lastTransitionTime = value.time() }
      end
    end
    return changed
  end)
  if changed then
    cluster:event(node, "Normal", "NodeNotReady", ("Node %s status is now: NodeNotReady"):format(node.metadata.name), "node-controller")
  end
end

local function pods_of(cluster, name)
  local out = {}
  for _, p in ipairs(cluster.store:list "/pods") do
    if p.spec.nodeName == name then out[#out + 1] = p end
  end
  return out
end

local function mark_pods(cluster, node)
  for _, p in ipairs(pods_of(cluster, node.metadata.name)) do
    if pods.ready(p) then
      cluster:status("/pods", p.metadata.namespace, p.metadata.name, function(o)
        pods.condition(o.status.conditions, "Ready", "False")
      end)
      cluster:event(p, "Warning", "NodeNotReady", "Node is not ready", "node-controller")
    end
  end
end

local lifecycle = { name = "node-lifecycle", component = KCM, all = all, watches = {} }

lifecycle.watches[NODES] = function(event, add)
  local a, b = event.old, event.object
  local before = a and value.find(value.get(a, "status", "conditions"), "type", "Ready")
  local after = value.find(value.get(b, "status", "conditions"), "type", "Ready")
  if event.type == "MODIFIED" and (before and before.status) == (after and after.status)
    and value.get(a, "spec", "unschedulable") == value.get(b, "spec", "unschedulable") then return end
  if event.type ~= "DELETED" then add(nil, b.metadata.name) end
end

function lifecycle.reconcile(cluster, _, name, manager)
  local node = cluster.store:get(NODES, nil, name)
  if not node then return end
  local grace = heartbeat.grace(cluster.factor)
  local last = heartbeat.last(cluster, node)
  local left = last + grace - task.time()
  if left <= 0 then
    mark_unknown(cluster, node)
    node = cluster.store:get(NODES, nil, name)
    mark_pods(cluster, node)
    left = grace
  end
  if node then retaint(cluster, node) end
  manager:after(left, lifecycle, nil, name, left + 0.05)
end

-- Eviction by NoExecute taints

local eviction = { name = "taint-eviction", component = KCM, watches = {} }

eviction.watches[NODES] = function(event, add)
  if event.type ~= "DELETED" and not value.equal(event.old and event.old.spec and event.old.spec.taints,
    event.object.spec and event.object.spec.taints) then add(nil, event.object.metadata.name) end
end

local function seconds_left(cluster, pod, taints)
  local least
  for _, taint in ipairs(taints) do
    if taint.effect == "NoExecute" then
      local t = scheduling.tolerated(pod.spec.tolerations, taint)
      if not t then return 0 end
      if t.tolerationSeconds then
        local since = value.seconds(taint.timeAdded) or task.time()
        local left = since + math.max(t.tolerationSeconds / cluster.factor, 15) - task.time()
        least = math.min(least or left, left)
      end
    end
  end
  return least
end

function eviction.reconcile(cluster, _, name, manager)
  local node = cluster.store:get(NODES, nil, name)
  local taints = node and value.get(node, "spec", "taints") or {}
  local soonest
  for _, p in ipairs(pods_of(cluster, name)) do
    local left = not p.metadata.deletionTimestamp and seconds_left(cluster, p, taints)
    if left and left <= 0 then
      cluster:event(p, "Normal", "TaintManagerEviction", ("Marking for deletion Pod %s/%s"):format(p.metadata.namespace, p.metadata.name),
        "taint-eviction-controller")
      cluster:try(function() cluster.objects:delete(cluster:res "/pods", p.metadata.namespace, p.metadata.name) end)
    elseif left then
      soonest = math.min(soonest or left, left)
    end
  end
  if soonest then manager:after(soonest, eviction, nil, name, soonest) end
end

-- Pods of nodes that no longer exist

local collector = { name = "pod-garbage", component = KCM, watches = {} }

function collector.all(cluster, add)
  for _, p in ipairs(cluster.store:list "/pods") do
    if p.spec.nodeName and not cluster.store:get(NODES, nil, p.spec.nodeName) then add(nil, p.spec.nodeName) end
  end
end

collector.watches[NODES] = function(event, add)
  if event.type == "DELETED" then add(nil, event.object.metadata.name) end
end

function collector.reconcile(cluster, _, name)
  if cluster.store:get(NODES, nil, name) then return end
  for _, p in ipairs(pods_of(cluster, name)) do
    cluster:try(function() cluster.objects:delete(cluster:res "/pods", p.metadata.namespace, p.metadata.name, { grace = 0 }) end)
  end
  cluster:try(function() cluster.objects:delete(cluster:res "coordination.k8s.io/leases", "kube-node-lease", name) end)
end

return { range, marks, lifecycle, eviction, collector }
