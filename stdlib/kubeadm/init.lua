--- The first control plane: `kubeadm init`.
local certificates = require "kubeadm.certificates"
local config = require "kubeadm.config"
local connect = require "kubernetes.connect"
local control_plane = require "kubeadm.control_plane"
local credentials = require "kubeadm.credentials"
local crypto, field, yaml = require "crypto", require "field", require "yaml"
local quorum, restore, role = require "kubeadm.quorum", require "kubeadm.restore", require "role"

local inputs = control_plane.inputs()
inputs.node = field.resource { "kubeadm.node", required = true, doc = "The Kubernetes packages of the host." }
inputs.node_name = field.string { doc = "The Node's name; the host's unless given." }
inputs.address = field.ip { required = true, doc = "The host's address, which its API server advertises." }
inputs.endpoint = field.string { required = true, match = "^[%w][%w.-]*$",
  doc = "The API's name, the same for all control planes: a cluster without one cannot get a second control plane." }
inputs.port = field.integer { default = 6443 }
inputs.reach = field.string { doc = "The address where we reach the API; the endpoint's name unless given." }
inputs.names = field.list { field.string {}, default = {}, doc = "More names and addresses of the API's certificate." }
inputs.cluster_name = field.string { default = "kubernetes" }
inputs.pods = field.cidr { default = "10.244.0.0/16" }
inputs.services = field.cidr { default = "10.96.0.0/12" }
inputs.domain = field.string { default = "cluster.local" }
inputs.image_repository = field.string { doc = "Where the control plane's images come from; registry.k8s.io unless given." }
inputs.restore = field.resource { "kubeadm.backup", ignore = true,
  doc = "A backup that the cluster is made of; one that is there stays as it is." }
inputs.cloud_provider = field.boolean { default = false, doc = "A cloud-controller-manager will take over the nodes." }

local CONFIG = "/etc/kubernetes/kubeadm.yaml"
local READ_ONLY = "444" -- the mode of the file in the network of a container

-- Brings a backup to a host where no cluster was made yet. Returns what goes before `kubeadm init`, and its option.
local function restored(host, f, ctx, name)
  if not (f.restore and f.restore.file) or host.checking or host.ask("[ ! -e " .. control_plane.done "init" .. " ] || echo yes") == "yes" then return "", "" end
  restore.place(ctx, f)
  return restore.prepare(CONFIG, name, f.address), " " .. restore.IGNORE
end

local function is_restored(host) return not host.checking and host.ask(("[ ! -e %s ] || echo yes"):format(restore.FOLDER)) == "yes" end

return role "kubeadm.init" {
  doc = "The first control plane of a cluster, by `kubeadm init`.",
  inputs = inputs, timeouts = { create = 7200 },
  facts = { conntrack = "stat -c %a /proc/sys/net/netfilter/nf_conntrack_max 2>/dev/null" },
  undo = function(host, f, ctx)
    quorum.guard(ctx, f, f.node_name or f.host.hostname)
    control_plane.reset(host, "init")
  end,
  gone = connect.is_lost,
  tasks = function(host, f, ctx)
    control_plane.tasks(host, f)
    local name = (f.node_name or f.host.hostname):lower()
    local documents = config.init { version = f.node.version, node_name = name, address = f.address,
      endpoint = f.endpoint, port = f.port, names = f.names, cluster_name = f.cluster_name, pods = f.pods,
      services = f.services, domain = f.domain, image_repository = f.image_repository, audit = f.audit,
      encryption = f.encryption_key ~= nil, cloud_provider = f.cloud_provider, fixed_conntrack = host.conntrack == READ_ONLY }
    host.file (CONFIG) { content = yaml.encode_all(documents), mode = "0600" }
    -- A load balancer does not send a control plane's own connection back to it, so its own API server answers to the name.
    host.host_entry (f.endpoint) { address = "127.0.0.1" }
    local before, option = restored(host, f, ctx, name)
    host.command "kubeadm init" { timeout = before ~= "" and 3600 or 900, creates = control_plane.done "init",
      run = control_plane.once("init", ("%skubeadm init --config %s --upload-certs --skip-token-print%s"):format(before, CONFIG, option)) }
    host.service "kubelet" {}
    if is_restored(host) then restore.settle(ctx, f, name) end
    host.command "the end of a restore" { unless = ("[ ! -e %s ]"):format(restore.FOLDER), run = "rm -rf " .. restore.FOLDER }
    certificates.task(host, f, ctx.prior and ctx.prior.outputs)
  end,
  made = "[ -e " .. control_plane.done "init" .. " ]",
  asks = { ca = "cat /etc/kubernetes/pki/ca.crt", certificates = certificates.ASK },
  differs = certificates.differs,
  outputs = {
    ca = field.string { doc = "The cluster's certificate authority." },
    ca_hash = field.string { doc = "What joining nodes pin: sha256:..." },
    server = field.string { doc = "The API's URL." },
  },
  results = function(answers, f)
    credentials.forget(f)
    local told = answers.ca and crypto.x509_read(answers.ca)
    return { ca = answers.ca, ca_hash = told and "sha256:" .. told.spki_sha256,
      server = ("https://%s:%d"):format(f.endpoint, f.port) }
  end,
}
