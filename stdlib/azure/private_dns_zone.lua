--- A private DNS zone. It is of no region.
local statement, field = require "azure.statement", require "field"

return statement.define {
  kind = "private_dns_zone", doc = "A private DNS zone.", type = "Microsoft.Network/privateDnsZones", api = "2024-06-01",
  located = false, tagged = true,
  fields = {
    name = field.string { required = true, replace = true, default_name = true, match = "^[%w_-]+%.[%w_.-]*[%w_-]$", max = 253,
      doc = "The domain, of two labels at least; the resource's own name unless given." },
  },
  outputs = { record_sets = field.integer { volatile = true, arm = "properties.numberOfRecordSets", doc = "How many there are." } },
  body = function(_, body) body.location = "global" end,
}
