local azure = use "azure"
local group = azure.resource_group "main" { name = "aks-cit-Disk", location = "eastus2" }
azure.data_disk "it" { group = group, name = "testResource", size = 200, sku = "Standard_LRS" }
