--- Parameters: `param.integer { default = 2, min = 1 }` and what is given for them.
local declare, field, near, json = require "declare", require "field", require "recipe.nearest", require "json"
local now = require "recipe.current"
local value = require "recipe.value"

local M = {}

local OPTIONS = { default = true, min = true, max = true, match = true, help = true, env = true, optional = true }
local TYPES = { "string", "integer", "range", "number", "boolean", "choice", "list", "map", "secret", "cidr", "ip", "any",
  "object", "resource", "file" }
local PLACES = setmetatable({}, { __mode = "k" })

local function check_default(made, place)
  if made.default == nil then return end
  local got, message = field.check(made, made.default, "default")
  if message then
    now.problem(place, "a parameter's " .. message:gsub("^'default'", "default"), now.source(place) and now.source(place):word(place.line, "default"))
    made.default, made.faulty = nil, true
  else
    made.default = got
  end
end

local function constructor(name)
  return function(given)
    local place = now.place()
    if type(given) ~= "table" or value.is(given) then
      now.raise(("param.%s wants a table, such as param.%s {}"):format(name, name), name)
    end
    local options, before = {}, #now.problems
    for key, item in pairs(given) do
      if type(key) == "string" and not OPTIONS[key] and name ~= "object" then
        local source = now.source(place)
        now.problem(place, ("param.%s has no option '%s'%s"):format(name, key, near.hint(key, OPTIONS)),
          source and source:word(place.line, key))
      else
        options[key] = item
      end
    end
    if name == "choice" and #given == 0 then now.raise("param.choice wants the values to choose from", "choice") end
    local undefaulted = name == "secret" and "a secret parameter cannot have a default: it would stand in the recipe" or
      name == "file" and "a file parameter cannot have a default; file(\"path\") reads what is beside the recipe"
    if undefaulted and options.default ~= nil then
      now.problem(place, undefaulted)
      options.default = nil
    end
    -- A file is named from the working folder (in a parameters file: from that file's); its value is its text, and the state
    -- remembers the name.
    local made = field[name == "file" and "string" or name](options)
    made.names_file = name == "file" or nil
    made.faulty = #now.problems > before or nil
    if name == "choice" and made.default == nil and not made.optional then made.default = made.values[1] end
    check_default(made, place)
    made.doc = options.help or made.doc
    made.required = made.default == nil and not options.optional or nil
    PLACES[made] = place
    return made
  end
end

--- The table `param` of recipes.
M.constructors = {}
for _, name in ipairs(TYPES) do M.constructors[name] = constructor(name) end

--- Where a parameter was declared.
function M.place(spec) return PLACES[spec] end

local function split(text)
  local parts = {}
  for part in (text .. ","):gmatch("%s*(.-)%s*,") do
    if part ~= "" then parts[#parts + 1] = part end
  end
  return parts
end

--- A text of the command line or the environment as a value of a type; text that does not fit is left for the check.
function M.parse(spec, text)
  local t = spec.type
  if t == "integer" or t == "range" then return text:find("^[-+]?%d+$") and math.tointeger(tonumber(text)) or text end
  if t == "number" then return tonumber(text) or text end
  if t == "boolean" then
    if text == "true" then return true elseif text == "false" then return false end
    return text
  end
  if t == "choice" then
    for _, allowed in ipairs(spec.values) do
      if tostring(allowed) == text then return allowed end
    end
    return text
  end
  if t == "list" or t == "map" or t == "object" or t == "any" then
    if text:find("^%s*[%[{]") then
      local decoded = json.decode(text)
      if decoded ~= nil then return decoded end
    end
    if t == "list" then
      local list = {}
      for i, part in ipairs(split(text)) do list[i] = M.parse(spec.elem, part) end
      return list
    elseif t == "map" then
      local map = {}
      for _, part in ipairs(split(text)) do
        local name, rest = part:match("^([^=]+)=(.*)$")
        if not name then return text end
        map[name] = M.parse(spec.elem, rest)
      end
      return map
    end
  end
  return text
end

local function source_word(place, name)
  local source = now.source(place)
  return source and source:word(place.line, name)
end

-- As a person writes it, and the state keeps it.
local function written(spec, got)
  return spec.type == "range" and type(got) == "table" and ("%d-%d"):format(got.min, got.max) or got
end

-- One parameter: what was given, else the environment that it names, else its default. Returns its value, whether it is missing,
-- and what the state keeps of it where that is not the value.
local function settle(name, spec, given, environment)
  local place = M.place(spec)
  if spec.faulty then return value.poison() end
  local entry = given[name]
  if not entry then
    local variable = "VMRUN_PARAM_" .. name
    local text = environment(variable)
    if text then entry = { value = text, text = true, from = variable } end
  end
  if spec.type == "secret" and entry and entry.from == "command line" then
    now.problem(place, ("parameter '%s' is a secret, and a command line is seen by others"):format(name), source_word(place, name),
      ("give it in a --params file, in VMRUN_PARAM_%s, or as %s=@FILE"):format(name, name))
    return value.poison()
  end
  if not entry and spec.env then
    local text = environment(spec.env)
    if text then entry = { value = text, text = true, from = spec.env } end
  end
  if not entry then
    if spec.default ~= nil then return spec.default end
    if not spec.required then return nil end
    local how = spec.type == "secret" and ("pass it as %s=@FILE or in VMRUN_PARAM_%s"):format(name, name) or
      ("pass it as %s=VALUE"):format(name)
    if spec.env then how = ("set %s, or %s"):format(spec.env, how) end
    now.problem(place, ("parameter '%s' has no default and was not given; %s"):format(name, how), source_word(place, name))
    return value.poison(), true
  end
  local raw = entry.value
  if entry.text and type(raw) == "string" then raw = M.parse(spec, raw) end
  local got, message = field.check(spec, raw, name)
  if message then
    if spec.type == "secret" then message = ("'%s' wants a secret text"):format(name) end
    now.problem(place, ("parameter %s (from %s)"):format(message, entry.from), source_word(place, name))
    return value.poison()
  end
  if spec.names_file then
    if entry.folder and not got:find("^/") then got = entry.folder .. got end
    local text, why
    if got:find("\n", 1, true) then
      why = ("it wants the name of a file and got a text; write %s=FILE, without @"):format(name)
    else
      text, why = declare.read(got)
    end
    if not text then
      now.problem(place, ("parameter '%s' (from %s): %s"):format(name, entry.from, why), source_word(place, name))
      return value.poison()
    end
    return text, false, got
  end
  if spec.type == "secret" then return value.secret(got) end
  return got, false, written(spec, got)
end

--- Settles declared parameters. Returns the table for the recipe, and what a person or the state needs to know of each:
-- { name, type, help, default, value, given, secret, missing, file, line }, in the order of the text.
function M.settle(specs, given, environment)
  local names, values, told = {}, {}, {}
  local here = now.place()
  local source = now.source(here)
  local call = source and source:call(here.line, "params")
  local order = source and source:order(call and call.open) or {}
  for name, spec in pairs(specs) do
    if not field.is(spec) or not PLACES[spec] then
      now.problem(here, ("parameter '%s' wants a type such as param.string {}"):format(tostring(name)),
        call and call.open and source:field(call.open, { name }, "name"))
    else
      names[#names + 1] = name
    end
  end
  table.sort(names, function(a, b)
    local x, y = order[a] or math.huge, order[b] or math.huge
    if x ~= y then return x < y end
    return a < b
  end)
  local known = {}
  for _, name in ipairs(names) do
    local spec = specs[name]
    known[name] = true
    local got, missing, kept = settle(name, spec, given, environment)
    values[name] = got
    if kept == nil then kept = got end
    local place = PLACES[spec]
    told[#told + 1] = { name = name, type = spec.names_file and "a file" or field.wants(spec), help = spec.doc, default = written(spec, spec.default),
      value = not value.is(kept) and spec.type ~= "secret" and kept or nil, given = given[name] ~= nil or environment("VMRUN_PARAM_" .. name) ~= nil,
      secret = spec.type == "secret", missing = missing or false, required = spec.required or false, env = spec.env,
      file = place.file, line = place.line }
  end
  return values, told, known
end

return M
