--- Kustomize over a tree of files in memory: resources, components, generators, and what kustomize_transform does with them. What
-- is not understood is an error, never left out silently; errors are worded as kustomize words them, the tree's root being /.
local crypto = require "crypto"
local json = require "json"
local yaml = require "yaml"
local value = require "emulator.kubernetes.value"
local names = require "emulator.kubernetes.kustomize_names"
local transform = require "emulator.kubernetes.kustomize_transform"
local status = require "emulator.kubernetes.status"

local kustomize = {}

local NAMES = { "kustomization.yaml", "kustomization.yml", "Kustomization" }

local known = { apiVersion = true, kind = true, metadata = true, resources = true, bases = true, components = true, namespace = true,
  namePrefix = true, nameSuffix = true, commonLabels = true, labels = true, commonAnnotations = true, patches = true,
  patchesStrategicMerge = true, patchesJson6902 = true, images = true, replicas = true, configMapGenerator = true,
  secretGenerator = true, generatorOptions = true, sortOptions = true, buildMetadata = true }

-- What kustomize knows and this does not.
local foreign = { helmCharts = true, helmGlobals = true, helmChartInflationGenerator = true, vars = true, replacements = true, crds = true,
  configurations = true, generators = true, transformers = true, validators = true, openapi = true, inventory = true }

local lists = { "resources", "bases", "components", "patches", "patchesStrategicMerge", "patchesJson6902", "images", "replicas", "configMapGenerator",
  "secretGenerator", "labels" }
local texts = { "namespace", "namePrefix", "nameSuffix" }

local function fail(text) error({ kustomize = true, message = text }, 0) end

