--- The world that the recorded commands met: an API server with controllers and a scheduler, two nodes whose kubelet says that
-- every pod runs, and Flux's objects without anybody behind them. Nothing is written to disk but the server's keys.
local crypto = require "crypto"
local components = require "flux.components"
local fs = require "fs"
local json = require "json"
local process = require "process"
local task = require "task"
local yaml = require "yaml"
local ApiServer = require "emulator.kubernetes.apiserver"
local Client = require "emulator.kubernetes.client"
local Cluster = require "emulator.kubernetes.cluster"
local Manager = require "emulator.kubernetes.controllers.manager"
local value = require "emulator.kubernetes.value"

local VERSION, NAME = "v1.36.1", "kubernetes.test"
local MERGE, STRATEGIC, APPLY = "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"
local LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"

local World = {}
World.__index = World
local opened, real_time = 0, value.time

local function memory()
  local rows = {}
  return { put = function(_, key, text) rows[key] = text end, delete = function(_, key) rows[key] = nil end,
    each = function() return next, rows end }
end

local function serve(self)
  local ca = crypto.x509_ca { cn = "kubernetes", days = 1 }
  local machine = { root = self.folder, hostname = "api", address = ("127.%d.%d.%d"):format(200 + process.pid() % 50, process.pid() % 251, opened) }
  local tls = crypto.x509_issue { ca = ca, cn = "kube-apiserver", dns = { NAME }, ip = { machine.address }, days = 1, usage = { "server" } }
  local files = { ["ca.crt"] = ca.cert, ["tls.crt"] = tls.cert, ["tls.key"] = tls.key, ["sa.key"] = crypto.rsa_key(2048) }
  for name, text in pairs(files) do assert(fs.write(self.folder .. "/" .. name, text, { mode = tonumber("600", 8) })) end
  local pod = { spec = { containers = { { volumeMounts = { { name = "keys", mountPath = "/keys" } } } },
    volumes = { { name = "keys", hostPath = { path = "" } } } } }
  self.server = assert(ApiServer.start(self.cluster, machine, pod, { ["tls-cert-file"] = "/keys/tls.crt",
    ["tls-private-key-file"] = "/keys/tls.key", ["client-ca-file"] = "/keys/ca.crt", ["service-account-key-file"] = "/keys/sa.key",
    ["service-account-signing-key-file"] = "/keys/sa.key", ["service-cluster-ip-range"] = "10.96.0.0/16" }, VERSION))
  self.cluster:configure { ca = ca }
  self.cluster:server_started(self.server, machine.address)
  local admin = crypto.x509_issue { ca = ca, cn = "kubernetes-admin", o = { "system:masters" }, days = 1, usage = { "client" } }
  self.url, self.ca = ("https://%s:6443"):format(machine.address), ca.cert
  local fabric = { dial = function() return { host = machine.address, port = 6443 } end }
  self.client = Client.new({ fabric = fabric }, machine, { server = self.url, ca = ca.cert, cert = admin.cert, key = admin.key, agent = "curl" })
end

local function ask(self, ...)
  local answer, why = self.client:call(...)
  return answer or error(("%s %s: %s"):format((...), select(2, ...), tostring(why)), 2)
end

-- A kubelet that runs nothing: what is bound to the node is Running and Ready, what shall go is gone.
local function attend(self, pod)
  local m = pod.metadata
  local path = ("/api/v1/namespaces/%s/pods/%s"):format(m.namespace, m.name)
  if m.deletionTimestamp then
    self.client:call("DELETE", path .. "?gracePeriodSeconds=0")
  elseif pod.spec.nodeName and pod.status.phase == "Pending" then
    self.client:call("PATCH", path .. "/status", { status = { phase = "Running", podIP = "10.1.0.1", conditions = json.array {
      { type = "Ready", status = "True", lastTransitionTime = value.time() }, { type = "ContainersReady", status = "True" } } } }, STRATEGIC)
  end
end

local function kubelet(self)
  local changed = task.queue()
  local stop <close> = setmetatable({}, { __close = self.cluster:subscribe(function(event)
    if event.kind == "/pods" and event.type ~= "DELETED" then changed:push(event.object) end
  end) })
  while true do attend(self, (changed:pop())) end
end

local function heartbeats(self, names)
  for _, name in ipairs(names) do
    ask(self, "POST", LEASES, { metadata = { name = name, namespace = "kube-node-lease" }, spec = { holderIdentity = name,
      leaseDurationSeconds = 40, renewTime = value.micro_time(task.time()) } })
  end
  while true do
    task.sleep(1)
    for _, name in ipairs(names) do
      ask(self, "PATCH", LEASES .. "/" .. name, { spec = { renewTime = value.micro_time(task.time()) } }, MERGE)
    end
  end
end

