-- Flux's source and kustomize controllers, as far as the lab needs them: `flux.lua source-controller` says what a GitRepository's
-- branch is at, `flux.lua kustomize-controller` builds and applies what a Kustomization points to, in the order of dependsOn.
package.path = "/srv/?.lua;" .. package.path
local cluster = require "cluster"
local crypto, git, json, task = require "crypto", require "git", require "json", require "task"
local kustomize = require "emulator.kubernetes.kustomize"
local objects = require "kubernetes.objects"

local REQUESTED, GROUP = "reconcile.fluxcd.io/requestedAt", "kustomize.toolkit.fluxcd.io"
local SOURCE = "source.toolkit.fluxcd.io/v1"
local controller = arg[1]
local api = cluster.client()

local function now() return os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(task.time())) end

local function condition(object, ok, reason, message)
  return json.array { { type = "Ready", status = ok and "True" or "False", reason = reason, message = message,
    observedGeneration = object.metadata.generation, lastTransitionTime = now() } }
end

-- Says how it went, when that is news.
local function tell(object, status)
  status.observedGeneration = object.metadata.generation
  status.lastHandledReconcileAt = (object.metadata.annotations or {})[REQUESTED]
  local old, news = object.status or {}, false
  for name, value in pairs(status) do
    if name ~= "conditions" then news = news or json.encode(old[name], { sort = true }) ~= json.encode(value, { sort = true }) end
  end
  local was, is = (old.conditions or {})[1] or {}, status.conditions[1]
  if news or was.status ~= is.status or was.message ~= is.message then
    cluster.say("%s %s: %s", object.kind, object.metadata.name, is.message)
    api:merge(object, { status = status }, { subresource = "status" })
  end
end

local function access(repository)
  local namespace, name = repository.metadata.namespace, repository.spec.secretRef and repository.spec.secretRef.name
  local data = name and api:get("v1", "Secret", namespace, name).data or {}
  local function text(field) return data[field] and crypto.unbase64(data[field]) end
  local known = {}
  for line in (text "known_hosts" or ""):gmatch("[^\n]+") do known[#known + 1] = line end
  return { url = repository.spec.url, branch = repository.spec.ref.branch, key = text "identity", known_hosts = known,
    username = text "username", password = text "password", timeout = 60 }
end

local function fetch(repository)
  local head, why = git.head(access(repository))
  if not head then return { conditions = condition(repository, false, "GitOperationFailed", tostring(why)) } end
  local revision = repository.spec.ref.branch .. "@sha1:" .. head
  local old = repository.status and repository.status.artifact
  local artifact = old and old.revision == revision and old or
    { revision = revision, path = head .. ".tar.gz", url = "http://source-controller/" .. head .. ".tar.gz", lastUpdateTime = now() }
  return { artifact = artifact, conditions = condition(repository, true, "Succeeded", "stored artifact for revision '" .. revision .. "'") }
end

local function waits_for(kustomization, revision)
  for _, on in ipairs(kustomization.spec.dependsOn or {}) do
    local other = api:get(GROUP .. "/v1", "Kustomization", on.namespace or kustomization.metadata.namespace, on.name)
    local ready = other and other.status and other.status.lastAppliedRevision == revision
      and require("kubernetes.client").condition(other, "Ready") == "True"
    if not ready then return ("dependency '%s' is not ready"):format(on.name) end
  end
end

local function apply(kustomization)
  local from = kustomization.spec.sourceRef
  local repository = api:get(SOURCE, "GitRepository", from.namespace or kustomization.metadata.namespace, from.name)
  local revision = repository and repository.status and repository.status.artifact and repository.status.artifact.revision
  local function failed(reason, message, attempted)
    return { lastAttemptedRevision = attempted, conditions = condition(kustomization, false, reason, message) }
  end
  if not revision then return failed("ArtifactFailed", "the source has no artifact") end
  local wait = waits_for(kustomization, revision)
  if wait then return failed("DependencyNotReady", wait) end
  local options = access(repository)
  options.prefix = ""
  local got, why = git.read(options)
  if not got then return failed("ArtifactFailed", tostring(why)) end
  revision = repository.spec.ref.branch .. "@sha1:" .. got.commit
  local list, problem = kustomize.build(got.files, (kustomization.spec.path:gsub("^%./", "")), {})
  if not list then return failed("BuildFailed", problem, revision) end
  local ok, failure = pcall(objects.apply, api, list, { manager = controller, force = true })
  if not ok then return failed("ReconciliationFailed", tostring(failure), revision) end
  return { lastAttemptedRevision = revision, lastAppliedRevision = revision,
    conditions = condition(kustomization, true, "ReconciliationSucceeded", "Applied revision: " .. revision) }
end

local kinds = { ["source-controller"] = { SOURCE, "GitRepository", fetch, 9090 },
  ["kustomize-controller"] = { GROUP .. "/v1", "Kustomization", apply, 8080 } }
assert(kinds[controller], "source-controller or kustomize-controller")
local version, kind, reconcile, port = table.unpack(kinds[controller])

cluster.serve(9440, function() return true end)
cluster.serve(port, function() return true end)
local wake = task.event()
task.spawn(cluster.follow, api, version, kind, function() wake:set() end)
if controller == "kustomize-controller" then task.spawn(cluster.follow, api, SOURCE, "GitRepository", function() wake:set() end) end
while true do
  local ok, why = pcall(function()
    for _, object in ipairs(api:list(version, kind)) do
      object.apiVersion, object.kind = version, kind
      if not object.spec.suspend then tell(object, reconcile(object)) end
    end
  end)
  if not ok then cluster.say("%s", tostring(why)) end
  wake:wait(10)
  wake:clear()
end
