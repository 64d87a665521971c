--- What makes a private DNS zone known in a virtual network.
local statement, field = require "azure.statement", require "field"

return statement.define {
  kind = "private_dns_link", doc = "A link of a private DNS zone to a virtual network.",
  type = "Microsoft.Network/privateDnsZones/virtualNetworkLinks", api = "2024-06-01", parent = "zone", located = false, tagged = true,
  fields = {
    name = field.string { required = true, replace = true, default_name = true, match = "^[%w][%w_.-]*$", max = 80,
      doc = "The name in Azure; the resource's own name unless given." },
    zone = field.resource { "azure.private_dns_zone", "azure.existing", required = true, replace = true, doc = "The zone." },
    vnet = field.resource { "azure.virtual_network", "azure.existing", required = true, replace = true,
      arm = "properties.virtualNetwork", doc = "The virtual network whose machines ask it." },
    registration = field.boolean { default = false, arm = "properties.registrationEnabled",
      doc = "Whether machines of the network are written into the zone." },
    resolution = field.choice { "Default", "NxDomainRedirect", arm = "properties.resolutionPolicy",
      doc = "NxDomainRedirect asks public DNS for names that a private link zone does not have." },
  },
  outputs = { state = field.string { arm = "properties.virtualNetworkLinkState", doc = "InProgress or Completed." } },
  body = function(_, body) body.location = "global" end,
}
