--- Extensions: what Azure's agent on a machine installs and runs. The model of a scale set has those of its new instances; on a machine
-- that is there, each is changed for itself, so that nothing else of the model comes with it.
local at_once, field, json = require "at_once", require "field", require "json"
local statement = require "azure.statement"

local API = "2025-04-01"

local M = {}

--- The field of a machine or set, new at each call.
function M.field()
  return field.list { field.object {
    name = field.string { required = true, match = "^[%w][%w_.-]*$", max = 80 },
    publisher = field.string { required = true, arm = "publisher", doc = "Such as Microsoft.Azure.Monitor." },
    type = field.string { required = true, arm = "type", doc = "Such as AzureMonitorLinuxAgent." },
    version = field.string { required = true, match = "^%d+%.%d+$", arm = "typeHandlerVersion", doc = "MAJOR.MINOR, the least." },
    minor_upgrade = field.boolean { default = true, arm = "autoUpgradeMinorVersion", doc = "Whether a newer minor version is taken." },
    automatic_upgrade = field.boolean { arm = "enableAutomaticUpgrade", doc = "Whether Azure upgrades it by itself." },
    settings = field.any { arm = "settings", doc = "What the extension is told; no secrets, ARM shows it." },
  }, key = "name", owned_elements = true, doc = "Extensions, owned by name." }
end

local ELEMENT = M.field().elem

local function properties(item) return statement.encode(ELEMENT, item) end

-- Which one ARM shows: by name, or in lists by an id alone.
local function name_of(item) return (item.name or item.id:match "[^/]+$"):lower() end

local function by_name(list)
  local found = {}
  for _, item in ipairs(list or {}) do found[name_of(item)] = item end
  return found
end

--- Names in small letters that were ours and are declared no more.
function M.gone(ctx)
  local gone = by_name(ctx.prior and ctx.prior.fields and ctx.prior.fields.extensions)
  for _, item in ipairs(ctx.fields.extensions or {}) do gone[name_of(item)] = nil end
  return gone
end

--- The extension profile of a set's model: ours (in ARM's form) laid over those that others put there; nil when there is nothing to say.
function M.profile(current, ours, gone)
  local mine, list = by_name(ours), json.array {}
  for _, item in ipairs(current and current.extensions or {}) do
    if not gone[name_of(item)] and not mine[name_of(item)] then
      item.properties.provisioningState = nil
      list[#list + 1] = item
    end
  end
  for _, item in ipairs(ours) do list[#list + 1] = item end
  return (current or list[1]) and { extensions = list } or nil
end

--- Ours in the form that a model has.
function M.model(extensions)
  local list = {}
  for i, item in ipairs(extensions or {}) do list[i] = { name = item.name, properties = properties(item) } end
  return list
end

-- A declared extension as it is in all of some places: as declared, else as the first of them has it that differs; nil where one has none.
local function shown_of(item, places)
  local shown = item
  for _, there in ipairs(places) do
    local found = there[name_of(item)]
    if not found then return nil end
    if shown == item and found.properties and not statement.matches(properties(item), found.properties) then
      shown = { name = item.name }
      for name, spec in pairs(ELEMENT.fields) do
        if spec.arm and item[name] ~= nil then shown[name] = found.properties[spec.arm] end
      end
    end
  end
  return shown
end

--- What there is of the declared extensions everywhere, in the recipe's form, and by name what is left of those that are declared no
-- more. `everywhere`: for each machine, and for a model, what ARM shows of its extensions.
function M.observed(ctx, everywhere)
  local list, gone, seen = json.array {}, M.gone(ctx), {}
  for i, there in ipairs(everywhere) do seen[i] = by_name(there) end
  for _, item in ipairs(ctx.fields.extensions or {}) do list[#list + 1] = shown_of(item, seen) end
  for _, item in ipairs(ctx.prior and ctx.prior.fields and ctx.prior.fields.extensions or {}) do
    for _, there in ipairs(gone[name_of(item)] and seen or {}) do
      if there[name_of(item)] then
        list[#list + 1] = { name = item.name }
        break
      end
    end
  end
  return list[1] and list or json.null
end

local function settle_one(ctx, client, machine, gone)
  local there = by_name(machine.extensions)
  for name in pairs(gone) do
    if there[name] then client:delete(machine.id .. "/extensions/" .. (there[name].name or name), API) end
  end
  for _, item in ipairs(ctx.fields.extensions or {}) do
    local found = there[name_of(item)]
    local want = properties(item)
    if found and not found.properties then found = client:get(machine.id .. "/extensions/" .. item.name, API) end
    if not (found and statement.matches(want, found.properties)) then
      ctx:progress(("installing %s"):format(item.name))
      client:put(machine.id .. "/extensions/" .. item.name, API, { location = machine.location, properties = want })
    end
  end
end

--- Makes the extensions of machines (`{id=, location=, extensions=}`) what is declared: all machines at once, on each one after the other.
function M.settle(ctx, client, machines)
  local gone = M.gone(ctx)
  at_once(machines, function(machine) settle_one(ctx, client, machine, gone) end)
end

return M
