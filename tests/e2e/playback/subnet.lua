local azure = use "azure"
local group = azure.resource_group "main" { name = "aks-cit-Subnet", location = "eastus" }
local network = azure.virtual_network "main" { group = group, name = "testParentResource", cidr = "10.1.0.0/16" }
azure.subnet "it" { vnet = network, name = "testResource", cidr = "10.1.0.0/24", default_outbound = true }
