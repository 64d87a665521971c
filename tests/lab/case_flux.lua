--- Flux's manifests, as its command line exports them: a real set of objects in one go. VMRUN_FLUX names the folder.
local support = require "support"
local fs, json, objects, process = require "fs", require "json", require "kubernetes.objects", require "process"
local ownership, proxy, task = require "kubernetes.ownership", require "proxy", require "task"
local case, connect, failure = support.case, support.connect, support.failure

local M = {}

--- The text without the rules in CEL (x-kubernetes-validations), which Kubernetes 1.20 does not know: each key of the name, and
-- the list below it.
function M.without_rules(text)
  local out, inside = {}, nil
  for line in text:gmatch "([^\n]*)\n?" do
    local indent = #line:match "^ *"
    if inside and (indent > inside or indent == inside and line:sub(indent + 1, indent + 1) == "-") and line ~= "" then
      line = nil
    else
      inside = line:match "^ *x%-kubernetes%-validations:%s*$" and indent or nil
      if inside then line = nil end
    end
    out[#out + 1] = line
  end
  return table.concat(out, "\n")
end

--- The manifests of the folder: a list of { name =, text = }; nil when VMRUN_FLUX names none.
function M.manifests()
  local folder, list = process.env "VMRUN_FLUX", {}
  if not folder or folder == "" then return nil end
  for _, name in ipairs(assert(fs.list(folder))) do
    if name:match "%.yaml$" then list[#list + 1] = { name = name, text = assert(fs.read(folder .. "/" .. name)) } end
  end
  assert(#list > 0, folder .. " holds no manifest")
  return list
end

-- A manifest with names of its own: of its namespace, its definitions' groups and what stands for the whole cluster.
local function renamed(text, suffix)
  return (text:gsub("fluxcd%.io", suffix .. ".lab.test"):gsub("flux%-system", suffix .. "-system"):gsub("crd%-controller",
    suffix .. "-crd")
    :gsub("cluster%-reconciler", suffix .. "-reconciler"):gsub("flux%-edit", suffix .. "-edit"):gsub("flux%-view", suffix
      .. "-view"))
end

local function versions(api, list)
  local seen = {}
  for _, o in ipairs(list) do
    local namespaced = api:kind(o.apiVersion, o.kind).namespaced
    seen[objects.id(o)] = api:get(o.apiVersion, o.kind, namespaced and o.metadata.namespace or nil,
      o.metadata.name).metadata.resourceVersion
  end
  return seen
end

-- The versions once controllers (quotas, accounts, rollouts) have said all that they have to say: the same for a second.
local function settled(api, list)
  local seen = versions(api, list)
  for _ = 1, 30 do
    task.sleep(1)
    local now = versions(api, list)
    if ownership.same(now, seen) then break end
    seen = now
  end
  return seen
end

-- The definitions that hold rules in CEL, by their names.
local function with_rules(list)
  local found = {}
  for _, o in ipairs(list) do
    if json.encode(o):find('"x-kubernetes-validations"', 1, true) then found[o.metadata.name] = true end
  end
  return found
end

for number, manifest in ipairs(M.manifests() or {}) do
  local suffix = "f" .. number

  case("Flux, whole: " .. manifest.name, function(t, lab)
    local ways <close> = proxy.faults(lab)
    local api = connect(ways:parts(), 30)
    local list = objects.parse(renamed(M.without_rules(manifest.text), suffix), manifest.name)
    t.ok(#list > 10, "it has objects")
    objects.apply(api, list)
    -- what others need was written before them
    local last = 0
    local function rank(path)
      if path:find("/namespaces/[^/]+$") or path:find("/customresourcedefinitions/", 1, true) then return 1 end
      return 2
    end
    for _, request in ipairs(ways.seen) do
      if request.method == "PATCH" then
        t.ok(rank(request.path) >= last, "too late: " .. request.path)
        last = rank(request.path)
      end
    end
    t.eq(ways:count "PATCH", #list, "one write an object")
    objects.wait(api, list, 100)
    local before = settled(api, list)
    ways.seen = {}
    t.eq(objects.stale(api, list), {}, "what is to be applied a second time")
    for _, request in ipairs(ways.seen) do
      t.ok(request.method == "GET" or request.query.dryRun == "All", "nothing is written: " .. request.path)
    end
    t.eq(versions(api, list), before, "a second apply writes nothing")
    local group = "source.toolkit." .. suffix .. ".lab.test/v1"
    objects.apply(api, { { apiVersion = group, kind = "GitRepository", metadata = { name = "r", namespace = suffix .. "-system" },
      spec = { interval = "1m0s", url = "https://git.example.test/r" } } })
    t.eq(failure(t, "spec.interval", api.apply, api, { apiVersion = group, kind = "GitRepository", metadata = { name = "r",
      namespace = suffix .. "-system" },
      spec = { interval = "soon", url = "https://git.example.test/r" } }).code, "Invalid")
  end)

  if manifest.text:find("x-kubernetes-validations", 1, true) then
    case("Flux, with what the server does not know: " .. manifest.name, function(t, lab)
      local api = connect(lab:parts(), 60)
      local list = objects.parse(renamed(manifest.text, suffix .. "u"), manifest.name)
      if lab.name == "emulated" then return objects.apply(api, list) end
      local err = failure(t, "apply CustomResourceDefinition ", objects.apply, api, list)
      local name, rest = err.message:match "^apply CustomResourceDefinition (%S+): (.*)$"
      t.ok(with_rules(list)[name], "it names a definition that has them: " .. err.message)
      t.has(rest, "failed to create typed patch object")
      t.has(rest, "x-kubernetes-validations: field not declared in schema")
      t.has(err.hint, "older than the manifest")
    end)
  end
end

return M
