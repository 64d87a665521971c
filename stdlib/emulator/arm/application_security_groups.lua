--- Microsoft.Network: application security groups, names that interfaces bear and rules speak of.
local crypto, json = require "crypto", require "json"
local records = require "emulator.arm.records"
local problem, style = require "emulator.arm.problem", require "emulator.arm.style"

records.define("Microsoft.Network/applicationSecurityGroups", {
  style = style.network, name = "^[%w][%w_.-]*$", seconds = { create = 2, update = 2, delete = 5 },
    read_only = { "resourceGuid" },
  prepare = function(body, ctx)
    body.properties = { resourceGuid = ctx.old and ctx.old.body.properties.resourceGuid or crypto.uuid() }
  end,
  busy = function(record)
    local user = records.users(record.id)[1]
    if user then
      problem.raise(400, "InUseApplicationSecurityGroupCannotBeDeleted",
        ("Application security group %s cannot be deleted because it is in "
        .. "use by %s."):format(record.id, user.from), { details = json.array {} })
    end
  end,
})

return {}
