--- Deployments, replica sets, daemon sets and stateful sets.
local json = require "json"
local task = require "task"
local value = require "emulator.kubernetes.value"
local selector = require "emulator.kubernetes.selector"
local scheduling = require "emulator.kubernetes.scheduling"
local keys = require "emulator.kubernetes.controllers.keys"
local pods = require "emulator.kubernetes.controllers.pods"

local DEPLOYMENTS, REPLICASETS = "apps/deployments", "apps/replicasets"
local DAEMONSETS, STATEFULSETS = "apps/daemonsets", "apps/statefulsets"
local KCM = "kube-controller-manager"
local REVISION = "deployment.kubernetes.io/revision"

-- Replica sets

local replicaset = { name = "replicaset", component = KCM, watches = { [REPLICASETS] = keys.itself, ["/pods"] = keys.owner "ReplicaSet" },
  all = keys.each(REPLICASETS) }

function replicaset.reconcile(cluster, namespace, name, manager)
  local rs = cluster.store:get(REPLICASETS, namespace, name)
  if not rs then return end
  local owned = pods.owned(cluster, "/pods", rs)
  local active = {}
  for _, p in ipairs(owned) do
    if pods.active(p) then active[#active + 1] = p end
  end
  if not rs.metadata.deletionTimestamp then
    local missing = (rs.spec.replicas or 1) - #active
    for _ = 1, missing do
      local created = pods.make(cluster, rs, rs.spec.template, { component = "replicaset-controller" })
      if not created then manager:after(2, replicaset, namespace, name, 0.5); break end
    end
    if missing < 0 then
      pods.rank_for_removal(active)
      for i = 1, -missing do pods.delete(cluster, rs, active[i], "replicaset-controller") end
    end
  end
  rs = cluster.store:get(REPLICASETS, namespace, name)
  if not rs then return end
  local ready, available, total = 0, 0, 0
  for _, p in ipairs(pods.owned(cluster, "/pods", rs)) do
    if pods.active(p) then
      total = total + 1
      if pods.ready(p) then ready = ready + 1 end
      local ok, left = pods.available(p, rs.spec.minReadySeconds)
      if ok then available = available + 1 elseif left then manager:after(left, replicaset, namespace, name, left) end
    end
  end
  cluster:status(REPLICASETS, namespace, name, function(o)
    local conditions = o.status and o.status.conditions
    o.status = { replicas = total, fullyLabeledReplicas = total > 0 and total or nil, readyReplicas = ready > 0 and ready or nil,
      availableReplicas = available > 0 and available or nil, observedGeneration = o.metadata.generation, conditions = conditions }
  end)
end

-- Deployments

local deployment = { name = "deployment", component = KCM, watches = { [DEPLOYMENTS] = keys.itself,
  [REPLICASETS] = keys.owner "Deployment" }, all = keys.each(DEPLOYMENTS) }

local function percentage(v, total, up)
  if type(v) == "number" then return v end
  local n = tonumber((v or "0"):match("^(%d+)%%$")) or 0
  return up and math.ceil(total * n / 100) or math.floor(total * n / 100)
end

local function plain_template(rs)
  local t = value.copy(rs.spec.template)
  if t.metadata and t.metadata.labels then t.metadata.labels["pod-template-hash"] = nil end
  return t
end

local function revision(o) return tonumber(value.get(o, "metadata", "annotations", REVISION)) or 0 end

local function scale(cluster, d, rs, n)
  local before = rs.spec.replicas or 0
  if before == n then return rs end
  local new = cluster:modify(REPLICASETS, rs.metadata.namespace, rs.metadata.name, function(o) o.spec.replicas = n end)
  cluster:event(d, "Normal", "ScalingReplicaSet", ("Scaled %s replica set %s from %d to %d")
    :format(n > before and "up" or "down", rs.metadata.name, before, n), "deployment-controller")
  return new or rs
end

local function adopt(cluster, d)
  local matches = selector.object(d.spec.selector)
  for _, rs in ipairs(cluster.store:list(REPLICASETS, d.metadata.namespace)) do
    if not pods.controller(rs) and matches(rs.metadata.labels or {}) and not rs.metadata.deletionTimestamp then
      cluster:modify(REPLICASETS, rs.metadata.namespace, rs.metadata.name, function(o)
        o.metadata.ownerReferences = o.metadata.ownerReferences or json.array {}
        table.insert(o.metadata.ownerReferences, pods.reference(d))
      end)
    end
  end
end

local function new_replicaset(cluster, d, sets, wanted)
  local hash = pods.hash(d.spec.template)
  local template = value.copy(d.spec.template)
  template.metadata = template.metadata or {}
  template.metadata.labels = template.metadata.labels or {}
  template.metadata.labels["pod-template-hash"] = hash
  local chosen = value.copy(d.spec.selector)
  chosen.matchLabels = chosen.matchLabels or {}
  chosen.matchLabels["pod-template-hash"] = hash
  local last = 0
  for _, rs in ipairs(sets) do last = math.max(last, revision(rs)) end
  local annotations = {}
  for k, v in pairs(d.metadata.annotations or {}) do
    if k ~= "kubectl.kubernetes.io/last-applied-configuration" and k ~= REVISION then annotations[k] = v end
  end
  annotations[REVISION] = tostring(last + 1)
  local name = d.metadata.name .. "-" .. hash
  local rs = cluster.objects:create(cluster:res(REPLICASETS), { metadata = { name = name, namespace = d.metadata.namespace,
      labels = value.copy(template.metadata.labels), annotations = annotations, ownerReferences = json.array { pods.reference(d) } },
    spec = { replicas = wanted, minReadySeconds = d.spec.minReadySeconds, selector = chosen, template = template } },
    { namespace = d.metadata.namespace, manager = KCM })
  if wanted > 0 then
    cluster:event(d, "Normal", "ScalingReplicaSet", ("Scaled up replica set %s from 0 to %d"):format(name, wanted), "deployment-controller")
  end
  return rs
end

local function totals(sets, field)
  local n = 0
  for _, rs in ipairs(sets) do n = n + (value.get(rs, "status", field) or 0) end
  return n
end

local function wanted_total(sets)
  local n = 0
  for _, rs in ipairs(sets) do n = n + (rs.spec.replicas or 0) end
  return n
end

local function find_new(d, sets)
  for _, rs in ipairs(sets) do
    if value.equal(plain_template(rs), d.spec.template) then return rs end
  end
end

local function limits(d)
  local rolling = value.get(d, "spec", "strategy", "rollingUpdate") or {}
  local surge = percentage(rolling.maxSurge, d.spec.replicas, true)
  local unavailable = percentage(rolling.maxUnavailable, d.spec.replicas, false)
  if surge == 0 and unavailable == 0 then unavailable = 1 end
  return surge, unavailable
end

local function roll(cluster, d, new, old)
  local replicas = d.spec.replicas
  local surge, unavailable = limits(d)
  local all = { new, table.unpack(old) }
  if (new.spec.replicas or 0) > replicas then
    new = scale(cluster, d, new, replicas)
  elseif (new.spec.replicas or 0) < replicas then
    local room = replicas + surge - wanted_total(all)
    if room > 0 then new = scale(cluster, d, new, math.min(replicas, new.spec.replicas + room)) end
  end
  local old_wanted = wanted_total(old)
  if old_wanted == 0 then return end
  local least = replicas - unavailable
  local new_missing = (new.spec.replicas or 0) - (value.get(new, "status", "availableReplicas") or 0)
  local spare = wanted_total { new, table.unpack(old) } - least - new_missing
  if spare <= 0 then return end
  for i, rs in ipairs(old) do      -- pods that are not healthy go first
    local bad = (rs.spec.replicas or 0) - (value.get(rs, "status", "availableReplicas") or 0)
    local n = math.min(bad, spare)
    if n > 0 then
      old[i] = scale(cluster, d, rs, rs.spec.replicas - n)
      spare = spare - n
    end
  end
  local available = totals({ new, table.unpack(old) }, "availableReplicas")
  local down = available - least
  for _, rs in ipairs(old) do
    local n = math.min(rs.spec.replicas or 0, down)
    if n > 0 then
      scale(cluster, d, rs, rs.spec.replicas - n)
      down = down - n
    end
  end
end

local function recreate(cluster, d, new, old, sets)
  for _, rs in ipairs(old) do scale(cluster, d, rs, 0) end
  for _, rs in ipairs(old) do
    if #pods.owned(cluster, "/pods", rs) > 0 then return end
  end
  new = new or new_replicaset(cluster, d, sets, d.spec.replicas)
  scale(cluster, d, new, d.spec.replicas)
end

-- A condition whose status or reason changes goes to the end of the list, as the real controller leaves it.
local function set_condition(conditions, type_, state, reason, message)
  local old, at = value.find(conditions, "type", type_)
  if old and old.status == state and old.reason == reason then
    old.message = message
    return
  end
  if at then table.remove(conditions, at) end
  conditions[#conditions + 1] = { type = type_, status = state, reason = reason, message = message, lastUpdateTime = value.time(),
    lastTransitionTime = old and old.status == state and old.lastTransitionTime or value.time() }
end

local LEAST = 30 -- real seconds without progress, of a longer deadline: a busy machine is no failure of the world's

-- Whether a rollout has had no progress for as long as it may.
local function is_late(cluster, d, counts, manager)
  local deadline = d.spec.progressDeadlineSeconds
  if not deadline then return false end
  local key = d.metadata.namespace .. "/" .. d.metadata.name
  local known = cluster.rollouts[key]
  local state = ("%s %d %s"):format(d.metadata.uid, d.metadata.generation, counts)
  if not known or known.state ~= state then
    known = { state = state, since = task.now() }
    cluster.rollouts[key] = known
  end
  local left = math.max(deadline / cluster.factor, math.min(deadline, LEAST)) - (task.now() - known.since)
  if left <= 0 then return true end
  manager:after(left, deployment, d.metadata.namespace, d.metadata.name, left)
  return false
end

local function deployment_status(cluster, d, new, sets, manager)
  local total, ready, available = totals(sets, "replicas"), totals(sets, "readyReplicas"), totals(sets, "availableReplicas")
  local updated = new and (value.get(new, "status", "replicas") or 0) or 0
  local _, unavailable = limits(d)
  local function some(n) return n > 0 and n or nil end
  cluster:status(DEPLOYMENTS, d.metadata.namespace, d.metadata.name, function(o)
    local conditions = value.copy(o.status and o.status.conditions or json.array {})
    local wanted = o.spec.replicas
    local least = o.spec.strategy and o.spec.strategy.type == "Recreate" and wanted or wanted - unavailable
    local name = new and new.metadata.name or ""
    if #conditions == 0 then
      set_condition(conditions, "Progressing", "True", "NewReplicaSetCreated", ('Created new replica set "%s"'):format(name))
    end
    if available >= least then
      set_condition(conditions, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else
      set_condition(conditions, "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    end
    local complete = new and updated == wanted and total == wanted and available == wanted
    local c = value.find(conditions, "type", "Progressing")
    local was_complete = c and c.reason == "NewReplicaSetAvailable" and c.message:find('"' .. name .. '"', 1, true)
    if o.spec.paused then
      set_condition(conditions, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
    elseif complete then
      set_condition(conditions, "Progressing", "True", "NewReplicaSetAvailable", ('ReplicaSet "%s" has successfully progressed.'):format(name))
    elseif not was_complete and is_late(cluster, d, ("%d %d %d %d"):format(total, updated, ready, available), manager) then
      set_condition(conditions, "Progressing", "False", "ProgressDeadlineExceeded", ('ReplicaSet "%s" has timed out progressing.'):format(name))
    elseif not was_complete then
      set_condition(conditions, "Progressing", "True", "ReplicaSetUpdated", ('ReplicaSet "%s" is progressing.'):format(name))
    end
    o.status = { observedGeneration = o.metadata.generation, replicas = some(total), updatedReplicas = some(updated),
      readyReplicas = some(ready), availableReplicas = some(available),
      unavailableReplicas = some(math.max(0, wanted - available)), conditions = conditions,
      collisionCount = o.status and o.status.collisionCount }
  end)
end

local function forget_old(cluster, d, old)
  local idle = {}
  for _, rs in ipairs(old) do
    if (rs.spec.replicas or 0) == 0 and (value.get(rs, "status", "replicas") or 0) == 0 then idle[#idle + 1] = rs end
  end
  table.sort(idle, function(a, b) return revision(a) < revision(b) end)
  for i = 1, #idle - (d.spec.revisionHistoryLimit or 10) do
    cluster.objects:delete(cluster:res(REPLICASETS), d.metadata.namespace, idle[i].metadata.name)
  end
end

local function annotate(cluster, d, new)
  if not new then return end
  local wanted = tostring(revision(new))
  local surge = limits(d)
  cluster:modify(REPLICASETS, new.metadata.namespace, new.metadata.name, function(o)
    o.metadata.annotations = o.metadata.annotations or {}
    o.metadata.annotations["deployment.kubernetes.io/desired-replicas"] = tostring(d.spec.replicas)
    o.metadata.annotations["deployment.kubernetes.io/max-replicas"] = tostring(d.spec.replicas + surge)
  end)
  if value.get(d, "metadata", "annotations", REVISION) ~= wanted then
    cluster:modify(DEPLOYMENTS, d.metadata.namespace, d.metadata.name, function(o)
      o.metadata.annotations = o.metadata.annotations or {}
      o.metadata.annotations[REVISION] = wanted
    end)
  end
end

local function bump(cluster, new, sets)
  local last = 0
  for _, rs in ipairs(sets) do
    if rs ~= new then last = math.max(last, revision(rs)) end
  end
  if revision(new) > last then return new end
  return cluster:modify(REPLICASETS, new.metadata.namespace, new.metadata.name, function(o)
    o.metadata.annotations = o.metadata.annotations or {}
    o.metadata.annotations[REVISION] = tostring(last + 1)
  end)
end

function deployment.reconcile(cluster, namespace, name, manager)
  local d = cluster.store:get(DEPLOYMENTS, namespace, name)
  if not d or d.metadata.deletionTimestamp then
    cluster.rollouts[namespace .. "/" .. name] = nil
    return
  end
  adopt(cluster, d)
  local sets = pods.owned(cluster, REPLICASETS, d)
  local new = find_new(d, sets)
  local old = {}
  for _, rs in ipairs(sets) do
    if rs ~= new then old[#old + 1] = rs end
  end
  table.sort(old, function(a, b) return revision(a) < revision(b) end)
  if new then new = bump(cluster, new, sets) end
  if d.spec.paused then
    if new and wanted_total(old) == 0 then scale(cluster, d, new, d.spec.replicas) end
  elseif d.spec.strategy and d.spec.strategy.type == "Recreate" then
    recreate(cluster, d, new, old, sets)
  else
    if not new then
      local surge = limits(d)
      local room = math.max(0, d.spec.replicas + surge - wanted_total(old))
      new = new_replicaset(cluster, d, sets, math.min(d.spec.replicas, room))
    end
    roll(cluster, d, new, old)
  end
  sets = pods.owned(cluster, REPLICASETS, d)
  new = find_new(d, sets)
  annotate(cluster, d, new)
  deployment_status(cluster, d, new, sets, manager)
  forget_old(cluster, d, old)
end

-- Daemon sets

local all_daemonsets = keys.each(DAEMONSETS)

local daemonset = { name = "daemonset", component = KCM, watches = { [DAEMONSETS] = keys.itself, ["/pods"] = keys.owner "DaemonSet" },
  all = all_daemonsets }

daemonset.watches["/nodes"] = function(event, add, cluster)
  local a, b = event.old, event.object
  if event.type == "MODIFIED" and value.equal(a.spec, b.spec) and value.equal(a.metadata.labels, b.metadata.labels) then return end
  all_daemonsets(cluster, add)
end

local daemon_tolerations = {
  { key = "node.kubernetes.io/not-ready", operator = "Exists", effect = "NoExecute" },
  { key = "node.kubernetes.io/unreachable", operator = "Exists", effect = "NoExecute" },
  { key = "node.kubernetes.io/disk-pressure", operator = "Exists", effect = "NoSchedule" },
  { key = "node.kubernetes.io/memory-pressure", operator = "Exists", effect = "NoSchedule" },
  { key = "node.kubernetes.io/pid-pressure", operator = "Exists", effect = "NoSchedule" },
  { key = "node.kubernetes.io/unschedulable", operator = "Exists", effect = "NoSchedule" },
}

local function daemon_spec(ds, node)
  local spec = value.copy(ds.spec.template.spec)
  spec.tolerations = json.array(spec.tolerations or {})
  for _, t in ipairs(daemon_tolerations) do table.insert(spec.tolerations, value.copy(t)) end
  if spec.hostNetwork then
    table.insert(spec.tolerations, { key = "node.kubernetes.io/network-unavailable", operator = "Exists", effect = "NoSchedule" })
  end
  spec.affinity = spec.affinity or {}
  spec.affinity.nodeAffinity = { requiredDuringSchedulingIgnoredDuringExecution = { nodeSelectorTerms = json.array {
    { matchFields = json.array { { key = "metadata.name", operator = "In", values = json.array { node } } } } } } }
  return spec
end

local function target_of(pod)
  if pod.spec.nodeName then return pod.spec.nodeName end
  local terms = value.get(pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
  return value.get(terms, 1, "matchFields", 1, "values", 1)
end

local function daemon_revision(cluster, ds, hash)
  local name = ds.metadata.name .. "-" .. hash
  if cluster.store:get("apps/controllerrevisions", ds.metadata.namespace, name) then return end
  local n = 0
  for _, r in ipairs(pods.owned(cluster, "apps/controllerrevisions", ds)) do n = math.max(n, r.revision or 0) end
  cluster:ensure("apps/controllerrevisions", { metadata = { name = name, namespace = ds.metadata.namespace,
      labels = value.copy(ds.spec.template.metadata and ds.spec.template.metadata.labels or {}),
      ownerReferences = json.array { pods.reference(ds) } },
    data = { spec = { template = value.copy(ds.spec.template) } }, revision = n + 1 })
end

function daemonset.reconcile(cluster, namespace, name, manager)
  local ds = cluster.store:get(DAEMONSETS, namespace, name)
  if not ds or ds.metadata.deletionTimestamp then return end
  local hash = pods.hash(ds.spec.template)
  daemon_revision(cluster, ds, hash)
  local by_node = {}
  for _, p in ipairs(pods.owned(cluster, "/pods", ds)) do
    local node = target_of(p)
    if node then
      by_node[node] = by_node[node] or {}
      table.insert(by_node[node], p)
    end
  end
  local wanted, current, misplaced, updated, ready, available = 0, 0, 0, 0, 0, 0
  local stale = {}
  for _, node in ipairs(cluster.store:list "/nodes") do
    local spec = daemon_spec(ds, node.metadata.name)
    local probe = { spec = { nodeSelector = spec.nodeSelector, affinity = ds.spec.template.spec.affinity, tolerations = spec.tolerations } }
    local fits = scheduling.node_matches(probe, node) and not scheduling.untolerated(probe, node, true)
    local list = by_node[node.metadata.name] or {}
    local live
    for _, p in ipairs(list) do
      local phase = value.get(p, "status", "phase")
      if phase == "Failed" or phase == "Succeeded" then
        if not p.metadata.deletionTimestamp then pods.delete(cluster, ds, p, "daemonset-controller") end
      elseif not p.metadata.deletionTimestamp then
        live = live or p
      else
        live = live or false
      end
    end
    if fits then
      wanted = wanted + 1
      if live == nil then
        live = pods.make(cluster, ds, ds.spec.template, { component = "daemonset-controller",
          labels = { ["controller-revision-hash"] = hash, ["pod-template-generation"] = tostring(ds.metadata.generation or 1) },
          change = function(p) p.spec = spec end })
        if not live then manager:after(2, daemonset, namespace, name, 0.5) end
      end
      if live then
        current = current + 1
        if live.metadata.labels["controller-revision-hash"] == hash then updated = updated + 1 else stale[#stale + 1] = live end
        if pods.ready(live) then ready = ready + 1 end
        if pods.available(live, ds.spec.minReadySeconds) then available = available + 1 end
      end
    elseif live then
      misplaced = misplaced + 1
      pods.delete(cluster, ds, live, "daemonset-controller")
    end
  end
  local strategy = ds.spec.updateStrategy or {}
  if strategy.type ~= "OnDelete" and #stale > 0 then
    local room = math.max(1, percentage(value.get(strategy, "rollingUpdate", "maxUnavailable") or 1, wanted, true)) - (wanted - available)
    for _, p in ipairs(stale) do
      if not pods.ready(p) or room > 0 then
        if pods.ready(p) then room = room - 1 end
        pods.delete(cluster, ds, p, "daemonset-controller")
      end
    end
  end
  local function some(n) return n > 0 and n or nil end
  cluster:status(DAEMONSETS, namespace, name, function(o)
    o.status = { currentNumberScheduled = current, numberMisscheduled = misplaced, desiredNumberScheduled = wanted, numberReady = ready,
      observedGeneration = o.metadata.generation, updatedNumberScheduled = some(updated), numberAvailable = some(available),
      numberUnavailable = some(wanted - available) }
  end)
end

-- Stateful sets

local statefulset = { name = "statefulset", component = KCM, watches = { [STATEFULSETS] = keys.itself, ["/pods"] = keys.owner "StatefulSet" },
  all = keys.each(STATEFULSETS) }

local function claims(cluster, sts, pod, i)
  for _, t in ipairs(sts.spec.volumeClaimTemplates or {}) do
    local claim = ("%s-%s-%d"):format(t.metadata.name, sts.metadata.name, i)
    cluster:ensure("/persistentvolumeclaims", { metadata = { name = claim, namespace = sts.metadata.namespace,
      labels = value.copy(value.get(sts, "spec", "selector", "matchLabels") or {}) }, spec = value.copy(t.spec) })
    pod.spec.volumes = json.array(pod.spec.volumes or {})
    table.insert(pod.spec.volumes, { name = t.metadata.name, persistentVolumeClaim = { claimName = claim } })
  end
end

function statefulset.reconcile(cluster, namespace, name)
  local sts = cluster.store:get(STATEFULSETS, namespace, name)
  if not sts or sts.metadata.deletionTimestamp then return end
  local hash = name .. "-" .. pods.hash(sts.spec.template)
  local by_index, total, ready, available, updated = {}, 0, 0, 0, 0
  for _, p in ipairs(pods.owned(cluster, "/pods", sts)) do
    local i = math.tointeger(tonumber(p.metadata.name:match("%-(%d+)$")))
    if i then by_index[i] = p end
  end
  local parallel = sts.spec.podManagementPolicy == "Parallel"
  local settled = true
  for i = 0, sts.spec.replicas - 1 do
    local p = by_index[i]
    if not p and (settled or parallel) then
      pods.make(cluster, sts, sts.spec.template, { component = "statefulset-controller", name = name .. "-" .. i,
        labels = { ["controller-revision-hash"] = hash, ["statefulset.kubernetes.io/pod-name"] = name .. "-" .. i,
          ["apps.kubernetes.io/pod-index"] = tostring(i) },
        change = function(pod)
          pod.spec.hostname, pod.spec.subdomain = name .. "-" .. i, sts.spec.serviceName
          claims(cluster, sts, pod, i)
        end })
    end
    if not p or not pods.ready(p) or p.metadata.deletionTimestamp then settled = false end
  end
  local highest = -1
  for i in pairs(by_index) do highest = math.max(highest, i) end
  for i = highest, sts.spec.replicas, -1 do
    local p = by_index[i]
    if p then
      if not p.metadata.deletionTimestamp then pods.delete(cluster, sts, p, "statefulset-controller") end
      if not parallel then break end
    end
  end
  local partition = value.get(sts, "spec", "updateStrategy", "rollingUpdate", "partition") or 0
  if settled and value.get(sts, "spec", "updateStrategy", "type") ~= "OnDelete" then
    for i = sts.spec.replicas - 1, partition, -1 do
      local p = by_index[i]
      if p and p.metadata.labels["controller-revision-hash"] ~= hash then
        pods.delete(cluster, sts, p, "statefulset-controller")
        break
      end
    end
  end
  for _, p in ipairs(pods.owned(cluster, "/pods", sts)) do
    total = total + 1
    if pods.ready(p) then ready = ready + 1 end
    if pods.available(p, sts.spec.minReadySeconds) then available = available + 1 end
    if p.metadata.labels["controller-revision-hash"] == hash then updated = updated + 1 end
  end
  cluster:status(STATEFULSETS, namespace, name, function(o)
    local done = updated == o.spec.replicas and ready == o.spec.replicas
    o.status = { observedGeneration = o.metadata.generation, replicas = total, readyReplicas = ready > 0 and ready or nil,
      availableReplicas = available, updatedReplicas = updated > 0 and updated or nil, currentReplicas = updated > 0 and updated or nil,
      currentRevision = done and hash or (o.status and o.status.currentRevision or hash), updateRevision = hash,
      collisionCount = o.status and o.status.collisionCount or 0 }
  end)
end

return { deployment, replicaset, daemonset, statefulset }
