-- vmrun lua check.lua SCHEMAS BODIES [again]: what is wrong with the bodies that the emulator kept, by the JSON Schemas of a folder; one
-- line a problem, then `sent TYPE API COUNT` and `unknown TYPE`. With `again` the bodies are of second writings, which carry along what ARM
-- showed: that some of it is read-only does no harm there.
local fs, json = require "fs", require "json"
local schema = require "azure.schema"
local folder, again = arg[1], arg[3] == "again"

local schemas = {}
for _, name in ipairs(assert(fs.list(folder))) do
  local type_name, version = schema.split((name:gsub("%.json$", ""):gsub("_", "/")))
  if type_name then
    local made = schema.from_json_schema(assert(json.decode(assert(fs.read(folder .. "/" .. name)))), type_name, version)
    schemas[type_name:lower()] = json.decode(json.encode(made)) -- as it is kept, so that what was shared is not
  end
end

local function harmless(problem, method)
  if method == "PATCH" and problem.text:find "^needs " then return true end
  return again and (problem.text:find("is read-only", 1, true) or problem.text:find("is not set here", 1, true))
end

local sent, wrong, unknown = {}, {}, {}
for _, kept in ipairs(json.decode(assert(fs.read(arg[2]))).bodies) do
  local type_name = kept.type or "Microsoft.Resources/resourceGroups"
  local known = schemas[type_name:lower()]
  if known then
    local key = ("sent %s %s"):format(type_name, kept.api)
    sent[key] = (sent[key] or 0) + 1
    for _, problem in ipairs(schema.check(known, assert(json.decode(kept.body)))) do
      if not harmless(problem, kept.method) then
        wrong[("wrong %s %s@%s: %s"):format(kept.method, type_name, kept.api, problem.text)] = true
      end
    end
  else
    unknown["unknown " .. type_name] = true
  end
end

local lines = {}
for line in pairs(wrong) do lines[#lines + 1] = line end
for line in pairs(unknown) do lines[#lines + 1] = line end
for key, count in pairs(sent) do lines[#lines + 1] = ("%s %d"):format(key, count) end
table.sort(lines)
print(table.concat(lines, "\n"))
