local azure = use "azure"
local group = azure.resource_group "main" { name = "aks-cit-VirtualMachineScaleSetVM", location = "eastus2" }
local network = azure.virtual_network "main" { group = group, name = "vnet1", cidr = "10.1.0.0/16" }
local subnet = azure.existing "nodes" { id = network.id .. "/subnets/subnet1", after = { network } }
azure.virtual_machine_scale_set "it" { group = group, name = "testParentResource", mode = "Uniform", capacity = 1, subnet = subnet,
  size = "Standard_D2s_v3", image = "MicrosoftWindowsServer:WindowsServer:2019-Datacenter:latest", user = "sample-user", prefix = "vmss",
  public_key = "ssh-ed25519 AAAA" }
