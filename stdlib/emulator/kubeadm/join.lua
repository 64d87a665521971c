--- `kubeadm join`: discovery, checks, the kubelet's bootstrap; for a control plane also certificates, manifests and etcd.
local crypto = require "crypto"
local json = require "json"
local task = require "task"
local yaml = require "yaml"
local value = require "emulator.kubernetes.value"
local Client = require "emulator.kubernetes.client"
local hosts = require "emulator.kubernetes.hosts"
local tokens = require "emulator.kubernetes.controllers.certificates"
local config = require "emulator.kubeadm.config"
local cluster = require "emulator.kubeadm.cluster"
local files = require "emulator.kubeadm.files"
local layout = require "emulator.kubeadm.layout"
local pki = require "emulator.kubeadm.pki"
local preflight = require "emulator.kubeadm.preflight"
local wait = require "emulator.kubeadm.wait"

local join = {}

local INFO = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
local DISCOVERY, RETRY, LEAST = 300, 5, 4       -- nominal seconds; the last is real

local function check_token(ctx, path, token)
  if config.token_valid(token) then return end
  return ('%s: Invalid value: "%s": the bootstrap token is invalid'):format(path, token or "")
end

local function read_options(ctx)
  config.check_mix(ctx)
  local document = ctx.flags.config and config.read(ctx, ctx.flags.config).JoinConfiguration
  if ctx.flags.config and not document then ctx:fail("no InitConfiguration or ClusterConfiguration kind was found in the YAML file") end
  local o = document or {}
  local d = value.get(o, "discovery", "bootstrapToken") or {}
  local token = ctx.flags["discovery-token"] or d.token or ctx.flags.token
  local out = { endpoint = d.apiServerEndpoint or ctx.flags.words[2], token = token,
    tls_token = ctx.flags["tls-bootstrap-token"] or value.get(o, "discovery", "tlsBootstrapToken") or ctx.flags.token or token,
    hashes = d.caCertHashes or ctx.flags["discovery-token-ca-cert-hash"] or {},
    unsafe = d.unsafeSkipCAVerification or ctx.flags["discovery-token-unsafe-skip-ca-verification"],
    registration = config.registration(ctx, o.nodeRegistration), skip = o.skipPhases or {},
    control_plane = o.controlPlane or ctx.flags["control-plane"] and {} or nil }
  if out.control_plane then
    local p = out.control_plane
    p.certificateKey = p.certificateKey or ctx.flags["certificate-key"]
    p.localAPIEndpoint = p.localAPIEndpoint or {}
    p.localAPIEndpoint.advertiseAddress = p.localAPIEndpoint.advertiseAddress or ctx.flags["apiserver-advertise-address"] or ctx.machine.private_ip
    p.localAPIEndpoint.bindPort = p.localAPIEndpoint.bindPort or tonumber(ctx.flags["apiserver-bind-port"]) or 6443
  end
  ctx.ignored = out.registration.ignorePreflightErrors
  return out
end

