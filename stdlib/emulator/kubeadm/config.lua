--- kubeadm's configuration: documents of a file or flags, with kubeadm's defaults, in one form for all versions of its API.
local crypto = require "crypto"
local fs = require "fs"
local json = require "json"
local yaml = require "yaml"
local value = require "emulator.kubernetes.value"
local ip = require "emulator.kubernetes.ip"
local release = require "emulator.kubeadm.release"

local config = {}

local fields = {
  InitConfiguration = { "bootstrapTokens", "dryRun", "nodeRegistration", "localAPIEndpoint", "certificateKey", "skipPhases", "patches", "timeouts" },
  JoinConfiguration = { "nodeRegistration", "caCertPath", "discovery", "controlPlane", "skipPhases", "patches", "dryRun", "timeouts" },
  ClusterConfiguration = { "etcd", "networking", "kubernetesVersion", "controlPlaneEndpoint", "apiServer", "controllerManager", "scheduler",
    "dns", "proxy", "certificatesDir", "imageRepository", "useHyperKubeImage", "featureGates", "clusterName", "encryptionAlgorithm",
    "certificateValidityPeriod", "caCertificateValidityPeriod" },
}

local function klog(level, place, text)
  local now = os.date("!*t")
  return ("%s%02d%02d %02d:%02d:%02d.000000    1000 %s] %s\n"):format(level, now.month, now.day, now.hour, now.min, now.sec, place, text)
end
config.klog = klog

--- Extra arguments as a map, whichever form a version has.
function config.args(list)
  local out = {}
  if type(list) ~= "table" then return out end
  if json.is_array(list) then
    for _, a in ipairs(list) do out[a.name] = tostring(a.value) end
  else
    for k, v in pairs(list) do out[k] = tostring(v) end
  end
  return out
end

local function unknown_fields(document, version, kind)
  local allowed = { apiVersion = true, kind = true, metadata = true }
  for _, f in ipairs(fields[kind]) do allowed[f] = true end
  for _, k in ipairs(value.keys(document)) do
    if not allowed[k] then
      return klog("W", "strict.go:54", ('error unmarshaling configuration schema.GroupVersionKind{Group:"kubeadm.k8s.io", Version:"%s", Kind:"%s"}: '
        .. 'error unmarshaling JSON: while decoding JSON: json: unknown field "%s"'):format(version, kind, k))
    end
  end
end

local function check_api(ctx, document)
  local version = document.apiVersion:match("^kubeadm%.k8s%.io/(.+)$")
  if value.contains(release.apis(ctx.minor), version) then return version end
  if ctx.minor < 22 then
    ctx:err(klog("W", "strict.go:47", ('unknown configuration schema.GroupVersionKind{Group:"kubeadm.k8s.io", Version:"%s", Kind:"%s"} for scheme '
      .. 'definitions in "k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm/scheme/scheme.go:31" and '
      .. '"k8s.io/kubernetes/cmd/kubeadm/app/componentconfigs/scheme.go:28"'):format(version, document.kind)))
    ctx:fail(('no kind "%s" is registered for version "kubeadm.k8s.io/%s" in scheme "k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm/scheme/scheme.go:31"')
      :format(document.kind, version))
  end
  if version and version < release.apis(ctx.minor)[1] then
    ctx:fail(('your configuration file uses an old API spec: "kubeadm.k8s.io/%s" (kind: "%s"). Please use kubeadm v1.%d instead and run '
      .. "'kubeadm config migrate --old-config old-config-file --new-config new-config-file', which will write the new, similar spec using a newer API version.")
      :format(version, document.kind, ctx.minor - 1))
  end
  ctx:fail(('no kind "%s" is registered for version "kubeadm.k8s.io/%s" in scheme "k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm/scheme/scheme.go"')
    :format(document.kind, tostring(version)))
end

