--- Mocked kinds: with VMRUN_MOCK=FILE nothing is touched. What a verb would have made is kept in that file, and outputs are those that it
-- names, what the kind predicts, or made up from the address. `vmrun test` uses it.
--
-- FILE: `{"outputs": {ADDRESS or KIND: {name: value}}, "world": {ADDRESS: {fields, outputs, members, next}}}`
local fs, json, process = require "fs", require "json", require "process"
local fail = require "fail"

local M = {}

local file = process.env("VMRUN_MOCK")
local state

local function load()
  if not state then
    state = fail.check(json.decode(fail.check(fs.read(file))))
    state.outputs, state.world = state.outputs or {}, state.world or {}
  end
  return state
end

local function save() fail.check(fs.write(file, json.encode(state))) end

-- A value for an output that nobody named.
local function made_up(spec, address, name)
  local kind = spec.type
  if kind == "integer" or kind == "number" then return 0 end
  if kind == "boolean" then return false end
  if kind == "ip" then return "192.0.2.1" end
  if kind == "cidr" then return "192.0.2.0/24" end
  if kind == "list" then return json.array {} end
  if spec.secret then return "secret of " .. address .. "." .. name end -- no part of another text
  if kind == "map" or kind == "object" or kind == "any" then return {} end
  return address .. "." .. name
end

local function named(ctx, page)
  local outputs = load().outputs
  return outputs[ctx.address] or outputs[ctx.address:match("%]/(.*)$") or ""] or outputs[page.name] or {}
end

local function outputs_of(page, ctx)
  local told = {}
  local ok, predicted = pcall(page.predict or function() end, ctx.fields, ctx.target)
  predicted = ok and type(predicted) == "table" and predicted or {}
  local given = named(ctx, page)
  for name, spec in pairs(page.outputs) do
    if not page.collection or name ~= page.collection.output then
      local item = given[name]
      if item == nil then item = predicted[name] end
      if item == nil then item = ctx.fields[name] end
      if item == nil then item = made_up(spec, ctx.address, name) end
      told[name] = item
    end
  end
  return told
end

local function member(page, ctx, number)
  local made = { id = tostring(number) }
  for name, spec in pairs(page.collection.item) do
    if name ~= "id" then made[name] = made_up(spec, ("%s.%d"):format(ctx.address, number), name) end
  end
  return made
end

local verbs = {}

function verbs.read(page, ctx)
  local is = load().world[ctx.address]
  if is then return { fields = is.fields, outputs = is.outputs, members = is.members } end
  if not page.create or page.data then return { fields = ctx.fields, outputs = outputs_of(page, ctx) } end
  return { absent = true }
end

function verbs.create(page, ctx)
  local is = { fields = ctx.fields, outputs = outputs_of(page, ctx), members = page.collection and json.array {} or nil, next = 0 }
  load().world[ctx.address] = is
  save()
  return { outputs = is.outputs }
end

function verbs.update(page, ctx)
  local is = load().world[ctx.address] or { next = 0 }
  is.fields, is.outputs = ctx.fields, outputs_of(page, ctx)
  state.world[ctx.address] = is
  save()
  return { outputs = is.outputs }
end

function verbs.delete(_, ctx)
  load().world[ctx.address] = nil
  save()
  return {}
end

function verbs.add(page, ctx, count)
  local is, added = load().world[ctx.address], {}
  for i = 1, count do
    added[i] = member(page, ctx, is.next)
    table.insert(is.members, added[i])
    is.next = is.next + 1
  end
  save()
  return { members = added }
end

function verbs.remove(_, ctx, id)
  local is = load().world[ctx.address:match("^(.*)%.[%w_]+%[[^%]]*%]$")] -- the address is the member's
  for i = #is.members, 1, -1 do
    if is.members[i].id == id then table.remove(is.members, i) end
  end
  save()
  return {}
end

--- Whether a kind is mocked now. Conditions are real: they are what is tested.
function M.stands_for(page) return file ~= nil and page.name ~= "check.condition" end

--- Runs a verb of a mocked kind.
function M.run(page, verb, ctx, argument) return verbs[verb](page, ctx, argument) end

return M
