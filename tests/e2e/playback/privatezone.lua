local azure = use "azure"
local group = azure.resource_group "main" { name = "aks-cit-PrivateZone", location = "eastus" }
azure.private_dns_zone "it" { group = group, name = "aks-cit-privatednszone-uttest.privatelink.global.azmk8s.io" }
