local azure = use "azure"
local group = azure.resource_group "main" { name = "aks-cit-Vault", location = "eastus" }
azure.key_vault "it" { group = group, name = "akscitkeyvaulttestva", rbac = false, access_policies = { {
  object_id = "00000000-0000-0000-0000-000000000000",
  secrets = { "get", "list", "set", "delete", "backup", "restore", "recover", "purge" },
  keys = { "encrypt", "decrypt", "wrapKey", "unwrapKey", "sign", "verify", "get", "list", "create", "update", "import", "delete", "backup",
    "restore", "recover", "purge" } } } }
