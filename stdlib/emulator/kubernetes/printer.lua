--- Tables, as `kubectl get` asks for them: the columns of each kind and their cells.
local json = require "json"
local task = require "task"
local value = require "emulator.kubernetes.value"
local jsonpath = require "emulator.kubernetes.jsonpath"

local printer = {}
local get = value.get

local function age(text, now)
  local t = value.seconds(text)
  return t and value.age(now - t) or "<unknown>"
end

local function or_none(v)
  if v == nil or v == "" then return "<none>" end
  return tostring(v)
end

local function join(list, fn, separator)
  local out = {}
  for _, item in ipairs(list or {}) do out[#out + 1] = tostring(fn(item)) end
  return table.concat(out, separator or ",")
end

local function name(o) return o.metadata.name end
local function created(o, now) return age(o.metadata.creationTimestamp, now) end
local function raw_created(o) return o.metadata.creationTimestamp end
local function identity(v) return v end

local function containers(o)
  return or_none(join(get(o, "spec", "template", "spec", "containers"), function(c) return c.name end))
end
local function images(o)
  return or_none(join(get(o, "spec", "template", "spec", "containers"), function(c) return c.image end))
end

local function selector_text(s)
  local text = require("emulator.kubernetes.selector").text(s)
  return text == "" and "<none>" or text
end
local function selector(o) return selector_text(get(o, "spec", "selector")) end
local function plain_labels(labels)
  local out = {}
  for _, k in ipairs(value.keys(labels)) do out[#out + 1] = k .. "=" .. labels[k] end
  return #out > 0 and table.concat(out, ",") or "<none>"
end

local function number(...)
  local path = { ... }
  return function(o) return get(o, table.unpack(path)) or 0 end
end

local function condition(o, type_)
  return value.find(get(o, "status", "conditions"), "type", type_)
end
printer.condition = condition

-- The STATUS of a pod, as kubectl's printer derives it from its containers.
local function pod_row(o)
  local status = o.status or {}
  local reason = status.reason or status.phase or "Pending"
  local ready, total, restarts, last = 0, #(o.spec.containers or {}), 0, nil
  local initializing = false
  for i, c in ipairs(status.initContainerStatuses or {}) do
    local state = c.state or {}
    restarts = restarts + (c.restartCount or 0)
    if state.terminated and state.terminated.exitCode == 0 then goto continue end
    if state.terminated then
      reason = "Init:" .. (state.terminated.reason or "ExitCode:" .. state.terminated.exitCode)
    elseif state.waiting and state.waiting.reason and state.waiting.reason ~= "PodInitializing" then
      reason = "Init:" .. state.waiting.reason
    else
      reason = ("Init:%d/%d"):format(i - 1, #o.spec.initContainers)
    end
    initializing = true
    do break end
    ::continue::
  end
  if not initializing then
    restarts = 0
    local running = false
    for i = #(status.containerStatuses or {}), 1, -1 do
      local c = status.containerStatuses[i]
      local state = c.state or {}
      restarts = restarts + (c.restartCount or 0)
      local ended = get(c, "lastState", "terminated", "finishedAt")
      if ended and (not last or ended > last) then last = ended end
      if state.waiting and state.waiting.reason then reason = state.waiting.reason
      elseif state.terminated then reason = state.terminated.reason or "ExitCode:" .. (state.terminated.exitCode or 0)
      elseif c.ready and state.running then
        running = true
        ready = ready + 1
      end
    end
    if reason == "Completed" and running then
      local r = condition(o, "Ready")
      reason = r and r.status == "True" and "Running" or "NotReady"
    end
  end
  if o.metadata.deletionTimestamp then reason = status.reason == "NodeLost" and "Unknown" or "Terminating" end
  return ready .. "/" .. total, reason, restarts, last
end

local function restarts(o, now)
  local _, _, count, last = pod_row(o)
  if count > 0 and last then return ("%d (%s ago)"):format(count, age(last, now)) end
  return tostring(count)
end

local function node_status(o)
  local ready = condition(o, "Ready")
  local text = not ready and "Unknown" or ready.status == "True" and "Ready" or "NotReady"
  if get(o, "spec", "unschedulable") then text = text .. ",SchedulingDisabled" end
  return text
end

local function node_roles(o)
  local roles = {}
  for k, v in pairs(o.metadata.labels or {}) do
    local role = k:match("^node%-role%.kubernetes%.io/(.*)$")
    if role and role ~= "" then roles[#roles + 1] = role
    elseif k == "kubernetes.io/role" and v ~= "" then roles[#roles + 1] = v end
  end
  table.sort(roles)
  return #roles > 0 and table.concat(roles, ",") or "<none>"
end

local function node_address(type_)
  return function(o)
    local a = value.find(get(o, "status", "addresses"), "type", type_)
    return a and a.address or "<none>"
  end
end

local function node_info(field)
  return function(o)
    local v = get(o, "status", "nodeInfo", field)
    return (v == nil or v == "") and "<unknown>" or v
  end
end

local function ingress_of(list)
  return join(list, function(i) return i.ip or i.hostname end)
end

local function external_ip(o)
  local spec = o.spec
  local ips = table.concat(spec.externalIPs or {}, ",")
  if spec.type == "ExternalName" then return spec.externalName end
  if spec.type == "LoadBalancer" then
    local lb = ingress_of(get(o, "status", "loadBalancer", "ingress"))
    local both = lb ~= "" and ips ~= "" and lb .. "," .. ips or lb .. ips
    return both ~= "" and both or "<pending>"
  end
  return or_none(ips)
end

local function service_ports(o)
  return or_none(join(o.spec.ports, function(p)
    return p.nodePort and p.nodePort > 0 and ("%d:%d/%s"):format(p.port, p.nodePort, p.protocol) or ("%d/%s"):format(p.port, p.protocol)
  end))
end

local function some(list, limit, total)
  local out = table.concat(list, ",", 1, math.min(#list, limit))
  return #list > limit and ("%s + %d more..."):format(out, (total or #list) - limit) or out
end

local function endpoints(o)
  local out = {}
  for _, subset in ipairs(o.subsets or {}) do
    for _, a in ipairs(subset.addresses or {}) do
      if not subset.ports then out[#out + 1] = a.ip end
      for _, p in ipairs(subset.ports or {}) do out[#out + 1] = a.ip .. ":" .. p.port end
    end
  end
  return #out > 0 and some(out, 3) or "<none>"
end

local function slice_endpoints(o)
  local out = {}
  for _, e in ipairs(o.endpoints or {}) do
    for _, a in ipairs(e.addresses or {}) do out[#out + 1] = a end
  end
  return #out > 0 and some(out, 3) or "<unset>"
end

local function count(t)
  local n = 0
  for _ in pairs(t or {}) do n = n + 1 end
  return n
end

local function event_seen(o, now)
  local t = get(o, "series", "lastObservedTime") or o.lastTimestamp or o.eventTime
  return age(t, now)
end

local function csr_condition(o)
  local words, issued = {}, false
  for _, c in ipairs(get(o, "status", "conditions") or {}) do words[#words + 1] = c.type end
  issued = get(o, "status", "certificate") ~= nil
  if #words == 0 then return "Pending" end
  return table.concat(words, ",") .. (issued and ",Issued" or "")
end

local function subjects(kind)
  return function(o)
    local out = {}
    for _, s in ipairs(o.subjects or {}) do
      if s.kind == kind then out[#out + 1] = kind == "ServiceAccount" and (s.namespace or "") .. "/" .. s.name or s.name end
    end
    return table.concat(out, ", ")
  end
end

local access = { ReadWriteOnce = "RWO", ReadOnlyMany = "ROX", ReadWriteMany = "RWX", ReadWriteOncePod = "RWOP" }
local function modes(list) return join(list, function(m) return access[m] or m end) end

local function job_duration(o, now)
  local start = value.seconds(get(o, "status", "startTime"))
  if not start then return "" end
  return value.age((value.seconds(get(o, "status", "completionTime")) or now) - start)
end

local function job_status(o)
  for _, c in ipairs(get(o, "status", "conditions") or {}) do
    if c.status == "True" and (c.type == "Complete" or c.type == "Failed" or c.type == "Suspended") then return c.type end
  end
  return o.metadata.deletionTimestamp and "Terminating" or "Running"
end

local function completions(o)
  local done = get(o, "status", "succeeded") or 0
  if o.spec.completions then return done .. "/" .. o.spec.completions end
  return (o.spec.parallelism or 0) > 1 and ("%d/1 of %d"):format(done, o.spec.parallelism) or done .. "/1"
end

local function col(title, fn, wide, type_) return { title = title, fn = fn, priority = wide and 1 or 0, type = type_ or "string" } end
local WIDE = true
local NAME, AGE = { title = "Name", fn = name, priority = 0, type = "string", format = "name" }, col("Age", created)
local CREATED = col("Created At", raw_created)

local function ready(o)
  return (get(o, "status", "readyReplicas") or 0) .. "/" .. (get(o, "spec", "replicas") or 0)
end

local columns = {
  Pod = { NAME, col("Ready", function(o) return (pod_row(o)) end), col("Status", function(o) return (select(2, pod_row(o))) end),
    col("Restarts", restarts), AGE, col("IP", function(o) return or_none(get(o, "status", "podIP")) end, WIDE),
    col("Node", function(o) return or_none(o.spec.nodeName) end, WIDE),
    col("Nominated Node", function(o) return or_none(get(o, "status", "nominatedNodeName")) end, WIDE),
    col("Readiness Gates", function(o)
      local gates = o.spec.readinessGates
      if not gates or #gates == 0 then return "<none>" end
      local ok = 0
      for _, g in ipairs(gates) do
        local c = condition(o, g.conditionType)
        if c and c.status == "True" then ok = ok + 1 end
      end
      return ok .. "/" .. #gates
    end, WIDE) },
  Deployment = { NAME, col("Ready", ready), col("Up-to-date", number("status", "updatedReplicas"), nil, "integer"),
    col("Available", number("status", "availableReplicas"), nil, "integer"), AGE, col("Containers", containers, WIDE),
    col("Images", images, WIDE), col("Selector", selector, WIDE) },
  ReplicaSet = { NAME, col("Desired", number("spec", "replicas"), nil, "integer"),
    col("Current", number("status", "replicas"), nil, "integer"), col("Ready", number("status", "readyReplicas"), nil, "integer"),
    AGE, col("Containers", containers, WIDE), col("Images", images, WIDE), col("Selector", selector, WIDE) },
  DaemonSet = { NAME, col("Desired", number("status", "desiredNumberScheduled"), nil, "integer"),
    col("Current", number("status", "currentNumberScheduled"), nil, "integer"),
    col("Ready", number("status", "numberReady"), nil, "integer"),
    col("Up-to-date", number("status", "updatedNumberScheduled"), nil, "integer"),
    col("Available", number("status", "numberAvailable"), nil, "integer"),
    col("Node Selector", function(o) return plain_labels(get(o, "spec", "template", "spec", "nodeSelector")) end), AGE,
    col("Containers", containers, WIDE), col("Images", images, WIDE), col("Selector", selector, WIDE) },
  StatefulSet = { NAME, col("Ready", ready), AGE, col("Containers", containers, WIDE), col("Images", images, WIDE) },
  Job = { NAME, col("Status", job_status), col("Completions", completions), col("Duration", job_duration), AGE,
    col("Containers", containers, WIDE), col("Images", images, WIDE), col("Selector", selector, WIDE) },
  CronJob = { NAME, col("Schedule", function(o) return o.spec.schedule end),
    col("Timezone", function(o) return or_none(o.spec.timeZone) end),
    col("Suspend", function(o) return o.spec.suspend and "True" or "False" end),
    col("Active", function(o) return #(get(o, "status", "active") or {}) end, nil, "integer"),
    col("Last Schedule", function(o, now)
      local last = get(o, "status", "lastScheduleTime")
      return last and age(last, now) or "<none>"
    end), AGE },
  Service = { NAME, col("Type", function(o) return o.spec.type end), col("Cluster-IP", function(o) return or_none(o.spec.clusterIP) end),
    col("External-IP", external_ip), col("Port(s)", service_ports), AGE,
    col("Selector", function(o) return plain_labels(o.spec.selector) end, WIDE) },
  Endpoints = { NAME, col("Endpoints", endpoints), AGE },
  EndpointSlice = { NAME, col("AddressType", function(o) return o.addressType end),
    col("Ports", function(o) return or_none(join(o.ports, function(p) return p.port end)) end), col("Endpoints", slice_endpoints), AGE },
  Node = { NAME, col("Status", node_status), col("Roles", node_roles), AGE,
    col("Version", function(o) return get(o, "status", "nodeInfo", "kubeletVersion") or "" end),
    col("Internal-IP", node_address "InternalIP", WIDE), col("External-IP", node_address "ExternalIP", WIDE),
    col("OS-Image", node_info "osImage", WIDE), col("Kernel-Version", node_info "kernelVersion", WIDE),
    col("Container-Runtime", node_info "containerRuntimeVersion", WIDE) },
  Namespace = { NAME, col("Status", function(o) return get(o, "status", "phase") or "" end), AGE },
  ConfigMap = { NAME, col("Data", function(o) return count(o.data) + count(o.binaryData) end), AGE },
  Secret = { NAME, col("Type", function(o) return o.type end), col("Data", function(o) return count(o.data) end), AGE },
  ServiceAccount = { NAME, col("Secrets", function(o) return #(o.secrets or {}) end), AGE },
  Event = { col("Last Seen", event_seen), col("Type", function(o) return o.type end), col("Reason", function(o) return o.reason end),
    col("Object", function(o)
      local i = o.involvedObject
      return (i.kind or ""):lower() .. "/" .. (i.name or "")
    end), col("Subobject", function(o) return o.involvedObject.fieldPath or "" end, WIDE),
    col("Source", function(o)
      local s = o.source or {}
      return s.host and s.component .. ", " .. s.host or s.component or o.reportingComponent or ""
    end, WIDE), col("Message", function(o) return ((o.message or ""):gsub("%s+$", "")) end),
    col("First Seen", function(o, now) return age(o.firstTimestamp or o.eventTime, now) end, WIDE),
    col("Count", function(o) return get(o, "series", "count") or o.count or 1 end, WIDE), col("Name", name, WIDE) },
  Role = { NAME, CREATED }, ClusterRole = { NAME, CREATED }, CustomResourceDefinition = { NAME, CREATED },
  LimitRange = { NAME, CREATED },
  CertificateSigningRequest = { NAME, AGE, col("SignerName", function(o) return o.spec.signerName end),
    col("Requestor", function(o) return o.spec.username or "" end),
    col("RequestedDuration", function(o)
      local s = o.spec.expirationSeconds
      return s and value.age(s) or "<none>"
    end), col("Condition", csr_condition) },
  Lease = { NAME, col("Holder", function(o) return get(o, "spec", "holderIdentity") or "" end), AGE },
  PodDisruptionBudget = { NAME, col("Min Available", function(o) return tostring(o.spec.minAvailable or "N/A") end),
    col("Max Unavailable", function(o) return tostring(o.spec.maxUnavailable or "N/A") end),
    col("Allowed Disruptions", number("status", "disruptionsAllowed"), nil, "integer"), AGE },
  HorizontalPodAutoscaler = { NAME, col("Reference", function(o) return o.spec.scaleTargetRef.kind .. "/" .. o.spec.scaleTargetRef.name end),
    col("Targets", function() return "<unknown>" end), col("MinPods", number("spec", "minReplicas")),
    col("MaxPods", number("spec", "maxReplicas")), col("Replicas", number("status", "currentReplicas")), AGE },
  Ingress = { NAME, col("Class", function(o) return or_none(o.spec.ingressClassName) end),
    col("Hosts", function(o)
      local hosts = join(value.filter(o.spec.rules, function(r) return r.host end), function(r) return r.host end)
      return hosts ~= "" and hosts or "*"
    end), col("Address", function(o) return ingress_of(get(o, "status", "loadBalancer", "ingress")) end),
    col("Ports", function(o) return o.spec.tls and "80, 443" or "80" end), AGE },
  IngressClass = { NAME, col("Controller", function(o) return get(o, "spec", "controller") or "" end),
    col("Parameters", function() return "<none>" end), AGE },
  NetworkPolicy = { NAME, col("Pod-Selector", function(o) return selector_text(o.spec.podSelector) end), AGE },
  PersistentVolume = { NAME, col("Capacity", function(o) return get(o, "spec", "capacity", "storage") or "" end),
    col("Access Modes", function(o) return modes(o.spec.accessModes) end),
    col("Reclaim Policy", function(o) return o.spec.persistentVolumeReclaimPolicy end),
    col("Status", function(o) return get(o, "status", "phase") end),
    col("Claim", function(o)
      local c = o.spec.claimRef
      return c and c.namespace .. "/" .. c.name or ""
    end), col("StorageClass", function(o) return o.spec.storageClassName or "" end),
    col("VolumeAttributesClass", function() return "<unset>" end), col("Reason", function(o) return get(o, "status", "reason") or "" end),
    AGE, col("VolumeMode", function(o) return o.spec.volumeMode end, WIDE) },
  PersistentVolumeClaim = { NAME, col("Status", function(o) return get(o, "status", "phase") end),
    col("Volume", function(o) return o.spec.volumeName or "" end),
    col("Capacity", function(o) return get(o, "status", "capacity", "storage") or "" end),
    col("Access Modes", function(o) return modes(get(o, "status", "accessModes")) end),
    col("StorageClass", function(o) return o.spec.storageClassName or "" end),
    col("VolumeAttributesClass", function() return "<unset>" end), AGE,
    col("VolumeMode", function(o) return o.spec.volumeMode end, WIDE) },
  StorageClass = { { title = "Name", format = "name", type = "string", priority = 0, fn = function(o)
      local default = get(o, "metadata", "annotations", "storageclass.kubernetes.io/is-default-class") == "true"
      return default and o.metadata.name .. " (default)" or o.metadata.name
    end }, col("Provisioner", function(o) return o.provisioner end), col("ReclaimPolicy", function(o) return o.reclaimPolicy end),
    col("VolumeBindingMode", function(o) return o.volumeBindingMode end),
    col("AllowVolumeExpansion", function(o) return o.allowVolumeExpansion and true or false end), AGE },
  PriorityClass = { NAME, col("Value", function(o) return o.value or 0 end), col("Global-Default", function(o) return o.globalDefault and true or false end),
    AGE, col("PreemptionPolicy", function(o) return o.preemptionPolicy end) },
  APIService = { NAME, col("Service", function(o)
      local s = get(o, "spec", "service")
      return s and s.namespace .. "/" .. s.name or "Local"
    end), col("Available", function(o)
      local c = condition(o, "Available")
      return c and c.status or "Unknown"
    end), AGE },
  ControllerRevision = { NAME, col("Controller", function(o)
      local owner = get(o, "metadata", "ownerReferences", 1)
      return owner and (owner.kind:lower() .. "." .. owner.apiVersion:match("^[^/]*") .. "/" .. owner.name) or "<none>"
    end), col("Revision", function(o) return o.revision or 0 end), AGE },
  ResourceQuota = { NAME, AGE, col("Request", function(o)
      return join(value.keys(get(o, "status", "hard")), function(k)
        return ("%s: %s/%s"):format(k, get(o, "status", "used", k) or 0, o.status.hard[k])
      end, ", ")
    end), col("Limit", function() return "" end) },
  ReplicationController = { NAME, col("Desired", number("spec", "replicas")), col("Current", number("status", "replicas")),
    col("Ready", number("status", "readyReplicas")), AGE },
  RuntimeClass = { NAME, col("Handler", function(o) return o.handler end), AGE },
  CSINode = { NAME, col("Drivers", function(o) return #(get(o, "spec", "drivers") or {}) end), AGE },
  CSIDriver = { NAME, AGE }, VolumeAttachment = { NAME, col("Attacher", function(o) return o.spec.attacher end), AGE },
  ComponentStatus = { NAME, col("Status", function(o)
      local c = value.find(o.conditions, "type", "Healthy")
      return c and c.status == "True" and "Healthy" or "Unhealthy"
    end), col("Message", function(o) return get(o, "conditions", 1, "message") or "" end),
    col("Error", function(o) return get(o, "conditions", 1, "error") or "" end) },
}

for _, kind in ipairs { "RoleBinding", "ClusterRoleBinding" } do
  columns[kind] = { NAME, col("Role", function(o) return o.roleRef.kind .. "/" .. o.roleRef.name end), AGE,
    col("Users", subjects "User", WIDE), col("Groups", subjects "Group", WIDE), col("ServiceAccounts", subjects "ServiceAccount", WIDE) }
end
for _, kind in ipairs { "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration" } do
  columns[kind] = { NAME, col("Webhooks", function(o) return #(o.webhooks or {}) end), AGE }
end

local fallback = { NAME, CREATED }

local function cell(text, type_, now)
  if type_ == "date" then return text ~= nil and age(text, now) or nil end
  if type(text) == "table" then return json.encode(text) end
  if type_ == "string" and type(text) ~= "string" and text ~= nil then return tostring(text) end
  return text
end

local function custom(res)
  if res.printed then return res.printed end
  local out = { NAME }
  local list = res.columns
  if not list or #list == 0 then list = { { name = "Age", type = "date", jsonPath = ".metadata.creationTimestamp" } } end
  for _, c in ipairs(list) do
    out[#out + 1] = { title = c.name, type = c.type, format = c.format, description = c.description, priority = c.priority or 0,
      fn = function(o, now)
        local found = jsonpath.all(c.jsonPath, o)
        if #found > 1 and c.type == "string" then return join(found, identity) end
        return cell(found[1], c.type, now)
      end }
  end
  res.printed = out
  return out
end

--- The columns of a kind.
function printer.columns(res)
  if res.custom then return custom(res) end
  return columns[res.kind] or fallback
end

local function partial(o)
  return { kind = "PartialObjectMetadata", apiVersion = "meta.k8s.io/v1", metadata = o.metadata }
end

--- A Table of objects. options: include ("Metadata", "Object", "None"), headers (default true), list (ListMeta), version.
function printer.table(res, objects, options)
  local now = task.time()
  local list = printer.columns(res)
  local out = { kind = "Table", apiVersion = options.api_version or "meta.k8s.io/v1", metadata = options.list or {},
    columnDefinitions = json.array {}, rows = json.array {} }
  if options.headers == false then out.columnDefinitions = json.null else
    for i, c in ipairs(list) do
      out.columnDefinitions[i] = { name = c.title, type = c.type, format = c.format or "",
        description = c.description or c.title, priority = c.priority }
    end
  end
  for i, o in ipairs(objects) do
    local cells = json.array {}
    for j, c in ipairs(list) do
      local v = c.fn(o, now)
      if v == nil then v = json.null end
      cells[j] = v
    end
    local row = { cells = cells }
    if options.include == "Object" then row.object = o
    elseif options.include ~= "None" then row.object = partial(o) end
    out.rows[i] = row
  end
  return out
end

return printer
