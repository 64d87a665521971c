--- A blob container of a storage account.
local statement, field = require "azure.statement", require "field"

local WRITABLE = { "publicAccess", "metadata", "defaultEncryptionScope", "denyEncryptionScopeOverride", "immutableStorageWithVersioning",
  "enableNfsV3RootSquash", "enableNfsV3AllSquash" }

return statement.define {
  kind = "storage_container", doc = "A blob container of a storage account.",
  type = "Microsoft.Storage/storageAccounts/blobServices/containers", api = "2025-01-01", parent = "account", located = false, alone = true,
  fields = {
    name = field.string { required = true, replace = true, default_name = true, match = "^[%l%d$][%l%d-]*$", min = 3, max = 63,
      doc = "The name in Azure; the resource's own name unless given." },
    account = field.resource { "azure.storage_account", "azure.existing", required = true, replace = true, doc = "The storage account." },
    public_access = field.choice { "None", "Blob", "Container", default = "None", arm = "properties.publicAccess",
      doc = "What anybody may read; the account has to allow it." },
    metadata = field.map { field.string {}, arm = "properties.metadata" },
    encryption_scope = field.string { replace = true, match = "^[%w$-]+$", min = 3, max = 63, arm = "properties.defaultEncryptionScope",
      doc = "The account's encryption scope that blobs are written with." },
    deny_other_scopes = field.boolean { replace = true, arm = "properties.denyEncryptionScopeOverride",
      doc = "Whether a blob may name no other scope." },
  },
  identity = function(f)
    if not (f.account and f.account.id and f.name) then return nil end
    return ("%s/blobServices/default/containers/%s"):format(f.account.id, f.name)
  end,
  body = function(_, body)
    local kept = {}
    for _, key in ipairs(WRITABLE) do kept[key] = body.properties[key] end
    body.properties = kept
  end,
}
