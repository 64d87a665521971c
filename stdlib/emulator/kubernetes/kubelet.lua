--- The kubelet of one machine: runs while its service does, keeps the static pods, gets itself a certificate, registers the
-- Node, reports, and brings the pods of its node up and down. What it asks of the API goes over TLS through the emulated
-- network; only the list of its pods comes straight from the store, while reports get through.
local crypto = require "crypto"
local fs = require "fs"
local json = require "json"
local task = require "task"
local yaml = require "yaml"
local value = require "emulator.kubernetes.value"
local Client = require "emulator.kubernetes.client"
local StaticPods = require "emulator.kubernetes.static_pods"
local heartbeat = require "emulator.kubernetes.heartbeat"
local pod_worker = require "emulator.kubernetes.pod_worker"

local Kubelet = {}
Kubelet.__index = Kubelet

local CONFIG, KUBECONFIG, BOOTSTRAP = "/var/lib/kubelet/config.yaml", "/etc/kubernetes/kubelet.conf",
  "/etc/kubernetes/bootstrap-kubelet.conf"
local FLAGS, PKI = "/var/lib/kubelet/kubeadm-flags.env", "/var/lib/kubelet/pki"

--- The kubelet of a machine; it does nothing until `update` finds its service running.
function Kubelet.new(kubernetes, machine)
  return setmetatable({ kubernetes = kubernetes, world = kubernetes.world, machine = machine, workers = {}, wake = task.event(),
    static = StaticPods.new(kubernetes, machine), logs = {}, pod_addresses = {} }, Kubelet)
end

function Kubelet:read(path) return fs.read(self.machine.root .. path) end

function Kubelet:journal(text)
  if self.said == text then return end
  self.said = text
  self.machine:journal("kubelet", text)
end

local function active(machine, name)
  local s = machine:service(name)
  return s ~= nil and s.active
end

--- Does the runtime of the machine answer, and with which cgroup driver? Returns ok, driver or why.
function Kubelet.runtime(machine)
  if machine.power ~= "running" or not active(machine, "containerd") then
    return false, 'dial unix /run/containerd/containerd.sock: connect: no such file or directory'
  end
  local text = fs.read(machine.root .. "/etc/containerd/config.toml") or ""
  local disabled = text:match("\n%s*disabled_plugins%s*=%s*(%b[])") or text:match("^%s*disabled_plugins%s*=%s*(%b[])")
  if disabled and disabled:find('"cri"', 1, true) then
    return false, "rpc error: code = Unimplemented desc = unknown service runtime.v1.RuntimeService"
  end
  local systemd
  for line in text:gmatch("[^\n]+") do
    local v = line:match("^%s*SystemdCgroup%s*=%s*(%a+)")
    if v then systemd = v == "true" end
  end
  return true, systemd and "systemd" or "cgroupfs"
end

local function flag(text, name) return text and text:match("%-%-" .. name:gsub("%-", "%%-") .. "=([^%s\"']+)") end

--- Settings of the kubelet, or nil and why it does not start.
function Kubelet:settings()
  local text = self:read(CONFIG)
  if not text then
    return nil, ('"command failed" err="failed to load kubelet config file, path: %s, error: failed to load Kubelet config file %s, '
      .. 'error failed to read kubelet config file \\"%s\\", error: open %s: no such file or directory"'):format(CONFIG, CONFIG, CONFIG, CONFIG)
  end
  local config = yaml.decode(text)
  if type(config) ~= "table" then return nil, '"command failed" err="failed to load kubelet config file"' end
  if #self.machine:swaps() > 0 and config.failSwapOn ~= false then
    return nil, '"command failed" err="failed to run Kubelet: running with swap on is not supported, please disable swap or set --fail-swap-on flag to false"'
  end
  local args = self:read(FLAGS) or ""
  return { config = config, cgroup = config.cgroupDriver or "cgroupfs", node_ip = flag(args, "node-ip") or self.machine.private_ip,
    name = flag(args, "hostname-override") or self.machine.hostname:lower(), cloud = flag(args, "cloud-provider"),
    taints = flag(args, "register-with-taints") }
end

local function version_of(machine)
  local v = machine:package("kubelet")
  return v and "v" .. v:match("^[%d.]+") or "v1.30.0"
end

