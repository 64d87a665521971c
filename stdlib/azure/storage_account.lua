--- A storage account. Its name is one for all of Azure.
local statement, field, json = require "azure.statement", require "field", require "json"

-- What the service shows besides what it takes.
local READ_ONLY = { "properties.primaryEndpoints", "properties.secondaryEndpoints", "properties.primaryLocation",
  "properties.secondaryLocation", "properties.statusOfPrimary", "properties.statusOfSecondary", "properties.creationTime",
  "properties.keyCreationTime", "properties.privateEndpointConnections", "properties.lastGeoFailoverTime",
  "properties.geoReplicationStats", "properties.blobRestoreStatus", "properties.failoverInProgress",
  "properties.accountMigrationInProgress", "properties.storageAccountSkuConversionStatus" }

local function rules(key)
  return function(items)
    local list = {}
    for i, item in ipairs(items) do list[i] = { [key] = type(item) == "table" and item.id or item, action = "Allow" } end
    return json.array(list)
  end, function(list)
    local items = {}
    for i, rule in ipairs(list) do items[i] = rule[key] end
    return json.array(items)
  end
end

local to_ips, from_ips = rules "value"
local to_subnets, from_subnets = rules "id"

local function tier(sku) return tostring(sku):match("^%a+") end

return statement.define {
  kind = "storage_account", doc = "A storage account.", type = "Microsoft.Storage/storageAccounts", api = "2025-01-01",
    read_only = READ_ONLY,
  fields = {
    name = field.string { required = true, replace = true, default_name = true, match = "^[%l%d]+$", min = 3, max = 24,
      doc = "The name in Azure, small letters and digits, taken by nobody else; the resource's own name unless given." },
    sku = field.choice { "Standard_LRS", "Standard_GRS", "Standard_RAGRS", "Standard_ZRS", "Standard_GZRS", "Standard_RAGZRS",
      "Premium_LRS", "Premium_ZRS", default = "Standard_LRS", arm = "sku.name",
      doc = "A change between Standard and Premium forces replacement." },
    kind = field.choice { "StorageV2", "Storage", "BlobStorage", "BlockBlobStorage", "FileStorage", default = "StorageV2", replace = true,
      arm_changes = true, arm = "kind" },
    access_tier = field.choice { "Hot", "Cool", "Cold", "Premium", arm = "properties.accessTier", doc = "Of blobs that say none." },
    hierarchical = field.boolean { default = false, replace = true, arm = "properties.isHnsEnabled",
      doc = "Data Lake: folders that are real." },
    nfs = field.boolean { replace = true, arm = "properties.isNfsV3Enabled" },
    sftp = field.boolean { arm = "properties.isSftpEnabled" },
    https_only = field.boolean { default = true, arm = "properties.supportsHttpsTrafficOnly" },
    min_tls = field.choice { "TLS1_0", "TLS1_1", "TLS1_2", "TLS1_3", default = "TLS1_2", arm = "properties.minimumTlsVersion" },
    public_blobs = field.boolean { default = false, arm = "properties.allowBlobPublicAccess",
      doc = "Whether containers may be made public." },
    shared_keys = field.boolean { arm = "properties.allowSharedKeyAccess", doc = "Whether its keys open it; else Entra ID alone does." },
    cross_tenant_replication = field.boolean { default = false, arm = "properties.allowCrossTenantReplication" },
    public_network_access = field.choice { "Enabled", "Disabled", "SecuredByPerimeter", arm = "properties.publicNetworkAccess" },
    network = field.object { {
      default = field.choice { "Allow", "Deny", required = true, arm = "defaultAction", doc = "For whoever no rule names." },
      bypass = field.string { arm = "bypass", match = "^%a[%a, ]*$", doc = "None, or AzureServices, Logging, Metrics with commas." },
      ips = field.list { field.string {}, arm = "ipRules", to = to_ips, from = from_ips, doc = "Public addresses or ranges let in." },
      subnets = field.list { field.any {}, arm = "virtualNetworkRules", to = to_subnets, from = from_subnets,
        doc = "Subnets let in: resources or ids." },
    }, arm = "properties.networkAcls", doc = "Who reaches it over its public addresses." },
  },
  outputs = {
    blob_endpoint = field.string { arm = "properties.primaryEndpoints.blob", doc = "The URL of its blobs." },
    endpoints = field.map { field.string {}, arm = "properties.primaryEndpoints",
      doc = "URLs by service: blob, file, queue, table, web, dfs." },
  },
  forces = { sku = function(old, new) return tier(old) ~= tier(new) end },
}
