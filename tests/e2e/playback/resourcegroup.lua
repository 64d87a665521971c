local azure = use "azure"
azure.resource_group "main" { name = "aks-cit-ResourceGroup", location = "eastus" }
