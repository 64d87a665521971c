--- What ARM keeps: records by id, each of a type, and who mentions whom.
-- A type is a statement (network.lua, compute.lua, ...); one that is not stated is kept as it is given.
--
-- A statement:
--   style                     how its service answers (style.lua); default plain
--   kind                      the kind (stdlib/azure) that states names, choices, bounds, what is fixed and read-only
--   name, shortest, longest   a pattern for names, and their length
--   seconds                   nominal time of create, update, delete
--   shown_type                the type in the case in which its service writes it
--   given = function(parent)  there with its parent, without being made: its `properties` then; `given_name`: default unless said
--   located = false           needs no location           stateless = true   shows no provisioningState
--   children = {list = spec}  inline children of `properties`: {type=, defaults=, prepare(element, ctx), show(element, record)};
--                             `alone`: defaults of one that is put by itself, `settled`: shows no state of its parent
--   uses = false              names others without keeping them in use
--   fixed = {"sku.name", ..}  may not change
--   kept = {"subnets", ..}    of `properties`: absent in a PUT means unchanged; `partial = true`: every absent top-level key
--   prepare(body, ctx)        checks and completes a body (ctx.old is the record that was there, ctx.private what is not shown)
--   began(record, ctx)        after the write was accepted; may not wait
--   provision(record, op)     when the operation's time is over; may wait
--   busy(record)              raises when it may not be deleted
--   destroy(record, op)       the thing behind it is to vanish; may wait
--   show(record, body)        adds what is computed
--   answers = {GET = function(id, ctx)}  answers instead; nil leaves it to the rest
--   actions = {start = {seconds=, run(record, input, ctx, op), sync=true, unborn=true (needs no record)}}      views = {instanceView = function(record, ctx)}
local json, crypto, task = require "json", require "crypto", require "task"
local world = require "emulator.world"
local contract, style, value = require "emulator.arm.contract", require "emulator.arm.style", require "emulator.arm.value"

local records = { types = {} }

--- The regions there are.
records.locations = {}
for name in ([[australiaeast australiasoutheast brazilsouth canadacentral canadaeast centralindia centralus eastasia eastus
  eastus2 francecentral germanywestcentral israelcentral italynorth japaneast japanwest koreacentral mexicocentral
  newzealandnorth northcentralus northeurope norwayeast polandcentral qatarcentral southafricanorth southcentralus southeastasia
  southindia spaincentral swedencentral switzerlandnorth uaenorth uksouth ukwest westcentralus westeurope westindia westus
  westus2 westus3]]):gmatch("%S+") do records.locations[name] = true end

--- States a type. `inline = {parent type, list}` makes it a child that lives in its parent's body.
function records.define(type_name, statement)
  statement.type = type_name
  statement.style = statement.style or style.plain
  statement.seconds = statement.seconds or {}
  if statement.kind then contract.apply(statement) end
  records.types[type_name:lower()] = statement
  for list, spec in pairs(statement.children or {}) do
    if spec.kind then contract.apply(spec) end
    spec.type = spec.type or (type_name .. "/" .. list)
    records.types[spec.type:lower()] = { type = spec.type, inline = { type_name, list }, style = statement.style,
      seconds = spec.seconds or statement.seconds, spec = spec, located = false }
  end
  return statement
end

-- Providers whose types mostly say something of other resources and have no place of their own.
local EXTENDS = { ["microsoft.authorization"] = true, ["microsoft.resources"] = true, ["microsoft.consumption"] = true,
  ["microsoft.costmanagement"] = true, ["microsoft.policyinsights"] = true, ["microsoft.security"] = true }

local function statement_of(type_name)
  local known = records.types[type_name:lower()]
  if known then return known end
  local namespace = type_name:match("^[^/]+")
  known = records.define(type_name, { generic = true, style = style.of(namespace),
    located = select(2, type_name:gsub("/", "")) == 1 and not EXTENDS[namespace:lower()] })
  return known
end
records.statement = statement_of

local function all() return world.store:all("arm") end

--- The record of an id, or nil.
function records.get(id) return all()[id:lower()] end

--- An inline child by id: the element, its parent's record, the list's name.
function records.child(id)
  local parent_id, list, name = id:match("^(.*)/([^/]+)/([^/]+)$")
  local parent = parent_id and records.get(parent_id)
  if not parent then return nil end
  for key in pairs(statement_of(parent.type).children or {}) do
    if key:lower() == list:lower() then
      return value.named(parent.body.properties[key], name), parent, key
    end
  end
end

