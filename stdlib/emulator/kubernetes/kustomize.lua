--- Kustomize over a tree of files in memory: resources, components, patches, names, labels, images, generators. What is
-- not understood is an error, never left out silently.
local crypto = require "crypto"
local json = require "json"
local yaml = require "yaml"
local value = require "emulator.kubernetes.value"
local patch = require "emulator.kubernetes.patch"
local selector = require "emulator.kubernetes.selector"
local status = require "emulator.kubernetes.status"
local schema = require "emulator.kubernetes.schema"
local Resources = require "emulator.kubernetes.resources"

local kustomize = {}

local NAMES = { "kustomization.yaml", "kustomization.yml", "Kustomization" }

local known = { apiVersion = true, kind = true, metadata = true, resources = true, bases = true, components = true, namespace = true,
  namePrefix = true, nameSuffix = true, commonLabels = true, labels = true, commonAnnotations = true, patches = true,
  patchesStrategicMerge = true, patchesJson6902 = true, images = true, replicas = true, configMapGenerator = true,
  secretGenerator = true, generatorOptions = true, sortOptions = true, crds = true, configurations = true, buildMetadata = true }

local cluster_scoped = { Namespace = true, Node = true, ClusterRole = true, ClusterRoleBinding = true, CustomResourceDefinition = true,
  PersistentVolume = true, StorageClass = true, PriorityClass = true, IngressClass = true, APIService = true, RuntimeClass = true,
  ValidatingWebhookConfiguration = true, MutatingWebhookConfiguration = true, CSIDriver = true, ClusterIssuer = true }

local registry

local function resource_of(object)
  registry = registry or Resources.new()
  return registry:of(object.apiVersion, object.kind)
end

local function fail(path, text) error({ kustomize = true, message = path .. ": " .. text }, 0) end

