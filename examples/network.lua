-- References make the order: the subnet needs the network, the network needs the group.
local azure = use("azure")

local p = params { name = param.string { default = "demo", help = "prefix of every name" } }

local group = azure.resource_group "main" { name = p.name .. "-rg", location = "westeurope" }
local network = azure.virtual_network "main" { name = p.name .. "-vnet", group = group, cidr = "10.0.0.0/16" }
local subnet = azure.subnet "nodes" { vnet = network, cidr = "10.0.1.0/24" }

outputs { subnet = subnet.id }
