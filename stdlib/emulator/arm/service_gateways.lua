--- Microsoft.Network: service gateways of a virtual network, with the services and addresses that are said to them by actions.
local json = require "json"
local records = require "emulator.arm.records"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"

local function bad_request(code, message) problem.raise(400, code, message, { details = json.array {} }) end

local function update(record, list, changes, key_of)
  local kept, at = record.private[list] or {}, {}
  for i, item in ipairs(kept) do at[key_of(item)] = i end
  for _, change in ipairs(changes) do
    local item, key = change.item, key_of(change.item)
    if change.removed then
      if at[key] then kept[at[key]] = false end
    elseif at[key] and kept[at[key]] then
      kept[at[key]] = item
    else
      kept[#kept + 1], at[key] = item, #kept + 1
    end
  end
  local left = {}
  for _, item in ipairs(kept) do left[#left + 1] = item or nil end
  record.private[list] = left
  records.save(record)
end

local function service_changes(record, input)
  if input.action ~= "PartialUpdate" and input.action ~= "FullUpdate" then
    bad_request("InvalidRequestFormat", "The property 'action' must be PartialUpdate or FullUpdate.")
  end
  if input.action == "FullUpdate" then record.private.services = {} end
  local changes = {}
  for i, request in ipairs(input.serviceRequests or {}) do
    local service = request.service
    if type(service) ~= "table" or type(service.name) ~= "string" then
      bad_request("InvalidRequestFormat", "Each of serviceRequests needs a service with a name.")
    end
    changes[i] = { item = service, removed = request.isDelete == true }
  end
  return changes
end

local function location_changes(record, input)
  if input.action ~= "PartialUpdate" and input.action ~= "FullUpdate" then
    bad_request("InvalidRequestFormat", "The property 'action' must be PartialUpdate or FullUpdate.")
  end
  if input.action == "FullUpdate" then record.private.locations = {} end
  local changes = {}
  for i, item in ipairs(input.addressLocations or {}) do
    if type(item.addressLocation) ~= "string" then
      bad_request("InvalidRequestFormat", "Each of addressLocations needs an addressLocation.")
    end
    changes[i] = { item = { addressLocation = item.addressLocation, addresses = json.array(item.addresses or {}) },
      removed = #(item.addresses or {}) == 0 }
  end
  return changes
end

local function listed(list)
  return function(record) return { value = json.array(value.copy(record.private[list] or {})) } end
end

records.define("Microsoft.Network/serviceGateways", {
  style = style.network, name = "^[%w][%w_.-]*$", seconds = { create = 5, update = 3, delete = 5 },
  fixed = { "properties.virtualNetwork.id", "sku.name" }, read_only = { "resourceGuid" },
  prepare = function(body, ctx)
    local p = body.properties
    body.sku = value.fill(body.sku or ctx.old and value.copy(ctx.old.body.sku) or {}, { name = "Standard", tier = "Regional" })
    if not value.at(p, "virtualNetwork.id") then
      bad_request("InvalidRequestFormat", ("Service gateway %s has no virtualNetwork."):format(ctx.record_id))
    end
    local target = p.routeTargetAddress
    if target then
      if not value.at(target, "subnet.id") then
        bad_request("InvalidRequestFormat", ("The routeTargetAddress of service gateway %s has no subnet."):format(ctx.record_id))
      end
      value.fill(target, { privateIPAllocationMethod = "Dynamic" })
    end
    p.services = json.array {}
  end,
  actions = {
    updateServices = { run = function(record, input)
      update(record, "services", service_changes(record, input), function(service) return service.name:lower() end)
    end },
    updateAddressLocations = { run = function(record, input)
      update(record, "locations", location_changes(record, input), function(location) return location.addressLocation:lower() end)
    end },
  },
  views = { services = listed("services"), addressLocations = listed("locations") },
})

return {}
