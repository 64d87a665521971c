--- A file made of a template and values.
local field, task = require "field", require "host.task"
local file = require "host.task.file"

-- A value that is not there is an error with its name: a file with a hole in it is worse than none.
local function render(name, template, values)
  return (template:gsub("{{%s*([%w_.]+)%s*}}", function(path)
    local value = values
    for step in path:gmatch("[^.]+") do value = type(value) == "table" and value[step] or nil end
    if value == nil then error(("template \"%s\": no value for {{%s}}"):format(name, path), 0) end
    return tostring(value)
  end))
end

local fields = { template = field.string { required = true, doc = "Text with {{name}} for values." },
  values = field.map { field.any {}, default = {} } }
for name, spec in pairs(file.fields) do fields[name] = spec end

return task "template" {
  doc = "A file rendered from a template.", key = "path", fields = fields,
  prepare = function(t, name)
    t.content = render(name, t.template, t.values)
    file.prepare(t, name)
  end,
  shown = file.shown, check = file.check, apply = file.apply,
  inline = file.inline, puts = file.puts, looks_at = file.looks_at, proves = file.proves,
}
