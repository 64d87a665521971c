--- A load balancer. Frontends, pools, probes and rules are ours by name and are written with If-Match: what a
-- cloud-controller-manager adds to the same load balancer is left alone and is no drift.
local statement, field, json = require "azure.statement", require "field", require "json"

local function id_of(f)
  if not (f.group and f.group.id and f.name) then return nil end
  return ("%s/providers/Microsoft.Network/loadBalancers/%s"):format(f.group.id, f.name)
end

local function child(f, collection, name)
  return name and { id = ("%s/%s/%s"):format(id_of(f), collection, name) } or nil
end

--- Elements in ARM's form: `{name, properties}`.
local function elements(list, properties)
  local items = {}
  for i, item in ipairs(list) do
    items[i] = { name = item.name, zones = item.zones and json.array(item.zones) or nil, properties = properties(item) }
  end
  return json.array(items)
end

local function reference(value) return value and { id = value.id } or nil end

local function last(id) return type(id) == "table" and id.id and id.id:match("[^/]+$") or nil end

--- Elements in the recipe's form, by a table of recipe name -> ARM name; a leading "@" marks a reference by name.
local function shown(names)
  return function(list)
    local items = {}
    for i, item in ipairs(list) do
      local value = { name = item.name }
      for ours, theirs in pairs(names) do
        if theirs:sub(1, 1) == "@" then
          value[ours] = last(item.properties[theirs:sub(2)])
        else
          value[ours] = item.properties[theirs]
        end
      end
      items[i] = value
    end
    return json.array(items)
  end
end

local name = field.string { required = true }

