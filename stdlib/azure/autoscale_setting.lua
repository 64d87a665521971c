--- An autoscale setting: how many instances a scale set, or another resource, has by its load and by the clock. The target's own
-- count then wants `ignore_changes`.
local statement, field, json = require "azure.statement", require "field", require "json"

local DURATION = "^P[%dDTHMS]+$"
local FREQUENCIES = { "Second", "Minute", "Hour", "Day", "Week", "Month", "Year" }

local function id_of(value) return type(value) == "table" and value.id or value end

local function text(number) return number and tostring(math.tointeger(number) or number) end

local function number(value) return math.tointeger(tonumber(value)) or tonumber(value) end

local function each(list, form)
  local items = {}
  for i, item in ipairs(list or {}) do items[i] = form(item) end
  return json.array(items)
end

local function to_rule(rule, f)
  return {
    metricTrigger = { metricName = rule.metric, metricNamespace = rule.namespace, metricResourceUri = id_of(rule.resource or f.target),
      timeGrain = rule.grain or "PT1M", statistic = rule.statistic or "Average", timeWindow = rule.window or "PT5M",
      timeAggregation = rule.aggregation or "Average", operator = rule.operator, threshold = rule.threshold,
      dividePerInstance = rule.divide_per_instance,
      dimensions = rule.dimensions and each(rule.dimensions, function(d)
        return { DimensionName = d.name, Operator = d.operator or "Equals", Values = json.array(d.values) }
      end) },
    scaleAction = { direction = rule.direction, type = rule.change or "ChangeCount", value = text(rule.value or 1),
      cooldown = rule.cooldown or "PT5M" },
  }
end

local function from_rule(rule)
  local m, a = rule.metricTrigger or {}, rule.scaleAction or {}
  return { metric = m.metricName, namespace = m.metricNamespace, resource = m.metricResourceUri, grain = m.timeGrain,
    statistic = m.statistic, window = m.timeWindow, aggregation = m.timeAggregation, operator = m.operator, threshold = m.threshold,
    divide_per_instance = m.dividePerInstance, direction = a.direction, change = a.type, value = number(a.value), cooldown = a.cooldown,
    dimensions = m.dimensions and each(m.dimensions, function(d)
      return { name = d.DimensionName, operator = d.Operator, values = d.Values }
    end) }
end

local function to_profiles(profiles, f)
  return each(profiles, function(profile)
    local at, when = profile.recurrence, profile.dates
    return { name = profile.name,
      capacity = { minimum = text(profile.minimum), maximum = text(profile.maximum), default = text(profile.default or profile.minimum) },
      rules = each(profile.rules, function(rule) return to_rule(rule, f) end),
      fixedDate = when and { timeZone = when.time_zone or "UTC", start = when.start, ["end"] = when.stop },
      recurrence = at and { frequency = at.frequency or "Week", schedule = { timeZone = at.time_zone or "UTC", days = json.array(at.days),
        hours = json.array(at.hours), minutes = json.array(at.minutes) } } }
  end)
end

local function from_profiles(profiles)
  return each(profiles, function(profile)
    local c, when, at = profile.capacity or {}, profile.fixedDate, profile.recurrence
    local s = type(at) == "table" and at.schedule or {}
    return { name = profile.name, minimum = number(c.minimum), maximum = number(c.maximum), default = number(c.default),
      rules = each(profile.rules, from_rule),
      dates = type(when) == "table" and { time_zone = when.timeZone, start = when.start, stop = when["end"] } or nil,
      recurrence = type(at) == "table" and { frequency = at.frequency, time_zone = s.timeZone, days = s.days, hours = s.hours,
        minutes = s.minutes } or nil }
  end)
end

local function to_notifications(list)
  return each(list, function(item)
    return { operation = "Scale", email = item.emails and { customEmails = json.array(item.emails) },
      webhooks = item.webhooks and each(item.webhooks, function(uri) return { serviceUri = uri } end) }
  end)
end

local function from_notifications(list)
  return each(list, function(item)
    return { emails = statement.get(item, "email.customEmails"),
      webhooks = item.webhooks and each(item.webhooks, function(hook) return hook.serviceUri end) }
  end)
end

