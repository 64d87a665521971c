--- Microsoft.Insights: autoscale settings, diagnostic settings, data collection rules and where these are put to work.
local crypto, json = require "crypto", require "json"
local ids, records, requests = require "emulator.arm.id", require "emulator.arm.records", require "emulator.arm.requests"
local system_data = require "emulator.arm.system_data"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"
local raise = problem.raise

local AUTOSCALE, DIAGNOSTIC = "Microsoft.Insights/autoscaleSettings", "Microsoft.Insights/diagnosticSettings"
local RULE, ASSOCIATION = "Microsoft.Insights/dataCollectionRules", "Microsoft.Insights/dataCollectionRuleAssociations"

local function bad_request(message) raise(400, "BadRequest", message) end

--- Whether an id leads to something; what is in no resource group (a region's sizes, a subscription) counts as there.
local function exists(id)
  local parsed = ids.parse(id)
  return records.get(id) ~= nil or records.child(id) ~= nil or not parsed.group
end

--- Raises unless what an extension resource stands on is there.
local function check_scope(ctx)
  local target = ids.parse(ctx.id.scope)
  if target.type and not exists(ctx.id.scope) then
    problem.not_found(target.type .. "/" .. table.concat(target.names, "/"), target.group)
  elseif target.group then
    requests.group_record(target)
  end
end

--- The style of what bears an etag and is done at once.
local tagged = value.fill({ etag = "guid", refuses = "InvalidPayload" }, style.plain)

-- Autoscale -------------------------------------------------------------------------------------------------------------

local SECONDS = { D = 86400, H = 3600, M = 60, S = 1 }

local function seconds_of(duration)
  if type(duration) ~= "string" or not duration:find("^P") then return nil end
  local days, clocked = duration:match("^P(%d*D?)T?(.*)$")
  local total = 0
  for count, unit in ((days or "") .. (clocked or "")):gmatch("(%d+)(%a)") do total = total + count * (SECONDS[unit] or 0) end
  return total
end

local function check_duration(rule, key, least, most)
  local seconds = seconds_of(rule[key])
  if not seconds or seconds < least or seconds > most then
    bad_request(("The %s '%s' is invalid: it must be between %d and %d seconds."):format(key, tostring(rule[key]), least, most))
  end
end

local function check_profile(profile)
  local c = profile.capacity
  local least, most, usual = tonumber(value.at(c, "minimum")), tonumber(value.at(c, "maximum")), tonumber(value.at(c, "default"))
  if not (least and most and usual) then bad_request(("The profile '%s' needs a capacity."):format(profile.name)) end
  if least > most or usual < least or usual > most then
    bad_request(("The capacity of profile '%s' is invalid: minimum %s, maximum %s, default %s."):format(profile.name, c.minimum, c.maximum,
      c.default))
  end
  profile.rules = json.array(profile.rules or {})
  for _, rule in ipairs(profile.rules) do
    local trigger, action = rule.metricTrigger, rule.scaleAction
    if not (trigger and action and trigger.metricResourceUri) then
      bad_request(("A rule of profile '%s' has no metric or no action."):format(profile.name))
    end
    check_duration(trigger, "timeGrain", 60, 43200)
    check_duration(trigger, "timeWindow", 300, 43200)
    check_duration(action, "cooldown", 60, 604800)
    value.fill(trigger, { metricNamespace = "", dimensions = json.array {}, dividePerInstance = false })
  end
end

records.define(AUTOSCALE, {
  kind = "azure.autoscale_setting", style = style.plain, stateless = true,
  prepare = function(body, ctx)
    local p = body.properties
    for _, profile in ipairs(p.profiles) do check_profile(profile) end
    if type(p.targetResourceUri) ~= "string" or not exists(p.targetResourceUri) then
      raise(404, "ResourceNotFound", ("The target resource '%s' was not found."):format(tostring(p.targetResourceUri)))
    end
    value.fill(p, { enabled = false, notifications = json.array {} })
    p.name = ctx.name
    body.tags = body.tags or {}
  end,
})

-- Diagnostic settings ---------------------------------------------------------------------------------------------------

local SINKS = { "workspaceId", "storageAccountId", "eventHubAuthorizationRuleId", "marketplacePartnerId" }

local function category_of(item) return item.categoryGroup or item.category end

--- Two settings of a resource may not send the same category to the same place.
local function check_sinks(p, ctx)
  local sinks = 0
  for _, sink in ipairs(SINKS) do
    if p[sink] then
      sinks = sinks + 1
      if sink ~= "eventHubAuthorizationRuleId" and not exists(p[sink]) then
        raise(400, "BadRequest", ("Resource '%s' was not found."):format(p[sink]))
      end
    end
  end
  if sinks == 0 then bad_request("At least one data sink needs to be specified.") end
  for other in records.each(DIAGNOSTIC, ctx.id.scope .. "/") do
    local same_scope = other.name:lower() ~= ctx.name:lower() and ids.parse(other.id).scope:lower() == ctx.id.scope:lower()
    for _, sink in ipairs(same_scope and SINKS or {}) do
      local place = other.body.properties[sink]
      for _, list in ipairs(place and p[sink] and place:lower() == p[sink]:lower() and { "logs", "metrics" } or {}) do
        for _, item in ipairs(p[list]) do
          for _, theirs in ipairs(other.body.properties[list]) do
            if item.enabled and theirs.enabled and category_of(item) == category_of(theirs) then
              raise(409, "Conflict", ("Data sink '%s' is already used in diagnostic setting '%s' for category '%s'. Data sinks can't be "
                .. "reused in different settings on the same category for the same resource."):format(place, other.name, category_of(item)))
            end
          end
        end
      end
    end
  end
end

records.define(DIAGNOSTIC, {
  kind = "azure.diagnostic_setting", style = style.plain, stateless = true, located = false, extension = true,
    put_status = { 200, 200 },
  prepare = function(body, ctx)
    check_scope(ctx)
    local p, entries = body.properties, 0
    for _, list in ipairs { "logs", "metrics" } do
      p[list] = json.array(p[list] or {})
      for _, item in ipairs(p[list]) do
        if not category_of(item) or type(item.enabled) ~= "boolean" then
          bad_request(("An element of '%s' has no category, or does not say whether it is enabled."):format(list))
        end
        value.fill(item, { retentionPolicy = { enabled = false, days = 0 } })
        entries = entries + 1
      end
    end
    if entries == 0 then bad_request("At least one log or metric category needs to be specified.") end
    check_sinks(p, ctx)
  end,
})

-- Data collection -------------------------------------------------------------------------------------------------------

local function invalid_rule(code, message, target)
  raise(400, "InvalidPayload", "Data collection rule is invalid",
    { details = json.array { { code = code, message = message, target = target } } })
end

--- The names of all destinations, of whatever sort they are.
local function destinations_of(p)
  local names = {}
  for _, sort in pairs(p.destinations or {}) do
    for _, item in ipairs(sort.name and { sort } or sort) do names[item.name] = true end
  end
  return names
end

records.define(RULE, {
  kind = "azure.data_collection_rule", style = tagged,
  prepare = function(body, ctx)
    local p = body.properties
    local names = destinations_of(p)
    for i, flow in ipairs(p.dataFlows or {}) do
      for _, name in ipairs(flow.destinations or {}) do
        if not names[name] then
          invalid_rule("InvalidDataFlow", ("'Destinations' item '%s' is not declared."):format(name),
            ("Properties.DataFlows[%d]"):format(i - 1))
        end
      end
    end
    for i, item in ipairs(value.at(p, "destinations.logAnalytics") or {}) do
      local workspace = records.get(item.workspaceResourceId or "/")
      if not workspace then
        invalid_rule("InvalidDestination", ("Workspace '%s' was not found."):format(tostring(item.workspaceResourceId)),
          ("Properties.Destinations.LogAnalytics[%d]"):format(i - 1))
      end
      item.workspaceId = value.at(workspace.body, "properties.customerId")
    end
    p.immutableId = ctx.old and ctx.old.body.properties.immutableId or "dcr-" .. crypto.uuid():gsub("-", "")
    p.dataSources = p.dataSources or {}
  end,
  show = function(record, body) body.systemData = system_data.of(record) end,
})

records.define(ASSOCIATION, {
  kind = "azure.data_collection_rule_association", style = tagged, located = false, stateless = true, extension = true,
  prepare = function(body, ctx)
    check_scope(ctx)
    local p = body.properties
    if (p.dataCollectionRuleId == nil) == (p.dataCollectionEndpointId == nil) then
      raise(400, "InvalidPayload", "Data collection rule association is invalid", { details = json.array { { code = "InvalidProperty",
        message = "Either 'DataCollectionRuleId' or 'DataCollectionEndpointId' must be specified." } } })
    end
    local id = p.dataCollectionRuleId or p.dataCollectionEndpointId
    if not exists(id) then raise(404, "ResourceNotFound", ("The resource '%s' was not found."):format(id)) end
  end,
  show = function(record, body) body.systemData = system_data.of(record) end,
})

return {}