--- Reads a configuration file: documents by kind; ends the command where kubeadm would.
function config.read(ctx, path)
  local full = path:sub(1, 1) == "/" and path or (ctx.call.cwd or "/") .. "/" .. path
  local text, why = fs.read(ctx.machine.root .. full)
  local stat = text and fs.stat(ctx.machine.root .. full, { follow = true })
  if text and ctx.call.uid and ctx.call.uid ~= 0 and stat.mode & 4 == 0 then text, why = nil, "permission denied" end
  if not text then
    ctx:fail(('unable to read config from "%s"%s: open %s: %s'):format(path, ctx.minor < 22 and " " or "", full,
      why == "permission denied" and why or "no such file or directory"))
  end
  local documents, message = yaml.decode_all(text)
  if not documents then ctx:fail("error converting YAML to JSON: yaml: " .. message) end
  local out = { versions = {} }
  for _, d in ipairs(documents) do
    if type(d) == "table" and d.kind then
      if type(d.apiVersion) ~= "string" then ctx:fail("invalid configuration: kind and apiVersion is mandatory information that must be specified") end
      if out[d.kind] then ctx:fail(('invalid configuration: kind "%s" is specified twice in YAML file'):format(d.kind)) end
      if fields[d.kind] then
        out.versions[d.kind] = check_api(ctx, d)
        local warning = unknown_fields(d, out.versions[d.kind], d.kind)
        if warning then ctx:err(warning) end
      end
      out[d.kind] = value.compact(d)
    end
  end
  return out
end

local function default(t, k, v)
  if t[k] == nil or t[k] == "" then t[k] = v end
  return t[k]
end

local mixable = { config = true, ["upload-certs"] = true, ["ignore-preflight-errors"] = true, v = true, ["skip-token-print"] = true,
  ["skip-certificate-key-print"] = true, ["dry-run"] = true, ["skip-phases"] = true, kubeconfig = true, ["certificate-key"] = false,
  yes = true, force = true, ["cri-socket"] = true, ["node-name"] = true, patches = true, ["print-join-command"] = true, ttl = true,
  output = true }

