-- What Azure Monitor hears, where it is wanted: the logs and metrics of resources, and what the
-- agent on each machine sends. Without a workspace all of these do nothing.
local azure = use "azure"

local ALL = { { category_group = "allLogs" } }
local METRICS = { { category = "AllMetrics" } }

local function same(fields) return fields end
local function nothing() end

return function(own, days)
  if not own then return { resources = nothing, watched = same, machine = nothing } end
  local logs = azure.log_analytics_workspace "main" (own("logs", { retention_days = days }))
  local rule = azure.data_collection_rule "machines" (own("machines", {
    kind = "Linux",
    syslog = { { name = "syslog", facilities = { "auth", "authpriv", "cron", "daemon", "kern" },
      levels = { "Warning", "Error", "Critical", "Alert", "Emergency" } } },
    performance = { { name = "usage", interval = 60, counters = {
      "Processor(*)\\% Processor Time", "Memory(*)\\% Used Memory", "Logical Disk(*)\\% Used Space",
      "Network(*)\\Total Bytes" } } },
    workspaces = { { name = "logs", workspace = logs } },
    flows = { { streams = { "Microsoft-Syslog", "Microsoft-Perf" }, destinations = { "logs" } } },
  }))

  local monitor = {}

  -- All logs and metrics of some resources; false is one that is not ours. Rules have logs alone.
  function monitor.resources(list)
    for name, resource in pairs(list) do
      if resource then
        azure.diagnostic_setting(name) { scope = resource, workspace = logs, logs = ALL,
          metrics = name ~= "rules" and METRICS or nil }
      end
    end
  end

  -- A machine's fields with the agent, which sends as the machine's own identity.
  function monitor.watched(fields)
    fields.extensions = { { name = "AzureMonitorLinuxAgent", publisher = "Microsoft.Azure.Monitor",
      type = "AzureMonitorLinuxAgent", version = "1.0", automatic_upgrade = true,
      settings = { authentication = { managedIdentity = { ["identifier-name"] = "mi_res_id",
        ["identifier-value"] = fields.identities[1].id } } } } }
    return fields
  end

  -- What the agents of a machine, or of a set of them, are to send.
  function monitor.machine(name, machine)
    azure.data_collection_rule_association(name) { scope = machine, rule = rule }
  end

  return monitor
end
