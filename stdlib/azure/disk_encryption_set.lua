--- A disk encryption set: the key of a vault that encrypts disks. Its vault wants purge protection.
local statement, field, json = require "azure.statement", require "field", require "json"

local function key_of(key)
  return { sourceVault = { id = key.id and key.id:match("^(.*)/keys/[^/]+$") }, keyUrl = key.uri_with_version }
end

local function without_version(url) return (tostring(url):gsub("^(https://[^/]+/keys/[^/]+).*$", "%1"):lower()) end

return statement.define {
  kind = "disk_encryption_set", doc = "A disk encryption set.", type = "Microsoft.Compute/diskEncryptionSets", api = "2025-01-02",
  read_only = { "properties.previousKeys", "properties.lastKeyRotationTimestamp" },
  fields = {
    name = field.string { required = true, replace = true, default_name = true, match = "^[%w_-]+$", max = 80,
      doc = "The name in Azure; the resource's own name unless given." },
    type = field.choice { "EncryptionAtRestWithCustomerKey", "EncryptionAtRestWithPlatformAndCustomerKeys",
      "ConfidentialVmEncryptedWithCustomerKey", default = "EncryptionAtRestWithCustomerKey", replace = true,
      arm = "properties.encryptionType" },
    key = field.resource { "azure.key_vault_key", required = true, arm_optional = true, arm = "properties.activeKey",
      to = key_of, doc = "The key." },
    auto_rotate = field.boolean { default = false, arm = "properties.rotationToLatestKeyVersionEnabled",
      doc = "Whether new versions of the key are taken over." },
    identities = field.list { field.resource { "azure.user_assigned_identity" },
      doc = "Identities that may use the key; else one of its own is made." },
  },
  outputs = { principal_id = field.string { arm = "identity.principalId", doc = "The object id of its own identity." } },
  body = function(f, body)
    body.identity = { type = "SystemAssigned" }
    if f.identities and #f.identities > 0 then
      body.identity = { type = "UserAssigned", userAssignedIdentities = {} }
      for _, identity in ipairs(f.identities) do body.identity.userAssignedIdentities[identity.id] = {} end
    end
  end,
  observed = function(f, body)
    local shown = {}
    -- Azure puts the newest version in by itself.
    local url = statement.get(body, "properties.activeKey.keyUrl")
    if f.key and f.auto_rotate and without_version(url) == without_version(f.key.uri_with_version) then shown.key = f.key end
    if f.identities then
      local there, ids, missing = statement.get(body, "identity.userAssignedIdentities") or {}, json.array {}, #f.identities
      for id in pairs(there) do
        ids[#ids + 1] = id
        for _, identity in ipairs(f.identities) do
          if identity.id and identity.id:lower() == id:lower() then missing = missing - 1 end
        end
      end
      shown.identities = missing == 0 and #ids == #f.identities and f.identities or ids
    end
    return shown
  end,
}
