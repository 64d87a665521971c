--- Sets of Kubernetes objects: order, comparing with what is there, applying, pruning, waiting.
local client = require "kubernetes.client"
local fail, json, yaml = require "fail", require "json", require "yaml"
local task = require "task"

local M = {}

-- What others need first comes first: a namespace before what lives in it, a definition before its objects.
local RANK = { Namespace = 1, CustomResourceDefinition = 1, PriorityClass = 2, StorageClass = 2, ServiceAccount = 3, Secret = 3,
  ConfigMap = 3, ClusterRole = 3, Role = 3, ClusterRoleBinding = 4, RoleBinding = 4, Service = 4 }

--- The objects of a manifest's text: lists are opened, empty documents dropped. Fails with the place in the text.
function M.parse(text, name)
  local documents, message = yaml.decode_all(text)
  if not documents then error(fail { ("%s:%s"):format(name or "manifest", message), code = "syntax" }) end
  local objects = {}
  local function add(document, number)
    if document == json.null then return end
    if type(document) ~= "table" or type(document.kind) ~= "string" or type(document.apiVersion) ~= "string" then
      error(fail { ("%s: document %d is not a Kubernetes object (it needs apiVersion and kind)"):format(name or "manifest", number),
        code = "syntax" })
    end
    if document.kind == "List" then
      for _, item in ipairs(document.items or {}) do add(item, number) end
      return
    end
    if type(document.metadata) ~= "table" or type(document.metadata.name) ~= "string" then
      error(fail { ("%s: document %d (%s) has no metadata.name"):format(name or "manifest", number, document.kind), code = "syntax" })
    end
    objects[#objects + 1] = document
  end
  for number, document in ipairs(documents) do add(document, number) end
  return objects
end

--- In the order to apply them; equal ranks keep the order they came in.
function M.sorted(objects)
  local list = {}
  for i, object in ipairs(objects) do list[i] = { object = object, rank = RANK[object.kind] or 5, at = i } end
  table.sort(list, function(a, b)
    if a.rank ~= b.rank then return a.rank < b.rank end
    return a.at < b.at
  end)
  for i, entry in ipairs(list) do list[i] = entry.object end
  return list
end

--- "apps/v1/Deployment/default/nginx": what an object is called in state and messages.
function M.id(object)
  return ("%s/%s/%s/%s"):format(object.apiVersion, object.kind, object.metadata.namespace or "", object.metadata.name)
end

--- The object that an id names, without content.
function M.from_id(id)
  local api_version, kind, namespace, name = id:match("^(.+)/([^/]+)/([^/]*)/([^/]+)$")
  return { apiVersion = api_version, kind = kind, metadata = { namespace = namespace ~= "" and namespace or nil, name = name } }
end

local NOISE = { managedFields = true, resourceVersion = true, generation = true, uid = true, creationTimestamp = true, selfLink = true }

local function same(a, b)
  if type(a) ~= type(b) then return false end
  if type(a) ~= "table" then return a == b end
  for key, value in pairs(a) do if not same(value, b[key]) then return false end end
  for key in pairs(b) do if a[key] == nil then return false end end
  return true
end

local function difference(path, before, after, secret, changes)
  if same(before, after) then return end
  local objects = type(before) == "table" and type(after) == "table" and #before == 0 and #after == 0
  if not objects then
    local function shown(value)
      if value == nil then return nil end
      return secret and "(secret)" or value
    end
    changes[#changes + 1] = { path = path, old = shown(before), new = shown(after) }
    return
  end
  local keys = {}
  for key in pairs(before) do keys[key] = true end
  for key in pairs(after) do keys[key] = true end
  local names = {}
  for key in pairs(keys) do names[#names + 1] = key end
  table.sort(names)
  for _, key in ipairs(names) do difference(path .. "." .. key, before[key], after[key], secret, changes) end
end

local function bare(object)
  local copy, metadata = {}, {}
  for key, value in pairs(object) do copy[key] = value end
  for key, value in pairs(object.metadata or {}) do if not NOISE[key] then metadata[key] = value end end
  copy.metadata, copy.status = metadata, nil
  return copy
end

--- What applying an object would change: a list of { path, old, new }, empty when nothing would; nil when it is not there.
-- The server itself says: a dry run of the same apply is compared with what is there.
function M.compare(api, object, options)
  local found = api:kind(object.apiVersion, object.kind)
  if not found then return nil end
  local live = api:get(object.apiVersion, object.kind, found.namespaced and (object.metadata.namespace or "default") or nil,
    object.metadata.name)
  if not live then return nil end
  local planned = api:apply(object, { dry_run = true, force = options and options.force, manager = options and options.manager })
  local changes = {}
  if planned then
    difference(object.kind .. " " .. object.metadata.name, bare(live), bare(planned), object.kind == "Secret", changes)
  end
  return changes, live
end

local function established(api, definition)
  api:wait(definition, function(now)
    return now and client.condition(now, "Established") == "True"
  end, 60, "to be established")
end

--- Runs fn(item) for all items at once, and raises the first failure after all have ended.
function M.all(items, fn)
  local tasks = {}
  for i, item in ipairs(items) do tasks[i] = task.spawn(fn, item) end
  local failure
  for _, t in ipairs(tasks) do
    local ok, err = t:join()
    if not ok and not failure then failure = err end
  end
  if failure then error(failure, 0) end
end

--- Applies objects in stages: what others need first, definitions waited for; within a stage all at once.
function M.apply(api, objects, options)
  local sorted = M.sorted(objects)
  local at = 1
  while at <= #sorted do
    local stage, rank = {}, RANK[sorted[at].kind] or 5
    while at <= #sorted and (RANK[sorted[at].kind] or 5) == rank do
      stage[#stage + 1] = sorted[at]
      at = at + 1
    end
    M.all(stage, function(object) api:apply(object, options) end)
    M.all(stage, function(object)
      if object.kind == "CustomResourceDefinition" then established(api, object) end
    end)
  end
end

--- Deletes objects in reverse order.
function M.delete(api, objects, options)
  local sorted = M.sorted(objects)
  for i = #sorted, 1, -1 do api:delete(sorted[i], options) end
end

local READY = {}

function READY.Deployment(o)
  local s, want = o.status or {}, o.spec.replicas or 1
  return (s.observedGeneration or 0) >= (o.metadata.generation or 0) and (s.updatedReplicas or 0) >= want
    and (s.availableReplicas or 0) >= want
end
function READY.StatefulSet(o)
  return (o.status or {}).readyReplicas == (o.spec.replicas or 1)
end
function READY.DaemonSet(o)
  local s = o.status or {}
  return (s.observedGeneration or 0) >= (o.metadata.generation or 0) and s.desiredNumberScheduled ~= nil
    and (s.updatedNumberScheduled or 0) >= s.desiredNumberScheduled and (s.numberReady or 0) >= s.desiredNumberScheduled
end
function READY.Job(o) return client.condition(o, "Complete") == "True" end
function READY.CustomResourceDefinition(o) return client.condition(o, "Established") == "True" end

--- Whether an object has become what it should: rolled out, established, or Ready where it says so.
function M.ready(object)
  local test = READY[object.kind]
  if test then return test(object) end
  local ready = client.condition(object, "Ready")
  return ready == nil or ready == "True"
end

--- Waits until all objects that can be ready are.
function M.wait(api, objects, seconds)
  M.all(objects, function(object)
    if READY[object.kind] then
      api:wait(object, function(now) return now and M.ready(now) end, seconds)
    end
  end)
end

return M
