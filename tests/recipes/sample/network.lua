local kind, field = require "kind", require "field"

return kind "sample.network" {
  doc = "A network.",
  fields = {
    name = field.string { required = true, default_name = true, replace = true },
    group = field.resource { "sample.group", required = true, replace = true },
    cidr = field.cidr { list = true, required = true, doc = "Its address ranges." },
    mtu = field.integer { min = 576, max = 9000 },
    rules = field.list { field.object { name = field.string { required = true }, port = field.integer { min = 1, max = 65535 },
      allow = field.boolean {} }, key = "name" },
    key = field.secret {},
  },
  outputs = { id = field.string {}, gateway = field.ip {} },
  read = function() return nil end,
  create = function(ctx) return { outputs = { id = "/networks/" .. ctx.fields.name, gateway = "10.0.0.1" } } end,
  update = function() end,
  delete = function() end,
}
