--- The values that recipes make and that are no plain Lua values: references, resources, secrets, the lists of each(), and
-- poison, which stands for what failed so that the rest of the recipe can be read.
--
-- Each is a userdata with a table behind it (declare.data):
--
--     reference  expr, spec (a field type or nil)
--     resource   expr, page, name, fields (what was put in), decl; `view`: one picked out of an each()
--     list       scope, value (what the body returned), expr
--     secret     expr
local declare, field, json, near = require "declare", require "field", require "json", require "recipe.nearest"
local now = require "recipe.current"

local M = {}

local meta = { reference = {}, resource = {}, list = {}, secret = {}, poison = {} }
for class, mt in pairs(meta) do
  mt.__name, mt.__metatable = class, class
end

local proxy = declare.proxy

local function make(class, data)
  data.class = class
  return proxy(meta[class], data)
end

local function make_reference(expr, spec)
  return proxy(meta.reference, { class = "reference", expr = expr, spec = spec })
end

local data = declare.data
M.data = data

--- Whether a value has one of these classes.
function M.is(value, class)
  local d = data(value)
  return d ~= nil and (class == nil or d.class == class)
end

function M.poison()
  now.poisoned = true
  return make("poison", {})
end
now.poison = M.poison

local function is_poison(value)
  local d = data(value)
  return d ~= nil and d.class == "poison"
end

local function resource_text(d) return ('%s "%s"'):format(d.page.name, d.name) end

--- What a value is called in messages.
local function text_of(d)
  if d.class == "reference" then return declare.text(d.expr) end
  if d.class == "resource" then return resource_text(d) end
  if d.class == "secret" then return "a secret" end
  if d.class == "list" then
    local inner = data(d.value)
    local what = inner and (inner.class == "resource" and resource_text(inner) or text_of(inner)) or "result"
    return "the list of every " .. what
  end
  return "an error"
end
M.text = text_of

function field.classify(value)
  local d = data(value)
  if not d then return nil end
  local class = d.class
  return class, class == "reference" and d.spec or class == "resource" and d.page.name or nil
end

function field.special_text(value)
  local d = data(value)
  if not d then return nil end
  return d.class == "list" and text_of(d) .. " (pick one with [1], or use each)" or text_of(d)
end

-- Values to expressions.

local ARRAY = getmetatable(json.array {})

local function sorted_keys(t)
  local keys = {}
  for key in next, t do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

local function child_spec(spec, key)
  if not spec then return nil end
  if spec.type == "list" or spec.type == "map" then return spec.elem end
  if spec.type == "object" then return spec.fields and spec.fields[key] end
end

--- The expression of a value; texts of secret fields are sealed. Raises where a value has no form as data.
local function to_expr(value, spec, depth)
  local d = data(value)
  if d then
    if d.class == "poison" then return declare.literal(nil) end
    if spec and spec.secret and not declare.tainted(d.expr) then return declare.secret(d.expr) end
    return d.expr
  end
  if type(value) ~= "table" then
    if type(value) == "string" and spec and spec.secret then return declare.sealed(value) end
    if type(value) == "function" or type(value) == "thread" then
      now.raise(("a %s cannot be part of a value"):format(type(value)))
    end
    return declare.literal(value)
  end
  depth = depth or 1
  if depth > 100 then now.raise("a table is nested too deeply, or holds itself") end
  if getmetatable(value) == ARRAY or #value > 0 then
    local items = {}
    for i = 1, #value do items[i] = to_expr(value[i], child_spec(spec, i), depth + 1) end
    return declare.array(items)
  end
  local keys, items = {}, {}
  for key in next, value do
    if type(key) ~= "string" then now.raise(("a table has the key %s; a list begins at 1 and has no holes"):format(tostring(key))) end
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for i, key in ipairs(keys) do items[i] = to_expr(value[key], child_spec(spec, key), depth + 1) end
  return declare.object(keys, items)
end
M.to_expr = to_expr

--- The value of an expression: plain when it is known, else a reference.
local function from_expr(expr, spec)
  if not declare.constant(expr) then return make_reference(expr, spec) end
  if declare.tainted(expr) then return make("secret", { expr = expr }) end
  local value, message = declare.eval(expr)
  if message then return now.fault(message) end
  return value
end
M.from_expr = from_expr

M.reference = make_reference
function M.secret(text) return make("secret", { expr = declare.sealed(text) }) end
--- Of a table with its class in it: { class = "resource", ... }.
function M.resource(d) return proxy(meta.resource, d) end

