--- Microsoft.Compute: extensions of virtual machines and of a scale set's instances.
local json = require "json"
local records = require "emulator.arm.records"
local problem, style, value = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.value"
local raise = problem.raise

local VM, INSTANCE = "Microsoft.Compute/virtualMachines", "Microsoft.Compute/virtualMachineScaleSets/virtualMachines"
local NEEDED = { "publisher", "type", "typeHandlerVersion" }

local extensions = {}

--- Checks and completes what an extension is: of a machine, or of a set's model.
function extensions.complete(p)
  for _, key in ipairs(NEEDED) do
    if type(p[key]) ~= "string" then
      raise(400, "InvalidParameter", ("Required parameter '%s' is missing (null)."):format(key), { target = key })
    end
  end
  if not p.typeHandlerVersion:find("^%d+%.%d+") then
    raise(400, "InvalidParameter", "The value of parameter typeHandlerVersion is invalid.", { target = "typeHandlerVersion" })
  end
  value.fill(p, { autoUpgradeMinorVersion = false })
  p.protectedSettings = nil -- taken, and never shown
  return p
end

--- The extensions of a machine as its own body shows them; lists of machines have no more than their ids. Nil when it has none.
function extensions.shown(record, brief)
  local list = json.array {}
  for found in records.each(record.type .. "/extensions", record.id .. "/") do
    list[#list + 1] = brief and { id = found.id } or records.show(found)
  end
  return list[1] and list or nil
end

--- Puts those of a model on a new instance of its set.
function extensions.install(record, profile)
  for _, item in ipairs(value.at(profile, "extensionProfile.extensions") or {}) do
    local found = records.new(record.type .. "/extensions", record.id .. "/extensions/" .. item.name, {
      location = record.body.location, properties = value.copy(item.properties) })
    found.owner = record.owner
    records.save(found)
  end
end

--- No machine has two of a handler.
local function check_handler(p, ctx)
  local machine = ctx.id.parent
  for other in records.each(ctx.type, machine .. "/") do
    local theirs = other.body.properties
    if other.name:lower() ~= ctx.name:lower() and theirs.publisher == p.publisher and theirs.type == p.type then
      raise(400, "BadRequest", ("Multiple VMExtensions per handler not supported for OS type 'Linux'. VMExtension '%s' with handler '%s.%s' "
        .. "already added or specified in input."):format(other.name, p.publisher, p.type))
    end
  end
end

local function check_running(id)
  local machine = records.get(id)
  if machine and machine.power ~= "running" then
    raise(409, "OperationNotAllowed", "Cannot modify extensions in the VM when the VM is not running.")
  end
end

for type_name, located in pairs { [VM .. "/extensions"] = true, [INSTANCE .. "/extensions"] = false } do
  records.define(type_name, {
    style = style.compute, located = located, uses = false, name = "^[%w][%w_.-]*$", longest = 80,
    seconds = { create = 30, update = 20, delete = 20 },
    prepare = function(body, ctx)
      check_running(ctx.id.parent)
      extensions.complete(body.properties)
      ctx.type = type_name
      check_handler(body.properties, ctx)
    end,
    busy = function(record) check_running(record.id:match("^(.*)/extensions/")) end,
  })
end

return extensions
