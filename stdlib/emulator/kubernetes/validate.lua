--- Refusing what the server would refuse: common mistakes in built-in kinds, and the schemas of custom resources.
-- `validate.check(res, object, old)` returns a list of entries as `status.invalid` takes them.
local crypto = require "crypto"
local json = require "json"
local value = require "emulator.kubernetes.value"
local status = require "emulator.kubernetes.status"
local regex = require "regex"

local validate = {}
local field = status.field

local SUBDOMAIN = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
  .. "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
  .. "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
local LABEL = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
  .. "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
local SERVICE_LABEL = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
  .. "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
  .. "'[a-z]([-a-z0-9]*[a-z0-9])?')"
local QUALIFIED = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
  .. "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
local LABEL_VALUE = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
  .. "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
  .. "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
local CONFIG_KEY = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
  .. "or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"

local function is_label(s) return #s <= 63 and s:match("^[%l%d]$") ~= nil or #s <= 63 and s:match("^[%l%d][%l%d-]*[%l%d]$") ~= nil end

local function is_subdomain(s)
  if s == "" or #s > 253 or s:sub(-1) == "." then return false end
  for part in (s .. "."):gmatch("([^.]*)%.") do
    if not (part:match("^[%l%d]$") or part:match("^[%l%d][%l%d-]*[%l%d]$")) then return false end
  end
  return true
end

local function is_path_segment(s) return s ~= "." and s ~= ".." and not s:find("[/%%]") end

local labels_only = { namespaces = true }
local service_names = { services = true }
local path_names = { roles = true, clusterroles = true, rolebindings = true, clusterrolebindings = true,
  certificatesigningrequests = true }