local function os_image(machine)
  local text = fs.read(machine.root .. "/etc/os-release") or ""
  return text:match('PRETTY_NAME="([^"]+)"') or "Debian GNU/Linux 12 (bookworm)"
end

local function machine_uuid(machine, salt)
  local h = crypto.sha256(machine.id .. salt)
  return ("%s-%s-4%s-8%s-%s"):format(h:sub(1, 8), h:sub(9, 12), h:sub(14, 16), h:sub(18, 20), h:sub(21, 32))
end

-- As the machine's own kernel says it.
local function boot_id(machine)
  return (fs.read(machine.root .. "/run/machine-boot-id") or machine_uuid(machine, "boot")):match("%S+")
end

function Kubelet:cni()
  for _, name in ipairs(fs.list(self.machine.root .. "/etc/cni/net.d") or {}) do
    if name:match("%.conf$") or name:match("%.conflist$") then return true end
  end
  return false
end

-- Ready, or the reason and message of a kubelet that is not.
local function readiness(self)
  local ok, why = Kubelet.runtime(self.machine)
  if not ok then return false, "KubeletNotReady", "container runtime is down: " .. why end
  if not self:cni() then
    return false, "KubeletNotReady", "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
      .. "message:Network plugin returns error: cni plugin not initialized"
  end
  return true, "KubeletReady", "kubelet is posting ready status"
end

