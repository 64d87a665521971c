--- What a client asks before it writes: permissions, usages, sizes, policy. `PUT /emulator/limits` says what is scarce or denied here.
local json, task = require "json", require "task"
local world, clock, admin = require "emulator.world", require "emulator.clock", require "emulator.admin"
local records, requests, ids = require "emulator.arm.records", require "emulator.arm.requests", require "emulator.arm.id"
local problem, value = require "emulator.arm.problem", require "emulator.arm.value"

local ASSIGNMENT, DEFINITION = "Microsoft.Authorization/roleAssignments", "Microsoft.Authorization/roleDefinitions"
local VM, SET = "Microsoft.Compute/virtualMachines", "Microsoft.Compute/virtualMachineScaleSets"
local INSTANCE = SET .. "/virtualMachines"
local EFFECTIVE = 15 -- nominal seconds, as in authorization.lua
local PLENTY = { cores = 20000, family = 10000, network = 5000 }

-- What was put to /emulator/limits: `{quota = {NAME = N}, sizes = {SIZE = {zones = {"1"}} or false}, policies = {{name=, effect=, type=,
-- without_tag=}}}`. A policy meets the type, or all; without the tag, if it names one.
local function limits() return world.store:get("world", "limits") or {} end

-- Sizes: a pattern for the number of vCPUs, the family that quota counts, GiB a vCPU, the numbers there are.
local LARGE = { 2, 4, 8, 16, 32, 48, 64, 96 }
local SERIES = {
  { "Standard_D%ds_v3", "standardDSv3Family", 4, { 2, 4, 8, 16, 32, 48, 64 } },
  { "Standard_D%ds_v4", "standardDSv4Family", 4, { 2, 4, 8, 16, 32, 48, 64 } },
  { "Standard_D%ds_v5", "standardDSv5Family", 4, LARGE }, { "Standard_D%d_v5", "standardDv5Family", 4, LARGE },
  { "Standard_D%das_v5", "standardDASv5Family", 4, LARGE }, { "Standard_D%dps_v5", "standardDPSv5Family", 4, { 2, 4, 8, 16, 32, 48, 64 } },
  { "Standard_D%dds_v5", "standardDDSv5Family", 4, LARGE }, { "Standard_E%ds_v5", "standardESv5Family", 8, LARGE },
  { "Standard_E%das_v5", "standardEASv5Family", 8, LARGE }, { "Standard_B%ds_v2", "standardBsv2Family", 4, { 2, 4, 8, 16, 32 } },
  { "Standard_F%ds_v2", "standardFSv2Family", 2, { 2, 4, 8, 16, 32, 48, 64, 72 } },
  { "Standard_B%dms", "standardBSFamily", 4, { 2, 4, 8, 12, 16, 20 } }, { "Standard_B%ds", "standardBSFamily", 2, { 2 } },
  { "Standard_B%dms", "standardBSFamily", 2, { 1 } }, { "Standard_B%ds", "standardBSFamily", 1, { 1 } },
}

local sizes, families = {}, {}
for _, series in ipairs(SERIES) do
  for _, n in ipairs(series[4]) do sizes[series[1]:format(n)] = { family = series[2], cores = n, memory = series[3] * n } end
  families[series[2]] = true
end

