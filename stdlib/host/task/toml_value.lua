--- One value in a TOML file.
local edit, field = require "host.edit", require "field"

local SPACED = { lists = true, floats = true, join = ", " }

return edit.task("toml_value", "toml", {
  doc = "A value in a TOML file; the rest of the file is left as it is.",
  options = { lists = true, floats = true },
  value = field.any { doc = "Text, a number, a boolean, or a list of those." },
  literal = function(value) return edit.canonical(value, SPACED) end,
})
