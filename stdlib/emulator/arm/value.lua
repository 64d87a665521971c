--- Small things done to bodies.
local json = require "json"

local value = {}

--- A deep copy; arrays stay arrays.
function value.copy(from)
  if type(from) ~= "table" then return from end
  local to = {}
  for key, item in pairs(from) do to[key] = value.copy(item) end
  if json.is_array(from) then json.array(to) end
  return to
end

--- Whether two values are the same.
function value.same(a, b)
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" then return false end
  for key, item in pairs(a) do
    if not value.same(item, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

--- Puts defaults where nothing (or null) is.
function value.fill(into, defaults)
  for key, item in pairs(defaults) do
    if into[key] == nil or into[key] == json.null then into[key] = value.copy(item) end
  end
  return into
end

--- Removes nulls everywhere: ARM reads null as not said.
function value.strip_null(from)
  for key, item in pairs(from) do
    if item == json.null then
      from[key] = nil
    elseif type(item) == "table" then
      value.strip_null(item)
    end
  end
  return from
end

--- Takes out texts that are empty, however deep.
function value.strip_empty(from)
  for key, item in pairs(from) do
    if type(item) == "table" then
      value.strip_empty(item)
    elseif item == "" and type(key) == "string" then
      from[key] = nil
    end
  end
  return from
end

--- JSON merge patch.
function value.merge(into, patch)
  for key, item in pairs(patch) do
    if item == json.null then
      into[key] = nil
    elseif type(item) == "table" and type(into[key]) == "table" and not json.is_array(item) then
      value.merge(into[key], item)
    else
      into[key] = value.copy(item)
    end
  end
  return into
end

--- The value at "properties.sku.name", or nil.
function value.at(from, path)
  for step in path:gmatch("[^.]+") do
    if type(from) ~= "table" then return nil end
    from = from[step]
  end
  if from == json.null then return nil end
  return from
end

--- The element of a list with a name, without case; and its place.
function value.named(list, name)
  for i, item in ipairs(list or {}) do
    if type(item.name) == "string" and item.name:lower() == name:lower() then return item, i end
  end
end

--- A sorted list of a map's keys.
function value.keys(map)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

return value
