--- A route table. Its routes are ours by name: those that others add (a Kubernetes cloud provider does) are left alone.
local statement, field = require "azure.statement", require "field"

return statement.define {
  kind = "route_table", doc = "A route table with its routes.", type = "Microsoft.Network/routeTables", api = "2025-05-01",
  fields = {
    name = field.string { required = true, replace = true, default_name = true, match = "^[%w][%w_.-]*$", max = 80,
      doc = "The name in Azure; the resource's own name unless given." },
    routes = field.list { field.object {
      name = field.string { required = true, arm = "name" },
      destination = field.string { required = true, arm = "properties.addressPrefix", doc = "An address range or a service tag." },
      next_hop = field.choice { "VirtualNetworkGateway", "VnetLocal", "Internet", "VirtualAppliance", "None", required = true,
        arm = "properties.nextHopType" },
      next_hop_ip = field.ip { arm = "properties.nextHopIpAddress", doc = "Of a VirtualAppliance." },
    }, key = "name", owned_elements = true, arm = "properties.routes", doc = "Routes, owned by name." },
    disable_bgp_propagation = field.boolean { default = false, arm = "properties.disableBgpRoutePropagation",
      doc = "Whether routes that a gateway learns are kept out." },
  },
  check = function(f, problem)
    for i, route in ipairs(type(f.routes) == "table" and f.routes or {}) do
      local by_appliance = type(route) == "table" and route.next_hop == "VirtualAppliance"
      if by_appliance and route.next_hop_ip == nil then
        problem({ "routes", i }, ("'routes[%d]' needs 'next_hop_ip': its next hop is a VirtualAppliance"):format(i))
      elseif type(route) == "table" and route.next_hop_ip ~= nil and not by_appliance then
        problem({ "routes", i, "next_hop_ip" }, ("'routes[%d].next_hop_ip' is of a VirtualAppliance"):format(i))
      end
    end
  end,
  body = function(_, body)
    -- What lies over a route that is there keeps the address of the appliance that it had.
    for _, route in ipairs(body.properties.routes or {}) do
      if route.properties.nextHopType ~= "VirtualAppliance" then route.properties.nextHopIpAddress = nil end
    end
  end,
  serial = function(f) return f.group and f.group.id and f.name and (f.group.id .. "/routeTables/" .. f.name) end,
}
