--- kustomize-controller's part: a Kustomization's path of an artifact is built, applied, pruned and watched over.
local crypto = require "crypto"
local json = require "json"
local task = require "task"
local value = require "emulator.kubernetes.value"
local status = require "emulator.kubernetes.status"
local state = require "emulator.kubernetes.flux_status"
local kustomize = require "emulator.kubernetes.kustomize"
local health = require "emulator.kubernetes.health"

local kustomization = {}

local KEY, SOURCES, MANAGER = "kustomize.toolkit.fluxcd.io/kustomizations", "source.toolkit.fluxcd.io/gitrepositories", "kustomize-controller"
local GROUP = "kustomize.toolkit.fluxcd.io"
local FLOOR, PATIENCE = 10, 60     -- seconds: least interval, and least time for objects to become healthy

local function not_ready(flux, o, reason, message, revision, seconds)
  state.write(flux, KEY, o, MANAGER, function(new)
    new.status.observedGeneration = new.metadata.generation
    if revision then new.status.lastAttemptedRevision = revision end
    state.condition(new, "Reconciling", "True", "ProgressingWithRetry", message)
    state.condition(new, "Ready", "False", reason, message)
  end)
  flux.cluster:event(o, "Warning", reason, message, MANAGER)
  return seconds or flux:interval(o.spec.retryInterval or o.spec.interval, 2)
end

local function artifact_of(flux, o)
  local ref = o.spec.sourceRef
  if ref.kind ~= "GitRepository" then return nil, ("source kind '%s' is not reconciled by the emulator"):format(ref.kind) end
  local namespace = ref.namespace or o.metadata.namespace
  local repository = flux.cluster.store:get(SOURCES, namespace, ref.name)
  if not repository then
    return nil, ("GitRepository.source.toolkit.fluxcd.io \"%s\" not found"):format(ref.name)
  end
  local artifact = flux.artifacts[namespace .. "/" .. ref.name]
  local said = value.get(repository, "status", "artifact", "revision")
  if not artifact and said then return nil, nil end        -- after a restart: it is fetched again
  if not artifact or said ~= artifact.revision then return nil, "Source artifact not found, retrying in 30s" end
  return artifact
end

local function dependency(flux, o)
  for _, d in ipairs(o.spec.dependsOn or {}) do
    local namespace = d.namespace or o.metadata.namespace
    local other = flux.cluster.store:get(KEY, namespace, d.name)
    local full = namespace .. "/" .. d.name
    if not other then return ("dependency '%s' not found"):format(full) end
    local ready = value.find(value.get(other, "status", "conditions"), "type", "Ready")
    if not ready or ready.status ~= "True" or value.get(other, "status", "observedGeneration") ~= other.metadata.generation then
      return ("dependency '%s' is not ready"):format(full)
    end
    local mine, theirs = o.spec.sourceRef, other.spec.sourceRef
    if mine.name == theirs.name and (mine.namespace or o.metadata.namespace) == (theirs.namespace or namespace) then
      local artifact = artifact_of(flux, o)
      if artifact and value.get(other, "status", "lastAppliedRevision") ~= artifact.revision then
        return ("dependency '%s' revision is not up to date"):format(full)
      end
    end
  end
end

-- postBuild.substitute

local function variables(flux, o)
  local vars = {}
  local post = o.spec.postBuild
  if not post then return nil end
  for _, from in ipairs(post.substituteFrom or {}) do
    local key = from.kind == "Secret" and "/secrets" or "/configmaps"
    local object = flux.cluster.store:get(key, o.metadata.namespace, from.name)
    if not object and not from.optional then
      return nil, ("substitute from '%s/%s' error: %s \"%s\" not found"):format(from.kind, from.name, key:sub(2), from.name)
    end
    for k, v in pairs(object and object.data or {}) do vars[k] = from.kind == "Secret" and crypto.unbase64(v) or v end
  end
  for k, v in pairs(post.substitute or {}) do vars[k] = v end
  return vars
end

local function substitute(v, vars)
  if type(v) == "string" then
    return (v:gsub("%$%b{}", function(whole)
      local inner = whole:sub(3, -2)
      local name, default = inner:match("^([%a_][%w_]*):?[-=](.*)$")
      name = name or inner:match("^([%a_][%w_]*)$")
      if not name then return nil end
      local found = vars[name]
      if found == nil or found == "" and default then found = default end
      return found or ""
    end))
  elseif type(v) == "table" then
    for k, item in pairs(v) do v[k] = substitute(item, vars) end
  end
  return v
