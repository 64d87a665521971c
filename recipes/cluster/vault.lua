-- The vault, who may write to it, the key of Secrets in etcd and, where a key of ours encrypts the
-- disks, that key and the set that hands it to them. Azure wants purge protection for such a key,
-- and that is for good. Another name of etcd's key is another key: the old one stays in the vault
-- until all Secrets are encrypted with the new one.
local azure = use "azure"

return function(own, p)
  local customer = p.disk_encryption == "customer"
  local me = azure.principal "me" {}
  local vault = azure.key_vault "main" (own("vault", {
    retention_days = 7, purge_protection = customer or nil }))
  local function may(name, role, principal, type)
    return azure.role_assignment(name) {
      scope = vault, role = role, principal = principal, principal_type = type }
  end
  local writer = may("vault-writer", "Key Vault Secrets Officer", me.object_id, me.type)
  local etcd = azure.vault_random "encryption" { vault = vault, bytes = 32, after = { writer },
    name = p.encryption_key and "encryption-" .. p.encryption_key, create_before_destroy = true }
  if not customer then
    return vault, writer, { encrypted = function(fields) return fields end }, etcd
  end

  local maker = may("key-maker", "Key Vault Crypto Officer", me.object_id, me.type)
  local key = azure.key_vault_key "disks" { vault = vault, size = 3072, after = { maker } }
  local set = azure.disk_encryption_set "disks" (own("disks", { key = key, auto_rotate = true }))
  local reader = may("disks", "Key Vault Crypto Service Encryption User", set.principal_id)
  -- A machine's disk cannot be made before the set may use the key.
  return vault, writer, { set = set, encrypted = function(fields)
    fields.encryption_set, fields.after = set, { reader }
    return fields
  end }, etcd
end
