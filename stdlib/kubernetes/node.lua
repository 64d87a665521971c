--- A Node: made by kubeadm, labelled and waited for by us, drained before it goes.
local client, connect = require "kubernetes.client", require "kubernetes.connect"
local fail, field, kind, task = require "fail", require "field", require "kind", require "task"
local serving = require "kubernetes.serving"

local DRAIN = 300
local ASKS = 20 -- seconds in which a new kubelet asks for its serving certificate

local function get(api, name) return api:get("v1", "Node", nil, name) end

local function handle(name) return { apiVersion = "v1", kind = "Node", metadata = { name = name } } end

local function told(node)
  local version = node.status and node.status.nodeInfo and node.status.nodeInfo.kubeletVersion
  return { uid = node.metadata.uid, version = version }
end

local function taint_key(taint) return taint.key .. ":" .. taint.effect end

-- Labels and taints are maps of ours among others'; only those that we name are looked at.
local function observe(f, node)
  local shown = {}
  if f.labels then
    shown.labels = {}
    for key in pairs(f.labels) do shown.labels[key] = (node.metadata.labels or {})[key] end
  end
  if f.taints then
    local have, list = {}, {}
    for _, taint in ipairs(node.spec.taints or {}) do have[taint_key(taint)] = taint end
    for i, taint in ipairs(f.taints) do list[i] = have[taint_key(taint)] and taint or nil end
    shown.taints = list
  end
  return shown
end

-- Clusters that we make have kubelets that ask for serving certificates; elsewhere that is not our business.
local function certifies(f) return f.serving and f.cluster.host ~= nil end

local function certify(ctx, api, node)
  if not certifies(ctx.fields) then return end
  if ctx.prior then
    serving.approve(api, node)
  else
    serving.settle(api, node, ASKS)
  end
end

local function settle(ctx)
  local f = ctx.fields
  local api = connect.client(ctx, f.cluster)
  ctx:progress("waiting for the Node to be ready")
  local _, node = api:wait(handle(f.name), function(now)
    return now and (not f.ready or client.condition(now, "Ready") == "True")
  end, f.seconds)
  local change = { metadata = f.labels and { labels = f.labels } or nil }
  if f.taints then
    local taints, ours = {}, {}
    for _, taint in ipairs(f.taints) do ours[taint_key(taint)] = true end
    for _, taint in ipairs(node.spec.taints or {}) do if not ours[taint_key(taint)] then taints[#taints + 1] = taint end end
    for _, taint in ipairs(f.taints) do taints[#taints + 1] = taint end
    change.spec = { taints = taints }
  end
  if next(change) then node = api:merge(handle(f.name), change) end
  certify(ctx, api, node)
  return { outputs = told(node) }
end

local function belongs_to_daemon_set(pod)
  for _, owner in ipairs(pod.metadata.ownerReferences or {}) do
    if owner.kind == "DaemonSet" or owner.kind == "Node" then return true end
  end
  return (pod.metadata.annotations or {})["kubernetes.io/config.mirror"] ~= nil
end

-- Evicts all pods that can move, as `kubectl drain --ignore-daemonsets --delete-emptydir-data` does; a budget that says no is
-- asked again until the deadline. Where no kubelet answers nothing ends: what was asked to go does so with the Node.
local function drain(ctx, api, name)
  api:merge(handle(name), { spec = { unschedulable = true } })
  local deadline, told = task.now() + DRAIN, nil
  while true do
    local left, node = 0, get(api, name)
    local silent = not node or client.condition(node, "Ready") == "Unknown"
    for _, pod in ipairs(api:list("v1", "Pod", { fields = "spec.nodeName=" .. name })) do
      local phase = pod.status and pod.status.phase
      local over = phase == "Succeeded" or phase == "Failed" or (silent and pod.metadata.deletionTimestamp)
      if not (over or belongs_to_daemon_set(pod)) then
        left = left + 1
        if not pod.metadata.deletionTimestamp then api:evict(pod) end
      end
    end
    if left == 0 then return end
    if left ~= told then ctx:progress(("draining: %d pods left"):format(left)) end
    told = left
    if task.now() > deadline then
      error(fail { ("%d pods are still on node %s after %d s"):format(left, name, DRAIN), code = "drain",
        hint = "a PodDisruptionBudget may forbid their eviction: kubectl get pdb -A" })
    end
    api:watch("v1", "Pod", { fields = "spec.nodeName=" .. name }, 2, function(event) return event == "DELETED" end)
  end
end

-- A control plane of a cluster that we make leaves etcd by its Node, which goes with its kubeadm.join.
local function goes_later(f, node)
  local labels = node.metadata.labels or {}
  return f.cluster.host ~= nil and (labels["node-role.kubernetes.io/control-plane"] or labels["node-role.kubernetes.io/master"]) ~= nil
end

return kind "kubernetes.node" {
  doc = "A Node of a cluster: waited for, labelled, tainted; cordoned, drained and deleted when it goes (a control plane's by kubeadm.join).",
  fields = {
    name = field.string { required = true, replace = true, default_name = true, doc = "The Node's name." },
    cluster = field.resource { "kubeadm.init", "kubernetes.cluster", required = true, replace = true },
    labels = field.map { field.string {}, doc = "Labels of ours; others are left alone." },
    taints = field.list { field.object { key = field.string { required = true }, value = field.string {},
      effect = field.choice { "NoSchedule", "PreferNoSchedule", "NoExecute" } }, key = "key", owned_elements = true },
    serving = field.boolean { default = true, doc = "Approve what its kubelet asks for to serve logs and exec: a certificate for its own addresses." },
    ready = field.boolean { default = true, ignore = true, doc = "Wait until it is Ready." },
    seconds = field.number { default = 300, min = 1, ignore = true, doc = "How long to wait." },
  },
  outputs = { uid = field.string {}, version = field.string { doc = "The kubelet's version." } },
  identity = function(f)
    local cluster = connect.identity(f.cluster)
    return cluster and f.name and ("%s/node/%s"):format(cluster, f.name) or nil
  end,
  read = function(ctx)
    if next(ctx.unknown or {}) then return ctx.prior and { fields = ctx.prior.fields, outputs = ctx.prior.outputs } or nil end
    local f = ctx.fields
    local api = connect.client(ctx, f.cluster)
    local node = get(api, f.name)
    if not node then return nil end
    local fields = observe(f, node)
    -- A kubelet that waits for its certificate is a difference: it asks again when one expires.
    if certifies(f) and #serving.requests(api, f.name) > 0 then fields.serving = false end
    for name, value in pairs(f) do if fields[name] == nil then fields[name] = value end end
    return { fields = fields, outputs = told(node),
      status = client.condition(node, "Ready") ~= "True" and "not ready" or nil }
  end,
  create = settle, update = settle,
  delete = function(ctx)
    local f = ctx.fields
    local api = connect.client(ctx, f.cluster)
    local name = f.name
    local node = get(api, name)
    if not node then return end
    drain(ctx, api, name)
    if goes_later(f, node) then return end
    api:delete(handle(name), { wait = 60 })
  end,
}
