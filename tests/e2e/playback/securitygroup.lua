local azure = use "azure"
local group = azure.resource_group "main" { name = "aks-cit-SecurityGroup", location = "eastus" }
azure.network_security_group "it" { group = group, name = "testResource", rules = {} }
