--- `vmrun schema add|list|remove`: the schemas that azure.resource is checked by.
local fail, fs, json, near = require "fail", require "fs", require "json", require "recipe.nearest"
local schema = require "azure.schema"

local M = {}

local function usage(message, hint) error(fail { message, code = "usage", hint = hint }) end

local function decode(path)
  local value, message = json.decode(fail.check(fs.read(path)))
  if type(value) ~= "table" then
    error(fail { ("%s holds no JSON: %s"):format(path, message or "a single value"), code = "format" })
  end
  return value
end

local function is_file(path) return (fs.stat(path, { follow = true }) or {}).type == "file" end

-- What people meant by a name that is not among `names`: the version when the type is there, else the type.
local function absent(name, names, where)
  local type_name = name:match "^[^@]*"
  local versions, types = {}, {}
  for _, one in ipairs(names) do
    local its_type, version = one:match "^(.-)@(.*)$"
    if its_type then types[its_type] = true end
    if its_type and its_type:lower() == type_name:lower() then versions[#versions + 1] = version end
  end
  table.sort(versions)
  local hint
  if versions[1] then
    local last = table.move(versions, math.max(1, #versions - 5), #versions, 1, {})
    hint = ("of %s there %s %s"):format(type_name, #last == 1 and "is" or "are", table.concat(last, ", "))
  else
    local found = near.nearest(type_name, types)
    hint = found and ("did you mean '%s'?"):format(found) or nil
  end
  error(fail { ("%s has no %s"):format(where, name), code = "not_found", hint = hint })
end

-- One file: a list of type definitions, or a JSON Schema.
local function from_file(path, type_name, version)
  local value = decode(path)
  if json.is_array(value) then
    return schema.from_definitions(value, type_name, version, path) or
      absent(type_name .. "@" .. version, schema.resources(value), path)
  end
  local its = (value["x-type"] or type_name) .. "@" .. (value["x-api-version"] or version)
  if its:lower() ~= (type_name .. "@" .. version):lower() then
    error(fail { ("%s is the schema of %s"):format(path, its), code = "usage" })
  end
  return schema.from_json_schema(value, type_name, version, path)
end

-- The files of type definitions that may have a type: the one that the index names, else those of its namespace and version.
local function in_checkout(root, type_name, version)
  local files, wanted = {}, (type_name .. "@" .. version):lower()
  local index = is_file(root .. "/index.json") and decode(root .. "/index.json") or {}
  local names = {}
  for name, place in pairs(index.resources or {}) do
    names[#names + 1] = name
    local path = type(place) == "table" and place["$ref"]
    if name:lower() == wanted and type(path) == "string" then files[1] = root .. "/" .. path:match "^[^#]*" end
  end
  if files[1] or names[1] then return files, names end
  local rest = ("/%s/%s/types.json"):format(type_name:match "^[^/]+", version):lower()
  for _, provider in ipairs(fs.list(root) or {}) do
    local path = root .. "/" .. provider .. rest
    if is_file(path) then files[#files + 1] = path end
  end
  return files, names
end

local function from_folder(root, type_name, version)
  local name, seen = type_name .. "@" .. version, {}
  for _, entry in ipairs(fail.check(fs.list(root))) do
    local stem = entry:match "^(.+@.+)%.json$"
    if stem then
      seen[#seen + 1] = stem:gsub("_", "/")
      if seen[#seen]:lower() == name:lower() then return from_file(root .. "/" .. entry, type_name, version) end
    end
  end
  local below = fs.stat(root .. "/generated") and root .. "/generated" or root
  local files, names = in_checkout(below, type_name, version)
  table.move(names, 1, #names, #seen + 1, seen)
  for _, path in ipairs(files) do
    local list = decode(path)
    local found = json.is_array(list) and schema.from_definitions(list, type_name, version, path)
    if found then return found end
    for _, one in ipairs(schema.resources(list)) do seen[#seen + 1] = one end
  end
  if not seen[1] and not files[1] then
    error(fail { ("%s has no %s"):format(root, name), code = "not_found",
      hint = "--from wants a checkout of bicep-types-az, a folder of JSON Schema files (Namespace_type@version.json), or one file" })
  end
  absent(name, seen, root)
end

local function split(name)
  local type_name, version = schema.split(name)
  if not type_name then usage(("'%s' is no TYPE@VERSION, such as Microsoft.Compute/disks@2025-01-02"):format(name)) end
  return type_name, version
end

local function of(n, what) return ("%d %s%s"):format(n, what, n == 1 and "" or "s") end

local function described(s)
  return { type = s.type, version = s.version, from = s.from, types = s.types and #s.types, bytes = s.size, problem = s.problem }
end

local verbs = {}

function verbs.add(call)
  if #call.words == 0 then usage("add wants TYPE@VERSION, such as Microsoft.Compute/disks@2025-01-02") end
  if not call.from then
    usage("add wants --from DIR or FILE", "a checkout of https://github.com/Azure/bicep-types-az, or a JSON Schema file")
  end
  local root = fail.check(fs.realpath(call.from))
  local lines, told, made = {}, json.array {}, {}
  for i, name in ipairs(call.words) do
    local type_name, version = split(name)
    made[i] = is_file(root) and from_file(root, type_name, version) or from_folder(root, type_name, version)
  end
  for i, one in ipairs(made) do
    local path, size = schema.save(one)
    one.size = size
    told[i] = described(one)
    told[i].path = path
    lines[#lines + 1] = ("%s@%s: %s, %.1f KiB in %s"):format(one.type, one.version, of(#one.types, "type"), size / 1024, path)
  end
  return { text = call.json and json.encode(told, { indent = 2 }) or table.concat(lines, "\n") }
end

function verbs.list(call)
  if #call.words > 0 then usage "list takes no further words" end
  local all = schema.list()
  if call.json then
    local told = json.array {}
    for i, one in ipairs(all) do told[i] = described(one) end
    return { text = json.encode(told, { indent = 2 }) }
  end
  local lines, width = {}, 0
  for _, one in ipairs(all) do width = math.max(width, one.type and #one.type + #one.version + 1 or 0) end
  for i, one in ipairs(all) do
    lines[i] = one.problem or ("%-" .. width .. "s  %7.1f KiB  %s"):format(one.type .. "@" .. one.version, one.size / 1024, one.from or "")
  end
  return { text = lines[1] and table.concat(lines, "\n") or "no schemas: azure.resource is not checked" }
end

function verbs.remove(call)
  if #call.words == 0 then usage("remove wants TYPE@VERSION") end
  local lines = {}
  for i, name in ipairs(call.words) do
    if not schema.remove(split(name)) then
      local names = {}
      for _, one in ipairs(schema.list()) do names[#names + 1] = one.type and one.type .. "@" .. one.version end
      local found = near.nearest(name, names)
      error(fail { ("there is no schema of %s"):format(name), code = "not_found", hint = found and ("did you mean '%s'?"):format(found) or
        "'vmrun schema list' lists them" })
    end
    lines[i] = ("%s is no longer checked"):format(name)
  end
  return { text = table.concat(lines, "\n") }
end

function M.run(call)
  local verb = verbs[call.recipe or ""]
  if not verb then
    if not call.recipe then usage("schema wants a verb: add, list or remove") end
    usage(("schema has no verb '%s'%s"):format(call.recipe, near.hint(call.recipe, verbs)), "add, list or remove")
  end
  return verb(call)
end

return M
