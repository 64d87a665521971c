--- A subnet. ARM takes one write at a time for each virtual network.
local statement, field = require "azure.statement", require "field"

return statement.define {
  kind = "subnet", doc = "A subnet of a virtual network.", type = "Microsoft.Network/virtualNetworks/subnets",
  api = "2025-05-01", parent = "vnet", located = false,
  match = "^[%w][%w_.-]*$", longest = 80,
  fields = {
    vnet = field.resource { "azure.virtual_network", "azure.existing", required = true, replace = true, doc = "The virtual network." },
    cidr = field.cidr { required = true, arm_optional = true, arm = "properties.addressPrefix", doc = "The address range." },
    security_group = field.resource { "azure.network_security_group", "azure.existing", arm = "properties.networkSecurityGroup",
      doc = "The network security group." },
    route_table = field.resource { "azure.route_table", arm = "properties.routeTable", doc = "The routes of its own." },
    nat_gateway = field.resource { "azure.nat_gateway", "azure.existing", arm = "properties.natGateway", doc = "The way out." },
    default_outbound = field.boolean { default = false, arm = "properties.defaultOutboundAccess",
      doc = "Whether machines get an implicit way out; production uses a NAT gateway instead." },
  },
  -- Azure leaves out what was never said: there is an implicit way out.
  observed = function(_, body) return { default_outbound = statement.get(body, "properties.defaultOutboundAccess") ~= false } end,
  serial = function(f) return f.vnet and f.vnet.id end,
}
