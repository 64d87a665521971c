--- Microsoft.Network: record sets of type A of private DNS zones.
local json = require "json"
local records = require "emulator.arm.records"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"
local ip = require "emulator.ip"

local function bad_request(message) problem.raise(400, "BadRequest", message) end

records.define("Microsoft.Network/privateDnsZones/A", {
  style = value.fill({ etag = "guid", etag_on_put = true }, style.plain), kind = "azure.private_dns_record", located = false, stateless = true,
  read_only = { "fqdn", "isAutoRegistered" },
  prepare = function(body, ctx)
    local p = body.properties
    if math.type(p.ttl) ~= "integer" or p.ttl < 1 or p.ttl > 2147483647 then
      bad_request(("The TTL of record set '%s' must be between 1 and 2147483647."):format(ctx.name))
    end
    if not p.aRecords or #p.aRecords == 0 then bad_request(("The record set '%s' of type 'A' cannot be empty."):format(ctx.name)) end
    local seen = {}
    for _, item in ipairs(p.aRecords) do
      local address = tostring(item.ipv4Address)
      if not ip.number(address) then bad_request(("The value '%s' is not a valid IPv4 address."):format(address)) end
      if seen[address] then bad_request(("The record set '%s' has the record '%s' twice."):format(ctx.name, address)) end
      seen[address] = true
    end
    p.aRecords = json.array(p.aRecords)
    local zone = ctx.id.names[1]:lower()
    p.fqdn = ctx.name == "@" and zone .. "." or ("%s.%s."):format(ctx.name:lower(), zone)
    p.isAutoRegistered = false
  end,
})

return {}
