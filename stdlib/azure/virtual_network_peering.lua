--- One side of a peering; each side is a resource of its own network.
local statement, field = require "azure.statement", require "field"

return statement.define {
  kind = "virtual_network_peering", doc = "One side of a peering of two virtual networks.",
  type = "Microsoft.Network/virtualNetworks/virtualNetworkPeerings", api = "2025-05-01", parent = "vnet", located = false,
  match = "^[%w][%w_.-]*$", longest = 80,
  fields = {
    vnet = field.resource { "azure.virtual_network", "azure.existing", required = true, replace = true,
      doc = "The network that this side belongs to." },
    remote = field.resource { "azure.virtual_network", "azure.existing", required = true, replace = true,
      arm = "properties.remoteVirtualNetwork", doc = "The other network." },
    allow_access = field.boolean { default = true, arm = "properties.allowVirtualNetworkAccess" },
    allow_forwarded = field.boolean { default = false, arm = "properties.allowForwardedTraffic" },
  },
  outputs = { state = field.string { arm = "properties.peeringState", doc = "Initiated, Connected or Disconnected." } },
  serial = function(f) return f.vnet and f.vnet.id end,
  status = function(_, _, body)
    return body.properties.peeringState == "Disconnected" and "disconnected" or nil
  end,
}
