--- One cluster: its objects, its etcd members, and what makes it live. Machines come and go; the cluster is what their
-- etcd data has in common.
local crypto = require "crypto"
local json = require "json"
local task = require "task"
local value = require "emulator.kubernetes.value"
local status = require "emulator.kubernetes.status"
local Store = require "emulator.kubernetes.store"
local Resources = require "emulator.kubernetes.resources"
local Objects = require "emulator.kubernetes.objects"
local apply = require "emulator.kubernetes.apply"
local defaults = require "emulator.kubernetes.defaults"
local definitions = require "emulator.kubernetes.definitions"
local rbac = require "emulator.kubernetes.rbac"
local ip = require "emulator.kubernetes.ip"

local Cluster = {}
Cluster.__index = Cluster

--- Opens a cluster. options: id, table (durable, see store.lua), sleep(nominal seconds), factor, save(record), record
-- (what `save` kept), written(method, path, status), sync().
function Cluster.open(options)
  local record = options.record or {}
  local self = setmetatable({
    id = options.id or crypto.uuid(), record = record, save = options.save or function() end,
    sleep = options.sleep or task.sleep, factor = options.factor or 1, written = options.written, sync = options.sync,
    store = Store.open(options.table), resources = Resources.new(),
    service_cidr = record.service_cidr or "10.96.0.0/12", pod_cidr = record.pod_cidr, issuer = record.issuer
      or "https://kubernetes.default.svc.cluster.local",
    members = record.members or {}, alive = {}, controllers = {}, kubelets = {}, servers = {}, seen_events = {}, rollouts = {}, started = task.time(),
  }, Cluster)
  record.members = self.members
  self.objects = Objects.new(self)
  self.changed = task.event()
  definitions.attach(self)
  return self
end

--- The resource of a storage key; a bug when it does not exist.
function Cluster:res(key)
  local res = self.resources:by_key(key)
  assert(res, "no resource " .. key)
  return res
end

--- The CA that signs for kubelets, the key of service accounts and the settings of the API servers, as the first one says.
function Cluster:configure(settings)
  for _, name in ipairs { "service_cidr", "pod_cidr", "issuer" } do
    if settings[name] and settings[name] ~= self[name] then
      self[name], self.record[name] = settings[name], settings[name]
    end
  end
  self.service_key = settings.service_key or self.service_key
  self.ca = settings.ca or self.ca
  self.save(self.record)
end

-- Membership of etcd.

--- Adds a member: {name=, peer= (its https URL), machine= id}. Raises nothing; an existing peer is replaced.
function Cluster:add_member(member)
  member.id = ("%x"):format(tonumber(crypto.sha256(self.id .. member.peer):sub(1, 15), 16))
  self.members[member.name] = member
  self.save(self.record)
  return member
end

--- The member with a peer URL, or nil.
function Cluster:member_of(peer)
  for _, member in pairs(self.members) do
    if member.peer == peer then return member end
  end
end

--- An announced member has started: it has its name, and a vote.
function Cluster:rename_member(member, name)
  for key, m in pairs(self.members) do
    if m == member then self.members[key] = nil end
  end
  member.name, member.learner = name, nil
  self.members[name] = member
  self.save(self.record)
end

--- Removes a member by its name.
function Cluster:remove_member(name)
  self.members[name] = nil
  self.alive[name] = nil
  self.save(self.record)
  self:note()
end

--- Says whether a member's process runs.
function Cluster:member_alive(name, alive)
  if self.members[name] then self.alive[name] = alive or nil end
  self:note()
end

--- Do enough members run to agree on a write? Returns false and why.
function Cluster:quorum()
  local total, up = 0, 0
  for name, member in pairs(self.members) do
    if not member.learner then
      total = total + 1
      if self.alive[name] then up = up + 1 end
    end
  end
  if total == 0 then return false, "no etcd member exists" end
  if up < total // 2 + 1 then return false, ("%d of %d etcd members run"):format(up, total) end
  return true
end

