--- Kubeconfigs, static pod manifests and the kubelet's files of a machine, as kubeadm writes them.
local crypto = require "crypto"
local json = require "json"
local yaml = require "yaml"
local value = require "emulator.kubernetes.value"
local config = require "emulator.kubeadm.config"
local files = require "emulator.kubeadm.files"
local pki = require "emulator.kubeadm.pki"
local release = require "emulator.kubeadm.release"

local layout = {}

--- A kubeconfig's text. user: {cert=, key=} or {token=}.
function layout.kubeconfig(server, ca, cluster_name, user_name, user)
  local credentials = user.token and { token = user.token }
    or { ["client-certificate-data"] = crypto.base64(user.cert), ["client-key-data"] = crypto.base64(user.key) }
  local context = user_name .. "@" .. cluster_name
  return yaml.encode { apiVersion = "v1", kind = "Config", preferences = {}, ["current-context"] = context,
    clusters = json.array { { name = cluster_name, cluster = { ["certificate-authority-data"] = crypto.base64(ca), server = server } } },
    contexts = json.array { { name = context, context = { cluster = cluster_name, user = user_name } } },
    users = json.array { { name = user_name, user = credentials } } }
end

local function identities(ctx, name)
  return {
    ["admin.conf"] = { "kubernetes-admin", ctx.minor >= 29 and { "kubeadm:cluster-admins" } or { "system:masters" } },
    ["super-admin.conf"] = { "kubernetes-super-admin", { "system:masters" } },
    ["kubelet.conf"] = { "system:node:" .. name, { "system:nodes" } },
    ["controller-manager.conf"] = { "system:kube-controller-manager" },
    ["scheduler.conf"] = { "system:kube-scheduler" },
  }
end

--- Writes one kubeconfig with a fresh certificate.
function layout.write_kubeconfig(ctx, c, file, ca)
  local who = identities(ctx, c.init.nodeRegistration.name)[file]
  local pair = crypto.x509_issue { ca = ca, cn = who[1], o = who[2], days = pki.leaf_days(c), usage = { "client" } }
  local host, port = config.endpoint(c)
  if file == "controller-manager.conf" or file == "scheduler.conf" then
    host, port = c.init.localAPIEndpoint.advertiseAddress, c.init.localAPIEndpoint.bindPort or 6443
  end
  return files.write(ctx.machine, "/etc/kubernetes/" .. file, layout.kubeconfig(("https://%s:%d"):format(host, port), ca.cert,
    c.cluster.clusterName, who[1], pair), true)
end

