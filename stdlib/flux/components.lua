--- Flux's controllers as objects: namespace, definitions, permissions, deployments. The definitions leave the fields open; the
-- controllers check what they read. A site that wants Flux's own manifest gives it to `flux.bootstrap` as `manifest`.
local json = require "json"

local M = {}

M.VERSION = "v2.9.4"
local CONTROLLERS = { ["source-controller"] = "v1.9.4", ["kustomize-controller"] = "v1.9.4", ["helm-controller"] = "v1.6.3",
  ["notification-controller"] = "v1.9.3" }
M.DEFAULT = { "source-controller", "kustomize-controller" }

local READY = { "Ready", [[.status.conditions[?(@.type=="Ready")].status]] }
local STATUS = { "Status", [[.status.conditions[?(@.type=="Ready")].message]] }
local AGE = { "Age", ".metadata.creationTimestamp", "date" }
local URL = { "URL", ".spec.url" }

-- Group, version, kind, plural, short name, category, columns.
local SOURCES, APPLIERS, NOTIFICATIONS = "fluxcd-sources", "fluxcd-appliers", "fluxcd-notifications"
local SOURCE, NOTIFICATION = "source.toolkit.fluxcd.io", "notification.toolkit.fluxcd.io"
local DEFINITIONS = {
  ["source-controller"] = {
    { SOURCE, "v1", "Bucket", "buckets", nil, SOURCES, { { "Endpoint", ".spec.endpoint" }, AGE, READY, STATUS } },
    { SOURCE, "v1", "ExternalArtifact", "externalartifacts", "ea", SOURCES, { AGE, READY, STATUS, { "Source", ".spec.sourceRef.name" } } },
    { SOURCE, "v1", "GitRepository", "gitrepositories", "gitrepo", SOURCES, { URL, AGE, READY, STATUS } },
    { SOURCE, "v1", "HelmChart", "helmcharts", "hc", SOURCES, { { "Chart", ".spec.chart" }, { "Version", ".spec.version" },
      { "Source Kind", ".spec.sourceRef.kind" }, { "Source Name", ".spec.sourceRef.name" }, AGE, READY, STATUS } },
    { SOURCE, "v1", "HelmRepository", "helmrepositories", "helmrepo", SOURCES, { URL, AGE, READY, STATUS } },
    { SOURCE, "v1", "OCIRepository", "ocirepositories", "ocirepo", SOURCES, { URL, READY, STATUS, AGE } },
  },
  ["kustomize-controller"] = {
    { "kustomize.toolkit.fluxcd.io", "v1", "Kustomization", "kustomizations", "ks", APPLIERS, { AGE, READY, STATUS } },
  },
  ["helm-controller"] = { { "helm.toolkit.fluxcd.io", "v2", "HelmRelease", "helmreleases", "hr", APPLIERS, { AGE, READY, STATUS } } },
  ["notification-controller"] = {
    { NOTIFICATION, "v1", "Receiver", "receivers", nil, NOTIFICATIONS, { AGE, READY, STATUS } },
    { NOTIFICATION, "v1beta3", "Alert", "alerts", nil, NOTIFICATIONS, { AGE } },
    { NOTIFICATION, "v1beta3", "Provider", "providers", nil, NOTIFICATIONS, { AGE } },
  },
}

local function labels(f, more)
  local set = { ["app.kubernetes.io/instance"] = f.namespace, ["app.kubernetes.io/part-of"] = "flux",
    ["app.kubernetes.io/version"] = f.version }
  for key, value in pairs(more or {}) do set[key] = value end
  return set
end

local function definition(f, component, spec)
  local group, version, kind, plural, short, category, shown = table.unpack(spec, 1, 7)
  local open = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true }
  local columns = json.array {}
  for i, c in ipairs(shown) do columns[i] = { name = c[1], jsonPath = c[2], type = c[3] or "string" } end
  return { apiVersion = "apiextensions.k8s.io/v1", kind = "CustomResourceDefinition",
    metadata = { name = plural .. "." .. group, labels = labels(f, { ["app.kubernetes.io/component"] = component }) },
    spec = { group = group, scope = "Namespaced", names = { kind = kind, listKind = kind .. "List", plural = plural,
      singular = kind:lower(), shortNames = short and json.array { short } or nil, categories = json.array { "all", "fluxcd", category } },
      versions = json.array { { name = version, served = true, storage = true,
        subresources = version == "v1beta3" and {} or { status = {} },
        additionalPrinterColumns = columns,
        schema = { openAPIV3Schema = { type = "object", properties = { apiVersion = { type = "string" }, kind = { type = "string" },
          metadata = { type = "object" }, spec = open, status = open } } } } } } }
end

