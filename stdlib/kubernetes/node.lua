--- A Node: made by kubeadm, labelled and waited for by us, brought to another release, drained before it goes.
local client, connect, drain = require "kubernetes.client", require "kubernetes.connect", require "kubernetes.drain"
local fail, field, kind = require "fail", require "field", require "kind"
local serving = require "kubernetes.serving"

local LAST_WORDS = 5 -- seconds for the API of a cluster that goes as a whole, and may have lost its majority on the way

-- A kubelet that waits for a cloud provider registers its Node with this taint.
local UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"

local function get(api, name) return api:get("v1", "Node", nil, name) end

local function handle(name) return { apiVersion = "v1", kind = "Node", metadata = { name = name } } end

local function told(node)
  local version = node.status and node.status.nodeInfo and node.status.nodeInfo.kubeletVersion
  return { uid = node.metadata.uid, version = version }
end

local function taint_key(taint) return taint.key .. ":" .. taint.effect end

local function is_initialized(node)
  for _, taint in ipairs(node.spec.taints or {}) do if taint.key == UNINITIALIZED then return false end end
  return true
end

-- Why a Node takes no pods yet; nil: it does.
local function waits(node)
  if client.condition(node, "Ready") ~= "True" then return "not ready" end
  return not is_initialized(node) and "not set up by its cloud provider" or nil
end

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

-- Returns a warning where its kubelet does not serve. (A Node may be older than its machine: one of a backup.)
local function certify(ctx, api, node)
  local f = ctx.fields
  if not certifies(f) then return nil end
  local prior = ctx.prior and ctx.prior.outputs
  if not (prior and prior.uid == node.metadata.uid) then serving.settle(api, node) end
  if f.ready then
    ctx:progress "waiting for its kubelet to serve logs"
    return serving.serve(api, node)
  end
  serving.approve(api, node)
end

-- What reads of one plan share is asked once for all Nodes. Returns the Node, what it runs if that is ours to say, and the client.
local function look(ctx)
  local f = ctx.fields
  if not f.version then
    local api = connect.client(ctx, f.cluster)
    return get(api, f.name), nil, api
  end
  local survey = require "kubeadm.survey"
  local now, api
  if ctx.dry then
    now, api = survey.shared(ctx, f.cluster)
    require("kubeadm.turn").reset(api)
  else
    api = connect.client(ctx, f.cluster)
    now = survey.take(api)
  end
  local node = now.nodes[f.name]
  return node and node.object, require("kubeadm.upgrade").runs(now, f.name), api
end

-- Waits until the cloud provider has said what the machine is. It may come with what is applied beside this.
local function initialized(ctx, api, node)
  if is_initialized(node) then return node end
  local name, seconds = node.metadata.name, ctx.fields.seconds
  ctx:progress("waiting for the cloud provider to set the Node up")
  local ok, done, now = pcall(api.wait, api, handle(name), function(now) return now and is_initialized(now) end, seconds)
  if ok then return now end
  if not (fail.is(done) and done.code == "timeout") then error(done, 0) end
  error(fail { ("Node %s is Ready, but after %g s it still has the taint %s: no cloud provider has set it up"):format(name, seconds,
    UNINITIALIZED), code = "timeout",
    hint = "see the pod of the cloud-node-manager on it: kubectl -n kube-system get pods -o wide, and its logs" })
end

