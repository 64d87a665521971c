--- The static pods of a control plane: manifests in /etc/kubernetes/manifests that a kubelet keeps running. Each is a real
-- part of the emulation: etcd a member of a cluster, the API server a listener, controllers what acts on the objects.
local crypto = require "crypto"
local fs = require "fs"
local json = require "json"
local server = require "server"
local task = require "task"
local yaml = require "yaml"
local ApiServer = require "emulator.kubernetes.apiserver"

local StaticPods = {}
StaticPods.__index = StaticPods

local FOLDER = "/etc/kubernetes/manifests"
local MARK = "/member/cluster.json"
local order = { "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler" }

--- The static pods of a machine; kubernetes: the registry of clusters.
function StaticPods.new(kubernetes, machine)
  return setmetatable({ kubernetes = kubernetes, machine = machine, running = {}, failed = {} }, StaticPods)
end

local function flags_of(pod)
  local out = {}
  local c = pod.spec.containers[1]
  for _, list in ipairs { c.command or {}, c.args or {} } do
    for _, word in ipairs(list) do
      local name, v = word:match("^%-%-([%w-]+)=(.*)$")
      if name then out[name] = v end
    end
  end
  return out
end

local function version_of(pod)
  return (pod.spec.containers[1].image or ""):match(":(v%d+%.%d+%.%d+[%w.+-]*)$")
end

local function data_dir(machine, pod, flags)
  local path = flags["data-dir"] or "/var/lib/etcd"
  for _, v in ipairs(pod.spec.volumes or {}) do
    if v.hostPath and v.hostPath.path == path then return machine.root .. path end
  end
  return machine.root .. path
end

