--- The first control plane: `kubeadm init`.
local certificates = require "kubeadm.certificates"
local config = require "kubeadm.config"
local connect = require "kubernetes.connect"
local control_plane = require "kubeadm.control_plane"
local credentials = require "kubeadm.credentials"
local crypto, field, yaml = require "crypto", require "field", require "yaml"
local entry, life, restore = require "kubeadm.entry", require "kubeadm.life", require "kubeadm.restore"
local fail, quorum, role = require "fail", require "kubeadm.quorum", require "role"

local inputs = control_plane.inputs()
-- A cluster outlives its first machine: a host in its place joins.
inputs.host = field.resource { "ssh.host", required = true, doc = "The host." }
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
inputs.cloud_provider = field.boolean { default = false, doc = "The kubelets of the cluster wait for a cloud provider to say what "
  .. "their machines are, and so does kube-controller-manager. For a new cluster: it cannot be turned on or off later." }

local CONFIG = "/etc/kubernetes/kubeadm.yaml"
-- kubeadm makes a token that lives for a day, which nobody waits for: who joins gets one of their own.
local INIT = [[kubeadm init --config %s --skip-token-print%s
kubeadm token list | sed -n 's/^\([a-z0-9]\{6\}\)[.][a-z0-9]\{16\} .*/\1/p' | xargs -r kubeadm token delete]]
local READ_ONLY = "444" -- the mode of the file in the network of a container

local function moves_to(ctx)
  for _, change in ipairs(ctx.changes or {}) do if change.path == life.MOVES then return true end end
  return false
end

-- The cluster goes on without its first machine, and another is in that one's place: it joins as control planes do.
local JOINS = { name = "kubeadm.entry", asks = {} }
local function rejoin(ctx)
  local f, known = ctx.fields, ctx.prior.outputs
  local lives, why = life.ask(ctx, f, known)
  if not lives then
    error(fail { ("the cluster of %s does not answer, so its new first machine cannot join it: %s"):format(f.endpoint, why),
      code = "quorum", hint = "bring its other control planes back first; a new, empty cluster is made with --replace" })
  end
  local joins = { host = f.host, node = f.node, node_name = f.node_name, address = f.address, control_plane = true,
    cluster = { host = f.host, endpoint = f.endpoint, port = f.port, reach = f.reach, names = f.names, cluster_name = f.cluster_name,
      cloud_provider = f.cloud_provider, ca = known.ca, ca_hash = known.ca_hash, server = known.server } }
  role.perform(JOINS, ctx, "apply", function(host)
    local joined = entry.prepare(host, joins, ctx, "init")
    control_plane.tasks(host, f, "init", not joined and credentials.encryption(ctx, joins.cluster) or nil)
    if f.reach and not joined then host.host_entry (f.endpoint) { address = f.reach } end
    entry.join(host, joins, ctx, "init", joined)
  end)
  entry.certify(ctx, joins)
end

-- How its kubelet was started: kubeadm wrote that down once.
local CLOUD = [[[ ! -e /var/lib/kubelet/kubeadm-flags.env ] || if grep -q -e --cloud-provider=external /var/lib/kubelet/kubeadm-flags.env
then echo external; else echo none; fi]]

-- A Node gets the taint that its cloud provider looks for when it registers, and the id of its machine once and for all; flags of
-- kubelets and of kube-controller-manager are kubeadm's at that time, too. All Nodes would have to be made anew.
local function check_cloud(is, f)
  if is ~= "external" and is ~= "none" or (is == "external") == f.cloud_provider then return end
  local is_on = is == "external"
  error(fail { ("the cluster was made %s a cloud provider, and cloud_provider cannot be turned %s later: its Nodes were registered "
    .. "%s"):format(is_on and "with" or "without", is_on and "off" or "on",
    is_on and "to be set up by one" or "without what one starts from (kubelet --cloud-provider=external)"), code = "cloud_provider",
    hint = ("leave cloud_provider = %s, or make a new cluster"):format(tostring(is_on)) })
end

-- Brings a backup to a host where no cluster was made yet. Returns what goes before `kubeadm init`, and its option.
local function restored(host, f, ctx, name)
  if not (f.restore and f.restore.file) or host.checking or host.ask("[ ! -e " .. control_plane.done "init" .. " ] || echo yes") == "yes" then return "", "" end
  restore.place(ctx, f)
  return restore.prepare(CONFIG, name, f.address), " " .. restore.IGNORE
end

local function is_restored(host) return not host.checking and host.ask(("[ ! -e %s ] || echo yes"):format(restore.FOLDER)) == "yes" end

-- What the answers say: the certificates that end soon.
local function differs(answers, f)
  check_cloud(answers.cloud, f)
  return certificates.differs(answers, f)
end

return role "kubeadm.init" {
  doc = "The first control plane of a cluster, by `kubeadm init`.",
  inputs = inputs, timeouts = { create = 7200 },
  facts = { conntrack = "stat -c %a /proc/sys/net/netfilter/nf_conntrack_max 2>/dev/null" },
  undo = function(host, f, ctx)
    quorum.guard(ctx, f, f.node_name or f.host.hostname)
    control_plane.reset(host, "init")
  end,
  moves = function(ctx) return life.moves(ctx, ctx.fields, ctx.prior.outputs) end,
  gone = connect.is_lost,
  tasks = function(host, f, ctx)
    if not host.checking and moves_to(ctx) then rejoin(ctx) end
    control_plane.tasks(host, f, "init")
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
      run = control_plane.once("init", before .. INIT:format(CONFIG, option)) }
    host.service "kubelet" {}
    if is_restored(host) then restore.settle(ctx, f, name) end
    host.command "the end of a restore" { unless = ("[ ! -e %s ]"):format(restore.FOLDER), run = "rm -rf " .. restore.FOLDER }
    certificates.task(host, f, ctx.prior and ctx.prior.outputs)
  end,
  made = "[ -e " .. control_plane.done "init" .. " ]",
  asks = { ca = "cat /etc/kubernetes/pki/ca.crt", certificates = certificates.ASK, cloud = CLOUD },
  differs = differs,
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
