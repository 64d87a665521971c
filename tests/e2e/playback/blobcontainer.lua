local azure = use "azure"
local group = azure.resource_group "main" { name = "aks-cit-BlobContainer", location = "eastus" }
local account = azure.storage_account "it" { group = group, name = "akscitblobsdktestparent", access_tier = "Cool", hierarchical = true,
  nfs = true, sftp = true, shared_keys = true,
  public_network_access = "Disabled", network = { default = "Deny", bypass = "AzureServices" } }
azure.storage_container "it" { account = account, name = "akscitblobsdktest" }
