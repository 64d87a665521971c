local azure = use "azure"
local group = azure.resource_group "main" { name = "aks-cit-NatGateway", location = "eastus2" }
local ip = azure.public_ip_address "main" { group = group, name = "pip1" }
azure.nat_gateway "it" { group = group, name = "testResource", public_ips = { ip } }