return statement.define {
  kind = "load_balancer", doc = "A load balancer: frontends, pools, probes, rules, inbound NAT and outbound rules.",
  type = "Microsoft.Network/loadBalancers", api = "2025-05-01",
  match = "^[%w][%w_.-]*$", longest = 80,
  fields = {
    sku = field.choice { "Standard", "Gateway", arm_also = { "Basic" }, default = "Standard", replace = true, arm = "sku.name" },
    frontends = field.list { field.object { name = name, public_ip = field.resource { "azure.public_ip_address" },
      subnet = field.resource { "azure.subnet", "azure.existing" }, private_ip = field.ip {}, zones = field.list { field.string {} } },
      key = "name", owned_elements = true, required = true, arm_optional = true, arm = "properties.frontendIPConfigurations",
      to = function(list) return elements(list, function(item)
        return { publicIPAddress = reference(item.public_ip), subnet = reference(item.subnet),
          privateIPAddress = item.private_ip, privateIPAllocationMethod = item.private_ip and "Static" or nil }
      end) end,
      from = shown { private_ip = "privateIPAddress" }, doc = "Where clients come in." },
    pools = field.list { field.object { name = name }, key = "name", owned_elements = true,
      arm = "properties.backendAddressPools", doc = "Backend pools; interfaces and scale sets join them.",
      to = function(list) return elements(list, function() return nil end) end, from = shown {} },
    probes = field.list { field.object { name = name, protocol = field.choice { "Tcp", "Http", "Https",
      arm = "properties.protocol" },
      port = field.integer { required = true, min = 1, max = 65535, arm = "properties.port" },
      path = field.string { arm = "properties.requestPath" }, interval = field.integer { min = 5,
        arm = "properties.intervalInSeconds" },
      threshold = field.integer { min = 1, arm = "properties.probeThreshold" } },
      key = "name", owned_elements = true, arm = "properties.probes",
      to = function(list) return elements(list, function(item)
        return { protocol = item.protocol or "Tcp", port = item.port, requestPath = item.path,
          intervalInSeconds = item.interval or 15, probeThreshold = item.threshold }
      end) end,
      from = shown { protocol = "protocol", port = "port", path = "requestPath", interval = "intervalInSeconds" } },
    rules = field.list { field.object { name = name, frontend = field.string { required = true },
      pool = field.string { required = true }, probe = field.string {}, protocol = field.choice { "Tcp", "Udp", "All",
        arm = "properties.protocol" },
      frontend_port = field.integer { required = true, min = 0, max = 65535, arm = "properties.frontendPort" },
      backend_port = field.integer { required = true, min = 0, max = 65535, arm = "properties.backendPort" },
      idle_timeout = field.integer { min = 4, max = 100, arm = "properties.idleTimeoutInMinutes" },
      floating_ip = field.boolean { arm = "properties.enableFloatingIP" },
      disable_outbound_snat = field.boolean { arm = "properties.disableOutboundSnat" } },
      key = "name", owned_elements = true, arm = "properties.loadBalancingRules",
      to = function(list, f) return elements(list, function(item)
        return { frontendIPConfiguration = child(f, "frontendIPConfigurations", item.frontend),
          backendAddressPool = child(f, "backendAddressPools", item.pool), probe = child(f, "probes", item.probe),
          protocol = item.protocol or "Tcp", frontendPort = item.frontend_port, backendPort = item.backend_port,
          idleTimeoutInMinutes = item.idle_timeout, enableFloatingIP = item.floating_ip,
          disableOutboundSnat = item.disable_outbound_snat }
      end) end,
      from = shown { frontend = "@frontendIPConfiguration", pool = "@backendAddressPool", probe = "@probe",
        protocol = "protocol", frontend_port = "frontendPort", backend_port = "backendPort" } },
    nat_rules = field.list { field.object { name = name, frontend = field.string { required = true },
      protocol = field.choice { "Tcp", "Udp", arm_also = { "All" }, arm = "properties.protocol" },
      frontend_port = field.integer { required = true, arm_optional = true, min = 0, max = 65534,
        arm = "properties.frontendPort" },
      backend_port = field.integer { required = true, min = 1, max = 65535, arm = "properties.backendPort" } },
      key = "name", owned_elements = true, arm = "properties.inboundNatRules",
      doc = "One port of a frontend to one machine; the machine's interface names the rule.",
      to = function(list, f) return elements(list, function(item)
        return { frontendIPConfiguration = child(f, "frontendIPConfigurations", item.frontend),
          protocol = item.protocol or "Tcp", frontendPort = item.frontend_port, backendPort = item.backend_port }
      end) end,
      from = shown { frontend = "@frontendIPConfiguration", protocol = "protocol", frontend_port = "frontendPort",
        backend_port = "backendPort" } },
    outbound_rules = field.list { field.object { name = name, frontend = field.string { required = true },
      pool = field.string { required = true }, protocol = field.choice { "All", "Tcp", "Udp", arm_required = true,
        arm = "properties.protocol" },
      ports = field.integer { min = 0, max = 64000, arm = "properties.allocatedOutboundPorts" } },
      key = "name", owned_elements = true, arm = "properties.outboundRules",
      to = function(list, f) return elements(list, function(item)
        return { frontendIPConfigurations = json.array { child(f, "frontendIPConfigurations", item.frontend) },
          backendAddressPool = child(f, "backendAddressPools", item.pool), protocol = item.protocol or "All",
          allocatedOutboundPorts = item.ports }
      end) end,
      from = shown { pool = "@backendAddressPool", protocol = "protocol", ports = "allocatedOutboundPorts" } },
  },
  outputs = {
    pool_ids = field.map { field.string {}, doc = "The ids of our backend pools, by name." },
    nat_rule_ids = field.map { field.string {}, doc = "The ids of our inbound NAT rules, by name." },
  },
  predict = function(f, id)
    local pools, rules = {}, {}
    for _, pool in ipairs(id and f.pools or {}) do pools[pool.name] = id .. "/backendAddressPools/" .. pool.name end
    for _, rule in ipairs(id and f.nat_rules or {}) do rules[rule.name] = id .. "/inboundNatRules/" .. rule.name end
    return { pool_ids = id and pools or nil, nat_rule_ids = id and rules or nil }
  end,
  found = function(ctx, _, body, outputs)
    outputs.pool_ids, outputs.nat_rule_ids = {}, {}
    for _, pool in ipairs(ctx.fields.pools or {}) do
      outputs.pool_ids[pool.name] = body.id .. "/backendAddressPools/" .. pool.name
    end
    for _, rule in ipairs(ctx.fields.nat_rules or {}) do
      outputs.nat_rule_ids[rule.name] = body.id .. "/inboundNatRules/" .. rule.name
    end
  end,
  serial = id_of,
}