--- All kubeconfigs of a control plane. kubelet: also the kubelet's own (a first control plane has no bootstrap).
function layout.kubeconfigs(ctx, c, ca, kubelet)
  ctx:say('[kubeconfig] Using kubeconfig folder "/etc/kubernetes"')
  local list = { "admin.conf" }
  if kubelet and ctx.minor >= 29 then list[#list + 1] = "super-admin.conf" end
  if kubelet then list[#list + 1] = "kubelet.conf" end
  list[#list + 1], list[#list + 2] = "controller-manager.conf", "scheduler.conf"
  for _, file in ipairs(list) do
    if files.exists(ctx.machine, "/etc/kubernetes/" .. file) then
      ctx:say(('[kubeconfig] Using existing kubeconfig file: "/etc/kubernetes/%s"'):format(file))
    else
      ctx:say(('[kubeconfig] Writing "%s" kubeconfig file'):format(file))
      layout.write_kubeconfig(ctx, c, file, ca)
    end
  end
end

-- Manifests

local function host_path(name, path, kind) return { name = name, hostPath = { path = path, type = kind } } end
local function mount(name, path, read_only) return { name = name, mountPath = path, readOnly = read_only } end

local function probe(host, path, port, scheme)
  return { failureThreshold = 8, initialDelaySeconds = 10, periodSeconds = 10, timeoutSeconds = 15,
    httpGet = { host = host, path = path, port = port, scheme = scheme } }
end

local function pod(name, image, command, cpu, volumes, mounts, live, annotations)
  local words = json.array { name }
  for _, k in ipairs(value.keys(command)) do words[#words + 1] = "--" .. k .. "=" .. command[k] end
  local spec = { hostNetwork = true, priorityClassName = "system-node-critical", securityContext = { seccompProfile = { type = "RuntimeDefault" } },
    containers = json.array { { name = name, image = image, imagePullPolicy = "IfNotPresent", command = words,
      resources = { requests = { cpu = cpu } }, volumeMounts = json.array(mounts), livenessProbe = live } }, volumes = json.array(volumes) }
  return yaml.encode { apiVersion = "v1", kind = "Pod", metadata = { name = name, namespace = "kube-system",
    labels = { component = name, tier = "control-plane" }, annotations = annotations }, spec = spec }
end

local function overlay(command, extra)
  for k, v in pairs(config.args(extra)) do command[k] = v end
  return command
end

local function extra_volumes(component, volumes, mounts)
  for _, v in ipairs(component and component.extraVolumes or {}) do
    volumes[#volumes + 1] = host_path(v.name, v.hostPath, v.pathType or "")
    mounts[#mounts + 1] = mount(v.name, v.mountPath, v.readOnly)
  end
end

local function certificates()
  return { host_path("ca-certs", "/etc/ssl/certs", "DirectoryOrCreate"), host_path("k8s-certs", "/etc/kubernetes/pki", "DirectoryOrCreate") },
    { mount("ca-certs", "/etc/ssl/certs", true), mount("k8s-certs", "/etc/kubernetes/pki", true) }
end

local function api_server(c, images)
  local address, port = c.init.localAPIEndpoint.advertiseAddress, c.init.localAPIEndpoint.bindPort or 6443
  local P = "/etc/kubernetes/pki/"
  local command = overlay({ ["advertise-address"] = address, ["allow-privileged"] = "true", ["authorization-mode"] = "Node,RBAC",
    ["client-ca-file"] = P .. "ca.crt", ["enable-admission-plugins"] = "NodeRestriction", ["enable-bootstrap-token-auth"] = "true",
    ["etcd-cafile"] = P .. "etcd/ca.crt", ["etcd-certfile"] = P .. "apiserver-etcd-client.crt", ["etcd-keyfile"] = P .. "apiserver-etcd-client.key",
    ["etcd-servers"] = "https://127.0.0.1:2379", ["kubelet-client-certificate"] = P .. "apiserver-kubelet-client.crt",
    ["kubelet-client-key"] = P .. "apiserver-kubelet-client.key", ["kubelet-preferred-address-types"] = "InternalIP,ExternalIP,Hostname",
    ["proxy-client-cert-file"] = P .. "front-proxy-client.crt", ["proxy-client-key-file"] = P .. "front-proxy-client.key",
    ["requestheader-allowed-names"] = "front-proxy-client", ["requestheader-client-ca-file"] = P .. "front-proxy-ca.crt",
    ["requestheader-extra-headers-prefix"] = "X-Remote-Extra-", ["requestheader-group-headers"] = "X-Remote-Group",
    ["requestheader-username-headers"] = "X-Remote-User", ["secure-port"] = tostring(port),
    ["service-account-issuer"] = "https://kubernetes.default.svc." .. c.cluster.networking.dnsDomain,
    ["service-account-key-file"] = P .. "sa.pub", ["service-account-signing-key-file"] = P .. "sa.key",
    ["service-cluster-ip-range"] = c.cluster.networking.serviceSubnet, ["tls-cert-file"] = P .. "apiserver.crt",
    ["tls-private-key-file"] = P .. "apiserver.key" }, c.cluster.apiServer.extraArgs)
  local volumes, mounts = certificates()
  extra_volumes(c.cluster.apiServer, volumes, mounts)
  return pod("kube-apiserver", images["kube-apiserver"], command, "250m", volumes, mounts, probe(address, "/livez", port, "HTTPS"),
    { ["kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint"] = ("%s:%d"):format(address, port) })
end

local function controller_manager(c, images)
  local P, F = "/etc/kubernetes/pki/", "/etc/kubernetes/controller-manager.conf"
  local command = { ["authentication-kubeconfig"] = F, ["authorization-kubeconfig"] = F, ["bind-address"] = "127.0.0.1",
    ["client-ca-file"] = P .. "ca.crt", ["cluster-name"] = c.cluster.clusterName, ["cluster-signing-cert-file"] = P .. "ca.crt",
    ["cluster-signing-key-file"] = P .. "ca.key", controllers = "*,bootstrapsigner,tokencleaner", kubeconfig = F, ["leader-elect"] = "true",
    ["requestheader-client-ca-file"] = P .. "front-proxy-ca.crt", ["root-ca-file"] = P .. "ca.crt",
    ["service-account-private-key-file"] = P .. "sa.key", ["use-service-account-credentials"] = "true" }
  if c.cluster.networking.podSubnet then
    command["allocate-node-cidrs"], command["cluster-cidr"] = "true", c.cluster.networking.podSubnet
    command["service-cluster-ip-range"] = c.cluster.networking.serviceSubnet
  end
  local volumes, mounts = certificates()
  volumes[#volumes + 1], mounts[#mounts + 1] = host_path("kubeconfig", F, "FileOrCreate"), mount("kubeconfig", F, true)
  extra_volumes(c.cluster.controllerManager, volumes, mounts)
  return pod("kube-controller-manager", images["kube-controller-manager"], overlay(command, c.cluster.controllerManager and c.cluster.controllerManager.extraArgs),
    "200m", volumes, mounts, probe("127.0.0.1", "/healthz", 10257, "HTTPS"))
end

local function scheduler(c, images)
  local F = "/etc/kubernetes/scheduler.conf"
  local command = { ["authentication-kubeconfig"] = F, ["authorization-kubeconfig"] = F, ["bind-address"] = "127.0.0.1", kubeconfig = F,
    ["leader-elect"] = "true" }
  local volumes, mounts = { host_path("kubeconfig", F, "FileOrCreate") }, { mount("kubeconfig", F, true) }
  extra_volumes(c.cluster.scheduler, volumes, mounts)
  return pod("kube-scheduler", images["kube-scheduler"], overlay(command, c.cluster.scheduler and c.cluster.scheduler.extraArgs), "100m",
    volumes, mounts, probe("127.0.0.1", "/healthz", 10259, "HTTPS"))
end

local function etcd(c, images, members)
  local P = "/etc/kubernetes/pki/etcd/"
  local address, name = c.init.localAPIEndpoint.advertiseAddress, c.init.nodeRegistration.name
  local settings = c.cluster.etcd and c.cluster.etcd["local"] or {}
  local data = settings.dataDir or "/var/lib/etcd"
  local initial = {}
  for _, m in ipairs(members or {}) do initial[#initial + 1] = m.name .. "=" .. m.peer end
  if not members then initial[1] = ("%s=https://%s:2380"):format(name, address) end
  local command = { ["advertise-client-urls"] = ("https://%s:2379"):format(address), ["cert-file"] = P .. "server.crt", ["client-cert-auth"] = "true",
    ["data-dir"] = data, ["initial-advertise-peer-urls"] = ("https://%s:2380"):format(address), ["initial-cluster"] = table.concat(initial, ","),
    ["key-file"] = P .. "server.key", ["listen-client-urls"] = ("https://127.0.0.1:2379,https://%s:2379"):format(address),
    ["listen-metrics-urls"] = "http://127.0.0.1:2381", ["listen-peer-urls"] = ("https://%s:2380"):format(address), name = name,
    ["peer-cert-file"] = P .. "peer.crt", ["peer-client-cert-auth"] = "true", ["peer-key-file"] = P .. "peer.key",
    ["peer-trusted-ca-file"] = P .. "ca.crt", ["snapshot-count"] = "10000", ["trusted-ca-file"] = P .. "ca.crt" }
  if members then command["initial-cluster-state"] = "existing" end
  local image = images.etcd
  if settings.imageRepository then image = settings.imageRepository .. "/etcd:" .. (settings.imageTag or image:match(":([^:]+)$")) end
  return pod("etcd", image, overlay(command, settings.extraArgs), "100m",
    { host_path("etcd-certs", "/etc/kubernetes/pki/etcd", "DirectoryOrCreate"), host_path("etcd-data", data, "DirectoryOrCreate") },
    { mount("etcd-data", data), mount("etcd-certs", "/etc/kubernetes/pki/etcd") }, probe("127.0.0.1", "/readyz", 2381, "HTTP"),
    { ["kubeadm.kubernetes.io/etcd.advertise-client-urls"] = ("https://%s:2379"):format(address) })
end

local FOLDER = "/etc/kubernetes/manifests/"

local function images_of(c)
  local images = release.images(c.cluster.kubernetesVersion, c.cluster.imageRepository)
  local e = c.cluster.etcd and c.cluster.etcd["local"]
  if e and e.imageTag and not e.imageRepository then images.etcd = images.etcd:gsub(":[^:]+$", ":" .. e.imageTag) end
  return images
end

--- The manifests of API server, controller manager and scheduler.
function layout.control_plane(ctx, c)
  local images = images_of(c)
  ctx:say('[control-plane] Using manifest folder "/etc/kubernetes/manifests"')
  for _, e in ipairs { { "kube-apiserver", api_server }, { "kube-controller-manager", controller_manager }, { "kube-scheduler", scheduler } } do
    ctx:say(('[control-plane] Creating static Pod manifest for "%s"'):format(e[1]))
    files.write(ctx.machine, FOLDER .. e[1] .. ".yaml", e[2](c, images), true)
  end
end

--- etcd's manifest; members: of the cluster that it joins.
function layout.etcd(ctx, c, members)
  files.write(ctx.machine, FOLDER .. "etcd.yaml", etcd(c, images_of(c), members), true)
end

--- The kubelet's environment and configuration files.
function layout.kubelet(ctx, c, kubelet_config)
  local r = c.init.nodeRegistration
  local args = {}
  if ctx.minor < 24 then
    args["container-runtime"] = "remote"
    args["container-runtime-endpoint"] = r.criSocket
  elseif ctx.minor < 36 then
    args["container-runtime-endpoint"] = r.criSocket
  end
  if ctx.minor < 35 and ctx.minor >= 22 then args["pod-infra-container-image"] = images_of(c).pause end
  for k, v in pairs(config.args(r.kubeletExtraArgs)) do args[k] = v end
  if r.name ~= ctx.machine.hostname:lower() then args["hostname-override"] = r.name end
  local taints = {}
  for _, t in ipairs(r.taints or {}) do taints[#taints + 1] = ("%s=%s:%s"):format(t.key, t.value or "", t.effect) end
  if #taints > 0 then args["register-with-taints"] = table.concat(taints, ",") end
  local words = {}
  for _, k in ipairs(value.keys(args)) do words[#words + 1] = "--" .. k .. "=" .. args[k] end
  local function env()
    ctx:say('[kubelet-start] Writing kubelet environment file with flags to file "/var/lib/kubelet/kubeadm-flags.env"')
    files.write(ctx.machine, "/var/lib/kubelet/kubeadm-flags.env", ('KUBELET_KUBEADM_ARGS="%s"\n'):format(table.concat(words, " ")))
  end
  local function file()
    ctx:say('[kubelet-start] Writing kubelet configuration to file "/var/lib/kubelet/config.yaml"')
    files.write(ctx.machine, "/var/lib/kubelet/config.yaml", yaml.encode(kubelet_config))
  end
  if ctx.joining then
    file()
    env()
  else
    env()
    file()
  end
end

return layout
