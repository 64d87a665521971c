--- What stands in for Flux's controllers: a real repository is cloned, built, applied; what is pushed, broken, changed by hand.
local test = require "tap"
local components = require "flux.components"
local fs = require "fs"
local git = require "git"
local json = require "json"
local lab = require "kubernetes_lab"
local value = require "emulator.kubernetes.value"

test.timeout = 100

local MERGE = "application/merge-patch+json"
local SOURCES = "/apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories"
local KUSTOMIZATIONS = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations"
local MAPS = "/api/v1/namespaces/default/configmaps/"

local plurals = { Namespace = "namespaces", CustomResourceDefinition = "customresourcedefinitions", ServiceAccount = "serviceaccounts",
  ClusterRole = "clusterroles", ClusterRoleBinding = "clusterrolebindings", Deployment = "deployments", Service = "services",
  NetworkPolicy = "networkpolicies", ResourceQuota = "resourcequotas" }

local function kustomization(name, path, more)
  local spec = { interval = "10m0s", path = path, prune = true, sourceRef = { kind = "GitRepository", name = "flux-system" } }
  for k, v in pairs(more or {}) do spec[k] = v end
  return { apiVersion = "kustomize.toolkit.fluxcd.io/v1", kind = "Kustomization", metadata = { name = name, namespace = "flux-system" }, spec = spec }
end

local function config_map(name, v)
  return ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: default}\ndata: {a: %q}\n"):format(name, v or "b")
end

local function deployment(image)
  return ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: default}\nspec:\n  replicas: 1\n  selector: {matchLabels: {app: web}}\n"
    .. "  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: web, image: '%s'}]}\n"):format(image or "nginx:1")
end

-- A cluster of one machine with Flux's controllers, a repository, and words for both.
local function start(t)
  local l = lab.new()
  t.after(l.close)
  local m = l.machine("cp1", { cni = true })
  m:file("/etc/hosts", "127.0.0.1 api.lab\n")
  local r = m:run("kubeadm", "init", "--control-plane-endpoint", "api.lab:6443", "--pod-network-cidr", "10.244.0.0/16")
  t.eq(r.code, 0, r.err)
  local api = lab.client(l, m)
  t.ok(api:call("PATCH", "/api/v1/nodes/cp1", { spec = { taints = json.null } }, MERGE))
  for _, o in ipairs(components.objects { namespace = "flux-system", controllers = components.DEFAULT, version = "v2.9.4", registry = "ghcr.io/fluxcd",
    domain = "cluster.local" }) do
    local path = (o.apiVersion:find("/", 1, true) and "/apis/" or "/api/") .. o.apiVersion
      .. (o.metadata.namespace and "/namespaces/" .. o.metadata.namespace or "") .. "/" .. plurals[o.kind] .. "/" .. o.metadata.name
    t.ok(api:call("PATCH", path .. "?fieldManager=flux&force=true", o, "application/apply-patch+yaml"))
  end
  local clusters = l.world.kubernetes.clusters
  local c = { api = api, world = l.world, flux = clusters[next(clusters)].flux, url = "file://" .. t.tmp() .. "/repo.git" }
  t.ok(git.init { path = c.url:sub(8), bare = true, branch = "main" })
  function c.push(files)
    return t.ok(git.commit { url = c.url, branch = "main", files = files, message = "change", author = { name = "t", email = "t@localhost" } }).commit
  end
  function c.get(path) return (api:call("GET", path)) end
  function c.source(more)
    local spec = { interval = "1m0s", ref = { branch = "main" }, url = c.url }
    for k, v in pairs(more or {}) do spec[k] = v end
    return t.ok(api:call("POST", SOURCES, { metadata = { name = "flux-system" }, spec = spec }))
  end
  function c.add(...) return t.ok(api:call("POST", KUSTOMIZATIONS, kustomization(...))) end
  function c.patch(path, change) return t.ok(api:call("PATCH", path, change, MERGE)) end
  function c.request(path, text) return c.patch(path, { metadata = { annotations = { ["reconcile.fluxcd.io/requestedAt"] = text } } }) end
  function c.ready(path)
    local o = c.get(path)
    return value.find(value.get(o, "status", "conditions"), "type", "Ready") or {}, o
  end
  -- Waits for a Kustomization that applied a commit.
  function c.at(name, commit)
    local path = KUSTOMIZATIONS .. "/" .. name
    local ok = lab.wait(20, function()
      local ready, o = c.ready(path)
      return ready.status == "True" and o.status.lastAppliedRevision == "main@sha1:" .. commit
    end)
    if not ok then error(name .. ": " .. json.encode((c.get(path) or {}).status or "not there"), 2) end
    return c.get(path)
  end
  -- Waits for a failure that says so.
  function c.says(path, reason, text)
    local ok = lab.wait(20, function()
      local ready = c.ready(path)
      return ready.status == "False" and ready.reason == reason and ready.message:find(text, 1, true)
    end)
    if not ok then error(json.encode((c.ready(path))), 2) end
  end
  return c
