--- What recipes see of Lua: no files, no processes, no code from bytes, nothing that differs from run to run.
local now = require "recipe.current"
local value = require "recipe.value"
local near = require "recipe.nearest"

local M = {}

local RANK = { number = 1, string = 2, boolean = 3 }

local function before(a, b)
  local x, y = type(a), type(b)
  if x ~= y then return (RANK[x] or 9) < (RANK[y] or 9) end
  if x == "number" or x == "string" then return a < b end
  return tostring(a) < tostring(b)
end

local function keys_of(t)
  local keys = {}
  for key in next, t do keys[#keys + 1] = key end
  table.sort(keys, before)
  return keys
end

-- pairs runs in key order, so that a recipe means the same each time.
local function ordered_pairs(t)
  local own = debug.getmetatable(t)
  if own and own.__pairs then return own.__pairs(t) end
  if type(t) ~= "table" then now.raise(("pairs wants a table, got %s"):format(type(t)), "pairs") end
  local keys, i = keys_of(t), 0
  return function()
    while true do
      i = i + 1
      local key = keys[i]
      if key == nil then return nil end
      if t[key] ~= nil then return key, t[key] end
    end
  end, t, nil
end

local function ordered_next(t, key)
  if type(t) ~= "table" then now.raise(("next wants a table, got %s"):format(type(t)), "next") end
  local keys = keys_of(t)
  if key == nil then return keys[1], t[keys[1]] end
  for i, here in ipairs(keys) do
    if here == key then return keys[i + 1], keys[i + 1] and t[keys[i + 1]] end
  end
  now.raise("next got a key that the table does not have", "next")
end

local function plain_ipairs(t)
  if type(t) == "table" then return ipairs(t) end
  if value.is(t, "poison") then return function() end end
  if value.is(t) then
    local special = value.data(t)
    now.raise(("%s is not known until it exists, so there is nothing to go over yet; use each(list, function(item) ... end)"):format(
      value.text(special)), "ipairs")
  end
  now.raise(("ipairs wants a list, got %s"):format(type(t)), "ipairs")
end

local function concat(list, separator, i, j)
  local parts, special = {}, value.is(separator)
  for k = i or 1, j or #list do
    if special == false and value.is(list[k]) then special = true end
    if #parts > 0 and separator and separator ~= "" then parts[#parts + 1] = separator end
    parts[#parts + 1] = list[k]
  end
  if special then return value.join(parts) end
  return table.concat(list, separator, i, j)
end

local function copy(t, without)
  local c = {}
  for key, item in next, t do c[key] = item end
  for _, key in ipairs(without or {}) do c[key] = nil end
  return c
end

local function error_of_recipe(message, level)
  if level == 0 or type(message) ~= "string" then error(message, 0) end
  now.raise(message, "error")
end

local function plain_setmetatable(t, mt)
  if type(t) ~= "table" then now.raise("setmetatable wants a table", "setmetatable") end
  if type(mt) == "table" and rawget(mt, "__gc") ~= nil then now.raise("a recipe has no __gc", "setmetatable") end
  return setmetatable(t, mt)
end

local function plain_getmetatable(t)
  if type(t) ~= "table" then return nil end
  return getmetatable(t)
end

local function say(...)
  local parts = table.pack(...)
  for i = 1, parts.n do
    local d = value.data(parts[i])
    parts[i] = d and (d.class == "secret" and "(secret)" or value.text(d)) or tostring(parts[i])
  end
  io.stderr:write(table.concat(parts, "\t", 1, parts.n), "\n")
end

local function tostring_of(v) return tostring(v) end

-- Lua's own words that a recipe does without, and why.
local ABSENT = {
  io = "a recipe reads only files beside it: file(\"path\")", os = "a recipe starts no programs and reads no clock",
  debug = "a recipe cannot look into the program", load = "a recipe cannot load code from text; use require",
  loadstring = "a recipe cannot load code from text; use require", loadfile = "use require \"name\" for a library beside the recipe",
  dofile = "use require \"name\" for a library beside the recipe", package = "libraries are found beside the recipe and on VMRUN_PATH",
  collectgarbage = "a recipe cannot run the collector", coroutine = "a recipe is read in one go",
}

local function random()
  return now.fault("a recipe says the same each time it is read; the kind random.name keeps what it drew", "random")
end

--- Lua's part of a recipe's words.
function M.base()
  local numbers = copy(math)
  numbers.random, numbers.randomseed = random, random
  return {
    assert = assert, error = error_of_recipe, ipairs = plain_ipairs, pairs = ordered_pairs, next = ordered_next,
    pcall = M.pcall, xpcall = M.xpcall, select = select, tonumber = tonumber, tostring = tostring_of, type = type,
    rawequal = rawequal, rawlen = rawlen, rawget = rawget, rawset = rawset,
    setmetatable = plain_setmetatable, getmetatable = plain_getmetatable, print = say,
    math = numbers, string = copy(string, { "dump" }), utf8 = copy(utf8),
    table = (function()
      local t = copy(table)
      t.concat = concat
      return t
    end)(),
    _VERSION = _VERSION,
  }
end

--- pcall as recipes know it: what it catches is a text.
function M.pcall(fn, ...)
  local results = table.pack(pcall(fn, ...))
  if not results[1] and type(results[2]) == "table" and results[2].message then results[2] = results[2].message end
  return table.unpack(results, 1, results.n)
end

function M.xpcall(fn, handler, ...)
  local results = table.pack(M.pcall(fn, ...))
  if not results[1] then return false, handler(results[2]) end
  return table.unpack(results, 1, results.n)
end

-- Nearest among the words of recipes and the local names of the text.
local function hint(name, words, source)
  local names = {}
  for word in pairs(words) do names[#names + 1] = word end
  for word in pairs(source and source:locals() or {}) do names[#names + 1] = word end
  return near.hint(name, names)
end

--- The environment of one text: `words` in scope, everything else an error with the nearest name.
function M.environment(words)
  local known = setmetatable({}, { -- found words cost no call
    __index = function(_, name)
      local place = now.place()
      local source = now.source(place)
      local message, how
      if ABSENT[name] then
        message = ("recipes have no '%s': %s"):format(name, ABSENT[name])
      else
        message, how = now.too_early(place, name)
      end
      if not message then
        message = ("unknown name '%s'%s"):format(tostring(name), hint(name, words, source))
      end
      if not now.evaluating then error(message, 2) end
      now.problem(place, message, source and source:word(place.line, name), how)
      return value.poison()
    end,
  })
  for name, word in next, words do known[name] = word end
  return setmetatable({}, {
    __metatable = false,
    __index = known,
    __newindex = function(env, name, given)
      local place = now.place()
      local source = now.source(place)
      local message
      if words[name] ~= nil then
        message = ("'%s' is a word of recipes and cannot be assigned; choose another name"):format(tostring(name))
      else
        local near_local = source and near.nearest(name, source:locals())
        message = ("'%s' is not declared; %s"):format(tostring(name),
          near_local and ("did you mean '%s'?"):format(near_local) or ("write local %s = ..."):format(tostring(name)))
      end
      if not now.evaluating then error(message, 2) end
      now.problem(place, message, source and source:word(place.line, name))
      rawset(env, name, given)
    end,
  })
end

M.keys_of = keys_of
return M
