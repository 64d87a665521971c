--- From one statement of a resource type to a kind: ARM body, observed fields, identity, verbs.
--
-- A statement is a kind whose fields say where they stand in ARM's body:
--
--     arm = "properties.addressSpace.addressPrefixes"   path in the body of this level
--     to = function(value, f) return arm_value end      when ARM's form differs from the recipe's
--     write_only = true                                 ARM never returns it
--
-- The emulator checks bodies by the same words (emulator/arm/contract.lua). Where ARM and the recipe differ, a field says:
--
--     arm_also = { "Basic" }                            ARM takes these too
--     arm_optional, arm_required = true                 a recipe needs it and ARM does not; or the other way
--     arm_changes = true                                a recipe replaces for it, ARM changes it in place
--     arm_at = "properties.storageProfile.osDisk"       where it stands, though the page's own `body` writes it
--     arm_code = "SecurityRuleInvalidPriority"          ARM's code for a value that cannot be
--
-- A resource field is written as `{id = ...}` (or as the bare id with `arm_id = true`). Lists of objects with a `key` are
-- compared by that key; `owned_elements` leaves the elements of others alone and writes them back with If-Match.
local arm, json, task = require "azure.arm", require "json", require "task"
local kind, field = require "kind", require "field"
local fail = require "fail"

local RACES = 20 -- how often another's write may come between our reading and writing

