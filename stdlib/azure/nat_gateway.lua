--- A NAT gateway: the way out for machines without a public address.
local statement, field = require "azure.statement", require "field"

return statement.define {
  kind = "nat_gateway", doc = "A NAT gateway.", type = "Microsoft.Network/natGateways", api = "2025-05-01",
  match = "^[%w][%w_.-]*$", longest = 80,
  fields = {
    sku = field.choice { "Standard", "StandardV2", default = "Standard", replace = true, arm = "sku.name" },
    public_ips = field.list { field.resource { "azure.public_ip_address" }, required = true, arm_optional = true,
      arm = "properties.publicIpAddresses",
      doc = "Its public addresses." },
    idle_timeout = field.integer { min = 4, max = 120, arm = "properties.idleTimeoutInMinutes", doc = "Minutes." },
    zones = field.list { field.string {}, replace = true, arm = "zones" },
  },
}