local function conditions(self, old)
  local now = value.time()
  local out = json.array {}
  local function put(type_, state, reason, message)
    local before = value.find(old, "type", type_)
    out[#out + 1] = { type = type_, status = state, reason = reason, message = message, lastHeartbeatTime = now,
      lastTransitionTime = before and before.status == state and before.lastTransitionTime or now }
  end
  for _, c in ipairs(old or {}) do
    if not value.contains({ "MemoryPressure", "DiskPressure", "PIDPressure", "Ready" }, c.type) then out[#out + 1] = c end
  end
  put("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available")
  put("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure")
  put("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available")
  local ready, reason, message = readiness(self)
  put("Ready", ready and "True" or "False", reason, message)
  return out, ready
end

local function capacity(machine)
  local size = machine.size or {}
  return { cpu = tostring(size.cores or 2), memory = (size.memory_mib or 8192) * 1024 .. "Ki", pods = "110",
    ["ephemeral-storage"] = "30298176Ki", ["hugepages-1Gi"] = "0", ["hugepages-2Mi"] = "0" }
end

local function status_of(self, s, old)
  local list, ready = conditions(self, old and old.conditions)
  local runtime = self.machine:package("containerd.io") or self.machine:package("containerd") or "1.6.20"
  -- What a cloud provider has said of its addresses stays.
  local addresses = s.cloud == "external" and old and old.addresses
    or json.array { { type = "InternalIP", address = s.node_ip }, { type = "Hostname", address = s.name } }
  return { capacity = capacity(self.machine), allocatable = capacity(self.machine), conditions = list, addresses = addresses,
    daemonEndpoints = { kubeletEndpoint = { Port = 10250 } },
    nodeInfo = { machineID = machine_uuid(self.machine, "id"):gsub("-", ""), systemUUID = machine_uuid(self.machine, "system"),
      bootID = boot_id(self.machine), kernelVersion = "6.1.0-40-cloud-amd64",
      osImage = os_image(self.machine), containerRuntimeVersion = "containerd://" .. runtime:match("^[%d.]+"),
      kubeletVersion = self.version or version_of(self.machine), kubeProxyVersion = "", operatingSystem = "linux", architecture = "amd64" } }, ready
end

-- Credentials

local function write_secret(self, path, text)
  fs.mkdir(self.machine.root .. path:match("^(.*)/"))
  return fs.write(self.machine.root .. path, text, { mode = tonumber("600", 8) })
end

local function kubeconfig(server, ca)
  return yaml.encode { apiVersion = "v1", kind = "Config", ["current-context"] = "default-context", preferences = {},
    clusters = json.array { { name = "default-cluster", cluster = { server = server, ["certificate-authority-data"] = crypto.base64(ca) } } },
    contexts = json.array { { name = "default-context", context = { cluster = "default-cluster", user = "default-auth", namespace = "default" } } },
    users = json.array { { name = "default-auth", user = { ["client-certificate"] = PKI .. "/kubelet-client-current.pem",
      ["client-key"] = PKI .. "/kubelet-client-current.pem" } } } }
end

local REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"

-- Asks the cluster for a certificate and waits until somebody approved it. Returns {cert, key}, or nil, why, code.
local function request_certificate(self, client, s, signer, usage, names)
  local key = crypto.ec_key()
  local csr = crypto.x509_csr { key = key, cn = "system:node:" .. s.name, o = { "system:nodes" }, dns = names and names.dns, ip = names and names.ip }
  local made, why, code = client:call("POST", REQUESTS, {
    apiVersion = "certificates.k8s.io/v1", kind = "CertificateSigningRequest", metadata = { generateName = "csr-" },
    spec = { request = crypto.base64(csr), signerName = "kubernetes.io/" .. signer, usages = json.array(usage) } })
  if not made then return nil, why, code end
  local path, changed, unsubscribe = REQUESTS .. "/" .. made.metadata.name, task.event(), nil
  local cluster = self.kubernetes:cluster_of_ca(client.options.ca)
  if cluster then
    unsubscribe = cluster:subscribe(function(event)
      if event.kind == "certificates.k8s.io/certificatesigningrequests" and event.object.metadata.name == made.metadata.name then changed:set() end
    end)
  end
  local guard <close> = setmetatable({}, { __close = function() if unsubscribe then unsubscribe() end end })
  local deadline = task.now() + (names and 900 or 60)
  while task.now() < deadline do
    changed:clear()
    local csr_now, message, reason = client:call("GET", path)
    if not csr_now then return nil, message, reason end
    local cert = value.get(csr_now, "status", "certificate")
    if cert then return { cert = crypto.unbase64(cert), key = key } end
    changed:wait(cluster and 5 or 0.2)
  end
  return nil, "cannot create certificate signing request: timed out waiting for the condition"
end

-- A pair as kubelets keep it: a file by its date, and a link that says which one counts.
local function keep_pair(self, name, pair)
  local file = ("%s/%s-%s.pem"):format(PKI, name, os.date("!%Y-%m-%d-%H-%M-%S"))
  write_secret(self, file, pair.cert .. pair.key)
  local link = ("%s%s/%s-current.pem"):format(self.machine.root, PKI, name)
  fs.remove(link)
  fs.symlink(file, link)
end

-- What the link of a pair leads to; it is absolute inside of the machine's root.
local function kept_pair(self, name)
  local target = fs.readlink(("%s%s/%s-current.pem"):format(self.machine.root, PKI, name))
  return target and fs.read(target:sub(1, 1) == "/" and self.machine.root .. target or self.machine.root .. PKI .. "/" .. target)
end

-- With a bootstrap file and no certificate: asks for one, and writes what a kubelet keeps.
local function bootstrap(self, s)
  local client, why = Client.from_kubeconfig(self.world, self.machine, BOOTSTRAP, "kubelet")
  if not client then return nil, why end
  local pair, message = request_certificate(self, client, s, "kube-apiserver-client-kubelet", { "digital signature", "client auth" })
  if not pair then return nil, message end
  keep_pair(self, "kubelet-client", pair)
  write_secret(self, KUBECONFIG, kubeconfig(client.options.server, client.options.ca))
  self:journal('"Rotating certificates" client certificate written')
  return true
end

local function credentials(self)
  local client, why = Client.from_kubeconfig(self.world, self.machine, KUBECONFIG, "kubelet")
  if not client then return nil, why end
  if not client.options.cert then
    local text = kept_pair(self, "kubelet-client")
    if not text then return nil, "part of the existing bootstrap client certificate is missing" end
    client.options.cert, client.options.key = text, text
  end
  return client
end

local function taints(s)
  local out = json.array {}
  for item in (s.taints or ""):gmatch("[^,]+") do
    local key, v, effect = item:match("^([^=:]+)=?([^:]*):(%a+)$")
    if key then out[#out + 1] = { key = key, value = v ~= "" and v or nil, effect = effect } end
  end
  if s.cloud == "external" then
    out[#out + 1] = { key = "node.cloudprovider.kubernetes.io/uninitialized", value = "true", effect = "NoSchedule" }
  end
  return #out > 0 and out or nil
end

local function register(self, client, s)
  local path = "/api/v1/nodes/" .. s.name
  local node, why, code = client:call("GET", path)
  if node or code ~= 404 then return node, why end
  local labels = { ["kubernetes.io/hostname"] = s.name, ["kubernetes.io/os"] = "linux", ["kubernetes.io/arch"] = "amd64",
    ["beta.kubernetes.io/os"] = "linux", ["beta.kubernetes.io/arch"] = "amd64" }
  return client:call("POST", "/api/v1/nodes", { apiVersion = "v1", kind = "Node", metadata = { name = s.name, labels = labels,
      annotations = { ["volumes.kubernetes.io/controller-managed-attach-detach"] = "true",
        ["alpha.kubernetes.io/provided-node-ip"] = s.cloud == "external" and s.node_ip or nil } },
    spec = { taints = taints(s) }, status = (status_of(self, s)) })
end

local LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"

local function renew(self, client, s)
  local now = value.micro_time(task.time())
  local answer, why, code = client:call("PATCH", LEASES .. "/" .. s.name,
    { spec = { holderIdentity = s.name, leaseDurationSeconds = 40, renewTime = now } }, "application/merge-patch+json")
  if code ~= 404 then return answer, why, code end
  return client:call("POST", LEASES, { apiVersion = "coordination.k8s.io/v1", kind = "Lease", metadata = { name = s.name,
      namespace = "kube-node-lease", ownerReferences = json.array { { apiVersion = "v1", kind = "Node", name = s.name, uid = self.node_uid } } },
    spec = { holderIdentity = s.name, leaseDurationSeconds = 40, renewTime = now } })
end

-- The names and addresses of its Node, as a certificate has them.
local function names_of(node)
  local names = { dns = {}, ip = {} }
  for _, address in ipairs(value.get(node, "status", "addresses") or {}) do
    table.insert(address.type:find("IP$") and names.ip or names.dns, address.address)
  end
  return names
end

local function holds(certificate, names)
  for key, list in pairs(names) do
    for _, name in ipairs(list) do
      if not value.contains(certificate[key], name) then return false end
    end
  end
  return true
end

-- With serverTLSBootstrap it asks for a certificate to serve with, unless it has one that is still good for all its addresses. A
-- request that is too old to name them all is given up.
local function serve(self, client, s, node)
  local names = names_of(node)
  if not s.config.serverTLSBootstrap or (self.serving and holds(self.asked, names)) then return end
  local kept = kept_pair(self, "kubelet-server")
  local told = kept and crypto.x509_read(kept)
  local ends = told and (tonumber(told.not_after) or value.seconds(told.not_after))
  if ends and ends > task.time() and holds(told, names) then return end
  if self.serving then self.serving:cancel("its addresses are others") end
  self.asked = names
  self.serving = task.spawn(function()
    local pair, why = request_certificate(self, client, s, "kubelet-serving", { "digital signature", "server auth" }, names)
    if pair then keep_pair(self, "kubelet-server", pair) else self:journal(('"Certificate request failed" err="%s"'):format(tostring(why))) end
    self.serving = nil
  end)
end

--- Why its own server ends a handshake; nil: it has a certificate to serve with. Without serverTLSBootstrap it signs one itself.
function Kubelet:unserved()
  local s = self:settings()
  if s and s.config.serverTLSBootstrap and not kept_pair(self, "kubelet-server") then return "remote error: tls: internal error" end
end

local function post_status(self, client, s)
  local node, why, code = client:call("GET", "/api/v1/nodes/" .. s.name)
  if not node then return nil, why, code end
  local new, ready = status_of(self, s, node.status)
  serve(self, client, s, node)
  local ok, message, reason = client:call("PATCH", "/api/v1/nodes/" .. s.name .. "/status", { status = new },
    "application/strategic-merge-patch+json")
  if not ok then return nil, message, reason end
  self.pod_cidr = value.get(node, "spec", "podCIDR")
  if self.ready ~= ready then
    self.ready = ready
    self:event(ok, "Normal", ready and "NodeReady" or "NodeNotReady", ("Node %s status is now: %s"):format(s.name, ready and "NodeReady" or "NodeNotReady"))
  end
  return ok
end

--- Records an event about an object in the kubelet's name.
function Kubelet:event(object, kind, reason, message)
  if self.cluster then self.cluster:event(object, kind, reason, message, "kubelet", self.name) end
end

-- Pods

--- Lines that a container of a pod wrote, or nil and why.
function Kubelet:log(pod, container)
  local lines = self.logs[pod.metadata.uid .. "/" .. container]
  if not lines then
    return nil, ('container "%s" in pod "%s" is waiting to start: ContainerCreating'):format(container, pod.metadata.name)
  end
  return lines
end

--- Notes a line of a container.
function Kubelet:say(pod, container, text)
  local key = pod.metadata.uid .. "/" .. container
  self.logs[key] = self.logs[key] or {}
  table.insert(self.logs[key], { time = value.micro_time(task.time()), text = text })
end

--- An address for a pod out of the node's range, or nil while it has none.
function Kubelet:pod_address(uid)
  if self.pod_addresses[uid] then return self.pod_addresses[uid] end
  local base = self.pod_cidr and self.pod_cidr:match("^(%d+%.%d+%.%d+)%.")
  if not base then return nil end
  local used = {}
  for _, a in pairs(self.pod_addresses) do used[a] = true end
  for _, p in ipairs(self.cluster.store:list "/pods") do
    if p.spec.nodeName == self.name and value.get(p, "status", "podIP") then used[p.status.podIP] = true end
  end
  for i = 2, 254 do
    local address = base .. "." .. i
    if not used[address] then
      self.pod_addresses[uid] = address
      return address
    end
  end
end

local function each_pod(self)
  local out = {}
  for _, p in ipairs(self.cluster.store:list "/pods") do
    if p.spec.nodeName == self.name then out[#out + 1] = p end
  end
  return out
end

local function drop_worker(self, uid, reason)
  local worker = self.workers[uid]
  self.workers[uid] = nil
  self.pod_addresses[uid] = nil
  if worker then worker:cancel(reason) end
end

local function mirror(self, s)
  for name, entry in pairs(self.static.running) do pod_worker.mirror(self, s, name, entry) end
  for _, p in ipairs(each_pod(self)) do
    local hash = value.get(p, "metadata", "annotations", "kubernetes.io/config.mirror")
    local name = hash and p.metadata.name:sub(1, #p.metadata.name - #self.name - 1)
    if hash and not self.static.running[name] and not self.static.failed[name] then
      self.cluster:try(function() self.cluster.objects:delete(self.cluster:res "/pods", p.metadata.namespace, p.metadata.name, { grace = 0 }) end)
    end
  end
end

--- Starts a worker for each pod of the node that has none, and ends those whose pod is gone.
function Kubelet:sync_pods()
  if not self.cluster or not self.connected then return end
  local present = {}
  for _, p in ipairs(each_pod(self)) do
    local uid = p.metadata.uid
    present[uid] = true
    if not value.get(p, "metadata", "annotations", "kubernetes.io/config.mirror") and not self.workers[uid] then
      local namespace, name = p.metadata.namespace, p.metadata.name
      self.workers[uid] = task.spawn(function() pod_worker.run(self, namespace, name, uid) end)
    end
  end
  for uid in pairs(self.workers) do
    if not present[uid] then
      drop_worker(self, uid, "the pod is gone")
      fs.remove(pod_worker.folder(self, uid))
    end
  end
end

local function attach(self, cluster, s)
  if self.cluster == cluster then return end
  self.cluster, self.name = cluster, s.name
  cluster.kubelets[s.name] = self
  self.pods_changed = task.event()
  self.unsubscribe = cluster:subscribe(function(event)
    if event.kind == "/pods" and (event.object.spec.nodeName == s.name) then
      local changed = self.pods_changed
      self.pods_changed = task.event()
      changed:set()
      if event.type ~= "MODIFIED" or not event.old.spec.nodeName then self.wake:set() end
    elseif event.kind == "/nodes" and event.object.metadata.name == s.name and event.type == "MODIFIED"
      and (value.get(event.old, "spec", "podCIDR") ~= value.get(event.object, "spec", "podCIDR")
        or not value.equal(value.get(event.old, "status", "addresses"), value.get(event.object, "status", "addresses"))) then
      self.posted = nil
      self.wake:set()
    elseif event.kind == "/configmaps" or event.kind == "/secrets" then
      local changed = self.pods_changed
      self.pods_changed = task.event()
      changed:set()
    end
  end)
end

local function detach(self)
  if self.unsubscribe then self.unsubscribe() end
  if self.serving then self.serving:cancel("the kubelet ends") end
  if self.cluster and self.cluster.kubelets[self.name] == self then self.cluster.kubelets[self.name] = nil end
  for uid in pairs(self.workers) do drop_worker(self, uid, "the kubelet ends") end
  self.cluster, self.unsubscribe, self.connected, self.ready, self.node_uid, self.serving = nil, nil, nil, nil, nil, nil
end

-- One round of reports. Returns whether the API took them.
local function report(self, client, s)
  local cluster = self.node_uid and self.kubernetes:cluster_of_ca(client.options.ca)
  if cluster and cluster ~= self.cluster then detach(self) end -- one that was restored from a snapshot
  if not self.node_uid then
    local node, why = register(self, client, s)
    if not node then return false, why end
    self.node_uid = node.metadata.uid
    attach(self, self.kubernetes:cluster_of_ca(client.options.ca), s)
    self:event(node, "Normal", "Starting", "Starting kubelet.")
    serve(self, client, s, node)
  end
  local ok, why = renew(self, client, s)
  if not ok then return false, why end
  local ready = readiness(self)
  if ready ~= self.ready or not self.pod_cidr or task.now() - (self.posted or 0) > heartbeat.interval(self.cluster.factor) * 5 then
    ok, why = post_status(self, client, s)
    if not ok then return false, why end
    self.posted = task.now()
  end
  return true
end

local function connect(self, s)
  if not self:read(KUBECONFIG) then
    if not self:read(BOOTSTRAP) then return nil, "standalone" end
    local ok, why = bootstrap(self, s)
    if not ok then return nil, why end
  end
  return credentials(self)
end

local function runtime_ok(self, s)
  local ok, driver = Kubelet.runtime(self.machine)
  if not ok then
    self:journal(('"command failed" err="failed to run Kubelet: validate service connection: validate CRI v1 runtime API for endpoint '
      .. '\\"unix:///run/containerd/containerd.sock\\": %s"'):format(driver))
    return false
  end
  if driver ~= s.cgroup then
    local wanted = driver == "systemd" and 'expected cgroupsPath to be of format \\"slice:prefix:name\\" for systemd cgroups, got \\"/kubepods/burstable\\" instead'
      or 'cgroup driver of the container runtime is cgroupfs and that of the kubelet is systemd'
    self:journal(('"Failed to create sandbox for pod" err="rpc error: code = Unknown desc = failed to create containerd task: failed to create '
      .. 'shim task: OCI runtime create failed: runc create failed: %s: unknown"'):format(wanted))
    return true, false
  end
  return true, true
end

local function run(self)
  local guard <close> = setmetatable({}, { __close = function() detach(self) end })
  local delay = 0.1
  self.version = version_of(self.machine) -- of the program that runs, until it is started anew
  while true do
    local s, why = self:settings()
    local wait = 5
    if not s then
      self:journal(why)
      self.state = "activating"
    else
      local runtime, sandboxes = runtime_ok(self, s)
      if not runtime and not self.node_uid then
        self.state = "activating"
      else
        self.state = "active"
        if sandboxes then
          if not self.static:sync(function(text) self:journal(text) end) then wait = 1 end
          self.kubernetes:note()
        end
        local client, message = connect(self, s)
        local ok = false
        if client then ok, message = report(self, client, s) end
        self.connected = ok
        self.kubernetes:note()
        if ok then
          delay = 0.1
          mirror(self, s)
          self:sync_pods()
          wait = heartbeat.interval(self.cluster.factor)
        elseif message ~= "standalone" then
          self:journal(('"Unable to register node with API server" err="%s" node="%s"'):format(tostring(message), s.name))
          delay = math.min(delay * 2, 2)
          wait = delay
        end
      end
    end
    self.wake:wait(wait)
    self.wake:clear()
  end
end

--- Looks at the machine again: starts or ends the kubelet and, when the machine is down, everything on it.
function Kubelet:update()
  local machine = self.machine
  local wanted = machine.power == "running" and active(machine, "kubelet")
  if wanted and not self.task then
    self.state = "activating"
    self.task = task.spawn(run, self)
  elseif not wanted and self.task then
    self.task:cancel("the kubelet service was stopped")
    self.task = nil
    self.state = "inactive"
  end
  if machine.power ~= "running" then
    self.static:stop()
    self.logs, self.pod_addresses = {}, {}
  end
  self.wake:set()
end

--- Ends it with the emulator; a machine that is gone takes its static pods along.
function Kubelet:close()
  if self.task then self.task:cancel("the emulator stops") end
  self.task = nil
  self.static:stop()
end

return Kubelet