local function join(folder, path)
  local parts = {}
  if path:sub(1, 1) == "/" then folder = "" end
  for part in (folder .. "/" .. path):gmatch("[^/]+") do
    if part == ".." then
      if #parts == 0 then fail(path, "it leads out of the repository") end
      table.remove(parts)
    elseif part ~= "." then
      parts[#parts + 1] = part
    end
  end
  return table.concat(parts, "/")
end
kustomize.join = join

local function is_folder(files, path)
  if path == "" then return true end
  local prefix = path .. "/"
  for name in pairs(files) do
    if name:sub(1, #prefix) == prefix then return true end
  end
  return false
end
kustomize.is_folder = is_folder

local function kustomization_in(files, folder)
  for _, name in ipairs(NAMES) do
    local path = folder == "" and name or folder .. "/" .. name
    if files[path] then return path end
  end
end

local function is_object(o) return type(o) == "table" and o.kind ~= nil and o.apiVersion ~= nil end

local function parse(text, path)
  local list, why = yaml.decode_all(text)
  if not list then fail(path, why) end
  local out = {}
  for _, o in ipairs(list) do
    if type(o) == "table" and next(o) ~= nil then
      if not is_object(o) then fail(path, "an object without apiVersion or kind") end
      if o.kind == "List" or o.kind:match("List$") and o.items then
        for _, item in ipairs(o.items or {}) do out[#out + 1] = item end
      else
        if not value.get(o, "metadata", "name") and not value.get(o, "metadata", "generateName") then
          fail(path, ("%s without metadata.name"):format(o.kind))
        end
        out[#out + 1] = value.compact(o)
      end
    end
  end
  return out
end

local function namespaced(o)
  local res = resource_of(o)
  if res then return res.namespaced end
  return not cluster_scoped[o.kind]
end

-- Where a kind keeps pod templates and selectors.

local function pod_spec(o)
  if o.kind == "Pod" then return o.spec end
  if o.kind == "CronJob" then return value.get(o, "spec", "jobTemplate", "spec", "template", "spec") end
  return value.get(o, "spec", "template", "spec")
end

local function each_container(o, fn)
  local spec = pod_spec(o)
  for _, list in ipairs { "initContainers", "containers" } do
    for _, c in ipairs(type(spec) == "table" and spec[list] or {}) do fn(c) end
  end
end

local function add(map, more)
  map = map or {}
  for k, v in pairs(more) do map[k] = v end
  return map
end

local function label(objects, pairs_, selectors, templates)
  for _, o in ipairs(objects) do
    o.metadata.labels = add(o.metadata.labels, pairs_)
    local template = o.kind == "CronJob" and value.get(o, "spec", "jobTemplate", "spec", "template") or value.get(o, "spec", "template")
    if (selectors or templates) and type(template) == "table" and template.spec then
      template.metadata = template.metadata or {}
      template.metadata.labels = add(template.metadata.labels, pairs_)
    end
    if selectors then
      local s = value.get(o, "spec", "selector")
      if o.kind == "Service" then
        if s then add(s, pairs_) end
      elseif type(s) == "table" and (template or o.kind == "PodDisruptionBudget") then
        s.matchLabels = add(s.matchLabels, pairs_)
      elseif o.kind == "NetworkPolicy" and value.get(o, "spec", "podSelector") then
        o.spec.podSelector.matchLabels = add(o.spec.podSelector.matchLabels, pairs_)
      end
    end
  end
end

local function annotate(objects, pairs_)
  for _, o in ipairs(objects) do
    o.metadata.annotations = add(o.metadata.annotations, pairs_)
    local template = value.get(o, "spec", "template")
    if type(template) == "table" and template.spec then
      template.metadata = template.metadata or {}
      template.metadata.annotations = add(template.metadata.annotations, pairs_)
    end
  end
end

-- Patches

local function pattern_of(text)
  return function(v) return v ~= nil and (require("emulator.kubernetes.regex").match("^(" .. text .. ")$", v) or v == text) end
end

local function targets(objects, target)
  local out = {}
  for _, o in ipairs(objects) do
    local group, version = o.apiVersion:match("^(.+)/(.+)$")
    local ok = (not target.kind or pattern_of(target.kind)(o.kind)) and (not target.name or pattern_of(target.name)(o.metadata.name))
      and (not target.namespace or pattern_of(target.namespace)(o.metadata.namespace))
      and (not target.group or target.group == (group or "")) and (not target.version or target.version == (version or o.apiVersion))
    if ok and target.labelSelector then ok = selector.labels(target.labelSelector)(o.metadata.labels or {}) end
    if ok and target.annotationSelector then ok = selector.labels(target.annotationSelector)(o.metadata.annotations or {}) end
    if ok then out[#out + 1] = o end
  end
  return out
end

local function replace(objects, old, new)
  for i, o in ipairs(objects) do
    if o == old then
      if new == nil then table.remove(objects, i) else objects[i] = new end
      return
    end
  end
end

local function merge(o, change)
  if change["$patch"] == "delete" then return nil end
  local res = resource_of(o)
  local name, namespace, kind, api = o.metadata.name, o.metadata.namespace, o.kind, o.apiVersion
  local new = value.compact(value.copy(patch.strategic(res and res.schema or schema.any, o, change)))
  new.metadata.name, new.metadata.namespace, new.kind, new.apiVersion = name, namespace, kind, api
  return new
end

local function strategic(objects, change, target, path)
  local found
  if target then found = targets(objects, target) else
    found = {}
    for _, o in ipairs(objects) do
      local m = change.metadata or {}
      if o.kind == change.kind and o.metadata.name == m.name and (not m.namespace or o.metadata.namespace == m.namespace)
        and (not change.apiVersion or change.apiVersion:match("^(.*)/") == o.apiVersion:match("^(.*)/")) then found[#found + 1] = o end
    end
    if #found == 0 then
      fail(path, ("no matches for Id %s.%s; failed to find unique target for patch"):format(change.kind or "?", value.get(change, "metadata", "name") or "?"))
    end
  end
  for _, o in ipairs(found) do replace(objects, o, merge(o, change)) end
end

local function json6902(objects, operations, target, path)
  for _, o in ipairs(targets(objects, target or {})) do
    local ok, new = pcall(patch.json, o, operations)
    if not ok then fail(path, status.is(new) and new.body.message or tostring(new)) end
    replace(objects, o, new)
  end
end

local function apply_patch(objects, text, target, path)
  local documents, why = yaml.decode_all(text)
  if not documents then fail(path, "a patch: " .. why) end
  for _, document in ipairs(documents) do
    if json.is_array(document) then
      json6902(objects, document, target, path)
    elseif type(document) == "table" and next(document) ~= nil then
      strategic(objects, document, target, path)
    end
  end
end

--- Applies patches of the form {patch=, path=, target=} to a list of objects, in place.
function kustomize.patch(objects, list, files, folder, at)
  for _, p in ipairs(list or {}) do
    local text = p.patch
    if not text and p.path then
      text = files[join(folder, p.path)]
      if not text then fail(at, ("patch file '%s' does not exist"):format(p.path)) end
    end
    apply_patch(objects, text or "", p.target, at)
  end
end

-- Images and replicas

local function split_image(image)
  local name, digest = image:match("^(.-)@(.+)$")
  if name then return name, nil, digest end
  local head, tag = image:match("^(.*):([^/:]+)$")
  return head or image, tag
end

--- Sets images: list of {name=, newName=, newTag=, digest=}.
function kustomize.images(objects, list)
  for _, o in ipairs(objects) do
    each_container(o, function(c)
      local name, tag, digest = split_image(c.image or "")
      for _, i in ipairs(list or {}) do
        if i.name == name then
          local new = i.newName or name
          if i.digest then c.image = new .. "@" .. i.digest
          elseif i.newTag then c.image = new .. ":" .. i.newTag
          else c.image = new .. (digest and "@" .. digest or tag and ":" .. tag or "") end
        end
      end
    end)
  end
end

local function replicas(objects, list)
  for _, r in ipairs(list or {}) do
    for _, o in ipairs(objects) do
      if o.metadata.name == r.name and (o.kind == "Deployment" or o.kind == "StatefulSet" or o.kind == "ReplicaSet") then
        o.spec.replicas = r.count
      end
    end
  end
end

-- Generators

local function env_file(text)
  local out = {}
  for line in text:gmatch("[^\r\n]+") do
    local k, v = line:match("^%s*([^#=%s][^=]*)=(.*)$")
    if k then out[k] = v end
  end
  return out
end

local function generated(g, files, folder, at)
  local data = {}
  for _, l in ipairs(g.literals or {}) do
    local k, v = l:match("^([^=]+)=(.*)$")
    if not k then fail(at, "literal '" .. l .. "' is not key=value") end
    data[k] = v:match('^"(.*)"$') or v:match("^'(.*)'$") or v
  end
  for _, f in ipairs(g.files or {}) do
    local k, path = f:match("^([^=]+)=(.*)$")
    path = path or f
    local text = files[join(folder, path)]
    if not text then fail(at, "file '" .. path .. "' does not exist") end
    data[k or path:match("[^/]+$")] = text
  end
  local envs = g.envs or (g.env and { g.env }) or {}
  for _, e in ipairs(envs) do
    local text = files[join(folder, e)]
    if not text then fail(at, "file '" .. e .. "' does not exist") end
    add(data, env_file(text))
  end
  return data
end

local function suffix(o)
  local hash = crypto.sha256(json.encode({ o.kind, o.data, o.type or "" }, { sort = true })):sub(1, 10)
  return (hash:gsub(".", { ["0"] = "g", ["1"] = "h", ["3"] = "k", a = "m", e = "t" }))
end

local function generators(spec, kind, objects, files, folder, at, renamed)
  local list = kind == "ConfigMap" and spec.configMapGenerator or spec.secretGenerator
  for _, g in ipairs(list or {}) do
    local options = add(value.copy(spec.generatorOptions or {}), g.options or {})
    local data = generated(g, files, folder, at)
    if kind == "Secret" then
      for k, v in pairs(data) do data[k] = crypto.base64(v) end
    end
    local o = { apiVersion = "v1", kind = kind, metadata = { name = g.name, namespace = g.namespace, labels = value.copy(options.labels),
      annotations = value.copy(options.annotations) }, data = data, type = kind == "Secret" and (g.type or "Opaque") or nil }
    local existing
    for _, other in ipairs(objects) do
      if other.kind == kind and (renamed[other] or other.metadata.name) == g.name then existing = other end
    end
    if g.behavior == "merge" or g.behavior == "replace" then
      if not existing then fail(at, ("%s '%s' to %s does not exist"):format(kind, g.name, g.behavior)) end
      if g.behavior == "merge" then add(existing.data, data) else existing.data = data end
    else
      if existing then fail(at, ("%s '%s' exists already"):format(kind, g.name)) end
      if not options.disableNameSuffixHash then
        renamed[o] = g.name
        o.metadata.name = g.name .. "-" .. suffix(o)
      end
      objects[#objects + 1] = o
    end
  end
end

-- Names and the references to them

local function rename_in(o, map)
  local function ref(t, key, kind)
    local new = t and t[key] and map[kind .. "/" .. t[key]]
    if new then t[key] = new end
  end
  local spec = pod_spec(o)
  if type(spec) == "table" then
    ref(spec, "serviceAccountName", "ServiceAccount")
    for _, s in ipairs(spec.imagePullSecrets or {}) do ref(s, "name", "Secret") end
    for _, v in ipairs(spec.volumes or {}) do
      ref(v.configMap, "name", "ConfigMap")
      ref(v.secret, "secretName", "Secret")
      ref(v.persistentVolumeClaim, "claimName", "PersistentVolumeClaim")
      for _, s in ipairs(v.projected and v.projected.sources or {}) do
        ref(s.configMap, "name", "ConfigMap")
        ref(s.secret, "name", "Secret")
      end
    end
    each_container(o, function(c)
      for _, e in ipairs(c.envFrom or {}) do
        ref(e.configMapRef, "name", "ConfigMap")
        ref(e.secretRef, "name", "Secret")
      end
      for _, e in ipairs(c.env or {}) do
        ref(value.get(e, "valueFrom", "configMapKeyRef"), "name", "ConfigMap")
        ref(value.get(e, "valueFrom", "secretKeyRef"), "name", "Secret")
      end
    end)
  end
  if o.roleRef then ref(o.roleRef, "name", o.roleRef.kind) end
  for _, s in ipairs(o.subjects or {}) do
    if s.kind == "ServiceAccount" then ref(s, "name", "ServiceAccount") end
  end
  if o.kind == "Ingress" then
    local function backend(b) ref(b and b.service, "name", "Service") end
    backend(value.get(o, "spec", "defaultBackend"))
    for _, r in ipairs(value.get(o, "spec", "rules") or {}) do
      for _, p in ipairs(value.get(r, "http", "paths") or {}) do backend(p.backend) end
    end
  end
  local scaled = value.get(o, "spec", "scaleTargetRef")
  if type(scaled) == "table" then ref(scaled, "name", scaled.kind or "") end
end

local function affix(objects, prefix, tail)
  local map = {}
  for _, o in ipairs(objects) do
    if o.kind ~= "CustomResourceDefinition" and o.kind ~= "Namespace" then
      local new = (prefix or "") .. o.metadata.name .. (tail or "")
      map[o.kind .. "/" .. o.metadata.name] = new
      o.metadata.name = new
    end
  end
  for _, o in ipairs(objects) do rename_in(o, map) end
end

local function set_namespace(objects, namespace)
  local accounts = { default = true }
  for _, o in ipairs(objects) do
    if o.kind == "ServiceAccount" then accounts[o.metadata.name] = true end
  end
  for _, o in ipairs(objects) do
    if namespaced(o) then o.metadata.namespace = namespace end
    for _, s in ipairs(o.subjects or {}) do
      if s.kind == "ServiceAccount" and accounts[s.name] then s.namespace = namespace end
    end
  end
end
kustomize.set_namespace = set_namespace

local function check_twice(objects, at)
  local seen = {}
  for _, o in ipairs(objects) do
    local id = table.concat({ o.apiVersion:match("^(.*)/") or "", o.kind, o.metadata.namespace or "", o.metadata.name }, "|")
    if seen[id] then
      fail(at, ("may not add resource with an already registered id: %s %s"):format(o.kind, o.metadata.name))
    end
    seen[id] = true
  end
end

local build

local function read_spec(files, path)
  local spec, why = yaml.decode(files[path])
  if type(spec) ~= "table" then fail(path, why or "it is empty") end
  for _, name in ipairs(value.keys(spec)) do
    if not known[name] then fail(path, ("field '%s' is not supported here"):format(name)) end
  end
  return spec
end

local function load(files, folder, item, at, renamed, depth)
  if item:match("^%a+://") or item:match("^git@") or item:match("github%.com/") then
    fail(at, ("remote resource '%s' is not fetched here"):format(item))
  end
  local path = join(folder, item)
  if files[path] then return parse(files[path], path) end
  if is_folder(files, path) then return build(files, path, renamed, depth + 1) end
  fail(at, ("accumulating resources: '%s' does not exist"):format(item))
end

local function transform(objects, spec, files, folder, at, renamed)
  generators(spec, "ConfigMap", objects, files, folder, at, renamed)
  generators(spec, "Secret", objects, files, folder, at, renamed)
  for _, p in ipairs(spec.patchesStrategicMerge or {}) do
    apply_patch(objects, files[join(folder, p)] or p, nil, at)
  end
  kustomize.patch(objects, spec.patches, files, folder, at)
  kustomize.patch(objects, spec.patchesJson6902, files, folder, at)
  if spec.namespace then set_namespace(objects, spec.namespace) end
  local fresh, any = {}, false
  for o, old in pairs(renamed) do
    fresh[o.kind .. "/" .. old] = o.metadata.name
    any = true
  end
  if any then
    for _, o in ipairs(objects) do rename_in(o, fresh) end
  end
  if spec.namePrefix or spec.nameSuffix then affix(objects, spec.namePrefix, spec.nameSuffix) end
  if spec.commonLabels then label(objects, spec.commonLabels, true, true) end
  for _, l in ipairs(spec.labels or {}) do label(objects, l.pairs or {}, l.includeSelectors, l.includeTemplates) end
  if spec.commonAnnotations then annotate(objects, spec.commonAnnotations) end
  kustomize.images(objects, spec.images)
  replicas(objects, spec.replicas)
end

function build(files, folder, renamed, depth, base)
  if depth > 30 then fail(folder, "kustomizations refer to each other in a circle") end
  local at = kustomization_in(files, folder)
  if not at then fail(folder, "there is no kustomization.yaml") end
  local spec = read_spec(files, at)
  local objects = base or {}
  for _, field in ipairs { "resources", "bases" } do
    for _, item in ipairs(spec[field] or {}) do
      for _, o in ipairs(load(files, folder, item, at, renamed, depth)) do objects[#objects + 1] = o end
    end
  end
  for _, item in ipairs(spec.components or {}) do
    local path = join(folder, item)
    if not kustomization_in(files, path) then fail(at, ("component '%s' does not exist"):format(item)) end
    objects = build(files, path, renamed, depth + 1, objects)
  end
  transform(objects, spec, files, folder, at, renamed)
  check_twice(objects, at)
  return objects
end

-- A folder without a kustomization: everything below it that looks like a manifest.
local function collect(files, folder)
  local objects, covered = {}, {}
  local prefix = folder == "" and "" or folder .. "/"
  for _, path in ipairs(value.keys(files)) do
    if path:sub(1, #prefix) == prefix and (path:match("%.ya?ml$")) then
      local inside
      local parent = path:match("^(.*)/") or ""
      while #parent > #folder do
        if kustomization_in(files, parent) then inside = parent end
        if not parent:find("/", 1, true) then break end
        parent = parent:match("^(.*)/")
      end
      if inside then
        if not covered[inside] then
          covered[inside] = true
          for _, o in ipairs(build(files, inside, {}, 0)) do objects[#objects + 1] = o end
        end
      else
        local list = yaml.decode_all(files[path])
        local usable = list ~= nil
        for _, o in ipairs(list or {}) do
          if type(o) ~= "table" or next(o) ~= nil and not is_object(o) then usable = false end
        end
        if usable then
          for _, o in ipairs(parse(files[path], path)) do objects[#objects + 1] = o end
        end
      end
    end
  end
  check_twice(objects, folder)
  return objects
end

--- Builds a folder of files {path = text}: a list of objects; or nil and why.
function kustomize.build(files, folder)
  folder = join("", folder)
  local ok, result = pcall(function()
    if not is_folder(files, folder) then fail(folder, "no such folder") end
    if kustomization_in(files, folder) then return build(files, folder, {}, 0) end
    return collect(files, folder)
  end)
  if ok then return result end
  if type(result) == "table" and result.kustomize then return nil, result.message end
  if status.is(result) then return nil, result.body.message end
  error(result, 0)
end

--- Runs a function that changes objects; returns true, or nil and why.
function kustomize.try(fn, ...)
  local ok, why = pcall(fn, ...)
  if ok then return true end
  if type(why) == "table" and why.kustomize then return nil, why.message end
  if status.is(why) then return nil, why.body.message end
  error(why, 0)
end

return kustomize
