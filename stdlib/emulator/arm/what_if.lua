--- What a deployment would change (Deployments - What If): each resource of a template beside the one that is there.
local json = require "json"
local records, problem = require "emulator.arm.records", require "emulator.arm.problem"

local what_if = {}

local differences

-- Objects of lists are told apart by their names, else by their places.
local function match(list, element, at)
  if type(element) ~= "table" or element.name == nil then return list[at] end
  for _, other in ipairs(list) do
    if type(other) == "table" and other.name == element.name then return other end
  end
end

local function list_differences(want, is)
  local children = json.array {}
  for i, element in ipairs(want) do
    local other = match(is, element, i)
    local path = tostring(i - 1)
    if other == nil then
      children[#children + 1] = { path = path, propertyChangeType = "Create", after = element }
    else
      local inner = differences({ [path] = element }, { [path] = other }, "")
      for _, change in ipairs(inner) do children[#children + 1] = change end
    end
  end
  for i, element in ipairs(is) do
    if match(want, element, i) == nil then
      children[#children + 1] = { path = tostring(i - 1), propertyChangeType = "Delete", before = element }
    end
  end
  return children
end

-- Ids, regions and choices have no case.
local function same(a, b) return a == b or type(a) == "string" and type(b) == "string" and a:lower() == b:lower() end

--- What of `want` is otherwise in `is`; what `want` does not name is the service's.
function differences(want, is, prefix)
  local changes = json.array {}
  local keys = {}
  for key in pairs(want) do keys[#keys + 1] = key end
  table.sort(keys)
  for _, key in ipairs(keys) do
    local a, b, path = want[key], is[key], prefix .. key
    if b == nil then
      if a ~= json.null then changes[#changes + 1] = { path = path, propertyChangeType = "Create", after = a } end
    elseif type(a) ~= "table" or type(b) ~= "table" then
      if not same(a, b) then changes[#changes + 1] = { path = path, propertyChangeType = "Modify", before = b, after = a } end
    elseif json.is_array(a) or #a > 0 then
      local children = list_differences(a, b)
      if #children > 0 then changes[#changes + 1] = { path = path, propertyChangeType = "Array", children = children } end
    else
      for _, change in ipairs(differences(a, b, path .. ".")) do changes[#changes + 1] = change end
    end
  end
  return changes
end

local function change_of(item, body_of)
  local ok, body = pcall(body_of, item)
  if not ok then
    if not problem.is(body) then error(body, 0) end
    return { resourceId = item.id, changeType = "Unsupported", unsupportedReason = body.message }
  end
  body.id, body.name, body.type, body.apiVersion = item.id, item.name, item.type, item.api
  if type(body.location) == "string" then body.location = body.location:lower():gsub("%s+", "") end
  local record = records.get(item.id)
  if not record then return { resourceId = item.id, changeType = "Create", after = body } end
  local before = records.show(record)
  local delta = differences({ location = body.location, tags = body.tags, sku = body.sku, identity = body.identity, zones = body.zones,
    properties = body.properties }, before, "")
  before.apiVersion = item.api
  return { resourceId = record.id, changeType = #delta > 0 and "Modify" or "NoChange", before = before, after = body,
    delta = #delta > 0 and delta or nil }
end

--- The answer: `items` of the template, `body_of` one as it would be sent; `others` of the group, and the deployment's mode.
function what_if.answer(items, body_of, others, mode)
  local changes = json.array {}
  for _, item in ipairs(items) do
    if not item.existing then changes[#changes + 1] = change_of(item, body_of) end
  end
  for _, record in ipairs(others) do
    changes[#changes + 1] = { resourceId = record.id, changeType = mode == "Complete" and "Delete" or "Ignore", before = records.show(record) }
  end
  return { status = "Succeeded", properties = { changes = changes } }
end

return what_if
