--- Objects whose owners are gone go too; owners that wait for their dependants are let go; orphans lose their reference.
local value = require "emulator.kubernetes.value"

local KCM = "kube-controller-manager"

-- Which objects refer to which owner, kept by the writes themselves.
local function index_of(cluster)
  local index = cluster.dependants
  if index then return index end
  index = {}
  cluster.dependants = index
  local function put(kind, o, present)
    for _, ref in ipairs(o.metadata.ownerReferences or {}) do
      local set = index[ref.uid]
      if not set and present then set = {}; index[ref.uid] = set end
      if set then
        set[kind .. "|" .. (o.metadata.namespace or "") .. "|" .. o.metadata.name] = present and { kind, o.metadata.namespace, o.metadata.name } or nil
        if next(set) == nil then index[ref.uid] = nil end
      end
    end
  end
  for _, kind in ipairs(cluster.store:kinds()) do
    for _, o in ipairs(cluster.store:list(kind)) do put(kind, o, true) end
  end
  cluster:subscribe(function(event)
    if event.old then put(event.kind, event.old, nil) end
    if event.type ~= "DELETED" then put(event.kind, event.object, true) end
  end)
  return index
end

local collector = { name = "garbage", component = KCM, watches = {} }

collector.watches["*"] = function(event, add, cluster)
  local o = event.object
  index_of(cluster)
  if event.type == "DELETED" then
    add(event.kind, o.metadata.uid)
    for _, ref in ipairs(o.metadata.ownerReferences or {}) do add("*", ref.uid .. "|" .. ref.apiVersion .. "|" .. ref.kind .. "|"
      .. ref.name .. "|" .. (o.metadata.namespace or "")) end
  elseif o.metadata.deletionTimestamp and (value.contains(o.metadata.finalizers, "foregroundDeletion")
    or value.contains(o.metadata.finalizers, "orphan")) then
    add(event.kind, (o.metadata.namespace or "") .. "/" .. o.metadata.name)
  elseif event.type == "ADDED" and o.metadata.ownerReferences then
    add("new", event.kind .. "|" .. (o.metadata.namespace or "") .. "|" .. o.metadata.name)
  end
end

function collector.all(cluster, add)
  index_of(cluster)
  for _, kind in ipairs(cluster.store:kinds()) do
    for _, o in ipairs(cluster.store:list(kind)) do
      if o.metadata.ownerReferences then add("new", kind .. "|" .. (o.metadata.namespace or "") .. "|" .. o.metadata.name) end
      if o.metadata.deletionTimestamp and #(o.metadata.finalizers or {}) > 0 then
        add(kind, (o.metadata.namespace or "") .. "/" .. o.metadata.name)
      end
    end
  end
end

local function dependants(cluster, uid)
  local out = {}
  for _, entry in pairs(index_of(cluster)[uid] or {}) do
    local o = cluster.store:get(entry[1], entry[2], entry[3])
    if o then out[#out + 1] = { kind = entry[1], object = o } end
  end
  return out
end

local function owner_exists(cluster, ref, namespace)
  local res = cluster.resources:of(ref.apiVersion, ref.kind)
  if not res then return nil end
  local owner = cluster.store:get(res.key, res.namespaced and namespace or nil, ref.name)
  return owner ~= nil and owner.metadata.uid == ref.uid
end

local function delete(cluster, kind, o, policy)
  if o.metadata.deletionTimestamp and not policy then return end
  local res = cluster.resources:by_key(kind)
  if res then cluster:try(function() cluster.objects:delete(res, o.metadata.namespace, o.metadata.name, { policy = policy,
    preconditions = { uid = o.metadata.uid } }) end) end
end

-- An object that none of its owners holds any more is deleted; else the dead references are dropped.
local function check(cluster, kind, o)
  local dead, alive = {}, 0
  for _, ref in ipairs(o.metadata.ownerReferences or {}) do
    local exists = owner_exists(cluster, ref, o.metadata.namespace)
    if exists == false then dead[ref.uid] = true else alive = alive + 1 end
  end
  if next(dead) == nil then return end
  if alive == 0 then return delete(cluster, kind, o) end
  local res = cluster.resources:by_key(kind)
  cluster.objects:modify(res, o.metadata.namespace, o.metadata.name, function(new)
    new.metadata.ownerReferences = value.filter(new.metadata.ownerReferences, function(ref) return not dead[ref.uid] end)
  end, { manager = KCM })
end

local function drop_finalizer(cluster, kind, o, finalizer)
  local res = cluster.resources:by_key(kind)
  cluster.objects:modify(res, o.metadata.namespace, o.metadata.name, function(new)
    local kept = value.filter(new.metadata.finalizers, function(f) return f ~= finalizer end)
    new.metadata.finalizers = #kept > 0 and kept or nil
  end, { manager = KCM })
end

local function foreground(cluster, kind, o)
  local waiting = false
  for _, d in ipairs(dependants(cluster, o.metadata.uid)) do
    local blocks = false
    for _, ref in ipairs(d.object.metadata.ownerReferences) do
      if ref.uid == o.metadata.uid and ref.blockOwnerDeletion then blocks = true end
    end
    if blocks then waiting = true end
    if not d.object.metadata.deletionTimestamp then delete(cluster, d.kind, d.object, "Foreground") end
  end
  if not waiting or #dependants(cluster, o.metadata.uid) == 0 then drop_finalizer(cluster, kind, o, "foregroundDeletion") end
end

local function orphan(cluster, kind, o)
  for _, d in ipairs(dependants(cluster, o.metadata.uid)) do
    cluster.objects:modify(cluster.resources:by_key(d.kind), d.object.metadata.namespace, d.object.metadata.name, function(new)
      local kept = value.filter(new.metadata.ownerReferences, function(ref) return ref.uid ~= o.metadata.uid end)
      new.metadata.ownerReferences = #kept > 0 and kept or nil
    end, { manager = KCM })
  end
  drop_finalizer(cluster, kind, o, "orphan")
end

function collector.reconcile(cluster, kind, key)
  if kind == "new" then
    local k, namespace, name = key:match("^([^|]*)|([^|]*)|(.*)$")
    local o = cluster.store:get(k, namespace ~= "" and namespace or nil, name)
    if o then check(cluster, k, o) end
    return
  end
  if kind == "*" then
    local uid, api_version, owner_kind, name, namespace = key:match("^([^|]*)|([^|]*)|([^|]*)|([^|]*)|(.*)$")
    local res = cluster.resources:of(api_version, owner_kind)
    local owner = res and cluster.store:get(res.key, res.namespaced and namespace or nil, name)
    if owner and owner.metadata.uid == uid and owner.metadata.deletionTimestamp
      and value.contains(owner.metadata.finalizers, "foregroundDeletion") then foreground(cluster, res.key, owner) end
    return
  end
  local namespace, name = key:match("^(.-)/(.+)$")
  if not name then                                    -- the uid of something that is gone
    for _, d in ipairs(dependants(cluster, key)) do check(cluster, d.kind, d.object) end
    return
  end
  local o = cluster.store:get(kind, namespace ~= "" and namespace or nil, name)
  if not o or not o.metadata.deletionTimestamp then return end
  if value.contains(o.metadata.finalizers, "orphan") then return orphan(cluster, kind, o) end
  if value.contains(o.metadata.finalizers, "foregroundDeletion") then return foreground(cluster, kind, o) end
end

return { collector }