local function validate(ctx, o)
  if not o.endpoint or o.endpoint == "" then
    ctx:fail('discovery: Invalid value: "": bootstrapToken or file must be set', 3)
  end
  local errors = {}
  errors[1] = check_token(ctx, "discovery.bootstrapToken.token", o.token)
  errors[#errors + 1] = check_token(ctx, "discovery.tlsBootstrapToken", o.tls_token)
  if #errors == 0 and #o.hashes == 0 and not o.unsafe then
    errors[1] = 'discovery.bootstrapToken: Invalid value: "": using token-based discovery without caCertHashes can be unsafe. Set unsafeSkipCAVerification as true '
      .. "in your kubeadm config file or pass --discovery-token-unsafe-skip-ca-verification flag to continue"
  end
  if #errors == 1 then ctx:fail(errors[1], 3) end
  if #errors > 1 then ctx:fail("[" .. table.concat(errors, ", ") .. "]", 3) end
  for _, hash in ipairs(o.hashes) do
    if not hash:match("^sha256:%x+$") or #hash ~= 71 then
      ctx:fail(("error execution phase preflight: couldn't validate the identity of the API Server: invalid discovery token CA certificate hash: "
        .. 'invalid hash "%s", expected "sha256:" and 64 hex digits'):format(hash))
    end
  end
end

local function identity_fails(ctx, why)
  ctx:fail("error execution phase preflight: couldn't validate the identity of the API Server: " .. why)
end

-- One try: the cluster's certificate authority, or nil, why, and whether another try may help.
local function discover_once(ctx, o, server)
  local api = Client.new(ctx.world, ctx.machine, { server = server, insecure = true, agent = "kubeadm", timeout = 10 })
  local map, why = api:call("GET", INFO .. "?timeout=10s")
  if not map then return nil, why, true end
  local text = map.data and map.data.kubeconfig
  if not text then return nil, "there is no kubeconfig key in the cluster-info ConfigMap", true end
  local id, secret = o.token:match("^(.-)%.(.+)$")
  local found = map.data["jws-kubeconfig-" .. id]
  if not found then
    return nil, ('could not find a JWS signature in the cluster-info ConfigMap for token ID "%s"'):format(id), true
  end
  if found ~= tokens.signature(text, id, secret) then
    return nil, ('failed to verify JWS signature of received cluster info object, can\'t trust this API Server'), true
  end
  local info = yaml.decode(text)
  local ca = crypto.unbase64(info.clusters[1].cluster["certificate-authority-data"])
  local pin = pki.pin(ca)
  if not o.unsafe and not value.contains(o.hashes, pin) then
    return nil, ('cluster CA found in cluster-info ConfigMap is invalid: none of the public keys "%s" are pinned'):format(pin), false
  end
  local secure = Client.new(ctx.world, ctx.machine, { server = server, ca = ca, agent = "kubeadm", timeout = 10 })
  local again, message = secure:call("GET", INFO .. "?timeout=10s")
  if not again then return nil, message, true end
  if again.data.kubeconfig ~= text then return nil, "the second kubeconfig from the cluster-info ConfigMap (using validated TLS) was different from the first", true end
  return { ca = ca, server = info.clusters[1].cluster.server }
end

local function discover(ctx, o)
  local server = "https://" .. (o.endpoint:match(":%d+$") and o.endpoint or o.endpoint .. ":6443")
  local ends = task.now() + math.max(DISCOVERY / ctx.world.clock.factor, LEAST)
  if ctx:verbose() then
    ctx:err(config.klog("I", "token.go:78", ('[discovery] Created cluster-info discovery client, requesting info from "%s"'):format(o.endpoint)))
  end
  while true do
    local found, why, again = discover_once(ctx, o, server)
    if found then return found end
    if ctx:verbose() then ctx:err(config.klog("I", "token.go:215", "[discovery] Failed to request cluster-info, will try again: " .. why)) end
    if not again then
      ctx.world.clock.sleep(12)
      identity_fails(ctx, why)
    end
    if task.now() >= ends then identity_fails(ctx, why) end
    ctx.kubernetes:wait(math.min(math.max(RETRY / ctx.world.clock.factor, 0.3), ends - task.now() + 0.01))
  end
end

local function unsatisfied(ctx, why)
  ctx:fail("error execution phase preflight: \nOne or more conditions for hosting a new control plane instance is not satisfied.\n\n" .. why
    .. "\n\nPlease ensure that:\n* The cluster has a stable controlPlaneEndpoint address.\n"
    .. "* The certificates that must be shared among control plane instances are provided.\n\n")
end

local shared_checks = { { "ca.crt", "CA" }, { "sa.key", "service account" }, { "front-proxy-ca.crt", "front-proxy CA" }, { "etcd/ca.crt", "etcd CA" } }

local function check_hosting(ctx, o, c)
  local endpoint = c.cluster.controlPlaneEndpoint
  if not endpoint or endpoint == "" then
    unsatisfied(ctx, "unable to add a new control plane instance a cluster that doesn't have a stable controlPlaneEndpoint address")
  end
  if o.control_plane.certificateKey then return end
  for _, e in ipairs(shared_checks) do
    local path = pki.FOLDER .. "/" .. e[1]
    if not files.exists(ctx.machine, path) then
      if e[1] == "sa.key" then
        unsatisfied(ctx, ("failure loading key for service account: couldn't load the private key file %s: open %s: no such file or directory"):format(path, path))
      end
      unsatisfied(ctx, ("failure loading certificate for %s: couldn't load the certificate file %s: open %s: no such file or directory"):format(e[2], path, path))
    end
  end
end

local function download_certs(ctx, o, api)
  ctx:say('[download-certs] Downloading the certificates in Secret "kubeadm-certs" in the "kube-system" Namespace')
  local function fail(why) ctx:fail("error execution phase control-plane-prepare/download-certs: error downloading certs: " .. why) end
  local secret, why, code = api:call("GET", "/api/v1/namespaces/kube-system/secrets/kubeadm-certs")
  if not secret then
    if code == 404 then
      fail('error downloading the secret: Secret "kubeadm-certs" was not found in the "kube-system" Namespace. This Secret might have expired. '
        .. "Please, run `kubeadm init phase upload-certs --upload-certs` on a control plane to generate a new one")
    end
    fail("error downloading the secret: " .. why)
  end
  local texts = {}
  for name, path in pairs(pki.shared) do
    local sealed = secret.data[name] and crypto.unbase64(secret.data[name])
    local text = sealed and pki.open(o.control_plane.certificateKey, sealed)
    if not text then fail("error decoding secret data with provided key: cipher: message authentication failed") end
    texts[path] = text
  end
  if ctx.minor >= 27 then ctx:say(('[download-certs] Saving the certificates to the folder: "%s"'):format(pki.FOLDER)) end
  for path, text in pairs(texts) do
    files.write(ctx.machine, pki.FOLDER .. "/" .. path, text, not path:match("%.crt$"))
  end
end

local function existing_node(ctx, api, name)
  local node = api:call("GET", "/api/v1/nodes/" .. name)
  local ready = node and value.find(value.get(node, "status", "conditions"), "type", "Ready")
  if ready and ready.status == "True" then
    ctx:fail(('error execution phase kubelet-start: a Node with name "%s" and status "Ready" already exists in the cluster. '
      .. "You must delete the existing Node or change the name of this new joining Node"):format(name))
  end
end

local function bootstrap(ctx, o, c, found, api)
  local name = o.registration.name
  existing_node(ctx, api, name)
  files.write(ctx.machine, "/etc/kubernetes/bootstrap-kubelet.conf", layout.kubeconfig(found.server, found.ca, "kubernetes", "tls-bootstrap-token-user",
    { token = o.tls_token }), true)
  if not files.exists(ctx.machine, pki.FOLDER .. "/ca.crt") then files.write(ctx.machine, pki.FOLDER .. "/ca.crt", found.ca) end
  layout.kubelet(ctx, c, c.kubelet_file)
  ctx:say("[kubelet-start] Starting the kubelet")
  ctx.machine:enable_service "kubelet"
  ctx.machine:start_service "kubelet"
  if ctx.minor >= 31 then
    ctx:say("[kubelet-check] Waiting for a healthy kubelet at http://127.0.0.1:10248/healthz. This can take up to 4m0s")
    local started = task.now()
    local up = wait.until_(ctx, 240, function()
      local k = ctx.kubernetes.kubelets[ctx.machine.id]
      return k and k.state == "active"
    end, function()
      local k = ctx.kubernetes.kubelets[ctx.machine.id]
      return not k or k.state ~= "active"
    end)
    if not up then wait.kubelet_failure(ctx, "kubelet-start") end
    ctx:say(("[kubelet-check] The kubelet is healthy after %.6fms"):format((task.now() - started) * 1000))
  end
  ctx:say("[kubelet-start] Waiting for the kubelet to perform the TLS Bootstrap" .. (ctx.minor < 33 and "..." or ""))
  local done = wait.until_(ctx, 300, function() return files.exists(ctx.machine, "/etc/kubernetes/kubelet.conf") end, function()
    local k = ctx.kubernetes.kubelets[ctx.machine.id]
    return not k or k.state ~= "active"
  end)
  if not done then
    if ctx.minor < 31 then
      ctx:say("[kubelet-check] Initial timeout of 40s passed.")
      ctx:fail("error execution phase kubelet-start: timed out waiting for the condition")
    end
    ctx:fail("error execution phase kubelet-start: failed while waiting for TLS bootstrap: context deadline exceeded")
  end
  files.remove(ctx.machine, "/etc/kubernetes/bootstrap-kubelet.conf")
end

local function etcd_members(ctx, api)
  local list = api:call("GET", "/api/v1/namespaces/kube-system/pods?labelSelector=component%3Detcd")
  local urls = {}
  for _, p in ipairs(list and list.items or {}) do
    urls[#urls + 1] = value.get(p, "metadata", "annotations", "kubeadm.kubernetes.io/etcd.advertise-client-urls")
  end
  return urls
end

-- Asks an etcd over TLS whether it is well; returns its answer or nil and why.
local function etcd_health(ctx, url)
  local P = pki.FOLDER .. "/etcd/"
  local client = Client.new(ctx.world, ctx.machine, { server = url, ca = files.read(ctx.machine, P .. "ca.crt"), timeout = 10,
    cert = files.read(ctx.machine, P .. "healthcheck-client.crt"), key = files.read(ctx.machine, P .. "healthcheck-client.key") })
  return client:call("GET", "/health")
end
join.etcd_health = etcd_health

local function check_etcd(ctx, api)
  ctx:say("[check-etcd] Checking that the etcd cluster is healthy")
  local urls = etcd_members(ctx, api)
  local last
  for _, url in ipairs(urls) do
    local answer, why = etcd_health(ctx, url)
    if answer then return url end
    last = why
  end
  ctx:fail("error execution phase check-etcd: etcd cluster is not healthy: failed to dial endpoint " .. tostring(urls[1]) .. " with maintenance client: "
    .. (last and "context deadline exceeded: " .. last or "there are no etcd pods"))
end

local function join_etcd(ctx, o, c, url)
  local address = o.control_plane.localAPIEndpoint.advertiseAddress
  local host = url:match("^https://([%d.]+):")
  local known
  for _, k in pairs(ctx.kubernetes.clusters) do
    for _, m in pairs(k.members) do
      if m.peer == ("https://%s:2380"):format(host) then known = k end
    end
  end
  local where, why = hosts.dial(ctx.world, ctx.machine, host, 2380)
  if not known or not where then
    ctx:fail("error execution phase control-plane-join/etcd: error creating local etcd static pod manifest file: etcdserver: " .. (why or "unknown cluster"))
  end
  local peer = ("https://%s:2380"):format(address)
  known:add_member { name = o.registration.name, peer = peer, client = ("https://%s:2379"):format(address), machine = ctx.machine.id, learner = true }
  ctx:say("[etcd] Announced new etcd member joining to the existing etcd cluster")
  ctx:say('[etcd] Creating static Pod manifest for "etcd"')
  local members = {}
  for _, name in ipairs(value.keys(known.members)) do members[#members + 1] = known.members[name] end
  layout.etcd(ctx, c, members)
  ctx:say("[etcd] Waiting for the new etcd member to join the cluster. This can take up to 40s")
  ctx.kubernetes:changed(ctx.machine)
  local up = wait.until_(ctx, 40, function()
    local m = known:member_of(peer)
    return m and known.alive[m.name] and not m.learner
  end)
  if not up then ctx:fail("error execution phase control-plane-join/etcd: error creating local etcd static pod manifest file: timeout waiting for etcd cluster to be available") end
end

local function worker_done(ctx)
  for _, l in ipairs { "", "This node has joined the cluster:", "* Certificate signing request was sent to apiserver and a response was received.",
    "* The Kubelet was informed of the new secure connection details.", "",
    "Run 'kubectl get nodes' on the control-plane to see this node join the cluster.", "" } do ctx:say(l) end
end

local function control_plane_done(ctx)
  for _, l in ipairs { "", "This node has joined the cluster and a new control plane instance was created:", "",
    "* Certificate signing request was sent to apiserver and approval was received.",
    "* The Kubelet was informed of the new secure connection details.",
    ctx.minor < 24 and "* Control plane (master) label and taint were applied to the new node." or "* Control plane label and taint were applied to the new node.",
    "* The Kubernetes control plane instances scaled up.", "* A new etcd member was added to the local/stacked etcd cluster.", "",
    "To start administering your cluster from this node, you need to run the following as a regular user:", "", "\tmkdir -p $HOME/.kube",
    "\tsudo cp -i /etc/kubernetes/admin.conf $HOME/.kube/config", "\tsudo chown $(id -u):$(id -g) $HOME/.kube/config", "",
    "Run 'kubectl get nodes' to see this node join the cluster.", "" } do ctx:say(l) end
end

local function control_plane(ctx, o, c, found, api)
  c.init = { localAPIEndpoint = o.control_plane.localAPIEndpoint, nodeRegistration = o.registration }
  check_hosting(ctx, o, c)
  ctx:say("[preflight] Running pre-flight checks before initializing the new control plane instance")
  preflight.control_plane(ctx, c, true)
  preflight.images(ctx)
  if o.control_plane.certificateKey then download_certs(ctx, o, api) end
  pki.join(ctx, c)
  ctx:say("[kubeconfig] Generating kubeconfig files")
  layout.kubeconfigs(ctx, c, pki.load(ctx.machine, "ca"), false)
  layout.control_plane(ctx, c)
  local admin = Client.from_kubeconfig(ctx.world, ctx.machine, "/etc/kubernetes/admin.conf", "kubeadm")
  local url = check_etcd(ctx, admin)
  bootstrap(ctx, o, c, found, api)
  join_etcd(ctx, o, c, url)
  wait.node(ctx, admin, o.registration.name, "control-plane-join/mark-control-plane")
  if ctx.minor < 24 then cluster.upload_config(ctx, admin, c) end
  cluster.mark(ctx, admin, c)
  if ctx.minor >= 33 then
    ctx:say("[control-plane-check] Waiting for healthy control plane components. This can take up to 4m0s")
    local up = wait.until_(ctx, 240, function()
      local k = ctx.kubernetes.kubelets[ctx.machine.id]
      return k and k.static.running["kube-apiserver"] ~= nil
    end)
    if not up then ctx:fail("error execution phase wait-control-plane: failed while waiting for the control plane to start: kube-apiserver check failed") end
    for _, name in ipairs { "kube-apiserver", "kube-controller-manager", "kube-scheduler" } do
      ctx:say(("[control-plane-check] %s is healthy"):format(name))
    end
  end
  control_plane_done(ctx)
end

--- The whole of it.
function join.run(ctx)
  ctx.joining = true
  local o = read_options(ctx)
  validate(ctx, o)
  ctx:say("[preflight] Running pre-flight checks")
  preflight.join(ctx, o.registration.name, o.control_plane)
  local found = discover(ctx, o)
  local api = Client.new(ctx.world, ctx.machine, { server = found.server, ca = found.ca, token = o.tls_token, agent = "kubeadm" })
  cluster.reading(ctx, "preflight")
  local c, why, code = cluster.fetch(api, true)
  if not c then
    if code == 401 then why = "Unauthorized" end
    ctx:fail("error execution phase preflight: unable to fetch the kubeadm-config ConfigMap: failed to get config map: " .. tostring(why))
  end
  c.init = { nodeRegistration = o.registration, localAPIEndpoint = {} }
  if o.control_plane then
    control_plane(ctx, o, c, found, api)
  else
    bootstrap(ctx, o, c, found, api)
    worker_done(ctx)
  end
  return 0
end

join.json = json

return join
