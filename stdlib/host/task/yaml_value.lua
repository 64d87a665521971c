--- One scalar in a YAML file.
local edit, field = require "host.edit", require "field"

local WORDS = {}
for word in ("true false null yes no on off y n"):gmatch("%a+") do WORDS[word] = true end

-- Without quotes only where every reader takes it for a text.
local function literal(value, canonical)
  if type(value) == "string" and value:find("^%d+%.%d+%.%d+%.%d+/?%d*$") then return value end
  if type(value) ~= "string" or WORDS[value:lower()] or not value:find("^[%a/_][%w_/.,@%%+=: -]*$") or value:find("[: ]$")
      or value:find(": ", 1, true) then
    return canonical
  end
  return value
end

return edit.task("yaml_value", "yaml", {
  doc = "A scalar in a YAML file; the rest of the file is left as it is.", indexes = true,
  options = { null = true, floats = true },
  value = field.any { doc = "Text, a number, a boolean or null." },
  literal = literal,
})
