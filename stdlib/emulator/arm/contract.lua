--- What a kind of the standard library states of ARM's body, as the service checks it: names, choices, bounds, patterns, what
-- must be there, what may not change, what is read-only. The statement of a type names the kind (`kind = "azure.route_table"`)
-- and says itself only what no kind does.
local field, json, kind = require "field", require "json", require "kind"
local problem, value = require "emulator.arm.problem", require "emulator.arm.value"

local contract = {}

-- Fields whose form is ARM's own affair: regions and tags have rules of their own, ranges of addresses their own errors.
local OWN = { location = true, tags = true, name = true }

local function walk(fields, prefix, places)
  for _, name in ipairs(value.keys(fields)) do
    local spec = fields[name]
    local at = spec.arm or spec.arm_at
    if at and not OWN[at] then
      local path = prefix .. at
      places[#places + 1] = { path = path, spec = spec }
      if spec.type == "object" and spec.fields then
        walk(spec.fields, path .. ".", places)
      elseif spec.type == "list" and spec.elem.type == "object" then
        walk(spec.elem.fields or {}, path .. "[].", places)
      elseif spec.type == "list" and not spec.to then
        places[#places + 1] = { path = path .. "[]", spec = spec.elem }
      end
    end
  end
end

local function add(list, more)
  local have = {}
  for _, item in ipairs(list or {}) do have[item] = true end
  local all = table.move(list or {}, 1, #(list or {}), 1, {})
  for _, item in ipairs(more) do
    if not have[item] then all[#all + 1] = item end
  end
  return all
end

-- Paths that may not change once the resource is there: what a recipe replaces, unless ARM itself changes it in place.
local function fixed_of(places)
  local list = {}
  for _, place in ipairs(places) do
    local spec = place.spec
    local in_list, made = place.path:find("[]", 1, true), spec.type == "resource" and spec.to
    if spec.replace and not spec.arm_changes and not made and not in_list and spec.type ~= "object" then
      list[#list + 1] = spec.type == "resource" and not spec.arm_id and place.path .. ".id" or place.path
    end
  end
  return list
end

-- Keys of `properties` that are shown and never taken.
local function read_only_of(page, places)
  local taken, list = {}, {}
  for _, place in ipairs(places) do taken[place.path:match("^properties%.([^.%[]+)") or ""] = true end
  for _, path in ipairs(page.read_only or {}) do list[#list + 1] = path:match("^properties%.([^.]+)$") end
  for _, name in ipairs(value.keys(page.outputs)) do
    local key = (page.outputs[name].arm or ""):match("^properties%.([^.]+)")
    if key and not taken[key] then list[#list + 1] = key end
  end
  return list
end

--- Completes a statement, or the spec of an inline child, from the kind that it names.
function contract.apply(statement)
  local page = assert(kind.find(statement.kind))
  local name = page.fields.name
  statement.name = statement.name or name.match
  statement.longest, statement.shortest = statement.longest or name.max, statement.shortest or name.min
  statement.places = {}
  walk(page.fields, "", statement.places)
  statement.fixed = add(statement.fixed, fixed_of(statement.places))
  statement.read_only = add(statement.read_only, read_only_of(page, statement.places))
end

local function refuse(how, code, path, text)
  local short = path:gsub("^properties%.", "")
  local message = ("%s%s."):format(text:sub(1, 1):upper(), text:sub(2))
  if how.refuses == "parse" and not code then
    problem.raise(400, "InvalidRequestFormat", "Cannot parse the request.", { details = json.array { { code = "InvalidJson",
      message = message } } })
  elseif how.refuses == "parse" then
    problem.raise(400, code, message, { details = json.array {} })
  end
  problem.raise(400, code or how.refuses or "BadRequest", message, { target = how.names_target and short or nil })
end

-- A value as the service reads it: numbers and truth also as text, choices in any case.
local function read(spec, item)
  if type(item) == "string" then
    if spec.type == "integer" or spec.type == "number" then return math.tointeger(tonumber(item)) or tonumber(item) or item end
    if spec.type == "boolean" and (item:lower() == "true" or item:lower() == "false") then return item:lower() == "true" end
  elseif type(item) == "number" and spec.type == "string" then
    return tostring(item)
  elseif math.type(item) == "float" and spec.type == "integer" then
    return math.tointeger(item) or item
  end
  if spec.type == "choice" and type(item) == "string" then
    for _, values in ipairs { spec.values, spec.arm_also or {} } do
      for _, one in ipairs(values) do
        if type(one) == "string" and one:lower() == item:lower() then return one end
      end
    end
  end
  return item
end

-- A path in ARM's form as the steps that `field` speaks of.
local function steps_of(path)
  local steps = {}
  for name, index in path:gmatch("([^.%[%]]+)%[?(%d*)") do
    steps[#steps + 1] = name
    steps[#steps + 1] = tonumber(index)
  end
  return steps
end

local function needed(spec) return spec.arm_required or spec.required and not spec.arm_optional end

-- Of what is no leaf, only the shape is checked here: its parts are places of their own.
local SHAPES = { list = "a list", map = "an object", object = "an object" }

local function checked(how, spec, item, path)
  if spec.type == "any" or spec.type == "cidr" then return item end
  if spec.type == "resource" and not spec.to then
    local id = spec.arm_id and item or type(item) == "table" and item.id
    if type(id) ~= "string" then refuse(how, spec.arm_code, path, ("'%s' wants the id of a resource"):format(path)) end
    return item
  elseif SHAPES[spec.type] then
    if type(item) ~= "table" then refuse(how, spec.arm_code, path, ("'%s' wants %s"):format(path, SHAPES[spec.type])) end
    if spec.type == "list" and (#item < (spec.min or 0) or #item > (spec.max or math.huge)) then
      refuse(how, spec.arm_code, path, ("'%s' wants between %d and %s elements, got %d"):format(path, spec.min or 0,
        spec.max or "any number of",
        #item))
    end
    return item
  elseif spec.to or item == "" and spec.type == "string" and not needed(spec) then
    return item -- text that is empty is text that is not said
  end
  item = read(spec, item)
  for _, other in ipairs(spec.arm_also or {}) do
    if other == item then return item end
  end
  local _, text = field.check(spec, item, steps_of(path))
  if text then refuse(how, spec.arm_code, path, text) end
  return item
end

-- Visits what stands at a path; "[]" stands for each element.
local function visit(how, at, steps, i, place, path)
  local step, more = steps[i]:match("^([^%[]+)(%[?)")
  local here = path == "" and step or path .. "." .. step
  local item = at[step]
  if item == json.null then item = nil end
  if i == #steps and more == "" then
    if item ~= nil then
      at[step] = checked(how, place.spec, item, here)
    elseif needed(place.spec) then
      local short = here:gsub("^properties%.", "")
      refuse(how, place.spec.arm_code, here, ("required parameter '%s' is missing (null)"):format(short))
    end
    return
  end
  if item == nil then return end
  if type(item) ~= "table" then refuse(how, nil, here, ("'%s' wants %s"):format(here, more == "" and "an object" or "a list")) end
  if more == "" then return visit(how, item, steps, i + 1, place, here) end
  for n, element in ipairs(item) do
    local which = ("%s[%d]"):format(here, n - 1)
    if i == #steps then
      item[n] = checked(how, place.spec, element, which)
    elseif type(element) == "table" then
      visit(how, element, steps, i + 1, place, which)
    else
      refuse(how, nil, which, ("'%s' wants an object"):format(which))
    end
  end
end

local function split(path)
  local steps = {}
  for step in path:gmatch("[^.]+") do steps[#steps + 1] = step end
  return steps
end

local function check_places(how, places, body, path)
  for _, place in ipairs(places or {}) do
    place.steps = place.steps or split(place.path)
    -- What is missing with the object around it is missing where the object would begin.
    if needed(place.spec) and #place.steps == 2 and place.steps[1] == "properties" and not place.path:find("[]", 1, true) then
      body.properties = body.properties or {}
    end
    visit(how, body, place.steps, 1, place, path)
  end
end

--- Checks a whole body against the kinds of its type and of its inline children, and puts values into their usual form.
function contract.check(statement, body)
  check_places(statement.style, statement.places, body, "")
  for list, spec in pairs(statement.children or {}) do
    for n, element in ipairs(spec.places and body.properties and body.properties[list] or {}) do
      if type(element) == "table" then
        check_places(statement.style, spec.places, element, ("properties.%s[%d]"):format(list, n - 1))
      end
    end
  end
end

return contract