--- Refuses flags that may not stand beside --config.
function config.check_mix(ctx)
  if not ctx.flags.config then return end
  local bad = {}
  for _, name in ipairs(ctx.flags.given) do
    if not mixable[name] then bad[#bad + 1] = name end
  end
  if #bad > 0 then ctx:fail("can not mix '--config' with arguments [" .. table.concat(bad, " ") .. "]", 3) end
end

local function stable_version(ctx)
  if ctx.minor < 22 then
    ctx:err(klog("W", "version.go:101", "could not fetch a Kubernetes version from the internet: unable to get URL "
      .. '"https://dl.k8s.io/release/stable-1.txt": Get "https://dl.k8s.io/release/stable-1.txt": dial tcp: lookup dl.k8s.io: no such host'))
    ctx:err(klog("W", "version.go:102", "falling back to the local client version: " .. ctx.version))
  end
  return ctx.version
end

local function registration(ctx, r)
  r = r or {}
  default(r, "name", ctx.flags["node-name"] or ctx.machine.hostname:lower())
  r.name = r.name:lower() -- as kubeadm does with any name
  default(r, "criSocket", ctx.flags["cri-socket"] or "unix:///run/containerd/containerd.sock")
  return r
end
config.registration = registration

local function token_valid(t) return type(t) == "string" and t:match("^[a-z0-9][a-z0-9][a-z0-9][a-z0-9][a-z0-9][a-z0-9]%.[a-z0-9]+$") and #t == 23 end
config.token_valid = token_valid

--- A random token.
function config.new_token()
  local letters = "abcdefghijklmnopqrstuvwxyz0123456789"
  local bytes, out = crypto.random(22), {}
  for i = 1, 22 do
    local at = bytes:byte(i) % 36 + 1
    out[i] = letters:sub(at, at)
  end
  return table.concat(out, "", 1, 6) .. "." .. table.concat(out, "", 7)
end

local function networking(ctx, c)
  local n = default(c, "networking", {})
  default(n, "serviceSubnet", ctx.flags["service-cidr"] or "10.96.0.0/12")
  default(n, "dnsDomain", ctx.flags["service-dns-domain"] or "cluster.local")
  default(n, "podSubnet", ctx.flags["pod-network-cidr"])
  for _, k in ipairs { "serviceSubnet", "podSubnet" } do
    if n[k] and not ip.range(n[k]) then
      ctx:fail(('networking.%s: Invalid value: "%s": couldn\'t parse subnet'):format(k, n[k]), 3)
    end
  end
end

--- The configuration of init: {init=, cluster=, kubelet=, proxy=}. offline: do not ask for the newest version.
function config.init(ctx)
  config.check_mix(ctx)
  local documents = ctx.flags.config and config.read(ctx, ctx.flags.config) or {}
  local init, cluster = documents.InitConfiguration or {}, documents.ClusterConfiguration or {}
  local version = cluster.kubernetesVersion or ctx.flags["kubernetes-version"]
  if not version or version == "" or version:match("^stable") or version:match("^latest") then version = stable_version(ctx) end
  if not version:match("^v") then version = "v" .. version end
  cluster.kubernetesVersion = version
  if release.minor(version) > ctx.minor then
    ctx:fail(("this version of kubeadm only supports deploying clusters with the control plane version >= %d.%d.0. Current version: %s")
      :format(1, ctx.minor - 1, version))
  end
  default(cluster, "controlPlaneEndpoint", ctx.flags["control-plane-endpoint"])
  default(cluster, "clusterName", "kubernetes")
  default(cluster, "certificatesDir", "/etc/kubernetes/pki")
  default(cluster, "imageRepository", ctx.flags["image-repository"] or release.registry(release.minor(version)))
  networking(ctx, cluster)
  local local_ = default(init, "localAPIEndpoint", {})
  default(local_, "advertiseAddress", ctx.flags["apiserver-advertise-address"] or ctx.machine.private_ip)
  default(local_, "bindPort", tonumber(ctx.flags["apiserver-bind-port"]) or 6443)
  init.nodeRegistration = registration(ctx, init.nodeRegistration)
  if not init.bootstrapTokens or #init.bootstrapTokens == 0 then
    init.bootstrapTokens = json.array { { token = ctx.flags.token or config.new_token(), ttl = ctx.flags["token-ttl"] } }
  end
  for i, t in ipairs(init.bootstrapTokens) do
    default(t, "token", config.new_token())
    default(t, "ttl", "24h0m0s")
    default(t, "usages", json.array { "signing", "authentication" })
    default(t, "groups", json.array { "system:bootstrappers:kubeadm:default-node-token" })
    if not token_valid(t.token) then
      ctx:fail(('bootstrapTokens[%d].token: Invalid value: "%s": the bootstrap token is invalid'):format(i - 1, t.token), 3)
    end
  end
  default(init, "certificateKey", ctx.flags["certificate-key"])
  cluster.apiServer = cluster.apiServer or {}
  for _, san in ipairs(ctx.flags["apiserver-cert-extra-sans"] or {}) do
    cluster.apiServer.certSANs = cluster.apiServer.certSANs or json.array {}
    table.insert(cluster.apiServer.certSANs, san)
  end
  local kubelet = documents.KubeletConfiguration or {}
  if ctx.minor >= 22 then default(kubelet, "cgroupDriver", "systemd") end
  return { init = init, cluster = cluster, kubelet = kubelet, proxy = documents.KubeProxyConfiguration or {} }
end

--- host and port of the API: the control plane endpoint or this machine's own address.
function config.endpoint(c)
  local endpoint = c.cluster.controlPlaneEndpoint
  if endpoint and endpoint ~= "" then
    local host, port = endpoint:match("^(.-):(%d+)$")
    return host or endpoint, tonumber(port) or c.init.localAPIEndpoint.bindPort or 6443
  end
  return c.init.localAPIEndpoint.advertiseAddress, c.init.localAPIEndpoint.bindPort or 6443
end

--- The kubelet configuration file's content.
function config.kubelet_file(c)
  local dns = ip.nth(c.cluster.networking.serviceSubnet, 10)
  local out = { apiVersion = "kubelet.config.k8s.io/v1beta1", kind = "KubeletConfiguration",
    authentication = { anonymous = { enabled = false }, webhook = { cacheTTL = "0s", enabled = true },
      x509 = { clientCAFile = "/etc/kubernetes/pki/ca.crt" } },
    authorization = { mode = "Webhook", webhook = { cacheAuthorizedTTL = "0s", cacheUnauthorizedTTL = "0s" } },
    clusterDNS = json.array { dns }, clusterDomain = c.cluster.networking.dnsDomain, cpuManagerReconcilePeriod = "0s",
    evictionPressureTransitionPeriod = "0s", fileCheckFrequency = "0s", healthzBindAddress = "127.0.0.1", healthzPort = 10248,
    httpCheckFrequency = "0s", imageMinimumGCAge = "0s", logging = {}, nodeStatusReportFrequency = "0s", nodeStatusUpdateFrequency = "0s",
    rotateCertificates = true, runtimeRequestTimeout = "0s", shutdownGracePeriod = "0s", shutdownGracePeriodCriticalPods = "0s",
    staticPodPath = "/etc/kubernetes/manifests", streamingConnectionIdleTimeout = "0s", syncFrequency = "0s", volumeStatsAggPeriod = "0s" }
  for k, v in pairs(c.kubelet) do out[k] = v end
  return out
end

return config
