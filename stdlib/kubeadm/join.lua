--- A node joins a cluster: a worker, or another control plane.
local certificates = require "kubeadm.certificates"
local config = require "kubeadm.config"
local connect = require "kubernetes.connect"
local control_plane = require "kubeadm.control_plane"
local credentials = require "kubeadm.credentials"
local fail, field, yaml = require "fail", require "field", require "yaml"
local quorum, role = require "kubeadm.quorum", require "role"
local survey = require "kubeadm.survey"

local UPGRADE = 3000 -- seconds that it may take until no control plane is older than who joins

local inputs = control_plane.inputs()
inputs.node = field.resource { "kubeadm.node", required = true, doc = "The Kubernetes packages of the host." }
inputs.cluster = field.resource { "kubeadm.init", required = true, doc = "The cluster." }
inputs.control_plane = field.boolean { default = false, doc = "Join as a control plane; one at a time." }
inputs.node_name = field.string { doc = "The Node's name; the host's unless given." }
inputs.address = field.ip { required = true, doc = "The host's address." }
inputs.endpoint_address = field.ip { required = true, doc = "The address that the API's name stands for." }
inputs.cloud_provider = field.boolean { default = false }

-- The configuration holds a token, so it comes on the standard input and is on the disk only while kubeadm reads it.
local JOIN = [[umask 077; trap 'rm -f /run/vmrun-join.yaml' EXIT; trap 'exit 1' HUP INT TERM
cat > /run/vmrun-join.yaml
kubeadm join --config /run/vmrun-join.yaml]]

local function join_config(f, ctx)
  return yaml.encode(config.join { version = f.node.version, node_name = f.node_name or f.host.hostname, address = f.address,
    endpoint = f.cluster.endpoint, port = f.cluster.port, cloud_provider = f.cloud_provider, ca_hash = f.cluster.ca_hash,
    token = credentials.token(ctx, f.cluster),
    certificate_key = f.control_plane and credentials.certificate_key(ctx, f.cluster) or nil })
end

-- Where the API does not answer, kubeadm says best what is wrong.
local function answers(ctx, f)
  local api = connect.client(ctx, f.cluster)
  local ok, err = pcall(api.request, api, "GET", "/version", nil, { patience = 3 })
  if not ok and fail.is(err) and err.code == "cancelled" then error(err, 0) end
  return ok
end

local function delete_node(ctx, f)
  local api, name = connect.client(ctx, f.cluster), (f.node_name or f.host.hostname):lower()
  if not api:get("v1", "Node", nil, name) then return end
  api:delete({ apiVersion = "v1", kind = "Node", metadata = { name = name } }, { wait = 60 })
end

-- "yes": it has joined; "other": not by us; "died": a run did within its join, and what it left on the host is taken away; else
-- it has not.
local function state_of(host)
  if host.ask(control_plane.interrupted "join") == "yes" then return "died" end
  return host.ask(("if [ -e %s ]; then echo yes; elif [ -e /etc/kubernetes/kubelet.conf ]; then echo other; fi"):format(
    control_plane.done "join"))
end

-- What is in the way of a join: the Node of a run that died, or the Node and the member of etcd of a machine that this one is in
-- the place of.
local function clear(f, ctx, state)
  if state == "other" then return end
  ctx:progress(state == "died" and "taking away what a run left that died here" or "looking for what an earlier machine left")
  delete_node(ctx, f)
  if f.control_plane and state == "" then
    credentials.remove_member(ctx, f.cluster, (f.node_name or f.host.hostname):lower(), f.address)
  end
end

-- `kubeadm reset` finds by its Node which member of etcd a control plane is: where the Node is gone the member stays, counts as
-- lost, and the others are soon too few. So a control plane's Node goes after it (see kubernetes.node).
local function leave(host, f, ctx)
  if f.control_plane then quorum.guard(ctx, f.cluster, f.node_name or f.host.hostname) end
  control_plane.reset(host, "join")
  if not f.control_plane or quorum.is_going(f.cluster) then return end
  host.ask ":"
  delete_node(ctx, f)
end

return role "kubeadm.join" {
  doc = "A node of a cluster, by `kubeadm join`.", made = "[ -e " .. control_plane.done "join" .. " ]",
  inputs = inputs, timeouts = { create = 4200 },
  undo = leave,
  gone = function(f) return f.control_plane and connect.is_lost(f.cluster) end,
  tasks = function(host, f, ctx)
    local done = control_plane.done "join"
    local name, state = f.cluster.endpoint, host.checking and "" or state_of(host)
    local joined = state == "yes"
    if not host.checking and not joined and answers(ctx, f) then
      clear(f, ctx, state)
      survey.wait_for(ctx, connect.client(ctx, f.cluster), f.node.version:gsub("^v", ""), UPGRADE)
    end
    if f.control_plane then control_plane.tasks(host, f) end
    if f.control_plane and not joined then
      host.command "api name" { run = ("printf '%%s %%s\\n' %s %s >> /etc/hosts"):format(f.endpoint_address, name),
        unless = ("[ -e %s ] || grep -qxF '%s %s' /etc/hosts"):format(done, f.endpoint_address, name) }
    elseif not f.control_plane then
      host.host_entry (name) { address = f.endpoint_address }
    end
    host.command "kubeadm join" { timeout = 900, creates = done, run = control_plane.once("join", JOIN),
      input = (host.checking or joined) and "" or join_config(f, ctx) }
    -- From here on its own API server answers to the name: see kubeadm.init.
    if f.control_plane then host.host_entry (name) { address = "127.0.0.1" } end
    host.service "kubelet" {}
    if f.control_plane then certificates.task(host, f, ctx.prior and ctx.prior.outputs) end
  end,
  asks = { certificates = certificates.ASK },
  differs = function(answers, f)
    if f.control_plane then return certificates.differs(answers, f) end
  end,
}
