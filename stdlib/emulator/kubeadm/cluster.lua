--- What kubeadm puts into a cluster through its API: configuration, tokens, roles, certificates, addons.
local crypto = require "crypto"
local json = require "json"
local task = require "task"
local yaml = require "yaml"
local value = require "emulator.kubernetes.value"
local ip = require "emulator.kubernetes.ip"
local config = require "emulator.kubeadm.config"
local files = require "emulator.kubeadm.files"
local pki = require "emulator.kubeadm.pki"
local layout = require "emulator.kubeadm.layout"
local release = require "emulator.kubeadm.release"

local cluster = {}

local GROUP = "rbac.authorization.k8s.io"
local NODES = "system:bootstrappers:kubeadm:default-node-token"

local function must(ctx, phase, answer, why)
  if answer == nil then ctx:fail(("error execution phase %s: %s"):format(phase, tostring(why))) end
  return answer
end

local function put(ctx, api, phase, path, object) return must(ctx, phase, api:put(path, object)) end

local function namespaced(kind, namespace) return ("/apis/%s/v1/namespaces/%s/%s"):format(GROUP, namespace, kind) end

local function role(ctx, api, phase, name, namespace, rules, group)
  local path = namespace and namespaced("roles", namespace) or "/apis/" .. GROUP .. "/v1/clusterroles"
  put(ctx, api, phase, path, { apiVersion = GROUP .. "/v1", kind = namespace and "Role" or "ClusterRole",
    metadata = { name = name, namespace = namespace }, rules = json.array(rules) })
  local bindings = namespace and namespaced("rolebindings", namespace) or "/apis/" .. GROUP .. "/v1/clusterrolebindings"
  put(ctx, api, phase, bindings, { apiVersion = GROUP .. "/v1", kind = namespace and "RoleBinding" or "ClusterRoleBinding",
    metadata = { name = name, namespace = namespace }, roleRef = { apiGroup = GROUP, kind = namespace and "Role" or "ClusterRole", name = name },
    subjects = json.array(value.map(type(group) == "table" and group or { group }, function(g)
      return { apiGroup = GROUP, kind = g:match("^User:") and "User" or "Group", name = g:gsub("^User:", "") }
    end)) })
end

local function bind(ctx, api, phase, name, to, group)
  put(ctx, api, phase, "/apis/" .. GROUP .. "/v1/clusterrolebindings", { apiVersion = GROUP .. "/v1", kind = "ClusterRoleBinding",
    metadata = { name = name }, roleRef = { apiGroup = GROUP, kind = "ClusterRole", name = to },
    subjects = json.array { { apiGroup = GROUP, kind = group:match("^User:") and "User" or "Group", name = (group:gsub("^User:", "")) } } })
end

local function rule(verbs, groups, resources, names)
  return { verbs = json.array(verbs), apiGroups = json.array(groups), resources = json.array(resources), resourceNames = names and json.array(names) or nil }
end

local function config_map(name, data, namespace)
  return { apiVersion = "v1", kind = "ConfigMap", metadata = { name = name, namespace = namespace or "kube-system" }, data = data }
end

local MAPS = "/api/v1/namespaces/kube-system/configmaps"

