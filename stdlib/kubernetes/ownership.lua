--- Who owns which field of an object, by `metadata.managedFields`: a tree whose keys name what is below ("f:" a field, "k:" the
-- item of a list by its keys, "v:" an item by its value, "." the thing itself) and whose empty tables are what is owned whole.
-- https://kubernetes.io/docs/reference/using-api/server-side-apply/
local json = require "json"

local M = {}

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, value in next, a do if not same(value, b[key]) then return false end end
  for key in next, b do if a[key] == nil then return false end end
  return true
end

--- Whether two JSON values are the same.
M.same = same

local function has_keys(item, keys)
  if type(item) ~= "table" then return false end
  for key, value in pairs(keys) do if item[key] ~= value then return false end end
  return true
end

-- A child of a list's tree as a function that knows its item.
local function knows(name)
  local kind, value = name:sub(1, 2), json.decode(name:sub(3))
  if kind == "k:" and type(value) == "table" then return function(item) return has_keys(item, value) end end
  if kind == "v:" then return function(item) return same(item, value) end end
  return function() return false end
end

local function find(list, test)
  for _, item in ipairs(list) do if test(item) then return item end end
end

local covers

local function covers_list(want, owned, live)
  local count = 0
  for name, child in pairs(owned) do
    if name ~= "." then
      local test = knows(name)
      local item, there = find(want, test), find(live, test)
      if item == nil or there == nil or not covers(item, child, there) then return false end
      count = count + 1
    end
  end
  return count == #want
end

-- Whether what is wanted is just what is owned here, and has the values that are there. What it cannot tell is no.
function covers(want, owned, live)
  if next(owned) == nil then return same(want, live) end
  if type(want) ~= "table" or type(live) ~= "table" then return false end
  if #want > 0 then return covers_list(want, owned, live) end
  local count, children = 0, 0
  for name, value in pairs(want) do
    local child = owned["f:" .. name]
    if child then
      if not covers(value, child, live[name]) then return false end
      count = count + 1
    elseif value ~= json.null then
      return false
    end
  end
  for name in pairs(owned) do if name ~= "." then children = children + 1 end end
  return count == children
end

-- What no entry of managedFields has: the server takes it out of what is applied.
local function bare(object)
  local copy, metadata = {}, {}
  for name, value in pairs(object) do copy[name] = value end
  for name, value in pairs(object.metadata) do
    if value ~= json.null then metadata[name] = value end -- Go's programs write a creationTimestamp of null
  end
  copy.apiVersion, copy.kind = nil, nil
  metadata.name, metadata.namespace = nil, nil
  copy.metadata = next(metadata) and metadata or nil
  return copy
end

local function entry_of(object, manager)
  for _, entry in ipairs(object.metadata.managedFields or {}) do
    if entry.operation == "Apply" and entry.manager == manager and (entry.subresource or "") == "" then return entry end
  end
end

--- Whether `manager` has applied the object; what somebody else made anew under its name it has not.
function M.is_applied(live, manager) return entry_of(live, manager) ~= nil end

--- Whether applying an object would surely change nothing: the fields that `manager` has are those of the object, with their
-- values. False also where only the server can tell (defaults, other forms of a value).
function M.is_unchanged(object, live, manager)
  local entry = entry_of(live, manager)
  if not entry or entry.apiVersion ~= object.apiVersion or type(entry.fieldsV1) ~= "table" then return false end
  return covers(bare(object), entry.fieldsV1, live)
end

return M
