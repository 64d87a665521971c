--- What the programs of a cloud provider have in common as objects: where they live, who they are, what they may, where they run.
local json = require "json"

local M = { NAMESPACE = "kube-system" }

--- The Secret that holds azure.json, by its documented name, and its key.
M.SECRET, M.KEY = "azure-cloud-provider", "cloud-config"

function M.labels(name)
  return { ["app.kubernetes.io/name"] = name, ["app.kubernetes.io/part-of"] = "cloud-provider-azure", ["k8s-app"] = name }
end

--- Metadata of an object of a program; `elsewhere`: it lives in no namespace.
function M.meta(program, name, elsewhere)
  return { name = name, namespace = not elsewhere and M.NAMESPACE or nil, labels = M.labels(program) }
end

--- A rule: rule({ "" }, { "nodes" }, { "get" } [, names]).
function M.rule(groups, resources, verbs, names)
  return { apiGroups = json.array(groups), resources = json.array(resources), verbs = json.array(verbs),
    resourceNames = names and json.array(names) or nil }
end

local GROUP = "rbac.authorization.k8s.io"

local function role(program, kind, rules)
  return { apiVersion = GROUP .. "/v1", kind = kind, metadata = M.meta(program, program, kind == "ClusterRole"), rules = json.array(rules) }
end

-- kind: of the role; name: the binding's.
local function binding(program, kind, name, role_name)
  return { apiVersion = GROUP .. "/v1", kind = kind .. "Binding", metadata = M.meta(program, name, kind == "ClusterRole"),
    roleRef = { apiGroup = GROUP, kind = kind, name = role_name },
    subjects = json.array { { kind = "ServiceAccount", name = program, namespace = M.NAMESPACE } } }
end

--- The account of a program and what it may: rules for the whole cluster, rules in kube-system, and roles there that exist.
function M.account(program, everywhere, here, existing)
  local list = { { apiVersion = "v1", kind = "ServiceAccount", metadata = M.meta(program, program) },
    role(program, "ClusterRole", everywhere), binding(program, "ClusterRole", program, program) }
  if here then
    list[#list + 1], list[#list + 2] = role(program, "Role", here), binding(program, "Role", program, program)
  end
  for _, name in ipairs(existing or {}) do list[#list + 1] = binding(program, "Role", program .. "-" .. name, name) end
  return list
end

--- Leases of who leads among several.
M.LEADER = M.rule({ "coordination.k8s.io" }, { "leases" }, { "get", "list", "watch", "create", "update", "patch", "delete" })

--- A variable of a container that holds a field of its pod.
function M.field_env(name, path)
  return { name = name, valueFrom = { fieldRef = { apiVersion = "v1", fieldPath = path } } }
end

function M.host_path(name, path, kind) return { name = name, hostPath = { path = path, type = kind } } end

function M.requests(cpu, memory) return { requests = { cpu = cpu, memory = memory } } end

--- Nothing but what the program was started with.
M.CONFINED = { allowPrivilegeEscalation = false, capabilities = { drop = json.array { "ALL" } } }

--- What comes before there is a network, or a Node that is set up: it tolerates everything.
M.EVERYWHERE = json.array { { operator = "Exists" } }

-- A control plane, also while it is new: before a cloud provider was there, and before the network is.
local CONTROL_PLANE = json.array {
  { key = "node-role.kubernetes.io/control-plane", operator = "Exists", effect = "NoSchedule" },
  { key = "node-role.kubernetes.io/master", operator = "Exists", effect = "NoSchedule" },
  { key = "node.cloudprovider.kubernetes.io/uninitialized", operator = "Exists", effect = "NoSchedule" },
  { key = "node.kubernetes.io/not-ready", operator = "Exists" },
}

--- A Deployment on the control planes, no two of it on one: their ports are the host's.
function M.on_control_planes(program, replicas, annotations, spec)
  local selector = { ["k8s-app"] = program }
  spec.serviceAccountName, spec.hostNetwork, spec.priorityClassName = program, true, "system-cluster-critical"
  spec.nodeSelector = { ["kubernetes.io/os"] = "linux", ["node-role.kubernetes.io/control-plane"] = "" }
  spec.tolerations = CONTROL_PLANE
  spec.securityContext = { seccompProfile = { type = "RuntimeDefault" } }
  spec.affinity = { podAntiAffinity = { requiredDuringSchedulingIgnoredDuringExecution = json.array {
    { labelSelector = { matchLabels = selector }, topologyKey = "kubernetes.io/hostname" } } } }
  return { apiVersion = "apps/v1", kind = "Deployment", metadata = M.meta(program, program), spec = {
    replicas = replicas, selector = { matchLabels = selector },
    strategy = { type = "RollingUpdate", rollingUpdate = { maxSurge = 0, maxUnavailable = 1 } },
    template = { metadata = { labels = M.labels(program), annotations = annotations }, spec = spec } } }
end

--- A DaemonSet on every Node, from its first moment on.
function M.on_nodes(program, spec)
  spec.serviceAccountName, spec.hostNetwork, spec.priorityClassName = program, true, "system-node-critical"
  spec.nodeSelector = { ["kubernetes.io/os"] = "linux" }
  spec.tolerations = M.EVERYWHERE
  spec.securityContext = { seccompProfile = { type = "RuntimeDefault" } }
  return { apiVersion = "apps/v1", kind = "DaemonSet", metadata = M.meta(program, program), spec = {
    selector = { matchLabels = { ["k8s-app"] = program } },
    updateStrategy = { type = "RollingUpdate", rollingUpdate = { maxUnavailable = 1 } },
    template = { metadata = { labels = M.labels(program) }, spec = spec } } }
end

return M
