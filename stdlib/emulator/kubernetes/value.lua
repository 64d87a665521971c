--- Plain JSON values: copying, comparing, reading deep, and the words for time that Kubernetes uses.
local json = require "json"

local value = {}
local null = json.null

--- Is this table a JSON array? An empty plain table is an object.
value.is_array = json.is_array

--- A deep copy; arrays stay arrays.
local function copy(v)
  if type(v) ~= "table" then return v end
  local out = {}
  for k, item in next, v do
    if type(item) == "table" then out[k] = copy(item) else out[k] = item end
  end
  return setmetatable(out, getmetatable(v))
end
value.copy = copy

--- A copy of the first level only.
function value.shallow(t)
  local out = {}
  for k, v in next, t or {} do out[k] = v end
  return setmetatable(out, t and getmetatable(t))
end

--- Are two values the same text in JSON?
local function equal(a, b)
  if rawequal(a, b) or a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" then return false end
  for k, v in next, a do
    local other = b[k]
    if v ~= other and (other == nil or not equal(v, other)) then return false end
  end
  for k in next, b do
    if a[k] == nil then return false end
  end
  return next(a) ~= nil or json.is_array(a) == json.is_array(b)
end
value.equal = equal

--- Removes nulls from objects, in place, and returns the value. Nulls in arrays stay.
local function compact(v)
  if type(v) ~= "table" then return v end
  if json.is_array(v) then
    for _, item in ipairs(v) do compact(item) end
    return v
  end
  for k, item in next, v do
    if item == null then v[k] = nil else compact(item) end
  end
  return v
end
value.compact = compact

--- Reads t[a][b]...; nil as soon as something is missing.
function value.get(t, ...)
  for i = 1, select("#", ...) do
    if type(t) ~= "table" then return nil end
    t = t[(select(i, ...))]
  end
  if t == null then return nil end
  return t
end

--- Sets t[a][b]... = v (the last argument), making objects on the way.
function value.set(t, ...)
  local n = select("#", ...)
  for i = 1, n - 2 do
    local key = select(i, ...)
    if type(t[key]) ~= "table" then t[key] = {} end
    t = t[key]
  end
  t[(select(n - 1, ...))] = (select(n, ...))
end

--- Puts the pairs of more into map, in place (a new one for nil), and returns it.
function value.add(map, more)
  map = map or {}
  for k, v in pairs(more or {}) do map[k] = v end
  return map
end

--- The keys of a table as a sorted list.
function value.keys(t)
  local out = {}
  for k in next, t or {} do out[#out + 1] = k end
  table.sort(out, function(a, b) return tostring(a) < tostring(b) end)
  return out
end

--- Does the list hold this value?
function value.contains(list, v)
  for _, item in ipairs(list or {}) do
    if item == v then return true end
  end
  return false
end

--- An array of the items for which fn is true.
function value.filter(list, fn)
  local out = json.array {}
  for _, item in ipairs(list or {}) do
    if fn(item) then out[#out + 1] = item end
  end
  return out
end

--- An array of fn(item).
function value.map(list, fn)
  local out = json.array {}
  for i, item in ipairs(list or {}) do out[i] = fn(item, i) end
  return out
end

--- The item of a list whose field has this value, and its index.
function value.find(list, field, wanted)
  for i, item in ipairs(list or {}) do
    if item[field] == wanted then return item, i end
  end
end

--- A time in RFC 3339, to the second (now when not given).
function value.time(seconds)
  return os.date("!%Y-%m-%dT%H:%M:%SZ", seconds and math.floor(seconds) or os.time())
end

--- A time in RFC 3339 with microseconds, as leases carry it.
function value.micro_time(seconds)
  local whole = math.floor(seconds)
  return os.date("!%Y-%m-%dT%H:%M:%S", whole) .. string.format(".%06dZ", math.floor((seconds - whole) * 1e6))
end

local function days(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719469
end

--- Seconds since 1970 of an RFC 3339 time, or nil.
function value.seconds(text)
  if type(text) ~= "string" then return nil end
  local y, mo, d, h, mi, s, frac, zone = text:match("^(%d+)-(%d+)-(%d+)[Tt](%d+):(%d+):(%d+)(%.?%d*)(.*)$")
  if not y then return nil end
  local t = days(tonumber(y), tonumber(mo), tonumber(d)) * 86400 + h * 3600 + mi * 60 + s
  if frac ~= "" then t = t + (tonumber("0" .. frac) or 0) end
  local sign, zh, zm = zone:match("^([+-])(%d%d):(%d%d)$")
  if sign then t = t - (sign == "+" and 1 or -1) * (zh * 3600 + zm * 60) end
  return math.tointeger(t) or t
end

--- Go's duration words ("1h30m", "10m0s", "500ms") in seconds, or nil.
function value.duration(text)
  if type(text) == "number" then return text end
  if type(text) ~= "string" or text == "" then return nil end
  local units = { ns = 1e-9, us = 1e-6, ms = 1e-3, s = 1, m = 60, h = 3600 }
  local total, rest = 0, text
  if rest == "0" then return 0 end
  while rest ~= "" do
    local number, unit, tail = rest:match("^(%d+%.?%d*)(%a+)(.*)$")
    if not number or not units[unit] then return nil end
    total, rest = total + tonumber(number) * units[unit], tail
  end
  return math.tointeger(total) or total
end

--- A duration as kubectl's AGE column prints it: 5s, 3m27s, 4h, 2d3h, 400d.
function value.age(seconds)
  seconds = math.max(0, math.floor(seconds))
  if seconds < 120 then return seconds .. "s" end
  local minutes = seconds // 60
  if minutes < 10 then
    local s = seconds % 60
    return s == 0 and minutes .. "m" or minutes .. "m" .. s .. "s"
  elseif minutes < 180 then
    return minutes .. "m"
  end
  local hours = minutes // 60
  if hours < 8 then
    local m = minutes % 60
    return m == 0 and hours .. "h" or hours .. "h" .. m .. "m"
  elseif hours < 48 then
    return hours .. "h"
  elseif hours < 192 then
    local h = hours % 24
    return h == 0 and hours // 24 .. "d" or hours // 24 .. "d" .. h .. "h"
  elseif hours < 24 * 365 * 2 then
    return hours // 24 .. "d"
  elseif hours < 24 * 365 * 8 then
    local d = hours // 24 % 365
    return d == 0 and hours // (24 * 365) .. "y" or hours // (24 * 365) .. "y" .. d .. "d"
  end
  return hours // (24 * 365) .. "y"
end

local suffixes = { [""] = 1, n = 1e-9, u = 1e-6, m = 1e-3, k = 1e3, M = 1e6, G = 1e9, T = 1e12, P = 1e15, E = 1e18,
  Ki = 2 ^ 10, Mi = 2 ^ 20, Gi = 2 ^ 30, Ti = 2 ^ 40, Pi = 2 ^ 50, Ei = 2 ^ 60 }

--- The number that a quantity such as "500m" or "2Gi" stands for, or nil.
function value.quantity(text)
  if type(text) == "number" then return text end
  if type(text) ~= "string" then return nil end
  local number, suffix = text:match("^([+-]?%d*%.?%d*)([%a]*)$")
  if tonumber(number) and suffixes[suffix] then return tonumber(number) * suffixes[suffix] end
  return tonumber(text:match("^[+-]?%d+%.?%d*[eE][+-]?%d+$"))
end

return value
