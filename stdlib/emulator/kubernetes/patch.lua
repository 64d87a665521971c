--- The three patches that change an object in place: JSON patch (RFC 6902), JSON merge patch (RFC 7386) and Kubernetes'
-- strategic merge patch. Each returns a new value and leaves the old one alone.
local json = require "json"
local value = require "emulator.kubernetes.value"
local status = require "emulator.kubernetes.status"
local fieldset = require "emulator.kubernetes.fieldset"

local patch = {}
local null = json.null

--- JSON merge patch.
function patch.merge(target, change)
  if type(change) ~= "table" or json.is_array(change) then return value.copy(change) end
  local out = {}
  if type(target) == "table" and not json.is_array(target) then
    for k, v in next, target do out[k] = v end
  end
  for k, v in next, change do
    if v == null then out[k] = nil else out[k] = patch.merge(out[k], v) end
  end
  return out
end

local function tokens(pointer)
  if pointer == "" then return {} end
  if pointer:sub(1, 1) ~= "/" then error(status.bad_request("JSON pointer must begin with /: " .. pointer), 0) end
  local out = {}
  for token in (pointer:sub(2) .. "/"):gmatch("([^/]*)/") do
    out[#out + 1] = (token:gsub("~1", "/"):gsub("~0", "~"))
  end
  return out
end

local function fail(op, why)
  error(status.new(422, "Invalid", ("the server rejected our request due to an error in our request: %s operation does not apply: %s")
    :format(op.op, why)), 0)
end

local function slot(holder, token, op, adding)
  if json.is_array(holder) or type(holder) == "table" and next(holder) == nil and token == "-" then
    if token == "-" and adding then return #holder + 1 end
    local i = math.tointeger(tonumber(token))
    if not i or i < 0 or i > #holder - (adding and 0 or 1) then
      fail(op, "Unable to access invalid index: " .. token)
    end
    return i + 1
  end
  return token
end

local function holder_of(doc, path, op)
  local at = doc
  for i = 1, #path - 1 do
    at = at[slot(at, path[i], op)]
    if type(at) ~= "table" then fail(op, "doc is missing path: " .. op.path .. ": missing value") end
  end
  return at, path[#path]
end

local operations = {}

function operations.add(doc, op)
  local path = tokens(op.path)
  if #path == 0 then return value.copy(op.value) end
  local holder, token = holder_of(doc, path, op)
  local key = slot(holder, token, op, true)
  if math.type(key) == "integer" then
    table.insert(holder, key, value.copy(op.value))
    json.array(holder)
  else
    holder[key] = value.copy(op.value)
  end
  return doc
end

function operations.remove(doc, op)
  local holder, token = holder_of(doc, tokens(op.path), op)
  local key = slot(holder, token, op)
  if holder[key] == nil then fail(op, "Unable to remove nonexistent key: " .. token .. ": missing value") end
  if math.type(key) == "integer" then table.remove(holder, key) else holder[key] = nil end
  return doc
end

function operations.replace(doc, op)
  local path = tokens(op.path)
  if #path == 0 then return value.copy(op.value) end
  local holder, token = holder_of(doc, path, op)
  local key = slot(holder, token, op)
  if holder[key] == nil then fail(op, "doc is missing key: " .. op.path .. ": missing value") end
  holder[key] = value.copy(op.value)
  return doc
end

local function read(doc, pointer, op)
  local at = doc
  for _, token in ipairs(tokens(pointer)) do
    if type(at) ~= "table" then return nil end
    at = at[slot(at, token, op)]
  end
  return at
end

function operations.test(doc, op)
  if not value.equal(read(doc, op.path, op), op.value == null and nil or op.value) then
    error(status.new(422, "Invalid", "the server rejected our request due to an error in our request: testing value "
      .. op.path .. " failed: test failed"), 0)
  end
  return doc
end

function operations.copy(doc, op)
  return operations.add(doc, { op = "copy", path = op.path, value = read(doc, op.from, op) })
end

function operations.move(doc, op)
  local v = read(doc, op.from, op)
  return operations.add(operations.remove(doc, { op = "move", path = op.from }), { op = "move", path = op.path, value = v })
end

--- JSON patch: a list of operations.
function patch.json(target, list)
  if type(list) ~= "table" or not json.is_array(list) and next(list) ~= nil then
    error(status.bad_request("a JSON patch is a list of operations"), 0)
  end
  local doc = value.copy(target)
  for _, op in ipairs(list) do
    local fn = operations[op.op]
    if not fn then error(status.bad_request("unexpected kind of JSON patch operation: " .. tostring(op.op)), 0) end
    doc = fn(doc, op)
  end
  return doc
end

local strategic

local function ordered(list, order, key)
  if not order then return list end
  local place = {}
  for i, item in ipairs(order) do
    local k = item
    if key then k = item[key] end
    if k ~= nil then place[k] = i end
  end
  local out, n = {}, 0
  -- what the order does not name keeps its place relative to what stood before it
  local last = 0
  for i, item in ipairs(list) do
    local k = item
    if key then k = item[key] end
    local at = place[k]
    if at then last = at end
    n = n + 1
    out[n] = { item = item, at = at or last, named = at ~= nil, index = i }
  end
  table.sort(out, function(a, b)
    if a.at ~= b.at then return a.at < b.at end
    if a.named ~= b.named then return a.named end
    return a.index < b.index
  end)
  local sorted = json.array {}
  for i, entry in ipairs(out) do sorted[i] = entry.item end
  return sorted
end

local function merge_items(type_, target, change, order)
  local key = type_.keys[1]
  local out = json.array {}
  for i, item in ipairs(target or {}) do out[i] = item end
  for _, item in ipairs(change) do
    if type(item) == "table" and item["$patch"] == "replace" then
      out = json.array {}
      for _, other in ipairs(change) do
        if other["$patch"] ~= "replace" then out[#out + 1] = value.copy(other) end
      end
      return out
    end
  end
  for _, item in ipairs(change) do
    if type(item) ~= "table" or item[key] == nil then
      error(status.bad_request(("map: %s does not contain declared merge key: %s"):format(json.encode(item), key)), 0)
    end
    local old, at = value.find(out, key, item[key])
    if #type_.keys > 1 and old then          -- several items may share the first key: look for all keys that are given
      for i, candidate in ipairs(out) do
        local same = true
        for _, k in ipairs(type_.keys) do
          if item[k] ~= nil and candidate[k] ~= nil and item[k] ~= candidate[k] then same = false end
        end
        if same then old, at = candidate, i; break end
      end
    end
    if item["$patch"] == "delete" then
      if at then table.remove(out, at) end
    else
      out[at or #out + 1] = strategic(type_.of, old, item)
    end
  end
  return ordered(out, order, key)
end

local function merge_set(target, change, order)
  local out = json.array {}
  for i, item in ipairs(target or {}) do out[i] = item end
  for _, item in ipairs(change) do
    if not value.contains(out, item) then out[#out + 1] = item end
  end
  return ordered(out, order)
end

function strategic(type_, target, change)
  type_ = fieldset.resolve(type_, change)
  if type(change) ~= "table" or json.is_array(change) then return value.copy(change) end
  if type_.is ~= "object" and type_.is ~= "map" then return patch.merge(target, change) end
  if change["$patch"] == "replace" then
    local out = value.copy(change)
    out["$patch"] = nil
    return value.compact(out)
  elseif change["$patch"] == "delete" then
    return {}
  end
  local out = {}
  if type(target) == "table" then
    for k, v in next, target do out[k] = v end
  end
  local keep = change["$retainKeys"]
  if keep then
    for k in next, out do
      if not value.contains(keep, k) then out[k] = nil end
    end
  end
  for k, v in next, change do
    local directive, name = k:match("^%$(%a+)/?(.*)$")
    if directive == "deleteFromPrimitiveList" then
      out[name] = value.filter(out[name], function(item) return not value.contains(v, item) end)
    end
  end
  for k, v in next, change do
    if k:sub(1, 1) ~= "$" then
      local of = fieldset.field_type(type_, k)
      local order = change["$setElementOrder/" .. k]
      if v == null then
        out[k] = nil
      elseif type(v) ~= "table" then
        out[k] = v
      elseif of.is == "list" and of.keys then
        out[k] = merge_items(of, out[k], v, order)
      elseif of.is == "list" and of.set then
        out[k] = merge_set(out[k], v, order)
      else
        local merged = strategic(of, out[k], v)
        if type(v) == "table" and v["$patch"] == "delete" then merged = nil end
        out[k] = merged
      end
    end
  end
  for k, order in next, change do
    local name = k:match("^%$setElementOrder/(.+)$")
    if name and change[name] == nil and out[name] then
      local of = fieldset.field_type(type_, name)
      out[name] = ordered(out[name], order, of.keys and of.keys[1])
    end
  end
  return out
end

--- Strategic merge patch by the type's list keys.
function patch.strategic(type_, target, change)
  return strategic(type_, target, change)
end

return patch
