--- Sets of fields, as server-side apply keeps them. A set is a tree of tables whose keys are path elements as FieldsV1
-- writes them ("f:spec", `k:{"name":"a"}`, `v:"x"`, "i:0"); `["."] = true` says that the node itself belongs to the set.
local json = require "json"
local value = require "emulator.kubernetes.value"

local fieldset = {}

local function scalar(v)
  if type(v) == "string" or type(v) == "table" then return json.encode(v, { sort = true }) end
  return tostring(v)
end

local key_defaults = { protocol = "TCP" }

--- The path element of a list's item, or nil and the missing key.
function fieldset.element(type_, item, index)
  if type_.set then return "v:" .. scalar(item) end
  if not type_.keys then return "i:" .. index - 1 end
  local parts = {}
  local names = type_.sorted
  if not names then
    names = table.move(type_.keys, 1, #type_.keys, 1, {})
    table.sort(names)
    type_.sorted = names
  end
  for _, name in ipairs(names) do
    local v
    if type(item) == "table" then v = item[name] end
    if v == nil then
      local of = type_.of.fields and type_.of.fields[name]
      v = of and of.default
      if v == nil then v = key_defaults[name] end
    end
    if v == nil then return nil, name end
    parts[#parts + 1] = json.encode(name) .. ":" .. scalar(v)
  end
  return "k:{" .. table.concat(parts, ",") .. "}"
end
local element = fieldset.element

--- Items of a list by path element, and the elements in order.
local function index(type_, list)
  local by, order = {}, {}
  for i, item in ipairs(list or {}) do
    local pe = element(type_, item, i) or "i:" .. i - 1
    if by[pe] == nil then order[#order + 1] = pe end
    by[pe] = item
  end
  return by, order
end
fieldset.index = index

local untyped_map, untyped_list = { is = "map", of = { is = "any" } }, { is = "list", of = { is = "any" }, atomic = true }

--- The type to treat a value as: what has no schema is a map of values, and its lists are one value.
local function resolve(type_, v)
  if type_.is ~= "any" or type(v) ~= "table" then return type_ end
  return json.is_array(v) and untyped_list or untyped_map
end
fieldset.resolve = resolve

local function field_type(type_, name)
  if type_.is == "map" then return type_.of end
  return type_.fields[name] or { is = "any" }
end
fieldset.field_type = field_type

local function add(set, type_, v)
  type_ = resolve(type_, v)
  local is = type_.is
  if is == "list" and not type_.atomic then
    if next(v) == nil then set["."] = true end
    local by, order = index(type_, v)
    for _, pe in ipairs(order) do
      local child = { ["."] = true }
      set[pe] = child
      if type(by[pe]) == "table" then add(child, type_.of, by[pe]) end
    end
  elseif (is == "object" or is == "map") and not type_.atomic then
    for name, item in next, v do
      local child = {}
      set["f:" .. name] = child
      if type(item) == "table" then add(child, field_type(type_, name), item) else child["."] = true end
      if type(item) == "table" and next(item) == nil or is == "map" then child["."] = true end
    end
  else
    set["."] = true
  end
  return set
end

--- The set of all fields that a value has, as an applied configuration owns them.
function fieldset.of(type_, v)
  return add({}, type_, v)
end

local function mark(set, type_, v)
  set["."] = true
  type_ = resolve(type_, v)
  if type_.atomic or type(v) ~= "table" then return end
  if type_.is == "list" then
    local by = index(type_, v)
    for pe, item in next, by do
      set[pe] = {}
      mark(set[pe], type_.of, item)
    end
  elseif type_.is == "object" or type_.is == "map" then
    for name, item in next, v do
      set["f:" .. name] = {}
      mark(set["f:" .. name], field_type(type_, name), item)
    end
  end
end

local function child(set, pe)
  local node = set[pe]
  if not node then node = {}; set[pe] = node end
  return node
end

local function compare(type_, old, new, added, modified, removed)
  if old == new then return end
  if old == nil then return mark(added, type_, new) end
  if new == nil then return mark(removed, type_, old) end
  type_ = resolve(type_, type(new) == "table" and new or old)
  local container = type_.is == "object" or type_.is == "map" or type_.is == "list"
  if not container or type_.atomic or type(old) ~= "table" or type(new) ~= "table" then
    if not value.equal(old, new) then modified["."] = true end
    return
  end
  local function each(pe, of, a, b)
    if a == b then return end
    local x, y, z = {}, {}, {}
    compare(of, a, b, x, y, z)
    if next(x) then added[pe] = x end
    if next(y) then modified[pe] = y end
    if next(z) then removed[pe] = z end
  end
  if type_.is == "list" then
    local before, after = index(type_, old), index(type_, new)
    for pe, item in next, before do each(pe, type_.of, item, after[pe]) end
    for pe, item in next, after do
      if before[pe] == nil then each(pe, type_.of, nil, item) end
    end
  else
    for name, item in next, old do each("f:" .. name, field_type(type_, name), item, new[name]) end
    for name, item in next, new do
      if old[name] == nil then each("f:" .. name, field_type(type_, name), nil, item) end
    end
  end
end

--- What changed from old to new: three sets, added, modified, removed.
function fieldset.compare(type_, old, new)
  local added, modified, removed = {}, {}, {}
  compare(type_, old, new, added, modified, removed)
  return added, modified, removed
end

--- Is nothing in the set?
function fieldset.empty(set) return next(set) == nil end

local function union(a, b)
  local out = {}
  for pe, node in next, a do out[pe] = pe == "." or union(node, {}) end
  for pe, node in next, b do
    if pe == "." then out[pe] = true else out[pe] = union(out[pe] or {}, node) end
  end
  return out
end
fieldset.union = union

local function difference(a, b)
  local out = {}
  for pe, node in next, a do
    if pe == "." then
      if not b["."] then out["."] = true end
    elseif b[pe] then
      local rest = difference(node, b[pe])
      if next(rest) then out[pe] = rest end
    else
      out[pe] = node
    end
  end
  return out
end
fieldset.difference = difference

local function intersection(a, b)
  local out = {}
  for pe, node in next, a do
    local other = b[pe]
    if other then
      if pe == "." then out["."] = true else
        local both = intersection(node, other)
        if next(both) then out[pe] = both end
      end
    end
  end
  return out
end
fieldset.intersection = intersection

--- Removes whole subtrees, given as lists of path elements.
function fieldset.strip(set, paths)
  for _, path in ipairs(paths) do
    local node = set
    for i = 1, #path - 1 do node = node and node[path[i]] end
    if node then node[path[#path]] = nil end
    if #path > 1 and set[path[1]] and next(set[path[1]]) == nil then set[path[1]] = nil end
  end
  return set
end

local function encode(node)
  local out, only = {}, true
  for pe, sub in next, node do
    if pe ~= "." then
      only = false
      out[pe] = encode(sub)
    end
  end
  if node["."] and not only then out["."] = {} end
  return out
end

--- A set as the JSON value of FieldsV1.
function fieldset.encode(set)
  local out = {}
  for pe, sub in next, set do
    if pe ~= "." then out[pe] = encode(sub) end
  end
  return out
end

local function decode(v)
  if next(v) == nil then return { ["."] = true } end
  local out = {}
  for pe, sub in next, v do
    if pe == "." then out["."] = true elseif type(sub) == "table" then out[pe] = decode(sub) end
  end
  return out
end

--- The set that a FieldsV1 value describes.
function fieldset.decode(v)
  local out = {}
  for pe, sub in next, v or {} do
    if pe ~= "." and type(sub) == "table" then out[pe] = decode(sub) end
  end
  return out
end

local function shown(pe)
  local kind, rest = pe:sub(1, 2), pe:sub(3)
  if kind == "f:" then return "." .. rest end
  if kind == "i:" then return "[" .. rest .. "]" end
  if kind == "v:" then return "[=" .. rest .. "]" end
  local parts = {}
  local keys = json.decode(rest)
  for _, name in ipairs(value.keys(keys)) do parts[#parts + 1] = name .. "=" .. scalar(keys[name]) end
  return "[" .. table.concat(parts, ",") .. "]"
end

--- The members of a set as texts such as `.spec.containers[name="a"].image`, sorted.
function fieldset.paths(set)
  local out = {}
  local function visit(node, path)
    if node["."] then out[#out + 1] = path end
    for _, pe in ipairs(value.keys(node)) do
      if pe ~= "." then visit(node[pe], path .. shown(pe)) end
    end
  end
  visit(set, "")
  return out
end

local merge

local function merge_list(type_, live, config)
  local old, old_order = index(type_, live)
  local new, new_order = index(type_, config)
  local order, all_known = {}, true
  for _, pe in ipairs(old_order) do
    if new[pe] == nil then all_known = false end
  end
  if all_known then
    order = new_order
  else
    for _, pe in ipairs(old_order) do order[#order + 1] = pe end
    for _, pe in ipairs(new_order) do
      if old[pe] == nil then order[#order + 1] = pe end
    end
  end
  local out = json.array {}
  for i, pe in ipairs(order) do out[i] = merge(type_.of, old[pe], new[pe]) end
  return out
end

--- The live value with the configuration laid over it.
function merge(type_, live, config)
  if config == nil then return live end
  if live == nil or type(config) ~= "table" or type(live) ~= "table" then return config end
  type_ = resolve(type_, config)
  if type_.atomic then return config end
  if type_.is == "list" then return merge_list(type_, live, config) end
  if type_.is ~= "object" and type_.is ~= "map" then return config end
  local out = {}
  for name, item in next, live do out[name] = item end
  for name, item in next, config do out[name] = merge(field_type(type_, name), live[name], item) end
  return out
end
fieldset.merge = merge

local function removed(type_, v, doomed, owned)
  type_ = resolve(type_, v)
  local function drop(pe, item, of)
    local node, kept = doomed[pe], owned[pe]
    if not node or item == nil then return item end
    if node["."] and not kept then return nil end
    if type(item) ~= "table" then return item end
    return removed(of, item, node, kept or {})
  end
  if type(v) ~= "table" or type_.atomic then return v end
  if type_.is == "list" then
    local out = json.array {}
    for i, item in ipairs(v) do
      out[#out + 1] = drop(element(type_, item, i) or "i:" .. i - 1, item, type_.of)
    end
    if #out == 0 and #v > 0 then return nil end
    return out
  elseif type_.is == "object" or type_.is == "map" then
    local out = {}
    for name, item in next, v do out[name] = drop("f:" .. name, item, field_type(type_, name)) end
    if next(out) == nil and next(v) ~= nil then return nil end
    return out
  end
  return v
end

--- A value without the fields in doomed, unless somebody in owned has them or something below them.
function fieldset.remove(type_, v, doomed, owned)
  return removed(type_, v, doomed, owned) or {}
end

return fieldset
