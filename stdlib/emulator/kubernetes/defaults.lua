--- What the server fills in when a client leaves it out, by kind.
local crypto = require "crypto"
local json = require "json"
local value = require "emulator.kubernetes.value"

local defaults = {}

local function default(t, key, v)
  if t[key] == nil then t[key] = v end
  return t[key]
end

local function probe(p)
  if not p then return end
  default(p, "timeoutSeconds", 1)
  default(p, "periodSeconds", 10)
  default(p, "successThreshold", 1)
  default(p, "failureThreshold", 3)
  if p.httpGet then
    default(p.httpGet, "path", "/")
    default(p.httpGet, "scheme", "HTTP")
  end
end

local function pull_policy(image)
  local name = image:gsub("@.*$", "")
  local tag = name:match("[^/]*$"):match(":(.*)$")
  if image:find("@", 1, true) then return "IfNotPresent" end
  return (tag == nil or tag == "latest") and "Always" or "IfNotPresent"
end

local function container(c, spec)
  default(c, "terminationMessagePath", "/dev/termination-log")
  default(c, "terminationMessagePolicy", "File")
  default(c, "imagePullPolicy", pull_policy(c.image or ""))
  local resources = default(c, "resources", {})
  for name, limit in pairs(resources.limits or {}) do
    default(default(resources, "requests", {}), name, limit)
  end
  for _, port in ipairs(c.ports or {}) do
    default(port, "protocol", "TCP")
    if spec.hostNetwork then default(port, "hostPort", port.containerPort) end
  end
  for _, env in ipairs(c.env or {}) do
    local ref = value.get(env, "valueFrom", "fieldRef")
    if ref then default(ref, "apiVersion", "v1") end
  end
  probe(c.livenessProbe)
  probe(c.readinessProbe)
  probe(c.startupProbe)
end

local sources = { "configMap", "secret", "projected", "downwardAPI" }

local function volume(v)
  for _, name in ipairs(sources) do
    if v[name] then default(v[name], "defaultMode", 420) end
  end
  if v.hostPath then default(v.hostPath, "type", "") end
  for _, source in ipairs(v.projected and v.projected.sources or {}) do
    if source.serviceAccountToken then default(source.serviceAccountToken, "expirationSeconds", 3600) end
    for _, item in ipairs(source.downwardAPI and source.downwardAPI.items or {}) do
      if item.fieldRef then default(item.fieldRef, "apiVersion", "v1") end
    end
  end
  local sourced
  for key in pairs(v) do sourced = sourced or key ~= "name" end
  if not sourced then v.emptyDir = {} end
end

local function pod_spec(spec)
  if not spec then return end
  default(spec, "restartPolicy", "Always")
  default(spec, "terminationGracePeriodSeconds", 30)
  default(spec, "dnsPolicy", "ClusterFirst")
  default(spec, "schedulerName", "default-scheduler")
  default(spec, "securityContext", {})
  if spec.serviceAccountName then spec.serviceAccount = spec.serviceAccountName
  elseif spec.serviceAccount then spec.serviceAccountName = spec.serviceAccount end
  for _, list in ipairs { "initContainers", "containers" } do
    for _, c in ipairs(spec[list] or {}) do container(c, spec) end
  end
  for _, v in ipairs(spec.volumes or {}) do volume(v) end
end
defaults.pod_spec = pod_spec

local function template(spec)
  if spec and spec.template then pod_spec(spec.template.spec) end
end

local by_kind = {}

function by_kind.Pod(o)
  if not o.spec then return end
  pod_spec(o.spec)
  default(o.spec, "enableServiceLinks", true)
  if o.spec.hostNetwork then default(o.spec, "hostNetwork", true) end
  local status = o.status or {}
  if status.podIP then default(status, "podIPs", json.array { { ip = status.podIP } }) end
  for _, c in ipairs(status.conditions or {}) do
    default(c, "lastProbeTime", json.null)       -- times are said even when there is none
    default(c, "lastTransitionTime", json.null)
  end
end

