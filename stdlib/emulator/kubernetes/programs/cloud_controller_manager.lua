--- Azure's cloud-controller-manager, as far as Services of type LoadBalancer go: a public address, a load balancer of the cluster's name, a
-- rule of the security group, and workers' scale sets in its pool. What it asks of ARM it asks as the identity that azure.json names,
-- so that a role that is missing shows where the real one says it: in an event of the Service.
local crypto, json, task = require "crypto", require "json", require "task"
local value = require "emulator.kubernetes.value"

local NETWORK, COMPUTE = "2025-05-01", "2025-04-01"
local AUDIENCE = "https://management.azure.com/"
local LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
local FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
local EVERY, HELD = 60, 15 -- nominal seconds between looks, and that a lease is held
local NEEDED = { "cloud", "tenantId", "subscriptionId", "resourceGroup", "location", "vnetName", "subnetName", "loadBalancerSku",
  "userAssignedIdentityID" }

-- azure.json, or nil and why it cannot be used.
local function config_of(self)
  local path = self:argument "cloud-config" or ""
  local text = self:file(path)
  if not text then return nil, ("open %s: no such file or directory"):format(path) end
  local config = json.decode(text)
  if type(config) ~= "table" then return nil, path .. " is no JSON" end
  for _, key in ipairs(NEEDED) do
    if type(config[key]) ~= "string" or config[key] == "" then return nil, ("%s: %s is not set"):format(path, key) end
  end
  if config.useManagedIdentityExtension ~= true then return nil, path .. ": no credential is set" end
  return config
end

local function crash(self)
  local config, why = config_of(self)
  return not config and 'Cloud provider "azure" could not be initialized: ' .. why or nil
end

-- ARM, in the identity's name. Each fails with ARM's words.

local Arm = {}
Arm.__index = Arm

local function sign_in(self, config)
  local answer, why = self:metadata(("identity/oauth2/token?resource=%s&client_id=%s"):format(AUDIENCE, config.userAssignedIdentityID))
  if not answer then error({ words = "ManagedIdentityCredential authentication failed: " .. why }, 0) end
  return setmetatable({ token = answer.access_token, config = config, sleep = self.cluster.sleep,
    group = ("/subscriptions/%s/resourceGroups/%s"):format(config.subscriptionId, config.resourceGroup) }, Arm)
end

function Arm:request(method, id, api, body)
  local answer = require("emulator.arm.server").handle { method = method, path = id, query = { ["api-version"] = api }, host = "localhost",
    headers = { authorization = "Bearer " .. self.token }, body = body and json.encode(body) or "" }
  local told = answer.body and answer.body ~= "" and json.decode(answer.body) or nil
  if answer.status == 404 and method ~= "PUT" then return nil end
  if answer.status >= 400 then
    local problem = value.get(told, "error") or {}
    error({ words = ("%s %s: HTTP %d %s: %s"):format(method, id, answer.status, problem.code or "", problem.message or "") }, 0)
  end
  return told or {}
end

function Arm:get(id, api) return self:request("GET", id, api or NETWORK) end

-- Until what was written has settled.
function Arm:settled(id, api)
  for _ = 1, 100 do
    local now = self:get(id, api)
    local state = now and value.get(now, "properties", "provisioningState")
    if not now or state == "Succeeded" or state == "Failed" then return now end
    self.sleep(2)
  end
end

function Arm:put(id, body, api)
  self:request("PUT", id, api or NETWORK, body)
  return self:settled(id, api)
end

function Arm:delete(id, api)
  if self:request("DELETE", id, api or NETWORK) then self:settled(id, api) end
end

function Arm:network(type_, name) return ("%s/providers/Microsoft.Network/%s/%s"):format(self.group, type_, name) end

-- What belongs to a Service

local function name_of(service) return "a" .. service.metadata.uid:gsub("-", ""):sub(1, 31) end

local function rules_id(arm)
  local config = arm.config
  if not config.securityGroupName then error({ words = "securityGroupName is not configured" }, 0) end
  return ("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Network/networkSecurityGroups/%s"):format(config.subscriptionId,
    config.securityGroupResourceGroup or config.resourceGroup, config.securityGroupName)
end

local function rule_name(name) return "k8s-azure-lb_allow_IPv4_" .. crypto.sha256(name):sub(1, 32) end

