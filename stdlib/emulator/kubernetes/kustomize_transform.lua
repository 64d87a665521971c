--- What a kustomization does with the objects that it has gathered: patches, namespace, names, labels, annotations, replicas, images.
local json = require "json"
local yaml = require "yaml"
local value = require "emulator.kubernetes.value"
local fieldset = require "emulator.kubernetes.fieldset"
local names = require "emulator.kubernetes.kustomize_names"
local patch = require "emulator.kubernetes.patch"
local regex = require "regex"
local selector = require "emulator.kubernetes.selector"
local status = require "emulator.kubernetes.status"
local schema = require "emulator.kubernetes.schema"
local Resources = require "emulator.kubernetes.resources"

local transform = {}

local cluster_scoped = { Namespace = true, Node = true, ClusterRole = true, ClusterRoleBinding = true, CustomResourceDefinition = true,
  PersistentVolume = true, StorageClass = true, PriorityClass = true, IngressClass = true, APIService = true, RuntimeClass = true,
  ValidatingWebhookConfiguration = true, MutatingWebhookConfiguration = true, CSIDriver = true, CSINode = true, VolumeAttachment = true }

local registry

local function resource_of(o)
  registry = registry or Resources.new()
  return registry:of(o.apiVersion, o.kind)
end

local function fail(text) error({ kustomize = true, message = text }, 0) end

local function namespaced(o)
  local res = resource_of(o)
  if res then return res.namespaced end
  return not cluster_scoped[o.kind]
end

--- An object's identity, as kustomize writes it in messages.
function transform.id(o)
  local group, version = tostring(o.apiVersion or "[noVer]"):match("^(.+)/(.+)$")
  local m = o.metadata or {}
  return ("%s.%s.%s/%s.%s"):format(o.kind or "[noKind]", version or o.apiVersion or "[noVer]", group or "[noGrp]", m.name or "[noName]",
    m.namespace or "[noNs]")
end

-- Labels and annotations. Each path leads to a map; a ! at its end: it is made where it is missing.

