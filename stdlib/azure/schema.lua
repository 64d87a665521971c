--- Schemas of ARM's resource types, which `vmrun schema add` takes from published type definitions: their compact form, where it
-- lies, and what of a body is wrong by it.
--
-- The compact form is `{ format, type, version, from, body, name, types }`; `types` is a list, and types are named by their positions:
--
--     { t = "object", p = { name = type }, ro = { name, ... }, req = { name, ... }, a = type of other properties; nil: there are none }
--     { t = "object", by = "kind", cases = { value = type } }        by the value of one property
--     { t = "array", of = type, min =, max = }                       { t = "union", of = { type, ... } }
--     { t = "string", values = { ... }, open = true: others too, min =, max =, pattern =, secret = true }
--     { t = "integer"|"number", min =, max = }   { t = "boolean" }   { t = "any" }
local field, fs, json, near, process = require "field", require "fs", require "json", require "recipe.nearest", require "process"
local fail = require "fail"
local regex = require "regex"

local M = {}

local FORMAT = 1

-- Where schemas lie.

--- The folder of the schemas: `$XDG_DATA_HOME/vmrun/schemas`, or below ~/.local/share; nil without a home.
function M.folder()
  local base, home = process.env "XDG_DATA_HOME", process.env "HOME"
  if base and base:find "^/" then return base .. "/vmrun/schemas" end -- by the XDG specification a relative one is not taken
  return home and home ~= "" and home .. "/.local/share/vmrun/schemas" or nil
end

--- TYPE@VERSION as its parts; nil for anything else.
function M.split(name) return name:match "^(%a[%w.]*/%w[%w./]*)@(%d%d%d%d%-%d%d%-%d%d[%w.-]*)$" end

local function file_name(type_name, version) return (type_name:gsub("/", "_") .. "@" .. version):lower() .. ".json" end

local function path_of(type_name, version)
  local folder = M.folder()
  return folder and folder .. "/" .. file_name(type_name, version)
end

-- Those that recipes asked for, by path; false: absent.
local known = {}

function M.save(schema)
  local folder = M.folder() or error(fail { "there is no folder for schemas: HOME is not set", code = "environment" })
  local path = path_of(schema.type, schema.version)
  fail.check(fs.mkdir(folder))
  local text = json.encode(schema) .. "\n"
  fail.check(fs.write(path, text, { atomic = true }))
  return path, #text
end

--- Forgets a schema; false when there is none.
function M.remove(type_name, version)
  local path = path_of(type_name, version)
  if not path or not fs.stat(path) then return false end
  fail.check(fs.remove(path))
  return true
end

local function read(path)
  local text, message, code = fs.read(path)
  if not text then
    if code == "not_found" then return nil end
    return nil, message
  end
  local schema = json.decode(text)
  if type(schema) ~= "table" or schema.format ~= FORMAT or type(schema.types) ~= "table" or not schema.types[schema.body] then
    return nil, path .. " holds no schema that this vmrun can read"
  end
  schema.size = #text
  return schema
end

--- The schema of a type; nil when there is none, nil and a message when it cannot be read.
function M.load(type_name, version)
  local path = path_of(type_name, version)
  if not path then return nil end
  if known[path] == nil then
    local schema, message = read(path)
    if message then return nil, message end
    known[path] = schema or false
  end
  return known[path] or nil
end

