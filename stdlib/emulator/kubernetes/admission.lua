--- What happens to an object between decoding and storing: the admission plugins that a kubeadm cluster has switched on,
-- and the allocation of service addresses.
local crypto = require "crypto"
local json = require "json"
local value = require "emulator.kubernetes.value"
local status = require "emulator.kubernetes.status"
local ip = require "emulator.kubernetes.ip"

local admission = {}

local protected = { default = true, ["kube-system"] = true, ["kube-public"] = true }

--- Refuses what would come into a namespace that is not there, or goes.
function admission.namespace_lifecycle(cluster, res, object)
  local name = object.metadata.namespace
  if not res.namespaced or not name then return end
  local namespace = cluster.store:get("/namespaces", nil, name)
  if not namespace then
    error(status.not_found({ group = "", plural = "namespaces" }, name), 0)
  end
  if namespace.metadata.deletionTimestamp then
    local e = status.forbidden(res, object.metadata.name,
      ("unable to create new content in namespace %s because it is being terminated"):format(name))
    e.body.details.causes = json.array { { reason = "NamespaceTerminating",
      message = ("namespace %s is being terminated"):format(name), field = "metadata.namespace" } }
    error(e, 0)
  end
end

--- Refuses the removal of namespaces that a cluster cannot do without.
function admission.before_delete(_, res, object)
  if res.key == "/namespaces" and protected[object.metadata.name] then
    error(status.forbidden(res, object.metadata.name, "this namespace may not be deleted"), 0)
  end
end

local alphabet = "bcdfghjklmnpqrstvwxz2456789"

--- Random letters as Kubernetes appends them to names.
function admission.suffix(n)
  local bytes, out = crypto.random(n), {}
  for i = 1, n do
    local at = bytes:byte(i) % #alphabet + 1
    out[i] = alphabet:sub(at, at)
  end
  return table.concat(out)
end

local function token_volume(name)
  return { name = name, projected = { defaultMode = 420, sources = json.array {
    { serviceAccountToken = { expirationSeconds = 3607, path = "token" } },
    { configMap = { name = "kube-root-ca.crt", items = json.array { { key = "ca.crt", path = "ca.crt" } } } },
    { downwardAPI = { items = json.array { { path = "namespace",
      fieldRef = { apiVersion = "v1", fieldPath = "metadata.namespace" } } } } },
  } } }
end

local function service_account(cluster, res, pod)
  local spec = pod.spec
  if value.get(pod, "metadata", "annotations", "kubernetes.io/config.mirror") then return end
  spec.serviceAccountName = spec.serviceAccountName or spec.serviceAccount or "default"
  spec.serviceAccount = spec.serviceAccountName
  local account = cluster.store:get("/serviceaccounts", pod.metadata.namespace, spec.serviceAccountName)
  if not account then
    error(status.forbidden(res, pod.metadata.name, ('error looking up service account %s/%s: serviceaccount "%s" not found')
      :format(pod.metadata.namespace, spec.serviceAccountName, spec.serviceAccountName)), 0)
  end
  for _, secret in ipairs(not spec.imagePullSecrets and account.imagePullSecrets or {}) do
    spec.imagePullSecrets = spec.imagePullSecrets or json.array {}
    table.insert(spec.imagePullSecrets, { name = secret.name })
  end
  if spec.automountServiceAccountToken == false
    or spec.automountServiceAccountToken == nil and account.automountServiceAccountToken == false then return end
  for _, v in ipairs(spec.volumes or {}) do
    if v.name:match("^kube%-api%-access%-") then return end
  end
  local name = "kube-api-access-" .. admission.suffix(5)
  spec.volumes = spec.volumes or json.array {}
  table.insert(spec.volumes, token_volume(name))
  for _, list in ipairs { "initContainers", "containers" } do
    for _, c in ipairs(spec[list] or {}) do
      c.volumeMounts = c.volumeMounts or json.array {}
      table.insert(c.volumeMounts, { name = name, readOnly = true, mountPath = "/var/run/secrets/kubernetes.io/serviceaccount" })
    end
  end
end