local rule = field.object {
  metric = field.string { required = true, arm = "metricTrigger.metricName", doc = "metricName, such as Percentage CPU." },
  namespace = field.string { doc = "metricNamespace." },
  resource = field.any { doc = "metricResourceUri: whose metric it is, a resource or an id; the target's unless given." },
  grain = field.string { match = DURATION, arm = "metricTrigger.timeGrain", doc = "timeGrain; PT1M unless given." },
  statistic = field.choice { "Average", "Min", "Max", "Sum", "Count", arm = "metricTrigger.statistic",
    doc = "Over the instances; Average unless given." },
  window = field.string { match = DURATION, arm = "metricTrigger.timeWindow",
    doc = "timeWindow, from PT5M to PT12H; PT5M unless given." },
  aggregation = field.choice { "Average", "Minimum", "Maximum", "Total", "Count", "Last", arm = "metricTrigger.timeAggregation",
    doc = "Over the window; Average unless given." },
  operator = field.choice { "Equals", "NotEquals", "GreaterThan", "GreaterThanOrEqual", "LessThan", "LessThanOrEqual",
    required = true,
    arm = "metricTrigger.operator" },
  threshold = field.number { required = true, arm = "metricTrigger.threshold" },
  dimensions = field.list { field.object { name = field.string { required = true }, operator = field.choice { "Equals", "NotEquals" },
    values = field.list { field.string {}, required = true, min = 1 } } },
  divide_per_instance = field.boolean { arm = "metricTrigger.dividePerInstance" },
  direction = field.choice { "Increase", "Decrease", "None", required = true, arm = "scaleAction.direction" },
  change = field.choice { "ChangeCount", "PercentChangeCount", "ExactCount", "ServiceAllowedNextValue", arm = "scaleAction.type",
    doc = "What `value` is; ChangeCount unless given." },
  value = field.integer { min = 0, doc = "1 unless given." },
  cooldown = field.string { match = DURATION, arm = "scaleAction.cooldown",
    doc = "How long nothing is scaled afterwards, from PT1M to PT7D; PT5M unless given." },
}

return statement.define {
  kind = "autoscale_setting", doc = "An autoscale setting.", type = "Microsoft.Insights/autoscaleSettings", api = "2022-10-01",
  fields = {
    name = field.string { required = true, replace = true, default_name = true, match = "^[^<>%%&#?/\\]+$", max = 260,
      doc = "The name in Azure; the resource's own name unless given." },
    target = field.any { required = true, replace = true, arm = "properties.targetResourceUri", to = id_of,
      doc = "The resource that is scaled, or its id." },
    enabled = field.boolean { default = true, arm = "properties.enabled" },
    profiles = field.list { field.object {
      name = field.string { required = true, arm = "name" },
      minimum = field.integer { required = true, min = 0 }, maximum = field.integer { required = true, min = 0 },
      default = field.integer { min = 0, doc = "The count while there are no metrics; the minimum unless given." },
      rules = field.list { rule, max = 10, arm = "rules", doc = "None is a fixed count." },
      dates = field.object { { time_zone = field.string { doc = "UTC unless given." },
        start = field.string { required = true }, stop = field.string { required = true } },
        doc = "fixedDate: from when to when it counts." },
      recurrence = field.object { { frequency = field.choice(FREQUENCIES),
        time_zone = field.string { doc = "UTC unless given." },
        days = field.list { required = true, arm = "schedule.days",
          field.choice { "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday" } },
        hours = field.list { field.integer { min = 0, max = 23 }, required = true, arm = "schedule.hours" },
        minutes = field.list { field.integer { min = 0, max = 59 }, required = true, arm = "schedule.minutes" } },
          arm = "recurrence",
        doc = "When it begins to count, again and again; frequency is Week unless given." },
    }, key = "name", required = true, min = 1, max = 20, arm = "properties.profiles", to = to_profiles, from = from_profiles,
      doc = "Bounds and rules, each for its time." },
    notifications = field.list { field.object { emails = field.list { field.string {} }, webhooks = field.list { field.string {} } },
      arm = "properties.notifications", to = to_notifications, from = from_notifications, doc = "Who hears of it." },
    predictive = field.object { { mode = field.choice { "Disabled", "ForecastOnly", "Enabled", required = true, arm = "scaleMode" },
      look_ahead = field.string { match = DURATION, arm = "scaleLookAheadTime" } }, arm = "properties.predictiveAutoscalePolicy",
      doc = "Whether it scales by a forecast of the load." },
  },
  check = function(f, problem)
    for i, profile in ipairs(type(f.profiles) == "table" and f.profiles or {}) do
      local least, most = profile.minimum, profile.maximum
      if math.type(least) and math.type(most) and least > most then
        problem({ "profiles", i, "minimum" }, ("'profiles[%d].minimum' wants at most its maximum %d, got %d"):format(i, most, least))
      end
    end
  end,
  body = function(f, body) body.properties.name = f.name end,
}
