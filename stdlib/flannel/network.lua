--- Flannel: the pod network, by VXLAN.
local field, json, set = require "field", require "json", require "kubernetes.set"
local survey = require "kubeadm.survey"

local NAMESPACE = "kube-flannel"
local LABELS = { ["app.kubernetes.io/name"] = "flannel", ["k8s-app"] = "flannel" }

local function meta(name, namespaced)
  return { name = name, namespace = namespaced and NAMESPACE or nil, labels = LABELS }
end

local function rbac()
  local rules = json.array {
    { apiGroups = json.array { "" }, resources = json.array { "pods" }, verbs = json.array { "get" } },
    { apiGroups = json.array { "" }, resources = json.array { "nodes" }, verbs = json.array { "get", "list", "watch" } },
    { apiGroups = json.array { "" }, resources = json.array { "nodes/status" }, verbs = json.array { "patch" } },
  }
  return { apiVersion = "rbac.authorization.k8s.io/v1", kind = "ClusterRole", metadata = meta("flannel"), rules = rules },
    { apiVersion = "rbac.authorization.k8s.io/v1", kind = "ClusterRoleBinding", metadata = meta("flannel"),
      roleRef = { apiGroup = "rbac.authorization.k8s.io", kind = "ClusterRole", name = "flannel" },
      subjects = json.array { { kind = "ServiceAccount", name = "flannel", namespace = NAMESPACE } } }
end

local function settings(f)
  local cni = { name = "cbr0", cniVersion = "1.0.0", plugins = json.array {
    { type = "flannel", delegate = { hairpinMode = true, isDefaultGateway = true } },
    { type = "portmap", capabilities = { portMappings = true } } } }
  local net = { Network = f.pods, EnableNFTables = false, Backend = { Type = "vxlan" } }
  return { apiVersion = "v1", kind = "ConfigMap", metadata = meta("kube-flannel-cfg", true),
    data = { ["cni-conf.json"] = json.encode(cni, { sort = true }), ["net-conf.json"] = json.encode(net, { sort = true }) } }
end

local function host_path(name, path, kind) return { name = name, hostPath = { path = path, type = kind } } end

local function mount(name, path) return { name = name, mountPath = path } end

local function copier(name, image, from, to, volumes)
  return { name = name, image = image, command = json.array { "cp" }, args = json.array { "-f", from, to }, volumeMounts = volumes }
end

local function field_env(name, path)
  return { name = name, valueFrom = { fieldRef = { apiVersion = "v1", fieldPath = path } } }
end

local function daemon(f)
  local main = {
    name = "kube-flannel", image = f.image, command = json.array { "/opt/bin/flanneld" },
    args = json.array { "--ip-masq", "--kube-subnet-mgr", "--healthz-port=8081" },
    env = json.array { field_env("POD_NAME", "metadata.name"), field_env("POD_NAMESPACE", "metadata.namespace"),
      { name = "EVENT_QUEUE_DEPTH", value = "5000" } },
    livenessProbe = { httpGet = { path = "/healthz", port = 8081 }, initialDelaySeconds = 30, periodSeconds = 10 },
    resources = { requests = { cpu = "100m", memory = "50Mi" } },
    securityContext = { privileged = false, capabilities = { add = json.array { "NET_ADMIN", "NET_RAW" } } },
    volumeMounts = json.array { mount("run", "/run/flannel"), mount("flannel-cfg", "/etc/kube-flannel/"),
      mount("xtables-lock", "/run/xtables.lock") },
  }
  local spec = {
    hostNetwork = true, priorityClassName = "system-node-critical", serviceAccountName = "flannel",
    tolerations = json.array { { effect = "NoSchedule", operator = "Exists" } },
    affinity = { nodeAffinity = { requiredDuringSchedulingIgnoredDuringExecution = { nodeSelectorTerms = json.array {
      { matchExpressions = json.array { { key = "kubernetes.io/os", operator = "In", values = json.array { "linux" } } } } } } } },
    initContainers = json.array {
      copier("install-cni-plugin", f.plugin_image, "/flannel", "/opt/cni/bin/flannel",
        json.array { mount("cni-plugin", "/opt/cni/bin") }),
      copier("install-cni", f.image, "/etc/kube-flannel/cni-conf.json", "/etc/cni/net.d/10-flannel.conflist",
        json.array { mount("cni", "/etc/cni/net.d"), mount("flannel-cfg", "/etc/kube-flannel/") }),
    },
    containers = json.array { main },
    volumes = json.array { host_path("run", "/run/flannel"), host_path("cni-plugin", "/opt/cni/bin"),
      host_path("cni", "/etc/cni/net.d"), { name = "flannel-cfg", configMap = { name = "kube-flannel-cfg" } },
      host_path("xtables-lock", "/run/xtables.lock", "FileOrCreate") },
  }
  return { apiVersion = "apps/v1", kind = "DaemonSet", metadata = meta("kube-flannel-ds", true), spec = {
    selector = { matchLabels = LABELS }, template = { metadata = { labels = LABELS }, spec = spec } } }
end

return set.define "flannel.network" {
  doc = "Flannel as the pod network.",
  fields = {
    pods = field.cidr { required = true, doc = "The pods' network: kubeadm's podSubnet." },
    version = field.string { ignore = true,
      doc = "The release of a kubeadm cluster: what changes of flannel comes when its control planes are at that." },
    image = field.string { default = "ghcr.io/flannel-io/flannel:v0.28.9" },
    plugin_image = field.string { default = "ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3" },
    -- Its pods need Nodes, and Nodes need it: whoever waits for the Nodes waits for both.
    wait = field.boolean { default = false, ignore = true },
  },
  timeouts = { read = 120, create = 600, update = 600 + survey.UPGRADE, delete = 300 },
  -- Only once it is there: a cluster that is made waits for its network.
  before = function(ctx, api)
    if ctx.prior and ctx.fields.version then survey.wait_for(ctx, api, ctx.fields.version) end
  end,
  objects = function(ctx)
    local f = ctx.fields
    local role, binding = rbac()
    local namespace = { apiVersion = "v1", kind = "Namespace", metadata = { name = NAMESPACE,
      labels = { ["pod-security.kubernetes.io/enforce"] = "privileged" } } }
    local account = { apiVersion = "v1", kind = "ServiceAccount", metadata = meta("flannel", true) }
    return { namespace, account, role, binding, settings(f), daemon(f) }
  end,
}
