--- A random name: drawn when it is created, kept in the state.
local kind, field, crypto = require "kind", require "field", require "crypto"

local LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"

local function draw(length)
  local name = ""
  while #name < length do
    -- Bytes above the last whole multiple are left out, so that all letters are equally likely.
    local byte = crypto.random(1):byte()
    local limit = 256 - 256 % #LETTERS
    local at = byte % #LETTERS + 1
    if byte < limit and not (name == "" and at > 26) then name = name .. LETTERS:sub(at, at) end
  end
  return name
end

return kind "random.name" {
  doc = "A random name of small letters and digits; the first is a letter.", remembered = true,
  fields = {
    length = field.integer { default = 8, min = 1, max = 64, replace = true, doc = "How many letters." },
    prefix = field.string { replace = true, doc = "What stands before them." },
    keep = field.map { field.any {}, replace = true, doc = "Values whose change draws a new one." },
  },
  outputs = { id = field.string {}, value = field.string { doc = "The name." } },
  create = function(ctx)
    local name = (ctx.fields.prefix or "") .. draw(ctx.fields.length)
    return { outputs = { id = name, value = name } }
  end,
  delete = function() end,
}
