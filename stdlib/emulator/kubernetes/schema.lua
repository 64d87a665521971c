--- Types of objects: compiled from the compact table of `types.lua` for what is built in, and from OpenAPI v3 for custom
-- resources. One form serves server-side apply, strategic merge, strict decoding, defaults, pruning and OpenAPI.
--
-- A type is a table with `is`: "string", "integer", "number", "boolean", "quantity", "int-or-string", "time", "bytes",
-- "any"; "object" (fields, required, atomic, preserve, name); "map" (of, atomic); "list" (of, keys, set, atomic). Types of
-- custom resources carry `check`, their JSON schema, for validation.
local json = require "json"
local value = require "emulator.kubernetes.value"

local schema = {}

local scalars = {
  s = { is = "string" }, i = { is = "integer" }, n = { is = "number" }, b = { is = "boolean" },
  q = { is = "quantity" }, x = { is = "int-or-string" }, t = { is = "time" }, y = { is = "bytes" }, ["?"] = { is = "any" },
}
schema.any = scalars["?"]
schema.string = scalars.s

local named = {}

local function parse(text)
  local atomic = text:match("^@(.+)$")
  if atomic then
    local base = parse(atomic)
    return setmetatable({ atomic = true }, { __index = base })
  end
  local of, bang = text:match("^{(.+)}(!?)$")
  if of then return { is = "map", of = parse(of), atomic = bang == "!" or nil } end
  local list = text:match("^%[(.+)%]$")
  if list then
    local set = list:match("^=(.+)$")
    if set then return { is = "list", of = parse(set), set = true } end
    local names, item = list:match("^([%w,]+):(.+)$")
    if not names then return { is = "list", of = parse(list), atomic = true } end
    local keys = {}
    for name in names:gmatch("[^,]+") do keys[#keys + 1] = name end
    return { is = "list", of = parse(item), keys = keys }
  end
  if scalars[text] then return scalars[text] end
  if not named[text] then named[text] = { is = "object", name = text, fields = {}, order = {}, required = {} } end
  return named[text]
end

--- Compiles fields ("spec=PodSpec status=PodStatus") into a type or adds to one.
function schema.define(name, fields)
  local type_ = parse(name)
  for word in fields:gmatch("%S+") do
    local field, bang, text = word:match("^([%w_]+)(!?)=(.+)$")
    type_.fields[field] = parse(text)
    type_.order[#type_.order + 1] = field
    if bang == "!" then type_.required[#type_.required + 1] = field end
  end
  type_.defined = true
  return type_
end

for line in require("emulator.kubernetes.types"):gmatch("[^\n]+") do
  local name, fields = line:match("^(%w+):%s*(.*)$")
  schema.define(name, fields)
end

--- The named built-in types by name (for OpenAPI).
schema.named = named

--- The type of a whole object of a built-in kind: fields in addition to apiVersion, kind and metadata.
function schema.object(name, fields)
  return schema.define(name, "apiVersion=s kind=s metadata=ObjectMeta " .. fields)
end

local primitive = {
  string = function(js)
    if js.format == "date-time" then return scalars.t end
    if js.format == "byte" then return scalars.y end
    return scalars.s
  end,
  integer = function() return scalars.i end,
  number = function() return scalars.n end,
  boolean = function() return scalars.b end,
}

local function checked(type_, js)
  local own = setmetatable({ check = js, default = js.default, nullable = js.nullable }, { __index = type_ })
  return own
end

--- The type that an OpenAPI v3 schema of a custom resource describes. root: the object itself, with its metadata.
function schema.from_openapi(js, root)
  if type(js) ~= "table" then return scalars["?"] end
  if js["x-kubernetes-int-or-string"] then return checked(scalars.x, js) end
  local kind = js.type
  if kind == "object" or js.properties or root then
    local extra = js.additionalProperties
    if not js.properties and type(extra) == "table" then
      return { is = "map", of = schema.from_openapi(extra), atomic = js["x-kubernetes-map-type"] == "atomic" or nil,
        check = js, default = js.default, nullable = js.nullable }
    end
    local preserve = js["x-kubernetes-preserve-unknown-fields"] or extra == true
    if js["x-kubernetes-embedded-resource"] and not js.properties then preserve = true end
    local out = { is = "object", fields = {}, order = {}, required = {}, preserve = preserve or nil, check = js,
      default = js.default, nullable = js.nullable, atomic = js["x-kubernetes-map-type"] == "atomic" or nil }
    for _, name in ipairs(value.keys(js.properties)) do
      out.fields[name] = schema.from_openapi(js.properties[name])
      out.order[#out.order + 1] = name
    end
    for i, name in ipairs(js.required or {}) do out.required[i] = name end
    if root or js["x-kubernetes-embedded-resource"] then
      out.fields.apiVersion, out.fields.kind, out.fields.metadata = scalars.s, scalars.s, named.ObjectMeta
    end
    return out
  end
  if kind == "array" then
    local list = { is = "list", of = schema.from_openapi(js.items), check = js, default = js.default, nullable = js.nullable }
    local how = js["x-kubernetes-list-type"]
    if how == "map" and js["x-kubernetes-list-map-keys"] then
      list.keys = {}
      for i, key in ipairs(js["x-kubernetes-list-map-keys"]) do list.keys[i] = key end
    elseif how == "set" then
      list.set = true
    else
      list.atomic = true
    end
    return list
  end
  if primitive[kind] then return checked(primitive[kind](js), js) end
  return checked(scalars["?"], js)
end

local wanted = { string = "string", time = "string", bytes = "string", boolean = "bool", integer = "int64", number = "float64" }

local function json_word(v)
  if type(v) == "table" then return json.is_array(v) and "array" or "object" end
  return type(v) == "boolean" and "bool" or type(v)
end

local function scalar_fits(type_, v)
  local is, t = type_.is, type(v)
  if is == "string" or is == "time" or is == "bytes" then return t == "string" end
  if is == "boolean" then return t == "boolean" end
  if is == "integer" then return t == "number" and math.tointeger(v) ~= nil end
  if is == "number" then return t == "number" end
  if is == "quantity" then return t == "number" or t == "string" and value.quantity(v) ~= nil end
  if is == "int-or-string" then return t == "number" or t == "string" end
  return true
end

--- Compares a value with its type. Calls on_unknown(path) for a field the type does not have and returns nil, or a text
-- that says what does not fit: (path, wanted word, got word).
local function walk(type_, v, path, on_unknown)
  if v == nil or v == json.null then return nil end
  local is = type_.is
  if is == "any" then return nil end
  if is == "object" then
    if type(v) ~= "table" or json.is_array(v) then return path, "object", json_word(v) end
    for name, item in next, v do
      local field = type_.fields[name]
      if field then
        local bad, want, got = walk(field, item, path .. "." .. name, on_unknown)
        if bad then return bad, want, got end
      elseif not type_.preserve then
        on_unknown(path .. "." .. name, v, name)
      end
    end
  elseif is == "map" then
    if type(v) ~= "table" or json.is_array(v) then return path, "map", json_word(v) end
    for name, item in next, v do
      local bad, want, got = walk(type_.of, item, path .. "." .. name, on_unknown)
      if bad then return bad, want, got end
    end
  elseif is == "list" then
    if type(v) ~= "table" or not json.is_array(v) and next(v) ~= nil then return path, "list", json_word(v) end
    for i, item in ipairs(v) do
      local bad, want, got = walk(type_.of, item, path .. "[" .. i - 1 .. "]", on_unknown)
      if bad then return bad, want, got end
    end
  elseif not scalar_fits(type_, v) then
    return path, wanted[is] or is, json_word(v)
  end
end

--- Decodes strictly: returns the list of unknown field paths ("spec.foo", in order), and the first misfit
-- (path, wanted, got) or nil.
function schema.inspect(type_, v)
  local unknown = {}
  local bad, want, got = walk(type_, v, "", function(path) unknown[#unknown + 1] = path:sub(2) end)
  table.sort(unknown)
  return unknown, bad and bad:sub(2), want, got
end

--- Removes what the type does not know, in place, as storage does.
function schema.prune(type_, v)
  local doomed = {}
  walk(type_, v, "", function(_, holder, name) doomed[#doomed + 1] = { holder, name } end)
  for _, d in ipairs(doomed) do d[1][d[2]] = nil end
  return v
end

--- Fills defaults of an OpenAPI schema, in place.
function schema.fill(type_, v)
  if type(v) ~= "table" then return v end
  if type_.is == "object" then
    for name, field in next, type_.fields do
      if (v[name] == nil or v[name] == json.null and not field.nullable) and field.default ~= nil then
        v[name] = value.copy(field.default)
      end
      if type(v[name]) == "table" then schema.fill(field, v[name]) end
    end
  elseif type_.is == "map" then
    for _, item in next, v do schema.fill(type_.of, item) end
  elseif type_.is == "list" then
    for _, item in ipairs(v) do schema.fill(type_.of, item) end
  end
  return v
end

return schema
