--- Namespaces: what each begins with, and emptying those that are deleted.
local json = require "json"
local value = require "emulator.kubernetes.value"

local KEY, KCM = "/namespaces", "kube-controller-manager"

local function all(cluster, add)
  for _, n in ipairs(cluster.store:list(KEY)) do add(nil, n.metadata.name) end
end

local contents = { name = "namespace-contents", component = KCM, all = all, watches = {} }

contents.watches[KEY] = function(event, add)
  if event.type == "ADDED" then add(nil, event.object.metadata.name) end
end
contents.watches["/serviceaccounts"] = function(event, add)
  if event.type == "DELETED" then add(nil, event.object.metadata.namespace) end
end
contents.watches["/configmaps"] = function(event, add)
  if event.object.metadata.name == "kube-root-ca.crt" and event.type ~= "ADDED" then add(nil, event.object.metadata.namespace) end
end

function contents.reconcile(cluster, _, name)
  local namespace = cluster.store:get(KEY, nil, name)
  if not namespace or namespace.metadata.deletionTimestamp then return end
  cluster:ensure("/serviceaccounts", { metadata = { name = "default", namespace = name } })
  if cluster.ca then
    local data = { ["ca.crt"] = cluster.ca.cert }
    local _, created = cluster:ensure("/configmaps", { metadata = { name = "kube-root-ca.crt", namespace = name,
      annotations = { ["kubernetes.io/description"] = "The certificate authority of this cluster's API servers." } }, data = data })
    if not created then cluster:modify("/configmaps", name, "kube-root-ca.crt", function(o) o.data = data end) end
  end
end

local deletion = { name = "namespace-deletion", component = KCM, watches = {} }

function deletion.all(cluster, add)
  for _, n in ipairs(cluster.store:list(KEY)) do
    if n.metadata.deletionTimestamp then add(nil, n.metadata.name) end
  end
end

deletion.watches[KEY] = function(event, add)
  if event.type ~= "DELETED" and event.object.metadata.deletionTimestamp then add(nil, event.object.metadata.name) end
end
deletion.watches["*"] = function(event, add, cluster)
  local name = event.type == "DELETED" and event.object.metadata.namespace
  local namespace = name and cluster.store:get(KEY, nil, name)
  if namespace and namespace.metadata.deletionTimestamp then add(nil, name) end
end

local function condition(o, type_, state, reason, message)
  o.status.conditions = o.status.conditions or json.array {}
  local old, at = value.find(o.status.conditions, "type", type_)
  if old and old.status == state and old.message == message then return end
  o.status.conditions[at or #o.status.conditions + 1] = { type = type_, status = state, reason = reason, message = message,
    lastTransitionTime = value.time() }
end

function deletion.reconcile(cluster, _, name)
  local namespace = cluster.store:get(KEY, nil, name)
  if not namespace or not namespace.metadata.deletionTimestamp then return end
  local left, held = {}, {}
  for _, kind in ipairs(cluster.store:kinds()) do
    local res = cluster.resources:by_key(kind)
    if res and res.namespaced then
      for _, o in ipairs(cluster.store:list(kind, name)) do
        local _, gone = cluster.objects:delete(res, name, o.metadata.name)
        if not gone then
          left[#left + 1] = res.plural .. (res.group ~= "" and "." .. res.group or "")
          for _, f in ipairs(o.metadata.finalizers or {}) do held[f] = (held[f] or 0) + 1 end
        end
      end
    end
  end
  if #left == 0 then
    cluster:modify(KEY, nil, name, function(o)
      o.spec.finalizers = value.filter(o.spec.finalizers, function(f) return f ~= "kubernetes" end)
    end)
    return
  end
  cluster:status(KEY, nil, name, function(o)
    condition(o, "NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered", "All resources successfully discovered")
    condition(o, "NamespaceContentRemaining", "True", "SomeResourcesRemain",
      ("Some resources are remaining: %s has %d resource instances"):format(left[1], #left))
    local names = value.keys(held)
    if #names > 0 then
      condition(o, "NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain",
        ("Some content in the namespace has finalizers remaining: %s in %d resource instances"):format(names[1], held[names[1]]))
    end
  end)
end

return { contents, deletion }
