--- Kubernetes in the emulator: which clusters exist, and the kubelet of each machine. Nothing here is told to exist: a cluster
-- is there because some machine's kubelet runs an etcd with its data, a Node because its kubelet registered it.
local crypto = require "crypto"
local task = require "task"
local Cluster = require "emulator.kubernetes.cluster"
local Manager = require "emulator.kubernetes.controllers.manager"
local Kubelet = require "emulator.kubernetes.kubelet"
local Store = require "emulator.kubernetes.store"
local Flux = require "emulator.kubernetes.flux"

local Kubernetes = {}
Kubernetes.__index = Kubernetes

local function table_of(store, name)
  return {
    put = function(_, key, v) store:put(name, key, v) end,
    delete = function(_, key) store:delete(name, key) end,
    each = function() return store:each(name) end,
  }
end

local function open(self, record)
  local world = self.world
  local cluster = Cluster.open { id = record.id, record = record, table = table_of(world.store, "kubernetes:" .. record.id),
    sleep = world.clock.sleep, factor = world.clock.factor,
    save = function(r) world.store:put("kubernetes", record.id, r) end,
    written = world.writes and function(method, path, status) world.writes.add("kubernetes", method, path, status) end,
    sync = function() world.store:sync() end }
  self.clusters[cluster.id] = cluster
  Manager.start(cluster)
  cluster.flux = Flux.start(cluster, world)
  return cluster
end

--- The Kubernetes of a world: store, clock, fabric; `writes` when writes are counted.
function Kubernetes.new(world)
  local self = setmetatable({ world = world, clusters = {}, kubelets = {}, changes = task.event() }, Kubernetes)
  for _, record in world.store:each("kubernetes") do open(self, record) end
  return self
end

--- Makes a cluster without members. entries: what a snapshot of another held, { key =, object =, seal = }, and the revision to go on
-- from.
function Kubernetes:new_cluster(entries, revision)
  local record = { id = crypto.uuid(), members = {}, created = os.time() }
  self.world.store:put("kubernetes", record.id, record)
  local into = table_of(self.world.store, "kubernetes:" .. record.id)
  for _, entry in ipairs(entries or {}) do
    Store.keep(into, entry.key, entry.object, entry.seal)
  end
  if revision then into:put("revision", tostring(revision)) end
  return open(self, record)
end

--- The cluster with this id, or nil.
function Kubernetes:cluster(id) return self.clusters[id] end

--- The cluster in which a member with this peer URL was announced, or nil.
function Kubernetes:cluster_with_peer(peer)
  for _, cluster in pairs(self.clusters) do
    if cluster:member_of(peer) then return cluster end
  end
end

--- The cluster whose certificate authority this is, or nil.
function Kubernetes:cluster_of_ca(pem)
  local wanted = pem and pem:gsub("%s+", "")
  for _, cluster in pairs(self.clusters) do
    if cluster.ca and cluster.ca.cert:gsub("%s+", "") == wanted then return cluster end
  end
end

--- The kubelet of a machine.
function Kubernetes:kubelet(machine)
  local kubelet = self.kubelets[machine.id]
  if not kubelet then
    kubelet = Kubelet.new(self, machine)
    self.kubelets[machine.id] = kubelet
  end
  kubelet.machine = machine
  kubelet.static.machine = machine
  return kubelet
end

--- Something about a machine changed: its power or a service.
function Kubernetes:changed(machine)
  self:kubelet(machine):update()
  self:note()
end

--- A machine is gone with its disk.
function Kubernetes:removed(id)
  local kubelet = self.kubelets[id]
  if kubelet then kubelet:close() end
  self.kubelets[id] = nil
  self:etcd_wiped(id)
end

--- The etcd data of a machine is gone. A cluster whose last member it held is gone too.
function Kubernetes:etcd_wiped(id)
  for cluster_id, cluster in pairs(self.clusters) do
    local held = 0
    for _, member in pairs(cluster.members) do
      if member.machine == id then member.lost = true end
      if not member.lost then held = held + 1 end
    end
    cluster.save(cluster.record)
    if held == 0 and next(cluster.members) then
      cluster:close()
      cluster.store:wipe()
      self.world.store:delete("kubernetes", cluster_id)
      self.clusters[cluster_id] = nil
    end
  end
  self:note()
end

--- How systemd sees the kubelet of a machine: "active", "activating" (it starts and fails) or "inactive".
function Kubernetes:kubelet_state(machine)
  local kubelet = self.kubelets[machine.id]
  return kubelet and kubelet.task and kubelet.state or "inactive"
end

--- Which of the ports of Kubernetes something on this machine listens on.
function Kubernetes:port_used(machine, port)
  local kubelet = self.kubelets[machine.id]
  if not kubelet then return false end
  local running = kubelet.static.running
  if port == 10250 then return kubelet.task ~= nil and kubelet.state == "active" end
  local owner = ({ [6443] = "kube-apiserver", [10259] = "kube-scheduler", [10257] = "kube-controller-manager", [2379] = "etcd", [2380] = "etcd" })[port]
  return owner ~= nil and running[owner] ~= nil
end

--- Wakes who waits for machines to change.
function Kubernetes:note()
  local event = self.changes
  self.changes = task.event()
  event:set()
end

--- Waits until something about machines changes, at most so long.
function Kubernetes:wait(seconds) return self.changes:wait(seconds) end

--- What exists, for `emulator list`: {kind, name, ...} for each cluster and each object in it.
function Kubernetes:list()
  local out = {}
  for id, cluster in pairs(self.clusters) do
    out[#out + 1] = { type = "kubernetes.cluster", id = id, members = cluster.members }
    for _, kind in ipairs(cluster.store:kinds()) do
      for _, o in ipairs(cluster.store:list(kind)) do
        out[#out + 1] = { type = "kubernetes.object", cluster = id, apiVersion = o.apiVersion, kind = o.kind,
          namespace = o.metadata.namespace, name = o.metadata.name }
      end
    end
  end
  return out
end

--- Ends everything; the world stays as it is on disk.
function Kubernetes:close()
  for _, cluster in pairs(self.clusters) do cluster:close() end
  for _, kubelet in pairs(self.kubelets) do kubelet:close() end
end

return Kubernetes
