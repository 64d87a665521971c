--- A public IP address. Standard and static: Basic addresses can no longer be created.
local statement, field = require "azure.statement", require "field"

return statement.define {
  kind = "public_ip_address", doc = "A public IP address.", type = "Microsoft.Network/publicIPAddresses", api = "2025-05-01",
  match = "^[%w][%w_.-]*$", longest = 80,
  fields = {
    sku = field.choice { "Standard", "StandardV2", arm_also = { "Basic" }, default = "Standard", replace = true,
      arm = "sku.name" },
    allocation = field.choice { "Static", "Dynamic", default = "Static", arm = "properties.publicIPAllocationMethod" },
    zones = field.list { field.string {}, replace = true, arm = "zones" },
    dns_label = field.string { arm = "properties.dnsSettings.domainNameLabel" },
    idle_timeout = field.integer { min = 4, max = 30, arm = "properties.idleTimeoutInMinutes", doc = "Minutes." },
  },
  outputs = {
    ip = field.string { arm = "properties.ipAddress", doc = "The address." },
    fqdn = field.string { arm = "properties.dnsSettings.fqdn", doc = "The DNS name, where a label is given." },
  },
}
