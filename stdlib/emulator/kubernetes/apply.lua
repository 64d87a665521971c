--- Who owns which field: server-side apply, and the record of other writes, in `metadata.managedFields`.
local json = require "json"
local value = require "emulator.kubernetes.value"
local status = require "emulator.kubernetes.status"
local fieldset = require "emulator.kubernetes.fieldset"

local apply = {}

local unowned = {
  { "f:apiVersion" }, { "f:kind" }, { "f:metadata", "." }, { "f:metadata", "f:name" }, { "f:metadata", "f:namespace" },
  { "f:metadata", "f:creationTimestamp" }, { "f:metadata", "f:selfLink" }, { "f:metadata", "f:uid" },
  { "f:metadata", "f:clusterName" }, { "f:metadata", "f:generation" }, { "f:metadata", "f:managedFields" },
  { "f:metadata", "f:resourceVersion" }, { "f:metadata", "f:deletionTimestamp" },
  { "f:metadata", "f:deletionGracePeriodSeconds" },
}

-- Objects that Go's types write even when empty never count as added.
local always = { metadata = true, spec = true, status = true, strategy = true, template = true }

local function quiet(set, depth)
  for pe, node in next, set do
    if pe:sub(1, 2) == "f:" and always[pe:sub(3)] and next(node, next(node)) ~= nil then node["."] = nil end
    if pe ~= "." and depth < 4 then quiet(node, depth + 1) end
  end
  return set
end

--- The managers of an object: a list of {manager, operation, apiVersion, subresource, time, set}.
local function decode(list)
  local out = {}
  for _, entry in ipairs(list or {}) do
    out[#out + 1] = { manager = entry.manager, operation = entry.operation, apiVersion = entry.apiVersion,
      subresource = entry.subresource, time = entry.time, set = fieldset.decode(entry.fieldsV1) }
  end
  return out
end

local function encode(managers)
  table.sort(managers, function(a, b)
    if a.operation ~= b.operation then return a.operation < b.operation end
    if a.time ~= b.time then return (a.time or "") < (b.time or "") end
    if a.manager ~= b.manager then return a.manager < b.manager end
    return (a.subresource or "") < (b.subresource or "")
  end)
  local out = json.array {}
  for _, m in ipairs(managers) do
    out[#out + 1] = { manager = m.manager, operation = m.operation, apiVersion = m.apiVersion, time = m.time,
      fieldsType = "FieldsV1", fieldsV1 = fieldset.encode(m.set), subresource = m.subresource }
  end
  return #out > 0 and out or nil
end

local function find(managers, who)
  for i, m in ipairs(managers) do
    if m.manager == who.manager and m.operation == who.operation and m.apiVersion == who.apiVersion
      and (m.subresource or "") == (who.subresource or "") then
      return m, i
    end
  end
end

local function described(m)
  local text = '"' .. m.manager .. '"'
  if m.subresource then text = text .. ' with subresource "' .. m.subresource .. '"' end
  if m.operation == "Update" then text = text .. " using " .. m.apiVersion end
  return text
end

