local azure = use "azure"
local group = azure.resource_group "main" { name = "aks-cit-LoadBalancer", location = "eastus" }
local ip = azure.public_ip_address "main" { group = group, name = "pip1" }
azure.load_balancer "it" { group = group, name = "testResource", frontends = { { name = "frontendConfig1", public_ip = ip } } }
