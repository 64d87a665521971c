--- Types of fields: what a value may be, said once, for checks, documentation and the engine.
--
-- A constructor takes one table. Strings, choices and elements come by position, options by name:
--
--     field.string { required = true, match = "^[a-z]+$", doc = "..." }
--     field.choice { "Basic", "Standard", default = "Basic" }
--     field.list { field.string {}, min = 1 }        field.map { field.string {} }
--     field.object { name = field.string {}, port = field.integer {} }     or { { fields }, required = true }
--     field.resource { "azure.subnet", required = true }                   one of the kinds named
--     field.string { check = function(text) ... end }                      nil, or what is wanted instead: "a time such as 5m"
local near = require "recipe.nearest"

local M = {}
local spec_meta = { __name = "field" }

--- What a value is that is no plain Lua value: recipes put functions here that tell references, resources, secrets and
-- poison apart. `classify(value)`: nil, or its class and its type (a spec, or nil; of a resource the name of its kind);
-- `special_text(value)`: what people call it, or nil.
M.classify = function() return nil end
M.special_text = function() return nil end

local function array_meta()
  local ok, json = pcall(require, "json")
  return ok and type(json) == "table" and type(json.array) == "function" and getmetatable(json.array {}) or nil
end
local ARRAY = array_meta()

local function is_spec(value) return getmetatable(value) == spec_meta end
M.is = is_spec

local function spec(type_name, given, positional)
  if type(given) ~= "table" then error("field." .. type_name .. " wants a table, such as field." .. type_name .. " {}", 3) end
  local made = { type = type_name }
  for key, value in pairs(given) do
    if type(key) == "string" then made[key] = value end
  end
  if positional then positional(made, given) end
  if made.default ~= nil then made.required = nil end
  return setmetatable(made, spec_meta)
end

for _, name in ipairs { "string", "integer", "range", "number", "boolean", "cidr", "ip", "any" } do
  M[name] = function(given) return spec(name, given) end
end

function M.secret(given)
  local made = spec("secret", given)
  made.secret = true
  return made
end

function M.choice(given)
  return spec("choice", given, function(made, from)
    made.values = {}
    for i, value in ipairs(from) do made.values[i] = value end
    if #made.values == 0 then error("field.choice wants the values to choose from", 4) end
  end)
end

local function with_element(name)
  return function(given)
    return spec(name, given, function(made, from)
      made.elem = from[1] or M.any {}
      if not is_spec(made.elem) then error("field." .. name .. " wants a field type for its elements", 4) end
    end)
  end
end
M.list, M.map = with_element "list", with_element "map"

function M.object(given)
  if type(given[1]) == "table" and not is_spec(given[1]) then
    return spec("object", given, function(made, from) made.fields = from[1] end)
  end
  local fields, options = {}, {}
  for key, value in pairs(given) do
    if is_spec(value) then fields[key] = value else options[key] = value end
  end
  return spec("object", options, function(made) made.fields = fields end)
end

function M.resource(given)
  return spec("resource", given, function(made, from)
    made.kinds = {}
    for i, kind in ipairs(from) do made.kinds[i] = kind end
  end)
end

-- The checks. Each takes (spec, value, path, problems) and returns the value in its canonical form.

local NOUN = {
  string = "text", integer = "an integer", number = "a number", boolean = "true or false", list = "a list", map = "a table",
  object = "a table", cidr = "an address range such as \"10.0.0.0/16\"", ip = "an IP address", secret = "a secret",
  any = "a value", range = "a number or a range such as \"2-5\"",
}

local function quoted(text)
  if #text > 60 then text = text:sub(1, 57) .. "..." end
  return (("%q"):format(text):gsub("\\\n", "\\n"))
end

--- What a spec wants, as words.
function M.wants(s)
  if s.type == "choice" then
    local words = {}
    for i, value in ipairs(s.values) do words[i] = type(value) == "string" and quoted(value) or tostring(value) end
    if #words == 1 then return words[1] end
    return "one of " .. table.concat(words, ", ")
  elseif s.type == "resource" then
    if #s.kinds == 0 then return "a resource" end
    return table.concat(s.kinds, " or ")
  elseif s.type == "list" then
    return "a list"
  end
  return NOUN[s.type] or s.type