local function settle(ctx)
  local f = ctx.fields
  local api = connect.client(ctx, f.cluster)
  ctx:progress("waiting for the Node to be ready")
  local _, node = api:wait(handle(f.name), function(now)
    return now and (not f.ready or client.condition(now, "Ready") == "True")
  end, f.seconds)
  if f.ready then node = initialized(ctx, api, node) end
  local change = { metadata = f.labels and { labels = f.labels } or nil }
  if f.taints then
    local taints, ours = {}, {}
    for _, taint in ipairs(f.taints) do ours[taint_key(taint)] = true end
    for _, taint in ipairs(node.spec.taints or {}) do if not ours[taint_key(taint)] then taints[#taints + 1] = taint end end
    for _, taint in ipairs(f.taints) do taints[#taints + 1] = taint end
    change.spec = { taints = taints }
  end
  if next(change) then node = api:merge(handle(f.name), change) end
  if f.version then require("kubeadm.survey").forget(api) end
  return { outputs = told(node), note = certify(ctx, api, node) }
end

local function update(ctx)
  if ctx.fields.version then require("kubeadm.upgrade").bring(ctx, connect.client(ctx, ctx.fields.cluster)) end
  return settle(ctx)
end

-- A control plane of a cluster that we make leaves etcd by its Node, which goes with its kubeadm.join.
local function goes_later(f, node)
  return f.cluster.host ~= nil and require("kubeadm.survey").is_control_plane(node)
end

-- The first control plane's host has the cluster's credentials, and may be the way to all others. Its Node goes when a machine in
-- its place joins.
local function is_on_first(f)
  return f.host ~= nil and f.cluster.host ~= nil and f.host.address == f.cluster.host.address
end

-- patience: seconds to wait for an API that does not answer.
local function leave(ctx, patience)
  local api, name = connect.client(ctx, ctx.fields.cluster), ctx.fields.name
  api.patience = patience or api.patience
  local node = get(api, name)
  if not node then return end
  local later = goes_later(ctx.fields, node)
  if later then require("kubeadm.quorum").guard(ctx, ctx.fields.cluster, name) end
  api:merge(handle(name), { spec = { unschedulable = true } })
  drain(ctx, api, name)
  if later then return end
  api:delete(handle(name), { wait = 60 })
end

local function check(f, problem)
  if f.version ~= nil and f.host == nil then problem("version", "'version' needs 'host': kubeadm is to run there") end
end

return kind "kubernetes.node" {
  needs_all = true,
  doc = "A Node of a cluster: waited for, labelled, tainted; upgraded when `version` is another; cordoned, drained and deleted when it goes (a control plane's by kubeadm.join).",
  check = check,
  -- An upgrade waits for its turn among the workers; each of its steps has a deadline of its own.
  timeouts = { update = 86400 },
  fields = {
    name = field.string { required = true, replace = true, default_name = true, doc = "The Node's name." },
    cluster = field.resource { "kubeadm.init", "kubernetes.cluster", required = true, replace = true },
    labels = field.map { field.string {}, doc = "Labels of ours; others are left alone." },
    taints = field.list { field.object { key = field.string { required = true }, value = field.string {},
      effect = field.choice { "NoSchedule", "PreferNoSchedule", "NoExecute" } }, key = "key", owned_elements = true },
    version = field.string { match = "^%d+%.%d+%.%d+$",
      doc = "The release of a kubeadm cluster's node, such as 1.36.1: another one upgrades it, drained and one step after the other." },
    host = field.resource { "ssh.host", replace = true, ignore = true, doc = "The node's host: where an upgrade runs; it goes with it." },
    control_plane = field.boolean { default = false, ignore = true, doc = "It is a control plane; these are upgraded before workers." },
    max_unavailable = field.string { default = "1", match = "^[1-9]%d*%%?$", ignore = true,
      doc = "How many workers may be away at once for an upgrade: a number, or a share such as 25%." },
    serving = field.boolean { default = true, doc = "Approve what its kubelet asks for to serve logs and exec: a certificate for its own addresses." },
    ready = field.boolean { default = true, ignore = true,
      doc = "Wait until it is Ready and, where its kubelet waits for a cloud provider, set up by that." },
    seconds = field.number { default = 300, min = 1, ignore = true, doc = "How long to wait." },
  },
  outputs = { uid = field.string {}, version = field.string { volatile = true, doc = "The kubelet's version." } },
  identity = function(f)
    local cluster = connect.identity(f.cluster)
    return cluster and f.name and ("%s/node/%s"):format(cluster, f.name) or nil
  end,
  read = function(ctx)
    local f = ctx.fields
    local node, runs, api = look(ctx)
    if not node then return nil end
    local fields = observe(f, node)
    fields.version = runs
    -- A kubelet that waits for its certificate is a difference: it asks again when one expires.
    if certifies(f) and #serving.requests(api, f.name) > 0 then fields.serving = false end
    for name, value in pairs(f) do if fields[name] == nil then fields[name] = value end end
    return { fields = fields, outputs = told(node),
      status = waits(node) }
  end,
  create = settle, update = update,
  delete = function(ctx)
    if connect.is_lost(ctx.fields.cluster) then return end
    local going = require("kubeadm.quorum").is_going(ctx.fields.cluster)
    local ok, err = pcall(leave, ctx, going and LAST_WORDS or nil)
    if ok then return end
    if not (fail.is(err) and err.code == "unreachable" and (going or is_on_first(ctx.fields))) then error(err, 0) end
    return { note = ("nothing was moved from node %s, for %s"):format(ctx.fields.name,
      going and "the API does not answer any more" or "the way to its cluster is its host, which does not answer") }
  end,
}
