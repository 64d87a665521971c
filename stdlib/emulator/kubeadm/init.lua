--- `kubeadm init` and its phases.
local crypto = require "crypto"
local fs = require "fs"
local task = require "task"
local yaml = require "yaml"
local value = require "emulator.kubernetes.value"
local Client = require "emulator.kubernetes.client"
local config = require "emulator.kubeadm.config"
local cluster = require "emulator.kubeadm.cluster"
local files = require "emulator.kubeadm.files"
local layout = require "emulator.kubeadm.layout"
local pki = require "emulator.kubeadm.pki"
local preflight = require "emulator.kubeadm.preflight"
local wait = require "emulator.kubeadm.wait"

local init = {}

local function client(ctx, file)
  local api, why = Client.from_kubeconfig(ctx.world, ctx.machine, file, "kubeadm")
  if not api then ctx:fail("error execution phase: " .. why) end
  return api
end
init.client = client

local function kubelet_start(ctx, c)
  layout.kubelet(ctx, c, config.kubelet_file(c))
  ctx:say("[kubelet-start] Starting the kubelet")
  ctx.machine:enable_service "kubelet"
  ctx.machine:start_service "kubelet"
end

local function etcd(ctx, c)
  ctx:say('[etcd] Creating static Pod manifest for local etcd in "/etc/kubernetes/manifests"')
  layout.etcd(ctx, c)
end

local function health(ctx, c)
  local started = task.now()
  if ctx.minor < 31 then
    ctx:say('[wait-control-plane] Waiting for the kubelet to boot up the control plane as static Pods from directory "/etc/kubernetes/manifests". This can take up to 4m0s')
  else
    ctx:say('[wait-control-plane] Waiting for the kubelet to boot up the control plane as static Pods from directory "/etc/kubernetes/manifests"')
    ctx:say("[kubelet-check] Waiting for a healthy kubelet at http://127.0.0.1:10248/healthz. This can take up to 4m0s")
  end
  wait.control_plane(ctx, c, started)
end

-- The kubelet's kubeconfig is made to use the certificate that the kubelet will renew.
local function finalize(ctx, c, ca)
  ctx:say('[kubelet-finalize] Updating "/etc/kubernetes/kubelet.conf" to point to a rotatable kubelet client certificate and key')
  local name = c.init.nodeRegistration.name
  local pair = crypto.x509_issue { ca = ca, cn = "system:node:" .. name, o = { "system:nodes" }, days = pki.leaf_days(c), usage = { "client" } }
  local folder = "/var/lib/kubelet/pki"
  local file = ("%s/kubelet-client-%s.pem"):format(folder, os.date("!%Y-%m-%d-%H-%M-%S"))
  files.write(ctx.machine, file, pair.cert .. pair.key, true)
  files.remove(ctx.machine, folder .. "/kubelet-client-current.pem")
  fs.symlink(file, ctx.machine.root .. folder .. "/kubelet-client-current.pem")
  local path = "/etc/kubernetes/kubelet.conf"
  local kubeconfig = yaml.decode(files.read(ctx.machine, path))
  local current = folder .. "/kubelet-client-current.pem"
  kubeconfig.users[1].user = { ["client-certificate"] = current, ["client-key"] = current }
  files.write(ctx.machine, path, yaml.encode(kubeconfig), true)
end

