local azure = use "azure"
local group = azure.resource_group "main" { name = "aks-cit-Interface", location = "eastus" }
local network = azure.virtual_network "main" { group = group, name = "testVnet", cidr = "10.0.0.0/16" }
local subnet = azure.existing "nodes" { id = network.id .. "/subnets/testSubnet", after = { network } }
azure.network_interface "it" { group = group, name = "testResource", subnet = subnet }
