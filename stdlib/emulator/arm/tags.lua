--- Microsoft.Resources/tags: the tags of a resource or a group by themselves, whichever its type is.
local json = require "json"
local records, requests = require "emulator.arm.records", require "emulator.arm.requests"
local problem, value = require "emulator.arm.problem", require "emulator.arm.value"
local preflight = require "emulator.arm.preflight"

local MOST = 50

local function tagged(id)
  local record = id.name:lower() == "default" and records.get(id.scope)
  if not record then
    problem.raise(404, "ResourceNotFound", ("The resource '%s' could not be found."):format(id.scope), { gateway = true })
  end
  return record
end

local function shown(record)
  local tags = record.body.tags or {}
  return { status = 200, json = { id = record.id .. "/providers/Microsoft.Resources/tags/default", name = "default",
    type = "Microsoft.Resources/tags", properties = { tags = tags } } }
end

local function sent_of(ctx)
  local body = requests.body_of(ctx)
  local tags = value.at(body, "properties.tags")
  if type(tags) ~= "table" then
    problem.raise(400, "InvalidRequestContent", "The request content was invalid: it has no 'properties.tags'.", { gateway = true })
  end
  return tags, body.operation
end

local function keep(record, tags)
  local count = 0
  for _ in pairs(tags) do count = count + 1 end
  if count > MOST then
    problem.raise(400, "InvalidTagCount", ("A resource has at most %d tags."):format(MOST), { gateway = true })
  end
  record.body.tags = next(tags) and tags or nil
  records.new_etag(record)
  records.save(record)
  return shown(record)
end

local answers, PATH = preflight.answers, " microsoft.resources/tags/*"

answers["GET" .. PATH] = function(id) return shown(tagged(id)) end
answers["PUT" .. PATH] = function(id, ctx) return keep(tagged(id), (sent_of(ctx))) end
answers["DELETE" .. PATH] = function(id)
  keep(tagged(id), {})
  return { status = 200 }
end

answers["PATCH" .. PATH] = function(id, ctx)
  local record = tagged(id)
  local sent, operation = sent_of(ctx)
  local tags = value.copy(record.body.tags or {})
  operation = tostring(operation):lower()
  if operation == "replace" then return keep(record, sent) end
  if operation ~= "merge" and operation ~= "delete" then
    problem.raise(400, "InvalidRequestContent", "The 'operation' of tags is Merge, Replace or Delete.", { gateway = true })
  end
  for name, text in pairs(sent) do
    for key in pairs(tags) do
      if key:lower() == name:lower() then tags[key] = nil end
    end
    if operation == "merge" and text ~= json.null then tags[name] = text end
  end
  return keep(record, tags)
end

return {}
