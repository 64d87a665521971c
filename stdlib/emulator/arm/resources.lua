--- Microsoft.Resources: subscriptions, resource groups, providers, the list of everything.
local json = require "json"
local world = require "emulator.world"
local records, operations, requests = require "emulator.arm.records", require "emulator.arm.operations", require "emulator.arm.requests"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"
local ids, template_hash = require "emulator.arm.id", require "emulator.arm.template_hash"

local raise = problem.raise
local GROUP = "Microsoft.Resources/resourceGroups"

records.define(GROUP, {
  kind = "azure.resource_group", style = style.group, located = true, seconds = { delete = 15 }, delete_verb = "delete_group",
})

local function group_id(name) return ("/subscriptions/%s/resourceGroups/%s"):format(world.subscription, name) end

--- The ids that others may mention: of a record and of its inline children.
local function mentioned(record)
  local list = { record.id }
  for name in pairs(records.statement(record.type).children or {}) do
    for _, element in ipairs(record.body.properties[name] or {}) do list[#list + 1] = element.id end
  end
  return list
end

--- A reference from outside keeps the group's content from going.
local function blocked(group)
  local prefix = group.id:lower() .. "/"
  for record in records.each(nil, group.id .. "/") do
    for _, id in ipairs(mentioned(record)) do
      for _, user in ipairs(records.users(id)) do
        local outside = user.record and user.record.id:lower():sub(1, #prefix) ~= prefix
        if outside and user.key ~= "remoteVirtualNetwork" then
          raise(409, "ResourceGroupDeletionBlocked", ("Deletion of resource group '%s' failed as resource '%s' could not be deleted: "
            .. "it is used by '%s'."):format(group.name, id, user.from))
        end
      end
    end
  end
end
records.types[GROUP:lower()].busy = blocked

local groups = {}

function groups.PUT(id, ctx)
  if not requests.may_be_named(records.types[GROUP:lower()], id.group) then
    raise(400, "InvalidResourceGroup", ("The provided resource group name '%s' has these invalid characters: '%s'. The name can only "
      .. "be a letter, digit, '-', '.', '(', ')' or '_'."):format(id.group, (id.group:gsub("[%w_().-]", ""))), { gateway = true })
  end
  local old = records.get(group_id(id.group))
  if old and old.state == "Deleting" then
    raise(409, "ResourceGroupBeingDeleted", ("The resource group '%s' is in deprovisioning state and cannot perform this operation.")
      :format(old.name), { gateway = true })
  end
  local sent = requests.body_of(ctx)
  local location = type(sent.location) == "string" and sent.location:lower():gsub("%s+", "") or old and old.body.location
  if not location then raise(400, "LocationRequired", "The location property is required for this definition.", { gateway = true }) end
  if not records.locations[location] then
    raise(400, "LocationNotAvailableForResourceGroup", ("The provided location '%s' is not available for resource group. List of "
      .. "available regions is '%s'."):format(location, table.concat(value.keys(records.locations), ",")), { gateway = true })
  end
  if old and old.body.location ~= location then
    raise(409, "InvalidResourceGroupLocation", ("Invalid resource group location '%s'. The Resource group already exists in location "
      .. "'%s'."):format(location, old.body.location), { gateway = true })
  end
  local body = { location = location, tags = sent.tags ~= json.null and sent.tags or nil, properties = {},
    managedBy = sent.managedBy ~= json.null and sent.managedBy or nil }
  local record = old or records.new(GROUP, group_id(id.group), body)
  record.body = body
  records.save(record)
  return { status = old and 200 or 201, json = records.show(record) }
end

function groups.PATCH(id, ctx)
  local record = requests.group_record(id)
  local sent = requests.body_of(ctx)
  if sent.tags then record.body.tags = value.strip_null(sent.tags) end
  records.save(record)
  return { status = 200, json = records.show(record) }
end

function groups.GET(id) return { status = 200, json = records.show(requests.group_record(id)) } end

function groups.HEAD(id) return { status = records.get(group_id(id.group)) and 204 or 404 } end

function groups.DELETE(id, ctx)
  local record = records.get(group_id(id.group))
  if not record then problem.group_not_found(id.group) end
  local op = operations.under_way(record)
  if not op then
    blocked(record)
    record.state = "Deleting"
    local count = 0
    for _ in records.each(nil, record.id .. "/") do count = count + 1 end
    op = operations.start { verb = "delete_group", resource = record.id, seconds = 15 + 5 * count, style = "group",
      location = record.body.location, namespace = "Microsoft.Resources" }
    record.op = op.id
    records.save(record)
  end
  return { status = 202, headers = operations.headers(op, ctx, "location") }
end

local function subscription()
  return { id = "/subscriptions/" .. world.subscription, subscriptionId = world.subscription, displayName = "vmrun emulator",
    state = "Enabled", tenantId = world.tenant, authorizationSource = "RoleBased", managedByTenants = json.array {},
    subscriptionPolicies = { locationPlacementId = "Public_2014-09-01", quotaId = "PayAsYouGo_2014-09-01", spendingLimit = "Off" } }
end

local function locations()
  local list = {}
  for _, name in ipairs(value.keys(records.locations)) do
    list[#list + 1] = { id = "/subscriptions/" .. world.subscription .. "/locations/" .. name, name = name, displayName = name,
      regionalDisplayName = name, type = "Region", metadata = { regionType = "Physical", regionCategory = "Recommended",
      geographyGroup = "Emulated", longitude = "0", latitude = "0", physicalLocation = name } }
  end
  return list
end

-- Providers: every stated type is listed with versions that clients use.
local VERSIONS = { "2025-05-01", "2025-04-01", "2025-01-01", "2024-11-30", "2024-07-01", "2024-03-01", "2023-09-01", "2023-01-01",
  "2022-07-01", "2022-04-01", "2021-04-01", "2020-06-01", "2019-10-01", "2018-11-30", "2018-06-01" }

local NAMESPACES = { "Microsoft.Authorization", "Microsoft.Compute", "Microsoft.KeyVault", "Microsoft.ManagedIdentity",
  "Microsoft.Network", "Microsoft.Resources", "Microsoft.Storage", "Microsoft.Insights", "Microsoft.OperationalInsights",
  "Microsoft.ContainerRegistry" }

local function provider(namespace)
  local types, name = {}, namespace
  for _, known in pairs(records.types) do
    local ns, rest = known.type:match("^([^/]+)/(.+)$")
    if ns:lower() == namespace:lower() then
      name = ns
      types[#types + 1] = { resourceType = rest, locations = json.array(value.keys(records.locations)),
        apiVersions = json.array(value.copy(VERSIONS)), capabilities = "None" }
    end
  end
  table.sort(types, function(a, b) return a.resourceType < b.resourceType end)
  local state = world.store:get("provider", name:lower()) or "Registered"
  return { id = ("/subscriptions/%s/providers/%s"):format(world.subscription, name), namespace = name, registrationState = state,
    registrationPolicy = "RegistrationRequired", resourceTypes = json.array(types) }
end

local function providers(steps, ctx)
  local namespace, action = steps[4], steps[5] and steps[5]:lower()
  if not namespace then
    local list = {}
    for i, name in ipairs(NAMESPACES) do list[i] = provider(name) end
    return requests.page(list, ctx)
  end
  if action == "register" or action == "unregister" then
    world.store:put("provider", namespace:lower(), action == "register" and "Registered" or "NotRegistered")
  end
  return { status = 200, json = provider(namespace) }
end

-- `$filter` of the resource lists: comparisons joined by "and".
local function filter_of(text)
  local wants = {}
  for field, item in (text or ""):gmatch("([%w/]+)%s+eq%s+'([^']*)'") do wants[field:lower()] = item:lower() end
  for item, field in (text or ""):gmatch("substringof%('([^']*)',%s*(%w+)%)") do wants["~" .. field:lower()] = item:lower() end
  return function(record)
    for field, want in pairs(wants) do
      local have
      if field == "resourcetype" then have = record.type
      elseif field == "name" then have = record.name
      elseif field == "location" then have = record.body.location
      elseif field == "resourcegroup" then have = record.id:match("/resource[gG]roups/([^/]+)")
      elseif field == "~name" then have = record.name:lower():find(want, 1, true) and want or ""
      elseif field == "tagname" then have = (record.body.tags or {})[want] and want
      elseif field == "tagvalue" then have = want
      else have = want end
      if tostring(have):lower() ~= want then return false end
    end
    return true
  end
end

local TOP_LEVEL = { ["Microsoft.Resources/resourceGroups"] = false, ["Microsoft.Resources/deployments"] = false,
  ["Microsoft.Authorization/roleAssignments"] = false, ["Microsoft.Authorization/roleDefinitions"] = false }

local function resources(scope, ctx)
  local items, wanted = {}, filter_of(ctx.query["$filter"])
  for record in records.each(nil, scope .. "/") do
    local nested = select(2, record.type:gsub("/", "")) > 1
    if not nested and TOP_LEVEL[record.type] == nil and wanted(record) then
      local shown = records.show(record, ctx)
      local item = { id = shown.id, name = shown.name, type = record.type, location = shown.location, tags = shown.tags, sku = shown.sku,
        kind = shown.kind, identity = shown.identity, zones = shown.zones, managedBy = shown.managedBy }
      local expand = (ctx.query["$expand"] or ""):lower()
      if expand:find("provisioningstate") then item.provisioningState = record.state end
      items[#items + 1] = item
    end
  end
  return requests.page(items, ctx)
end

--- Answers what belongs to Resource Manager itself; nil when the path is a provider's.
local function handle(ctx)
  local steps = ids.split(ctx.path)
  local method = ctx.req.method
  local head = steps[1] and steps[1]:lower()
  if head == "tenants" then
    return { status = 200, json = { value = json.array { { id = "/tenants/" .. world.tenant, tenantId = world.tenant,
      displayName = "vmrun emulator", tenantCategory = "Home", countryCode = "XX", domains = json.array {} } } } }
  end
  if method == "POST" and #steps == 3 and ctx.path:lower() == "/providers/microsoft.resources/calculatetemplatehash" then
    requests.body_of(ctx)
    local words, hash = template_hash.of(ctx.req.body)
    return { status = 200, json = { minifiedTemplate = words, templateHash = hash } }
  end
  if head == "providers" and #steps <= 2 then
    return providers({ nil, nil, nil, steps[2] }, ctx)
  end
  if head ~= "subscriptions" then return nil end
  if not steps[2] then return { status = 200, json = { value = json.array { subscription() }, count = { type = "Total", value = 1 } } } end
  if steps[2]:lower() ~= world.subscription then
    raise(404, "SubscriptionNotFound", ("The subscription '%s' could not be found."):format(steps[2]), { gateway = true })
  end
  local second = steps[3] and steps[3]:lower()
  if not second then return { status = 200, json = subscription() } end
  if second == "locations" then return { status = 200, json = { value = json.array(locations()) } } end
  if second == "providers" and (#steps <= 4 or (#steps == 5 and steps[5]:lower():find("register$"))) then
    return providers(steps, ctx)
  end
  if second == "resources" then return resources("/subscriptions/" .. steps[2], ctx) end
  if second == "resourcegroups" then
    if not steps[4] then
      local items = {}
      for record in records.each(GROUP) do items[#items + 1] = records.show(record) end
      return requests.page(items, ctx)
    end
    if #steps == 4 then
      local act = groups[method]
      if not act then raise(405, "HttpMethodNotAllowed", ("The method '%s' is not allowed."):format(method)) end
      return act(ids.parse(ctx.path), ctx)
    end
    if #steps == 5 and steps[5]:lower() == "resources" then
      requests.group_record(ids.parse(ctx.path))
      return resources("/" .. table.concat(steps, "/", 1, 4), ctx)
    end
  end
  return nil
end

return { handle = handle, provider = provider }
