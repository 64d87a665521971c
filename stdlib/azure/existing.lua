--- A resource that somebody else keeps, by its id: read for its outputs, never written, never deleted.
local arm, field, fail = require "azure.arm", require "field", require "fail"
local kind = require "kind"

local function find(ctx)
  local client, f = arm.open(ctx.target), ctx.fields
  local body = client:get(f.id, f.api_version)
  if not body then
    error(fail { "no resource has the id " .. f.id, code = "absent", hint = "check the id and the subscription" })
  end
  return { fields = f, outputs = { name = body.name, location = body.location, body = body } }
end

return kind "azure.existing" {
  doc = "An existing resource by its id.", provider = "azure", data = true,
  fields = {
    id = field.string { required = true, match = "^/subscriptions/", doc = "The ARM id." },
    api_version = field.string { default = "2025-05-01", doc = "The api-version to read it with." },
  },
  outputs = { name = field.string {}, location = field.string {}, body = field.any {} },
  identity = function(f) return f.id end,
  read = find, create = find, update = find,
  delete = function() end,
}