local function split(path)
  local steps = {}
  for step in path:gmatch("[^.]+") do steps[#steps + 1] = step end
  return steps
end

local function set(body, path, value)
  local steps = split(path)
  for i = 1, #steps - 1 do
    body[steps[i]] = body[steps[i]] or {}
    body = body[steps[i]]
  end
  body[steps[#steps]] = value
end

local function get(body, path)
  for step in path:gmatch("[^.]+") do
    if type(body) ~= "table" then return nil end
    body = body[step]
  end
  if body == json.null then return nil end
  return body
end

local encode

local function encode_object(fields, value, f)
  local body = {}
  for name, spec in pairs(fields) do
    local item = value[name]
    if item ~= nil and spec.arm then set(body, spec.arm, encode(spec, item, f)) end
  end
  return body
end

--- A field's value in ARM's form.
function encode(spec, value, f)
  if spec.to then return spec.to(value, f) end
  if spec.type == "resource" then return spec.arm_id and value.id or { id = value.id } end
  if spec.type == "list" then
    local items = {}
    for i, item in ipairs(value) do items[i] = encode(spec.elem, item, f) end
    return json.array(items)
  end
  if spec.type == "cidr" and spec.list then
    return json.array(type(value) == "table" and value or { value })
  end
  if spec.type == "object" and spec.fields then return encode_object(spec.fields, value, f) end
  return value
end

local function is_id(text) return type(text) == "string" and text:sub(1, 1) == "/" end

local matches

local function match_list(want, got, key)
  if type(got) ~= "table" then return #want == 0 end
  if key then
    local by_key = {}
    for _, item in ipairs(got) do by_key[tostring(get(item, key)):lower()] = item end
    for _, item in ipairs(want) do
      local other = by_key[tostring(get(item, key)):lower()]
      if not other or not matches(item, other) then return false end
    end
    return true, #want == #got
  end
  if #want ~= #got then return false end
  for i, item in ipairs(want) do
    if not matches(item, got[i]) then return false end
  end
  return true
end

--- Whether what ARM shows holds all that we say: objects by our keys, ids without case.
function matches(want, got)
  if type(want) == "table" then
    if type(got) ~= "table" then return next(want) == nil and got == nil end
    if json.is_array(want) or #want > 0 then
      local key = type(want[1]) == "table" and (want[1].name and "name" or want[1].id and "id") or nil
      local same, complete = match_list(want, got, key)
      return same and complete ~= false
    end
    for name, value in pairs(want) do
      if not matches(value, got[name]) then return false end
    end
    return true
  end
  if is_id(want) and is_id(got) then return want:lower() == got:lower() end
  return want == got
end

local function decode_object(fields, body)
  local value = {}
  for name, spec in pairs(fields) do
    if spec.arm and not spec.to then
      local item = get(body, spec.arm)
      if type(item) == "table" and spec.type == "object" and spec.fields then item = decode_object(spec.fields, item) end
      value[name] = item
    end
  end
  return value
end

--- ARM's value in the recipe's form, for showing a difference.
local function decode(spec, value)
  if value == nil then return nil end
  if spec.from then return spec.from(value) end
  if spec.type == "list" and spec.elem and spec.elem.type == "object" and type(value) == "table" then
    local items = {}
    for i, item in ipairs(value) do items[i] = decode_object(spec.elem.fields or {}, item) end
    return json.array(items)
  end
  if spec.type == "object" and spec.fields and type(value) == "table" then return decode_object(spec.fields, value) end
  return value
end

--- The elements that are there, by name: ours as we said them where they match, the others as ARM shows them. The engine
-- leaves alone what was never ours.
local function observe_elements(spec, want, encoded, got)
  got = type(got) == "table" and got or {}
  local shown, mine, said = decode(spec, json.array(got)), {}, {}
  for i, item in ipairs(encoded) do mine[item.name:lower()], said[item.name:lower()] = item, want[i] end
  local list = json.array {}
  for i, item in ipairs(got) do
    local key = tostring(item.name):lower()
    local element = shown[i]
    if mine[key] and matches(mine[key], item) then
      element = said[key]
    elseif mine[key] then
      for field_name, value in pairs(said[key]) do
        if element[field_name] == nil then element[field_name] = value end
      end
      element.name = said[key].name
    end
    list[i] = element
  end
  return list
end

--- What of the declared fields the resource shows: our own value where it matches, else ARM's.
local function observe(statement, f, body)
  local fields = {}
  for name, spec in pairs(statement.fields) do
    local want = f[name]
    if want ~= nil and spec.arm and not spec.write_only then
      local encoded = encode(spec, want, f)
      local got = get(body, spec.arm)
      if spec.owned_elements then
        fields[name] = observe_elements(spec, want, encoded, got)
      elseif matches(encoded, got) then
        fields[name] = want
      else
        local shown = decode(spec, got)
        fields[name] = shown == nil and json.null or shown
      end
    elseif want ~= nil and not spec.write_only then
      fields[name] = want
    end
  end
  return fields
end

local function outputs_of(statement, body)
  local values = {}
  for name, spec in pairs(statement.outputs) do
    if spec.arm then values[name] = get(body, spec.arm) end
    if spec.read then values[name] = spec.read(body) end
  end
  values.id = values.id or body.id
  return values
end

--- Removes what ARM refuses or ignores in a PUT.
local function strip(body)
  body.etag, body.systemData = nil, nil
  if body.properties then body.properties.provisioningState = nil end
  return body
end

local function clear(body, path)
  local steps = split(path)
  for i = 1, #steps - 1 do
    body = body[steps[i]]
    if type(body) ~= "table" then return end
  end
  body[steps[#steps]] = nil
end

local function overlay(base, change)
  for key, value in pairs(change) do
    if type(value) == "table" and type(base[key]) == "table" and not json.is_array(value) and #value == 0 then
      overlay(base[key], value)
    else
      base[key] = value
    end
  end
  return base
end

--- Puts our elements into the list that is there, by name; `gone` are names that were ours and are no longer declared.
local function merge_elements(current, ours, gone)
  local list, place = {}, {}
  for _, item in ipairs(current or {}) do
    if not gone[tostring(item.name):lower()] then
      list[#list + 1] = item
      place[tostring(item.name):lower()] = #list
    end
  end
  for _, item in ipairs(ours) do
    local at = place[item.name:lower()]
    if at then
      list[at] = overlay(list[at], item)
    else
      list[#list + 1] = item
    end
  end
  return json.array(list)
end

local function names_of(value)
  local names = {}
  for _, item in ipairs(type(value) == "table" and value or {}) do
    if type(item) == "table" and item.name then names[item.name:lower()] = true end
  end
  return names
end

local function full_body(statement, f, current, prior)
  local body = current and strip(current) or {}
  for _, path in ipairs(statement.read_only or {}) do clear(body, path) end
  for name, spec in pairs(statement.fields) do
    local value = f[name]
    if spec.arm then
      local encoded
      if value ~= nil then encoded = encode(spec, value, f) end
      if spec.owned_elements then
        local gone = names_of(prior and prior.fields and prior.fields[name])
        for own in pairs(names_of(value)) do gone[own] = nil end
        set(body, spec.arm, merge_elements(current and get(current, spec.arm), encoded or {}, gone))
      elseif encoded ~= nil then
        local there = get(body, spec.arm)
        if type(there) == "table" and type(encoded) == "table" and not json.is_array(encoded) and not spec.whole then
          overlay(there, encoded)
        else
          set(body, spec.arm, encoded)
        end
      end
    end
  end
  if statement.body then statement.body(f, body, current) end
  return body
end

local function common_fields(statement)
  local fields = statement.fields
  fields.name = fields.name or field.string { required = true, replace = true, default_name = true,
    match = statement.match or "^[%w_][%w_.-]*$", min = statement.shortest, max = statement.longest,
      doc = "The name in Azure; the resource's own name unless given." }
  if statement.parent == "group" then
    fields.group = field.resource { "azure.resource_group", "azure.existing", required = true, replace = true,
      doc = "The resource group." }
  end
  if statement.located then
    fields.location = field.string { replace = true, arm = "location", doc = "The region; the group's unless given.",
      to = function(value) return (value:lower():gsub("%s+", "")) end }
  end
  if statement.tagged then
    fields.tags = field.map { field.string {}, arm = "tags", doc = "Tags; those that others add are left alone." }
  end
end

-- What the state knows is read where it is, and compared with what is declared by then: behind the id of another name or parent there is
-- nothing yet.
local function read_where_it_is(statement, read, ctx)
  local prior = ctx.prior
  local declared = prior and prior.id and prior.fields and statement.identity(ctx.fields, ctx.target)
  if not declared or declared:lower() == prior.id:lower() then return read(ctx) end
  local seen = read(setmetatable({ fields = prior.fields }, { __index = ctx }))
  if seen then seen.outputs.id = prior.id end
  return seen
end

-- The changes of which one forces replacement by its values, or nil.
local function forced_changes(forces, seen, fields)
  local replaces = {}
  for name, is in pairs(forces) do
    local old, new = seen.fields[name], fields[name]
    if new ~= nil and old ~= new and is(old, new) then replaces[name] = true end
  end
  if not next(replaces) then return nil end
  -- A diff of our own stands instead of the engine's, so it names the other changes too.
  local changes = {}
  for name, new in pairs(fields) do
    local old = seen.fields[name]
    if old ~= new then changes[#changes + 1] = { path = name, old = old, new = new, replace = replaces[name] } end
  end
  return changes
end

-- A resource whose last operation failed may show all that it was given and yet not be there in full: it is written again.
local function mending_changes(seen, fields)
  local changes = { { path = "provisioningState", old = seen.failed, new = "Succeeded" } }
  for name, new in pairs(fields) do
    local old = seen.fields[name]
    if old ~= nil and not matches(new, old) then changes[#changes + 1] = { path = name, old = old, new = new } end
  end
  return changes
end

local function reading(statement)
  local read = statement.read
  return function(ctx)
    local seen = read_where_it_is(statement, read, ctx)
    if not seen then return nil end
    if statement.forces then seen.changes = forced_changes(statement.forces, seen, ctx.fields) or seen.changes end
    if seen.failed and not seen.changes then seen.changes = mending_changes(seen, ctx.fields) end
    seen.failed = nil
    return seen
  end
end

--- Makes the kind. Beyond a kind's own keys a statement has: `type`, `api`, `parent` ("group" or the name of the field
-- that holds the parent resource), `match`, `shortest`, `longest` (of the name), `read_only` (paths that ARM shows and does not
-- take; outputs are so anyhow), `located`, `tagged`, `serial` (a function of the fields: the id whose writes ARM serialises), `body(f, body, current)`, `prepare(ctx, client, f, current)` (before the body is made; may return a function
-- that alters it), `found(ctx, client, body, outputs)` (adds outputs), `made(ctx, client, body)` (after a write),
-- `observed(f, body)` (fields without an `arm` path), `alone` (lists do not show all of it), `listed(id)` (the list in which a plan
-- looks for all of this kind, which it comes to one after the other), `beside(f, client)` (a key and a function that lists all of it,
-- where a better list than the collection's shows those that are read in the same moment), `forces`
-- (field -> function(old, new): whether these values force replacement), `status(ctx, client, body)`,
-- `members(ctx, client, body)`. What `ctx.note` is set to is said when the run is over; where a
-- read sets `ctx.stale`, what is there is not as it would be made now, and with `ctx.rolls` it is replaced when its time comes.
local function define(statement)
  statement.outputs = statement.outputs or {}
  statement.outputs.id = statement.outputs.id or field.string { arm = "id", doc = "The resource id." }
  if statement.located == nil then statement.located = true end
  if statement.tagged == nil then statement.tagged = statement.located end
  statement.parent = statement.parent or "group"
  common_fields(statement)
  local segment = statement.type:match("[^/]+$")

  local function with_defaults(f)
    if statement.located and f.location == nil then
      local parent = f[statement.parent]
      if type(parent) == "table" then f.location = parent.location end
    end
    return f
  end

  -- The kind's own come first; the verbs made below take their names in the page.
  local own_identity, own_predict = statement.identity, statement.predict
  local function identity(f, target)
    if own_identity then return own_identity(f, target) end
    local parent = f[statement.parent]
    if type(parent) ~= "table" or not parent.id or not f.name then return nil end
    if statement.parent == "group" then return ("%s/providers/%s/%s"):format(parent.id, statement.type, f.name) end
    return ("%s/%s/%s"):format(parent.id, segment, f.name)
  end

  local function id_of(ctx) return identity(ctx.fields, ctx.target) or (ctx.prior and ctx.prior.id) end

  local function result(ctx, client, body)
    local outputs = outputs_of(statement, body)
    -- ARM may show an id in another case than it was asked for: ours is the one that others refer to.
    local own = id_of(ctx)
    if own and type(outputs.id) == "string" and outputs.id:lower() == own:lower() then outputs.id = own end
    if statement.found then statement.found(ctx, client, body, outputs) end
    local members = statement.members and statement.members(ctx, client, body) or nil
    return { outputs = outputs, etag = body.etag, members = members, note = ctx.note }
  end

  local function write(ctx, current)
    local client, id = arm.open(ctx.target), id_of(ctx)
    local f = with_defaults(ctx.fields)
    local function put()
      local now = current and client:get(id, statement.api)
      local etag = now and now.etag -- the body is made of `now`, which then has none
      local alter = statement.prepare and statement.prepare(ctx, client, f, now)
      local body = full_body(statement, f, now, ctx.prior)
      if alter then alter(body) end
      return client:put(id, statement.api, body, { etag = etag, ctx = ctx })
    end
    -- Somebody else wrote between our reading and our writing: ours is laid over theirs again.
    local function put_over()
      for _ = 1, RACES do
        local ok, body = pcall(put)
        if ok then return body end
        if not (current and type(body) == "table" and body.code == "PreconditionFailed") then error(body, 0) end
        task.sleep(math.random() * (client.cloud.kind == "emulator" and 0.05 or 1)) -- out of step with who writes all the time
      end
      return put()
    end
    local body
    local key = statement.serial and statement.serial(f)
    if key then body = client:serial(key, put_over) else body = put_over() end
    if statement.made then body = statement.made(ctx, client, body) or body end
    return result(ctx, client, body)
  end

  local verbs = {
    identity = identity,
    predict = function(f, target)
      local id = identity(f, target)
      local known = own_predict and own_predict(f, id) or {}
      known.id = id
      return known
    end,
    read = function(ctx)
      local client, id = arm.open(ctx.target), id_of(ctx)
      local list = ctx.dry and id and statement.listed and statement.listed(id)
      local options = { alone = statement.alone, list = list or nil }
      if statement.beside then options.beside, options.all = statement.beside(ctx.fields, client) end
      local body = client:settled(id, statement.api, options)
      if not body then return nil end
      local read = result(ctx, client, body)
      read.fields = observe(statement, with_defaults(ctx.fields), body)
      if statement.observed then
        for name, value in pairs(statement.observed(ctx.fields, body, ctx)) do read.fields[name] = value end
      end
      read.note, read.stale, read.rolls = ctx.note, ctx.stale, ctx.rolls
      local state = get(body, "properties.provisioningState")
      if state == "Failed" or state == "Canceled" then read.status, read.failed = "failed", state end
      if statement.status then read.status = statement.status(ctx, client, body) or read.status end
      return read
    end,
    create = function(ctx) return write(ctx, false) end,
    update = function(ctx) return write(ctx, true) end,
    delete = function(ctx)
      local client = arm.open(ctx.target)
      local id = ctx.prior and (ctx.prior.id or ctx.prior.outputs.id) or id_of(ctx)
      local key = statement.serial and ctx.fields and statement.serial(ctx.fields)
      local function remove() client:delete(id, statement.api, { ctx = ctx }) end
      if key then client:serial(key, remove) else remove() end
    end,
  }
  for name, verb in pairs(verbs) do statement[name] = statement.verbs and statement.verbs[name] or verb end
  statement.read = reading(statement)
  statement.provider = "azure"
  return kind("azure." .. statement.kind)(statement)
end

return { define = define, encode = encode, observe = observe, matches = matches, get = get, set = set, strip = strip,
  full_body = full_body, fail = fail }
