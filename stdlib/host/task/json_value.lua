--- One value in a JSON file.
local edit, field = require "host.edit", require "field"

return edit.task("json_value", "json", {
  doc = "A value in a JSON file; the rest of the file is left as it is.", indexes = true,
  options = { null = true, lists = true, maps = true },
  value = field.any { doc = "Whatever JSON can hold." },
})
