--- Who made a resource and who changed it last, as services show it that keep it.
local world, clock = require "emulator.world", require "emulator.clock"

--- `systemData` of a record.
local function of(record)
  local made, changed = record.made_by or world.client_id, record.changed_by or record.made_by or world.client_id
  return { createdBy = made, createdByType = "Application", createdAt = clock.iso(record.created), lastModifiedBy = changed,
    lastModifiedByType = "Application", lastModifiedAt = clock.iso(record.changed or record.created) }
end

return { of = of }
