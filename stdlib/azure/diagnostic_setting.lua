--- A diagnostic setting: where a resource's logs and metrics go. It stands on the resource, and can outlive it.
local statement, field, json = require "azure.statement", require "field", require "json"

local function scope_of(f) return type(f.scope) == "table" and f.scope.id or f.scope end

local SINKS = { "workspace", "storage_account", "event_hub_rule", "partner" }

--- Azure lists every category of the resource: those that are off, and that we do not name, are nobody's.
local function shown(want, got)
  local ours, list, same = {}, json.array {}, 0
  for _, item in ipairs(want) do ours[tostring(item.category_group or item.category):lower()] = item.enabled ~= false end
  for _, item in ipairs(got or {}) do
    local category, group = statement.get(item, "category"), statement.get(item, "categoryGroup")
    local wanted = ours[tostring(group or category):lower()]
    if wanted == item.enabled then same = same + 1 end
    if item.enabled or wanted ~= nil then list[#list + 1] = { category = category, category_group = group, enabled = item.enabled } end
  end
  return same == #want and #list == #want and want or list
end

local function element(more)
  local fields = { category = field.string { arm = "category" },
    enabled = field.boolean { default = true, arm = "enabled" } }
  for name, spec in pairs(more or {}) do fields[name] = spec end
  return field.object { fields }
end

return statement.define {
  kind = "diagnostic_setting", doc = "Where a resource's logs and metrics go.", type = "Microsoft.Insights/diagnosticSettings",
  api = "2021-05-01-preview", parent = "scope", located = false,
  fields = {
    name = field.string { required = true, replace = true, default_name = true, match = "^[^#%%&:<>?/|\\]+$", max = 260,
      doc = "The name in Azure; the resource's own name unless given." },
    scope = field.any { required = true, replace = true, doc = "The resource that it is of, or an id." },
    workspace = field.resource { "azure.log_analytics_workspace", "azure.existing", arm = "properties.workspaceId", arm_id = true,
      doc = "A Log Analytics workspace to send to." },
    storage_account = field.resource { "azure.storage_account", "azure.existing", arm = "properties.storageAccountId", arm_id = true,
      doc = "A storage account to keep them in." },
    event_hub_rule = field.string { match = "^/", arm = "properties.eventHubAuthorizationRuleId",
      doc = "The id of an authorization rule of an event hub namespace." },
    event_hub = field.string { arm = "properties.eventHubName", doc = "The event hub; the default one of the namespace unless given." },
    partner = field.string { match = "^/", arm = "properties.marketplacePartnerId", doc = "The id of a partner's resource." },
    destination = field.choice { "Dedicated", "AzureDiagnostics", arm = "properties.logAnalyticsDestinationType",
      doc = "Whether the workspace has a table for each kind of log." },
    logs = field.list { element { category_group = field.string { arm = "categoryGroup", doc = "Such as allLogs or audit." } },
      arm = "properties.logs", doc = "Each a category or a group of them." },
    metrics = field.list { element(), arm = "properties.metrics", doc = "Each a category, such as AllMetrics." },
  },
  check = function(f, problem)
    local sinks = 0
    for _, name in ipairs(SINKS) do sinks = sinks + (f[name] ~= nil and 1 or 0) end
    if sinks == 0 then problem({}, "needs one of '" .. table.concat(SINKS, "', '") .. "'") end
    if f.logs == nil and f.metrics == nil then problem({}, "needs 'logs' or 'metrics'") end
    for i, item in ipairs(type(f.logs) == "table" and f.logs or {}) do
      if type(item) == "table" and (item.category == nil) == (item.category_group == nil) then
        problem({ "logs", i }, ("'logs[%d]' wants either 'category' or 'category_group'"):format(i))
      end
    end
  end,
  identity = function(f)
    local scope = scope_of(f)
    return scope and f.name and ("%s/providers/Microsoft.Insights/diagnosticSettings/%s"):format(scope, f.name)
  end,
  observed = function(f, body)
    return { logs = f.logs and shown(f.logs, statement.get(body, "properties.logs")),
      metrics = f.metrics and shown(f.metrics, statement.get(body, "properties.metrics")) }
  end,
}
