--- A virtual network. Its subnets and peerings are kinds of their own and are left as they are.
local statement, field = require "azure.statement", require "field"

return statement.define {
  kind = "virtual_network", doc = "A virtual network.", type = "Microsoft.Network/virtualNetworks", api = "2025-05-01",
  match = "^[%w][%w_.-]*$", longest = 64,
  fields = {
    cidr = field.cidr { list = true, required = true, arm = "properties.addressSpace.addressPrefixes",
      doc = "The address ranges." },
    dns_servers = field.list { field.ip {}, arm = "properties.dhcpOptions.dnsServers", doc = "DNS servers." },
  },
  serial = function(f) return f.group and f.name and (f.group.id .. "/vnet/" .. f.name) end,
}
