local azure = use "azure"
local group = azure.resource_group "main" { name = "aks-cit-SSHPublicKeyResource", location = "eastus2" }
azure.ssh_public_key "it" { group = group, name = "testResource", public_key = "ssh-rsa {KEY} generated-by-azure" }
