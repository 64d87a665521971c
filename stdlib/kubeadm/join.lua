--- A node joins a cluster: a worker, or another control plane.
local certificates = require "kubeadm.certificates"
local control_plane = require "kubeadm.control_plane"
local credentials = require "kubeadm.credentials"
local connect, entry = require "kubernetes.connect", require "kubeadm.entry"
local field = require "field"
local quorum, role = require "kubeadm.quorum", require "role"

local inputs = control_plane.inputs()
inputs.node = field.resource { "kubeadm.node", required = true, doc = "The Kubernetes packages of the host." }
inputs.cluster = field.resource { "kubeadm.init", required = true, doc = "The cluster." }
inputs.control_plane = field.boolean { default = false, doc = "Join as a control plane; one at a time." }
inputs.node_name = field.string { doc = "The Node's name; the host's unless given." }
inputs.address = field.ip { required = true, doc = "The host's address." }
inputs.endpoint_address = field.ip { required = true, doc = "The address that the API's name stands for." }

-- `kubeadm reset` finds by its Node which member of etcd a control plane is: where the Node is gone the member stays, counts as
-- lost, and the others are soon too few. So a control plane's Node goes after it (see kubernetes.node).
local function leave(host, f, ctx)
  if f.control_plane then quorum.guard(ctx, f.cluster, f.node_name or f.host.hostname) end
  control_plane.reset(host, "join")
  if not f.control_plane or quorum.is_going(f.cluster) then return end
  host.ask ":"
  entry.delete_node(ctx, f)
end

return role "kubeadm.join" {
  doc = "A node of a cluster, by `kubeadm join`.", made = "[ -e " .. control_plane.done "join" .. " ]",
  inputs = inputs, timeouts = { create = 4200 },
  undo = leave,
  -- Where the first control plane does not answer, or is a new machine, this one has the cluster's credentials, too.
  seen = function(ctx)
    if ctx.fields.control_plane then credentials.offer(ctx.fields.cluster, ctx.fields.host) end
  end,
  gone = function(f) return f.control_plane and connect.is_lost(f.cluster) end,
  tasks = function(host, f, ctx)
    local name, joined = f.cluster.endpoint, entry.prepare(host, f, ctx, "join")
    if f.control_plane then
      control_plane.tasks(host, f, "join", not host.checking and credentials.encryption(ctx, f.cluster) or nil)
    end
    if f.control_plane and not joined then
      host.command "api name" { run = ("printf '%%s %%s\\n' %s %s >> /etc/hosts"):format(f.endpoint_address, name),
        unless = ("[ -e %s ] || grep -qxF '%s %s' /etc/hosts"):format(control_plane.done "join", f.endpoint_address, name) }
    elseif not f.control_plane then
      host.host_entry (name) { address = f.endpoint_address }
    end
    entry.join(host, f, ctx, "join", joined)
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