end

local function marked(o, name, wanted)
  local m = o.metadata
  local v = value.get(m, "annotations", GROUP .. "/" .. name) or value.get(m, "labels", GROUP .. "/" .. name)
  return v ~= nil and v:lower() == wanted
end

local function build(flux, o, artifact)
  local path = kustomize.join("", o.spec.path or "")
  if not kustomize.is_folder(artifact.files, path) then
    return nil, "ArtifactFailed", ("kustomization path not found: stat /%s: no such file or directory"):format(path)
  end
  local spec = o.spec
  local objects, why = kustomize.build(artifact.files, path, { patches = spec.patches, images = spec.images, components = spec.components,
    namespace = spec.targetNamespace, namePrefix = spec.namePrefix, nameSuffix = spec.nameSuffix })
  if not objects then return nil, "BuildFailed", "kustomize build failed: " .. why end
  local vars, missing = variables(flux, o)
  if missing then return nil, "BuildFailed", missing end
  local common = spec.commonMetadata or {}
  for _, object in ipairs(objects) do
    if vars and not marked(object, "substitute", "disabled") then substitute(object, vars) end
    object.metadata.labels = value.add(object.metadata.labels, common.labels)
    if common.annotations then object.metadata.annotations = value.add(object.metadata.annotations, common.annotations) end
    object.metadata.labels[GROUP .. "/name"], object.metadata.labels[GROUP .. "/namespace"] = o.metadata.name, o.metadata.namespace
  end
  return objects
end

local function subject(object)
  local m = object.metadata
  return object.kind .. "/" .. (m.namespace and m.namespace .. "/" or "") .. m.name
end

-- Applies one object; raises a text.
local function apply_one(flux, object)
  local cluster = flux.cluster
  local res = cluster.resources:of(object.apiVersion, object.kind)
  if not res then
    error({ flux = true, message = ("%s dry-run failed: no matches for kind \"%s\" in version \"%s\"")
      :format(subject(object), object.kind, object.apiVersion) }, 0)
  end
  local m = object.metadata
  if res.namespaced and not m.namespace then
    error({ flux = true, message = ("%s namespace not specified"):format(subject(object)) }, 0)
  end
  local live = cluster.store:get(res.key, res.namespaced and m.namespace or nil, m.name)
  if marked(object, "reconcile", "disabled") or live and marked(live, "reconcile", "disabled")
    or marked(object, "ssa", "ignore") or live and marked(object, "ssa", "ifnotpresent") then return false end
  local ok, result, created, changed = pcall(cluster.objects.apply, cluster.objects, res, res.namespaced and m.namespace or nil, m.name,
    value.copy(object), { manager = MANAGER, force = true })
  if ok then return created or changed, created end
  if status.is(result) then
    local immutable = result.code == 422 and result.body.message:find("immutable", 1, true)
    if immutable and (marked(object, "force", "enabled") or flux.force) then
      cluster.objects:delete(res, m.namespace, m.name, { policy = "Background" })
      return apply_one(flux, object)
    end
    if result.code == 404 then error({ flux = true, message = subject(object) .. " not found: " .. result.body.message }, 0) end
    local why = result.body.reason and (" dry-run failed (%s): "):format(result.body.reason) or " dry-run failed: "
    error({ flux = true, message = subject(object) .. why .. result.body.message }, 0)
  end
  error(result, 0)
end

local order = { "CustomResourceDefinition", "Namespace", "ClusterRole", "ResourceQuota", "StorageClass", "ServiceAccount", "Role", "RoleBinding",
  "ClusterRoleBinding", "ConfigMap", "Secret", "Service", "LimitRange", "PriorityClass", "Deployment", "StatefulSet", "CronJob", "PodDisruptionBudget" }
local rank = {}
for i, kind in ipairs(order) do rank[kind] = i end
local last = { MutatingWebhookConfiguration = 1000, ValidatingWebhookConfiguration = 1001 }

local function sorted(objects)
  local list = {}
  for i, object in ipairs(objects) do list[i] = { object = object, i = i, rank = last[object.kind] or rank[object.kind] or 500 } end
  table.sort(list, function(a, b)
    if a.rank ~= b.rank then return a.rank < b.rank end
    return a.i < b.i
  end)
  local out = {}
  for i, e in ipairs(list) do out[i] = e.object end
  return out
end