local function deployment(f, name)
  local selector = { app = name }
  local source = name == "source-controller"
  local args = json.array { "--events-addr=", "--watch-all-namespaces=true", "--log-level=info", "--log-encoding=json",
    "--enable-leader-election" }
  if source then
    args[#args + 1] = "--storage-path=/data"
    args[#args + 1] = ("--storage-adv-addr=source-controller.$(RUNTIME_NAMESPACE).svc.%s."):format(f.domain)
  end
  local function mount(path, volume) return { name = volume, mountPath = path } end
  local ports = json.array { { name = "http-prom", containerPort = 8080, protocol = "TCP" },
    { name = "healthz", containerPort = 9440, protocol = "TCP" } }
  if source then table.insert(ports, 1, { name = "http", containerPort = 9090, protocol = "TCP" }) end
  local container = {
    name = "manager", image = ("%s/%s:%s"):format(f.registry, name, CONTROLLERS[name]), args = args, ports = ports,
    env = json.array { { name = "RUNTIME_NAMESPACE", valueFrom = { fieldRef = { fieldPath = "metadata.namespace" } } },
      { name = "TUF_ROOT", value = "/tmp/.sigstore" } },
    livenessProbe = { httpGet = { path = "/healthz", port = "healthz" } },
    readinessProbe = { httpGet = source and { path = "/", port = "http" } or { path = "/readyz", port = "healthz" } },
    resources = { requests = { cpu = "50m", memory = "64Mi" }, limits = { cpu = "1000m", memory = "1Gi" } },
    securityContext = { allowPrivilegeEscalation = false, readOnlyRootFilesystem = true, runAsNonRoot = true,
      capabilities = { drop = json.array { "ALL" } }, seccompProfile = { type = "RuntimeDefault" } },
    volumeMounts = source and json.array { mount("/data", "data"), mount("/tmp", "tmp") } or json.array { mount("/tmp", "temp") },
  }
  local volumes = json.array { { name = source and "tmp" or "temp", emptyDir = {} } }
  if source then volumes[2] = { name = "data", emptyDir = {} } end
  return { apiVersion = "apps/v1", kind = "Deployment",
    metadata = { name = name, namespace = f.namespace, labels = labels(f, { ["app.kubernetes.io/component"] = name }) },
    spec = { replicas = 1, selector = { matchLabels = selector }, strategy = source and { type = "Recreate" } or nil,
      template = { metadata = { labels = labels(f, { app = name, ["app.kubernetes.io/component"] = name }) },
        spec = { serviceAccountName = name, priorityClassName = "system-cluster-critical", terminationGracePeriodSeconds = 10,
          nodeSelector = { ["kubernetes.io/os"] = "linux" }, securityContext = { fsGroup = 1337 },
          containers = json.array { container }, volumes = volumes } } } }
end

local function service(f, name)
  return { apiVersion = "v1", kind = "Service", metadata = { name = name, namespace = f.namespace,
    labels = labels(f, { ["app.kubernetes.io/component"] = name }) },
    spec = { type = "ClusterIP", selector = { app = name },
      ports = json.array { { name = "http", port = 80, protocol = "TCP", targetPort = "http" } } } }
end

local function account(f, name)
  return { apiVersion = "v1", kind = "ServiceAccount", metadata = { name = name, namespace = f.namespace, labels = labels(f) } }
end

local function binding(f, name, role, controllers)
  local subjects = json.array {}
  for i, controller in ipairs(controllers) do
    subjects[i] = { kind = "ServiceAccount", name = controller, namespace = f.namespace }
  end
  return { apiVersion = "rbac.authorization.k8s.io/v1", kind = "ClusterRoleBinding", metadata = { name = name, labels = labels(f) },
    roleRef = { apiGroup = "rbac.authorization.k8s.io", kind = "ClusterRole", name = role }, subjects = subjects }
end

local function controller_role(f)
  local rules = json.array {}
  for _, group in ipairs { "source", "kustomize", "helm", "notification", "image" } do
    rules[#rules + 1] = { apiGroups = json.array { group .. ".toolkit.fluxcd.io" }, resources = json.array { "*" },
      verbs = json.array { "*" } }
  end
  rules[#rules + 1] = { apiGroups = json.array { "" }, resources = json.array { "namespaces", "secrets", "configmaps", "serviceaccounts" },
    verbs = json.array { "get", "list", "watch" } }
  rules[#rules + 1] = { apiGroups = json.array { "" }, resources = json.array { "events" }, verbs = json.array { "create", "patch" } }
  rules[#rules + 1] = { apiGroups = json.array { "" }, resources = json.array { "serviceaccounts/token" }, verbs = json.array { "create" } }
  rules[#rules + 1] = { apiGroups = json.array { "coordination.k8s.io" }, resources = json.array { "leases" }, verbs = json.array { "*" } }
  return { apiVersion = "rbac.authorization.k8s.io/v1", kind = "ClusterRole", metadata = { name = "crd-controller-" .. f.namespace,
    labels = labels(f) }, rules = rules }
end

--- The objects of some controllers. f: namespace, controllers, version, registry, domain.
function M.objects(f)
  local list = { { apiVersion = "v1", kind = "Namespace", metadata = { name = f.namespace,
    labels = labels(f, { ["pod-security.kubernetes.io/warn"] = "restricted" }) } } }
  local function add(object) list[#list + 1] = object end
  for _, name in ipairs(f.controllers) do
    for _, spec in ipairs(DEFINITIONS[name]) do add(definition(f, name, spec)) end
  end
  for _, name in ipairs(f.controllers) do add(account(f, name)) end
  add(controller_role(f))
  add(binding(f, "crd-controller-" .. f.namespace, "crd-controller-" .. f.namespace, f.controllers))
  local reconcilers = {}
  for _, name in ipairs(f.controllers) do
    if name == "kustomize-controller" or name == "helm-controller" then reconcilers[#reconcilers + 1] = name end
  end
  add(binding(f, "cluster-reconciler-" .. f.namespace, "cluster-admin", reconcilers))
  for _, name in ipairs(f.controllers) do
    if name == "source-controller" or name == "notification-controller" then add(service(f, name)) end
    add(deployment(f, name))
  end
  return list
end

--- Whether there is a controller of that name.
function M.known(name) return CONTROLLERS[name] ~= nil end

return M