local function name_error(res, name)
  if service_names[res.plural] and res.group == "" then
    if not (#name <= 63 and (name:match("^%l$") or name:match("^%l[%l%d-]*[%l%d]$"))) then return SERVICE_LABEL end
  elseif labels_only[res.plural] and res.group == "" then
    if not is_label(name) then return LABEL end
  elseif path_names[res.plural] and res.builtin then
    if not is_path_segment(name) then return "may not contain '/' or '%'" end
  elseif not is_subdomain(name) then
    return SUBDOMAIN
  end
end

local function qualified(name)
  local prefix, rest = name:match("^([^/]*)/(.*)$")
  if not prefix then rest = name end
  if prefix and not is_subdomain(prefix) then return "prefix part " .. SUBDOMAIN end
  if rest == "" then return "name part must be non-empty" end
  if #rest > 63 then return "name part must be no more than 63 characters" end
  if not (rest:match("^%w$") or rest:match("^%w[%w._-]*%w$")) then return QUALIFIED end
end

local function label_value(v)
  if #v > 63 then return "must be no more than 63 characters" end
  if not (v == "" or v:match("^%w$") or v:match("^%w[%w._-]*%w$")) then return LABEL_VALUE end
end

local function label_map(errors, labels, path)
  for _, k in ipairs(value.keys(labels)) do
    local bad = qualified(k)
    if bad then errors[#errors + 1] = field.invalid(path, k, bad) end
    bad = type(labels[k]) == "string" and label_value(labels[k])
    if bad then errors[#errors + 1] = field.invalid(path, labels[k], bad) end
  end
end

local function metadata(errors, res, m)
  local bad = m.name and name_error(res, m.name)
  if bad then errors[#errors + 1] = field.invalid("metadata.name", m.name, bad) end
  label_map(errors, m.labels, "metadata.labels")
  local size = 0
  for _, k in ipairs(value.keys(m.annotations)) do
    bad = qualified(k:lower())
    if bad then errors[#errors + 1] = field.invalid("metadata.annotations", k, bad) end
    size = size + #k + #tostring(m.annotations[k])
  end
  if size > 262144 then
    errors[#errors + 1] = { field = "metadata.annotations", reason = "FieldValueTooLong",
      message = "Too long: may not be more than 262144 bytes" }
  end
  for i, f in ipairs(m.finalizers or {}) do
    if res.group == "" and not f:find("/", 1, true) and not value.contains({ "foregroundDeletion", "orphan", "kubernetes" }, f) then
      errors[#errors + 1] = field.invalid(("metadata.finalizers[%d]"):format(i - 1), f,
        "name is neither a standard finalizer name nor is it fully qualified")
    end
  end
end

local function choice(errors, path, v, allowed)
  if v ~= nil and not value.contains(allowed, v) then errors[#errors + 1] = field.unsupported(path, v, allowed) end
end

local function required(errors, path, v)
  if v == nil or v == "" then errors[#errors + 1] = field.required(path); return true end
end

local function port(errors, path, n)
  if math.type(n) == "integer" and (n < 1 or n > 65535) then
    errors[#errors + 1] = field.invalid(path, n, "must be between 1 and 65535, inclusive")
  end
end

local function at_least_zero(errors, path, n)
  if n and n < 0 then errors[#errors + 1] = field.invalid(path, n, "must be greater than or equal to 0") end
end

local function container(errors, c, path, volumes, names)
  if not required(errors, path .. ".name", c.name) then
    if not is_label(c.name) then errors[#errors + 1] = field.invalid(path .. ".name", c.name, LABEL) end
    if names[c.name] then errors[#errors + 1] = field.duplicate(path .. ".name", c.name) end
    names[c.name] = true
  end
  required(errors, path .. ".image", c.image)
  choice(errors, path .. ".imagePullPolicy", c.imagePullPolicy, { "Always", "IfNotPresent", "Never" })
  for i, p in ipairs(c.ports or {}) do
    local at = ("%s.ports[%d]"):format(path, i - 1)
    if not p.containerPort then errors[#errors + 1] = field.required(at .. ".containerPort") else
      port(errors, at .. ".containerPort", p.containerPort)
    end
    choice(errors, at .. ".protocol", p.protocol, { "SCTP", "TCP", "UDP" })
  end
  for i, e in ipairs(c.env or {}) do
    required(errors, ("%s.env[%d].name"):format(path, i - 1), e.name)
    if e.value and e.value ~= "" and e.valueFrom then
      errors[#errors + 1] = field.invalid(("%s.env[%d].valueFrom"):format(path, i - 1), "",
        "may not be specified when `value` is not empty")
    end
  end
  local mounted = {}
  for i, m in ipairs(c.volumeMounts or {}) do
    local at = ("%s.volumeMounts[%d]"):format(path, i - 1)
    if m.name and not volumes[m.name] then errors[#errors + 1] = field.not_found(at .. ".name", m.name) end
    if not required(errors, at .. ".mountPath", m.mountPath) then
      if mounted[m.mountPath] then errors[#errors + 1] = field.invalid(at .. ".mountPath", m.mountPath, "must be unique") end
      mounted[m.mountPath] = true
    end
  end
  for _, kind in ipairs { "limits", "requests" } do
    for name, q in pairs(c.resources and c.resources[kind] or {}) do
      local limit = c.resources.limits and c.resources.limits[name]
      if kind == "requests" and limit and (value.quantity(q) or 0) > (value.quantity(limit) or 0) then
        errors[#errors + 1] = field.invalid(path .. ".resources.requests", q,
          ("must be less than or equal to %s limit of %s"):format(name, limit))
      end
    end
  end
end

local function pod_spec(errors, spec, path)
  local volumes = {}
  for i, v in ipairs(spec.volumes or {}) do
    local at = ("%s.volumes[%d].name"):format(path, i - 1)
    if not required(errors, at, v.name) then
      if not is_label(v.name) then errors[#errors + 1] = field.invalid(at, v.name, LABEL) end
      if volumes[v.name] then errors[#errors + 1] = field.duplicate(at, v.name) end
      volumes[v.name] = true
    end
  end
  local names = {}
  for i, c in ipairs(spec.initContainers or {}) do
    container(errors, c, ("%s.initContainers[%d]"):format(path, i - 1), volumes, names)
  end
  if not spec.containers or #spec.containers == 0 then errors[#errors + 1] = field.required(path .. ".containers") end
  for i, c in ipairs(spec.containers or {}) do
    container(errors, c, ("%s.containers[%d]"):format(path, i - 1), volumes, names)
  end
  choice(errors, path .. ".restartPolicy", spec.restartPolicy, { "Always", "OnFailure", "Never" })
  choice(errors, path .. ".dnsPolicy", spec.dnsPolicy, { "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None" })
  for i, t in ipairs(spec.tolerations or {}) do
    local at = ("%s.tolerations[%d]"):format(path, i - 1)
    choice(errors, at .. ".operator", t.operator, { "Equal", "Exists", "Gt", "Lt" })
    choice(errors, at .. ".effect", t.effect, { "NoSchedule", "PreferNoSchedule", "NoExecute" })
  end
end

local function workload(errors, o, old, policies)
  local spec = o.spec
  if not spec then errors[#errors + 1] = field.required "spec"; return end
  at_least_zero(errors, "spec.replicas", spec.replicas)
  local template = spec.template
  if not spec.selector then errors[#errors + 1] = field.required "spec.selector"
  elseif next(spec.selector.matchLabels or {}) == nil and #(spec.selector.matchExpressions or {}) == 0 then
    errors[#errors + 1] = field.invalid("spec.selector", spec.selector, "empty selector is invalid for deployment")
  elseif template then
    local labels = value.get(template, "metadata", "labels") or {}
    if not require("emulator.kubernetes.selector").object(spec.selector)(labels) then
      errors[#errors + 1] = field.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    end
  end
  if not template then errors[#errors + 1] = field.required "spec.template" else
    label_map(errors, value.get(template, "metadata", "labels"), "spec.template.labels")
    if not template.spec then errors[#errors + 1] = field.required "spec.template.spec.containers" else
      pod_spec(errors, template.spec, "spec.template.spec")
      choice(errors, "spec.template.spec.restartPolicy", template.spec.restartPolicy, policies or { "Always" })
    end
  end
  if old and old.spec.selector and spec.selector and not value.equal(old.spec.selector, spec.selector) then
    errors[#errors + 1] = field.invalid("spec.selector", spec.selector, "field is immutable")
  end
end

local checks = {}

function checks.Pod(errors, o, old)
  if not o.spec then errors[#errors + 1] = field.required "spec.containers"; return end
  pod_spec(errors, o.spec, "spec")
  if not old then return end
  local a, b = value.copy(old.spec), value.copy(o.spec)
  for _, spec in ipairs { a, b } do
    spec.tolerations, spec.activeDeadlineSeconds, spec.terminationGracePeriodSeconds, spec.nodeName = nil, nil, nil, nil
    spec.ephemeralContainers, spec.schedulingGates = nil, nil
    for _, list in ipairs { "containers", "initContainers" } do
      for _, c in ipairs(spec[list] or {}) do c.image = nil end
    end
  end
  if not value.equal(a, b) then
    errors[#errors + 1] = field.forbidden("spec", "pod updates may not change fields other than `spec.containers[*].image`,"
      .. "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
      .. "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)")
  end
end

function checks.Deployment(errors, o, old)
  workload(errors, o, old)
  local strategy = value.get(o, "spec", "strategy")
  if strategy then
    choice(errors, "spec.strategy.type", strategy.type, { "Recreate", "RollingUpdate" })
    if strategy.type == "Recreate" and strategy.rollingUpdate then
      errors[#errors + 1] = field.forbidden("spec.strategy.rollingUpdate",
        "may not be specified when strategy `type` is 'Recreate'")
    end
  end
end

function checks.ReplicaSet(errors, o, old) workload(errors, o, old) end
function checks.DaemonSet(errors, o, old) workload(errors, o, old) end

function checks.StatefulSet(errors, o, old)
  workload(errors, o, old)
  if not old then return end
  local a, b = value.copy(old.spec), value.copy(o.spec)
  for _, spec in ipairs { a, b } do
    for _, name in ipairs { "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
      "persistentVolumeClaimRetentionPolicy", "minReadySeconds" } do spec[name] = nil end
  end
  if not value.equal(a, b) then
    errors[#errors + 1] = field.forbidden("spec", "updates to statefulset spec for fields other than 'replicas', 'ordinals', "
      .. "'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' "
      .. "are forbidden")
  end
end

function checks.Job(errors, o, old)
  local template = value.get(o, "spec", "template")
  if not template or not template.spec then errors[#errors + 1] = field.required "spec.template.spec.containers"; return end
  pod_spec(errors, template.spec, "spec.template.spec")
  choice(errors, "spec.template.spec.restartPolicy", template.spec.restartPolicy, { "OnFailure", "Never" })
  if old and not value.equal(old.spec.template, o.spec.template) then
    errors[#errors + 1] = field.invalid("spec.template", "", "field is immutable")
  end
end

function checks.CronJob(errors, o)
  local spec = o.spec or {}
  if not required(errors, "spec.schedule", spec.schedule) and not spec.schedule:match("^@%a+") then
    local n = 0
    for _ in spec.schedule:gmatch("%S+") do n = n + 1 end
    if n ~= 5 then
      errors[#errors + 1] = field.invalid("spec.schedule", spec.schedule,
        ("expected exactly 5 fields, found %d: [%s]"):format(n, spec.schedule))
    end
  end
  local inner = value.get(spec, "jobTemplate", "spec", "template", "spec")
  if not inner then errors[#errors + 1] = field.required "spec.jobTemplate.spec.template.spec.containers" else
    pod_spec(errors, inner, "spec.jobTemplate.spec.template.spec")
    choice(errors, "spec.jobTemplate.spec.template.spec.restartPolicy", inner.restartPolicy, { "OnFailure", "Never" })
  end
end

function checks.Service(errors, o, old)
  local spec = o.spec
  choice(errors, "spec.type", spec.type, { "ClusterIP", "ExternalName", "LoadBalancer", "NodePort" })
  choice(errors, "spec.sessionAffinity", spec.sessionAffinity, { "ClientIP", "None" })
  if (not spec.ports or #spec.ports == 0) and spec.clusterIP ~= "None" and spec.type ~= "ExternalName" then
    errors[#errors + 1] = field.required "spec.ports"
  end
  local seen, names = {}, {}
  for i, p in ipairs(spec.ports or {}) do
    local at = ("spec.ports[%d]"):format(i - 1)
    if p.port then port(errors, at .. ".port", p.port) else errors[#errors + 1] = field.required(at .. ".port") end
    port(errors, at .. ".targetPort", p.targetPort)
    choice(errors, at .. ".protocol", p.protocol, { "SCTP", "TCP", "UDP" })
    if #spec.ports > 1 then
      if not required(errors, at .. ".name", p.name) then
        if names[p.name] then errors[#errors + 1] = field.duplicate(at .. ".name", p.name) end
        names[p.name] = true
      end
    end
    local key = tostring(p.port) .. "/" .. tostring(p.protocol)
    if seen[key] then errors[#errors + 1] = field.duplicate(at, { port = p.port, protocol = p.protocol }) end
    seen[key] = true
    if p.nodePort and (p.nodePort < 30000 or p.nodePort > 32767) then
      errors[#errors + 1] = field.invalid(at .. ".nodePort", p.nodePort,
        "provided port is not in the valid range. The range of valid ports is 30000-32767")
    end
  end
  if spec.type == "ExternalName" then required(errors, "spec.externalName", spec.externalName) end
  if old and old.spec.clusterIP and old.spec.type ~= "ExternalName" and spec.type ~= "ExternalName"
    and spec.clusterIP ~= old.spec.clusterIP then
    errors[#errors + 1] = field.invalid("spec.clusterIPs[0]", json.array { spec.clusterIP }, "may not change once set")
  end
end

local function config_keys(errors, map, path)
  for _, k in ipairs(value.keys(map)) do
    if not k:match("^[%w._-]+$") then errors[#errors + 1] = field.invalid(("%s[%s]"):format(path, k), k, CONFIG_KEY) end
  end
end

local function frozen(errors, o, old, what)
  if old and old.immutable and (not o.immutable or not value.equal(o.data, old.data)) then
    errors[#errors + 1] = field.forbidden(o.immutable and "data" or "immutable", "field is immutable when `immutable` is set")
  end
  local size = 0
  for _, map in ipairs { o.data or {}, o.binaryData or {} } do
    for _, v in pairs(map) do size = size + #tostring(v) end
  end
  if size > 1048576 * (what == "Secret" and 4 / 3 or 1) then
    errors[#errors + 1] = { field = "", reason = "FieldValueTooLong", message = "Too long: may not be more than 1048576 bytes" }
  end
end

function checks.ConfigMap(errors, o, old)
  config_keys(errors, o.data, "data")
  config_keys(errors, o.binaryData, "binaryData")
  frozen(errors, o, old, "ConfigMap")
end

local secret_keys = { ["kubernetes.io/tls"] = { "tls.crt", "tls.key" }, ["kubernetes.io/dockerconfigjson"] = { ".dockerconfigjson" },
  ["kubernetes.io/ssh-auth"] = { "ssh-privatekey" } }

function checks.Secret(errors, o, old)
  config_keys(errors, o.data, "data")
  for _, k in ipairs(secret_keys[o.type] or {}) do
    if not (o.data and o.data[k]) then errors[#errors + 1] = field.required(("data[%s]"):format(k)) end
  end
  if old and old.type ~= o.type then errors[#errors + 1] = field.invalid("type", o.type, "field is immutable") end
  frozen(errors, o, old, "Secret")
end

local function role(errors, o)
  for i, rule in ipairs(o.rules or {}) do
    local at = ("rules[%d]"):format(i - 1)
    if not rule.verbs or #rule.verbs == 0 then
      errors[#errors + 1] = field.required(at .. ".verbs", "verbs must contain at least one value")
    end
    if not (rule.nonResourceURLs and #rule.nonResourceURLs > 0) then
      if not rule.apiGroups or #rule.apiGroups == 0 then
        errors[#errors + 1] = field.required(at .. ".apiGroups", "resource rules must supply at least one api group")
      end
      if not rule.resources or #rule.resources == 0 then
        errors[#errors + 1] = field.required(at .. ".resources", "resource rules must supply at least one resource")
      end
    end
  end
end

checks.Role, checks.ClusterRole = role, role

local function binding(errors, o, old)
  local ref = o.roleRef or {}
  choice(errors, "roleRef.apiGroup", ref.apiGroup or "", { "rbac.authorization.k8s.io" })
  choice(errors, "roleRef.kind", ref.kind or "", o.kind == "ClusterRoleBinding" and { "ClusterRole" } or { "Role", "ClusterRole" })
  required(errors, "roleRef.name", ref.name)
  for i, s in ipairs(o.subjects or {}) do
    local at = ("subjects[%d]"):format(i - 1)
    choice(errors, at .. ".kind", s.kind or "", { "ServiceAccount", "User", "Group" })
    required(errors, at .. ".name", s.name)
    if s.kind == "ServiceAccount" and o.kind == "ClusterRoleBinding" then required(errors, at .. ".namespace", s.namespace) end
  end
  if old and not value.equal(old.roleRef, o.roleRef) then
    errors[#errors + 1] = field.invalid("roleRef", o.roleRef, "cannot change roleRef")
  end
end

checks.RoleBinding, checks.ClusterRoleBinding = binding, binding

function checks.CustomResourceDefinition(errors, o, old)
  local spec = o.spec
  if not spec then errors[#errors + 1] = field.required "spec"; return end
  local names = spec.names or {}
  required(errors, "spec.group", spec.group)
  choice(errors, "spec.scope", spec.scope or "", { "Cluster", "Namespaced" })
  required(errors, "spec.names.plural", names.plural)
  required(errors, "spec.names.kind", names.kind)
  local full = (names.plural or "") .. "." .. (spec.group or "")
  if o.metadata.name ~= full then
    errors[#errors + 1] = field.invalid("metadata.name", o.metadata.name, 'must be spec.names.plural+"."+spec.group')
  end
  local stored = 0
  for i, v in ipairs(spec.versions or {}) do
    if v.storage then stored = stored + 1 end
    if not value.get(v, "schema", "openAPIV3Schema") and not spec.preserveUnknownFields then
      errors[#errors + 1] = field.required(("spec.versions[%d].schema.openAPIV3Schema"):format(i - 1), "schemas are required")
    end
  end
  if stored ~= 1 then
    errors[#errors + 1] = field.invalid("spec.versions", spec.versions or json.array {},
      "must have exactly one version marked as storage version")
  end
  if old and old.spec.names.kind ~= names.kind then
    errors[#errors + 1] = field.invalid("spec.names.kind", names.kind, "field is immutable")
  end
end

function checks.Ingress(errors, o)
  local spec = o.spec or {}
  if not spec.defaultBackend and #(spec.rules or {}) == 0 then
    errors[#errors + 1] = field.invalid("spec", spec, "either `defaultBackend` or `rules` must be specified")
  end
  for i, rule in ipairs(spec.rules or {}) do
    for j, p in ipairs(value.get(rule, "http", "paths") or {}) do
      local at = ("spec.rules[%d].http.paths[%d]"):format(i - 1, j - 1)
      if not p.pathType then errors[#errors + 1] = field.required(at .. ".pathType", "pathType must be specified")
      else choice(errors, at .. ".pathType", p.pathType, { "Exact", "ImplementationSpecific", "Prefix" }) end
    end
  end
end

function checks.PodDisruptionBudget(errors, o)
  if o.spec and o.spec.minAvailable and o.spec.maxUnavailable then
    errors[#errors + 1] = field.invalid("spec", o.spec, "minAvailable and maxUnavailable cannot be both set")
  end
end

function checks.Node(errors, o)
  local seen = {}
  for i, t in ipairs(value.get(o, "spec", "taints") or {}) do
    local at = ("spec.taints[%d]"):format(i - 1)
    required(errors, at .. ".key", t.key)
    choice(errors, at .. ".effect", t.effect or "", { "NoSchedule", "PreferNoSchedule", "NoExecute" })
    local key = tostring(t.key) .. ":" .. tostring(t.effect)
    if seen[key] then errors[#errors + 1] = field.duplicate(at, t) end
    seen[key] = true
  end
end

function checks.CertificateSigningRequest(errors, o)
  required(errors, "spec.signerName", value.get(o, "spec", "signerName"))
  if not value.get(o, "spec", "usages") then errors[#errors + 1] = field.required("spec.usages", "usages is required") end
  local request = value.get(o, "spec", "request")
  local pem = request and crypto.unbase64(request)
  if not (pem and pem:find("BEGIN CERTIFICATE REQUEST", 1, true)) then
    errors[#errors + 1] = field.invalid("spec.request", "", "PEM block type must be CERTIFICATE REQUEST")
  end
end

local function go_type(v)
  if type(v) == "table" then return json.is_array(v) and "array" or "object" end
  if type(v) == "number" then return math.type(v) == "integer" and "integer" or "number" end
  return type(v)
end

local function type_fits(js, v)
  local wanted, got = js.type, go_type(v)
  if js["x-kubernetes-int-or-string"] then return got == "integer" or got == "string" end
  if not wanted or wanted == got then return true end
  if got == "object" and next(v) == nil and wanted == "array" then return true end
  return wanted == "number" and got == "integer"
end

local function quoted(v) return type(v) == "string" and '"' .. v .. '"' or type(v) == "table" and json.encode(v) or tostring(v) end

local check_schema

local function scalar_rules(errors, js, v, path)
  local function bad(text) errors[#errors + 1] = field.invalid(path, v, text) end
  if js.enum and not value.contains(js.enum, v) then
    local words = {}
    for i, e in ipairs(js.enum) do words[i] = e end
    errors[#errors + 1] = field.unsupported(path, v, words)
  end
  if type(v) == "string" then
    if js.minLength and utf8.len(v) and utf8.len(v) < js.minLength then
      bad(("%s in body should be at least %d chars long"):format(path, js.minLength))
    end
    if js.maxLength and utf8.len(v) and utf8.len(v) > js.maxLength then
      errors[#errors + 1] = { field = path, reason = "FieldValueTooLong",
        message = ("Too long: may not be more than %d bytes"):format(js.maxLength) }
    end
    if js.pattern and regex.match(js.pattern, v) == false then
      bad(("%s in body should match '%s'"):format(path, js.pattern))
    end
  elseif type(v) == "number" then
    if js.minimum and v < js.minimum then bad(("%s in body should be greater than or equal to %s"):format(path, js.minimum)) end
    if js.maximum and v > js.maximum then bad(("%s in body should be less than or equal to %s"):format(path, js.maximum)) end
  end
end

function check_schema(errors, js, v, path)
  if v == nil or type(js) ~= "table" then return end
  if v == json.null then
    if not js.nullable then
      errors[#errors + 1] = field.invalid(path, "null", ("%s in body must be of type %s: \"null\""):format(path, js.type or "object"))
    end
    return
  end
  if not type_fits(js, v) then
    local word = go_type(v)
    errors[#errors + 1] = field.invalid(path, word, ("%s in body must be of type %s: %s"):format(path, js.type, quoted(word)))
    return
  end
  if type(v) ~= "table" then return scalar_rules(errors, js, v, path) end
  if js.type == "array" then
    if js.minItems and #v < js.minItems then
      errors[#errors + 1] = field.invalid(path, #v, ("%s in body should have at least %d items"):format(path, js.minItems))
    end
    for i, item in ipairs(v) do check_schema(errors, js.items, item, ("%s[%d]"):format(path, i - 1)) end
    return
  end
  local prefix = path == "" and "" or path .. "."
  for _, name in ipairs(js.required or {}) do
    if v[name] == nil then errors[#errors + 1] = field.required(prefix .. name) end
  end
  for _, name in ipairs(value.keys(v)) do
    local sub = js.properties and js.properties[name]
    if sub and not (path == "" and name == "metadata") then
      check_schema(errors, sub, v[name], prefix .. name)
    elseif not sub and type(js.additionalProperties) == "table" then
      check_schema(errors, js.additionalProperties, v[name], prefix .. name)
    end
  end
end

--- All mistakes of an object; old is what it replaces, or nil.
function validate.check(res, object, old)
  local errors = {}
  metadata(errors, res, object.metadata)
  if res.builtin then
    if checks[res.kind] then checks[res.kind](errors, object, old) end
  elseif res.openapi then
    check_schema(errors, res.openapi, object, "")
  end
  return errors
end

--- What is wrong with base64 data of a Secret or ConfigMap, as the decoder says it, or nil.
function validate.encoding(res, object)
  if res.group ~= "" or res.kind ~= "Secret" and res.kind ~= "ConfigMap" then return nil end
  local maps = res.kind == "Secret" and { object.data } or { object.binaryData }
  for _, map in ipairs(maps) do
    for _, v in pairs(map or {}) do
      if type(v) == "string" and v ~= "" then
        local clean = v:gsub("[\r\n]", "")
        local bad = clean:find("[^%w+/=]")
        if bad or #clean % 4 ~= 0 then
          return "illegal base64 data at input byte " .. (bad and bad - 1 or #clean - #clean % 4)
        end
      end
    end
  end
end

validate.is_subdomain = is_subdomain

return validate
