--- A resource group. Deleting it is refused while it holds anything: a group is never deleted to delete its content.
local arm, field, fail = require "azure.arm", require "field", require "fail"
local statement = require "azure.statement"

local API = "2025-04-01"

local function id_of(f, target)
  if not f.name then return nil end
  return ("/subscriptions/%s/resourceGroups/%s"):format(target.subscription, f.name)
end

return statement.define {
  kind = "resource_group", doc = "A resource group.", type = "Microsoft.Resources/resourceGroups", api = API,
  parent = "subscription", located = false, tagged = true, match = "^[%w_().-]*[%w_()-]$",
  fields = {
    location = field.string { required = true, replace = true, arm = "location", doc = "The region.",
      to = function(value) return (value:lower():gsub("%s+", "")) end },
  },
  identity = id_of,
  verbs = {
    delete = function(ctx)
      local client = arm.open(ctx.target)
      local id = ctx.prior.id or ctx.prior.outputs.id
      local left = client:list(id .. "/resources", API)
      if #left > 0 then
        local names = {}
        for i = 1, math.min(#left, 5) do names[i] = left[i].type .. " " .. left[i].name end
        error(fail { ("the group still holds %d resource(s): %s"):format(#left, table.concat(names, ", ")),
          code = "unmanaged", hint = "delete them, or pass --include-unmanaged" })
      end
      client:delete(id, API, { ctx = ctx })
    end,
  },
}
