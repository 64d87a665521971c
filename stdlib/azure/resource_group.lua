--- A resource group. Deleting it is refused while it holds anything: a group is never deleted to delete its content.
local arm, field, fail = require "azure.arm", require "field", require "fail"
local statement = require "azure.statement"

local API, NETWORK_API = "2025-04-01", "2025-05-01"

local function id_of(f, target)
  if not f.name then return nil end
  return ("/subscriptions/%s/resourceGroups/%s"):format(target.subscription, f.name)
end

-- Whether an id is one of ours or stands below one; everything stands below the group, which does not count.
local function is_ours(id, ours)
  local at = id:lower()
  while at and at:find("/providers/", 1, true) do
    if ours[at] then return true end
    at = at:match("^(.*/providers/[^/]+/[^/]+/.+)/[^/]+/[^/]+$")
  end
  return false
end

-- Whether something came with a resource of ours: below it, managed by it, or a network interface of one of our machines.
local function came_with(client, item, ours)
  if is_ours(item.id, ours) then return true end
  if type(item.managedBy) == "string" and is_ours(item.managedBy, ours) then return true end
  if item.type:lower() == "microsoft.network/networkinterfaces" then
    local nic = client:get(item.id, NETWORK_API)
    for _, owner in ipairs { "virtualMachine", "privateEndpoint" } do
      local with = nic and nic.properties and nic.properties[owner]
      if type(with) == "table" and with.id and is_ours(with.id, ours) then return true end
    end
  end
  return false
end

-- Deletes what is not ours with the newest api-version that its provider names.
local function remove(client, item)
  local namespace, rest = item.type:match("^([^/]+)/(.+)$")
  local provider = client:get(("/subscriptions/%s/providers/%s"):format(client.subscription, namespace), API) or {}
  for _, known in ipairs(provider.resourceTypes or {}) do
    if known.resourceType:lower() == rest:lower() then return client:delete(item.id, known.apiVersions[1]) end
  end
  error(fail { "no api-version is known for " .. item.type .. " " .. item.name, code = "unmanaged", hint = "delete it by hand" })
end

return statement.define {
  kind = "resource_group", doc = "A resource group.", type = "Microsoft.Resources/resourceGroups", api = API,
  parent = "subscription", located = false, tagged = true, match = "^[%w_().-]*[%w_()-]$", longest = 90,
  fields = {
    location = field.string { required = true, replace = true, arm = "location", doc = "The region.",
      to = function(value) return (value:lower():gsub("%s+", "")) end },
  },
  identity = id_of,
  foreign = function(ctx)
    local client, found = arm.open(ctx.target), {}
    for _, item in ipairs(client:list(ctx.prior.id .. "/resources", API)) do
      if not came_with(client, item, ctx.ours) then
        found[#found + 1] = { id = item.id, what = item.type .. " " .. item.name, remove = function() remove(client, item) end }
      end
    end
    return found
  end,
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