end

--- What a value is, as words: `got the text "two"`.
function M.describe_value(value)
  local special = M.special_text(value)
  if special then return special end
  local t = type(value)
  if t == "string" then return "the text " .. quoted(value) end
  if t == "number" then return "the number " .. tostring(value) end
  if t == "boolean" then return tostring(value) end
  if t == "table" then
    if next(value) == nil then return "an empty table" end
    return #value > 0 and "a list" or "a table"
  end
  if t == "nil" then return "nothing" end
  return "a " .. t
end

--- A path as people write it: { "rules", 2, "port" } is rules[2].port.
function M.path_text(path)
  local text = ""
  for _, step in ipairs(path) do
    if type(step) == "number" then
      text = text .. "[" .. step .. "]"
    elseif step:find("^[%a_][%w_]*$") then
      text = text .. (text == "" and "" or ".") .. step
    else
      text = text .. "[" .. quoted(step) .. "]"
    end
  end
  return text
end

local function extend(path, step)
  local longer = table.move(path, 1, #path, 1, {})
  longer[#longer + 1] = step
  return longer
end

-- A path is one list that grows and shrinks with the walk; a problem keeps what it was then.
local function problem(problems, path, text, more)
  local p = { path = table.move(path, 1, #path, 1, {}), text = text }
  if more then p.part, p.missing = more.part, more.missing end
  problems[#problems + 1] = p
end

local function wrong(problems, s, path, value)
  problem(problems, path, ("'%s' wants %s, got %s"):format(M.path_text(path), M.wants(s), M.describe_value(value)))
  return nil
end

local check

-- Checks what stands at a step below a path.
local function check_at(s, value, path, step, problems)
  local n = #path + 1
  path[n] = step
  local got = check(s, value, path, problems)
  path[n] = nil
  return got
end

local function octets(text)
  local a, b, c, d = text:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  if not a then return nil end
  local value = 0
  for _, part in ipairs { a, b, c, d } do
    local n = tonumber(part)
    if n > 255 or (#part > 1 and part:sub(1, 1) == "0") then return nil end
    value = value << 8 | n
  end
  return value
end

local function is_ipv6(text)
  if not text:find(":", 1, true) or text:find("[^%x:.]") or text:find(":::", 1, true) then return false end
  local head, tail = text:match("^(.-)::(.*)$")
  local groups = 0
  local function count(part)
    if part == "" then return true end
    for group in (part .. ":"):gmatch("(.-):") do
      if group:find(".", 1, true) then
        if not octets(group) then return false end
        groups = groups + 2
      elseif #group >= 1 and #group <= 4 then
        groups = groups + 1
      else
        return false
      end
    end
    return true
  end
  if head then return count(head) and count(tail) and groups < 8 end
  return count(text) and groups == 8
end

--- Whether text is an IPv4 or IPv6 address.
function M.is_ip(text) return octets(text) ~= nil or is_ipv6(text) end

local function dotted(n) return ("%d.%d.%d.%d"):format(n >> 24 & 255, n >> 16 & 255, n >> 8 & 255, n & 255) end

--- nil when the text is an address range, else what is wrong with it.
local function cidr_fault(text)
  local address, bits = text:match("^([^/]+)/(%d+)$")
  if not address then return ("wants %s, got %s"):format(NOUN.cidr, quoted(text)) end
  local n, length = octets(address), tonumber(bits)
  if not n then
    if is_ipv6(address) and length <= 128 then return nil end
    return ("wants %s, got %s"):format(NOUN.cidr, quoted(text))
  end
  if length > 32 then return ("wants %s, got %s: a prefix has at most 32 bits"):format(NOUN.cidr, quoted(text)) end
  local mask = length == 0 and 0 or (0xffffffff << (32 - length)) & 0xffffffff
  if n & mask ~= n then
    return ("wants %s, got %s, which has bits behind its prefix; did you mean %s?"):format(NOUN.cidr, quoted(text),
      quoted(dotted(n & mask) .. "/" .. bits))
  end
end

local function bounds(s, value, path, problems, what)
  if s.min and value < s.min then
    problem(problems, path, ("'%s' wants %sat least %s, got %s"):format(M.path_text(path), what, s.min, value))
    return nil
  elseif s.max and value > s.max then
    problem(problems, path, ("'%s' wants %sat most %s, got %s"):format(M.path_text(path), what, s.max, value))
    return nil
  end
  return true
end

local function check_text(s, value, path, problems)
  if s.match and not value:find(s.match) then
    problem(problems, path, ("'%s' wants text that matches %s, got %s"):format(M.path_text(path), quoted(s.match), quoted(value)))
    return nil
  end
  if (s.min or s.max) and not bounds(s, #value, path, problems, "a length of ") then return nil end
  local wanted = s.check and s.check(value)
  if wanted then
    problem(problems, path, ("'%s' wants %s, got %s"):format(M.path_text(path), wanted, quoted(value)))
    return nil
  end
  return value
end

local checks = {}

function checks.string(s, value, path, problems)
  if type(value) ~= "string" then return wrong(problems, s, path, value) end
  if value:find("\0", 1, true) then
    problem(problems, path, ("'%s' holds a NUL byte"):format(M.path_text(path)))
    return nil
  end
  return check_text(s, value, path, problems)
end

function checks.secret(s, value, path, problems)
  if type(value) ~= "string" then return wrong(problems, s, path, value) end
  return value
end

function checks.integer(s, value, path, problems)
  local n = type(value) == "number" and math.tointeger(value)
  if not n then return wrong(problems, s, path, value) end
  return bounds(s, n, path, problems, "") and n
end

-- A number stays one; a range is { min =, max = }, however it was written.
function checks.range(s, value, path, problems)
  local low, high = value, value
  if type(value) == "string" then
    low, high = value:match("^%s*(%d+)%s*%-%s*(%d+)%s*$")
    low, high = tonumber(low), tonumber(high)
  elseif type(value) == "table" then
    low, high = value.min, value.max
    for key in next, value do
      if key ~= "min" and key ~= "max" then return wrong(problems, s, path, value) end
    end
  end
  low, high = math.type(low) and math.tointeger(low), math.type(high) and math.tointeger(high)
  if not low or not high then return wrong(problems, s, path, value) end
  if low > high then
    problem(problems, path, ("'%s' wants a range from less to more, got %d-%d"):format(M.path_text(path), low, high))
    return nil
  end
  if not (bounds(s, low, path, problems, "") and bounds(s, high, path, problems, "")) then return nil end
  return math.type(value) and low or { min = low, max = high }
end

function checks.number(s, value, path, problems)
  if type(value) ~= "number" or value ~= value then return wrong(problems, s, path, value) end
  return bounds(s, value, path, problems, "") and value
end

function checks.boolean(s, value, path, problems)
  if type(value) ~= "boolean" then return wrong(problems, s, path, value) end
  return value
end

function checks.choice(s, value, path, problems)
  for _, allowed in ipairs(s.values) do
    if value == allowed then return value end
  end
  problem(problems, path, ("'%s' wants %s, got %s%s"):format(M.path_text(path), M.wants(s), M.describe_value(value),
    near.hint(value, s.values, '"')))
  return nil
end

function checks.cidr(s, value, path, problems)
  if s.list then
    local list = setmetatable({}, ARRAY)
    if type(value) == "string" then
      list[1] = check({ type = "cidr" }, value, path, problems)
      return list
    end
    if type(value) ~= "table" then return wrong(problems, s, path, value) end
    for i, item in ipairs(value) do list[i] = check_at({ type = "cidr" }, item, path, i, problems) end
    return list
  end
  if type(value) ~= "string" then return wrong(problems, s, path, value) end
  local fault = cidr_fault(value)
  if fault then
    problem(problems, path, ("'%s' %s"):format(M.path_text(path), fault))
    return nil
  end
  return value
end

function checks.ip(s, value, path, problems)
  if type(value) ~= "string" or not M.is_ip(value) then return wrong(problems, s, path, value) end
  return value
end

function checks.list(s, value, path, problems)
  if type(value) ~= "table" then return wrong(problems, s, path, value) end
  local n = #value
  for key in next, value do
    if math.type(key) ~= "integer" or key < 1 or key > n then
      problem(problems, path, ("'%s' wants a list, got a table with the key %s"):format(M.path_text(path),
        type(key) == "string" and quoted(key) or tostring(key)))
      return nil
    end
  end
  local list = setmetatable({}, ARRAY)
  for i = 1, n do list[i] = check_at(s.elem, value[i], path, i, problems) end
  if not bounds(s, n, path, problems, "a length of ") then return nil end
  if s.key then
    local seen = {}
    for i, item in ipairs(list) do
      local key = type(item) == "table" and item[s.key]
      if type(key) == "string" or type(key) == "number" then
        if seen[key] then
          problem(problems, extend(path, i), ("'%s' has %s = %s twice"):format(M.path_text(path), s.key,
            type(key) == "string" and quoted(key) or key))
        end
        seen[key] = true
      end
    end
  end
  return list
end

function checks.map(s, value, path, problems)
  if type(value) ~= "table" then return wrong(problems, s, path, value) end
  local map = {}
  for key, item in next, value do
    if type(key) ~= "string" then
      problem(problems, path, ("'%s' wants a table with names, got a list"):format(M.path_text(path)))
      return nil
    end
    map[key] = check_at(s.elem, item, path, key, problems)
  end
  return map
end

local function names_of(fields)
  local names = {}
  for name in next, fields do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- Checks a table against named fields: the shared half of objects and of resources. `path` is {} for a resource. `known`: names
-- that are no fields, and right all the same.
-- @return what was put in, with the defaults; whether one of the known names is among it
local function check_fields(fields, value, path, problems, known)
  local got, meant, more = {}, nil, false
  for key, item in next, value do
    local s = fields[key]
    if s then
      got[key] = check_at(s, item, path, key, problems)
    elseif known and known[key] then
      more = true
    else
      local here = extend(path, key)
      if type(key) == "string" then
        meant = meant or {}
        meant[near.nearest(key, names_of(fields)) or ""] = true
        problem(problems, here, ("has no field '%s'%s"):format(M.path_text(here), near.hint(key, names_of(fields))),
          { part = "name" })
      else
        problem(problems, here, ("takes fields by name, got %s by position"):format(M.describe_value(item)))
      end
    end
  end
  for name, s in next, fields do
    if value[name] == nil then
      if s.default ~= nil then
        got[name] = check_at(s, s.default, path, name, problems)
      elseif s.required and not (meant and meant[name]) then
        problem(problems, path, ("needs '%s' (%s)"):format(M.path_text(extend(path, name)), M.wants(s)),
          { missing = name })
      end
    end
  end
  return got, more
end
M.check_fields = check_fields

function checks.object(s, value, path, problems)
  if type(value) ~= "table" then return wrong(problems, s, path, value) end
  if not s.fields or next(s.fields) == nil then return value end
  return (check_fields(s.fields, value, path, problems))
end

function checks.resource(s, value, path, problems) return wrong(problems, s, path, value) end

local function check_any(s, value, path, problems)
  if type(value) ~= "table" then
    if type(value) == "function" or type(value) == "thread" or (type(value) == "userdata" and not M.is_null(value)) then
      problem(problems, path, ("'%s' wants %s, got %s"):format(M.path_text(path), M.wants(s), M.describe_value(value)))
      return nil
    end
    return value
  end
  local copy = setmetatable({}, getmetatable(value) == ARRAY and ARRAY or nil)
  for key, item in next, value do
    copy[key] = check_at(M.anything, item, path, key, problems)
  end
  return copy
end
checks.any = check_any

function M.is_null(value)
  local ok, json = pcall(require, "json")
  return ok and value == json.null
end

local COMPATIBLE = {
  string = { string = true, choice = true, secret = true, cidr = true, ip = true },
  secret = { string = true, secret = true, choice = true, cidr = true, ip = true },
  choice = { string = true, choice = true },
  cidr = { string = true, cidr = true, list = true },
  ip = { string = true, ip = true },
  integer = { integer = true, number = true },
  range = { integer = true, number = true, range = true },
  number = { integer = true, number = true },
  boolean = { boolean = true },
  list = { list = true },
  map = { map = true, object = true },
  object = { object = true, map = true },
}

local function takes_kind(s, kind)
  if #s.kinds == 0 then return true end
  for _, name in ipairs(s.kinds) do
    if name == kind then return true end
  end
  return false
end

--- A value that recipes make: a reference, a resource, a secret. `made` is its type, as M.classify gives it.
local function check_special(s, value, class, made, path, problems)
  if class == "poison" then return value end
  if class == "resource" then
    if s.type == "any" or (s.type == "resource" and takes_kind(s, made)) then return value end
    return wrong(problems, s, path, value)
  end
  if class == "secret" then
    local t = s.type
    if t == "string" or t == "secret" or t == "any" then return value end
    return wrong(problems, s, path, value)
  end
  if class == "reference" then
    if s.type == "any" or not made or made.type == "any" then
      if s.type == "resource" then return wrong(problems, s, path, value) end
      return value
    end
    if s.type == "resource" then
      if made.type == "resource" then return value end
      return wrong(problems, s, path, value)
    end
    local compatible = COMPATIBLE[s.type]
    if compatible and compatible[made.type] then return value end
    problem(problems, path, ("'%s' wants %s, got %s, which is %s"):format(M.path_text(path), M.wants(s), M.special_text(value),
      M.wants(made)))
    return nil
  end
  if class == "list" and (s.type == "any" or s.type == "list") then return value end
  return wrong(problems, s, path, value)
end

function check(s, value, path, problems)
  if type(value) == "userdata" then
    local class, made = M.classify(value)
    if class then return check_special(s, value, class, made, path, problems) end
  elseif type(value) == "nil" then
    return nil
  end
  return checks[s.type](s, value, path, problems)
end

M.anything = M.any {}

--- Checks a value. Returns its canonical form and nil, or nil and the text of the first problem.
function M.check(s, value, path)
  local problems = {}
  local got = check(s, value, type(path) == "table" and path or { path or "value" }, problems)
  if problems[1] then return nil, problems[1].text end
  return got
end

--- Checks a value and adds what is wrong to `problems`: { path =, text =, part =, missing = }.
M.check_into = check

--- The type of what a path of names and numbers leads to below a spec; nil, name when a step is not there.
function M.at(s, step)
  if s.type == "any" then return M.anything end
  if s.type == "object" then
    if not s.fields or next(s.fields) == nil then return M.anything end
    return s.fields[step]
  elseif s.type == "list" then
    return math.type(step) == "integer" and s.elem or nil
  elseif s.type == "cidr" and s.list then
    return math.type(step) == "integer" and M.cidr {} or nil
  elseif s.type == "map" then
    return type(step) == "string" and s.elem or nil
  end
  return nil
end

--- What the engine needs to know of a field, as plain values.
function M.describe(s)
  local told = { type = s.type, required = s.required, replace = s.replace, secret = s.secret, computed = s.computed,
    key = s.key, owned_elements = s.owned_elements, write_only = s.write_only, ignore = s.ignore, unordered = s.unordered,
    volatile = s.volatile, rolls = s.rolls }
  if s.elem then told.elem = M.describe(s.elem) end
  if s.fields then
    told.fields = {}
    for name, child in pairs(s.fields) do
      if is_spec(child) then told.fields[name] = M.describe(child) end
    end
  end
  return told
end

--- What a person reads about a field, as plain values: name, type, required, default, doc.
function M.document(name, s)
  local entry = { name = name, type = M.wants(s), required = s.required or false, replace = s.replace or false, doc = s.doc or "" }
  if s.default ~= nil and type(s.default) ~= "table" then entry.default = tostring(s.default) end
  if s.type == "list" and s.elem then entry.elements = M.document("", s.elem) end
  local fields = s.fields or (s.elem and s.elem.fields)
  if fields then
    entry.fields = {}
    for _, child in ipairs(names_of(fields)) do entry.fields[#entry.fields + 1] = M.document(child, fields[child]) end
  end
  return entry
end

return M
