--- What is where our things are and is not ours: asked of the kinds before a destroy.
--
-- A kind's page may have `foreign = function(ctx)`: a list of `{ id =, what =, remove = function() end }` for one of its
-- resources; `ctx.ours` is the set of all ids that the state knows, in small letters.
local evaluate = require "recipe.evaluate"
local json = require "json"
local mock = require "recipe.mock"

local M = {}

local function ours(rows)
  local ids = {}
  for _, row in ipairs(rows) do
    for _, id in ipairs { row.identity or false, row.outputs.id or false, row.outputs.resource_id or false, row.member or false } do
      if type(id) == "string" then ids[id:lower()] = true end
    end
  end
  return ids
end

local function context(session, row, ids)
  return { fields = row.fields, prior = { id = row.identity or row.outputs.id, fields = row.fields, outputs = row.outputs },
    ours = ids, target = session.target, stack = session.stack, address = row.address, identity = row.identity,
    progress = function() end, record = function() end }
end

--- `session`: what vr_session_describe gives, and `remove`: whether what is found shall go.
function M.find(session)
  local ids, found = ours(session.rows), {}
  for _, row in ipairs(session.rows) do
    local page = not row.member and evaluate.kind(row.kind)
    if page and page.foreign and not mock.stands_for(page) then
      for _, thing in ipairs(page.foreign(context(session, row, ids)) or {}) do
        found[#found + 1] = { address = row.address, id = thing.id, what = thing.what or thing.id }
        if session.remove and thing.remove then thing.remove() end
      end
    end
  end
  return json.array(found)
end

return M