end

test("what Git says arrives, what it drops goes, what is changed by hand comes back", function(t)
  local c = start(t)
  local first = c.push { ["clusters/a/one.yaml"] = config_map "one", ["clusters/a/apps.yaml"] = json.encode(kustomization("apps", "./apps", { wait = true,
    postBuild = { substitute = { WHO = "me" } } })), ["apps/web.yaml"] = deployment(), ["apps/map.yaml"] = config_map("mine", "${WHO} ${NO:=none}") }
  c.source()
  c.add("flux-system", "./clusters/a")
  c.at("flux-system", first)
  local apps = c.at("apps", first)
  t.eq(c.get("/apis/apps/v1/namespaces/default/deployments/web").status.availableReplicas, 1, "it waited for the deployment")
  t.eq(c.get(MAPS .. "mine").data.a, "me none")
  t.eq(c.get(MAPS .. "one").metadata.labels, { ["kustomize.toolkit.fluxcd.io/name"] = "flux-system", ["kustomize.toolkit.fluxcd.io/namespace"] = "flux-system" })
  t.eq(apps.status.inventory.entries, json.array { { id = "default_mine__ConfigMap", v = "v1" }, { id = "default_web_apps_Deployment", v = "v1" } })
  t.eq({ apps.status.lastAttemptedRevision, apps.status.observedGeneration, (c.ready(KUSTOMIZATIONS .. "/apps")).message },
    { "main@sha1:" .. first, 1, "Applied revision: main@sha1:" .. first })
  local _, repository = c.ready(SOURCES .. "/flux-system")
  t.eq((c.ready(SOURCES .. "/flux-system")).message, ("stored artifact for revision 'main@sha1:%s'"):format(first))
  t.ok(repository.status.artifact.digest:match "^sha256:%x+$")

  -- nothing to do writes nothing
  c.request(KUSTOMIZATIONS .. "/flux-system", "one")
  t.ok(lab.wait(10, function() return c.get(KUSTOMIZATIONS .. "/flux-system").status.lastHandledReconcileAt == "one" end))
  local before = { c.get(MAPS .. "one").metadata.resourceVersion, c.get(SOURCES .. "/flux-system").metadata.resourceVersion,
    c.get(KUSTOMIZATIONS .. "/apps").metadata.resourceVersion, c.get(KUSTOMIZATIONS .. "/flux-system").metadata.resourceVersion }
  for _, name in ipairs { "flux-system", "apps" } do
    t.ok(require("emulator.kubernetes.flux_kustomization").reconcile(c.flux, c.get(KUSTOMIZATIONS .. "/" .. name)) >= 10)
  end
  t.ok(require("emulator.kubernetes.flux_source").reconcile(c.flux, c.get(SOURCES .. "/flux-system")) >= 5)
  t.eq({ c.get(MAPS .. "one").metadata.resourceVersion, c.get(SOURCES .. "/flux-system").metadata.resourceVersion,
    c.get(KUSTOMIZATIONS .. "/apps").metadata.resourceVersion, c.get(KUSTOMIZATIONS .. "/flux-system").metadata.resourceVersion }, before)

  -- a push
  local second = c.push { ["clusters/a/one.yaml"] = false, ["clusters/a/two.yaml"] = config_map "two" }
  c.request(SOURCES .. "/flux-system", "two")
  c.at("flux-system", second)
  t.ok(c.get(MAPS .. "two"))
  t.eq(c.get(MAPS .. "one"), nil, "pruned")

  -- drift
  t.ok(c.api:call("DELETE", "/apis/apps/v1/namespaces/default/deployments/web"))
  c.patch(MAPS .. "mine", { data = { a = "yours", extra = "stays" } })
  c.request(KUSTOMIZATIONS .. "/apps", "drift")
  t.ok(lab.wait(10, function() return c.get("/apis/apps/v1/namespaces/default/deployments/web") and c.get(MAPS .. "mine").data.a == "me none" end))
  t.eq(c.get(MAPS .. "mine").data.extra, "stays", "a field that is not in Git is somebody else's")
  c.at("apps", second)

  -- suspended, nothing is put right; resumed, it is
  c.patch(KUSTOMIZATIONS .. "/apps", { spec = { suspend = true } })
  t.ok(c.api:call("DELETE", MAPS .. "mine"))
  c.request(KUSTOMIZATIONS .. "/apps", "suspended")
  t.eq(lab.wait(0.5, function() return c.get(MAPS .. "mine") end), nil)
  c.patch(KUSTOMIZATIONS .. "/flux-system", { spec = { suspend = true } })      -- or it would resume the other
  c.patch(KUSTOMIZATIONS .. "/apps", { spec = { suspend = false } })
  t.ok(lab.wait(10, function() return c.get(MAPS .. "mine") end))

  -- deleted, it takes its objects along
  t.ok(c.api:call("DELETE", KUSTOMIZATIONS .. "/apps"))
  t.ok(lab.wait(10, function() return not c.get(MAPS .. "mine") and not c.get(KUSTOMIZATIONS .. "/apps") end))
  t.eq(c.get("/apis/apps/v1/namespaces/default/deployments/web"), nil)
  t.ok(c.get(MAPS .. "two"))
end)

