local kind, field = require "kind", require "field"

return kind "sample.group" {
  doc = "A group.",
  fields = {
    name = field.string { required = true, default_name = true, replace = true, match = "^[%w-]+$" },
    location = field.choice { "west", "east", default = "west" },
    tags = field.map { field.string {} },
  },
  outputs = { id = field.string { doc = "Its id." } },
  identity = function(f) return "/groups/" .. f.name end,
  predict = function(f) return { id = "/groups/" .. f.name } end,
  read = function() return nil end,
  create = function(ctx) return { outputs = { id = "/groups/" .. ctx.fields.name } } end,
  update = function() end,
  delete = function() end,
}
