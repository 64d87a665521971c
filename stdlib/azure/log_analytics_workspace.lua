--- A Log Analytics workspace. A deleted one can be recovered for 14 days, by making it again.
local statement, field = require "azure.statement", require "field"

local IN_PLACE = { PerGB2018 = true, CapacityReservation = true }

return statement.define {
  kind = "log_analytics_workspace", doc = "A Log Analytics workspace.", type = "Microsoft.OperationalInsights/workspaces",
  api = "2025-02-01", read_only = { "properties.customerId", "properties.createdDate", "properties.modifiedDate",
    "properties.privateLinkScopedResources", "properties.sku.lastSkuUpdate", "properties.workspaceCapping.quotaNextResetTime",
    "properties.workspaceCapping.dataIngestionStatus" },
  fields = {
    name = field.string { required = true, replace = true, default_name = true, match = "^%w[%w-]+%w$", min = 4, max = 63,
      doc = "The name in Azure; the resource's own name unless given." },
    sku = field.choice { "PerGB2018", "CapacityReservation", "Free", "Standard", "Premium", "PerNode", "Standalone", "LACluster",
      default = "PerGB2018", arm = "properties.sku.name",
      doc = "PerGB2018 and CapacityReservation change into one another; any other change forces replacement." },
    commitment = field.integer { min = 100, arm = "properties.sku.capacityReservationLevel", doc = "GB a day, of CapacityReservation." },
    retention_days = field.integer { min = 7, max = 730, arm_also = { 0 }, default = 30, arm = "properties.retentionInDays" },
    daily_quota = field.number { min = -1, arm = "properties.workspaceCapping.dailyQuotaGb", doc = "GB taken in a day; -1 is no limit." },
    public_ingestion = field.choice { "Enabled", "Disabled", "SecuredByPerimeter", arm = "properties.publicNetworkAccessForIngestion" },
    public_query = field.choice { "Enabled", "Disabled", "SecuredByPerimeter", arm = "properties.publicNetworkAccessForQuery" },
    resource_permissions = field.boolean { arm = "properties.features.enableLogAccessUsingOnlyResourcePermissions",
      doc = "Whether who may read a resource may read its logs." },
    disable_local_auth = field.boolean { arm = "properties.features.disableLocalAuth", doc = "Whether Entra ID alone lets logs in." },
  },
  outputs = { customer_id = field.string { arm = "properties.customerId", doc = "The id that agents and queries name it by." } },
  observed = function(f, body)
    -- Older workspaces show their sku in small letters.
    local sku = statement.get(body, "properties.sku.name")
    return { sku = sku and f.sku and sku:lower() == f.sku:lower() and f.sku or sku }
  end,
  forces = { sku = function(old, new) return not (IN_PLACE[old] and IN_PLACE[new]) end },
}