test("what is wrong is said where Flux says it, and mended by the next push", function(t)
  local c = start(t)
  c.push { ["a/kustomization.yaml"] = "resources: [nope.yaml]\n", ["b/x.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n",
    ["c/y.yaml"] = "apiVersion: x.io/v1\nkind: Thing\nmetadata: {name: y, namespace: default}\n", ["d/d.yaml"] = config_map "later",
    ["e/e.yaml"] = config_map("e"):gsub("namespace: default", "namespace: nowhere"), ["g/g.yaml"] = deployment():gsub("web, image", "Web, image") }
  c.source()
  local function at(name) return KUSTOMIZATIONS .. "/" .. name end
  c.add("nowhere", "./nowhere")
  c.says(at "nowhere", "ArtifactFailed", "kustomization path not found: stat /nowhere: no such file or directory")
  c.add("a", "./a", { retryInterval = "1m0s" })
  c.says(at "a", "BuildFailed", "kustomize build failed: accumulating resources: accumulation err='accumulating resources from 'nope.yaml'")
  c.add("b", "./b")
  c.says(at "b", "ReconciliationFailed", "ConfigMap/x namespace not specified")
  c.add("c", "./c")
  c.says(at "c", "ReconciliationFailed", 'Thing/default/y dry-run failed: no matches for kind "Thing" in version "x.io/v1"')
  c.add("e", "./e")
  c.says(at "e", "ReconciliationFailed", 'ConfigMap/nowhere/e not found: namespaces "nowhere" not found')
  c.add("g", "./g")
  c.says(at "g", "ReconciliationFailed", "Deployment/default/web dry-run failed (Invalid): ")
  c.add("d", "./d", { dependsOn = json.array { { name = "a" } } })
  c.says(at "d", "DependencyNotReady", "dependency 'flux-system/a' is not ready")
  c.add("s", "./d", { sourceRef = { kind = "GitRepository", name = "other" } })
  c.says(at "s", "ArtifactFailed", 'GitRepository.source.toolkit.fluxcd.io "other" not found')
  t.eq(c.get(MAPS .. "later"), nil)
  local fixed = c.push { ["a/nope.yaml"] = config_map "mended" }
  c.request(SOURCES .. "/flux-system", "now")
  c.at("a", fixed)
  c.at("d", fixed)
  t.ok(c.get(MAPS .. "later"))

  c.patch(SOURCES .. "/flux-system", { spec = { ref = { branch = "none" } } })
  c.says(SOURCES .. "/flux-system", "GitOperationFailed", "failed to checkout and determine revision: unable to clone '" .. c.url .. "'")
  t.eq(c.get(SOURCES .. "/flux-system").status.artifact.revision, "main@sha1:" .. fixed, "what was fetched stays")
  c.patch(SOURCES .. "/flux-system", { spec = { url = "ssh://git@127.0.0.1/x.git", secretRef = { name = "key" } } })
  c.says(SOURCES .. "/flux-system", "AuthenticationFailed", "failed to get secret 'flux-system/key': secrets \"key\" not found")
  t.ok(c.api:call("POST", "/api/v1/namespaces/flux-system/secrets", { metadata = { name = "key" }, stringData = { identity = "x" } }))
  c.says(SOURCES .. "/flux-system", "AuthenticationFailed", "'known_hosts' is required")
  c.patch(SOURCES .. "/flux-system", { spec = { url = "https://10.77.0.99/x.git", secretRef = json.null } })
  c.says(SOURCES .. "/flux-system", "GitOperationFailed", "unable to clone 'https://10.77.0.99/x.git': dial tcp 10.77.0.99:443: i/o timeout")
  c.world.fabric.egress = function() return nil, "no NAT gateway" end
  c.patch(SOURCES .. "/flux-system", { spec = { url = "https://git.example/x.git" } })
  c.says(SOURCES .. "/flux-system", "GitOperationFailed", "unable to clone 'https://git.example/x.git': dial tcp: i/o timeout (no NAT gateway)")
  c.patch(SOURCES .. "/flux-system", { spec = { url = json.null } })
  c.says(SOURCES .. "/flux-system", "InvalidSpec", "spec.url is required")
end)

test("nothing happens while the controllers do not run; commits and tags", function(t)
  local c = start(t)
  local first = c.push { ["x/one.yaml"] = config_map "one" }
  c.push { ["x/one.yaml"] = config_map("one", "later") }
  c.source { ref = { commit = first } }
  c.add("x", "./x")
  t.ok(lab.wait(15, function() return c.get(MAPS .. "one") end))
  t.eq(c.get(MAPS .. "one").data.a, "b")
  t.eq(c.get(SOURCES .. "/flux-system").status.artifact.revision, "sha1:" .. first)
  local controller = "/apis/apps/v1/namespaces/flux-system/deployments/kustomize-controller"
  c.patch(controller, { spec = { replicas = 0 } })
  t.ok(lab.wait(5, function() return not value.get(c.get(controller), "status", "availableReplicas") end))
  t.ok(c.api:call("DELETE", MAPS .. "one"))
  c.request(KUSTOMIZATIONS .. "/x", "x")
  t.eq(lab.wait(1, function() return c.get(MAPS .. "one") end), nil)
  c.patch(controller, { spec = { replicas = 1 } })
  t.ok(lab.wait(10, function() return c.get(MAPS .. "one") end))
end)

local function read_tree(root, folder, files)
  for _, name in ipairs(fs.list(root .. folder)) do
    local path = folder .. "/" .. name
    if fs.stat(root .. path).type == "directory" then read_tree(root, path, files) else files[path:sub(2)] = fs.read(root .. path) end
  end
  return files
end

test("the recipe's own layout", function(t)
  local root = arg[0]:match "^(.*)/tests/lua/" or "."
  local c = start(t)
  local commit = c.push(read_tree(root .. "/recipes/cluster/gitops", "", {}))
  c.source()
  c.add("flux-system", "./clusters/production")
  c.at("flux-system", commit)
  local list = c.get(KUSTOMIZATIONS).items
  t.ok(#list > 1)
  for _, o in ipairs(list) do c.at(o.metadata.name, commit) end
  t.eq(c.get("/apis/apps/v1/namespaces/production/deployments/nginx").spec.replicas, 2)
end)

test.done()
