--- ARM templates: the expression language of "[...]" strings, and what a template comes to.
-- learn.microsoft.com/azure/azure-resource-manager/templates/template-expressions and .../template-functions
local crypto, json = require "crypto", require "json"
local problem, value = require "emulator.arm.problem", require "emulator.arm.value"
local clock, template_hash = require "emulator.clock", require "emulator.arm.template_hash"

local raise = problem.raise
local template = {}

local function invalid(message, ...)
  raise(400, "InvalidTemplate", ("Deployment template validation failed: '%s'."):format(message:format(...)), { gateway = true })
end

-- Reading ---------------------------------------------------------------------------------------------------------------

local parsed = {}

local function parse(text)
  local at = 1
  local function space() at = text:find("%S", at) or #text + 1 end
  local function take(what)
    space()
    if text:sub(at, at + #what - 1) ~= what then invalid("The language expression '%s' is not valid: '%s' is expected at %d", text, what, at) end
    at = at + #what
  end
  local function peek(what)
    space()
    return text:sub(at, at) == what
  end
  local expression

  local function arguments()
    local list = {}
    take "("
    while not peek ")" do
      if #list > 0 then take "," end
      list[#list + 1] = expression()
    end
    take ")"
    return list
  end

  local function primary()
    space()
    local quoted, after = text:match("^'(.-)'()", at)
    if quoted then
      local whole = quoted
      while text:sub(after, after) == "'" do -- '' is a quote
        local more, next_after = text:match("^'(.-)'()", after)
        if not more then invalid("The language expression '%s' is not valid: a string has no end", text) end
        whole, after = whole .. "'" .. more, next_after
      end
      at = after
      return { literal = whole }
    end
    local number, past = text:match("^(%-?%d+)()", at)
    if number then
      at = past
      return { literal = math.tointeger(tonumber(number)) }
    end
    local name, past_name = text:match("^([%a_][%w_.]*)()", at)
    if not name then invalid("The language expression '%s' is not valid at %d", text, at) end
    at = past_name
    return { call = name:lower(), name = name, arguments = arguments() }
  end

  function expression()
    local node = primary()
    while true do
      if peek "." then
        take "."
        local name, past = text:match("^([%w_$-]+)()", at)
        if not name then invalid("The language expression '%s' is not valid: a name is expected at %d", text, at) end
        at = past
        node = { of = node, key = { literal = name } }
      elseif peek "[" then
        take "["
        node = { of = node, key = expression() }
        take "]"
      else
        return node
      end
    end
  end

  local node = expression()
  space()
  if at <= #text then invalid("The language expression '%s' is not valid: nothing is expected at %d", text, at) end
  return node
end

--- The tree of a "[...]" string; nil for other strings.
local function expression_of(text)
  if text:sub(1, 1) ~= "[" or text:sub(-1) ~= "]" or text:sub(1, 2) == "[[" then return nil end
  local node = parsed[text]
  if not node then
    node = parse(text:sub(2, -2))
    parsed[text] = node
  end
  return node
end

-- Functions -------------------------------------------------------------------------------------------------------------

local functions = {}
template.functions = functions

local function text_of(item)
  if type(item) == "table" then return json.encode(item) end
  if type(item) == "boolean" then return item and "True" or "False" end
  if item == json.null or item == nil then return "" end
  return tostring(item)
end

local function absent(item) return item == nil or item == json.null end

local function find_key(map, key)
  if type(map) ~= "table" then return nil end
  if map[key] ~= nil then return map[key] end
  for name, item in pairs(map) do
    if type(name) == "string" and name:lower() == tostring(key):lower() then return item, name end
  end
end

function functions.parameters(scope, name)
  local found = find_key(scope.parameters, name)
  if found == nil then invalid("The template parameter '%s' is not found", name) end
  return found
end

function functions.variables(scope, name)
  local text, key = find_key(scope.variables, name)
  key = key or name
  if text == nil then invalid("The template variable '%s' is not found", name) end
  if scope.variable_values[key] == nil then
    if scope.evaluating[key] then invalid("The template variable '%s' mentions itself", name) end
    scope.evaluating[key] = true
    scope.variable_values[key] = template.evaluate(text, scope)
    scope.evaluating[key] = nil
  end
  return scope.variable_values[key]
end

-- "NS/type/child", names... below a base.
local function id_below(base, type_name, names)
  local namespace, rest = type_name:match("^([^/]+)/(.+)$")
  if not namespace then invalid("The resource type '%s' is not valid", type_name) end
  local steps, i = { base .. "/providers/" .. namespace }, 0
  local flat = {}
  for _, name in ipairs(names) do
    for part in tostring(name):gmatch("[^/]+") do flat[#flat + 1] = part end
  end
  for step in rest:gmatch("[^/]+") do
    i = i + 1
    if not flat[i] then invalid("The resource type '%s' wants a name a level", type_name) end
    steps[#steps + 1] = step .. "/" .. flat[i]
  end
  return table.concat(steps, "/")
end

function functions.resourceid(scope, ...)
  local words = { ... }
  local subscription, group = scope.subscription, scope.group
  local first = 1
  while words[first] and not tostring(words[first]):find("^[%w]+%.[%w.]+/") do first = first + 1 end
  if not words[first] then invalid("resourceId wants a resource type") end
  if first == 3 then subscription, group = words[1], words[2] elseif first == 2 then group = words[1] end
  local base = "/subscriptions/" .. subscription .. (group and "/resourceGroups/" .. group or "")
  return id_below(base, words[first], { table.unpack(words, first + 1) })
end

function functions.subscriptionresourceid(scope, ...)
  local words = { ... }
  local first = tostring(words[1]):find("/", 1, true) and 1 or 2
  return id_below("/subscriptions/" .. (first == 2 and words[1] or scope.subscription), words[first], { table.unpack(words, first + 1) })
end

function functions.extensionresourceid(_, base, type_name, ...) return id_below(base, type_name, { ... }) end
function functions.tenantresourceid(_, type_name, ...) return id_below("", type_name, { ... }) end

function functions.resourcegroup(scope) return scope.lookup.group() end
function functions.subscription(scope) return scope.lookup.subscription() end
function functions.tenant(scope) return { tenantId = scope.tenant } end
function functions.deployment(scope) return scope.deployment end
function functions.environment(scope) return scope.lookup.environment() end

function functions.providers(scope, namespace, type_name)
  local provider = scope.lookup.provider(namespace)
  if not type_name then return provider end
  for _, entry in ipairs(provider.resourceTypes) do
    if entry.resourceType:lower() == type_name:lower() then return entry end
  end
  invalid("The resource type '%s' of '%s' is not found", type_name, namespace)
end

function functions.reference(scope, target, api, full)
  if not scope.lookup.resource then invalid("The template function 'reference' is not expected at this location") end
  local id = template.target(target, scope)
  local shown = scope.lookup.resource(id, api)
  if not shown then
    raise(404, "ResourceNotFound", ("The Resource '%s' was not found."):format(id), { gateway = true })
  end
  if type(full) == "string" and full:lower() == "full" then return shown end
  return shown.properties or {}
end

local function list_function(name)
  return function(scope, target, api, input)
    if not scope.lookup.action then invalid("The template function '%s' is not expected at this location", name) end
    return scope.lookup.action(template.target(target, scope), name, api, input)
  end
end

function functions.copyindex(scope, name, offset)
  if type(name) == "number" then name, offset = nil, name end
  local index = scope.copies[name and name:lower() or 1]
  if not index then invalid("The template function 'copyIndex' is not expected at this location") end
  return index + (offset or 0)
end

function functions.concat(_, ...)
  local first = ...
  if type(first) == "table" then
    local all = json.array {}
    for _, list in ipairs { ... } do
      for _, item in ipairs(list) do all[#all + 1] = item end
    end
    return all
  end
  local words = { ... }
  for i = 1, select("#", ...) do words[i] = text_of(words[i]) end
  return table.concat(words)
end

functions["format"] = function(_, form, ...)
  local words = { ... }
  return (form:gsub("{(%d+)[^}]*}", function(i) return text_of(words[tonumber(i) + 1]) end))
end

function functions.string(_, item) return text_of(item) end
functions["int"] = function(_, item) return math.tointeger(tonumber(item)) or invalid("'%s' is no integer", text_of(item)) end
functions["bool"] = function(_, item) return item == true or item == 1 or tostring(item):lower() == "true" end
function functions.tolower(_, text) return text:lower() end
function functions.toupper(_, text) return text:upper() end
function functions.trim(_, text) return (text:match("^%s*(.-)%s*$")) end
function functions.replace(_, text, old, new) return (text:gsub(old:gsub("%p", "%%%0"), (new:gsub("%%", "%%%%")))) end
function functions.substring(_, text, start, length) return text:sub(start + 1, length and start + length or -1) end
function functions.startswith(_, text, part) return text:lower():sub(1, #part) == part:lower() end
function functions.endswith(_, text, part) return part == "" or text:lower():sub(-#part) == part:lower() end
function functions.indexof(_, text, part) return (text:lower():find(part:lower(), 1, true) or 0) - 1 end
function functions.padleft(_, text, width, with)
  text = text_of(text)
  return (with or " "):rep(width - #text) .. text
end
function functions.uri(_, base, tail) return (base:gsub("/[^/]*$", "/")) .. (tail:gsub("^/", "")) end
function functions.base64(_, text) return crypto.base64(text) end
function functions.base64tostring(_, text) return crypto.unbase64(text) end
function functions.base64tojson(_, text) return json.decode(crypto.unbase64(text)) end
functions["json"] = function(_, text) return json.decode(text) end
functions["null"] = function() return json.null end
functions["true"] = function() return true end
functions["false"] = function() return false end

function functions.split(_, text, delimiters)
  local seen, all = type(delimiters) == "table" and table.concat(delimiters) or delimiters, json.array {}
  local class = "[" .. seen:gsub("%p", "%%%0") .. "]"
  local from = 1
  while true do
    local first, last = text:find(class, from)
    all[#all + 1] = text:sub(from, (first or 0) - 1)
    if not first then return all end
    from = last + 1
  end
end

function functions.join(_, list, delimiter)
  local words = {}
  for i, item in ipairs(list) do words[i] = text_of(item) end
  return table.concat(words, delimiter)
end

function functions.uniquestring(_, ...) return template_hash.unique(table.concat({ ... }, "-")) end

function functions.guid(_, ...)
  local d = crypto.sha256(table.concat({ ... }, "-"))
  return ("%s-%s-5%s-8%s-%s"):format(d:sub(1, 8), d:sub(9, 12), d:sub(14, 16), d:sub(18, 20), d:sub(21, 32))
end
function functions.newguid() return crypto.uuid() end
function functions.utcnow(_, form)
  if form then return os.date("!%Y%m%dT%H%M%SZ") end
  return clock.iso()
end

function functions.length(_, item)
  if type(item) ~= "table" or json.is_array(item) then return #item end
  return #value.keys(item)
end
function functions.empty(_, item)
  return absent(item) or item == "" or type(item) == "table" and next(item) == nil
end
function functions.first(_, item)
  if type(item) == "string" then return item:sub(1, 1) end
  return item[1]
end
function functions.last(_, item)
  if type(item) == "string" then return item:sub(-1) end
  return item[#item]
end
function functions.skip(_, item, count)
  if type(item) == "string" then return item:sub(count + 1) end
  return json.array { table.unpack(item, count + 1) }
end
function functions.take(_, item, count)
  if type(item) == "string" then return item:sub(1, count) end
  return json.array { table.unpack(item, 1, math.min(count, #item)) }
end
function functions.range(_, from, count)
  local all = json.array {}
  for i = 0, count - 1 do all[#all + 1] = from + i end
  return all
end
function functions.contains(_, item, wanted)
  if type(item) == "string" then return item:find(text_of(wanted), 1, true) ~= nil end
  if not json.is_array(item) then return find_key(item, wanted) ~= nil end
  for _, element in ipairs(item) do
    if value.same(element, wanted) then return true end
  end
  return false
end
function functions.createarray(_, ...) return json.array { ... } end
function functions.createobject(_, ...)
  local words, made = { ... }, {}
  for i = 1, select("#", ...), 2 do made[words[i]] = words[i + 1] end
  return made
end
functions["array"] = function(_, item) return json.is_array(item) and item or json.array { item } end
function functions.union(_, first, ...)
  local all = value.copy(first)
  for _, other in ipairs { ... } do
    if json.is_array(all) then
      for _, item in ipairs(other) do
        if not functions.contains(nil, all, item) then all[#all + 1] = item end
      end
    else
      value.merge(all, other)
    end
  end
  return all
end
function functions.intersection(_, first, ...)
  local all = json.array {}
  for _, item in ipairs(first) do
    local in_all = true
    for _, other in ipairs { ... } do in_all = in_all and functions.contains(nil, other, item) end
    if in_all then all[#all + 1] = item end
  end
  return all
end

local function spread(...)
  local first = ...
  if type(first) == "table" then return first end
  return { ... }
end
functions["min"] = function(_, ...) return math.min(table.unpack(spread(...))) end
functions["max"] = function(_, ...) return math.max(table.unpack(spread(...))) end
function functions.add(_, a, b) return a + b end
function functions.sub(_, a, b) return a - b end
function functions.mul(_, a, b) return a * b end
function functions.div(_, a, b)
  if b == 0 then invalid("a division by zero") end
  return a // b
end
function functions.mod(_, a, b)
  if b == 0 then invalid("a division by zero") end
  return a % b
end
function functions.equals(_, a, b)
  if type(a) == "string" and type(b) == "string" then return a == b end
  return value.same(absent(a) and json.null or a, absent(b) and json.null or b)
end
function functions.less(_, a, b) return a < b end
function functions.lessorequals(_, a, b) return a <= b end
function functions.greater(_, a, b) return a > b end
function functions.greaterorequals(_, a, b) return a >= b end
functions["not"] = function(_, a) return not a end
functions["and"] = function(_, ...)
  for _, item in ipairs { ... } do
    if not item then return false end
  end
  return true
end
functions["or"] = function(_, ...)
  for _, item in ipairs { ... } do
    if item then return true end
  end
  return false
end
function functions.coalesce(_, ...)
  local words = { ... }
  for i = 1, select("#", ...) do
    if not absent(words[i]) then return words[i] end
  end
  return json.null
end

-- Evaluating ------------------------------------------------------------------------------------------------------------

local function compute(node, scope)
  if node.literal ~= nil then return node.literal end
  if node.of then
    local of, key = compute(node.of, scope), compute(node.key, scope)
    local item
    if type(key) == "number" and type(of) == "table" then item = of[key + 1] else item = find_key(of, key) end
    if item == nil then
      invalid("The language expression property '%s' doesn't exist, available properties are '%s'", text_of(key),
        type(of) == "table" and not json.is_array(of) and table.concat(value.keys(of), ", ") or "")
    end
    return item
  end
  if node.call == "if" then
    return compute(compute(node.arguments[1], scope) and node.arguments[2] or node.arguments[3], scope)
  end
  local fn = functions[node.call] or node.call:find("^list%a*$") and list_function(node.name)
  if not fn then invalid("The template function '%s' is not valid", node.name) end
  local words, count = {}, #node.arguments
  for i, argument in ipairs(node.arguments) do words[i] = compute(argument, scope) end
  local ok, result = pcall(fn, scope, table.unpack(words, 1, count))
  if ok then return result end
  if problem.is(result) or type(result) == "table" then error(result, 0) end
  invalid("Unable to evaluate the template function '%s': its arguments are not what it takes", node.name)
end

--- A value with every expression in it computed. Property copies (`copy = {{name, count, input}}`) become lists.
function template.evaluate(item, scope)
  if type(item) == "string" then
    local node = expression_of(item)
    if node then return compute(node, scope) end
    return item:sub(1, 2) == "[[" and item:sub(2) or item
  end
  if type(item) ~= "table" or item == json.null then return item end
  local made = {}
  if json.is_array(item) then
    for i, element in ipairs(item) do made[i] = template.evaluate(element, scope) end
    return json.array(made)
  end
  for key, element in pairs(item) do
    local name = template.evaluate(key, scope)
    if name == "copy" and json.is_array(element) then
      for _, copy in ipairs(element) do
        local list, key_of = json.array {}, copy.name:lower()
        local before = scope.copies[key_of]
        for index = 0, template.evaluate(copy.count, scope) - 1 do
          scope.copies[key_of] = index
          list[#list + 1] = template.evaluate(copy.input, scope)
        end
        scope.copies[key_of] = before
        made[copy.name] = list
      end
    else
      made[name] = template.evaluate(element, scope)
    end
  end
  return made
end

--- What `reference` and `dependsOn` may name: an id, a name, "NS/type/name" or a symbolic name; as an id.
function template.target(name, scope)
  if name:sub(1, 1) == "/" then return name end
  local known = scope.ids and scope.ids[name:lower()]
  if known then return known end
  local steps = {}
  for step in name:gmatch("[^/]+") do steps[#steps + 1] = step end
  if #steps > 2 and steps[1]:find(".", 1, true) then
    local base = "/subscriptions/" .. scope.subscription .. (scope.group and "/resourceGroups/" .. scope.group or "")
    return base .. "/providers/" .. name
  end
  return name
end

local TYPES = { string = "string", securestring = "string", int = "number", bool = "boolean", object = "table", secureobject = "table",
  array = "table" }

--- Takes parameters as they are sent (`{name = {value=}}`) against what a template declares; returns name -> value.
function template.parameters(declared, sent, scope)
  local values = {}
  scope.parameters = values
  for name in pairs(sent or {}) do
    if not find_key(declared, name) then
      invalid("The template parameters '%s' in the parameters file are not valid; they are not present in the original template and can "
        .. "therefore not be provided at deployment time. The only supported parameters for this template are '%s'", name,
        table.concat(value.keys(declared), ", "))
    end
  end
  for _, name in ipairs(value.keys(declared)) do
    local spec, given = declared[name], find_key(sent or {}, name)
    local item
    if type(given) == "table" then item = given.value end
    if item == nil then
      if spec.defaultValue == nil then
        invalid("The value for the template parameter '%s' is not provided. Please see https://aka.ms/arm-create-parameter-file for usage "
          .. "details", name)
      end
      item = template.evaluate(spec.defaultValue, scope)
    end
    local want = TYPES[tostring(spec.type):lower()]
    if not want then invalid("The template parameter '%s' has no valid type", name) end
    if item ~= json.null and type(item) ~= want then
      invalid("Template parameter '%s' was provided an invalid value. Expected a value of type '%s'", name, spec.type)
    end
    if spec.allowedValues and not functions.contains(nil, spec.allowedValues, item) then
      invalid("The provided value for the template parameter '%s' is not valid. The value '%s' is not part of the allowed value(s): '%s'",
        name, text_of(item), functions.join(nil, spec.allowedValues, ","))
    end
    local size = type(item) == "string" and #item or type(item) == "table" and #item
    if size and (size < (spec.minLength or 0) or size > (spec.maxLength or math.huge)) then
      invalid("The provided value for the template parameter '%s' is not valid. Length of the value should be between '%s' and '%s'", name,
        tostring(spec.minLength or 0), tostring(spec.maxLength or "any"))
    end
    if type(item) == "number" and (item < (spec.minValue or item) or item > (spec.maxValue or item)) then
      invalid("The provided value for the template parameter '%s' is not valid: it is out of its range", name)
    end
    values[name] = item
  end
  return values
end

local function calls(node, scope, found)
  if node.of then
    calls(node.of, scope, found)
    calls(node.key, scope, found)
  elseif node.call then
    for _, argument in ipairs(node.arguments) do calls(argument, scope, found) end
    if node.call == "reference" or node.call:find("^list%a") then
      local ok, name = pcall(compute, node.arguments[1], scope)
      if ok and type(name) == "string" then found[#found + 1] = name end
    elseif node.call == "variables" and node.arguments[1].literal then
      local inner = find_key(scope.variables, node.arguments[1].literal)
      for _, name in ipairs(inner and template.references(inner, scope) or {}) do found[#found + 1] = name end
    end
  end
end

--- What the `reference(...)` and `list...(...)` of a value name, in itself and in the variables that it uses.
function template.references(item, scope, found)
  found = found or {}
  if type(item) == "string" then
    local node = expression_of(item)
    if node then calls(node, scope, found) end
  elseif type(item) == "table" then
    for key, element in pairs(item) do
      if type(key) == "string" then template.references(key, scope, found) end
      template.references(element, scope, found)
    end
  end
  return found
end

template.invalid = invalid

return template