local function sku(name, size, location)
  local limit = limits().sizes and limits().sizes[name]
  local zones, restrictions = { "1", "2", "3" }, {}
  if limit == false then
    restrictions[1] = { type = "Location", values = json.array { location }, reasonCode = "NotAvailableForSubscription",
      restrictionInfo = { locations = json.array { location } } }
  elseif limit then
    local open = {}
    for _, zone in ipairs(limit.zones) do open[zone] = true end
    local shut = {}
    for _, zone in ipairs(zones) do
      if not open[zone] then shut[#shut + 1] = zone end
    end
    restrictions[1] = { type = "Zone", values = json.array { location }, reasonCode = "NotAvailableForSubscription",
      restrictionInfo = { locations = json.array { location }, zones = json.array(shut) } }
  end
  return { resourceType = "virtualMachines", name = name, tier = "Standard", size = name:gsub("^Standard_", ""), family = size.family,
    locations = json.array { location }, locationInfo = json.array { { location = location, zones = json.array(zones),
      zoneDetails = json.array {} } }, capabilities = json.array { { name = "vCPUs", value = tostring(size.cores) },
      { name = "MemoryGB", value = tostring(size.memory) }, { name = "LowPriorityCapable", value = "True" } },
    restrictions = json.array(restrictions) }
end

local answers = {}

answers["GET microsoft.compute/skus"] = function(_, ctx)
  local location = (ctx.query["$filter"] or ""):match("location%s+eq%s+'([^']*)'")
  local wanted, items = location and { [location:lower()] = true } or records.locations, {}
  for _, place in ipairs(value.keys(wanted)) do
    for _, name in ipairs(value.keys(sizes)) do
      if records.locations[place] then items[#items + 1] = sku(name, sizes[name], place) end
    end
  end
  return requests.page(items, ctx)
end

local LABELS = { cores = "Total Regional vCPUs", lowPriorityCores = "Total Regional Low-priority vCPUs",
  virtualMachines = "Virtual Machines", PublicIPAddresses = "Public IP Addresses",
  StandardSkuPublicIpAddresses = "Public IPv4 Addresses - Standard" }

local function usage(name, used, plenty)
  local limit, series = (limits().quota or {})[name] or plenty, name:match("^standard(%w+)Family$")
  local label = LABELS[name] or series and ("Standard %s Family vCPUs"):format(series) or name
  return { name = { value = name, localizedValue = label }, currentValue = used, limit = limit, unit = "Count" }
end

-- Machines that hold cores: all but those that are deallocated.
local function cores_in(location)
  local used = { cores = 0, virtualMachines = 0 }
  local function add(name, n) used[name] = (used[name] or 0) + n end
  for _, type_name in ipairs { VM, INSTANCE } do
    for record in records.each(type_name) do
      local size = record.body.location == location and sizes[value.at(record.body, "properties.hardwareProfile.vmSize") or ""]
      local machine = size and world.machines and world.machines.get(record.id)
      if size then add("virtualMachines", 1) end
      if size and not (machine and machine.power == "deallocated") then
        if record.body.properties.priority == "Spot" then
          add("lowPriorityCores", size.cores)
        else
          add("cores", size.cores)
          add(size.family, size.cores)
        end
      end
    end
  end
  return used
end

answers["GET microsoft.compute/locations/usages"] = function(id, ctx)
  local used = cores_in(id.names[1]:lower())
  local items = { usage("cores", used.cores, PLENTY.cores), usage("virtualMachines", used.virtualMachines, PLENTY.cores),
    usage("lowPriorityCores", used.lowPriorityCores or 0, PLENTY.family) }
  for _, name in ipairs(value.keys(families)) do items[#items + 1] = usage(name, used[name] or 0, PLENTY.family) end
  return requests.page(items, ctx)
end

-- As many disks as most families take.
local function size_of(name)
  local size = sizes[name]
  return { name = name, numberOfCores = size.cores, osDiskSizeInMB = 1047552, resourceDiskSizeInMB = 0, memoryInMB = size.memory * 1024,
    maxDataDiskCount = math.min(2 * size.cores, 32) }
end

answers["GET microsoft.compute/locations/vmsizes"] = function()
  local items = json.array {}
  for i, name in ipairs(value.keys(sizes)) do items[i] = size_of(name) end
  return { status = 200, json = { value = items } }
end
answers["GET microsoft.compute/virtualmachines/vmsizes"] = answers["GET microsoft.compute/locations/vmsizes"]

local COUNTED = { PublicIPAddresses = "publicIPAddresses", StandardSkuPublicIpAddresses = "publicIPAddresses", NatGateways = "natGateways",
  VirtualNetworks = "virtualNetworks", NetworkInterfaces = "networkInterfaces", NetworkSecurityGroups = "networkSecurityGroups",
  LoadBalancers = "loadBalancers", RouteTables = "routeTables" }

answers["GET microsoft.network/locations/usages"] = function(id, ctx)
  local items, location = {}, id.names[1]:lower()
  for _, name in ipairs(value.keys(COUNTED)) do
    local used = 0
    for record in records.each("Microsoft.Network/" .. COUNTED[name]) do
      if record.body.location == location then used = used + 1 end
    end
    items[#items + 1] = usage(name, used, PLENTY.network)
  end
  return requests.page(items, ctx)
end

answers["GET microsoft.authorization/permissions"] = function(id, ctx)
  if id.group then requests.group_record(id) end
  if ctx.principal.owner then
    local none = json.array {}
    return requests.page({ { actions = json.array { "*" }, notActions = none, dataActions = none, notDataActions = none } }, ctx)
  end
  local items, scope, roles = {}, id.scope:lower(), records.statement(DEFINITION).answers
  for record in records.each(ASSIGNMENT) do
    local p = record.body.properties
    local own = p.scope:lower()
    if p.principalId:lower() == ctx.principal.object_id:lower() and (own == "/" or scope == own or scope:sub(1, #own + 1) == own .. "/")
      and task.time() >= record.created + clock.scale(EFFECTIVE) then
      local role = roles.GET { whole = true, name = p.roleDefinitionId:match("[^/]+$") }
      for _, permission in ipairs(role and role.json.properties.permissions or {}) do items[#items + 1] = permission end
    end
  end
  return requests.page(items, ctx)
end

local POLICY = "Microsoft.Authorization/policyAssignments"
local function policy_id(policy) return ("/subscriptions/%s/providers/%s/%s"):format(world.subscription, POLICY, policy.name) end

answers["GET microsoft.authorization/policyassignments"] = function(_, ctx)
  local items = {}
  for record in records.each(POLICY) do items[#items + 1] = records.show(record) end
  for _, policy in ipairs(limits().policies or {}) do
    items[#items + 1] = { id = policy_id(policy), name = policy.name, type = POLICY, properties = { displayName = policy.name,
      scope = "/subscriptions/" .. world.subscription, enforcementMode = "Default" } }
  end
  return requests.page(items, ctx)
end

answers["POST microsoft.policyinsights/checkpolicyrestrictions"] = function(_, ctx)
  local details = requests.body_of(ctx).resourceDetails
  local content = type(details) == "table" and details.resourceContent
  if type(content) ~= "table" or type(content.type) ~= "string" then
    problem.raise(400, "InvalidCheckRestrictionsRequest", "The request has no resourceDetails.resourceContent with a type.")
  end
  local found = {}
  for _, policy in ipairs(limits().policies or {}) do
    local meant = not policy.type or policy.type:lower() == content.type:lower()
    if meant and not (policy.without_tag and (content.tags or {})[policy.without_tag]) then
      found[#found + 1] = { policyInfo = { policyAssignmentId = policy_id(policy) },
        evaluationResult = "NonCompliant", effectDetails = { policyEffect = policy.effect or "Deny" },
        evaluationDetails = { evaluatedExpressions = json.array {} } }
    end
  end
  return { status = 200, json = { fieldRestrictions = json.array {}, contentEvaluationResult = { policyEvaluations = json.array(found) } } }
end

--- Answers what is asked here, and what others add to `answers` ("METHOD namespace/types", with "/*" where the last has a name); nil leaves
-- it to the rest.
local function handle(ctx)
  local id = ids.parse(ctx.path)
  local fn = id.type and answers[ctx.req.method .. " " .. id.type:lower() .. (id.whole and "/*" or "")]
  return fn and fn(id, ctx)
end

admin.route("PUT /emulator/limits", function(req)
  local body = json.decode(req.body)
  if type(body) ~= "table" then
    return { status = 400, json = { error = { code = "BadRequest", message = "wants {\"quota\": {}, \"sizes\": {}, \"policies\": []}" } } }
  end
  world.store:put("world", "limits", body)
  return { status = 200, json = body }
end)

--- An application with a secret that may do nothing yet.
admin.route("POST /emulator/application", function(req)
  local principal, secret = world.entra.add_application(req.query.name or "application")
  principal.owner = nil
  world.store:put("principal", principal.client_id, principal)
  return { status = 200, json = { client_id = principal.client_id, client_secret = secret, object_id = principal.object_id } }
end)

return { handle = handle, answers = answers }
