--- A network security group. Its rules are ours by name: rules that others add are left alone and are no drift.
local statement, field, json = require "azure.statement", require "field", require "json"

local function one_or_many(singular, plural)
  return function(value)
    if type(value) == "table" then return { [plural] = json.array(value) } end
    return { [singular] = tostring(value) }
  end
end

local source = one_or_many("sourceAddressPrefix", "sourceAddressPrefixes")
local destination = one_or_many("destinationAddressPrefix", "destinationAddressPrefixes")
local ports = one_or_many("destinationPortRange", "destinationPortRanges")

local function merge(into, more)
  for key, value in pairs(more) do into[key] = value end
end

local function to_rules(rules)
  local list = {}
  for i, rule in ipairs(rules) do
    local properties = { priority = rule.priority, direction = rule.direction or "Inbound", access = rule.access or "Allow",
      protocol = rule.protocol or "Tcp", sourcePortRange = "*", description = rule.description }
    merge(properties, source(rule.source or "*"))
    merge(properties, destination(rule.destination or "*"))
    merge(properties, ports(rule.port or "*"))
    list[i] = { name = rule.name, properties = properties }
  end
  return json.array(list)
end

local function from_rules(rules)
  local list = {}
  for i, rule in ipairs(rules) do
    local p = rule.properties
    local function either(one, many) return p[one] or (p[many] and #p[many] > 0 and p[many] or nil) end
    list[i] = { name = rule.name, priority = p.priority, direction = p.direction, access = p.access, protocol = p.protocol,
      source = either("sourceAddressPrefix", "sourceAddressPrefixes"),
      destination = either("destinationAddressPrefix", "destinationAddressPrefixes"),
      port = either("destinationPortRange", "destinationPortRanges") }
  end
  return json.array(list)
end

return statement.define {
  kind = "network_security_group", doc = "A network security group with its rules.",
  type = "Microsoft.Network/networkSecurityGroups", api = "2025-05-01",
  match = "^[%w][%w_.-]*$", longest = 80,
  fields = {
    rules = field.list { field.object {
      name = field.string { required = true },
      priority = field.integer { required = true, min = 100, max = 4096, arm = "properties.priority",
        arm_code = "SecurityRuleInvalidPriority" },
      direction = field.choice { "Inbound", "Outbound", arm_required = true, arm = "properties.direction",
        arm_code = "SecurityRuleParameterMissing" },
      access = field.choice { "Allow", "Deny", arm_required = true, arm = "properties.access",
        arm_code = "SecurityRuleParameterMissing" },
      protocol = field.choice { "Tcp", "Udp", "Icmp", "Esp", "Ah", "*", arm_required = true, arm = "properties.protocol",
        arm_code = "SecurityRuleParameterMissing" },
      source = field.any {}, destination = field.any {}, port = field.any {}, description = field.string {},
    }, key = "name", owned_elements = true, arm = "properties.securityRules", to = to_rules, from = from_rules,
      doc = "Rules, owned by name." },
  },
  serial = function(f) return f.group and f.name and (f.group.id .. "/nsg/" .. f.name) end,
}
