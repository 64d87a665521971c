--- Microsoft.Compute: proximity placement groups, what stands near to each other.
local records = require "emulator.arm.records"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"

local raise = problem.raise

local function bad_parameter(target, message) raise(400, "InvalidParameter", message, { target = target }) end

local PLACEMENT = { Standard = true, Ultra = true }

records.define("Microsoft.Compute/proximityPlacementGroups", {
  style = style.plain, stateless = true, name = "^[%w_][%w_.-]*$", fixed = { "properties.proximityPlacementGroupType" },
  read_only = { "virtualMachines", "virtualMachineScaleSets", "availabilitySets" },
  prepare = function(body)
    value.fill(body.properties, { proximityPlacementGroupType = "Standard" })
    if not PLACEMENT[body.properties.proximityPlacementGroupType] then
      bad_parameter("proximityPlacementGroupType", ("The value '%s' of parameter proximityPlacementGroupType is invalid."):format(
        tostring(body.properties.proximityPlacementGroupType)))
    end
  end,
  show = function(record, body)
    local p = body.properties
    p.virtualMachines = records.back(record.id, "proximityPlacementGroup", "/virtualmachines/")
    p.virtualMachineScaleSets = records.back(record.id, "proximityPlacementGroup", "/virtualmachinescalesets/")
    p.availabilitySets = records.back(record.id, "proximityPlacementGroup", "/availabilitysets/")
  end,
  busy = function(record)
    local user = records.users(record.id)[1]
    if user then
      raise(409, "OperationNotAllowed",
        ("Proximity placement group '%s' cannot be deleted: it is used by %s."):format(record.name, user.from))
    end
  end,
})

return {}
