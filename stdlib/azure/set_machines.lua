--- The machines that name a Flexible scale set, each with its run time status.
local API = "2025-04-01"

--- All of a set's machines, as ARM shows them with `instanceView`: one list has both. It is documented for machines of a set alone
-- (Virtual Machines - List: `$expand=instanceView` "can only be specified if a valid $filter option is specified"); where it shows the
-- status without the models, they are listed, too.
-- @param set the scale set's id
local function list(client, set)
  local path = ("%s/providers/Microsoft.Compute/virtualMachines?$filter='virtualMachineScaleSet/id'%%20eq%%20'%s'"):format(
    set:match("^(.-)/providers/"), set)
  local shown, views = client:list(path .. "&$expand=instanceView", API), {}
  for _, vm in ipairs(shown) do
    if not vm.properties.networkProfile then views[vm.name:lower()] = vm.properties.instanceView or false end
  end
  if not next(views) then return shown end
  local machines = client:list(path, API)
  for _, vm in ipairs(machines) do vm.properties.instanceView = views[vm.name:lower()] or nil end
  return machines
end

return { list = list }
