local azure = use "azure"
local group = azure.resource_group "main" { name = "aks-cit-VirtualNetworkLink", location = "eastus2" }
local zone = azure.private_dns_zone "main" { group = group, name = "aks-cit-privatednszone-cit.privatelink.global.azmk8s.io" }
local network = azure.virtual_network "main" { group = group, name = "vnet1", cidr = "10.1.0.0/16" }
azure.private_dns_link "it" { zone = zone, name = "testResource", vnet = network }
