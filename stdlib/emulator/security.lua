--- What network security groups let through: their own rules, then Azure's default ones, by priority.
local ip, network = require "emulator.ip", require "emulator.arm.network"

local security = {}

-- An end of a connection: { ip = "10.0.1.4", tags = { VirtualNetwork = true } }.
local function prefix_matches(prefix, side)
  if prefix == "*" or prefix == "Any" then return true end
  if side.tags[prefix] then return true end
  return ip.range(prefix) ~= nil and ip.holds(prefix, side.ip)
end

local function any(one, many, matches)
  if many and #many > 0 then
    for _, item in ipairs(many) do if matches(item) then return true end end
    return false
  end
  return one ~= nil and matches(one)
end

local function port_matches(range, port)
  if range == "*" then return true end
  local first, last = tostring(range):match("^(%d+)%-?(%d*)$")
  if not first then return false end
  return tonumber(first) <= port and port <= tonumber(last ~= "" and last or first)
end

local function rule_matches(rule, direction, source, destination, port)
  local p = rule.properties
  if p.direction ~= direction or not (p.protocol == "*" or p.protocol == "Tcp") then return false end
  return any(p.sourceAddressPrefix, p.sourceAddressPrefixes, function(prefix) return prefix_matches(prefix, source) end)
    and any(p.destinationAddressPrefix, p.destinationAddressPrefixes, function(prefix) return prefix_matches(prefix, destination) end)
    and any(p.destinationPortRange, p.destinationPortRanges, function(range) return port_matches(range, port) end)
end

--- All rules of a group (its record), in the order in which they are asked.
function security.rules(group)
  local rules = {}
  for _, rule in ipairs(group.body.properties.securityRules or {}) do rules[#rules + 1] = rule end
  for _, rule in ipairs(network.default_rules()) do rules[#rules + 1] = rule end
  table.sort(rules, function(a, b) return a.properties.priority < b.properties.priority end)
  return rules
end

--- Whether a group lets a TCP connection through, and the name of the rule that says so.
function security.allows(group, direction, source, destination, port)
  for _, rule in ipairs(security.rules(group)) do
    if rule_matches(rule, direction, source, destination, port) then return rule.properties.access == "Allow", rule.name end
  end
  return false, "no rule"
end

return security