function by_kind.Deployment(o)
  local spec = o.spec
  if not spec then return end
  default(spec, "replicas", 1)
  default(spec, "revisionHistoryLimit", 10)
  default(spec, "progressDeadlineSeconds", 600)
  local strategy = default(spec, "strategy", {})
  default(strategy, "type", "RollingUpdate")
  if strategy.type == "RollingUpdate" then
    local rolling = default(strategy, "rollingUpdate", {})
    default(rolling, "maxUnavailable", "25%")
    default(rolling, "maxSurge", "25%")
  end
  template(spec)
end

function by_kind.ReplicaSet(o)
  if not o.spec then return end
  default(o.spec, "replicas", 1)
  template(o.spec)
end

by_kind.ReplicationController = by_kind.ReplicaSet

function by_kind.DaemonSet(o)
  local spec = o.spec
  if not spec then return end
  default(spec, "revisionHistoryLimit", 10)
  local strategy = default(spec, "updateStrategy", {})
  default(strategy, "type", "RollingUpdate")
  if strategy.type == "RollingUpdate" then
    local rolling = default(strategy, "rollingUpdate", {})
    default(rolling, "maxUnavailable", 1)
    default(rolling, "maxSurge", 0)
  end
  template(spec)
end

function by_kind.StatefulSet(o)
  local spec = o.spec
  if not spec then return end
  default(spec, "replicas", 1)
  default(spec, "revisionHistoryLimit", 10)
  default(spec, "podManagementPolicy", "OrderedReady")
  default(spec, "persistentVolumeClaimRetentionPolicy", { whenDeleted = "Retain", whenScaled = "Retain" })
  local strategy = default(spec, "updateStrategy", {})
  default(strategy, "type", "RollingUpdate")
  if strategy.type == "RollingUpdate" then default(default(strategy, "rollingUpdate", {}), "partition", 0) end
  template(spec)
end

local function job_spec(spec)
  default(spec, "backoffLimit", 6)
  default(spec, "completionMode", "NonIndexed")
  default(spec, "suspend", false)
  default(spec, "podReplacementPolicy", "TerminatingOrFailed")
  if spec.completions == nil and spec.parallelism == nil then spec.completions = 1 end
  default(spec, "parallelism", 1)
  template(spec)
end

function by_kind.Job(o)
  if o.spec then job_spec(o.spec) end
end

function by_kind.CronJob(o)
  local spec = o.spec
  if not spec then return end
  default(spec, "concurrencyPolicy", "Allow")
  default(spec, "suspend", false)
  default(spec, "successfulJobsHistoryLimit", 3)
  default(spec, "failedJobsHistoryLimit", 1)
  template(spec.jobTemplate and spec.jobTemplate.spec)
end

function by_kind.Service(o)
  local spec = default(o, "spec", {})
  default(spec, "type", "ClusterIP")
  default(spec, "sessionAffinity", "None")
  for _, port in ipairs(spec.ports or {}) do
    default(port, "protocol", "TCP")
    if spec.clusterIP ~= "None" or port.targetPort == nil then default(port, "targetPort", port.port) end
  end
  if spec.type ~= "ExternalName" then
    default(spec, "internalTrafficPolicy", "Cluster")
    default(spec, "ipFamilies", json.array { "IPv4" })
    default(spec, "ipFamilyPolicy", "SingleStack")
  end
  if spec.type == "NodePort" or spec.type == "LoadBalancer" then default(spec, "externalTrafficPolicy", "Cluster") end
  if spec.type == "LoadBalancer" then default(spec, "allocateLoadBalancerNodePorts", true) end
  default(default(o, "status", {}), "loadBalancer", {})
end

function by_kind.Namespace(o)
  local labels = default(o.metadata, "labels", {})
  if o.metadata.name then labels["kubernetes.io/metadata.name"] = o.metadata.name end
  local spec = default(o, "spec", {})
  if not o.metadata.deletionTimestamp then default(spec, "finalizers", json.array { "kubernetes" }) end
  default(default(o, "status", {}), "phase", "Active")
end

function by_kind.Secret(o)
  for k, text in pairs(o.stringData or {}) do default(o, "data", {})[k] = crypto.base64(text) end
  o.stringData = nil
  default(o, "type", "Opaque")
end

function by_kind.Endpoints(o)
  for _, subset in ipairs(o.subsets or {}) do
    for _, port in ipairs(subset.ports or {}) do default(port, "protocol", "TCP") end
  end
end