--- The ConfigMap with the cluster's configuration. nodes: 1.20 also lists the control planes.
function cluster.upload_config(ctx, api, c)
  ctx:say('[upload-config] Storing the configuration used in ConfigMap "kubeadm-config" in the "kube-system" Namespace')
  local document = value.copy(c.cluster)
  local apis = release.apis(ctx.minor)
  document.apiVersion, document.kind = "kubeadm.k8s.io/" .. apis[#apis], "ClusterConfiguration"
  local data = { ClusterConfiguration = yaml.encode(document) }
  if ctx.minor < 22 then
    local old = api:call("GET", MAPS .. "/kubeadm-config")
    local status = yaml.decode(old and old.data.ClusterStatus or "") or {}
    local endpoints = type(status) == "table" and status.apiEndpoints or {}
    endpoints[c.init.nodeRegistration.name] = { advertiseAddress = c.init.localAPIEndpoint.advertiseAddress, bindPort = c.init.localAPIEndpoint.bindPort }
    data.ClusterStatus = yaml.encode { apiVersion = document.apiVersion, kind = "ClusterStatus", apiEndpoints = endpoints }
  end
  put(ctx, api, "upload-config/kubeadm", MAPS, config_map("kubeadm-config", data))
  role(ctx, api, "upload-config/kubeadm", "kubeadm:nodes-kubeadm-config", "kube-system", { rule({ "get" }, { "" }, { "configmaps" }, { "kubeadm-config" }) },
    { "system:nodes", NODES })
end

--- The ConfigMap with the kubelets' configuration.
function cluster.upload_kubelet(ctx, api, c)
  local name = release.kubelet_config(c.cluster.kubernetesVersion)
  ctx:say(('[kubelet] Creating a ConfigMap "%s" in namespace kube-system with the configuration for the kubelets in the cluster'):format(name))
  put(ctx, api, "upload-config/kubelet", MAPS, config_map(name, { kubelet = yaml.encode(config.kubelet_file(c)) }))
  role(ctx, api, "upload-config/kubelet", "kubeadm:" .. name, "kube-system", { rule({ "get" }, { "" }, { "configmaps" }, { name }) }, { "system:nodes", NODES })
end

local SECRETS = "/api/v1/namespaces/kube-system/secrets"

local function token_secret(t)
  local id, secret = t.token:match("^(.-)%.(.+)$")
  local data = { ["token-id"] = id, ["token-secret"] = secret }
  local ttl = value.duration(t.ttl)
  if t.expires then data.expiration = t.expires elseif ttl and ttl > 0 then data.expiration = value.time(task.time() + ttl) end
  for _, u in ipairs(t.usages or {}) do data["usage-bootstrap-" .. u] = "true" end
  if t.groups and #t.groups > 0 then data["auth-extra-groups"] = table.concat(t.groups, ",") end
  if t.description and t.description ~= "" then data.description = t.description end
  for k, v in pairs(data) do data[k] = crypto.base64(v) end
  return { apiVersion = "v1", kind = "Secret", type = "bootstrap.kubernetes.io/token", metadata = { name = "bootstrap-token-" .. id, namespace = "kube-system" },
    data = data }
end

--- Puts a bootstrap token into the cluster: {token, ttl, usages, groups, description}.
function cluster.add_token(ctx, api, phase, t)
  return put(ctx, api, phase, SECRETS, token_secret(t))
end

--- Uploads the shared certificates, sealed with a fresh or given key; returns the key.
function cluster.upload_certs(ctx, api, key)
  key = key and key ~= "" and key or crypto.hex(crypto.random(32))
  if #key ~= 64 or not key:match("^%x+$") then ctx:fail("error execution phase upload-certs: error uploading certs: error decoding certificate key: encoding/hex: invalid byte") end
  ctx:say('[upload-certs] Storing the certificates in Secret "kubeadm-certs" in the "kube-system" Namespace')
  local data = {}
  for name, path in pairs(pki.shared) do
    local text = files.read(ctx.machine, pki.FOLDER .. "/" .. path)
    if not text then
      ctx:fail(("error execution phase upload-certs: error uploading certs: open %s/%s: no such file or directory"):format(pki.FOLDER, path))
    end
    data[name] = crypto.base64(pki.seal(key, text))
  end
  -- a token without use whose end takes the Secret along
  local short = cluster.add_token(ctx, api, "upload-certs", { token = config.new_token(), ttl = "2h", usages = {}, groups = {},
    description = "Proxy for managing TTL for the kubeadm-certs secret" })
  put(ctx, api, "upload-certs", SECRETS, { apiVersion = "v1", kind = "Secret", type = "Opaque", metadata = { name = "kubeadm-certs", namespace = "kube-system",
    ownerReferences = json.array { { apiVersion = "v1", kind = "Secret", name = short.metadata.name, uid = short.metadata.uid, controller = true,
      blockOwnerDeletion = true } } }, data = data })
  role(ctx, api, "upload-certs", "kubeadm:kubeadm-certs", "kube-system", { rule({ "get" }, { "" }, { "secrets" }, { "kubeadm-certs" }) }, NODES)
  ctx:say("[upload-certs] Using certificate key:")
  ctx:say(ctx.flags["skip-certificate-key-print"] and "(not printed)" or key)
  return key
end

--- Labels and taints of a control plane's node.
function cluster.mark(ctx, api, c)
  local name = c.init.nodeRegistration.name
  local labels = { ["node-role.kubernetes.io/control-plane"] = "", ["node.kubernetes.io/exclude-from-external-load-balancers"] = "" }
  local taint = "node-role.kubernetes.io/control-plane"
  if ctx.minor < 24 then
    taint = "node-role.kubernetes.io/master"
    labels[taint] = ""
  end
  if ctx.minor < 22 then
    labels["node.kubernetes.io/exclude-from-external-load-balancers"] = nil
    ctx:say(('[mark-control-plane] Marking the node %s as control-plane by adding the labels "node-role.kubernetes.io/master=\'\'" and '
      .. '"node-role.kubernetes.io/control-plane=\'\' (deprecated)"'):format(name))
  else
    local keys = value.keys(labels)
    ctx:say(("[mark-control-plane] Marking the node %s as control-plane by adding the labels: [%s]"):format(name, table.concat(keys, " ")))
  end
  local taints = c.init.nodeRegistration.taints or { { key = taint, effect = "NoSchedule" } }
  if #taints > 0 then
    local words = {}
    for i, t in ipairs(taints) do words[i] = t.key .. ":" .. t.effect end
    ctx:say(("[mark-control-plane] Marking the node %s as control-plane by adding the taints [%s]"):format(name, table.concat(words, " ")))
  end
  local node = must(ctx, "mark-control-plane", api:call("GET", "/api/v1/nodes/" .. name))
  local list = json.array {}
  for _, t in ipairs(value.get(node, "spec", "taints") or {}) do list[#list + 1] = t end
  for _, t in ipairs(taints) do
    if not value.find(list, "key", t.key) then list[#list + 1] = t end
  end
  must(ctx, "mark-control-plane", api:call("PATCH", "/api/v1/nodes/" .. name, { metadata = { labels = labels, annotations = {
    ["kubeadm.alpha.kubernetes.io/cri-socket"] = c.init.nodeRegistration.criSocket } }, spec = #list > 0 and { taints = list } or nil },
    "application/merge-patch+json"))
end

--- Bootstrap tokens with the roles that they need, and cluster-info.
function cluster.bootstrap_tokens(ctx, api, c, ca)
  local phase, new = "bootstrap-token", ctx.minor >= 22
  local word = new and "Configured" or "configured"
  for _, t in ipairs(c.init.bootstrapTokens) do
    if not ctx.flags["skip-token-print"] then ctx:say("[bootstrap-token] Using token: " .. t.token) end
    if ctx.flags["skip-token-print"] then ctx:say("[bootstrap-token] Using token: " .. t.token:sub(1, 6) .. ".****************") end
  end
  ctx:say("[bootstrap-token] Configuring bootstrap tokens, cluster-info ConfigMap, RBAC Roles")
  for _, t in ipairs(c.init.bootstrapTokens) do cluster.add_token(ctx, api, phase, t) end
  ctx:say(("[bootstrap-token] %s RBAC rules to allow Node Bootstrap tokens to get nodes"):format(word))
  role(ctx, api, phase, "kubeadm:get-nodes", nil, { rule({ "get" }, { "" }, { "nodes" }) }, NODES)
  ctx:say(("[bootstrap-token] %s RBAC rules to allow Node Bootstrap tokens to post CSRs in order for nodes to get long term certificate credentials"):format(word))
  bind(ctx, api, phase, "kubeadm:kubelet-bootstrap", "system:node-bootstrapper", NODES)
  ctx:say(("[bootstrap-token] %s RBAC rules to allow the csrapprover controller automatically approve CSRs from a Node Bootstrap Token"):format(word))
  bind(ctx, api, phase, "kubeadm:node-autoapprove-bootstrap", "system:certificates.k8s.io:certificatesigningrequests:nodeclient", NODES)
  ctx:say(("[bootstrap-token] %s RBAC rules to allow certificate rotation for all node client certificates in the cluster"):format(word))
  bind(ctx, api, phase, "kubeadm:node-autoapprove-certificate-rotation", "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", "system:nodes")
  ctx:say('[bootstrap-token] Creating the "cluster-info" ConfigMap in the "kube-public" namespace')
  local host, port = config.endpoint(c)
  local info = yaml.encode { apiVersion = "v1", kind = "Config", preferences = {}, ["current-context"] = "", contexts = json.array {}, users = json.array {},
    clusters = json.array { { name = "", cluster = { ["certificate-authority-data"] = crypto.base64(ca), server = ("https://%s:%d"):format(host, port) } } } }
  put(ctx, api, phase, "/api/v1/namespaces/kube-public/configmaps", config_map("cluster-info", { kubeconfig = info }, "kube-public"))
  role(ctx, api, phase, "kubeadm:bootstrap-signer-clusterinfo", "kube-public", { rule({ "get" }, { "" }, { "configmaps" }, { "cluster-info" }) }, "User:system:anonymous")
end

--- From 1.29 on admin.conf is bound to a group by a binding, made with super-admin.conf.
function cluster.bind_admins(ctx, api)
  if ctx.minor >= 29 then bind(ctx, api, "wait-control-plane", "kubeadm:cluster-admins", "cluster-admin", "kubeadm:cluster-admins") end
end

local function account(name) return { apiVersion = "v1", kind = "ServiceAccount", metadata = { name = name, namespace = "kube-system" } } end

local function coredns(ctx, api, c, images)
  local labels = { ["k8s-app"] = "kube-dns" }
  local domain = c.cluster.networking.dnsDomain
  local base = "/api/v1/namespaces/kube-system/"
  put(ctx, api, "addon/coredns", base .. "serviceaccounts", account "coredns")
  put(ctx, api, "addon/coredns", MAPS, config_map("coredns", { Corefile = (".:53 {\n    errors\n    health {\n       lameduck 5s\n    }\n    ready\n"
    .. "    kubernetes %s in-addr.arpa ip6.arpa {\n       pods insecure\n       fallthrough in-addr.arpa ip6.arpa\n       ttl 30\n    }\n"
    .. "    prometheus :9153\n    forward . /etc/resolv.conf {\n       max_concurrent 1000\n    }\n    cache 30\n    loop\n    reload\n    loadbalance\n}\n"):format(domain) }))
  put(ctx, api, "addon/coredns", "/apis/" .. GROUP .. "/v1/clusterroles", { apiVersion = GROUP .. "/v1", kind = "ClusterRole", metadata = { name = "system:coredns" },
    rules = json.array { rule({ "list", "watch" }, { "" }, { "endpoints", "services", "pods", "namespaces" }), rule({ "get" }, { "" }, { "nodes" }),
      rule({ "list", "watch" }, { "discovery.k8s.io" }, { "endpointslices" }) } })
  put(ctx, api, "addon/coredns", "/apis/" .. GROUP .. "/v1/clusterrolebindings", { apiVersion = GROUP .. "/v1", kind = "ClusterRoleBinding",
    metadata = { name = "system:coredns" }, roleRef = { apiGroup = GROUP, kind = "ClusterRole", name = "system:coredns" },
    subjects = json.array { { kind = "ServiceAccount", name = "coredns", namespace = "kube-system" } } })
  put(ctx, api, "addon/coredns", "/apis/apps/v1/namespaces/kube-system/deployments", { apiVersion = "apps/v1", kind = "Deployment",
    metadata = { name = "coredns", namespace = "kube-system", labels = labels },
    spec = { replicas = 2, selector = { matchLabels = labels }, strategy = { type = "RollingUpdate", rollingUpdate = { maxUnavailable = 1 } },
      template = { metadata = { labels = labels }, spec = { serviceAccountName = "coredns", priorityClassName = "system-cluster-critical", dnsPolicy = "Default",
        nodeSelector = { ["kubernetes.io/os"] = "linux" },
        tolerations = json.array { { key = "CriticalAddonsOnly", operator = "Exists" }, { key = "node-role.kubernetes.io/master", effect = "NoSchedule" },
          { key = "node-role.kubernetes.io/control-plane", effect = "NoSchedule" } },
        containers = json.array { { name = "coredns", image = images.coredns, args = json.array { "-conf", "/etc/coredns/Corefile" },
          resources = { limits = { memory = "170Mi" }, requests = { cpu = "100m", memory = "70Mi" } },
          ports = json.array { { name = "dns", containerPort = 53, protocol = "UDP" }, { name = "dns-tcp", containerPort = 53, protocol = "TCP" },
            { name = "metrics", containerPort = 9153, protocol = "TCP" } },
          volumeMounts = json.array { { name = "config-volume", mountPath = "/etc/coredns", readOnly = true } },
          readinessProbe = { httpGet = { path = "/ready", port = 8181, scheme = "HTTP" } } } },
        volumes = json.array { { name = "config-volume", configMap = { name = "coredns", items = json.array { { key = "Corefile", path = "Corefile" } } } } } } } } })
  put(ctx, api, "addon/coredns", base .. "services", { apiVersion = "v1", kind = "Service", metadata = { name = "kube-dns", namespace = "kube-system",
      labels = { ["k8s-app"] = "kube-dns", ["kubernetes.io/cluster-service"] = "true", ["kubernetes.io/name"] = "CoreDNS" },
      annotations = { ["prometheus.io/port"] = "9153", ["prometheus.io/scrape"] = "true" } },
    spec = { clusterIP = ip.nth(c.cluster.networking.serviceSubnet, 10), selector = labels, ports = json.array {
      { name = "dns", port = 53, protocol = "UDP", targetPort = 53 }, { name = "dns-tcp", port = 53, protocol = "TCP", targetPort = 53 },
      { name = "metrics", port = 9153, protocol = "TCP", targetPort = 9153 } } } })
end

local function kube_proxy(ctx, api, c, images)
  local labels = { ["k8s-app"] = "kube-proxy" }
  local host, port = config.endpoint(c)
  put(ctx, api, "addon/kube-proxy", "/api/v1/namespaces/kube-system/serviceaccounts", account "kube-proxy")
  put(ctx, api, "addon/kube-proxy", "/apis/" .. GROUP .. "/v1/clusterrolebindings", { apiVersion = GROUP .. "/v1", kind = "ClusterRoleBinding",
    metadata = { name = "kubeadm:node-proxier" }, roleRef = { apiGroup = GROUP, kind = "ClusterRole", name = "system:node-proxier" },
    subjects = json.array { { kind = "ServiceAccount", name = "kube-proxy", namespace = "kube-system" } } })
  local proxy = value.copy(c.proxy)
  proxy.apiVersion, proxy.kind, proxy.clusterCIDR = "kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration", c.cluster.networking.podSubnet
  put(ctx, api, "addon/kube-proxy", MAPS, config_map("kube-proxy", { ["config.conf"] = yaml.encode(proxy), ["kubeconfig.conf"] = yaml.encode {
    apiVersion = "v1", kind = "Config", ["current-context"] = "default", clusters = json.array { { name = "default", cluster = {
      ["certificate-authority"] = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt", server = ("https://%s:%d"):format(host, port) } } },
    contexts = json.array { { name = "default", context = { cluster = "default", namespace = "default", user = "default" } } },
    users = json.array { { name = "default", user = { tokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token" } } } } }))
  role(ctx, api, "addon/kube-proxy", "kube-proxy", "kube-system", { rule({ "get" }, { "" }, { "configmaps" }, { "kube-proxy" }) }, NODES)
  put(ctx, api, "addon/kube-proxy", "/apis/apps/v1/namespaces/kube-system/daemonsets", { apiVersion = "apps/v1", kind = "DaemonSet",
    metadata = { name = "kube-proxy", namespace = "kube-system", labels = labels }, spec = { selector = { matchLabels = labels },
      template = { metadata = { labels = labels }, spec = { serviceAccountName = "kube-proxy", hostNetwork = true, priorityClassName = "system-node-critical",
        nodeSelector = { ["kubernetes.io/os"] = "linux" }, tolerations = json.array { { operator = "Exists" } },
        containers = json.array { { name = "kube-proxy", image = images["kube-proxy"], securityContext = { privileged = true },
          command = json.array { "/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf", "--hostname-override=$(NODE_NAME)" },
          env = json.array { { name = "NODE_NAME", valueFrom = { fieldRef = { fieldPath = "spec.nodeName" } } } },
          volumeMounts = json.array { { name = "kube-proxy", mountPath = "/var/lib/kube-proxy" } } } },
        volumes = json.array { { name = "kube-proxy", configMap = { name = "kube-proxy" } } } } } } })
end

--- CoreDNS and kube-proxy.
function cluster.addons(ctx, api, c)
  local images = release.images(c.cluster.kubernetesVersion, c.cluster.imageRepository)
  coredns(ctx, api, c, images)
  ctx:say("[addons] Applied essential addon: CoreDNS")
  kube_proxy(ctx, api, c, images)
  ctx:say("[addons] Applied essential addon: kube-proxy")
end

--- The line that reads the configuration out of the cluster.
function cluster.reading(ctx, tag)
  if ctx.minor < 32 then
    ctx:say(("[%s] Reading configuration from the cluster..."):format(tag))
    ctx:say(("[%s] FYI: You can look at this config file with 'kubectl -n kube-system get cm kubeadm-config -o yaml'"):format(tag))
  else
    ctx:say(('[%s] Reading configuration from the "kubeadm-config" ConfigMap in namespace "kube-system"...'):format(tag))
    ctx:say(("[%s] Use 'kubeadm init phase upload-config kubeadm --config your-config-file' to re-upload it."):format(tag))
  end
end

--- The cluster's configuration out of its ConfigMaps: {cluster=, kubelet=}; nil and why.
function cluster.fetch(api, kubelet)
  local map, why, code = api:call("GET", MAPS .. "/kubeadm-config")
  if not map then return nil, why, code end
  local c = { cluster = yaml.decode(map.data.ClusterConfiguration), kubelet = {}, proxy = {}, init = {} }
  if kubelet then
    local name = release.kubelet_config(c.cluster.kubernetesVersion)
    map, why, code = api:call("GET", MAPS .. "/" .. name)
    if not map then return nil, why, code end
    c.kubelet_file = yaml.decode(map.data.kubelet)
  end
  c.cluster.apiServer = c.cluster.apiServer or {}
  return c
end

cluster.kubeconfig = layout.kubeconfig

return cluster