local function priority(cluster, res, pod)
  local spec = pod.spec
  if spec.priorityClassName then
    local class = cluster.store:get("scheduling.k8s.io/priorityclasses", nil, spec.priorityClassName)
    if not class then
      error(status.forbidden(res, pod.metadata.name, "no PriorityClass with name " .. spec.priorityClassName .. " was found"), 0)
    end
    spec.priority = class.value
    spec.preemptionPolicy = spec.preemptionPolicy or class.preemptionPolicy
  else
    spec.priority = spec.priority or 0
    spec.preemptionPolicy = spec.preemptionPolicy or "PreemptLowerPriority"
  end
end

local function tolerations(pod)
  local spec = pod.spec
  for _, key in ipairs { "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable" } do
    local found
    for _, t in ipairs(spec.tolerations or {}) do
      if (t.key == key or not t.key and t.operator == "Exists") and (not t.effect or t.effect == "NoExecute") then found = true end
    end
    if not found then
      spec.tolerations = spec.tolerations or json.array {}
      table.insert(spec.tolerations, { key = key, operator = "Exists", effect = "NoExecute", tolerationSeconds = 300 })
    end
  end
end

local function qos(pod)
  local any, guaranteed = false, true
  for _, c in ipairs(pod.spec.containers) do
    local limits, requests = value.get(c, "resources", "limits") or {}, value.get(c, "resources", "requests") or {}
    for _, name in ipairs { "cpu", "memory" } do
      if limits[name] or requests[name] then any = true end
      if not limits[name] or value.quantity(requests[name] or limits[name]) ~= value.quantity(limits[name]) then guaranteed = false end
    end
  end
  return not any and "BestEffort" or guaranteed and "Guaranteed" or "Burstable"
end

-- What a kubelet may do with its own Node.
local restricted_ok = { ["kubernetes.io/hostname"] = true, ["kubernetes.io/arch"] = true, ["kubernetes.io/os"] = true,
  ["beta.kubernetes.io/arch"] = true, ["beta.kubernetes.io/os"] = true, ["node.kubernetes.io/instance-type"] = true,
  ["beta.kubernetes.io/instance-type"] = true, ["topology.kubernetes.io/region"] = true, ["topology.kubernetes.io/zone"] = true,
  ["failure-domain.beta.kubernetes.io/region"] = true, ["failure-domain.beta.kubernetes.io/zone"] = true }

local function kubelet_label(key)
  if restricted_ok[key] then return true end
  local prefix = key:match("^(.-)/") or ""
  if not (prefix:match("kubernetes%.io$") or prefix:match("k8s%.io$")) then return true end
  return prefix:match("^kubelet%.kubernetes%.io$") or prefix:match("%.kubelet%.kubernetes%.io$")
    or prefix:match("^node%.kubernetes%.io$") or prefix:match("%.node%.kubernetes%.io$")
end

