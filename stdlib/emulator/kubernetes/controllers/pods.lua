--- What the controllers of pods share: owners, templates, hashes, readiness.
local crypto = require "crypto"
local json = require "json"
local value = require "emulator.kubernetes.value"
local admission = require "emulator.kubernetes.admission"

local pods = {}

local alphabet = "bcdfghjklmnpqrstvwxz2456789"

--- A short stable name for a template.
function pods.hash(template)
  local n = tonumber(crypto.sha256(json.encode(template, { sort = true })):sub(1, 8), 16)
  return (tostring(n):gsub(".", function(c)
    local at = c:byte() % #alphabet + 1
    return alphabet:sub(at, at)
  end))
end

--- The reference of an object's controller, or nil.
function pods.controller(object)
  for _, ref in ipairs(object.metadata.ownerReferences or {}) do
    if ref.controller then return ref end
  end
end

--- A controller reference to an owner.
function pods.reference(owner)
  return { apiVersion = owner.apiVersion, kind = owner.kind, name = owner.metadata.name, uid = owner.metadata.uid,
    controller = true, blockOwnerDeletion = true }
end

--- Objects of a kind in the owner's namespace that it controls.
function pods.owned(cluster, key, owner)
  local out = {}
  for _, o in ipairs(cluster.store:list(key, owner.metadata.namespace)) do
    local ref = pods.controller(o)
    if ref and ref.uid == owner.metadata.uid then out[#out + 1] = o end
  end
  return out
end

--- Does it run, or will it?
function pods.active(pod)
  local phase = value.get(pod, "status", "phase")
  return not pod.metadata.deletionTimestamp and phase ~= "Succeeded" and phase ~= "Failed"
end

function pods.ready(pod)
  local c = value.find(value.get(pod, "status", "conditions"), "type", "Ready")
  return c ~= nil and c.status == "True", c
end

--- Is it ready, and for long enough? Also returns the nominal seconds that are missing.
function pods.available(pod, min_ready)
  local ok, c = pods.ready(pod)
  if not ok then return false end
  if not min_ready or min_ready == 0 then return true end
  local left = min_ready - (os.time() - (value.seconds(c.lastTransitionTime) or 0))
  return left <= 0, left
end

--- A pod of a template for an owner. extra: name, labels, fn(pod).
function pods.make(cluster, owner, template, extra)
  local m = value.copy(template.metadata or {})
  local pod = { metadata = { labels = m.labels or {}, annotations = m.annotations, finalizers = m.finalizers,
    namespace = owner.metadata.namespace, ownerReferences = json.array { pods.reference(owner) } }, spec = value.copy(template.spec) }
  if extra.name then pod.metadata.name = extra.name else
    pod.metadata.generateName = owner.metadata.name .. "-"
    repeat
      pod.metadata.name = pod.metadata.generateName .. admission.suffix(5)
    until not cluster.store:get("/pods", owner.metadata.namespace, pod.metadata.name)
  end
  for k, v in pairs(extra.labels or {}) do pod.metadata.labels[k] = v end
  if extra.change then extra.change(pod) end
  local created, why = cluster:try(function()
    return cluster.objects:create(cluster:res "/pods", pod, { namespace = owner.metadata.namespace, manager = "kube-controller-manager" })
  end)
  if created then
    cluster:event(owner, "Normal", "SuccessfulCreate", "Created pod: " .. created.metadata.name, extra.component)
  else
    cluster:event(owner, "Warning", "FailedCreate", "Error creating: " .. why, extra.component)
  end
  return created, why
end

--- Deletes a pod for its owner.
function pods.delete(cluster, owner, pod, component)
  local _, why = cluster:try(function()
    cluster.objects:delete(cluster:res "/pods", pod.metadata.namespace, pod.metadata.name)
  end)
  if not why then cluster:event(owner, "Normal", "SuccessfulDelete", "Deleted pod: " .. pod.metadata.name, component) end
end

--- Sorts pods so that those which are missed least come first.
function pods.rank_for_removal(list)
  local function rank(p)
    if not p.spec.nodeName then return 0 end
    if value.get(p, "status", "phase") ~= "Running" then return 1 end
    return pods.ready(p) and 3 or 2
  end
  table.sort(list, function(a, b)
    local x, y = rank(a), rank(b)
    if x ~= y then return x < y end
    if a.metadata.creationTimestamp ~= b.metadata.creationTimestamp then
      return a.metadata.creationTimestamp > b.metadata.creationTimestamp
    end
    return a.metadata.name < b.metadata.name
  end)
end

--- Sets a condition; its transition time changes only with its status.
function pods.condition(conditions, type_, state, reason, message, updated)
  local old, at = value.find(conditions, "type", type_)
  local c = { type = type_, status = state, reason = reason, message = message,
    lastTransitionTime = old and old.status == state and old.lastTransitionTime or value.time(),
    lastUpdateTime = updated and (old and old.status == state and old.reason == reason and old.message == message
      and old.lastUpdateTime or value.time()) or nil }
  conditions[at or #conditions + 1] = c
end

return pods
