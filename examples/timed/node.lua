--- A thing that takes its time: a kind of this folder's own, for graphs of any size.
local kind, field, task = require "kind", require "field", require "task"

local function made(ctx)
  if ctx.fields.seconds > 0 then task.sleep(ctx.fields.seconds) end
  return { outputs = { id = ctx.name } }
end

return kind "timed.node" {
  doc = "Something that takes `seconds` to make and is remembered by the state alone.", remembered = true,
  fields = {
    needs = field.list { field.string {}, default = {}, doc = "The ids of what it waits for." },
    seconds = field.number { default = 0, min = 0, doc = "How long it takes to make." },
  },
  outputs = { id = field.string {} },
  create = made, update = made, delete = function() end,
}
