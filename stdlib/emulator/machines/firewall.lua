--- What a machine's network security groups let through, as nftables of its own network namespace.
local ip = require "emulator.ip"

local firewall = {}

local TABLE = "network_security_groups"
local PROTOCOLS = { Tcp = "meta l4proto tcp", Udp = "meta l4proto udp", Icmp = "meta l4proto icmp", Esp = "meta l4proto esp",
  Ah = "meta l4proto ah" }

local function list(one, many)
  if many and #many > 0 then return many end
  return one ~= nil and { one } or {}
end

local function set(items) return "{ " .. table.concat(items, ", ") .. " }" end

-- Ranges of one prefix list: nil is everything, false is nothing; `outside` is everything but the networks.
local function addresses(prefixes, guard)
  local ranges, outside = {}, false
  for _, prefix in ipairs(prefixes) do
    if prefix == "*" or prefix == "Any" or prefix == "0.0.0.0/0" then return nil end
    if prefix == "VirtualNetwork" then
      for _, network in ipairs(guard.networks) do ranges[#ranges + 1] = network end
    elseif prefix == "AzureLoadBalancer" then
      ranges[#ranges + 1] = guard.platform
    elseif prefix == "Internet" then
      outside = true
    elseif ip.range(prefix) then
      ranges[#ranges + 1] = prefix
    end
  end
  return ranges, outside
end

-- The ways to say a side of a rule: each is a condition; a side that fits nothing has none.
local function sides(key, prefixes, guard)
  local ranges, outside = addresses(prefixes, guard)
  if not ranges then return { "" } end
  local ways = {}
  if #ranges > 0 then ways[1] = ("ip %s %s"):format(key, set(ranges)) end
  if outside then
    local inside = table.move(guard.networks, 1, #guard.networks, 2, { guard.platform })
    ways[#ways + 1] = ("ip %s != %s"):format(key, set(inside))
  end
  return ways
end

local function ports(ranges)
  local items = {}
  for _, range in ipairs(ranges) do
    if range == "*" then return nil end
    items[#items + 1] = tostring(range)
  end
  return items
end

local function rule_lines(rule, guard, lines)
  local p = rule.properties
  local protocol = p.protocol == "*" and "" or PROTOCOLS[p.protocol]
  local wanted = ports(list(p.destinationPortRange, p.destinationPortRanges))
  if not protocol or (wanted and #wanted == 0) then return end
  if wanted then
    -- A port is one of TCP or UDP.
    protocol = (protocol == "" and "meta l4proto { tcp, udp }" or protocol) .. " th dport " .. set(wanted)
  end
  local verdict = p.access == "Allow" and "return" or "drop"
  for _, source in ipairs(sides("saddr", list(p.sourceAddressPrefix, p.sourceAddressPrefixes), guard)) do
    for _, destination in ipairs(sides("daddr", list(p.destinationAddressPrefix, p.destinationAddressPrefixes), guard)) do
      local words = {}
      for _, word in ipairs { source, destination, protocol, "counter", verdict } do words[#words + 1] = word ~= "" and word or nil end
      lines[#lines + 1] = "    " .. table.concat(words, " ")
    end
  end
end

local function group_chain(name, rules, direction, guard, lines)
  lines[#lines + 1] = ("  chain %s {"):format(name)
  for _, rule in ipairs(rules) do
    if rule.properties.direction == direction then rule_lines(rule, guard, lines) end
  end
  lines[#lines + 1] = "  }"
end

local function hook(name, head, match, groups, direction, lines)
  lines[#lines + 1] = ("  chain %s {\n    type filter hook %s; policy accept;"):format(name, head)
  lines[#lines + 1] = ("    %s ct state established,related accept"):format(match)
  for i in ipairs(groups) do
    lines[#lines + 1] = ("    %s meta protocol ip jump %s_%d"):format(match, direction:lower(), i)
  end
  lines[#lines + 1] = "  }"
end

--- The rules as text for `nft -f -`, which replaces those of before. `guard`: { groups = lists of rules by priority, each of which
-- must let a packet through; networks = ranges of the virtual network; platform = the address of what the emulator itself sends,
-- which it has judged already }.
--
-- What comes in is judged before its address is translated, what goes out after it, as Azure does it: outside of the machine.
function firewall.text(guard)
  local lines = { ("table inet %s {}\ndelete table inet %s\ntable inet %s {"):format(TABLE, TABLE, TABLE) }
  for i, rules in ipairs(guard.groups) do
    group_chain("inbound_" .. i, rules, "Inbound", guard, lines)
    group_chain("outbound_" .. i, rules, "Outbound", guard, lines)
  end
  hook("prerouting", "prerouting priority mangle", ('iifname "eth0" ip saddr != %s'):format(guard.platform), guard.groups, "Inbound", lines)
  hook("postrouting", "postrouting priority srcnat + 10", ('oifname "eth0" ip daddr != %s'):format(guard.platform), guard.groups,
    "Outbound", lines)
  lines[#lines + 1] = "}\n"
  return table.concat(lines, "\n")
end

return firewall
