--- Microsoft.Network: what belongs to Azure Firewall: groups of addresses, policies.
local json = require "json"
local records = require "emulator.arm.records"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"
local ip = require "emulator.ip"

local GROUP, POLICY = "Microsoft.Network/ipGroups", "Microsoft.Network/firewallPolicies"
local MOST = 5000 -- addresses of one group

local function bad_request(code, message) problem.raise(400, code, message, { details = json.array {} }) end

local function check_address(text, ctx)
  local first, last = tostring(text):match("^([%d.]+)%-([%d.]+)$")
  local good
  if first then
    good = ip.number(first) and ip.number(last) and ip.number(first) <= ip.number(last)
  else
    good = ip.range(text) ~= nil
  end
  if not good then
    bad_request("InvalidIpAddressFormat",
      ("'%s' of IP group %s is not valid: it must be an address, a range or a prefix of IPv4."):format(
      tostring(text), ctx.record_id))
  end
end

local function in_use(record, code, noun)
  local user = records.users(record.id)[1]
  if user then bad_request(code, ("%s %s is in use by %s and cannot be deleted."):format(noun, record.id, user.from)) end
end

records.define(GROUP, {
  style = style.firewall, name = "^[%w][%w_.-]*$", seconds = { create = 3, update = 3 },
    shown_type = "Microsoft.Network/IpGroups",
  read_only = { "firewalls", "firewallPolicies" },
  prepare = function(body, ctx)
    local p = body.properties
    p.ipAddresses = json.array(p.ipAddresses or {})
    if #p.ipAddresses > MOST then
      bad_request("InvalidRequestFormat", ("IP group %s has more than %d addresses."):format(ctx.record_id, MOST))
    end
    for _, text in ipairs(p.ipAddresses) do check_address(text, ctx) end
  end,
  show = function(record, body)
    local p = body.properties
    p.firewalls = records.back(record.id, nil, "/azurefirewalls/") or json.array {}
    p.firewallPolicies = records.back(record.id, nil, "/firewallpolicies/") or json.array {}
  end,
  busy = function(record) in_use(record, "InUseIpGroupCannotBeDeleted", "IP group") end,
})

local MODES, TIERS = { Alert = true, Deny = true, Off = true }, { Basic = true, Standard = true, Premium = true }

records.define(POLICY, {
  style = style.firewall, name = "^[%w][%w_.-]*$", seconds = { create = 5, update = 5 },
    shown_type = "Microsoft.Network/FirewallPolicies",
  read_only = { "firewalls", "childPolicies", "ruleCollectionGroups", "size" }, fixed = { "properties.sku.tier" },
  prepare = function(body, ctx)
    local p = body.properties
    p.sku = value.fill(p.sku or {}, { tier = "Standard" })
    value.fill(p, { threatIntelMode = "Alert" })
    if not TIERS[p.sku.tier] or not MODES[p.threatIntelMode] then
      bad_request("InvalidRequestFormat", ("Firewall policy %s has no valid %s."):format(ctx.record_id,
        TIERS[p.sku.tier] and "threatIntelMode" or "sku.tier"))
    end
  end,
  show = function(record, body)
    local p, groups = body.properties, json.array {}
    for child in records.each(POLICY .. "/ruleCollectionGroups", record.id .. "/") do groups[#groups + 1] = { id = child.id } end
    p.ruleCollectionGroups = groups
    p.firewalls = records.back(record.id, "firewallPolicy") or json.array {}
    p.childPolicies = records.back(record.id, "basePolicy") or json.array {}
  end,
  busy = function(record) in_use(record, "InUseFirewallPolicyCannotBeDeleted", "Firewall policy") end,
})

records.define(POLICY .. "/ruleCollectionGroups", {
  style = style.firewall, located = false, seconds = { create = 4, update = 4 },
  shown_type = "Microsoft.Network/FirewallPolicies/RuleCollectionGroups", read_only = { "size" },
  prepare = function(body, ctx)
    local p = body.properties
    if math.type(p.priority) ~= "integer" or p.priority < 100 or p.priority > 65000 then
      bad_request("FirewallPolicyRuleCollectionGroupInvalidPriorityValue",
        ("Rule collection group %s has the priority %s; it is between 100 "
        .. "and 65000."):format(ctx.name, tostring(p.priority)))
    end
    for other in records.each(POLICY .. "/ruleCollectionGroups", ctx.id.parent .. "/") do
      if other.id:lower() ~= ctx.record_id:lower() and other.body.properties.priority == p.priority then
        bad_request("FirewallPolicyRuleCollectionGroupDuplicatePriority",
          ("Rule collection groups %s and %s have the same priority %d."):format(
          ctx.name, other.name, p.priority))
      end
    end
    p.ruleCollections = json.array(p.ruleCollections or {})
  end,
})

return {}
