local azure = use "azure"
local group = azure.resource_group "main" { name = "aks-cit-Identity", location = "eastus" }
azure.user_assigned_identity "it" { group = group, name = "testResource" }