local function subjects(o)
  local group = "rbac.authorization.k8s.io"
  if o.roleRef then default(o.roleRef, "apiGroup", group) end
  for _, s in ipairs(o.subjects or {}) do
    if s.kind == "User" or s.kind == "Group" then default(s, "apiGroup", group) end
  end
end

by_kind.RoleBinding, by_kind.ClusterRoleBinding = subjects, subjects

function by_kind.CustomResourceDefinition(o)
  local spec = o.spec
  if not spec then return end
  if spec.names and spec.names.kind then
    default(spec.names, "singular", spec.names.kind:lower())
    default(spec.names, "listKind", spec.names.kind .. "List")
  end
  default(spec, "conversion", { strategy = "None" })
end

function by_kind.NetworkPolicy(o)
  local spec = o.spec
  if not spec or spec.policyTypes then return end
  spec.policyTypes = json.array { "Ingress" }
  if spec.egress then spec.policyTypes[2] = "Egress" end
end

function by_kind.HorizontalPodAutoscaler(o)
  if o.spec then default(o.spec, "minReplicas", 1) end
end

function by_kind.PriorityClass(o) default(o, "preemptionPolicy", "PreemptLowerPriority") end

function by_kind.StorageClass(o)
  default(o, "reclaimPolicy", "Delete")
  default(o, "volumeBindingMode", "Immediate")
end

function by_kind.PersistentVolumeClaim(o)
  if o.spec then default(o.spec, "volumeMode", "Filesystem") end
  default(default(o, "status", {}), "phase", "Pending")
end

function by_kind.PersistentVolume(o)
  if not o.spec then return end
  default(o.spec, "volumeMode", "Filesystem")
  default(o.spec, "persistentVolumeReclaimPolicy", "Retain")
  default(default(o, "status", {}), "phase", "Available")
end

-- A node says these of itself even before its kubelet does.
local function node_zero(status)
  default(default(default(status, "daemonEndpoints", {}), "kubeletEndpoint", {}), "Port", 0)
  local info = default(status, "nodeInfo", {})
  for _, name in ipairs { "architecture", "bootID", "containerRuntimeVersion", "kernelVersion", "kubeProxyVersion", "kubeletVersion",
    "machineID", "operatingSystem", "osImage", "systemUUID" } do
    default(info, name, "")
  end
end

function by_kind.Node(o)
  default(o, "spec", {})
  local status = default(o, "status", {})
  if status.capacity and not status.allocatable then status.allocatable = value.copy(status.capacity) end
  node_zero(status)
end

local function webhooks(o)
  for _, w in ipairs(o.webhooks or {}) do
    default(w, "failurePolicy", "Fail")
    default(w, "matchPolicy", "Equivalent")
    default(w, "namespaceSelector", {})
    default(w, "objectSelector", {})
    default(w, "timeoutSeconds", 10)
    for _, rule in ipairs(w.rules or {}) do default(rule, "scope", "*") end
    local service = w.clientConfig and w.clientConfig.service
    if service then default(service, "port", 443) end
  end
end

by_kind.ValidatingWebhookConfiguration, by_kind.MutatingWebhookConfiguration = webhooks, webhooks

local zeros = {
  Event = { metadata = {}, source = {}, involvedObject = {}, eventTime = json.null, reportingComponent = "", reportingInstance = "" },
  Namespace = { metadata = {}, spec = { finalizers = json.array { "kubernetes" } }, status = {} },
  Node = { metadata = {}, spec = {}, status = {} },
  Service = { metadata = {}, spec = {}, status = { loadBalancer = {} } },
}
node_zero(zeros.Node.status)
for _, kind in ipairs { "SelfSubjectAccessReview", "SubjectAccessReview", "LocalSubjectAccessReview" } do
  zeros[kind] = { metadata = {}, spec = {}, status = { allowed = false } }
end
local zero = { metadata = {}, spec = {}, status = {} }

--- What the Go type of a built-in kind writes of an object in which nothing is set, not to be changed; nil for a custom resource.
function defaults.zero(res) return res.builtin and (zeros[res.kind] or zero) or nil end

--- Fills the defaults of a built-in kind, in place.
function defaults.fill(res, object)
  local fn = res.builtin and by_kind[res.kind]
  if fn then fn(object) end
  return object
end

return defaults
