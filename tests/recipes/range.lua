-- A range: a number stays one, two are { min, max }; both ends keep to the bounds.
local p = params {
  number = param.range { default = 2, max = 9 },
  both = param.range { default = "2-5" },
  turned = param.range { default = 1 },
  far = param.range { default = 1, min = 1, max = 9 },
  text = param.range { default = 1 },
  wrong = param.range { default = "5-2" },
}
local azure = use("azure")
local group = azure.resource_group "g" { location = "westeurope" }
local function set(name, capacity)
  return azure.virtual_machine_scale_set(name) { group = group, capacity = capacity }
end
set("one", p.number + 1)
set("two", p.both)
set("three", { min = p.both.min, max = p.both.max })
set("four", { min = 1 })
set("five", { min = 1, max = 2, most = 3 })
set("six", { min = -1, max = 2 })
set("seven", true)