local function node(self, name)
  local path, room = "/api/v1/nodes", { cpu = "8", memory = "32Gi", pods = "110" }
  ask(self, "POST", path, { apiVersion = "v1", kind = "Node", metadata = { name = name, labels = { ["kubernetes.io/os"] = "linux" } } })
  ask(self, "PATCH", path .. "/" .. name .. "/status", { status = { capacity = room, allocatable = room, conditions = json.array {
    { type = "Ready", status = "True", reason = "Fake", lastHeartbeatTime = value.time(), lastTransitionTime = value.time() } } } }, STRATEGIC)
end

local function flux(self)
  local controllers = { "helm-controller", "kustomize-controller", "notification-controller", "source-controller" }
  for _, o in ipairs(components.objects { namespace = "flux-system", controllers = controllers, version = components.VERSION,
    registry = "ghcr.io/fluxcd", domain = "cluster.local" }) do
    local group, version = o.apiVersion:match "^(.-)/?([^/]+)$"
    local res
    for _, plural in ipairs(self.cluster.resources.by_gv[o.apiVersion].order) do
      res = self.cluster.resources:find(group, version, plural)
      if res.kind == o.kind then break end
    end
    ask(self, "PATCH", (group == "" and "/api/" or "/apis/") .. o.apiVersion .. (o.metadata.namespace and "/namespaces/" .. o.metadata.namespace or "")
      .. "/" .. res.plural .. "/" .. o.metadata.name .. "?fieldManager=flux&force=true", o, APPLY)
  end
end

-- Somebody with all rights who comes with a token, so that another token can be given instead.
local function token(self)
  ask(self, "POST", "/api/v1/namespaces/kube-system/serviceaccounts", { metadata = { name = "person" } })
  ask(self, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", { metadata = { name = "person" },
    roleRef = { apiGroup = "rbac.authorization.k8s.io", kind = "ClusterRole", name = "cluster-admin" },
    subjects = json.array { { kind = "ServiceAccount", name = "person", namespace = "kube-system" } } })
  return ask(self, "POST", "/api/v1/namespaces/kube-system/serviceaccounts/person/token", { spec = { expirationSeconds = 7200 } }).status.token
end

--- Goes on to the next second of the world. What one command does has one time, however busy the machine is.
function World:tick() self.now = self.now + 1 end

--- Is nothing under way? Every Deployment is as it is declared, and no pod is on its way up or down.
function World:settled()
  local store = self.cluster.store
  for _, p in ipairs(store:list "/pods") do
    if p.metadata.deletionTimestamp or p.status.phase ~= "Running" then return false end
  end
  for _, d in ipairs(store:list "apps/deployments") do
    local s = d.status or {}
    local n = d.spec.replicas
    if s.observedGeneration ~= d.metadata.generation or s.replicas ~= n or s.updatedReplicas ~= n or s.availableReplicas ~= n then return false end
  end
  return true
end

--- Waits until nothing is under way.
function World:settle()
  local ends = task.now() + 10
  while not self:settled() do
    if task.now() > ends then error("the cluster does not settle", 0) end
    task.sleep(0.01)
  end
end

--- A kubeconfig of the administrator.
function World:kubeconfig()
  return yaml.encode { apiVersion = "v1", kind = "Config", ["current-context"] = "test", contexts = json.array { { name = "test",
      context = { cluster = "test", user = "test" } } }, users = json.array { { name = "test", user = { token = self.token } } },
    clusters = json.array { { name = "test", cluster = { server = self.url, ["certificate-authority-data"] = crypto.base64(self.ca) } } } }
end

--- Opens it. folder: for the server's keys.
function World.open(folder)
  local cluster = Cluster.open { table = memory(), factor = 600, sleep = function(s) task.sleep(s / 600) end }
  local self = setmetatable({ folder = folder, cluster = cluster, tasks = {}, now = os.time() - 120 }, World)
  opened = opened + 1
  value.time = function(seconds) return real_time(seconds or self.now) end
  Manager.start(cluster)
  cluster:add_member { name = "etcd", peer = "https://127.0.0.1:2380", machine = "api" }
  cluster:member_alive("etcd", true)
  serve(self)
  for _, name in ipairs { "kube-controller-manager", "kube-scheduler" } do cluster:component_started(name, "api") end
  self.token = token(self)
  self.tasks[1] = task.spawn(kubelet, self)
  local nodes = { "cp-0", "worker-0" }
  for _, name in ipairs(nodes) do node(self, name) end
  self.tasks[2] = task.spawn(heartbeats, self, nodes)
  -- Flux was there before the worker took pods
  ask(self, "PATCH", "/api/v1/nodes/worker-0", { metadata = { labels = { ["node-role.kubernetes.io/worker"] = "" } },
    spec = { unschedulable = true } }, MERGE)
  flux(self)
  self:settle()
  ask(self, "PATCH", "/api/v1/nodes/worker-0", { spec = { unschedulable = json.null } }, MERGE)
  return self
end

--- Ends it.
function World:close()
  for _, t in ipairs(self.tasks) do t:cancel "the world ends" end
  self.server:stop()
  self.cluster:close()
  value.time = real_time
end

return World
