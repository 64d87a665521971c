local azure = use "azure"
local group = azure.resource_group "main" { name = "aks-cit-PublicIPAddress", location = "eastus" }
azure.public_ip_address "it" { group = group, name = "testResource" }
