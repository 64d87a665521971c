--- A POST on a resource, done once and again when its fields change: restart, regenerate, listKeys.
local arm, field, json = require "azure.arm", require "field", require "json"
local kind = require "kind"

local function run(ctx)
  local client, f = arm.open(ctx.target), ctx.fields
  local id = type(f.resource) == "table" and f.resource.id or f.resource
  local body = client:post(id, f.action, f.api_version, f.body, { ctx = ctx })
  return { outputs = { id = id .. "/" .. f.action, result = body or json.null } }
end

return kind "azure.action" {
  doc = "An action (POST) on a resource.", provider = "azure",
  fields = {
    resource = field.any { required = true, replace = true, doc = "A resource or an id." },
    action = field.string { required = true, replace = true, doc = "Such as restart." },
    api_version = field.string { required = true, doc = "The api-version." },
    body = field.any { doc = "The request's body." },
    triggers = field.any { doc = "The action runs again when this changes." },
  },
  outputs = { id = field.string {}, result = field.secret { doc = "The answer; it may hold keys." } },
  identity = function(f)
    local id = type(f.resource) == "table" and f.resource.id or f.resource
    return id and f.action and (id .. "/" .. f.action)
  end,
  read = function(ctx)
    if not ctx.prior then return nil end
    return { fields = {}, outputs = ctx.prior.outputs }
  end,
  create = run, update = run,
  delete = function() end,
}
