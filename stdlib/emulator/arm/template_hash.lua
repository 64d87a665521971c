--- The digests of Resource Manager: of text (`uniqueString` is made of it) and of whole templates (`templateHash`).
-- A template is hashed as text: as the service writes it again, without blanks, in capital letters.
local json = require "json"
local relaxed = require "emulator.arm.relaxed"

local C1, C2, WORD = 0x239b961b, 0xab0e9789, 0xffffffff

local function rotate(n, by) return ((n << by) | (n >> (32 - by))) & WORD end

local function mixed(n, first, by, second) return rotate(n * first & WORD, by) * second & WORD end

local function avalanche(n)
  n = (n ~ n >> 16) * 0x85ebca6b & WORD
  n = (n ~ n >> 13) * 0xc2b2ae35 & WORD
  return n ~ n >> 16
end

--- 64 bits of a text: MurmurHash3's two lanes of 32 bits.
local function digest(text)
  local a, b, whole = 0, 0, #text - #text % 8
  for at = 1, whole, 8 do
    local first, second = ("<I4I4"):unpack(text, at)
    a = rotate(a ~ mixed(first, C1, 15, C2), 19)
    a = (a + b & WORD) * 5 + 0x561ccd1b & WORD
    b = rotate(b ~ mixed(second, C2, 17, C1), 13)
    b = (b + a & WORD) * 5 + 0x0bcaa747 & WORD
  end
  if whole < #text then
    local first, second = ("<I4I4"):unpack(text:sub(whole + 1) .. ("\0"):rep(8), 1)
    a = a ~ mixed(first, C1, 15, C2)
    b = b ~ mixed(second, C2, 17, C1)
  end
  a, b = a ~ #text, b ~ #text
  a = a + b & WORD
  b = b + a & WORD
  a, b = avalanche(a), avalanche(b)
  a = a + b & WORD
  b = b + a & WORD
  return b << 32 | a
end

local LETTERS = "abcdefghijklmnopqrstuvwxyz234567"

--- Thirteen letters, always the same for the same text.
local function unique(text)
  local number, letters = digest(text), {}
  for i = 1, 13 do
    local at = (number >> 59) + 1
    letters[i], number = LETTERS:sub(at, at), number << 5
  end
  return table.concat(letters)
end

-- The service reads a template into fields and writes these in an order of its own; what it has no field for keeps the order it
-- came in.
local ORDER = {
  template = { "$schema", "contentVersion", "apiProfile", "languageVersion", "definitions", "parameters", "variables",
    "functions", "resources",
    "outputs" },
  parameter = { "defaultValue", "allowedValues", "type", "metadata" },
  resource = { "condition", "type", "apiVersion", "name", "location", "dependsOn", "tags", "sku", "kind", "properties" },
}
local BELOW = { template = { parameters = "parameters", resources = "resources" }, parameters = { [""] = "parameter" },
  resources = { [""] = "resource" }, resource = { resources = "resources" } }

local function ordered(members, order)
  local rank = {}
  for i, name in ipairs(order or {}) do rank[name:lower()] = i end
  for i, member in ipairs(members) do member.rank = rank[member.name:lower()] or #members + i + 100 end
  table.sort(members, function(a, b) return a.rank < b.rank end)
  return members
end

local function minified(node, what)
  if type(node) == "string" then return node end
  local below, parts = BELOW[what] or {}, {}
  if node.list then
    for i, item in ipairs(node.list) do parts[i] = minified(item, below[""]) end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for i, member in ipairs(ordered(node.members, ORDER[what])) do
    parts[i] = json.encode(member.name) .. ":" .. minified(member.value, below[member.name] or below[""])
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

local function minify(node) return minified(node, "template"):upper() end

local function member(node, name)
  for _, item in ipairs(node and node.members or {}) do
    if item.name:lower() == name then return item.value end
  end
end

--- Of a request's text: the template at `steps` ("properties", "template"), as the service writes it, and its hash in decimal
-- digits.
local function of(text, ...)
  local node = relaxed.ordered(text)
  for _, step in ipairs { ... } do node = member(node, step) end
  if type(node) ~= "table" then return nil end
  local words = minify(node)
  local number = digest(words)
  local tens = (number >> 1) // 5 -- the number has no sign
  return words, tens > 0 and ("%d%d"):format(tens, number - tens * 10) or tostring(number)
end

return { digest = digest, unique = unique, of = of }