local function inventory_of(flux, objects)
  local entries = json.array {}
  for i, object in ipairs(objects) do
    local group, version = object.apiVersion:match("^(.+)/(.+)$")
    local res = flux.cluster.resources:of(object.apiVersion, object.kind)
    local namespace = res and res.namespaced and object.metadata.namespace or ""
    entries[i] = { id = ("%s_%s_%s_%s"):format(namespace, object.metadata.name:gsub(":", "__"), group or "", object.kind), v = version or object.apiVersion }
  end
  table.sort(entries, function(a, b) return a.id < b.id end)
  return { entries = entries }
end

local function entry_object(flux, entry)
  local namespace, name, group, kind = entry.id:match("^([^_]*)_(.+)_([^_]*)_([^_]+)$")
  if not name then return nil end
  local res = flux.cluster.resources:of(group == "" and entry.v or group .. "/" .. entry.v, kind)
  if not res then return nil end
  return res, namespace ~= "" and namespace or nil, (name:gsub("__", ":"))
end

local function prune(flux, o, old, new)
  local kept, gone = {}, {}
  for _, e in ipairs(new and new.entries or {}) do kept[e.id] = true end
  for _, e in ipairs(old and old.entries or {}) do
    if not kept[e.id] then
      local res, namespace, name = entry_object(flux, e)
      local live = res and flux.cluster.store:get(res.key, namespace, name)
      local ours = live and value.get(live, "metadata", "labels", GROUP .. "/name") == o.metadata.name
      if ours and not marked(live, "prune", "disabled") and not marked(live, "reconcile", "disabled")
        and not (live.kind == "Namespace" and name == o.metadata.namespace) then
        flux.cluster:try(function() flux.cluster.objects:delete(res, namespace, name, { policy = "Background" }) end)
        gone[#gone + 1] = subject(live) .. " deleted"
      end
    end
  end
  if #gone > 0 then flux.cluster:event(o, "Normal", "Progressing", table.concat(gone, "\n"), MANAGER) end
end

local function to_check(flux, o, objects)
  local out = {}
  local function put(api_version, kind, namespace, name)
    local res = flux.cluster.resources:of(api_version, kind)
    if res then out[#out + 1] = { res = res, namespace = res.namespaced and namespace or nil, name = name, kind = kind } end
  end
  if o.spec.wait then
    for _, object in ipairs(objects) do
      if not (object.kind == "Kustomization" and object.metadata.name == o.metadata.name and object.metadata.namespace == o.metadata.namespace) then
        put(object.apiVersion, object.kind, object.metadata.namespace, object.metadata.name)
      end
    end
  else
    for _, c in ipairs(o.spec.healthChecks or {}) do put(c.apiVersion or "apps/v1", c.kind, c.namespace or o.metadata.namespace, c.name) end
  end
  return out
end

local function unhealthy(flux, list)
  local out, failed = {}, false
  for _, e in ipairs(list) do
    local s = health.of(flux.cluster.store:get(e.res.key, e.namespace, e.name))
    if s ~= "Current" then
      out[#out + 1] = ("%s/%s%s status: '%s'"):format(e.kind, e.namespace and e.namespace .. "/" or "", e.name, s)
      if s == "Failed" then failed = true end
    end
  end
  return out, failed
end

-- Waits by the writes themselves.
local function wait_healthy(flux, o, list, superseded)
  local changed = task.event()
  local unsubscribe = flux.cluster:subscribe(function() changed:set() end)
  local guard <close> = setmetatable({}, { __close = unsubscribe })
  local seconds = math.max(PATIENCE, (value.duration(o.spec.timeout or o.spec.interval) or 300) / flux.world.clock.factor)
  local ends = task.now() + seconds
  while true do
    changed:clear()
    local bad, failed = unhealthy(flux, list)
    if #bad == 0 then return true end
    if failed then return nil, ("health check failed: failed early due to stalled resources: [%s]"):format(table.concat(bad, ", ")) end
    local left = ends - task.now()
    if left <= 0 then
      return nil, ("health check failed after %s: timeout waiting for: [%s]"):format(o.spec.timeout or o.spec.interval, table.concat(bad, ", "))
    end
    if superseded() then return nil, "superseded" end
    changed:wait(math.min(left, 5))
  end
end

local function delete_all(flux, o)
  local policy = o.spec.deletionPolicy or "MirrorPrune"
  if not o.spec.suspend and (policy == "Delete" or policy == "WaitForTermination" or policy == "MirrorPrune" and o.spec.prune) then
    prune(flux, o, value.get(o, "status", "inventory"), nil)
  end
  state.release(flux, KEY, o, MANAGER)
end

local function progressing(flux, o, revision, message)
  state.write(flux, KEY, o, MANAGER, function(new)
    new.status.lastAttemptedRevision = revision
    state.condition(new, "Reconciling", "True", "Progressing", message)
    state.condition(new, "Ready", "Unknown", "Progressing", "Reconciliation in progress")
  end)
end

local function apply_all(flux, objects)
  local changed = {}
  flux.force = false
  for _, object in ipairs(sorted(objects)) do
    local did, created = apply_one(flux, object)
    if did then changed[#changed + 1] = subject(object) .. (created and " created" or " configured") end
  end
  return changed
end

local function succeeded(flux, o, revision, inventory, checked)
  state.write(flux, KEY, o, MANAGER, function(new)
    local s = new.status
    s.observedGeneration, s.lastAppliedRevision, s.lastAttemptedRevision, s.inventory = new.metadata.generation, revision, revision, inventory
    state.clear(new, "Reconciling")
    state.clear(new, "Stalled")
    if checked then state.condition(new, "Healthy", "True", "Succeeded", "Health check passed in 0s") else state.clear(new, "Healthy") end
    state.condition(new, "Ready", "True", "ReconciliationSucceeded", "Applied revision: " .. revision)
  end)
end

--- Brings one Kustomization up to date; returns the seconds until the next look.
function kustomization.reconcile(flux, o)
  if o.metadata.deletionTimestamp then return delete_all(flux, o) end
  state.hold(flux, KEY, o, MANAGER)
  local ref = value.get(o, "spec", "sourceRef")
  if type(ref) ~= "table" or not ref.kind or not ref.name then
    return state.stalled(flux, KEY, o, MANAGER, "spec.sourceRef with kind and name is required")
  end
  if o.spec.suspend then return nil end
  local artifact, why = artifact_of(flux, o)
  if not artifact and not why then return 30 end
  if not artifact then return not_ready(flux, o, "ArtifactFailed", why, nil, 5) end
  local waits_for = dependency(flux, o)
  if waits_for then return not_ready(flux, o, "DependencyNotReady", waits_for, nil, 5) end
  local revision = artifact.revision
  local fresh = value.get(o, "status", "lastAppliedRevision") ~= revision or value.get(o, "status", "observedGeneration") ~= o.metadata.generation
  local objects, reason, message = build(flux, o, artifact)
  if not objects then return not_ready(flux, o, reason, message, revision) end
  if fresh then progressing(flux, o, revision, ("Building manifests for revision %s"):format(revision)) end
  local ok, changed = pcall(apply_all, flux, objects)
  if not ok then
    if type(changed) == "table" and changed.flux then return not_ready(flux, o, "ReconciliationFailed", changed.message, revision) end
    error(changed, 0)
  end
  if #changed > 0 then flux.cluster:event(o, "Normal", "Progressing", table.concat(changed, "\n"), MANAGER) end
  local inventory = inventory_of(flux, objects)
  if o.spec.prune then prune(flux, o, value.get(o, "status", "inventory"), inventory) end
  state.write(flux, KEY, o, MANAGER, function(new) new.status.inventory = inventory end)
  local list = to_check(flux, o, objects)
  if #list > 0 then
    local bad = unhealthy(flux, list)
    if #bad > 0 then
      progressing(flux, o, revision, ("Running health checks for revision %s with a timeout of %s"):format(revision, o.spec.timeout or o.spec.interval))
      local fine, text = wait_healthy(flux, o, list, function()
        local now, live = artifact_of(flux, o), flux.cluster.store:get(KEY, o.metadata.namespace, o.metadata.name)
        return now and now.revision ~= revision or not live or live.metadata.deletionTimestamp or live.metadata.generation ~= o.metadata.generation
      end)
      if not fine and text == "superseded" then return 0.1 end
      if not fine then return not_ready(flux, o, "HealthCheckFailed", text, revision) end
    end
  end
  succeeded(flux, o, revision, inventory, #list > 0)
  if fresh then
    flux.cluster:event(o, "Normal", "ReconciliationSucceeded", ("Reconciliation finished, next run in %s"):format(o.spec.interval), MANAGER)
  end
  return flux:interval(o.spec.interval, FLOOR)
end

return kustomization