local function success(ctx, c, ca, key)
  local host, port = config.endpoint(c)
  local token = c.init.bootstrapTokens[1].token
  if ctx.flags["skip-token-print"] then token = "<value withheld>" end
  local pin = pki.pin(ca.cert)
  local lines = { "", "Your Kubernetes control-plane has initialized successfully!", "",
    "To start using your cluster, you need to run the following as a regular user:", "", "  mkdir -p $HOME/.kube",
    "  sudo cp -i /etc/kubernetes/admin.conf $HOME/.kube/config", "  sudo chown $(id -u):$(id -g) $HOME/.kube/config", "",
    "Alternatively, if you are the root user, you can run:", "", "  export KUBECONFIG=/etc/kubernetes/admin.conf", "",
    "You should now deploy a pod network to the cluster.", 'Run "kubectl apply -f [podnetwork].yaml" with one of the options listed at:',
    "  https://kubernetes.io/docs/concepts/cluster-administration/addons/", "" }
  if c.cluster.controlPlaneEndpoint and c.cluster.controlPlaneEndpoint ~= "" then
    if key then
      local shown = ctx.flags["skip-certificate-key-print"] and "<value withheld>" or key
      for _, l in ipairs { ctx.minor < 30 and "You can now join any number of the control-plane node running the following command on each as root:"
          or "You can now join any number of control-plane nodes running the following command on each as root:", "",
        ("  kubeadm join %s:%d --token %s \\"):format(host, port, token), ("    --discovery-token-ca-cert-hash %s \\"):format(pin),
        ("    --control-plane --certificate-key %s"):format(shown), "",
        "Please note that the certificate-key gives access to cluster sensitive data, keep it secret!",
        "As a safeguard, uploaded-certs will be deleted in two hours; If necessary, you can use",
        '"kubeadm init phase upload-certs --upload-certs" to reload certs afterward.', "" } do lines[#lines + 1] = l end
    else
      for _, l in ipairs { "You can now join any number of control-plane nodes by copying certificate authorities",
        "and service account keys on each node and then running the following as root:", "",
        ("  kubeadm join %s:%d --token %s \\"):format(host, port, token), ("    --discovery-token-ca-cert-hash %s \\"):format(pin),
        "    --control-plane ", "" } do lines[#lines + 1] = l end
    end
  end
  for _, l in ipairs { "Then you can join any number of worker nodes by running the following on each as root:", "",
    ("kubeadm join %s:%d --token %s \\"):format(host, port, token), ("    --discovery-token-ca-cert-hash %s "):format(pin) } do lines[#lines + 1] = l end
  for _, l in ipairs(lines) do ctx:say(l) end
end

local function skipped(ctx, c, phase)
  return value.contains(ctx.flags["skip-phases"], phase) or value.contains(c.init.skipPhases, phase)
end

--- The whole of it.
function init.run(ctx)
  local c = config.init(ctx)
  ctx.ignored = c.init.nodeRegistration.ignorePreflightErrors
  ctx:say("[init] Using Kubernetes version: " .. c.cluster.kubernetesVersion)
  ctx:say("[preflight] Running pre-flight checks")
  if not skipped(ctx, c, "preflight") then
    preflight.control_plane(ctx, c)
    preflight.images(ctx)
  end
  local made = pki.init(ctx, c)
  layout.kubeconfigs(ctx, c, made.ca, true)
  if ctx.minor < 31 then
    kubelet_start(ctx, c)
    layout.control_plane(ctx, c)
    etcd(ctx, c)
  else
    etcd(ctx, c)
    layout.control_plane(ctx, c)
    kubelet_start(ctx, c)
  end
  health(ctx, c)
  local first = client(ctx, ctx.minor >= 29 and "/etc/kubernetes/super-admin.conf" or "/etc/kubernetes/admin.conf")
  cluster.bind_admins(ctx, first)
  local api = client(ctx, "/etc/kubernetes/admin.conf")
  cluster.upload_config(ctx, api, c)
  cluster.upload_kubelet(ctx, api, c)
  local key
  if ctx.flags["upload-certs"] then
    key = cluster.upload_certs(ctx, api, c.init.certificateKey)
  else
    ctx:say('[upload-certs] Skipping phase. Please see --upload-certs')
  end
  wait.node(ctx, api, c.init.nodeRegistration.name, "mark-control-plane")
  cluster.mark(ctx, api, c)
  cluster.bootstrap_tokens(ctx, api, c, made.ca.cert)
  finalize(ctx, c, made.ca)
  if not skipped(ctx, c, "addon") then cluster.addons(ctx, api, c) end
  success(ctx, c, made.ca, key)
  return 0
end

local phases = {}

function phases.preflight(ctx)
  local c = config.init(ctx)
  ctx:say("[preflight] Running pre-flight checks")
  preflight.control_plane(ctx, c)
  preflight.images(ctx)
end

phases["upload-certs"] = function(ctx)
  if not ctx.flags["upload-certs"] then
    ctx:say("[upload-certs] Skipping phase. Please see --upload-certs")
    return
  end
  preflight.root(ctx)
  local c = config.init(ctx)
  cluster.upload_certs(ctx, client(ctx, ctx.flags.kubeconfig or "/etc/kubernetes/admin.conf"), c.init.certificateKey)
end

phases["upload-config"] = function(ctx)
  local c = config.init(ctx)
  local api = client(ctx, ctx.flags.kubeconfig or "/etc/kubernetes/admin.conf")
  local which = ctx.flags.words[4] or "all"
  if which == "all" or which == "kubeadm" then cluster.upload_config(ctx, api, c) end
  if which == "all" or which == "kubelet" then cluster.upload_kubelet(ctx, api, c) end
end

phases["control-plane"] = function(ctx)
  layout.control_plane(ctx, config.init(ctx))
  ctx.kubernetes:changed(ctx.machine)
end

phases.etcd = function(ctx)
  etcd(ctx, config.init(ctx))
  ctx.kubernetes:changed(ctx.machine)
end

phases.certs = function(ctx)
  pki.init(ctx, config.init(ctx))
end

phases.kubeconfig = function(ctx)
  local ca = pki.load(ctx.machine, "ca")
  if not ca then ctx:fail("error execution phase kubeconfig/admin: couldn't load CA certificate") end
  layout.kubeconfigs(ctx, config.init(ctx), ca, true)
end

phases.addon = function(ctx)
  cluster.addons(ctx, client(ctx, ctx.flags.kubeconfig or "/etc/kubernetes/admin.conf"), config.init(ctx))
end

phases["bootstrap-token"] = function(ctx)
  local ca = pki.load(ctx.machine, "ca")
  if not ca then ctx:fail("error execution phase bootstrap-token: couldn't load CA certificate") end
  cluster.bootstrap_tokens(ctx, client(ctx, ctx.flags.kubeconfig or "/etc/kubernetes/admin.conf"), config.init(ctx), ca.cert)
end

phases["mark-control-plane"] = function(ctx)
  cluster.mark(ctx, client(ctx, ctx.flags.kubeconfig or "/etc/kubernetes/admin.conf"), config.init(ctx))
end

--- `kubeadm init phase NAME`.
function init.phase(ctx, name)
  local fn = phases[name or ""]
  if not fn then ctx:fail(('unknown command "%s" for "kubeadm init phase"'):format(name or "")) end
  fn(ctx)
  return 0
end

return init
