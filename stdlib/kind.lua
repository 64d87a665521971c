--- Kinds of resources. `kind "azure.subnet" { ... }` checks the page and returns it with its name; a kind is its own table.
local field = require "field"
local near = require "recipe.nearest"

local VERBS = { "identity", "predict", "read", "create", "update", "delete", "add", "remove" }
local DEADLINES = { read = 60, create = 600, update = 600, delete = 600, add = 600, remove = 600 }

local kind_meta = { __name = "kind" }
function kind_meta.__tostring(self) return self.name end

local function specs(name, what, given)
  local checked = {}
  for key, spec in pairs(given or {}) do
    if not field.is(spec) then error(("kind %s: %s '%s' is not a field type"):format(name, what, tostring(key)), 4) end
    checked[key] = spec
  end
  return checked
end

-- The read of a kind of which the state is all there is; a run that was killed before it ended left a row without outputs.
local function recall(ctx)
  local outputs = ctx.prior and ctx.prior.outputs
  return outputs and outputs.id and { fields = {}, outputs = outputs } or nil
end

-- The read of a kind that needs all of its fields: while some are known after an apply only, it is as it was.
local function once_known(read)
  return function(ctx)
    if next(ctx.unknown or {}) then return ctx.prior and { outputs = ctx.prior.outputs } or nil end
    return read(ctx)
  end
end

-- How many may be missing or too many while members are replaced: a number, or a share of them such as "25%".
local function is_amount(value)
  return math.type(value) == "integer" and value >= 0 or type(value) == "string" and value:find("^%d+%%?$") ~= nil
end

local function check_roll(value, problem)
  if value == nil or value == false then return end
  if type(value) ~= "table" then
    problem({ "roll" }, ("'roll' wants { max_unavailable =, max_surge = } or false, got %s"):format(field.describe_value(value)))
    return
  end
  for name, amount in pairs(value) do
    if name ~= "max_unavailable" and name ~= "max_surge" then
      problem({ "roll" }, ("'roll' has no '%s'%s"):format(tostring(name), near.hint(tostring(name), { "max_unavailable", "max_surge" })))
    elseif not is_amount(amount) then
      problem({ "roll", name }, ("'roll.%s' wants a number or a share such as \"25%%\", got %s"):format(name, field.describe_value(amount)))
    end
  end
end

-- What every collection has: the engine reads it.
local function roll_field()
  return field.any { ignore = true, doc = "How stale members are replaced: `{ max_unavailable = 1, max_surge = 0 }`" ..
    " unless said, numbers or shares such as \"25%\"; `false` leaves them as they are, and lists them." }
end

local function define(name, page)
  if type(page) ~= "table" then error(("kind %s: wants a table"):format(name), 3) end
  page.name = name
  page.provider = page.provider or name:match("^[^.]+")
  page.doc = page.doc or ""
  page.fields = specs(name, "field", page.fields)
  page.outputs = specs(name, "output", page.outputs)
  for key, spec in pairs(page.fields) do
    if spec.default_name then -- this field is the resource's own name unless it is given
      if page.own_name then error(("kind %s: both %s and %s have default_name"):format(name, page.own_name, key), 3) end
      page.own_name = key
    end
  end
  for _, verb in ipairs(VERBS) do
    if page[verb] ~= nil and type(page[verb]) ~= "function" then
      error(("kind %s: %s is not a function"):format(name, verb), 3)
    end
  end
  if page.at_once and (math.type(page.at_once) ~= "integer" or page.at_once < 1) then
    error(("kind %s: at_once wants a number from 1"):format(name), 3)
  end
  if page.remembered then page.read = recall end
  if not page.read then error(("kind %s: has no read"):format(name), 3) end
  if page.needs_all then page.read = once_known(page.read) end
  local collection = page.collection
  if collection then
    if not page.add or not page.remove then error(("kind %s: a collection needs add and remove"):format(name), 3) end
    collection.item = specs(name, "item", collection.item)
    page.fields.roll = roll_field()
    local own = page.check
    page.check = function(f, problem)
      check_roll(f.roll, problem)
      if own then own(f, problem) end
    end
    page.outputs[collection.output] = page.outputs[collection.output] or
      field.list { field.object { collection.item }, doc = "The members." }
  end
  page.word, page.sorted = name:match("[^.]+$"), {}
  for key in pairs(page.fields) do table.insert(page.sorted, key) end
  table.sort(page.sorted)
  local timeouts = {}
  for verb, seconds in pairs(DEADLINES) do timeouts[verb] = page.timeouts and page.timeouts[verb] or seconds end
  page.timeouts = timeouts
  for output in pairs(page.outputs) do
    if page.fields[output] and not page.fields[output].computed then page.fields[output].computed = true end
  end
  return setmetatable(page, kind_meta)
