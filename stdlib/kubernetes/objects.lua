--- Sets of Kubernetes objects: order, comparing with what is there, applying, pruning, waiting.
local at_once = require "at_once"
local client = require "kubernetes.client"
local ownership = require "kubernetes.ownership"
local fail, json, yaml = require "fail", require "json", require "yaml"
local task = require "task"

local M = {}

local AT_ONCE = 8 -- requests to one server: more only wait there
local ESTABLISHED = 60 -- seconds for a definition to be established, and served

-- What others need first comes first: a namespace before what lives in it, a definition before its objects.
local RANK = { Namespace = 1, CustomResourceDefinition = 1, PriorityClass = 2, StorageClass = 2, ServiceAccount = 3, Secret = 3,
  ConfigMap = 3, ClusterRole = 3, Role = 3, ClusterRoleBinding = 4, RoleBinding = 4, Service = 4 }
local LAST = 5

--- The objects of a manifest's text: lists are opened, empty documents dropped. Fails with the place in the text.
function M.parse(text, name)
  local documents, message = yaml.decode_all(text)
  if not documents then error(fail { ("%s:%s"):format(name or "manifest", message), code = "syntax" }) end
  local objects = {}
  local function add(document, number)
    if document == json.null then return end
    if type(document) ~= "table" or type(document.kind) ~= "string" or type(document.apiVersion) ~= "string" then
      error(fail { ("%s: document %d is not a Kubernetes object (it needs apiVersion and kind)"):format(name or "manifest",
        number),
        code = "syntax" })
    end
    if document.kind == "List" then
      for _, item in ipairs(document.items or {}) do add(item, number) end
      return
    end
    if type(document.metadata) ~= "table" or type(document.metadata.name) ~= "string" then
      error(fail { ("%s: document %d (%s) has no metadata.name"):format(name or "manifest", number, document.kind),
        code = "syntax" })
    end
    objects[#objects + 1] = document
  end
  for number, document in ipairs(documents) do add(document, number) end
  return objects
end

--- In the order to apply them; equal ranks keep the order they came in.
function M.sorted(objects)
  local list = {}
  for i, object in ipairs(objects) do list[i] = { object = object, rank = RANK[object.kind] or LAST, at = i } end
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

local NOISE = { managedFields = true, resourceVersion = true, generation = true, uid = true, creationTimestamp = true,
  selfLink = true }

local function difference(path, before, after, secret, changes)
  if ownership.same(before, after) then return end
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
-- The server itself says: a dry run of the same apply is compared with what is there, unless that is surely as it should be.
function M.compare(api, object, options)
  local found = api:kind(object.apiVersion, object.kind)
  if not found then return nil end
  local live = api:get(object.apiVersion, object.kind, found.namespaced and (object.metadata.namespace or "default") or nil,
    object.metadata.name)
  if not live then return nil end
  if ownership.is_unchanged(object, live, options and options.manager or client.MANAGER) then return {}, live end
  local planned = api:apply(object, { dry_run = true, force = options and options.force, manager = options and options.manager })
  local changes = {}
  if planned then
    difference(object.kind .. " " .. object.metadata.name, bare(live), bare(planned), object.kind == "Secret", changes)
  end
  return changes, live
end

--- Runs fn(item) for all items, and raises the first failure after all have ended.
function M.all(items, fn) at_once(items, fn, AT_ONCE) end

--- The objects of this list that are not there as declared, in the same order.
function M.stale(api, objects, options)
  local marked, list = {}, {}
  M.all(objects, function(object)
    local changes = M.compare(api, object, options)
    marked[object] = not changes or #changes > 0
  end)
  for _, object in ipairs(objects) do if marked[object] then list[#list + 1] = object end end
  return list
end

-- Waits until a definition is established, and its kinds are in what the server says that it has.
local function established(api, definition)
  api:wait(definition, function(now)
    M.check(now)
    return now and client.condition(now, "Established") == "True"
  end, ESTABLISHED, "to be established")
  local ends, spec = task.now() + ESTABLISHED, definition.spec
  for _, version in ipairs(spec.versions or {}) do
    while version.served and not api:kind(spec.group .. "/" .. version.name, spec.names.kind) do
      if task.now() > ends then
        error(fail { ("%s: the server does not serve %s/%s after %d s"):format(definition.metadata.name, spec.group, version.name,
          ESTABLISHED),
          code = "timeout" })
      end
      task.sleep(0.05) -- discovery cannot be watched
    end
  end
end

-- The kinds that definitions among these objects make: { ["group/Kind"] = true }.
local function defined(objects)
  local kinds = {}
  for _, object in ipairs(objects) do
    if object.kind == "CustomResourceDefinition" then kinds[object.spec.group .. "/" .. object.spec.names.kind] = true end
  end
  return kinds
end

local function is_of(kinds, object)
  local group = object.apiVersion:match "^(.+)/"
  return group ~= nil and kinds[group .. "/" .. object.kind] == true
end

--- Applies objects in stages: what others need first, and within a stage all at once. Definitions are waited for before the
-- first object of their kinds, or at the end; with options.unsettled not at the end.
function M.apply(api, objects, options)
  local sorted, kinds = M.sorted(objects), defined(objects)
  local definitions, waited = {}, false
  local function settle()
    if not waited then M.all(definitions, function(definition) established(api, definition) end) end
    waited = true
  end
  local at = 1
  while at <= #sorted do
    local stage, rank, custom = {}, RANK[sorted[at].kind] or LAST, false
    while at <= #sorted and (RANK[sorted[at].kind] or LAST) == rank do
      local object = sorted[at]
      stage[#stage + 1] = object
      if object.kind == "CustomResourceDefinition" then definitions[#definitions + 1] = object end
      custom = custom or is_of(kinds, object)
      at = at + 1
    end
    if custom then settle() end
    M.all(stage, function(object) api:apply(object, options) end)
  end
  if not (options and options.unsettled) then settle() end
end

--- The live objects of this list that `manager` applied, in the same order.
function M.ours(api, objects, manager)
  local found, list = {}, {}
  M.all(objects, function(object)
    local namespaced = (api:kind(object.apiVersion, object.kind) or {}).namespaced
    local live = api:get(object.apiVersion, object.kind, namespaced and (object.metadata.namespace or "default") or nil,
      object.metadata.name)
    if live and ownership.is_applied(live, manager or client.MANAGER) then found[object] = live end
  end)
  for _, object in ipairs(objects) do list[#list + 1] = found[object] end
  return list
end

--- Deletes objects in the reverse order of applying. Of one that has a uid only the object with that uid.
function M.delete(api, objects)
  local sorted = M.sorted(objects)
  local at = #sorted
  while at > 0 do
    local stage, rank = {}, RANK[sorted[at].kind] or LAST
    while at > 0 and (RANK[sorted[at].kind] or LAST) == rank do
      stage[#stage + 1] = sorted[at]
      at = at - 1
    end
    M.all(stage, function(object) api:delete(object, { uid = object.metadata.uid }) end)
  end
end

local READY = {}

local function is_observed(o) return ((o.status or {}).observedGeneration or 0) >= (o.metadata.generation or 0) end

function READY.Deployment(o)
  local s, want = o.status or {}, o.spec.replicas or 1
  return is_observed(o) and (s.updatedReplicas or 0) >= want and (s.availableReplicas or 0) >= want
    and (s.replicas or 0) <= (s.updatedReplicas or 0)
end
function READY.StatefulSet(o)
  local s, want = o.status or {}, o.spec.replicas or 1
  if not is_observed(o) or (s.readyReplicas or 0) < want then return false end
  local kept = (((o.spec.updateStrategy or {}).rollingUpdate) or {}).partition or 0
  return (o.spec.updateStrategy or {}).type == "OnDelete" or s.updateRevision == s.currentRevision
    or (s.updatedReplicas or 0) >= want - kept
end
function READY.DaemonSet(o)
  local s = o.status or {}
  return is_observed(o) and s.desiredNumberScheduled ~= nil
    and (s.updatedNumberScheduled or 0) >= s.desiredNumberScheduled and (s.numberReady or 0) >= s.desiredNumberScheduled
end
function READY.Job(o) return client.condition(o, "Complete") == "True" end
function READY.CustomResourceDefinition(o) return client.condition(o, "Established") == "True" end

-- What a controller says when it has given up: a condition, its status and, where it has several, the reason.
local LOST = { Deployment = { "Progressing", "False", "ProgressDeadlineExceeded" }, Job = { "Failed", "True" },
  CustomResourceDefinition = { "NamesAccepted", "False" } }

--- Fails when an object says that it will not become ready by itself.
function M.check(object)
  local lost = object and LOST[object.kind]
  for _, condition in ipairs(lost and client.conditions(object) or {}) do
    local current = object.kind ~= "Deployment" or is_observed(object)
    if current and condition.type == lost[1] and condition.status == lost[2] and (not lost[3] or condition.reason == lost[3]) then
      error(fail { ("%s %s has failed: %s (%s)"):format(object.kind, object.metadata.name, condition.message or condition.type,
        condition.reason or condition.type), code = "rollout", hint = "see why: kubectl describe, and the events of its pods" })
    end
  end
end

--- Whether an object has become what it should: rolled out, established, or Ready where it says so.
function M.ready(object)
  local test = READY[object.kind]
  if test then return test(object) end
  local ready = client.condition(object, "Ready")
  return ready == nil or ready == "True"
end

--- Waits until all objects that can be ready are. Fails at once when one of them has given up.
function M.wait(api, objects, seconds)
  M.all(objects, function(object)
    if READY[object.kind] then
      api:wait(object, function(now)
        M.check(now)
        return now and M.ready(now)
      end, seconds, "to be rolled out")
    end
  end)
end

return M