--- All records of a type, oldest first; `within`: only ids that start so.
function records.each(type_name, within)
  local found = {}
  within = within and within:lower()
  for key, record in pairs(all()) do
    if (not type_name or record.type:lower() == type_name:lower()) and (not within or key:sub(1, #within) == within) then
      found[#found + 1] = record
    end
  end
  table.sort(found, function(a, b)
    if a.serial ~= b.serial then return a.serial < b.serial end
    return a.id < b.id
  end)
  local i = 0
  return function()
    i = i + 1
    return found[i]
  end
end

-- References: who mentions whom. Kept by target, so that "in use" and the read-only back references are one lookup.

local mentions, mentioned_by = {}, {}

local function collect(from, element, key, found, children)
  if type(from) ~= "table" then return end
  local here = element
  if type(from.id) == "string" and from.name and from.properties then here = from.id end
  if type(from.id) == "string" and from.id:sub(1, 15):lower() == "/subscriptions/" and not (from.name and from.properties) then
    found[#found + 1] = { to = from.id:lower(), from = element, key = key, id = from.id }
  end
  for name, item in pairs(from) do
    if type(item) == "table" then collect(item, here, type(name) == "string" and name or key, found, children) end
  end
end

--- Whom a body mentions: a list of `{to= (in small letters), id=, from= (id of the element that does), key=}`.
function records.references(id, body)
  local found = {}
  collect(body.properties, id, nil, found)
  for identity in pairs(body.identity and body.identity.userAssignedIdentities or {}) do
    found[#found + 1] = { to = identity:lower(), from = id, key = "userAssignedIdentities", id = identity }
  end
  return found
end

local function index(record)
  local own = record.id:lower()
  for _, entry in ipairs(mentions[own] or {}) do
    if mentioned_by[entry.to] then mentioned_by[entry.to][entry] = nil end
  end
  mentions[own] = nil
  if not records.get(own) then return end
  if statement_of(record.type).uses == false then return end
  local found = records.references(record.id, record.body)
  for _, entry in ipairs(found) do
    entry.record = own
    mentioned_by[entry.to] = mentioned_by[entry.to] or {}
    mentioned_by[entry.to][entry] = true
  end
  mentions[own] = found
end

--- Who mentions an id, as a sorted list of `{record=, from= (id of the element that does), key=}`.
function records.users(id, key)
  local found = {}
  for entry in pairs(mentioned_by[id:lower()] or {}) do
    if not key or entry.key == key then found[#found + 1] = { record = records.get(entry.record), from = entry.from, key = entry.key } end
  end
  table.sort(found, function(a, b) return a.from < b.from end)
  return found
end

--- The ids of those who mention an id, as ARM lists them; nil when nobody does.
function records.back(id, key, only)
  local list = {}
  for _, user in ipairs(records.users(id, key)) do
    if not only or user.from:lower():find(only, 1, true) then list[#list + 1] = { id = user.from } end
  end
  return #list > 0 and json.array(list) or nil
end

local changed_hooks = {}
--- Calls a function whenever a record was saved or removed.
function records.on_change(fn) changed_hooks[#changed_hooks + 1] = fn end

--- Keeps a record that was changed.
function records.save(record)
  world.store:put("arm", record.id:lower(), record)
  index(record)
  for _, fn in ipairs(changed_hooks) do fn(record) end
end

--- Forgets a record (nothing behind it is touched).
function records.remove(record)
  world.store:delete("arm", record.id:lower())
  index(record)
  for _, fn in ipairs(changed_hooks) do fn(record, true) end
end

--- Gives a record that was changed its next etag, in its service's form.
function records.new_etag(record)
  local kind = statement_of(record.type).style.etag
  record.revision = (record.revision or 0) + 1
  if kind == "weak" then
    record.etag = ('W/"%s"'):format(crypto.uuid())
  elseif kind == "counter" then
    record.etag = ('"%d"'):format(record.revision)
  elseif kind == "guid" then
    record.etag = ('"%s"'):format(crypto.uuid())
  elseif kind == "bare" then
    record.etag = crypto.uuid()
  elseif kind == "hex" then
    record.etag = ('"0x%s"'):format(crypto.uuid():gsub("-", ""):sub(1, 15):upper())
  end
end

--- A new record, not yet kept. `id` in its final form.
function records.new(type_name, id, body)
  local serial = (world.store:get("world", "serial") or 0) + 1
  world.store:put("world", "serial", serial)
  local record = { id = id, type = type_name, name = id:match("[^/]+$"), body = body, private = {}, state = "Succeeded",
    created = task.time(), guid = crypto.uuid(), serial = serial }
  records.new_etag(record)
  return record
end

--- Gives inline children their ids.
function records.place_children(record)
  for list, spec in pairs(statement_of(record.type).children or {}) do
    for _, element in ipairs(record.body.properties[list] or {}) do
      element.id = ("%s/%s/%s"):format(record.id, list, element.name)
      element.type = not spec.untyped and spec.type or nil
      element.etag = nil
    end
  end
end

local function show_element(record, spec, element)
  element.etag = record.etag
  element.properties = element.properties or {}
  element.properties.provisioningState = record.state == "Deleting" and "Deleting" or element.state
    or not spec.settled and record.state or "Succeeded"
  element.state = nil
  if spec.show then spec.show(element, record) end
  return element
end

--- A record as ARM shows it.
function records.show(record, ctx)
  local statement = statement_of(record.type)
  local body = value.copy(record.body)
  body.id, body.name = record.id, record.name
  if not statement.untyped then body.type = statement.shown_type or statement.type end
  body.properties = body.properties or {}
  if statement.style.etag then body.etag = record.etag end
  if not statement.stateless then body.properties.provisioningState = record.state end
  for list, spec in pairs(statement.children or {}) do
    for _, element in ipairs(body.properties[list] or {}) do show_element(record, spec, element) end
  end
  for id in pairs(value.at(body, "identity.userAssignedIdentities") or {}) do
    local p = records.get(id) and records.get(id).body.properties
    if p then body.identity.userAssignedIdentities[id] = { principalId = p.principalId, clientId = p.clientId } end
  end
  if statement.show then statement.show(record, body, ctx) end
  return body
end

--- Knows again who mentions whom, after a start.
function records.restore()
  for _, record in pairs(all()) do index(record) end
end

return records
