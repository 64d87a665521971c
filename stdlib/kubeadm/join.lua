--- A node joins a cluster: a worker, or another control plane.
local certificates = require "kubeadm.certificates"
local config = require "kubeadm.config"
local connect = require "kubernetes.connect"
local control_plane = require "kubeadm.control_plane"
local credentials = require "kubeadm.credentials"
local field, yaml = require "field", require "yaml"
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

local function delete_node(f, ctx)
  local name = (f.node_name or f.host.hostname):lower()
  connect.client(ctx, f.cluster):delete({ apiVersion = "v1", kind = "Node", metadata = { name = name } }, { wait = 60 })
end

-- A Node that a run left behind which died within its join is in the way of the next join.
local function clear(host, f, ctx)
  if host.ask(control_plane.interrupted "join") ~= "yes" then return end
  ctx:progress("taking away what a run left that died here")
  delete_node(f, ctx)
end

-- `kubeadm reset` finds by its Node which member of etcd a control plane is: where the Node is gone the member stays, counts as
-- lost, and the others are soon too few. So a control plane's Node goes after it (see kubernetes.node).
local function leave(host, f, ctx)
  if f.control_plane then quorum.guard(ctx, f.cluster, f.node_name or f.host.hostname) end
  control_plane.reset(host, "join")
  if not f.control_plane or quorum.is_going(f.cluster) then return end
  host.ask ":"
  delete_node(f, ctx)
end

return role "kubeadm.join" {
  doc = "A node of a cluster, by `kubeadm join`.", made = "[ -e " .. control_plane.done "join" .. " ]",
  inputs = inputs, timeouts = { create = 4200 },
  undo = leave,
  tasks = function(host, f, ctx)
    local done = control_plane.done "join"
    if not host.checking then clear(host, f, ctx) end
    if f.control_plane then control_plane.tasks(host, f) end
    local name, joined = f.cluster.endpoint, not host.checking and host.ask("[ ! -e " .. done .. " ] || echo yes") == "yes"
    if not host.checking and not joined then
      survey.wait_for(ctx, connect.client(ctx, f.cluster), f.node.version:gsub("^v", ""), UPGRADE)
    end
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
