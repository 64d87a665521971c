--- kubeadm's configuration documents, in the version that a release takes: v1beta2 before 1.22, v1beta3 before 1.31, v1beta4
-- from there on, where extra arguments became lists (https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/).
local json, release = require "json", require "kubernetes.release"

local M = {}

local SOCKET = "unix:///run/containerd/containerd.sock"

--- The version of kubeadm's API for a release such as "1.36.1".
function M.api_version(version)
  local minor = release.minor(version)
  return "kubeadm.k8s.io/" .. (minor >= 31 and "v1beta4" or minor >= 22 and "v1beta3" or "v1beta2")
end

local function extra_args(version, args)
  if next(args) == nil then return nil end
  if M.api_version(version) ~= "kubeadm.k8s.io/v1beta4" then return args end
  local names, list = {}, {}
  for name in pairs(args) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do list[i] = { name = name, value = args[name] } end
  return json.array(list)
end

local function registration(version, f)
  local args = {}
  if f.cloud_provider then args["cloud-provider"] = "external" end
  if f.address then args["node-ip"] = f.address end
  return { name = f.node_name and f.node_name:lower(), criSocket = SOCKET, kubeletExtraArgs = extra_args(version, args) }
end

local function kubelet()
  return { apiVersion = "kubelet.config.k8s.io/v1beta1", kind = "KubeletConfiguration", cgroupDriver = "systemd",
    rotateCertificates = true, serverTLSBootstrap = true }
end

local function volume(name, path, read_only, path_type)
  return { name = name, hostPath = path, mountPath = path, readOnly = read_only, pathType = path_type }
end

-- An API server that is to end serves on while a load balancer's probes of /readyz, five seconds apart, find out. (The kubelet
-- leaves a static pod 30 s for it.)
local DRAIN = "10s"

local function api_server(version, f)
  local args, volumes = { ["shutdown-delay-duration"] = DRAIN }, {}
  if f.encryption then
    args["encryption-provider-config"] = "/etc/kubernetes/encryption.yaml"
    volumes[#volumes + 1] = volume("encryption", "/etc/kubernetes/encryption.yaml", true, "File")
  end
  if f.audit then
    args["audit-policy-file"], args["audit-log-path"] = "/etc/kubernetes/audit-policy.yaml", "/var/log/kubernetes/audit.log"
    args["audit-log-maxage"], args["audit-log-maxbackup"], args["audit-log-maxsize"] = "30", "10", "100"
    volumes[#volumes + 1] = volume("audit-policy", "/etc/kubernetes/audit-policy.yaml", true, "File")
    volumes[#volumes + 1] = volume("audit-log", "/var/log/kubernetes", false, "DirectoryOrCreate")
  end
  local names = { f.endpoint, "127.0.0.1" }
  for _, name in ipairs(f.names or {}) do names[#names + 1] = name end
  return { certSANs = json.array(names), extraArgs = extra_args(version, args),
    extraVolumes = #volumes > 0 and json.array(volumes) or nil }
end

-- A leader whose heartbeats a slow disk or a busy neighbour holds up for a second is none any more by etcd's defaults, and an election
-- fails requests. These are what OpenShift gives etcd on Azure (cluster-etcd-operator, SlowerHardwareSpeed).
local ETCD = { ["quota-backend-bytes"] = "8589934592", ["heartbeat-interval"] = "500", ["election-timeout"] = "2500" }

-- kubeadm before 1.25 takes its images from where they are no longer, unless told; between 1.21 and 1.24 another repository than
-- its own has CoreDNS elsewhere (https://kubernetes.io/blog/2023/03/10/image-registry-redirect/).
local function images(f)
  local minor = release.minor(f.version)
  if f.image_repository or minor >= 25 then return f.image_repository, nil end
  return "registry.k8s.io", minor >= 21 and { imageRepository = "registry.k8s.io/coredns" } or nil
end

-- Where the kernel's table of connections is not the host's to size, kube-proxy would end trying.
local function proxy()
  return { apiVersion = "kubeproxy.config.k8s.io/v1alpha1", kind = "KubeProxyConfiguration", conntrack = { maxPerCore = 0 } }
end

--- The documents of `kubeadm init`. f: version, node_name, address, endpoint, port, names, cluster_name, pods, services, domain,
-- encryption, audit, cloud_provider, image_repository, fixed_conntrack (the kernel's table of connections stays as it is).
function M.init(f)
  local version, api = f.version, M.api_version(f.version)
  local controller = { ["bind-address"] = "127.0.0.1" }
  if f.cloud_provider then
    controller["cloud-provider"], controller["allocate-node-cidrs"] = "external", "true"
  end
  local repository, dns = images(f)
  return json.array {
    { apiVersion = api, kind = "InitConfiguration", localAPIEndpoint = { advertiseAddress = f.address, bindPort = f.port },
      nodeRegistration = registration(version, f) },
    { apiVersion = api, kind = "ClusterConfiguration", clusterName = f.cluster_name,
      kubernetesVersion = "v" .. version:gsub("^v", ""), controlPlaneEndpoint = ("%s:%d"):format(f.endpoint, f.port),
      imageRepository = repository, dns = dns, networking = { podSubnet = f.pods, serviceSubnet = f.services, dnsDomain = f.domain },
      apiServer = api_server(version, f), controllerManager = { extraArgs = extra_args(version, controller) },
      etcd = { ["local"] = { dataDir = "/var/lib/etcd", extraArgs = extra_args(version, ETCD) } } },
    kubelet(),
    f.fixed_conntrack and proxy() or nil,
  }
end

--- The document of `kubeadm join`. f: version, node_name, address, endpoint, port, token, ca_hash, certificate_key (a control
-- plane joins), cloud_provider.
function M.join(f)
  return { apiVersion = M.api_version(f.version), kind = "JoinConfiguration",
    discovery = { bootstrapToken = { apiServerEndpoint = ("%s:%d"):format(f.endpoint, f.port), token = f.token,
      caCertHashes = json.array { f.ca_hash } } },
    nodeRegistration = registration(f.version, f),
    controlPlane = f.certificate_key and { localAPIEndpoint = { advertiseAddress = f.address, bindPort = f.port },
      certificateKey = f.certificate_key } or nil }
end

return M
