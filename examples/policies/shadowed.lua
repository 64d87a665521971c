-- A rule of a network security group that another one of a smaller priority covers has no effect: somebody thinks that it has.
local function number_of(address)
  local a, b, c, d = address:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  return a and ((a * 256 + b) * 256 + c) * 256 + d
end

local function range_of(text)
  if text == "*" then return 0, 2 ^ 32 - 1 end
  local address, bits = text:match("^([%d.]+)/(%d+)$")
  local first = number_of(address or text)
  return first, first and first + 2 ^ (32 - (tonumber(bits) or 32)) - 1
end

local function list(item) return type(item) == "table" and item or { item or "*" } end

local function inside(one, other)
  if one == other then return true end
  local first, last = range_of(tostring(one))
  local from, to = range_of(tostring(other))
  return first ~= nil and from ~= nil and from <= first and last <= to
end

local function port_inside(one, other)
  if other == "*" then return true end
  local function ports(port)
    local first, last = tostring(port):match("^(%d+)%-(%d+)$")
    return tonumber(first or port), tonumber(last or port)
  end
  local first, last = ports(one)
  local from, to = ports(other)
  return first ~= nil and from ~= nil and from <= first and last <= to
end

local function all_inside(some, others, test)
  for _, one in ipairs(list(some)) do
    local found = false
    for _, other in ipairs(list(others)) do found = found or test(one, other) end
    if not found then return false end
  end
  return true
end

local function covers(before, rule)
  local function same(name, default) return (before[name] or default) == (rule[name] or default) end
  return before.priority < rule.priority and same("direction", "Inbound")
    and (before.protocol == "*" or same("protocol", "Tcp"))
    and all_inside(rule.source, before.source, inside) and all_inside(rule.port, before.port, port_inside)
end

for _, resource in ipairs(plan.resources) do
  if resource.kind == "azure.network_security_group" and resource.action ~= "delete" then
    local rules = resource.fields.rules or {}
    for _, rule in ipairs(rules) do
      for _, before in ipairs(rules) do
        if covers(before, rule) then
          warn(resource, ("rule `%s` has no effect: `%s` comes before it and covers it"):format(rule.name, before.name))
        end
      end
    end
  end
end