local templates, selectors, annotated = {}, {}, {}
for _, kind in ipairs { "ReplicationController", "Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "Job" } do
  templates[kind], annotated[kind] = { "spec/template/metadata/labels!" }, { "spec/template/metadata/annotations!" }
  selectors[kind] = { kind == "Job" and "spec/selector/matchLabels" or "spec/selector/matchLabels!" }
end
selectors.ReplicationController, selectors.Service = { "spec/selector!" }, { "spec/selector!" }
templates.CronJob = { "spec/jobTemplate/metadata/labels!", "spec/jobTemplate/spec/template/metadata/labels!" }
annotated.CronJob = { "spec/jobTemplate/metadata/annotations!", "spec/jobTemplate/spec/template/metadata/annotations!" }
selectors.CronJob = { "spec/jobTemplate/spec/selector/matchLabels" }
table.insert(templates.StatefulSet, "spec/volumeClaimTemplates/*/metadata/labels!")
selectors.PodDisruptionBudget = { "spec/selector/matchLabels" }
selectors.NetworkPolicy = { "spec/podSelector/matchLabels", "spec/ingress/*/from/*/podSelector/matchLabels", "spec/egress/*/to/*/podSelector/matchLabels" }
for _, kind in ipairs { "Deployment", "StatefulSet" } do
  local at = "spec/template/spec/"
  for _, name in ipairs { "podAffinity", "podAntiAffinity" } do
    table.insert(selectors[kind], at .. "affinity/" .. name .. "/preferredDuringSchedulingIgnoredDuringExecution/*/podAffinityTerm/labelSelector/matchLabels")
    table.insert(selectors[kind], at .. "affinity/" .. name .. "/requiredDuringSchedulingIgnoredDuringExecution/*/labelSelector/matchLabels")
  end
  table.insert(selectors[kind], at .. "topologySpreadConstraints/*/labelSelector/matchLabels")
end

local function put(at, parts, i, map, make)
  if type(at) ~= "table" then return end
  local part = parts[i]
  if part == "*" then
    for _, item in ipairs(at) do put(item, parts, i + 1, map, make) end
    return
  end
  if at[part] == nil then
    if not make or parts[i + 1] == "*" then return end
    at[part] = {}
  end
  if i == #parts then at[part] = value.add(at[part], map) else put(at[part], parts, i + 1, map, make) end
end

local function put_all(o, list, map)
  for _, path in ipairs(list or {}) do
    local parts = {}
    for part in path:gsub("!$", ""):gmatch("[^/]+") do parts[#parts + 1] = part end
    put(o, parts, 1, map, path:sub(-1) == "!")
  end
end

local function label(objects, map, with_selectors, with_templates)
  for _, o in ipairs(objects) do
    o.metadata.labels = value.add(o.metadata.labels, map)
    if with_selectors then put_all(o, selectors[o.kind], map) end
    if with_selectors or with_templates then put_all(o, templates[o.kind], map) end
  end
end

local function annotate(objects, map)
  for _, o in ipairs(objects) do
    o.metadata.annotations = value.add(o.metadata.annotations, map)
    put_all(o, annotated[o.kind], map)
  end
end

-- Patches

local function matches(pattern, text)
  if not pattern or pattern == "" then return true end
  return text ~= nil and (text == pattern or regex.match("^(" .. pattern .. ")$", text))
end

local function targets(objects, target)
  local out = {}
  for _, o in ipairs(objects) do
    local group, version = o.apiVersion:match("^(.+)/(.+)$")
    local ok = matches(target.kind, o.kind) and matches(target.group, group or "") and matches(target.version, version or o.apiVersion)
      and names.any(o, function(name, namespace)
        return matches(target.name, name) and (matches(target.namespace, namespace) or target.namespace == "default" and namespace == nil)
      end)
    if ok and target.labelSelector then ok = selector.labels(target.labelSelector)(o.metadata.labels or {}) end
    if ok and target.annotationSelector then ok = selector.labels(target.annotationSelector)(o.metadata.annotations or {}) end
    if ok then out[#out + 1] = o end
  end
  return out
end

local function replace(objects, old, new)
  for i, o in ipairs(objects) do
    if o == old then
      if new == nil then table.remove(objects, i) else
        objects[i] = new
        names.inherit(new, old)
        if transform.hashed[old] then transform.hashed[new] = true end
      end
      return
    end
  end
end

-- Lists by key: what the patch names comes first, in its order.
local function reorder(type_, new, change)
  if type(new) ~= "table" or type(change) ~= "table" then return end
  type_ = fieldset.resolve(type_, change)
  if type_.is ~= "object" and type_.is ~= "map" then return end
  for k, v in pairs(change) do
    local of = type(v) == "table" and fieldset.field_type(type_, k)
    if of and of.is == "list" and of.keys and type(new[k]) == "table" then
      local first, taken = json.array {}, {}
      for _, item in ipairs(v) do
        for i, candidate in ipairs(new[k]) do
          if not taken[i] and type(item) == "table" and item[of.keys[1]] ~= nil and candidate[of.keys[1]] == item[of.keys[1]] then
            first[#first + 1], taken[i] = candidate, true
            reorder(of.of, candidate, item)
            break
          end
        end
      end
      for i, candidate in ipairs(new[k]) do
        if not taken[i] then first[#first + 1] = candidate end
      end
      new[k] = first
    elseif of then
      reorder(of, new[k], v)
    end
  end
end

local function merge(o, change)
  if change["$patch"] == "delete" then return nil end
  local res = resource_of(o)
  local type_ = res and res.schema or schema.any
  local m = o.metadata
  local new = value.compact(value.copy(patch.strategic(type_, o, change)))
  reorder(type_, new, change)
  new.metadata.name, new.metadata.namespace, new.kind, new.apiVersion = m.name, m.namespace, o.kind, o.apiVersion
  return new
end

local function group(o) return tostring(o.apiVersion or ""):match("^(.*)/") or "" end

local function by_identity(objects, change)
  local m, found = change.metadata or {}, {}
  for _, o in ipairs(objects) do
    local same = o.kind == change.kind and o.apiVersion == change.apiVersion and group(o) == group(change) and names.any(o, function(name, namespace)
      return name == m.name and (namespace or "default") == (m.namespace or "default")
    end)
    if same then found[#found + 1] = o end
  end
  if #found ~= 1 then
    local id = transform.id(change)
    local why = #found == 0 and "no matches for Id " .. id or "multiple matches for Id " .. id
    fail(('no resource matches strategic merge patch "%s": %s; failed to find unique target for patch %s'):format(id, why, id))
  end
  return found
end

local function strategic(objects, change, target)
  for _, o in ipairs(target and targets(objects, target) or by_identity(objects, change)) do replace(objects, o, merge(o, change)) end
end

local function json6902(objects, operations, target)
  for _, o in ipairs(targets(objects, target or {})) do
    local ok, new = pcall(patch.json, o, operations)
    if not ok then
      if not status.is(new) then error(new, 0) end
      fail((new.body.message:gsub("^the server rejected our request due to an error in our request: ", "")
        :gsub("doc is missing path: (%S+):", 'doc is missing path: "%1":')))
    end
    replace(objects, o, value.compact(new))
  end
end

local function apply_patch(objects, text, target)
  local documents, why = yaml.decode_all(text)
  if not documents then fail(("unable to parse SM or JSON patch from [%s]: %s"):format(text, why)) end
  for _, document in ipairs(documents) do
    if json.is_array(document) then
      if not target then fail("must specify a target for JSON patch [" .. text .. "]") end
      json6902(objects, document, target)
    elseif type(document) == "table" and next(document) ~= nil then
      strategic(objects, document, target)
    end
  end
end

local function patches(objects, list, read)
  for _, p in ipairs(list or {}) do
    if p.patch and p.path then fail("patch and path can't be set at the same time") end
    if not p.patch and not p.path then fail("must specify one of patch and path in PatchTransformer") end
    apply_patch(objects, p.patch or read(p.path, "failed to get the patch file from path(" .. p.path .. ")"), p.target)
  end
end

-- Images and replicas

local function split_image(image)
  local name, digest = image:match("^(.-)@(.+)$")
  local head, tag = (name or image):match("^(.*):([^/:]+)$")
  return head or name or image, tag, digest
end

local function image_of(image, list)
  local name, tag, digest = split_image(image)
  for _, i in ipairs(list) do
    if i.name == name then
      local new = i.newName or name
      local new_tag, new_digest = i.newTag and tostring(i.newTag), i.digest
      if not new_tag and not new_digest then new_tag, new_digest = tag, digest end
      return new .. (new_tag and ":" .. new_tag or "") .. (new_digest and "@" .. new_digest or "")
    end
  end
  return image
end

-- Containers may be anywhere: in templates of custom kinds too.
local function images(at, list)
  if type(at) ~= "table" then return end
  for k, v in pairs(at) do
    if (k == "containers" or k == "initContainers") and type(v) == "table" then
      for _, c in ipairs(v) do
        if type(c) == "table" and type(c.image) == "string" then c.image = image_of(c.image, list) end
      end
    end
    images(v, list)
  end
end

local scaled = { Deployment = true, StatefulSet = true, ReplicaSet = true, ReplicationController = true }

local function replicas(objects, list)
  for _, r in ipairs(list or {}) do
    local found = false
    for _, o in ipairs(objects) do
      if scaled[o.kind] and names.any(o, function(name) return name == r.name end) then
        o.spec = o.spec or {}
        o.spec.replicas, found = r.count, true
      end
    end
    if not found then
      fail(("resource with name %s does not match a config with the following GVK [Deployment.[noVer].[noGrp] ReplicationController.[noVer].[noGrp] "
        .. "ReplicaSet.[noVer].[noGrp] StatefulSet.[noVer].[noGrp]]"):format(r.name))
    end
  end
end

-- Names

local function affix(objects, prefix, tail)
  names.change(objects, function()
    for _, o in ipairs(objects) do
      if o.kind ~= "CustomResourceDefinition" and o.kind ~= "Namespace" and o.kind ~= "APIService" then
        o.metadata.name = (prefix or "") .. o.metadata.name .. (tail or "")
      end
    end
  end)
end

local function set_namespace(objects, namespace)
  names.change(objects, function()
    for _, o in ipairs(objects) do
      if o.kind == "Namespace" then o.metadata.name = namespace end
      if namespaced(o) then o.metadata.namespace = namespace end
      for _, s in ipairs(o.subjects or {}) do
        if s.kind == "ServiceAccount" and s.name == "default" then s.namespace = namespace end
      end
    end
  end)
  for _, o in ipairs(objects) do
    if o.kind == "APIService" and value.get(o, "spec", "service") then o.spec.service.namespace = namespace end
  end
end

--- Objects whose names get a hash of their content when all is done.
transform.hashed = setmetatable({}, { __mode = "k" })

--- Carries out a kustomization's fields on objects, in place. read(path, what) gives a file's text or fails.
function transform.run(objects, spec, read)
  for _, p in ipairs(spec.patchesStrategicMerge or {}) do
    apply_patch(objects, p:find("\n", 1, true) and p or read(p, "failed to get the patch file from path(" .. p .. ")"))
  end
  patches(objects, spec.patches, read)
  if spec.namespace and spec.namespace ~= "" then set_namespace(objects, spec.namespace) end
  if spec.namePrefix or spec.nameSuffix then affix(objects, spec.namePrefix, spec.nameSuffix) end
  if spec.commonLabels then label(objects, spec.commonLabels, true, true) end
  for _, l in ipairs(spec.labels or {}) do label(objects, l.pairs, l.includeSelectors, l.includeTemplates) end
  if spec.commonAnnotations then annotate(objects, spec.commonAnnotations) end
  patches(objects, spec.patchesJson6902, read)
  replicas(objects, spec.replicas)
  if spec.images then
    for _, o in ipairs(objects) do images(o, spec.images) end
  end
end

return transform
