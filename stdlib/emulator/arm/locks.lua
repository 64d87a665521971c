--- Microsoft.Authorization/locks: what keeps a scope and all below it from being deleted, or from being written at all.
local records = require "emulator.arm.records"
local problem, style = require "emulator.arm.problem", require "emulator.arm.style"

local raise = problem.raise
local LOCK = "Microsoft.Authorization/locks"
local LEVELS = { cannotdelete = "CanNotDelete", readonly = "ReadOnly", notspecified = "NotSpecified" }

records.define(LOCK, {
  style = style.plain, stateless = true, located = false, extension = true, uses = false, longest = 260,
  prepare = function(body)
    local p = body.properties
    local level = LEVELS[tostring(p.level):lower()]
    if not level then
      raise(400, "InvalidLockLevel", ("The lock level '%s' is not valid: it is CanNotDelete, ReadOnly or NotSpecified."):format(
        tostring(p.level)), { gateway = true })
    elseif p.notes and #tostring(p.notes) > 512 then
      raise(400, "InvalidLockNotes", "The notes of a lock have at most 512 characters.", { gateway = true })
    end
    p.level = level
  end,
  list = function(id)
    local items, scope = {}, id.scope:lower()
    for record in records.each(LOCK) do
      local own = record.id:lower():match("^(.*)/providers/microsoft.authorization/locks/[^/]+$")
      if own == scope or own:sub(1, #scope + 1) == scope .. "/" or scope:sub(1, #own + 1) == own .. "/" then
        items[#items + 1] = records.show(record)
      end
    end
    return items
  end,
})

-- Locks by the scope in small letters; known anew whenever one changed.
local by_scope

local function known()
  if by_scope then return by_scope end
  by_scope = {}
  for record in records.each(LOCK) do
    local scope = record.id:lower():match("^(.*)/providers/microsoft.authorization/locks/[^/]+$")
    if record.body.properties.level ~= "NotSpecified" then
      by_scope[scope] = by_scope[scope] == "ReadOnly" and "ReadOnly" or record.body.properties.level
    end
  end
  return by_scope
end

records.on_change(function(record)
  if record.type == LOCK then by_scope = nil end
end)

local VERBS = { PUT = "write", PATCH = "write", POST = "action", DELETE = "delete" }

--- Raises when a lock forbids a request: one of the path itself or of what it stands below, or, where something is
-- deleted, of what stands below it.
local function check(method, path)
  local verb = VERBS[method]
  local own = path:lower()
  if not verb or own:find("/providers/microsoft%.authorization/") then return end
  local held = {}
  for scope, level in pairs(known()) do
    local above = own == scope or own:sub(1, #scope + 1) == scope .. "/"
    local below = verb == "delete" and scope:sub(1, #own + 1) == own .. "/"
    if (above or below) and (level == "ReadOnly" or verb == "delete") then held[#held + 1] = scope end
  end
  if not held[1] then return end
  table.sort(held)
  raise(409, "ScopeLocked",
    ("The scope '%s' cannot perform %s operation because following scope(s) are locked: '%s'. Please remove the lock "
    .. "and try again."):format(path, verb, table.concat(held, "','")), { gateway = true })
end

return { check = check }
