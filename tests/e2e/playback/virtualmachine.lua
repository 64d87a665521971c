local azure = use "azure"
local group = azure.resource_group "main" { name = "aks-cit-VirtualMachine", location = "eastus2" }
local network = azure.virtual_network "main" { group = group, name = "vnet1", cidr = "10.1.0.0/16" }
local subnet = azure.existing "nodes" { id = network.id .. "/subnets/subnet1", after = { network } }
local interface = azure.network_interface "main" { group = group, name = "nic1", subnet = subnet }
azure.virtual_machine "it" { group = group, name = "testResource", interface = interface, size = "Standard_D2s_v3",
  image = "MicrosoftWindowsServer:WindowsServer:2019-Datacenter:latest", hostname = "sample-compute", user = "sample-user",
  public_key = "ssh-ed25519 AAAA", disk = { type = "Standard_LRS", caching = "ReadWrite" } }