end

local M = {}

--- The verbs that have a deadline, with the seconds of a page that says nothing.
M.verbs = DEADLINES

--- Whether a value is a kind.
function M.is(value) return getmetatable(value) == kind_meta end

--- The kind of a full name ("azure.subnet"), from the standard library; nil and a message when there is none.
function M.find(name)
  local provider, rest = name:match("^([%w_]+)%.([%w_.]+)$")
  if not provider then return nil, ("'%s' is not the name of a kind"):format(name) end
  local ok, page = pcall(require, provider .. "." .. rest)
  if not ok then
    if tostring(page):find("module '" .. provider .. "." .. rest .. "' not found", 1, true) then
      return nil, ("no kind '%s'"):format(name)
    end
    error(page, 0)
  end
  if not M.is(page) then return nil, ("'%s' is not a kind"):format(name) end
  return page
end

--- What the engine needs to know of a kind, as plain values.
function M.describe(page)
  local told = { name = page.name, provider = page.provider, fields = {}, outputs = {}, timeouts = page.timeouts, verbs = {},
    remembered = page.remembered, at_once = page.at_once, refuse_existing = page.refuse_existing,
    leaves = page.leaves, fold_identity = page.fold_identity }
  for name, spec in pairs(page.fields) do told.fields[name] = field.describe(spec) end
  for name, spec in pairs(page.outputs) do told.outputs[name] = field.describe(spec) end
  -- What somebody else keeps (`data`) is only read.
  for _, verb in ipairs(VERBS) do
    told.verbs[verb] = page[verb] ~= nil and (not page.data or verb == "read" or verb == "identity" or verb == "predict")
  end
  if page.collection then
    told.collection = { output = page.collection.output, count = page.collection.count, item = {} }
    for name, spec in pairs(page.collection.item) do told.collection.item[name] = field.describe(spec) end
  end
  return told
end

--- What a person reads about a kind, as plain values.
function M.document(page)
  local told = { name = page.name, doc = page.doc, fields = {}, outputs = {} }
  local function list(from, to)
    local names = {}
    for name in pairs(from) do names[#names + 1] = name end
    table.sort(names, function(a, b)
      local x, y = from[a].required and 0 or 1, from[b].required and 0 or 1
      if x ~= y then return x < y end
      return a < b
    end)
    for _, name in ipairs(names) do to[#to + 1] = field.document(name, from[name]) end
  end
  list(page.fields, told.fields)
  list(page.outputs, told.outputs)
  return told
end

--- Checks fields outside of a recipe. Returns them in canonical form, and the list of problems (empty: none).
function M.check(page, fields)
  local problems = {}
  local got = field.check_fields(page.fields, fields, {}, problems)
  return got, problems
end

M.nearest = near.nearest

return setmetatable(M, { __call = function(_, name)
  if type(name) ~= "string" or not name:find("^[%w_]+%.[%w_.]+$") then error("kind wants a name such as \"azure.subnet\"", 2) end
  return function(page) return define(name, page) end
end })
