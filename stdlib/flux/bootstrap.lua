--- Flux in a cluster, following a path of a Git repository. The controllers' manifest and the sync objects are committed to
-- PATH/flux-system/, as `flux bootstrap` does, so that Flux's own command line stays usable; from then on Flux keeps the
-- cluster as Git says, and we only look.
local access = require "git.access"
local connect, objects = require "kubernetes.connect", require "kubernetes.objects"
local components, ready = require "flux.components", require "flux.ready"
local crypto, fail, field, git = require "crypto", require "fail", require "field", require "git"
local json, kind, task, yaml = require "json", require "kind", require "task", require "yaml"

local NAMESPACE, NAME, MANAGER = "flux-system", "flux-system", "flux"

local function folder(f) return f.path:gsub("^%./", ""):gsub("/+$", "") .. "/flux-system/" end

local function manifest(f)
  if f.manifest then return f.manifest end
  local list = components.objects { namespace = NAMESPACE, controllers = f.controllers, version = f.version,
    registry = f.registry, domain = f.domain }
  return ("# Flux %s: %s. Written by vmrun; changes here are overwritten.\n"):format(f.version, table.concat(f.controllers, ", "))
    .. yaml.encode_all(json.array(list))
end

local function sync(f)
  local repository = f.repository
  local source = { apiVersion = "source.toolkit.fluxcd.io/v1", kind = "GitRepository",
    metadata = { name = NAME, namespace = NAMESPACE },
    spec = { interval = f.interval, ref = { branch = repository.branch }, secretRef = { name = NAME }, url = repository.url } }
  local kustomization = { apiVersion = "kustomize.toolkit.fluxcd.io/v1", kind = "Kustomization",
    metadata = { name = NAME, namespace = NAMESPACE },
    spec = { interval = f.sync_interval, path = "./" .. f.path:gsub("^%./", ""), prune = true,
      sourceRef = { kind = "GitRepository", name = NAME } } }
  return { source, kustomization }
end

local function files(f)
  local at = folder(f)
  return {
    [at .. "gotk-components.yaml"] = manifest(f),
    [at .. "gotk-sync.yaml"] = "# Written by vmrun; changes here are overwritten.\n" .. yaml.encode_all(json.array(sync(f))),
    [at .. "kustomization.yaml"] = yaml.encode { apiVersion = "kustomize.config.k8s.io/v1beta1", kind = "Kustomization",
      resources = json.array { "gotk-components.yaml", "gotk-sync.yaml" } },
  }
end

