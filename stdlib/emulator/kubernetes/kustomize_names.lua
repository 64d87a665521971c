--- Names of objects in kustomize: what an object was called before, who refers to it, and how references follow when names,
-- namespaces or hashes change.
local value = require "emulator.kubernetes.value"

local names = {}

local past = setmetatable({}, { __mode = "k" })      -- object -> list of {name=, namespace=}, the oldest first

--- A new form of an object has the names of the old one.
function names.inherit(new, old) past[new] = past[old] end

--- Calls fn(name, namespace) for what the object is called and was called; true when fn gave true.
function names.any(o, fn)
  if fn(o.metadata.name, o.metadata.namespace) then return true end
  for _, id in ipairs(past[o] or {}) do
    if fn(id.name, id.namespace) then return true end
  end
  return false
end

local pod_paths = { Pod = "spec", CronJob = "spec/jobTemplate/spec/template/spec", Deployment = "spec/template/spec", StatefulSet = "spec/template/spec",
  DaemonSet = "spec/template/spec", ReplicaSet = "spec/template/spec", Job = "spec/template/spec", ReplicationController = "spec/template/spec" }
names.pod_paths = pod_paths

-- Where pods name things: path below the pod's spec = kind.
local of_pods = { serviceAccountName = "ServiceAccount", priorityClassName = "PriorityClass", ["imagePullSecrets/*/name"] = "Secret",
  ["volumes/*/configMap/name"] = "ConfigMap", ["volumes/*/secret/secretName"] = "Secret", ["volumes/*/projected/sources/*/configMap/name"] = "ConfigMap",
  ["volumes/*/projected/sources/*/secret/name"] = "Secret", ["volumes/*/persistentVolumeClaim/claimName"] = "PersistentVolumeClaim" }
for _, list in ipairs { "containers", "initContainers" } do
  of_pods[list .. "/*/envFrom/*/configMapRef/name"] = "ConfigMap"
  of_pods[list .. "/*/envFrom/*/secretRef/name"] = "Secret"
  of_pods[list .. "/*/env/*/valueFrom/configMapKeyRef/name"] = "ConfigMap"
  of_pods[list .. "/*/env/*/valueFrom/secretKeyRef/name"] = "Secret"
end

-- Where other kinds do. A path that ends in / is of an object {name=, namespace=}; kind "" is what the object says.
local webhooks = { ["webhooks/*/clientConfig/service/"] = "Service" }
local rules = { ["rules/*/resourceNames/*"] = "ConfigMap", ["rules/*/resourceNames/*/"] = "Secret" }
local bindings = { ["roleRef/name"] = "", ["subjects/*/"] = "ServiceAccount" }
local of_kinds = {
  Ingress = { ["spec/tls/*/secretName"] = "Secret", ["spec/defaultBackend/service/name"] = "Service",
    ["spec/rules/*/http/paths/*/backend/service/name"] = "Service", ["spec/ingressClassName"] = "IngressClass" },
  ServiceAccount = { ["imagePullSecrets/*/name"] = "Secret", ["secrets/*/name"] = "Secret" },
  StatefulSet = { ["spec/serviceName"] = "Service", ["spec/volumeClaimTemplates/*/spec/storageClassName"] = "StorageClass" },
  HorizontalPodAutoscaler = { ["spec/scaleTargetRef/name"] = "" },
  RoleBinding = bindings, ClusterRoleBinding = bindings, Role = rules, ClusterRole = rules,
  PersistentVolumeClaim = { ["spec/volumeName"] = "PersistentVolume", ["spec/storageClassName"] = "StorageClass" },
  PersistentVolume = { ["spec/storageClassName"] = "StorageClass" },
  ValidatingWebhookConfiguration = webhooks, MutatingWebhookConfiguration = webhooks,
  APIService = { ["spec/service/"] = "Service" },
  CustomResourceDefinition = { ["spec/conversion/webhook/clientConfig/service/"] = "Service" },
}

local function split(path)
  local out = {}
  for part in path:gmatch("[^/]+") do out[#out + 1] = part end
  return out
end

-- Calls fn(holder, key) for each place of a path that exists; `*` is each item of a list.
local function visit(at, path, fn, i)
  i = i or 1
  if type(at) ~= "table" then return end
  if path[i] == "*" then
    for k in ipairs(at) do
      if i == #path then fn(at, k) else visit(at[k], path, fn, i + 1) end
    end
  elseif i == #path then
    if at[path[i]] ~= nil then fn(at, path[i]) end
  else
    visit(at[path[i]], path, fn, i + 1)
  end
end

--- Calls fn(holder, key) for each place of an object that a path ("spec/ports/*/name") leads to.
function names.visit(o, path, fn) visit(o, split(path), fn) end

-- The object of a kind that a reference means: by the name that it had just before, else by an older one. Without a namespace it
-- may be in any.
local function meant(was, kind, name, namespace)
  local found, old
  for _, e in ipairs(was[kind] or {}) do
    if namespace and e.namespace and e.namespace ~= namespace then
      -- another namespace's
    elseif e.name == name then
      if not found or e.namespace == namespace then found = e end
    elseif not old then
      for _, id in ipairs(past[e.object] or {}) do
        if id.name == name then old = e end
      end
    end
  end
  return found or old
end

local function follow(was, o, namespace, path, kind)
  local whole = path:sub(-1) == "/"
  names.visit(o, path, function(holder, key)
    local at = holder[key]
    if type(at) == "table" and whole then
      local e = meant(was, kind, at.name, at.namespace)
      if not e then return end
      local m = e.object.metadata
      if m.name ~= at.name or m.namespace ~= e.namespace then at.name, at.namespace = m.name, m.namespace end
    elseif type(at) == "string" then
      local e = meant(was, kind ~= "" and kind or holder.kind or "", at, namespace or "default")
      if e then holder[key] = e.object.metadata.name end
    end
  end)
end

--- Runs a function that renames objects or moves them to another namespace, and lets the references among them follow.
function names.change(objects, fn)
  local was, before = {}, {}
  for i, o in ipairs(objects) do
    local m = o.metadata
    was[o.kind] = was[o.kind] or {}
    table.insert(was[o.kind], { object = o, name = m.name, namespace = m.namespace })
    before[i] = { name = m.name, namespace = m.namespace }
  end
  fn()
  for i, o in ipairs(objects) do
    local m, b = o.metadata, before[i]
    if m.name ~= b.name or m.namespace ~= b.namespace then
      past[o] = value.copy(past[o] or {})
      table.insert(past[o], b)
    end
  end
  for i, o in ipairs(objects) do
    local at = pod_paths[o.kind]
    for path, kind in pairs(at and of_pods or {}) do follow(was, o, before[i].namespace, at .. "/" .. path, kind) end
    for path, kind in pairs(of_kinds[o.kind] or {}) do follow(was, o, before[i].namespace, path, kind) end
  end
end

return names
