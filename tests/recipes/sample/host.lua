local kind, field = require "kind", require "field"

return kind "sample.host" {
  doc = "A host.",
  fields = {
    address = field.string { required = true },
    user = field.string { default = "ops" },
    key = field.secret {},
    peers = field.list { field.string {} },
    via = field.resource { "sample.host" },
  },
  outputs = { fingerprint = field.string {}, token = field.secret {} },
  read = function() return nil end,
  create = function() return { outputs = {} } end,
  update = function() end,
  delete = function() end,
}
