local azure = use "azure"
local group = azure.resource_group "main" { name = "aks-cit-Account", location = "eastus" }
azure.storage_account "it" { group = group, name = "akscitaccountsdktest", kind = "Storage", sku = "Standard_GRS", shared_keys = false,
  sftp = false }
