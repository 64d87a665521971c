--- What a text that is being typed may go on with, out of the kinds' statements: kinds, the fields of one, the values of a field.
--
--     kinds.azure.sub                                   a kind
--     azure.virtual_machine "m" { disk = { cach         a field, as deep as it stands
--     kinds.azure.virtual_machine { power = "r          one of a field's values
local kind = require "kind"

local M = {}

local CLOSES = { ["}"] = true, [")"] = true, ["]"] = true }

-- The brackets that are open at the end of a text, from the outside in. Each has the text before it (`head`) and what was typed in it since
-- the last comma (`text`), with strings whole and what was closed again empty; `given` are the names that already have a value. And the
-- string that is open there, or nil.
local function scan(text)
  local frames, at = { { text = "", given = {} } }, 1
  while at <= #text do
    local c, top = text:sub(at, at), frames[#frames]
    if c == '"' or c == "'" then
      local last = at
      repeat
        last = text:find("[\\" .. c .. "]", last + 1)
        if last and text:sub(last, last) == "\\" then last = last + 1 end
      until not last or last > #text or text:sub(last, last) == c
      if not last or last > #text then return frames, text:sub(at + 1) end
      top.text, at = top.text .. text:sub(at, last):gsub("[{}()%[%],;]", "_"), last
    elseif c == "{" or c == "(" or c == "[" then
      frames[#frames + 1] = { bracket = c, head = top.text, text = "", given = {} }
    elseif CLOSES[c] then
      if #frames > 1 then frames[#frames] = nil end
      frames[#frames].text = frames[#frames].text .. "()"
    elseif c == "," or c == ";" then
      local name = top.text:match "^%s*([%a_][%w_]*)%s*="
      if name then top.given[name] = true end
      top.text = ""
    else
      top.text = top.text .. c
    end
    at = at + 1
  end
  return frames, nil
end

-- The kind whose fields a table holds: it follows a kind of `kinds`, or a kind and a name.
local function page_of(head)
  local provider, word = head:match "kinds%.([%a_][%w_]*)%.([%a_][%w_]*)%s*%(?%s*$"
  if not provider then provider, word = head:match "([%a_][%w_]*)%.([%a_][%w_]*)%s*%b\"\"%s*%(?%s*$" end
  if not provider then provider, word = head:match "([%a_][%w_]*)%.([%a_][%w_]*)%s*%(%)%s*%(?%s*$" end
  local ok, page = pcall(kind.find, provider and provider .. "." .. word or "")
  return ok and page or nil
end

-- What stands in the innermost bracket: a table of fields by name, or of elements of one type.
local function inside(frames)
  local fields, element
  for i = 2, #frames do
    local frame = frames[i]
    if frame.bracket == "{" then
      local name = frame.head:match "^%s*([%a_][%w_]*)%s*=%s*$"
      local spec
      if fields and name then
        spec = fields[name]
      elseif element and frame.head:find "^%s*$" then
        spec = element
      else
        local page = page_of(frame.head)
        spec = page and { type = "object", fields = page.fields }
      end
      fields, element = spec and spec.fields, spec and spec.elem
    elseif frame.bracket ~= "(" then
      fields, element = nil, nil
    end
  end
  return fields, element
end

local function values_of(spec)
  while spec and spec.type == "list" do spec = spec.elem end
  if not spec then return {} end
  return spec.type == "choice" and spec.values or spec.type == "boolean" and { true, false } or {}
end

local function beginning(list, typed)
  local found = {}
  for _, word in ipairs(list) do
    if word:sub(1, #typed) == typed then found[#found + 1] = word end
  end
  table.sort(found)
  return found
end

--- Candidates for the last word of a text, each in full, and that word; nil where nothing of a kind stands.
function M.candidates(text)
  local frames, open = scan(text)
  local top = frames[#frames]
  local fields, element = inside(frames)
  if not fields and not element then return nil end
  local name = top.text:match "^%s*([%a_][%w_]*)%s*="
  local spec = element or fields and name and fields[name]
  local words = {}
  if open then
    for _, value in ipairs(values_of(spec)) do
      if type(value) == "string" then words[#words + 1] = value end
    end
    return beginning(words, open), open
  end
  local typed = top.text:match "[%w_]*$"
  if fields and not name then
    for field_name in pairs(fields) do
      if not top.given[field_name] then words[#words + 1] = field_name end
    end
  else
    for _, value in ipairs(values_of(spec)) do words[#words + 1] = type(value) == "string" and '"' .. value .. '"' or tostring(value) end
  end
  return beginning(words, typed), typed
end

return M