--- The path that another one means from a folder; "" is the root, which nothing leads out of.
function kustomize.join(folder, path)
  local parts = {}
  if path:sub(1, 1) == "/" then folder = "" end
  for part in (folder .. "/" .. path):gmatch("[^/]+") do
    if part == ".." then table.remove(parts) elseif part ~= "." then parts[#parts + 1] = part end
  end
  return table.concat(parts, "/")
end
local join = kustomize.join

-- Does a relative path leave the tree?
local function leaves(folder, path)
  local depth = select(2, folder:gsub("[^/]+", ""))
  if path:sub(1, 1) == "/" then return true end
  for part in path:gmatch("[^/]+") do
    if part == ".." then depth = depth - 1 elseif part ~= "." then depth = depth + 1 end
    if depth < 0 then return true end
  end
  return false
end

--- Is there a folder of this path among the files?
function kustomize.is_folder(files, path)
  if path == "" then return true end
  local prefix = path .. "/"
  for name in pairs(files) do
    if name:sub(1, #prefix) == prefix then return true end
  end
  return false
end

local function kustomization_in(files, folder)
  for _, name in ipairs(NAMES) do
    local path = folder == "" and name or folder .. "/" .. name
    if files[path] then return path end
  end
end

local function missing(path) return ("evalsymlink failure on '/%s' : lstat /%s: no such file or directory"):format(path, path) end

-- Reads a file for a field; a file must be below its kustomization.
local function reader(files, folder)
  return function(path, what)
    local whole = join(folder, path)
    if leaves(folder, path) or folder ~= "" and whole:sub(1, #folder + 1) ~= folder .. "/" then
      fail(("%s: security; file '/%s' is not in or below '/%s'"):format(what, whole, folder))
    end
    return files[whole] or fail(what .. ": " .. missing(whole))
  end
end

-- Objects of a text; or nil and why it is none.
local function parse(text, name)
  local list, why = yaml.decode_all(text)
  if not list then
    local line, rest = tostring(why):match("^(%d+):%d+: (.*)$")
    return nil, ("MalformedYAMLError: yaml: %s in File: %s"):format(line and "line " .. line .. ": " .. rest or why, name)
  end
  local out = {}
  for _, o in ipairs(list) do
    if type(o) == "table" and json.is_array(o) then return nil, "missing Resource metadata" end
    if type(o) == "table" and next(o) ~= nil then
      if type(o.kind) == "string" and o.kind:match("List$") and o.items ~= nil then
        for _, item in ipairs(type(o.items) == "table" and o.items or {}) do out[#out + 1] = value.compact(item) end
      else
        if type(o.metadata) ~= "table" then return nil, "missing Resource metadata" end
        if not o.metadata.name and not o.metadata.generateName then return nil, "missing metadata.name in object " .. json.encode(o) end
        if type(o.kind) ~= "string" then return nil, "missing kind in object " .. json.encode(o) end
        if type(o.apiVersion) ~= "string" then return nil, "missing apiVersion in object " .. json.encode(o) end
        out[#out + 1] = value.compact(o)
      end
    elseif type(o) == "string" then
      return nil, "missing Resource metadata"
    end
  end
  return out
end


local function put(objects, more, from)
  local seen = {}
  for _, o in ipairs(objects) do seen[transform.id(o)] = true end
  for _, o in ipairs(more) do
    local id = transform.id(o)
    if seen[id] and o.metadata.name then fail(("%smay not add resource with an already registered id: %s"):format(from, id)) end
    seen[id] = true
    objects[#objects + 1] = o
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

local function generated(g, read)
  local data = {}
  local function set(k, v)
    if data[k] then fail(("cannot add key %s, another key by that name already exists: %s"):format(k, json.encode(data))) end
    data[k] = v
  end
  for _, e in ipairs(g.envs or g.env and { g.env } or {}) do
    for k, v in pairs(env_file(read(e, ("loading KV pairs: env source files: [%s]"):format(table.concat(g.envs or { g.env }, " "))))) do set(k, v) end
  end
  for _, l in ipairs(g.literals or {}) do
    local k, v = l:match("^([^=]+)=(.*)$")
    if not k then fail(("loading KV pairs: literal sources: [%s]: invalid literal source %s, expected key=value"):format(table.concat(g.literals, " "), l)) end
    set(k, v:match('^"(.*)"$') or v:match("^'(.*)'$") or v)
  end
  for _, f in ipairs(g.files or {}) do
    local k, path = f:match("^([^=]+)=(.*)$")
    path = path or f
    set(k or path:match("[^/]+$"), read(path, ("loading KV pairs: file sources: [%s]"):format(table.concat(g.files, " "))))
  end
  return data
end

-- Base64 as kustomize folds it; the folds count in the hash.
local function folded(text)
  if #text < 70 then return text end
  return (text:gsub(("."):rep(70), "%0\n"):gsub("[^\n]$", "%0\n"))
end

local function suffix(o)
  local function part(map) return map and next(map) and map or "" end
  local secret = o.kind == "Secret"
  local data = o.data and value.copy(o.data)
  if secret then
    for k, v in pairs(data or {}) do data[k] = folded(v) end
  end
  local text = json.encode({ kind = o.kind, name = "", data = part(data), type = secret and o.type or nil, binaryData = o.binaryData }, { sort = true })
  text = text:gsub("[<>&]", function(c) return ("\\u%04x"):format(c:byte()) end)
  return (crypto.sha256(text):sub(1, 10):gsub(".", { ["0"] = "g", ["1"] = "h", ["3"] = "k", a = "m", e = "t" }))
end

local function made(kind, g, options, data)
  local o = { apiVersion = "v1", kind = kind, metadata = { name = g.name, namespace = g.namespace,
    labels = options.labels and value.copy(options.labels), annotations = options.annotations and value.copy(options.annotations) },
    immutable = options.immutable or nil, type = kind == "Secret" and (g.type or "Opaque") or nil }
  for k, v in pairs(data) do
    local binary = kind == "ConfigMap" and not utf8.len(v)
    local at = binary and "binaryData" or "data"
    o[at] = o[at] or {}
    o[at][k] = (binary or kind == "Secret") and crypto.base64(v) or v
  end
  return o
end

local function merged(a, b)
  local out = value.copy(a or {})
  for k, v in pairs(b or {}) do out[k] = type(v) == "table" and merged(out[k], v) or v end
  return next(out) and out or nil
end

local function generate(spec, kind, objects, read)
  for _, g in ipairs(spec[kind == "ConfigMap" and "configMapGenerator" or "secretGenerator"] or {}) do
    local options = merged(spec.generatorOptions, g.options) or {}
    local o = made(kind, g, options, generated(g, read))
    local existing
    for _, other in ipairs(objects) do
      if other.kind == kind and names.any(other, function(name, namespace)
        return name == g.name and (namespace or "default") == (g.namespace or "default")
      end) then existing = other end
    end
    if g.behavior == "merge" or g.behavior == "replace" then
      if not existing then fail(("id %s does not exist; cannot merge or replace"):format(transform.id(o))) end
      local merge = g.behavior == "merge"
      for _, field in ipairs { "data", "binaryData" } do existing[field] = merge and merged(existing[field], o[field]) or not merge and o[field] or nil end
      existing.metadata.labels = merged(existing.metadata.labels, o.metadata.labels)
      existing.metadata.annotations = merged(existing.metadata.annotations, o.metadata.annotations)
      o = existing
    else
      put(objects, { o }, "merging from generator: ")
    end
    if not options.disableNameSuffixHash then transform.hashed[o] = true end
  end
end

-- Building

local build

local function read_spec(files, path)
  local spec, why = yaml.decode(files[path])
  if spec == nil and why then fail("invalid Kustomization: " .. why) end
  if type(spec) ~= "table" or next(spec) == nil then fail(path:match("[^/]+$") .. " is empty") end
  for _, name in ipairs(value.keys(spec)) do
    if foreign[name] then fail(("field '%s' is not supported by the emulator"):format(name)) end
    if not known[name] then fail(('invalid Kustomization: json: unknown field "%s"'):format(name)) end
  end
  value.compact(spec)
  for _, name in ipairs(lists) do
    if spec[name] ~= nil and type(spec[name]) ~= "table" then
      fail(("invalid Kustomization: json: cannot unmarshal %s into Go struct field Kustomization.%s of type []"):format(type(spec[name]), name))
    end
  end
  for _, name in ipairs(texts) do
    if spec[name] ~= nil and type(spec[name]) ~= "string" then
      fail(("invalid Kustomization: json: cannot unmarshal %s into Go struct field Kustomization.%s of type string")
        :format(json.is_array(spec[name]) and "array" or type(spec[name]), name))
    end
  end
  return spec
end

local function nested(text, fn, ...)
  local ok, why = pcall(fn, ...)
  if ok then return why end
  if type(why) == "table" and why.kustomize then fail(text .. why.message) end
  error(why, 0)
end

-- What a resource names: objects, or the path of a folder to build.
local function load(files, folder, item, stack)
  local function wrong(first, second)
    fail(("accumulating resources: accumulation err='accumulating resources from '%s': %s': %s"):format(item, first, second))
  end
  if item:match("^%a+://") or item:match("^git@") or item:match("github%.com/") then
    wrong("remote resources are not fetched by the emulator", "must build at directory: not a valid directory: " .. item)
  end
  local path = join(folder, item)
  if leaves(folder, item) then wrong(missing(path), "must build at directory: not a valid directory: it leads out of the repository") end
  if files[path] then
    local objects, why = parse(files[path], item)
    if not objects and why:match("^Malformed") then fail(("accumulating resources: accumulating resources from '%s': %s"):format(item, why)) end
    if not objects then wrong(why, ("must build at directory: '/%s': file is not directory"):format(path)) end
    return objects
  end
  if not kustomize.is_folder(files, path) then wrong(missing(path), "must build at directory: not a valid directory: " .. missing(path)) end
  local first = ("accumulating resources: accumulation err='accumulating resources from '%s': '/%s' must resolve to a file': "):format(item, path)
  for _, visited in ipairs(stack) do
    if visited == path or path == "" or visited:sub(1, #path + 1) == path .. "/" then
      fail(first .. ("cycle detected: candidate root '/%s' contains visited root '/%s'"):format(path, visited))
    end
  end
  return nested(first .. ("recursed accumulation of path '/%s': "):format(path), build, files, path, stack)
end

local function component(files, folder, item, stack, objects)
  local path = join(folder, item)
  if not kustomization_in(files, path) then
    fail(("accumulating components: accumulateDirectory: \"couldn't make target for path '/%s': unable to find one of 'kustomization.yaml', "
      .. "'kustomization.yml' or 'Kustomization' in directory '/%s'\""):format(path, path))
  end
  return nested(("accumulating components: accumulateDirectory: recursed accumulation of path '/%s': "):format(path), build, files, path, stack, objects)
end

local function accumulate(files, folder, spec, stack, objects)
  stack = table.move(stack, 1, #stack, 1, {})
  stack[#stack + 1] = folder
  for _, field in ipairs { "resources", "bases" } do
    for _, item in ipairs(spec[field] or {}) do
      local from = ("accumulating resources: accumulation err='merging resources from '%s': "):format(item)
      put(objects, load(files, folder, item, stack), from)
    end
  end
  for _, item in ipairs(spec.components or {}) do component(files, folder, item, stack, objects) end
  local read = reader(files, folder)
  generate(spec, "ConfigMap", objects, read)
  generate(spec, "Secret", objects, read)
  transform.run(objects, spec, read)
  local checked = {}
  put(checked, objects, "")
  return objects
end

function build(files, folder, stack, objects, more)
  local at = kustomization_in(files, folder)
  if not at then
    fail(("unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '/%s'"):format(folder))
  end
  local spec = read_spec(files, at)
  for k, v in pairs(more or {}) do
    if type(v) == "table" then spec[k] = table.move(v, 1, #v, #(spec[k] or {}) + 1, spec[k] or json.array {}) else spec[k] = v end
  end
  return accumulate(files, folder, spec, stack, objects or {})
end

-- A folder without a kustomization has all manifests below it, and the kustomizations among them.
local function collected(files, folder)
  local resources, covered = json.array {}, {}
  local prefix = folder == "" and "" or folder .. "/"
  for _, path in ipairs(value.keys(files)) do
    local below = path:sub(1, #prefix) == prefix and path:sub(#prefix + 1)
    if below then
      local inside
      for at in below:gmatch("()/") do
        inside = inside or kustomization_in(files, prefix .. below:sub(1, at - 1)) and below:sub(1, at - 1)
      end
      if inside and not covered[inside] then
        covered[inside] = true
        resources[#resources + 1] = inside
      elseif not inside and below:match("%.ya?ml$") then
        local objects, why = parse(files[path], below)
        if not objects then fail(("failed to decode Kubernetes YAML from /%s: %s"):format(path, why)) end
        if #objects > 0 then resources[#resources + 1] = below end
      end
    end
  end
  return resources
end

local function add_hashes(objects)
  names.change(objects, function()
    for _, o in ipairs(objects) do
      if transform.hashed[o] then
        o.metadata.name = o.metadata.name .. "-" .. suffix(o)
        transform.hashed[o] = nil
      end
    end
  end)
end

--- Builds a folder of files {path = text}: a list of objects; or nil and why. `more` holds fields that are added to the folder's own
-- kustomization (lists grow, texts are replaced); a folder without one is as if it listed all manifests below it.
function kustomize.build(files, folder, more)
  folder = join("", folder)
  local ok, result = pcall(function()
    local objects
    if kustomization_in(files, folder) then
      objects = build(files, folder, {}, nil, more)
    else
      local spec = value.shallow(more or {})
      spec.resources = collected(files, folder)
      objects = accumulate(files, folder, spec, {}, {})
    end
    add_hashes(objects)
    return objects
  end)
  if ok then return result end
  if type(result) == "table" and result.kustomize then return nil, result.message end
  if status.is(result) then return nil, result.body.message end
  error(result, 0)
end

return kustomize