--- All schemas, by name: `{ type, version, from, size, types }`, or `{ problem }`.
function M.list()
  local folder, found = M.folder(), {}
  for _, name in ipairs(folder and fs.list(folder) or {}) do
    if name:find "%.json$" then
      local schema, message = read(folder .. "/" .. name)
      found[#found + 1] = schema or { problem = message }
    end
  end
  return found
end

-- Making the compact form.

local builder = {}
builder.__index = builder

local function new_builder() return setmetatable({ types = {}, memo = {}, leaves = {} }, builder) end

--- A type that has no others in it; equal ones are kept once.
function builder:leaf(node)
  local key = json.encode(node)
  if not self.leaves[key] then
    self.types[#self.types + 1] = node
    self.leaves[key] = #self.types
  end
  return self.leaves[key]
end

--- A type that may hold itself: `fill(node)` is called once its place is known. `key` is the same for the same source.
function builder:composite(key, fill)
  if self.memo[key] then return self.memo[key] end
  local node = {}
  self.types[#self.types + 1] = node
  local at = #self.types
  self.memo[key] = at
  fill(node)
  return at
end

local function sorted(t)
  local keys = {}
  for key in pairs(t or {}) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

-- A pattern, or nil when it has parts that our expressions do not know: better no check than a wrong one.
local function understood(pattern)
  if type(pattern) ~= "string" or pattern:gsub("\\\\", ""):find "\\[^dDwWsSbnrtfvx%p]" then return nil end
  return regex.match(pattern, "") ~= nil and pattern or nil
end

-- A list that is not there rather than empty: an empty table would be written as an object.
local function list_of(t)
  local keys = sorted(t)
  return keys[1] and keys or nil
end

-- Texts to choose from, or nil where the values are not all texts.
local function texts(values)
  for _, value in ipairs(values) do
    if type(value) ~= "string" then return nil end
  end
  return values[1] and values
end

--- What the name of the resource has to be is told apart: recipes give it as a field, and ARM shows it in the body.
local function finish(b, body, given)
  local schema = { format = FORMAT, type = given.type, version = given.version, from = given.from, body = body, name = given.name,
    types = b.types }
  local function object(node)
    schema.name = schema.name or node.p.name
    node.p.name = nil
    local required, ours = {}, { id = true, name = true, type = true }
    for _, name in ipairs(node.req or {}) do required[name] = name ~= "name" or nil end
    for _, name in ipairs(node.ro or {}) do ours[name] = true end
    node.req, node.ro = list_of(required), list_of(ours)
  end
  local root = b.types[body]
  if root.t ~= "object" then error(fail { ("%s@%s is no object in this schema"):format(given.type, given.version), code = "format" }) end
  if root.by then
    for _, case in pairs(root.cases) do object(b.types[case]) end
  else
    object(root)
  end
  return schema
end

-- Type definitions: a list of types that name each other by position, from 0.

local REQUIRED, READ_ONLY = 1, 2
local BUILT_IN = { [3] = "boolean", [4] = "integer", [5] = "string" }

local function definitions(list)
  local b = new_builder()
  local convert

  local function convert_reference(ref)
    local n = type(ref) == "table" and type(ref["$ref"]) == "string" and tonumber(ref["$ref"]:match "^#/(%d+)$")
    if not n or not list[n + 1] then error(fail { "a type refers to one that is not in its file", code = "format" }) end
    return convert(n)
  end

  local function fill_object(node, properties, additional)
    node.t, node.p = "object", {}
    local required, read_only = {}, {}
    for _, name in ipairs(sorted(properties)) do
      local flags = properties[name].flags or 0
      if flags & READ_ONLY ~= 0 then
        read_only[name] = true
      else
        node.p[name] = convert_reference(properties[name].type)
        required[name] = flags & REQUIRED ~= 0 or nil
      end
    end
    node.req, node.ro = list_of(required), list_of(read_only)
    if additional then
      node.a = convert_reference(additional)
    elseif next(properties) == nil then -- an object of which nothing is known
      node.a = b:leaf { t = "any" }
    end
  end

  local function resolve(ref) return list[(tonumber(ref["$ref"]:match "^#/(%d+)$") or -1) + 1] or {} end

  local made = {}
  function made.StringType(t)
    return b:leaf { t = "string", min = t.minLength, max = t.maxLength, pattern = understood(t.pattern), secret = t.sensitive or nil }
  end
  function made.StringLiteralType(t) return b:leaf { t = "string", values = { t.value }, secret = t.sensitive or nil } end
  function made.IntegerType(t) return b:leaf { t = "integer", min = t.minValue, max = t.maxValue } end
  function made.BooleanType() return b:leaf { t = "boolean" } end
  function made.BuiltInType(t) return b:leaf { t = BUILT_IN[t.kind] or "any" } end
  function made.ArrayType(t, n)
    return b:composite(n, function(node)
      node.t, node.min, node.max, node.of = "array", t.minLength, t.maxLength, convert_reference(t.itemType)
    end)
  end
  function made.ObjectType(t, n)
    return b:composite(n, function(node)
      fill_object(node, t.properties, t.additionalProperties)
      if t.sensitive then node.secret = true end
    end)
  end
  function made.DiscriminatedObjectType(t, n)
    return b:composite(n, function(node)
      node.t, node.by, node.cases = "object", t.discriminator, {}
      for _, value in ipairs(sorted(t.elements)) do
        local element = resolve(t.elements[value])
        node.cases[value] = b:composite(n .. " " .. value, function(case)
          local all = {}
          for name, property in pairs(t.baseProperties) do all[name] = property end
          for name, property in pairs(element.properties or {}) do all[name] = property end
          fill_object(case, all, element.additionalProperties)
        end)
      end
    end)
  end
  function made.UnionType(t, n)
    local values, open, others = {}, nil, false
    for _, ref in ipairs(t.elements) do
      local element = resolve(ref)
      if element["$type"] == "StringLiteralType" then
        values[#values + 1] = element.value
      elseif element["$type"] == "StringType" or element["$type"] == "BuiltInType" and element.kind == 5 then
        open = true
      else
        others = true
      end
    end
    if not others then return b:leaf { t = "string", values = values[1] and values or nil, open = values[1] and open } end
    return b:composite(n, function(node)
      node.t, node.of = "union", {}
      for i, ref in ipairs(t.elements) do node.of[i] = convert_reference(ref) end
    end)
  end

  function convert(n)
    local t = list[n + 1]
    local make = made[t["$type"]]
    return make and make(t, n) or b:leaf { t = "any" }
  end
  return b, convert_reference
end

local function is_resource(t) return type(t) == "table" and t["$type"] == "ResourceType" and type(t.name) == "string" end

--- The names of the resources in a list of type definitions.
function M.resources(list)
  local names = {}
  for _, t in ipairs(list) do
    if is_resource(t) then names[#names + 1] = t.name end
  end
  return names
end

--- The schema of a resource in a list of type definitions (types.json); nil when it is not in it.
function M.from_definitions(list, type_name, version, from)
  local wanted = (type_name .. "@" .. version):lower()
  for _, t in ipairs(list) do
    if is_resource(t) and t.name:lower() == wanted then
      local b, convert = definitions(list)
      local full, release = M.split(t.name)
      return finish(b, convert(t.body), { type = full or type_name, version = release or version, from = from })
    end
  end
end

-- JSON Schema.

local function merged(into, more)
  for key, value in pairs(more) do
    if key == "properties" then
      local all = {}
      for name, property in pairs(into.properties or {}) do all[name] = property end
      for name, property in pairs(value) do all[name] = property end
      into.properties = all
    elseif key == "required" then
      into.required = table.move(value, 1, #value, #(into.required or {}) + 1, table.move(into.required or {}, 1,
        #(into.required or {}), 1, {}))
    elseif into[key] == nil then
      into[key] = value
    end
  end
end

local function json_schema(root)
  local b = new_builder()
  local convert

  local function pointed(ref)
    local here = root
    if type(ref) ~= "string" or not ref:find "^#" then
      error(fail { ("the schema refers to %s, which is not in its file"):format(tostring(ref)), code = "format" })
    end
    for step in ref:gmatch "/([^/]*)" do
      step = step:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end):gsub("~1", "/"):gsub("~0", "~")
      here = type(here) == "table" and (here[step] or here[(math.tointeger(tonumber(step)) or -1) + 1])
    end
    if type(here) ~= "table" then error(fail { ("the schema refers to %s, which is not there"):format(ref), code = "format" }) end
    return here
  end

  -- A schema without references and allOf at its top, and what it is known by.
  local function flat(s, depth)
    if type(s) ~= "table" then return {}, s end
    if not s["$ref"] and not s.allOf then return s, s end
    if depth > 50 then return {}, s end
    local whole, key = {}, s
    merged(whole, s)
    whole["$ref"], whole.allOf = nil, nil
    if s["$ref"] then
      local more, its = flat(pointed(s["$ref"]), depth + 1)
      local plain = not s.allOf
      for name in pairs(whole) do plain = plain and (name == "description" or name == "title" or name == "readOnly") end
      if plain then key = its end
      merged(whole, more)
    end
    for _, part in ipairs(s.allOf or {}) do merged(whole, (flat(part, depth + 1))) end
    return whole, key
  end

  local function fill_object(node, s)
    node.t, node.p = "object", {}
    local required, read_only = {}, {}
    for _, name in ipairs(s.required or {}) do required[name] = true end
    for _, name in ipairs(sorted(s.properties)) do
      local property = s.properties[name]
      if type(property) == "table" and (property.readOnly or flat(property, 0).readOnly) then
        read_only[name], required[name] = true, nil
      else
        node.p[name] = convert(property)
      end
    end
    node.req, node.ro = list_of(required), list_of(read_only)
    if type(s.additionalProperties) == "table" then
      node.a = convert(s.additionalProperties)
    elseif s.additionalProperties ~= false or s.patternProperties then
      node.a = b:leaf { t = "any" }
    end
  end

  local function fill_cases(node, by, alternatives)
    node.t, node.by, node.cases = "object", by, {}
    for _, one in ipairs(alternatives) do
      local s, key = flat(one, 0)
      local says = flat((s.properties or {})[by], 0)
      for _, value in ipairs(says.enum or { says.const }) do
        if type(value) == "string" then node.cases[value] = b:composite(key, function(case) fill_object(case, s) end) end
      end
    end
  end

  -- A list of choices beside plain text: others are taken too.
  local function open_choice(alternatives)
    local values, text
    for _, one in ipairs(alternatives) do
      local s = flat(one, 0)
      if s.enum or s.const ~= nil then
        values = texts(s.enum or { s.const })
      elseif s.type == "string" then
        text = true
      end
    end
    return #alternatives == 2 and values and text and values
  end

  local made = {}
  function made.string(s)
    return b:leaf { t = "string", min = s.minLength, max = s.maxLength, pattern = understood(s.pattern),
      secret = s["x-sensitive"] or nil }
  end
  function made.integer(s) return b:leaf { t = "integer", min = s.minimum, max = s.maximum } end
  function made.number(s) return b:leaf { t = "number", min = s.minimum, max = s.maximum } end
  function made.boolean() return b:leaf { t = "boolean" } end
  function made.array(s, key)
    return b:composite(key, function(node)
      node.t, node.min, node.max, node.of = "array", s.minItems, s.maxItems, convert(s.items or {})
    end)
  end
  function made.object(s, key)
    return b:composite(key, function(node)
      fill_object(node, s)
      if s["x-sensitive"] then node.secret = true end
    end)
  end

  function convert(given)
    local s, key = flat(given, 0)
    local values = texts(s.enum or { s.const })
    if values then return b:leaf { t = "string", values = values, secret = s["x-sensitive"] or nil } end
    local alternatives = s.oneOf or s.anyOf
    if alternatives and s["x-discriminator"] then
      return b:composite(key, function(node) fill_cases(node, s["x-discriminator"], alternatives) end)
    elseif alternatives then
      local choices = open_choice(alternatives)
      if choices then return b:leaf { t = "string", values = choices, open = true, secret = s["x-sensitive"] or nil } end
      return b:composite(key, function(node)
        node.t, node.of = "union", {}
        for i, one in ipairs(alternatives) do node.of[i] = convert(one) end
      end)
    end
    local its_type = s.type or s.properties and "object"
    if type(its_type) == "table" then
      local others = {}
      for _, one in ipairs(its_type) do others[#others + 1] = one ~= "null" and one or nil end
      its_type = #others == 1 and others[1]
    end
    local make = made[its_type]
    return make and make(s, key) or b:leaf { t = "any" }
  end
  return b, convert
end

--- The schema of a resource from a JSON Schema of its body.
function M.from_json_schema(root, type_name, version, from)
  local b, convert = json_schema(root)
  local body = convert(root)
  local name = type(root["x-name"]) == "table" and convert(root["x-name"]) or nil
  return finish(b, body, { type = root["x-type"] or type_name, version = root["x-api-version"] or version, from = from, name = name })
end

-- Checking. A check of a type is fn(walk, node, value); `walk` has the schema, the path to the value, and the problems.

local check

-- `step`: of what is below the value that the walk has come to.
local function problem(walk, text, step, part)
  local path = table.move(walk.path, 1, #walk.path, 1, {})
  path[#path + 1] = step
  table.insert(walk.problems, { path = path, text = text, part = part })
end

local function here(walk, step)
  if step == nil then return field.path_text(walk.path) end
  walk.path[#walk.path + 1] = step
  local text = field.path_text(walk.path)
  walk.path[#walk.path] = nil
  return text
end

local function below(walk, step, node, value)
  walk.path[#walk.path + 1] = step
  check(walk, node, value)
  walk.path[#walk.path] = nil
end

local MANY = 12
local NOUN = { string = "text", integer = "an integer", number = "a number", boolean = "true or false", array = "a list",
  object = "a table", any = "a value" }

local function one_of(values)
  if #values <= MANY then return field.wants { type = "choice", values = values } end
  return field.wants { type = "choice", values = table.move(values, 1, MANY, 1, {}) } .. (" and %d more"):format(#values - MANY)
end

local function wants(walk, node)
  if node.t == "union" then
    local nouns, seen = {}, {}
    for _, at in ipairs(node.of) do
      local noun = wants(walk, walk.schema.types[at])
      if not seen[noun] then nouns[#nouns + 1] = noun end
      seen[noun] = true
    end
    return table.concat(nouns, " or ")
  elseif node.values then
    return node.open and "text such as " .. one_of(node.values):gsub("^one of ", "") or one_of(node.values)
  end
  return NOUN[node.t]
end

-- What stands there, as words; what the schema calls sensitive is not said.
local function got(walk, value)
  if not walk.hidden or type(value) == "userdata" then return field.describe_value(value) end
  return type(value) == "string" and "another text" or "a " .. type(value)
end

local function wrong(walk, node, value)
  problem(walk, ("'%s' wants %s, got %s"):format(here(walk), wants(walk, node), got(walk, value)))
end

local function bounds(walk, node, n, what)
  local said = node.min and n < node.min and "least" or node.max and n > node.max and "most"
  if not said then return true end
  problem(walk, ("'%s' wants %sat %s %s, got %s"):format(here(walk), what, said, said == "least" and node.min or node.max, n))
  return false
end

local function choice(walk, node, value)
  for _, one in ipairs(node.values) do
    if one == value then return end
  end
  local hint = walk.hidden and "" or near.hint(value, node.values, '"')
  problem(walk, ("'%s' wants %s, got %s%s"):format(here(walk), one_of(node.values), got(walk, value), hint))
end

local checks = {}

function checks.any() end

function checks.string(walk, node, value)
  if type(value) ~= "string" then return wrong(walk, node, value) end
  if node.values then return node.open or choice(walk, node, value) end
  if (node.min or node.max) and not bounds(walk, node, utf8.len(value) or #value, "a length of ") then return end
  if node.pattern and not value:find "[\x80-\xff]" and regex.match(node.pattern, value) == false then
    problem(walk, ("'%s' wants text that matches \"%s\", got %s"):format(here(walk), node.pattern, got(walk, value)))
  end
end

function checks.integer(walk, node, value)
  local n = type(value) == "number" and math.tointeger(value)
  if not n then return wrong(walk, node, value) end
  bounds(walk, node, n, "")
end

function checks.number(walk, node, value)
  if type(value) ~= "number" then return wrong(walk, node, value) end
  bounds(walk, node, value, "")
end

function checks.boolean(walk, node, value)
  if type(value) ~= "boolean" then wrong(walk, node, value) end
end

function checks.array(walk, node, value)
  if type(value) ~= "table" or #value == 0 and next(value) ~= nil then return wrong(walk, node, value) end
  bounds(walk, node, #value, "a length of ")
  for i, item in ipairs(value) do below(walk, i, node.of, item) end
end

-- The fields of the resource that ARM shows in the body, too.
local OWN = { name = "name", type = "type", apiVersion = "api_version" }

local function unknown_property(walk, node, name)
  for _, read_only in ipairs(node.ro or {}) do
    if read_only == name then
      local own = #walk.path == 1 and OWN[name]
      return problem(walk, ("'%s' is %s"):format(here(walk, name), own and ("not set here: give the field '%s'"):format(own) or
        "read-only: ARM fills it in"), name, "name")
    end
  end
  problem(walk, ("has no property '%s' (%s@%s)%s"):format(here(walk, name), walk.schema.type, walk.schema.version,
    near.hint(name, sorted(node.p))), name, "name")
end

local function check_properties(walk, node, value)
  local meant = {}
  for _, key in ipairs(sorted(value)) do
    if node.p[key] then
      below(walk, key, node.p[key], value[key])
    elseif node.a then
      below(walk, key, node.a, value[key])
    else
      meant[near.nearest(key, sorted(node.p)) or ""] = true
      unknown_property(walk, node, key)
    end
  end
  for _, name in ipairs(node.req or {}) do
    if (value[name] == nil or field.is_null(value[name])) and not meant[name] then
      local of = node.p[name] and walk.schema.types[node.p[name]]
      problem(walk, ("needs '%s'%s"):format(here(walk, name), of and of.t ~= "any" and " (" .. wants(walk, of) .. ")" or ""))
    end
  end
end

-- The case that a value says it is of; nil when it does not say, or says it later.
local function case_of(walk, node, value)
  local said = value[node.by]
  local case = type(said) == "string" and node.cases[said]
  if case then return walk.schema.types[case] end
  local values = sorted(node.cases)
  if said == nil then
    problem(walk, ("needs '%s' (%s)"):format(here(walk, node.by), one_of(values)))
  elseif not field.classify(said) then
    problem(walk, ("'%s' wants %s, got %s%s"):format(here(walk, node.by), one_of(values), got(walk, said),
      near.hint(said, values, '"')), node.by)
  end
end

function checks.object(walk, node, value)
  if type(value) ~= "table" or #value > 0 then return wrong(walk, node, value) end
  for key in next, value do
    if type(key) ~= "string" then return wrong(walk, node, value) end
  end
  local fields = node.by and case_of(walk, node, value) or not node.by and node
  if fields then check_properties(walk, fields, value) end
end

-- Good when it is good by one; else what is wrong by the only one of its own sort, if there is only one.
function checks.union(walk, node, value)
  local close, count = nil, 0
  for _, at in ipairs(node.of) do
    local trial = { schema = walk.schema, path = walk.path, problems = {}, hidden = walk.hidden }
    check(trial, at, value)
    if not trial.problems[1] then return end
    local first = trial.problems[1]
    if #first.path > #walk.path or type(value) == "table" and walk.schema.types[at].t == "object" and #value == 0 then
      close, count = trial.problems, count + 1
    end
  end
  if count ~= 1 then return wrong(walk, node, value) end
  table.move(close, 1, #close, #walk.problems + 1, walk.problems)
end

-- Of what a recipe makes, only that is refused which stays wrong whatever its value will be.
local FITS = { resource = { object = true }, list = { array = true }, secret = { string = true } }

local function check_special(walk, node, value, class)
  if not FITS[class] or node.t == "any" or node.t == "union" or FITS[class][node.t] then return end
  wrong(walk, node, value)
end

function check(walk, at, value)
  local node = walk.schema.types[at]
  local class = type(value) == "userdata" and field.classify(value)
  if class then return check_special(walk, node, value, class) end
  if value == nil or field.is_null(value) then return end
  local before = walk.hidden
  walk.hidden = before or node.secret
  checks[node.t](walk, node, value)
  walk.hidden = before
end

--- What is wrong with a body (nil: none was given) and a name (may be nil) by a schema: a list of `{ path, text, part }`, in which paths
-- begin with the name of the resource's field, and `part` is "name" where it is the property's name that is wrong.
function M.check(schema, body, name)
  local walk = { schema = schema, path = { "body" }, problems = {} }
  check(walk, schema.body, body == nil and {} or body)
  if name ~= nil and schema.name then
    walk.path = { "name" }
    check(walk, schema.name, name)
  end
  return walk.problems
end

return M