local function names(map)
  local list = {}
  for name in pairs(map) do list[#list + 1] = name end
  table.sort(list)
  return list
end

-- Flux reads with the deploy key where there is one: the key that pushes stays with us.
local function secret(f)
  local repository = f.repository
  local data = {}
  if repository.password then
    data.username, data.password = repository.username or "git", repository.password
  else
    local key = repository.deploy_key or repository.key
    data.identity, data["identity.pub"] = key, crypto.public_key(key)
    data.known_hosts = table.concat(repository.known_hosts or {}, "\n")
  end
  for name, value in pairs(data) do data[name] = crypto.base64(value) end
  return { apiVersion = "v1", kind = "Secret", metadata = { name = NAME, namespace = NAMESPACE }, type = "Opaque", data = data }
end

local function reference(kind_name)
  local api = kind_name == "GitRepository" and "source.toolkit.fluxcd.io/v1" or "kustomize.toolkit.fluxcd.io/v1"
  return { apiVersion = api, kind = kind_name, metadata = { name = NAME, namespace = NAMESPACE } }
end

local function get(api, kind_name)
  local wanted = reference(kind_name)
  return api:get(wanted.apiVersion, kind_name, NAMESPACE, NAME)
end

local function followed(api)
  local kustomization = get(api, "Kustomization")
  return kustomization and kustomization.status and kustomization.status.lastAppliedRevision, kustomization
end

-- A secret that is wrong is told without its content.
local function secret_differs(api, f)
  local live = api:get("v1", "Secret", NAMESPACE, NAME)
  if not live then return true end
  local want = secret(f)
  for name, value in pairs(want.data) do if (live.data or {})[name] ~= value then return true end end
  return false
end

local function read(ctx)
  local f = ctx.fields
  local api = connect.client(ctx, f.cluster)
  local revision, kustomization = followed(api)
  local made = ctx.prior and ctx.prior.outputs -- what an earlier run did not finish has none
  if not kustomization and not made then return nil end
  local want, changes = files(f), {}
  local got = fail.check(git.read(access.options(ctx, f.repository, { paths = names(want) })))
  for _, name in ipairs(names(want)) do
    if got.files[name] ~= want[name] then changes[#changes + 1] = { path = name, old = got.files[name], new = want[name] } end
  end
  if not revision then changes[#changes + 1] = { path = "Kustomization flux-system", new = "to be made" } end
  if not get(api, "GitRepository") then changes[#changes + 1] = { path = "GitRepository flux-system", new = "to be made" } end
  if secret_differs(api, f) then changes[#changes + 1] = { path = "Secret flux-system", new = "(secret, changed)" } end
  return { fields = f, outputs = { revision = revision or (made and made.revision) }, changes = changes }
end

-- Asks Flux to look now; returns what it will say that it handled.
local function reconcile(api)
  local request = os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(task.time())) .. task.time()
  for _, kind_name in ipairs { "GitRepository", "Kustomization" } do
    api:merge(reference(kind_name), { metadata = { annotations = { ["reconcile.fluxcd.io/requestedAt"] = request } } })
  end
  return request
end

local function write(ctx)
  local f = ctx.fields
  local api = connect.client(ctx, f.cluster)
  ctx:progress("committing " .. folder(f))
  local commit = fail.check(git.commit(access.options(ctx, f.repository, { files = files(f), message = "Add Flux " .. f.version,
    author = { name = "vmrun", email = "vmrun@localhost" } })))
  local revision = ("%s@sha1:%s"):format(f.repository.branch, commit.commit)
  local list = objects.parse(manifest(f), "gotk-components.yaml")
  -- Once Flux follows the repository, what is in Git is its business.
  if not followed(api) then
    ctx:progress("applying the controllers")
    objects.apply(api, list, { manager = MANAGER, force = true })
  end
  if secret_differs(api, f) then api:apply(secret(f), { manager = MANAGER, force = true }) end
  objects.apply(api, sync(f), { manager = MANAGER, force = true })
  local request = reconcile(api)
  ctx:progress("waiting for Flux to be ready at " .. revision)
  ready(api, reference "GitRepository", revision, request, f.seconds, function(o) return o.status.artifact and o.status.artifact.revision end)
  ready(api, reference "Kustomization", revision, request, f.seconds, function(o) return o.status.lastAttemptedRevision end)
  objects.wait(api, list, f.seconds)
  return { outputs = { revision = revision } }
end

return kind "flux.bootstrap" {
  doc = "Flux, bootstrapped from a path of a Git repository.", needs_all = true,
  fields = {
    cluster = field.resource { "kubeadm.init", "kubernetes.cluster", required = true, replace = true },
    repository = field.resource { "git.repository", "git.emulator_repository", required = true, doc = "The repository to follow." },
    path = field.string { required = true, doc = "The cluster's folder in it, such as clusters/production." },
    controllers = field.list { field.string { check = function(name)
      return not components.known(name) and "the name of a controller of Flux's" or nil
    end }, default = components.DEFAULT },
    version = field.string { default = components.VERSION },
    registry = field.string { default = "ghcr.io/fluxcd" }, domain = field.string { default = "cluster.local" },
    manifest = field.string { doc = "Flux's own manifest (`flux install --export`), instead of ours." },
    interval = field.string { default = "1m0s" }, sync_interval = field.string { default = "10m0s" },
    seconds = field.number { default = 300, ignore = true, doc = "How long to wait for Flux." },
  },
  outputs = { revision = field.string { volatile = true, doc = "What the cluster is at: BRANCH@sha1:COMMIT." } },
  timeouts = { read = 120, create = 900, update = 900, delete = 300 },
  identity = function(f)
    local cluster = connect.identity(f.cluster)
    return cluster and cluster .. "/flux" or nil
  end,
  read = read, create = write, update = write,
  delete = function(ctx)
    if connect.is_lost(ctx.fields.cluster) then return end
    local api = connect.client(ctx, ctx.fields.cluster)
    -- The applications stay: a Kustomization that is deleted would prune them.
    if get(api, "Kustomization") then api:merge(reference("Kustomization"), { spec = { prune = false } }) end
    objects.delete(api, sync(ctx.fields))
    objects.delete(api, objects.parse(manifest(ctx.fields), "gotk-components.yaml"))
  end,
}