-- The client and the peer port, so that the network between the members is what decides whether they reach each other.
local function listen(machine, cluster, flags)
  local out = {}
  local function answer(req)
    if not req.client then return { status = 403, body = "a client certificate is wanted\n" } end
    local ok, why = cluster:quorum()
    if req.path == "/version" then return { status = 200, body = json.encode { etcdserver = "3.6.6", etcdcluster = "3.6.0" } } end
    return { status = ok and 200 or 503, headers = { ["Content-Type"] = "application/json" },
      body = json.encode(ok and { health = "true", reason = "" } or { health = "false", reason = why }) }
  end
  for _, port in ipairs { 2379, 2380 } do
    local peer = port == 2380 and "peer-" or ""
    local l, why = server.listen { host = machine.address, port = port, handler = answer, tls = {
      cert = fs.read(machine.root .. flags[peer .. "cert-file"]), key = fs.read(machine.root .. flags[peer .. "key-file"]),
      client_ca = fs.read(machine.root .. flags["trusted-ca-file"]) } }
    if not l then
      for _, other in ipairs(out) do task.spawn(function() other:close(0) end) end
      return nil, ("listen tcp %s:%d: %s"):format(machine.private_ip, port, why)
    end
    out[#out + 1] = l
  end
  return out
end

-- etcd: its data folder says which cluster it belongs to; without data it makes a cluster or joins the one it is told.

local starters = {}

function starters.etcd(self, pod, flags)
  for _, flag in ipairs { "cert-file", "key-file", "trusted-ca-file", "peer-cert-file", "peer-key-file" } do
    if flags[flag] and not fs.read(self.machine.root .. flags[flag]) then
      return nil, ("open %s: no such file or directory"):format(flags[flag])
    end
  end
  local dir = data_dir(self.machine, pod, flags)
  local name, peer = flags.name or self.machine.hostname, flags["initial-advertise-peer-urls"] or ""
  local mark = json.decode(fs.read(dir .. MARK) or "")
  local cluster
  if mark then
    cluster = self.kubernetes:cluster(mark.cluster)
    if not cluster then return nil, "the data folder belongs to a cluster that is gone" end
    if not cluster.members[mark.member] or cluster.members[mark.member].machine ~= self.machine.id then
      return nil, "the member has been permanently removed from the cluster"
    end
    name = mark.member
  elseif flags["initial-cluster-state"] == "existing" then
    cluster = self.kubernetes:cluster_with_peer(peer)
    if not cluster then return nil, "error validating peerURLs: member count is unequal" end
    local member = cluster:member_of(peer)
    member.machine, member.name = self.machine.id, name
    cluster:rename_member(member, name)
  else
    cluster = self.kubernetes:new_cluster()
    cluster:add_member { name = name, peer = peer, client = flags["advertise-client-urls"], machine = self.machine.id }
  end
  if not mark then
    fs.mkdir(dir .. "/member", tonumber("700", 8))
    fs.write(dir .. MARK, json.encode { cluster = cluster.id, member = name }, { mode = tonumber("600", 8) })
  end
  local listeners, why = listen(self.machine, cluster, flags)
  if not listeners then return nil, why end
  cluster:member_alive(name, true)
  return { cluster = cluster, stop = function()
    cluster:member_alive(name, false)
    for _, l in ipairs(listeners) do task.spawn(function() l:close(0) end) end
  end }
end

starters["kube-apiserver"] = function(self, pod, flags)
  local etcd = self.running.etcd
  if not etcd then return nil, "Error: context deadline exceeded: etcd at 127.0.0.1:2379 does not answer" end
  local cluster = etcd.cluster
  local server, why = ApiServer.start(cluster, self.machine, pod, flags, version_of(pod) or "v1.30.0")
  if not server then return nil, why end
  cluster:server_started(server, flags["advertise-address"] or self.machine.private_ip)
  local entry = { cluster = cluster, server = server }
  function entry.ready() return server:ready() end
  function entry.ending() server:shut_down() end
  function entry.stop()
    server:stop()
    cluster:server_stopped(server)
  end
  return entry
end

local function component(name)
  return function(self, _, flags)
    local etcd = self.running.etcd
    local kubeconfig = flags.kubeconfig or ""
    if not fs.read(self.machine.root .. kubeconfig) then return nil, ("stat %s: no such file or directory"):format(kubeconfig) end
    if not etcd then return nil, "the API server does not answer" end
    local cluster = etcd.cluster
    if name == "kube-controller-manager" then
      local cert, key = flags["cluster-signing-cert-file"], flags["cluster-signing-key-file"]
      local ca = { cert = cert and fs.read(self.machine.root .. cert), key = key and fs.read(self.machine.root .. key) }
      cluster:configure { ca = ca.cert and ca.key and ca or nil,
        pod_cidr = flags["allocate-node-cidrs"] == "true" and flags["cluster-cidr"] or nil }
    end
    cluster:component_started(name, self.machine.id)
    return { cluster = cluster, stop = function() cluster:component_stopped(name, self.machine.id) end }
  end
end

starters["kube-controller-manager"] = component "kube-controller-manager"
starters["kube-scheduler"] = component "kube-scheduler"

local function other() return { stop = function() end } end

--- The manifests of the folder by pod name: {pod, flags, digest}.
function StaticPods:manifests()
  local out = {}
  for _, file in ipairs(fs.list(self.machine.root .. FOLDER) or {}) do
    if file:match("%.ya?ml$") or file:match("%.json$") then
      local text = fs.read(self.machine.root .. FOLDER .. "/" .. file) or ""
      local pod = yaml.decode(text)
      if type(pod) == "table" and pod.kind == "Pod" and pod.metadata and pod.spec and pod.spec.containers then
        out[pod.metadata.name] = { pod = pod, flags = flags_of(pod), digest = crypto.sha256(text) }
      end
    end
  end
  return out
end

function StaticPods:stop_one(name)
  local entry = self.running[name]
  if not entry then return end
  self.running[name] = nil
  entry.stop()
end

--- Ends one as its runtime does when it is asked to: with a signal, and the time to follow it.
function StaticPods:end_one(name)
  local entry = self.running[name]
  if not entry then return end
  if entry.ending then entry.ending() end
  if self.running[name] == entry then self:stop_one(name) end
end

local function sorted(manifests)
  local out, seen = {}, {}
  for _, name in ipairs(order) do
    if manifests[name] then
      out[#out + 1] = name
      seen[name] = true
    end
  end
  for name in pairs(manifests) do
    if not seen[name] then out[#out + 1] = name end
  end
  return out
end

--- Makes what runs agree with the folder. Returns whether all of it runs.
function StaticPods:sync(journal)
  local manifests = self:manifests()
  for i = #order, 1, -1 do
    local name = order[i]
    local entry = self.running[name]
    if entry and (not manifests[name] or manifests[name].digest ~= entry.digest) then self:stop_one(name) end
  end
  for name, entry in pairs(self.running) do
    if not manifests[name] or manifests[name].digest ~= entry.digest then self:stop_one(name) end
  end
  local all = true
  for _, name in ipairs(sorted(manifests)) do
    if not self.running[name] then
      local m = manifests[name]
      local entry, why = (starters[name] or other)(self, m.pod, m.flags)
      if entry then
        entry.id, entry.digest, entry.pod, entry.since = crypto.hex(crypto.random(32)), m.digest, m.pod, os.time()
        self.running[name] = entry
        self.failed[name] = nil
      else
        all = false
        self.failed[name] = why
        journal(('"Error syncing pod, skipping" err="failed to \\"StartContainer\\" for \\"%s\\" with CrashLoopBackOff: %s"'):format(name, why))
      end
    end
  end
  return all
end

--- Stops everything, as when the machine goes down.
function StaticPods:stop()
  for i = #order, 1, -1 do self:stop_one(order[i]) end
  for name in pairs(self.running) do self:stop_one(name) end
end

--- The cluster that this machine's etcd belongs to, or nil.
function StaticPods:cluster()
  return self.running.etcd and self.running.etcd.cluster
end

return StaticPods
