--- A network interface with one address, its backend pools and inbound NAT rules.
local statement, field, json = require "azure.statement", require "field", require "json"

local function ids(list)
  local items = {}
  for i, id in ipairs(list or {}) do items[i] = { id = id } end
  return json.array(items)
end

return statement.define {
  kind = "network_interface", doc = "A network interface.", type = "Microsoft.Network/networkInterfaces", api = "2025-05-01",
  match = "^[%w][%w_.-]*$", longest = 80,
  fields = {
    subnet = field.resource { "azure.subnet", "azure.existing", required = true, doc = "The subnet." },
    private_ip = field.ip { doc = "A fixed private address; else the first free one." },
    public_ip = field.resource { "azure.public_ip_address" },
    pools = field.list { field.string {}, doc = "Ids of the backend pools that it joins." },
    nat_rules = field.list { field.string {}, doc = "Ids of the inbound NAT rules that lead here." },
    security_group = field.resource { "azure.network_security_group", "azure.existing", arm = "properties.networkSecurityGroup" },
    accelerated = field.boolean { arm = "properties.enableAcceleratedNetworking" },
    forwarding = field.boolean { arm = "properties.enableIPForwarding" },
  },
  outputs = {
    private_ip = field.string { doc = "The private address.",
      read = function(body)
        return statement.get(body.properties.ipConfigurations[1], "properties.privateIPAddress")
      end },
  },
  body = function(f, body)
    body.properties = body.properties or {}
    local configurations = body.properties.ipConfigurations or json.array { { name = "ipconfig1", properties = {} } }
    local first = configurations[1].properties
    first.subnet = { id = f.subnet.id }
    first.primary = true
    first.publicIPAddress = f.public_ip and { id = f.public_ip.id } or first.publicIPAddress
    first.privateIPAddress = f.private_ip or first.privateIPAddress
    first.privateIPAllocationMethod = f.private_ip and "Static" or "Dynamic"
    -- Memberships that others made stay: ours are added.
    local function join(key, list)
      local have, all = {}, json.array {}
      for _, item in ipairs(first[key] or {}) do
        have[item.id:lower()] = true
        all[#all + 1] = { id = item.id }
      end
      for _, item in ipairs(ids(list)) do
        if not have[item.id:lower()] then all[#all + 1] = item end
      end
      if #all > 0 then first[key] = all end
    end
    join("loadBalancerBackendAddressPools", f.pools)
    join("loadBalancerInboundNatRules", f.nat_rules)
    body.properties.ipConfigurations = configurations
  end,
  observed = function(f, body)
    local first = statement.get(body, "properties.ipConfigurations")[1].properties
    local function holds(list, want)
      local have = {}
      for _, item in ipairs(list or {}) do have[item.id:lower()] = item.id end
      for _, id in ipairs(want) do
        if not have[id:lower()] then
          local shown = {}
          for _, item in ipairs(list or {}) do shown[#shown + 1] = item.id end
          return json.array(shown)
        end
      end
      return want
    end
    return {
      subnet = f.subnet and (first.subnet.id:lower() == tostring(f.subnet.id):lower() and f.subnet or first.subnet),
      private_ip = f.private_ip and first.privateIPAddress,
      pools = f.pools and holds(first.loadBalancerBackendAddressPools, f.pools),
      nat_rules = f.nat_rules and holds(first.loadBalancerInboundNatRules, f.nat_rules),
      public_ip = f.public_ip and (first.publicIPAddress and first.publicIPAddress.id:lower() == f.public_ip.id:lower()
        and f.public_ip or first.publicIPAddress),
    }
  end,
}