-- References.

local function step_of(key)
  if math.type(key) == "integer" then
    if key < 1 then now.raise("lists begin at 1") end
    return key - 1
  end
  return key
end

local function note_use(key)
  if not now.lint then return end
  local file, line = now.where()
  local id = line .. " " .. file .. " " .. key
  if not now.used[id] then now.used[id] = { file = file, line = line, key = key } end
end

local WAITS = {
  string = "text that is not known until it exists", list = "a list", object = "a table", map = "a table",
}

local function fields_of(spec)
  local names = {}
  for name in pairs(spec and spec.fields or {}) do names[#names + 1] = name end
  return names
end

function meta.reference.__index(self, key)
  local d = data(self)
  local kt = type(key)
  if kt ~= "string" and math.type(key) ~= "integer" then
    now.raise(("%s cannot be indexed with a %s"):format(text_of(d), kt))
  end
  local spec
  if d.spec then
    spec = field.at(d.spec, key)
    if not spec then
      local message
      if d.spec.type == "list" and kt == "string" then
        message = ("%s is a list and has no '%s'; pick one with [1], or use each"):format(text_of(d), key)
      elseif d.spec.type == "object" then
        message = ("%s has no '%s'%s"):format(text_of(d), key, near.hint(key, fields_of(d.spec)))
      else
        message = ("%s is %s and has no '%s'"):format(text_of(d), WAITS[d.spec.type] or field.wants(d.spec), key)
      end
      return now.fault(message, key)
    end
  end
  note_use(key)
  return from_expr(declare.index(d.expr, step_of(key)), spec)
end

local function part_text(value)
  local t = type(value)
  if t == "string" or t == "number" then return declare.literal(t == "number" and tostring(value) or value) end
  local d = data(value)
  if d and (d.class == "reference" or d.class == "secret") then
    local spec = d.spec
    if not spec or spec.type ~= "list" and spec.type ~= "object" and spec.type ~= "map" then return d.expr end
    now.raise(("%s is %s and cannot be joined to a text"):format(text_of(d), field.wants(spec)))
  elseif d and d.class == "resource" then
    now.raise(("%s has no text; join one of its values, such as .%s"):format(text_of(d), d.page.outputs.id and "id" or "name"))
  elseif d then
    now.raise(("%s cannot be joined to a text"):format(text_of(d)))
  end
  now.raise(("%s cannot be joined to a text"):format(field.describe_value(value)))
end

--- Joins texts of which some may be references.
function M.join(parts)
  local items = {}
  for i, part in ipairs(parts) do
    if is_poison(part) then return M.poison() end
    items[i] = part_text(part)
  end
  return from_expr(declare.join(items), field.string {})
end

local function concat(a, b)
  if is_poison(a) or is_poison(b) then return M.poison() end
  return from_expr(declare.join { part_text(a), part_text(b) }, field.string {})
end

local UNKNOWN = "%s is not known until it exists, so %s"
local function refuse(why, advice)
  return function(a, b)
    if is_poison(a) or is_poison(b) then return M.poison() end
    local d = data(a)
    if not d or d.class == "secret" then d = data(b) or d end
    local text = text_of(d)
    now.raise(UNKNOWN:format(text, why) .. (advice and "; " .. advice or ""), text:match("%.([%w_]+)$"))
  end
end

local reference = meta.reference
reference.__concat = concat
reference.__tostring = refuse("it has no text yet", "join it with `..`")
reference.__len = refuse("it has no length yet", "use each(list, function(item) ... end)")
reference.__lt = refuse("it cannot be compared yet", "decide by a parameter or by what the recipe itself says")
reference.__le = reference.__lt
reference.__pairs = refuse("there is nothing to go over yet", "use each(list, function(item) ... end)")
for _, event in ipairs { "add", "sub", "mul", "div", "mod", "pow", "unm", "idiv", "band", "bor", "bxor", "shl", "shr", "bnot" } do
  reference["__" .. event] = refuse("it cannot be computed with yet")
end
function reference.__call(self) now.raise(("%s is a value, not a function"):format(text_of(data(self)))) end
function reference.__newindex(self, key)
  now.raise(("%s cannot be assigned; fields are set where a resource is declared"):format(
    field.path_text { text_of(data(self)), key }), key)
end

-- Resources.

local function names_of(page)
  local names = {}
  for name in pairs(page.fields) do names[#names + 1] = name end
  for name in pairs(page.outputs) do
    if not page.fields[name] then names[#names + 1] = name end
  end
  return names
end

function meta.resource.__index(self, key)
  local d = data(self)
  local page = d.page
  if not d.view and d.fields[key] ~= nil then return d.fields[key] end
  local spec = page.outputs[key]
  if not spec then
    local given = page.fields[key]
    if given and (d.view or given.computed) then
      spec = given
    elseif given then
      return nil
    end
  end
  if spec then
    note_use(key)
    return from_expr(declare.index(d.expr, key), spec)
  end
  return now.fault(("%s has no field or output '%s'%s"):format(resource_text(d), tostring(key), near.hint(key, names_of(page))), key)
end

local resource = meta.resource
resource.__concat = concat
function resource.__tostring(self)
  local d = data(self)
  now.raise(("%s has no text; use one of its values, such as .%s"):format(resource_text(d), d.page.outputs.id and "id" or "name"))
end
function resource.__newindex(self, key)
  now.raise(("%s cannot be changed after it was declared"):format(resource_text(data(self))), key)
end
local function not_a(what)
  return function(self, other)
    if is_poison(self) or is_poison(other) then return M.poison() end
    now.raise(("%s is a resource, not %s"):format(resource_text(data(M.is(self, "resource") and self or other)), what))
  end
end
resource.__len, resource.__pairs = not_a "a list", not_a "a list"
resource.__lt, resource.__le = not_a "a number", not_a "a number"
resource.__call = not_a "a function"

-- What each() gives back.

local function pick(d, value, index)
  local inner = data(value)
  if inner then
    if inner.class == "poison" then return value end
    local expr = declare.index(declare.gather(d.scope, inner.expr), index)
    if inner.class == "resource" then
      return M.resource { class = "resource", expr = expr, page = inner.page, name = inner.name, fields = {}, view = true }
    end
    return from_expr(expr, inner.spec)
  end
  if type(value) == "table" then
    local copy = {}
    for key, item in pairs(value) do copy[key] = pick(d, item, index) end
    return copy
  end
  return value
end

local function all(d, value)
  local inner = data(value)
  if inner then
    if inner.class == "poison" then return value end
    return M.reference(declare.gather(d.scope, inner.expr), field.list { inner.spec or field.any {} })
  end
  return value
end

function meta.list.__index(self, key)
  local d = data(self)
  if math.type(key) == "integer" and key >= 1 then return pick(d, d.value, key - 1) end
  if type(d.value) == "table" and d.value[key] ~= nil then return all(d, d.value[key]) end
  local inner = data(d.value)
  if inner and inner.class == "poison" then return d.value end
  if inner and inner.class == "resource" and type(key) == "string" then
    local found = d.value[key]
    if M.is(found) then return all(d, found) end
    return found
  end
  now.raise(("%s has no '%s'; pick one with [1], or use each"):format(text_of(d), tostring(key)), key)
end
local list = meta.list
list.__len = refuse("its length has to wait", "use each(list, function(item) ... end)")
list.__pairs, list.__lt, list.__le, list.__tostring = list.__len, list.__len, list.__len, list.__len
list.__concat = concat
function list.__newindex() now.raise "what each() gives back cannot be changed" end
function list.__call() now.raise "what each() gives back is a list, not a function" end

function M.list(scope, value)
  return make("list", { scope = scope, value = value, expr = declare.gather(scope, to_expr(value)) })
end

-- Secrets.

local secret = meta.secret
secret.__concat = concat
function secret.__tostring() return "(secret)" end
local function not_shown() now.raise "a secret cannot be looked at in a recipe; pass it on, or join it with `..`" end
for _, event in ipairs { "index", "newindex", "len", "lt", "le", "call", "pairs", "add", "sub", "mul", "div", "mod", "unm" } do
  secret["__" .. event] = not_shown
end

-- Poison.

local poison = meta.poison
for _, event in ipairs { "index", "concat", "add", "sub", "mul", "div", "mod", "pow", "unm", "idiv", "band", "bor",
  "bxor", "shl", "shr", "bnot" } do
  poison["__" .. event] = function(a, b) return M.is(a, "poison") and a or b end
end
function poison.__call(self, ...)
  local state, control = ...
  if select("#", ...) == 2 and state == nil and control == nil then return nil end -- a loop over it ends at once
  return self
end
function poison.__len() return 0 end
function poison.__lt() return false end
function poison.__le() return false end
function poison.__tostring() return "(error)" end
function poison.__newindex() end
function poison.__pairs() return function() end end

M.sorted_keys = sorted_keys
return M
