--- Who may do what: role-based access control over the cluster's own roles and bindings, and a node authorizer that is
-- narrower than the real one only in that it does not follow which secret a pod of the node mounts.
local json = require "json"
local value = require "emulator.kubernetes.value"

local rbac = {}

local GROUP = "rbac.authorization.k8s.io"
local KEYS = { roles = GROUP .. "/roles", cluster_roles = GROUP .. "/clusterroles", bindings = GROUP .. "/rolebindings",
  cluster_bindings = GROUP .. "/clusterrolebindings" }

local function has(list, wanted)
  for _, item in ipairs(list or {}) do
    if item == "*" or item == wanted then return true end
  end
  return false
end

local function resource_matches(list, resource, subresource)
  local full = subresource and resource .. "/" .. subresource or resource
  for _, item in ipairs(list or {}) do
    if item == "*" or item == full then return true end
    if subresource and item == "*/" .. subresource then return true end
  end
  return false
end

local function path_matches(list, path)
  for _, item in ipairs(list or {}) do
    if item == "*" or item == path then return true end
    if item:sub(-1) == "*" and path:sub(1, #item - 1) == item:sub(1, -2) then return true end
  end
  return false
end

--- Does one rule allow the request? attributes: verb, and path or group, resource, subresource, name.
local function allows(rule, a)
  if not has(rule.verbs, a.verb) then return false end
  if a.path then return path_matches(rule.nonResourceURLs, a.path) end
  if not has(rule.apiGroups, a.group) then return false end
  if not resource_matches(rule.resources, a.resource, a.subresource) then return false end
  if rule.resourceNames and #rule.resourceNames > 0 then
    return a.name ~= nil and value.contains(rule.resourceNames, a.name)
  end
  return true
end

local function subject_is(subject, user, namespace)
  if subject.kind == "User" then return subject.name == user.name end
  if subject.kind == "Group" then return value.contains(user.groups, subject.name) end
  return subject.kind == "ServiceAccount"
    and user.name == "system:serviceaccount:" .. (subject.namespace or namespace or "") .. ":" .. subject.name
end

local function bound(binding, user)
  for _, subject in ipairs(binding.subjects or {}) do
    if subject_is(subject, user, binding.metadata.namespace) then return true end
  end
  return false
end

local function rules_of(store, binding)
  local ref = binding.roleRef
  local role
  if ref.kind == "ClusterRole" then role = store:get(KEYS.cluster_roles, nil, ref.name)
  else role = store:get(KEYS.roles, binding.metadata.namespace, ref.name) end
  return role and role.rules or {}
end

--- All rules that hold for a user in a namespace (nil: cluster-wide ones only).
function rbac.rules(store, user, namespace)
  local out = {}
  for _, binding in ipairs(store:list(KEYS.cluster_bindings)) do
    if bound(binding, user) then
      for _, rule in ipairs(rules_of(store, binding)) do out[#out + 1] = rule end
    end
  end
  if namespace then
    for _, binding in ipairs(store:list(KEYS.bindings, namespace)) do
      if bound(binding, user) then
        for _, rule in ipairs(rules_of(store, binding)) do out[#out + 1] = rule end
      end
    end
  end
  return out
end

local node_reads = { ["/services"] = true, ["/endpoints"] = true, ["/nodes"] = true, ["/pods"] = true, ["/secrets"] = true,
  ["/configmaps"] = true, ["/persistentvolumeclaims"] = true, ["/persistentvolumes"] = true,
  ["certificates.k8s.io/certificatesigningrequests"] = true, ["storage.k8s.io/csidrivers"] = true,
  ["storage.k8s.io/csinodes"] = true, ["storage.k8s.io/volumeattachments"] = true, ["node.k8s.io/runtimeclasses"] = true,
  ["coordination.k8s.io/leases"] = true, ["discovery.k8s.io/endpointslices"] = true }

local function node_allows(user, a)
  local node = user.name:match("^system:node:(.+)$")
  if not node or not value.contains(user.groups, "system:nodes") then return false end
  if a.path then return false end
  local what = a.group .. "/" .. a.resource .. (a.subresource and "/" .. a.subresource or "")
  if (a.verb == "get" or a.verb == "list" or a.verb == "watch") and node_reads[what] then return true end
  local writes = {
    ["/nodes"] = { create = true, patch = true, update = true },
    ["/nodes/status"] = { patch = true, update = true },
    ["/pods"] = { create = true, delete = true },
    ["/pods/status"] = { patch = true, update = true },
    ["/pods/eviction"] = { create = true },
    ["/events"] = { create = true, patch = true, update = true },
    ["/serviceaccounts/token"] = { create = true },
    ["coordination.k8s.io/leases"] = { create = true, patch = true, update = true, delete = true },
    ["certificates.k8s.io/certificatesigningrequests"] = { create = true },
    ["authentication.k8s.io/tokenreviews"] = { create = true },
    ["authorization.k8s.io/subjectaccessreviews"] = { create = true },
    ["authorization.k8s.io/localsubjectaccessreviews"] = { create = true },
    ["storage.k8s.io/csinodes"] = { create = true, patch = true, update = true, delete = true },
  }
  local verbs = writes[what]
  return verbs ~= nil and verbs[a.verb] == true
end

--- May the user do this? user: {name, groups}. attributes: verb, and path, or group, resource, subresource, namespace, name.
function rbac.allowed(store, user, a)
  if value.contains(user.groups, "system:masters") then return true end
  if node_allows(user, a) then return true end
  for _, rule in ipairs(rbac.rules(store, user, a.namespace)) do
    if allows(rule, a) then return true end
  end
  return false
end

--- The refusal in the server's words.
function rbac.refusal(user, a)
  if a.path then return ('forbidden: User "%s" cannot %s path "%s"'):format(user.name, a.verb, a.path) end
  local resource = a.subresource and a.resource .. "/" .. a.subresource or a.resource
  local scope = a.namespace and ('in the namespace "%s"'):format(a.namespace) or "at the cluster scope"
  return ('User "%s" cannot %s resource "%s" in API group "%s" %s'):format(user.name, a.verb, resource, a.group, scope)
end

local function rule(verbs, groups, resources, names)
  local out = { verbs = json.array(verbs), apiGroups = json.array(groups), resources = json.array(resources) }
  if names then out.resourceNames = json.array(names) end
  return out
end

local function urls(...)
  return { verbs = json.array { "get" }, nonResourceURLs = json.array { ... } }
end

local reads, writes = { "get", "list", "watch" }, { "create", "delete", "deletecollection", "patch", "update" }

local function both()
  local out = {}
  for _, list in ipairs { reads, writes } do
    for _, v in ipairs(list) do out[#out + 1] = v end
  end
  return out
end

local workload_groups = { "apps", "batch", "autoscaling", "policy", "networking.k8s.io" }
local workloads = { "*" }
local core_view = { "bindings", "configmaps", "endpoints", "events", "limitranges", "namespaces", "namespaces/status",
  "persistentvolumeclaims", "persistentvolumeclaims/status", "pods", "pods/log", "pods/status", "replicationcontrollers",
  "replicationcontrollers/scale", "replicationcontrollers/status", "resourcequotas", "resourcequotas/status",
  "serviceaccounts", "services", "services/status" }
local core_edit = { "configmaps", "events", "persistentvolumeclaims", "pods", "pods/attach", "pods/eviction", "pods/exec",
  "pods/portforward", "pods/proxy", "replicationcontrollers", "replicationcontrollers/scale", "secrets", "serviceaccounts",
  "serviceaccounts/token", "services", "services/proxy" }

local cluster_roles = {
  ["cluster-admin"] = { rule({ "*" }, { "*" }, { "*" }), { verbs = json.array { "*" }, nonResourceURLs = json.array { "*" } } },
  ["system:aggregate-to-view"] = { rule(reads, { "" }, core_view), rule(reads, workload_groups, workloads),
    rule(reads, { "discovery.k8s.io" }, { "endpointslices" }) },
  ["system:aggregate-to-edit"] = { rule(both(), { "" }, core_edit), rule(writes, workload_groups, workloads),
    rule(both(), { "coordination.k8s.io" }, { "leases" }) },
  ["system:aggregate-to-admin"] = { rule({ "create" }, { "authorization.k8s.io" }, { "localsubjectaccessreviews" }),
    rule(both(), { GROUP }, { "rolebindings", "roles" }) },
  ["system:discovery"] = { urls("/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*",
    "/readyz", "/version", "/version/") },
  ["system:public-info-viewer"] = { urls("/healthz", "/livez", "/readyz", "/version", "/version/") },
  ["system:basic-user"] = { rule({ "create" }, { "authorization.k8s.io" }, { "selfsubjectaccessreviews", "selfsubjectrulesreviews" }),
    rule({ "create" }, { "authentication.k8s.io" }, { "selfsubjectreviews" }) },
  ["system:node"] = {},
  ["system:node-bootstrapper"] = { rule({ "create", "get", "list", "watch" }, { "certificates.k8s.io" }, { "certificatesigningrequests" }) },
  ["system:certificates.k8s.io:certificatesigningrequests:nodeclient"] =
    { rule({ "create" }, { "certificates.k8s.io" }, { "certificatesigningrequests/nodeclient" }) },
  ["system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"] =
    { rule({ "create" }, { "certificates.k8s.io" }, { "certificatesigningrequests/selfnodeclient" }) },
  ["system:node-proxier"] = { rule({ "list", "watch" }, { "" }, { "endpoints", "services" }),
    rule(reads, { "" }, { "nodes" }), rule({ "create", "patch", "update" }, { "", "events.k8s.io" }, { "events" }),
    rule({ "list", "watch" }, { "discovery.k8s.io" }, { "endpointslices" }) },
  ["system:kube-controller-manager"] = { rule({ "*" }, { "*" }, { "*" }) },
  ["system:kube-scheduler"] = { rule(reads, { "*" }, { "*" }), rule({ "create" }, { "" }, { "pods/binding", "bindings" }),
    rule({ "patch", "update" }, { "" }, { "pods/status" }), rule({ "create", "patch", "update" }, { "", "events.k8s.io" }, { "events" }),
    rule({ "create", "get", "update" }, { "coordination.k8s.io" }, { "leases" }) },
  ["system:auth-delegator"] = { rule({ "create" }, { "authentication.k8s.io" }, { "tokenreviews" }),
    rule({ "create" }, { "authorization.k8s.io" }, { "subjectaccessreviews" }) },
  ["system:kube-dns"] = { rule({ "list", "watch" }, { "" }, { "endpoints", "services" }) },
  ["system:monitoring"] = { urls("/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis", "/readyz", "/readyz/*") },
  ["system:heapster"] = { rule(reads, { "" }, { "events", "namespaces", "nodes", "pods" }) },
  ["system:kubelet-api-admin"] = { rule(reads, { "" }, { "nodes" }), rule({ "*" }, { "" }, { "nodes/proxy", "nodes/log", "nodes/metrics", "nodes/stats" }) },
  ["system:service-account-issuer-discovery"] = { urls("/.well-known/openid-configuration", "/openid/v1/jwks") },
}

local function group(name) return { apiGroup = GROUP, kind = "Group", name = name } end
local function user(name) return { apiGroup = GROUP, kind = "User", name = name } end

local cluster_bindings = {
  { "cluster-admin", "cluster-admin", group "system:masters" },
  { "system:discovery", "system:discovery", group "system:authenticated" },
  { "system:basic-user", "system:basic-user", group "system:authenticated" },
  { "system:public-info-viewer", "system:public-info-viewer", group "system:authenticated", group "system:unauthenticated" },
  { "system:node-proxier", "system:node-proxier", user "system:kube-proxy" },
  { "system:kube-controller-manager", "system:kube-controller-manager", user "system:kube-controller-manager" },
  { "system:kube-scheduler", "system:kube-scheduler", user "system:kube-scheduler" },
  { "system:monitoring", "system:monitoring", group "system:monitoring" },
  { "system:node", "system:node" },
  { "system:service-account-issuer-discovery", "system:service-account-issuer-discovery", group "system:serviceaccounts" },
}

local labels = { ["kubernetes.io/bootstrapping"] = "rbac-defaults" }

local function aggregated(name, with)
  local selectors = json.array {}
  for i, w in ipairs(with) do selectors[i] = { matchLabels = { ["rbac.authorization.k8s.io/aggregate-to-" .. w] = "true" } } end
  return { apiVersion = GROUP .. "/v1", kind = "ClusterRole", metadata = { name = name, labels = value.copy(labels) },
    aggregationRule = { clusterRoleSelectors = selectors }, rules = json.array {} }
end

--- The roles and bindings that every API server makes when it starts, as a list of objects.
function rbac.bootstrap()
  local out = {}
  for _, name in ipairs(value.keys(cluster_roles)) do
    local role = { apiVersion = GROUP .. "/v1", kind = "ClusterRole", metadata = { name = name, labels = value.copy(labels) },
      rules = json.array(cluster_roles[name]) }
    local to = name:match("^system:aggregate%-to%-(%a+)$")
    if to then role.metadata.labels["rbac.authorization.k8s.io/aggregate-to-" .. to] = "true" end
    out[#out + 1] = role
  end
  local edit = aggregated("edit", { "edit", "view" })
  edit.metadata.labels["rbac.authorization.k8s.io/aggregate-to-admin"] = "true"
  local view = aggregated("view", { "view" })
  view.metadata.labels["rbac.authorization.k8s.io/aggregate-to-edit"] = "true"
  out[#out + 1], out[#out + 2], out[#out + 3] = aggregated("admin", { "admin", "edit", "view" }), edit, view
  for _, b in ipairs(cluster_bindings) do
    out[#out + 1] = { apiVersion = GROUP .. "/v1", kind = "ClusterRoleBinding", metadata = { name = b[1], labels = value.copy(labels) },
      roleRef = { apiGroup = GROUP, kind = "ClusterRole", name = b[2] }, subjects = b[3] and json.array { table.unpack(b, 3) } or nil }
  end
  return out
end

return rbac