local function addresses(self)
  local out = {}
  for _, address in pairs(self.servers) do out[#out + 1] = address end
  return out
end

--- How those write that speak to no API server of their own choice; nil while none runs.
function Cluster:encryption()
  local server = next(self.servers)
  return server and server.encryption
end

--- An API server came up: the first one makes what every cluster begins with.
function Cluster:server_started(server, address)
  self.servers[server] = address
  if self:quorum() then
    self:bootstrap()
    self:advertise(addresses(self))
  end
  self:note()
end

--- An API server went away.
function Cluster:server_stopped(server)
  self.servers[server] = nil
  if self.closed then return end
  if self:quorum() and next(self.servers) then self:advertise(addresses(self)) end
  self:note()
end

--- A controller manager or scheduler came up on a machine, or went away.
function Cluster:component_started(name, machine)
  self.controllers[name] = self.controllers[name] or {}
  self.controllers[name][machine] = true
  self:note()
end

function Cluster:component_stopped(name, machine)
  if self.controllers[name] then self.controllers[name][machine] = nil end
  self:note()
end

--- Ends what runs for the cluster; its objects stay.
function Cluster:close()
  self.closed = true
  if self.flux then self.flux:close() end
  if self.manager then self.manager:close() end
end

--- Tells who waits that something about the machines changed.
function Cluster:note()
  local event = self.changed
  self.changed = task.event()
  event:set()
  if self.manager then self.manager:check() end
end

--- Writes that controllers make: raises nothing when the object is gone meanwhile.
function Cluster:status(key, namespace, name, fn, manager)
  return self.objects:modify(self:res(key), namespace, name, fn,
    { manager = manager or "kube-controller-manager", subresource = "status" })
end

--- As `status`, for the object itself.
function Cluster:modify(key, namespace, name, fn, manager)
  return self.objects:modify(self:res(key), namespace, name, fn, { manager = manager or "kube-controller-manager" })
end

--- Creates an object unless it exists; returns it.
function Cluster:ensure(key, object, manager)
  local found = self.store:get(key, object.metadata.namespace, object.metadata.name)
  if found then return found, false end
  return self.objects:create(self:res(key), object, { namespace = object.metadata.namespace,
    manager = manager or "kube-controller-manager" }), true
end

--- Assigns a pod to a node.
function Cluster:bind(pod, node)
  self.objects:modify(self:res "/pods", pod.metadata.namespace, pod.metadata.name, function(o)
    if o.spec.nodeName or o.metadata.deletionTimestamp then return false end
    o.spec.nodeName = node
    o.status = o.status or {}
    o.status.conditions = value.filter(o.status.conditions, function(c) return c.type ~= "PodScheduled" end)
    table.insert(o.status.conditions, { type = "PodScheduled", status = "True", lastProbeTime = json.null,
      lastTransitionTime = value.time() })
    value.compact(o)
  end, { applied = true, subresource = "binding" })     -- a binding owns nothing
end

--- Records an event about an object; the same one again is counted. kind: "Normal" or "Warning".
function Cluster:event(object, kind, reason, message, component, host)
  local m = object.metadata
  local namespace = m.namespace or "default"
  if not self.store:get("/namespaces", nil, namespace) then return end
  local same = table.concat({ namespace, m.uid or m.name, reason, message, component }, "|")
  local now = value.time()
  local old = self.seen_events[same] and self.store:get("/events", namespace, self.seen_events[same])
  if old then
    local new = value.copy(old)
    new.count, new.lastTimestamp = (old.count or 1) + 1, now
    self.store:put("/events", new)
    return
  end
  self.event_time = math.max(math.floor(task.time() * 1e9), (self.event_time or 0) + 1)
  local name = ("%s.%x"):format(m.name, self.event_time)
  self.seen_events[same] = name
  local ns = self.store:get("/namespaces", nil, namespace)
  if ns.metadata.deletionTimestamp then return end
  local made = { apiVersion = "v1", kind = "Event", metadata = { name = name, namespace = namespace,
      uid = crypto.uuid(), creationTimestamp = now },
    involvedObject = { apiVersion = object.apiVersion, kind = object.kind, name = m.name, namespace = m.namespace, uid = m.uid,
      resourceVersion = m.resourceVersion },
    reason = reason, message = message, type = kind, count = 1, firstTimestamp = now, lastTimestamp = now,
    source = { component = component, host = host }, reportingComponent = component, reportingInstance = host or "",
    eventTime = json.null }
  local writer = component == "kubelet" and "kubelet" or component == "default-scheduler" and "kube-scheduler" or "kube-controller-manager"
  local res = self:res "/events"
  self.store:put(res.key, apply.update(res.schema, nil, made, { manager = writer, apiVersion = "v1", zero = defaults.zero(res) }))
end

--- The kubelet of a node as API servers reach it; or nil, why not, and the address that was tried (none: it has no address).
function Cluster:reach_kubelet(name)
  local node = self.store:get("/nodes", nil, name)
  local known = node and value.get(node, "status", "addresses") or {}
  if #known == 0 then return nil, "no preferred addresses found; known addresses: []" end
  local address, kubelet = (value.find(known, "type", "InternalIP") or known[1]).address, self.kubelets[name]
  if not kubelet then return nil, ("dial tcp %s:10250: connect: connection refused"):format(address), address end
  local why = kubelet:unserved()
  if why then return nil, why, address end
  return kubelet
end

--- What a container wrote: a list of {time, text}, or nil and why. Answered by the kubelet of the pod's node.
function Cluster:container_log(pod, container)
  local kubelet, why, address = self:reach_kubelet(pod.spec.nodeName)
  if kubelet then return kubelet:log(pod, container) end
  return nil, address and ('Get "https://%s:10250/containerLogs/%s/%s/%s": %s'):format(address, pod.metadata.namespace,
    pod.metadata.name, container, why) or why
end

local namespaces = { "default", "kube-system", "kube-public", "kube-node-lease" }

local priority_classes = {
  { "system-cluster-critical", 2000000000, "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary." },
  { "system-node-critical", 2000001000, "Used for system critical pods that must not be moved from their current node." },
}

--- What an API server makes when it first starts: system namespaces, default roles, its own service.
function Cluster:bootstrap()
  for _, name in ipairs(namespaces) do
    self:ensure("/namespaces", { metadata = { name = name } }, "kube-apiserver")
  end
  for _, object in ipairs(rbac.bootstrap()) do
    self:ensure("rbac.authorization.k8s.io/" .. (object.kind == "ClusterRole" and "clusterroles" or "clusterrolebindings"),
      object, "kube-apiserver")
  end
  for _, c in ipairs(priority_classes) do
    self:ensure("scheduling.k8s.io/priorityclasses", { metadata = { name = c[1] }, value = c[2], description = c[3] }, "kube-apiserver")
  end
  self:ensure("/services", { metadata = { name = "kubernetes", namespace = "default",
      labels = { component = "apiserver", provider = "kubernetes" } },
    spec = { clusterIP = ip.nth(self.service_cidr, 1), type = "ClusterIP",
      ports = json.array { { name = "https", port = 443, protocol = "TCP", targetPort = 6443 } } } }, "kube-apiserver")
  if self.ca then
    self:ensure("/configmaps", { metadata = { name = "extension-apiserver-authentication", namespace = "kube-system" },
      data = { ["client-ca-file"] = self.ca.cert } }, "kube-apiserver")
  end
end

--- Keeps the endpoints of the `kubernetes` service at the API servers that run.
function Cluster:advertise(addresses)
  table.sort(addresses)
  local list = value.map(addresses, function(a) return { ip = a } end)
  local ports = json.array { { name = "https", port = 6443, protocol = "TCP" } }
  local subsets = #list > 0 and json.array { { addresses = list, ports = ports } } or nil
  local object = { metadata = { name = "kubernetes", namespace = "default",
    labels = { ["endpointslice.kubernetes.io/skip-mirror"] = "true" } }, subsets = subsets }
  local _, created = self:ensure("/endpoints", value.copy(object), "kube-apiserver")
  if not created then
    self:modify("/endpoints", "default", "kubernetes", function(o) o.subsets = subsets end, "kube-apiserver")
  end
  local endpoints = value.map(addresses, function(a)
    return { addresses = json.array { a }, conditions = { ready = true } }
  end)
  local slice = { metadata = { name = "kubernetes", namespace = "default", labels = { ["kubernetes.io/service-name"] = "kubernetes" } },
    addressType = "IPv4", endpoints = endpoints, ports = ports }
  _, created = self:ensure("discovery.k8s.io/endpointslices", slice, "kube-apiserver")
  if not created then
    self:modify("discovery.k8s.io/endpointslices", "default", "kubernetes", function(o) o.endpoints = endpoints end, "kube-apiserver")
  end
end

--- Calls fn(event) on every write until the returned function is called.
function Cluster:subscribe(fn) return self.store:subscribe(fn) end

--- Runs a function of controllers; a failure of the API (a conflict, an object gone) is returned, not raised.
function Cluster:try(fn, ...)
  local results = table.pack(pcall(fn, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  if status.is(results[2]) then return nil, results[2].body.message, results[2].body.reason end
  error(results[2], 0)
end

return Cluster
