--- Endpoints and endpoint slices of services with a selector.
local json = require "json"
local value = require "emulator.kubernetes.value"
local selector = require "emulator.kubernetes.selector"
local pods = require "emulator.kubernetes.controllers.pods"

local KCM = "kube-controller-manager"

local endpoints = { name = "endpoints", component = KCM, watches = {} }

function endpoints.all(cluster, add)
  for _, s in ipairs(cluster.store:list "/services") do add(s.metadata.namespace, s.metadata.name) end
end

endpoints.watches["/services"] = function(event, add) add(event.object.metadata.namespace, event.object.metadata.name) end

local function seen(p)
  return p and { pods.ready(p) and 1 or 0, value.get(p, "status", "podIP"), p.metadata.labels, p.metadata.deletionTimestamp } or nil
end

endpoints.watches["/pods"] = function(event, add, cluster)
  if event.type == "MODIFIED" and value.equal(seen(event.old), seen(event.object)) then return end
  for _, s in ipairs(cluster.store:list("/services", event.object.metadata.namespace)) do
    local matches = selector.map(s.spec.selector)
    if matches(event.object.metadata.labels or {}) or event.old and matches(event.old.metadata.labels or {}) then
      add(s.metadata.namespace, s.metadata.name)
    end
  end
end

local function port_number(pod, port)
  local target = port.targetPort
  if type(target) == "number" then return target end
  if not target or target == "" then return port.port end
  for _, c in ipairs(pod.spec.containers) do
    for _, p in ipairs(c.ports or {}) do
      if p.name == target and (p.protocol or "TCP") == (port.protocol or "TCP") then return p.containerPort end
    end
  end
end

local function gather(cluster, service)
  local matches = selector.map(service.spec.selector)
  local ready, waiting, ports = json.array {}, json.array {}, nil
  for _, p in ipairs(cluster.store:list("/pods", service.metadata.namespace)) do
    local address = value.get(p, "status", "podIP")
    if address and pods.active(p) and matches(p.metadata.labels or {}) then
      local entry = { ip = address, nodeName = p.spec.nodeName,
        targetRef = { kind = "Pod", namespace = p.metadata.namespace, name = p.metadata.name, uid = p.metadata.uid } }
      local list = (pods.ready(p) or service.spec.publishNotReadyAddresses) and ready or waiting
      list[#list + 1] = entry
      if not ports then
        ports = json.array {}
        for _, port in ipairs(service.spec.ports or {}) do
          local n = port_number(p, port)
          if n then ports[#ports + 1] = { name = port.name, port = n, protocol = port.protocol, appProtocol = port.appProtocol } end
        end
      end
    end
  end
  return ready, waiting, ports
end

local function slice_entries(ready, waiting)
  local out = json.array {}
  for i, list in ipairs { ready, waiting } do
    for _, e in ipairs(list) do
      out[#out + 1] = { addresses = json.array { e.ip }, nodeName = e.nodeName, targetRef = value.copy(e.targetRef),
        conditions = { ready = i == 1, serving = i == 1, terminating = false } }
    end
  end
  return out
end

function endpoints.reconcile(cluster, namespace, name)
  local service = cluster.store:get("/services", namespace, name)
  if not service then
    for _, key in ipairs { "/endpoints", "discovery.k8s.io/endpointslices" } do
      for _, o in ipairs(table.move(cluster.store:list(key, namespace), 1, #cluster.store:list(key, namespace), 1, {})) do
        local of = key == "/endpoints" and o.metadata.name or value.get(o, "metadata", "labels", "kubernetes.io/service-name")
        if of == name then cluster.objects:delete(cluster:res(key), namespace, o.metadata.name) end
      end
    end
    return
  end
  if not service.spec.selector or next(service.spec.selector) == nil or service.metadata.deletionTimestamp then return end
  local ready, waiting, ports = gather(cluster, service)
  local subsets
  if #ready + #waiting > 0 then
    subsets = json.array { { addresses = #ready > 0 and ready or nil, notReadyAddresses = #waiting > 0 and waiting or nil, ports = ports } }
  end
  local _, created = cluster:ensure("/endpoints", { metadata = { name = name, namespace = namespace,
    labels = value.copy(service.metadata.labels or {}) }, subsets = value.copy(subsets) })
  if not created then
    cluster:modify("/endpoints", namespace, name, function(o) o.subsets = value.copy(subsets) end)
  end
  local slice
  for _, o in ipairs(cluster.store:list("discovery.k8s.io/endpointslices", namespace)) do
    if value.get(o, "metadata", "labels", "kubernetes.io/service-name") == name then slice = o end
  end
  local entries = slice_entries(ready, waiting)
  if slice then
    cluster:modify("discovery.k8s.io/endpointslices", namespace, slice.metadata.name, function(o)
      o.endpoints, o.ports = entries, value.copy(ports)
    end)
  else
    cluster.objects:create(cluster:res "discovery.k8s.io/endpointslices", { metadata = { generateName = name .. "-", namespace = namespace,
        labels = { ["kubernetes.io/service-name"] = name, ["endpointslice.kubernetes.io/managed-by"] = "endpointslice-controller.k8s.io" },
        ownerReferences = json.array { pods.reference(service) } },
      addressType = "IPv4", endpoints = entries, ports = value.copy(ports) }, { namespace = namespace, manager = KCM })
  end
end

return { endpoints }
