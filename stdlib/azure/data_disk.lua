--- An empty managed disk. It grows in place; Azure shrinks none.
local statement, field, json = require "azure.statement", require "field", require "json"

return statement.define {
  kind = "data_disk", doc = "A managed disk that begins empty.", type = "Microsoft.Compute/disks", api = "2025-01-02",
  read_only = { "properties.timeCreated", "properties.diskSizeBytes", "properties.shareInfo" },
  fields = {
    name = field.string { required = true, replace = true, default_name = true, match = "^[%w_][%w_.-]*$", max = 80,
      doc = "The name in Azure; the resource's own name unless given." },
    size = field.integer { required = true, arm_optional = true, min = 1, max = 65536, arm = "properties.diskSizeGB",
      doc = "GiB; less than there is forces replacement." },
    sku = field.choice { "Standard_LRS", "StandardSSD_LRS", "StandardSSD_ZRS", "Premium_LRS", "Premium_ZRS", "PremiumV2_LRS",
      "UltraSSD_LRS", default = "Premium_LRS", replace = true, arm_changes = true, arm = "sku.name" },
    zone = field.string { replace = true, arm = "zones", doc = "An availability zone.",
      to = function(value) return json.array { value } end, from = function(value) return value[1] end },
    tier = field.string { match = "^P%d+$", arm = "properties.tier", doc = "A performance tier above the size's own, such as P40." },
    iops = field.integer { min = 1, arm = "properties.diskIOPSReadWrite", doc = "Of PremiumV2_LRS and UltraSSD_LRS." },
    throughput = field.integer { min = 1, arm = "properties.diskMBpsReadWrite", doc = "MB/s, of PremiumV2_LRS and UltraSSD_LRS." },
    max_shares = field.integer { min = 1, arm = "properties.maxShares", doc = "How many machines may attach it at once." },
    sector_size = field.choice { 512, 4096, replace = true, arm = "properties.creationData.logicalSectorSize",
      doc = "Bytes, of PremiumV2_LRS and UltraSSD_LRS." },
    encryption_set = field.resource { "azure.disk_encryption_set", arm = "properties.encryption.diskEncryptionSetId", arm_id = true,
      doc = "Whose key encrypts it; else Azure's own." },
    network_access = field.choice { "AllowAll", "AllowPrivate", "DenyAll", arm = "properties.networkAccessPolicy",
      doc = "From where its content may be read over the network." },
    public_network_access = field.choice { "Enabled", "Disabled", arm = "properties.publicNetworkAccess" },
  },
  outputs = {
    unique_id = field.string { arm = "properties.uniqueId", doc = "Azure's own id of this disk; a new disk has a new one." },
    state = field.string { volatile = true, arm = "properties.diskState", doc = "Such as Unattached." },
  },
  body = function(f, body)
    body.managedBy, body.managedByExtended = nil, nil
    statement.set(body, "properties.creationData.createOption", "Empty")
    if f.encryption_set then body.properties.encryption.type = "EncryptionAtRestWithCustomerKey" end
  end,
  forces = { size = function(old, new) return type(old) == "number" and new < old end },
}
