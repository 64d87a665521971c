--- Microsoft.Network: public address prefixes, ranges of which public addresses are taken.
local crypto, json = require "crypto", require "json"
local world = require "emulator.world"
local records = require "emulator.arm.records"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"
local ip = require "emulator.ip"

local PREFIX = "Microsoft.Network/publicIPPrefixes"
local LENGTHS = { IPv4 = { 21, 31 }, IPv6 = { 124, 127 } }

local function bad_request(code, message) problem.raise(400, code, message, { details = json.array {} }) end

local function check_length(p, name)
  local lengths = LENGTHS[p.publicIPAddressVersion]
  if not lengths then
    bad_request("InvalidRequestFormat",
      ("The value '%s' of publicIPAddressVersion is not valid."):format(tostring(p.publicIPAddressVersion)))
  elseif math.type(p.prefixLength) ~= "integer" or p.prefixLength < lengths[1] or p.prefixLength > lengths[2] then
    bad_request("PublicIpPrefixLengthInvalid",
      ("Public IP prefix %s has the prefix length %s; of %s it is between %d and %d."):format(name,
      tostring(p.prefixLength), p.publicIPAddressVersion, lengths[1], lengths[2]))
  end
end

--- Gives an address of a prefix to a public address that names it; nil when the prefix is not one of IPv4.
local function take_address(prefix_id, owner)
  local prefix = records.get(prefix_id)
  local range = prefix and prefix.body.properties.ipPrefix
  local first, last = ip.range(range)
  if not first then return nil end
  local taken = {}
  for _, user in ipairs(records.users(prefix.id, "publicIPPrefix")) do
    local address = user.record.id:lower() ~= owner:lower() and user.record.body.properties.ipAddress
    if address then taken[ip.number(address)] = true end
  end
  for n = first, last do
    if not taken[n] then return ip.text(n) end
  end
  bad_request("PublicIPPrefixOutOfIpAddresses", ("Public IP prefix %s has no free address left."):format(prefix.id))
end

records.define(PREFIX, {
  style = style.network, name = "^[%w][%w_.-]*$", seconds = { create = 3, update = 2, delete = 5 },
  fixed = { "sku.name", "properties.publicIPAddressVersion", "properties.prefixLength", "zones" },
  read_only = { "resourceGuid", "ipPrefix", "publicIPAddresses", "loadBalancerFrontendIpConfiguration" },
  prepare = function(body, ctx)
    local p, old = body.properties, ctx.old and ctx.old.body
    p.resourceGuid = old and old.properties.resourceGuid or crypto.uuid()
    body.sku = value.fill(body.sku or old and value.copy(old.sku) or {}, { name = "Standard", tier = "Regional" })
    if body.sku.name == "Basic" then
      bad_request("PublicIPPrefixSkuMustBeStandard", ("Public IP prefix %s needs the sku Standard."):format(ctx.record_id))
    end
    value.fill(p, { publicIPAddressVersion = "IPv4", ipTags = json.array {} })
    check_length(p, ctx.record_id)
    p.ipPrefix = old and old.properties.ipPrefix
  end,
  provision = function(record)
    local p = record.body.properties
    if p.ipPrefix then return end
    local block = world.addresses:allocate("prefix", record.id:lower())
    p.ipPrefix = p.publicIPAddressVersion == "IPv6" and ("2001:db8:%x::/%d"):format(ip.number(block) >> 11 & 0xffff,
      p.prefixLength)
      or ("%s/%d"):format(block, p.prefixLength)
  end,
  show = function(record, body) body.properties.publicIPAddresses = records.back(record.id, "publicIPPrefix") end,
  busy = function(record)
    local user = records.users(record.id)[1]
    if user then
      bad_request("InUsePublicIpPrefixCannotBeDeleted",
        ("Public IP prefix %s is in use by %s and cannot be deleted."):format(record.id,
        user.from))
    end
  end,
  destroy = function(record) world.addresses:release("prefix", record.id:lower()) end,
})

return { take_address = take_address }
