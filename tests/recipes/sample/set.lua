local kind, field = require "kind", require "field"

return kind "sample.set" {
  doc = "A set of machines.",
  fields = {
    name = field.string { required = true, default_name = true, replace = true },
    network = field.resource { "sample.network", required = true },
    capacity = field.integer { min = 0 },
  },
  outputs = { id = field.string {} },
  collection = { output = "instances", count = "capacity",
    item = { id = field.string {}, private_ip = field.ip {}, hostname = field.string {} } },
  read = function() return nil end,
  create = function() return { outputs = { id = "x" } } end,
  add = function() return {} end,
  remove = function() end,
  update = function() end,
  delete = function() end,
}
