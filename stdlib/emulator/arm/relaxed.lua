--- JSON as Azure Resource Manager takes it: with comments, names without quotes, single quotes and a comma too many. Its clients send
-- templates as people wrote them.
local json = require "json"

local ESCAPES = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

-- A string that begins at `from` with its quote, as strict JSON; and where it ends.
local function quoted(text, from)
  local quote, at, words = text:sub(from, from), from + 1, { '"' }
  while true do
    local first = text:find("[\\\"'\n\r\t]", at)
    if not first then return nil end
    words[#words + 1] = text:sub(at, first - 1)
    local c = text:sub(first, first)
    if c == quote then
      words[#words + 1] = '"'
      return table.concat(words), first + 1
    elseif c == "\\" then
      local escaped = text:sub(first + 1, first + 1)
      words[#words + 1] = escaped == "'" and "'" or c .. escaped
      at = first + 2
    else
      words[#words + 1] = c == '"' and '\\"' or ESCAPES[c] or c
      at = first + 1
    end
  end
end

local WORDS = { ["true"] = true, ["false"] = true, null = true }

--- Strict JSON of what was sent; nil when a string or a comment has no end.
local function strict(text)
  local out, at = {}, 1
  while at <= #text do
    local c = text:sub(at, at)
    if c == '"' or c == "'" then
      local word, after = quoted(text, at)
      if not word then return nil end
      out[#out + 1], at = word, after
    elseif c == "/" then
      local after = select(2, text:find("^//[^\n]*", at)) or select(2, text:find("^/%*.-%*/", at))
      if not after then return nil end
      at = after + 1
    elseif c:find("[%a_$]") then
      local word, after = text:match("^([%w_$]+)()", at)
      out[#out + 1] = WORDS[word] and not text:find("^%s*:", after) and word or json.encode(word)
      at = after
    elseif c == "}" or c == "]" then
      local last = #out
      while last > 0 and out[last]:find("^%s*$") do last = last - 1 end
      if out[last] == "," then out[last] = "" end
      out[#out + 1], at = c, at + 1
    else
      local number, after = text:match("^(%-?[%d.]+[eE]?[+-]?%d*)()", at)
      out[#out + 1], at = number or c, after or at + 1
    end
  end
  return table.concat(out)
end

--- The value of a text; or nil and why it is none.
local function decode(text)
  local found, why = json.decode(text)
  if found ~= nil then return found end
  local again = strict(text)
  local value = again and json.decode(again)
  if value == nil then return nil, why end
  return value
end

-- A value of strict JSON from `at` on, and where it ends.
local function read(text, at)
  at = text:find("%S", at)
  local c = text:sub(at, at)
  if c == '"' then
    local word, after = quoted(text, at)
    return json.encode(json.decode(word)), after
  elseif c ~= "{" and c ~= "[" then
    return text:match("^([^%s,%]}]+)()", at)
  end
  local items, close = {}, c == "{" and "}" or "]"
  at = text:find("%S", at + 1)
  while text:sub(at, at) ~= close do
    local name
    if close == "}" then
      name, at = read(text, at)
      at = text:find(":", at, true) + 1
    end
    local item
    item, at = read(text, at)
    items[#items + 1] = close == "}" and { name = json.decode(name), value = item } or item
    at = text:find("[^%s,]", at)
  end
  return close == "}" and { members = items } or { list = items }, at + 1
end

--- A text's value with its names in the order in which they were sent: `{members = {{name=, value=}, ...}}`, `{list = {...}}`,
-- all else as
-- it is written in JSON. Nil when it is no JSON.
local function ordered(text)
  if json.decode(text) == nil then
    text = strict(text)
    if not text or json.decode(text) == nil then return nil end
  end
  return (read(text, 1))
end

return { decode = decode, ordered = ordered }
