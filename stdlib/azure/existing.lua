--- A resource that somebody else keeps, by its id: read for its outputs, never written, never deleted.
local arm, field, fail = require "azure.arm", require "field", require "fail"
local kind = require "kind"

-- A group has no provider of its own, and api-versions of its own.
local function version_of(f)
  return f.api_version or f.id:find("/providers/", 1, true) and "2025-05-01" or "2025-04-01"
end

local function find(ctx)
  local client, f = arm.open(ctx.target), ctx.fields
  local body = client:get(f.id, version_of(f))
  if not body then
    error(fail { "no resource has the id " .. f.id, code = "absent", hint = "check the id and the subscription" })
  end
  return { fields = f, outputs = { name = body.name, location = body.location, body = body } }
end

return kind "azure.existing" {
  doc = "An existing resource by its id.", provider = "azure", data = true,
  fields = {
    id = field.string { required = true, match = "^/subscriptions/", doc = "The ARM id." },
    api_version = field.string { doc = "The api-version to read it with; unless given, the one of networks, or of groups." },
  },
  outputs = { name = field.string {}, location = field.string {}, body = field.any {} },
  identity = function(f) return f.id end,
  read = find, create = find, update = find,
  delete = function() end,
}