local function node_restriction(res, object, old, user, subresource)
  local node = user and user.name:match("^system:node:(.+)$")
  if not node or not value.contains(user.groups, "system:nodes") then return end
  local function refuse(why) error(status.forbidden(res, object.metadata.name, why), 0) end
  if res.key == "/nodes" then
    if object.metadata.name ~= node then
      refuse(('node "%s" is not allowed to modify node "%s"'):format(node, object.metadata.name))
    end
    local bad, before = {}, old and old.metadata.labels or {}
    for _, key in ipairs(value.keys(object.metadata.labels)) do
      if before[key] ~= object.metadata.labels[key] and not kubelet_label(key) then bad[#bad + 1] = key end
    end
    if #bad > 0 then refuse("is not allowed to modify labels: " .. table.concat(bad, ", ")) end
    if old and not subresource and not value.equal(value.get(old, "spec", "taints"), value.get(object, "spec", "taints")) then
      refuse(('node "%s" is not allowed to modify taints'):format(node))
    end
  elseif res.key == "/pods" and subresource == "status" and object.spec.nodeName ~= node then
    refuse(('node "%s" can only update pod status for pods with spec.nodeName set to itself'):format(node))
  elseif res.key == "coordination.k8s.io/leases"
    and not (object.metadata.namespace == "kube-node-lease" and object.metadata.name == node) then
    refuse("can only access node lease with the same name as the requesting node")
  end
end

local function used_addresses(cluster, except)
  local used, ports = {}, {}
  for _, s in ipairs(cluster.store:list "/services") do
    if s.metadata.uid ~= except then
      if s.spec.clusterIP then used[s.spec.clusterIP] = true end
      for _, p in ipairs(s.spec.ports or {}) do
        if p.nodePort then ports[p.nodePort] = true end
      end
    end
  end
  return used, ports
end

local function pick_port(ports)
  for _ = 1, 10000 do
    local b = crypto.random(2)
    local n = 30000 + (b:byte(1) * 256 + b:byte(2)) % 2768
    if not ports[n] then ports[n] = true; return n end
  end
end

local function service_address(cluster, res, object, old)
  local spec = object.spec
  if spec.type == "ExternalName" then spec.clusterIP, spec.clusterIPs = nil, nil; return end
  local used, ports = used_addresses(cluster, object.metadata.uid)
  if old and old.spec.type ~= "ExternalName" then
    spec.clusterIP = spec.clusterIP or old.spec.clusterIP
    for _, p in ipairs(spec.ports or {}) do
      for _, before in ipairs(old.spec.ports or {}) do
        if not p.nodePort and before.port == p.port and before.protocol == p.protocol then p.nodePort = before.nodePort end
      end
    end
  end
  if spec.clusterIP and spec.clusterIP ~= "None" and not (old and old.spec.clusterIP == spec.clusterIP) then
    local function refuse(why)
      error(status.invalid(res, object.metadata.name, { status.field.invalid("spec.clusterIPs", json.array { spec.clusterIP }, why) }), 0)
    end
    if not ip.within(spec.clusterIP, cluster.service_cidr) then
      refuse(("failed to allocate IP %s: the provided IP (%s) is not in the valid range. The range of valid IPs is %s")
        :format(spec.clusterIP, spec.clusterIP, cluster.service_cidr))
    elseif used[spec.clusterIP] then
      refuse(("failed to allocate IP %s: provided IP is already allocated"):format(spec.clusterIP))
    end
  elseif not spec.clusterIP or spec.clusterIP == "" then
    local size = ip.size(cluster.service_cidr)
    repeat
      local b = crypto.random(3)
      local n = (b:byte(1) << 16 | b:byte(2) << 8 | b:byte(3)) % (size - 258) + 257
      spec.clusterIP = ip.nth(cluster.service_cidr, size > 1024 and n or n % (size - 12) + 11)
    until not used[spec.clusterIP]
  end
  spec.clusterIPs = json.array { spec.clusterIP }
  if spec.type == "NodePort" or spec.type == "LoadBalancer" and spec.allocateLoadBalancerNodePorts ~= false then
    for i, p in ipairs(spec.ports or {}) do
      if p.nodePort and ports[p.nodePort] then
        error(status.invalid(res, object.metadata.name, { status.field.invalid(("spec.ports[%d].nodePort"):format(i - 1),
          p.nodePort, "provided port is already allocated") }), 0)
      end
      p.nodePort = p.nodePort or pick_port(ports)
    end
  else
    for _, p in ipairs(spec.ports or {}) do p.nodePort = nil end
  end
end

--- Before defaults and validation of a new object.
function admission.create(cluster, res, object, user)
  admission.namespace_lifecycle(cluster, res, object)
  node_restriction(res, object, nil, user)
  if res.key == "/pods" and object.spec then
    service_account(cluster, res, object)
    priority(cluster, res, object)
    tolerations(object)
    if object.spec.containers then object.status = { phase = "Pending", qosClass = qos(object) } end
  elseif res.key == "certificates.k8s.io/certificatesigningrequests" and object.spec and user then
    object.spec.username = user.name
    object.spec.groups = json.array(value.copy(user.groups))
  end
end

--- Before defaults and validation of a changed object.
function admission.update(_, res, object, old, user, subresource)
  node_restriction(res, object, old, user, subresource)
end

--- After defaults and validation: takes what is given out only once.
function admission.allocate(cluster, res, object, old)
  if res.key == "/services" then service_address(cluster, res, object, old) end
end

return admission
