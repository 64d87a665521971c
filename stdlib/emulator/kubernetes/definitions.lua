--- Custom resource definitions: they are established at once, add their kinds to the registry, and take their objects
-- with them when they go.
local json = require "json"
local value = require "emulator.kubernetes.value"

local KEY = "apiextensions.k8s.io/customresourcedefinitions"
local FINALIZER = "customresourcecleanup.apiextensions.k8s.io"

--- The key of definitions, and the finalizer that one gets when it is deleted: its objects go first.
local definitions = { KEY = KEY, FINALIZER = FINALIZER }

local function condition(type_, status, reason, message)
  return { type = type_, status = status, reason = reason, message = message, lastTransitionTime = value.time() }
end

local function establish(cluster, crd)
  local name = crd.metadata.name
  local accepted = value.get(crd, "status", "acceptedNames")
  local storage
  for _, v in ipairs(crd.spec.versions or {}) do
    if v.storage then storage = v.name end
  end
  local stored = value.get(crd, "status", "storedVersions") or json.array {}
  if accepted and value.equal(accepted, crd.spec.names) and value.contains(stored, storage) then return end
  cluster.objects:modify(cluster:res(KEY), nil, name, function(o)
    o.status = o.status or {}
    o.status.acceptedNames = value.copy(o.spec.names)
    o.status.storedVersions = json.array(value.copy(stored))
    if not value.contains(stored, storage) then table.insert(o.status.storedVersions, storage) end
    if not value.find(o.status.conditions, "type", "Established") then
      o.status.conditions = json.array { condition("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
        condition("Established", "True", "InitialNamesAccepted", "the initial names have been accepted") }
    end
  end, { manager = "kube-apiserver", subresource = "status" })
end

local function finalize(cluster, crd)
  if not value.contains(crd.metadata.finalizers, FINALIZER) then return end
  local key = crd.spec.group .. "/" .. crd.spec.names.plural
  local res = cluster.resources:by_key(key)
  local left = 0
  for _, object in ipairs(res and table.move(cluster.store:list(key), 1, #cluster.store:list(key), 1, {}) or {}) do
    local _, gone = cluster.objects:delete(res, object.metadata.namespace, object.metadata.name)
    if not gone then left = left + 1 end
  end
  if left > 0 then return end
  cluster.objects:modify(cluster:res(KEY), nil, crd.metadata.name, function(o)
    o.metadata.finalizers = value.filter(o.metadata.finalizers, function(f) return f ~= FINALIZER end)
  end, { manager = "kube-apiserver" })
end

--- Follows the definitions of a cluster from now on.
function definitions.attach(cluster)
  local custom = {}
  for _, crd in ipairs(cluster.store:list(KEY)) do
    cluster.resources:define(crd.metadata.name, crd)
    custom[crd.spec.group .. "/" .. crd.spec.names.plural] = crd.metadata.name
  end
  local busy = {}
  cluster.store:subscribe(function(event)
    if event.kind ~= KEY then
      local owner = custom[event.kind]
      local crd = event.type == "DELETED" and owner and cluster.store:get(KEY, nil, owner)
      if crd and crd.metadata.deletionTimestamp and not busy[owner] then
        busy[owner] = true
        finalize(cluster, crd)
        busy[owner] = nil
      end
      return
    end
    local crd, name = event.object, event.object.metadata.name
    local key = crd.spec.group .. "/" .. crd.spec.names.plural
    if event.type == "DELETED" then
      cluster.resources:define(name, nil)
      custom[key] = nil
      return
    end
    if not event.old or not value.equal(event.old.spec, crd.spec) then
      cluster.resources:define(name, crd)
      custom[key] = name
    end
    if busy[name] then return end
    busy[name] = true
    if crd.metadata.deletionTimestamp then finalize(cluster, crd) else establish(cluster, crd) end
    busy[name] = nil
  end)
end

return definitions
