local azure = use "azure"
local group = azure.resource_group "main" { name = "aks-cit-VirtualNetwork", location = "eastus" }
azure.virtual_network "it" { group = group, name = "testResource", location = "westus", cidr = "192.168.0.0/16" }
