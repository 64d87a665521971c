--- Azure's cloud-node-manager: says on its own Node what its machine is, as the machine's metadata service tells, and lifts the taint
-- that the Node waits with. Later it keeps the addresses.
local json = require "json"
local value = require "emulator.kubernetes.value"

local TAINT = "node.cloudprovider.kubernetes.io/uninitialized"
local PROVIDED = "alpha.kubernetes.io/provided-node-ip"
local EVERY = 300 -- nominal seconds between looks

local function is_tainted(node)
  return value.find(value.get(node, "spec", "taints"), "key", TAINT) ~= nil
end

-- The addresses of the first interface; behind a Standard load balancer its public address counts as the machine's.
local function addresses_of(self, told, name)
  local list = json.array { { type = "Hostname", address = name } }
  local public = self:metadata "loadbalancer"
  for _, address in ipairs(value.get(told, "network", "interface", 1, "ipv4", "ipAddress") or {}) do
    list[#list + 1] = { type = "InternalIP", address = address.privateIpAddress }
    local outside = address.publicIpAddress
    for _, pair in ipairs(value.get(public, "loadbalancer", "publicIpAddresses") or {}) do
      if outside == "" and pair.privateIpAddress == address.privateIpAddress then outside = pair.frontendIpAddress end
    end
    if outside ~= "" then list[#list + 1] = { type = "ExternalIP", address = outside } end
  end
  return #list > 1 and list or nil, "get empty IP addresses from instance metadata service"
end

local function provider_id(compute)
  return "azure://" .. (compute.resourceId:gsub("/resource[gG]roups/([^/]+)", function(group) return "/resourceGroups/" .. group:lower() end))
end

local function labels_of(compute)
  local location = compute.location:lower()
  local zone = compute.zone ~= "" and location .. "-" .. compute.zone or compute.platformFaultDomain
  return { ["node.kubernetes.io/instance-type"] = compute.vmSize, ["topology.kubernetes.io/region"] = location,
    ["topology.kubernetes.io/zone"] = zone }
end

local function set_up(self, api, node, told, addresses)
  local provided = value.get(node, "metadata", "annotations", PROVIDED)
  local known = not provided
  for _, address in ipairs(addresses) do known = known or address.address == provided end
  if not known then return nil, "failed to find kubelet node IP from cloud provider" end
  node.spec.providerID = node.spec.providerID or provider_id(told.compute)
  for key, text in pairs(labels_of(told.compute)) do node.metadata.labels[key] = text end
  node.spec.taints = value.filter(node.spec.taints, function(taint) return taint.key ~= TAINT end)
  if #node.spec.taints == 0 then node.spec.taints = nil end
  local done, why = api:call("PUT", "/api/v1/nodes/" .. node.metadata.name, node)
  if not done then return nil, why end
  self:say("Successfully initialized node %s with cloud provider", node.metadata.name)
  return done
end

local function name_of(self) return self:argument "node-name" or self.kubelet.name end

local function keep(self, name)
  local api, why = self:api()
  if not api then return nil, why end
  local node
  node, why = api:call("GET", "/api/v1/nodes/" .. name)
  if not node then return nil, why end
  local told
  told, why = self:metadata "instance"
  if not told then return nil, "failed to set node provider id: " .. why end
  local addresses
  addresses, why = addresses_of(self, told, name)
  if not addresses then return nil, why end
  if is_tainted(node) then
    node, why = set_up(self, api, node, told, addresses)
    if not node then return nil, why end
  end
  if value.equal(value.get(node, "status", "addresses"), addresses) then return true end
  return api:call("PATCH", "/api/v1/nodes/" .. name .. "/status", { status = { addresses = addresses } }, "application/merge-patch+json")
end

local function look(self)
  local name = name_of(self)
  local ok, why = keep(self, name)
  return ok, not ok and ("failed to initialize node %s at cloudprovider: %s"):format(name, why) or nil
end

return { look = look, every = EVERY,
  concerns = function(self, event) return event.kind == "/nodes" and event.object.metadata.name == name_of(self) end }