local function without(list, name)
  return value.filter(list, function(item)
    return item.name ~= name and item.name:sub(1, #name + 1) ~= name .. "-"
  end)
end

-- The balancer's parts that are a Service's, put into `properties` in the place of what it had there.
local function fill_balancer(properties, id, service, public)
  local name = name_of(service)
  local pool = public and id .. "/backendAddressPools/kubernetes"
  local frontends, rules, probes = without(properties.frontendIPConfigurations, name), without(properties.loadBalancingRules, name),
    without(properties.probes, name)
  for _, port in ipairs(public and service.spec.ports or {}) do
    local own = ("%s-%s-%d"):format(name, (port.protocol or "TCP"), port.port)
    probes[#probes + 1] = { name = own, properties = { protocol = "Tcp", port = port.nodePort, intervalInSeconds = 5 } }
    rules[#rules + 1] = { name = own, properties = { protocol = port.protocol == "UDP" and "Udp" or "Tcp", frontendPort = port.port,
      backendPort = port.port, enableFloatingIP = true, disableOutboundSnat = true, probe = { id = id .. "/probes/" .. own },
      backendAddressPool = { id = pool }, frontendIPConfiguration = { id = id .. "/frontendIPConfigurations/" .. name } } }
  end
  if public then frontends[#frontends + 1] = { name = name, properties = { publicIPAddress = { id = public.id } } } end
  properties.frontendIPConfigurations, properties.loadBalancingRules, properties.probes = json.array(frontends), json.array(rules), json.array(probes)
  properties.backendAddressPools = json.array { { name = "kubernetes" } }
  return #frontends
end

local function each_set(arm, fn)
  local list = arm:get(arm.group .. "/providers/Microsoft.Compute/virtualMachineScaleSets", COMPUTE)
  for _, set in ipairs(list and list.value or {}) do
    local interfaces = value.get(set, "properties", "virtualMachineProfile", "networkProfile", "networkInterfaceConfigurations")
    if interfaces then fn(set, interfaces[1].properties.ipConfigurations[1].properties) end
  end
end

-- Whether the sets of workers send the pool their instances' addresses: their model is written if it is not so.
local function join(arm, pool, joined)
  each_set(arm, function(set, address)
    local others = value.filter(address.loadBalancerBackendAddressPools, function(item) return item.id:lower() ~= pool:lower() end)
    local is = #others < #(address.loadBalancerBackendAddressPools or {})
    if is == joined then return end
    if joined then others[#others + 1] = { id = pool } end
    address.loadBalancerBackendAddressPools = json.array(others)
    arm:put(set.id, { location = set.location, sku = set.sku, properties = { virtualMachineProfile = {
      networkProfile = set.properties.virtualMachineProfile.networkProfile } } }, COMPUTE)
  end)
end

local function free_priority(rules)
  local taken = {}
  for _, rule in ipairs(rules or {}) do taken[rule.properties.priority] = true end
  for priority = 500, 4096 do
    if not taken[priority] then return priority end
  end
end

local function open(arm, name, service, public)
  local group = arm:get(rules_id(arm)) or error({ words = "the network security group is not found" }, 0)
  local own, ports = rule_name(name), json.array {}
  for i, port in ipairs(service.spec.ports) do ports[i] = tostring(port.port) end
  local old = value.find(group.properties.securityRules, "name", own)
  if old and value.equal(old.properties.destinationPortRanges, ports) then return end
  arm:put(group.id .. "/securityRules/" .. own, { properties = { protocol = "Tcp", access = "Allow", direction = "Inbound",
    sourceAddressPrefix = "Internet", sourcePortRange = "*", destinationAddressPrefix = public.properties.ipAddress,
    destinationPortRanges = ports, priority = old and old.properties.priority or free_priority(group.properties.securityRules) } })
end

local function ensure(self, arm, service)
  local cluster, name = self:argument "cluster-name", name_of(service)
  local ip, id = arm:network("publicIPAddresses", cluster .. "-" .. name), arm:network("loadBalancers", cluster)
  local public = arm:get(ip) or arm:put(ip, { location = arm.config.location, sku = { name = "Standard" },
    tags = { ["k8s-azure-cluster-name"] = cluster, ["k8s-azure-service"] = service.metadata.namespace .. "/" .. service.metadata.name },
    properties = { publicIPAllocationMethod = "Static" } })
  local balancer = arm:get(id) or { location = arm.config.location, sku = { name = "Standard" }, properties = {} }
  if not value.find(balancer.properties.frontendIPConfigurations, "name", name) then
    fill_balancer(balancer.properties, id, service, public)
    arm:put(id, { location = balancer.location, sku = balancer.sku, tags = balancer.tags, properties = balancer.properties })
  end
  join(arm, id .. "/backendAddressPools/kubernetes", true)
  open(arm, name, service, public)
  return public.properties.ipAddress
end

local function remove(self, arm, service)
  local cluster, name = self:argument "cluster-name", name_of(service)
  local id = arm:network("loadBalancers", cluster)
  arm:delete(rules_id(arm) .. "/securityRules/" .. rule_name(name))
  local balancer = arm:get(id)
  if balancer then
    if fill_balancer(balancer.properties, id, service, nil) > 0 then
      arm:put(id, { location = balancer.location, sku = balancer.sku, tags = balancer.tags, properties = balancer.properties })
    else
      join(arm, id .. "/backendAddressPools/kubernetes", false)
      arm:delete(id)
    end
  end
  arm:delete(arm:network("publicIPAddresses", cluster .. "-" .. name))
end

-- Services

local function path_of(service)
  return ("/api/v1/namespaces/%s/services/%s"):format(service.metadata.namespace, service.metadata.name)
end

local function put_finalizers(api, service, keep)
  local list = value.filter(service.metadata.finalizers, function(name) return name ~= FINALIZER end)
  if keep then list[#list + 1] = FINALIZER end
  return api:call("PATCH", path_of(service), { metadata = { finalizers = json.array(list) } }, "application/merge-patch+json")
end

local function reconcile(self, api, config, service)
  local ours = value.contains(service.metadata.finalizers, FINALIZER)
  local wanted = service.spec.type == "LoadBalancer" and not service.metadata.deletionTimestamp
  if not wanted and not ours then return true end
  local arm = sign_in(self, config)
  if not wanted then
    remove(self, arm, service)
    return put_finalizers(api, service, false)
  end
  local done, why = true, nil
  if not ours then done, why = put_finalizers(api, service, true) end
  if not done then return nil, why end
  local address = ensure(self, arm, service)
  local ingress = { { ip = address } }
  if value.equal(value.get(service, "status", "loadBalancer", "ingress"), ingress) then return true end
  self.cluster:event(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer", "service-controller")
  return api:call("PATCH", path_of(service) .. "/status", { status = { loadBalancer = { ingress = json.array(ingress) } } },
    "application/merge-patch+json")
end

-- Of several one leads: who holds the lease.
local function leads(self, api)
  local now, me = task.time(), self.pod.metadata.name
  local spec = { holderIdentity = me, leaseDurationSeconds = HELD, renewTime = value.micro_time(now) }
  local lease, why, code = api:call("GET", LEASE .. "/cloud-controller-manager")
  if not lease and code ~= 404 then return nil, why end
  if not lease then
    return api:call("POST", LEASE, { apiVersion = "coordination.k8s.io/v1", kind = "Lease", spec = spec,
      metadata = { name = "cloud-controller-manager", namespace = "kube-system" } })
  end
  local holder = lease.spec.holderIdentity
  local over = holder ~= me and not self.cluster.store:get("/pods", "kube-system", holder)
  if holder ~= me and not over then return false end
  lease.spec = spec
  return api:call("PUT", LEASE .. "/cloud-controller-manager", lease)
end

local function look(self)
  local config, why = config_of(self)
  if not config then return nil, why end
  local api
  api, why = self:api()
  if not api then return nil, why end
  local leader
  leader, why = leads(self, api)
  if leader == false then return true end
  if not leader then return nil, "error retrieving resource lock: " .. why end
  local list
  list, why = api:call("GET", "/api/v1/services")
  if not list then return nil, why end
  local failed
  for _, service in ipairs(list.items) do
    local ok, done, message = pcall(reconcile, self, api, config, service)
    if not ok and not (type(done) == "table" and done.words) then error(done, 0) end
    local problem = not ok and done.words or not done and message
    if problem then
      failed = failed or problem
      self.cluster:event(service, "Warning", "SyncLoadBalancerFailed", "Error syncing load balancer: failed to ensure load balancer: " .. problem,
        "service-controller")
    end
  end
  return not failed, failed
end

local CONCERNS = { ["/services"] = true, ["/secrets"] = true }

return { crash = crash, look = look, every = EVERY, concerns = function(_, event) return CONCERNS[event.kind] end }
