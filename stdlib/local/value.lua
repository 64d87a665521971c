--- A value that the state keeps: it changes when `value` does, and what uses its `output` waits for it.
local kind, field, json = require "kind", require "field", require "json"

local function outputs(ctx) return { outputs = { id = ctx.name, output = ctx.fields.value == nil and json.null or ctx.fields.value } } end

return kind "local.value" {
  doc = "A value kept in the state. Its `output` is what `value` was when it was last applied.", remembered = true,
  fields = {
    value = field.any { doc = "The value." },
    triggers = field.any { replace = true, doc = "A change makes it anew." },
  },
  outputs = { id = field.string {}, output = field.any { volatile = true, doc = "The value, once applied." } },
  create = outputs, update = outputs, delete = function() end,
}