local function conflict_error(conflicts)
  local causes, lines, count = json.array {}, {}, 0
  table.sort(conflicts, function(a, b) return described(a.manager) < described(b.manager) end)
  local first
  for _, c in ipairs(conflicts) do
    lines[#lines + 1] = "conflicts with " .. described(c.manager) .. ":"
    for _, path in ipairs(fieldset.paths(c.set)) do
      count = count + 1
      first = first or described(c.manager) .. ": " .. path
      causes[count] = { reason = "FieldManagerConflict", message = "conflict with " .. described(c.manager), field = path }
      lines[#lines + 1] = "- " .. path
    end
  end
  local text = count == 1 and "Apply failed with 1 conflict: conflict with " .. first
    or ("Apply failed with %d conflicts: %s"):format(count, table.concat(lines, "\n"))
  return status.new(409, "Conflict", text, { causes = causes })
end

--- Takes what one writer changed away from the others; returns the list of conflicts instead when not forced.
local function settle(managers, self, added, modified, removed, force)
  local changed = fieldset.union(added, modified)
  local conflicts = {}
  for _, m in ipairs(managers) do
    if m ~= self then
      local both = fieldset.intersection(m.set, changed)
      if next(both) then conflicts[#conflicts + 1] = { manager = m, set = both } end
    end
  end
  if #conflicts > 0 and not force then return conflicts end
  for _, c in ipairs(conflicts) do c.manager.set = fieldset.difference(c.manager.set, c.set) end
  for _, m in ipairs(managers) do
    if next(removed) and m ~= self then m.set = fieldset.difference(m.set, removed) end
  end
end

local function without_empty(managers)
  local out = {}
  for _, m in ipairs(managers) do
    if next(m.set) then out[#out + 1] = m end
  end
  return out
end

local function base(new, old)
  local list = new.metadata.managedFields
  if list and #list == 1 and next(list[1]) == nil then return nil end
  if not list or #list == 0 then list = old and old.metadata.managedFields end
  return decode(list)
end

--- Records a write that is not an apply: sets new.metadata.managedFields. who: {manager=, apiVersion=, subresource=, zero=}; zero
-- is what the kind's Go type writes of an object without fields, for kinds that have one: that is nobody's.
-- A list that the writer changed is taken as it is; `[{}]` forgets all owners.
function apply.update(type_, old, new, who)
  local managers = base(new, old)
  if not managers then new.metadata.managedFields = nil; return new end
  local added, modified, removed = fieldset.compare(type_, old or who.zero or { metadata = {} }, new)
  for _, set in ipairs { added, modified, removed } do
    set["."] = nil
    fieldset.strip(set, unowned)
  end
  if who.zero then quiet(added, 0) end
  if not (next(added) or next(modified) or next(removed)) then
    new.metadata.managedFields = encode(managers)
    return new
  end
  local me = { manager = who.manager, operation = "Update", apiVersion = who.apiVersion, subresource = who.subresource }
  local mine = find(managers, me)
  if not mine then
    mine = me
    mine.set = {}
    managers[#managers + 1] = mine
  end
  settle(managers, mine, added, modified, removed, true)
  mine.set = fieldset.difference(fieldset.union(fieldset.union(mine.set, modified), added), removed)
  mine.time = value.time()
  new.metadata.managedFields = encode(without_empty(managers))
  return new
end

local function stripped(type_, config, reset)
  local set = fieldset.of(type_, config)
  fieldset.strip(set, unowned)
  for _, path in ipairs(reset or {}) do set[path] = nil end
  set["."] = nil
  return set
end

--- Lays an applied configuration over the live object (nil: it does not exist) and returns the new object with its owners.
-- who: {manager=, apiVersion=, subresource=, force=, reset={"f:status"}}: `reset` are parts this endpoint never sets.
-- Raises the conflict when another manager owns what would change.
function apply.apply(type_, live, config, who)
  config = value.copy(config)
  if config.metadata then config.metadata.managedFields = nil end
  for _, path in ipairs(who.reset or {}) do config[path:sub(3)] = nil end
  local managers = decode(live and live.metadata.managedFields)
  if live and #managers == 0 and not live.metadata.managedFields then
    managers[1] = { manager = "before-first-apply", operation = "Update", apiVersion = who.apiVersion,
      time = value.time(), set = stripped(type_, live, who.reset) }
  end
  local me = { manager = who.manager, operation = "Apply", apiVersion = who.apiVersion, subresource = who.subresource }
  local mine = find(managers, me)
  if not mine then
    for _, m in ipairs(managers) do     -- the same manager that applied another version of this kind
      if m.manager == who.manager and m.operation == "Apply" and (m.subresource or "") == (who.subresource or "") then mine = m end
    end
  end
  local last = mine and mine.set or {}
  local set = stripped(type_, config, who.reset)
  if not mine then
    mine = me
    managers[#managers + 1] = mine
  end
  local before = mine.set
  mine.set = set
  local merged = live and fieldset.merge(type_, live, config) or config
  local doomed, owned = fieldset.difference(last, set), fieldset.union(set, {})
  if next(doomed) then
    for _, m in ipairs(managers) do
      if m ~= mine then owned = fieldset.union(owned, m.set) end
    end
    for _, path in ipairs { "f:apiVersion", "f:kind" } do owned[path] = { ["."] = true } end
    merged = fieldset.remove(type_, merged, doomed, owned)
  end
  if live then merged.metadata = merged.metadata or value.copy(live.metadata) end
  local added, modified, removed = fieldset.compare(type_, live or { metadata = {} }, merged)
  for _, s in ipairs { added, modified, removed } do
    s["."] = nil
    fieldset.strip(s, unowned)
  end
  local conflicts = settle(managers, mine, added, modified, removed, who.force)
  if conflicts then error(conflict_error(conflicts), 0) end
  if not (before and value.equal(before, mine.set)) then mine.time = value.time() end
  mine.apiVersion = who.apiVersion
  merged = value.copy(merged)
  merged.metadata.managedFields = encode(without_empty(managers))
  return merged
end

return apply
