--- Microsoft.Network: route tables.
local crypto, json = require "crypto", require "json"
local records = require "emulator.arm.records"
local problem, style = require "emulator.arm.problem", require "emulator.arm.style"
local ip = require "emulator.ip"

local function bad_request(code, message) problem.raise(400, code, message, { details = json.array {} }) end

local function check_route(route, ctx, taken)
  local p = route.properties
  local prefix = tostring(p.addressPrefix)
  -- What begins with a letter is a service tag.
  if not prefix:find("^%a") and not (prefix:find("/", 1, true) and (prefix:find(":", 1, true) or ip.range(prefix))) then
    bad_request("InvalidAddressPrefixFormat", ("Address prefix %s of resource %s is not formatted correctly. It should follow CIDR "
      .. "notation, for example 10.0.0.0/24."):format(prefix, ctx.record_id .. "/routes/" .. route.name))
  end
  local appliance = p.nextHopType == "VirtualAppliance"
  if appliance and not p.nextHopIpAddress then
    bad_request("RouteNextHopIpAddressRequired", ("Route %s needs nextHopIpAddress: its nextHopType is VirtualAppliance."):format(
      route.name))
  elseif p.nextHopIpAddress and not appliance then
    bad_request("RouteNextHopIpAddressNotAllowed", ("Route %s may have no nextHopIpAddress: its nextHopType is %s."):format(route.name,
      p.nextHopType))
  end
  if taken[prefix:lower()] then
    bad_request("RouteConflict", ("Routes %s and %s have the same address prefix %s."):format(route.name, taken[prefix:lower()], prefix))
  end
  taken[prefix:lower()] = route.name
end

records.define("Microsoft.Network/routeTables", {
  kind = "azure.route_table", style = style.network, seconds = { create = 3, update = 3, delete = 8 },
  read_only = { "resourceGuid", "subnets" },
  children = { routes = { seconds = { create = 2, delete = 2 }, defaults = { hasBgpOverride = false } } },
  prepare = function(body, ctx)
    local p = body.properties
    p.resourceGuid = ctx.old and ctx.old.body.properties.resourceGuid or crypto.uuid()
    if p.disableBgpRoutePropagation == nil then p.disableBgpRoutePropagation = false end
    local taken = {}
    for _, route in ipairs(p.routes) do check_route(route, ctx, taken) end
  end,
  show = function(record, body) body.properties.subnets = records.back(record.id, "routeTable", "/subnets/") end,
  busy = function(record)
    local user = records.users(record.id, "routeTable")[1]
    if user then
      bad_request("InUseRouteTableCannotBeDeleted", ("Route table %s is in use and cannot be deleted. It is used by %s."):format(
        record.name, user.from))
    end
  end,
})

return {}
