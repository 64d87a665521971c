--- `vmrun kinds [NAME]`: the kinds that recipes can use, from their pages.
local declare, json, kind, near = require "declare", require "json", require "kind", require "recipe.nearest"
local fail = require "fail"

local M = {}

local INTERNAL = { recipe = true, emulator = true, cli = true, host = true }

local function names()
  local found = {}
  for _, path in ipairs(declare.stdlib()) do
    local provider, rest = path:match("^([%w_]+)/([%w_]+)%.lua$")
    if provider and not INTERNAL[provider] and rest ~= "init" then
      local ok, page = pcall(kind.find, provider .. "." .. rest)
      if ok and page then found[#found + 1] = page.name end
    end
  end
  table.sort(found)
  return found
end

local function listing()
  local lines, width = {}, 0
  local all = names()
  for _, name in ipairs(all) do width = math.max(width, #name) end
  for _, name in ipairs(all) do
    lines[#lines + 1] = (("%-" .. width .. "s  %s"):format(name, kind.find(name).doc:match("^[^\n]*")):gsub("%s+$", ""))
  end
  return table.concat(lines, "\n")
end

local function add_fields(lines, fields, indent)
  for _, entry in ipairs(fields) do
    local marks = {}
    if entry.required then marks[#marks + 1] = "required" end
    if entry.replace then marks[#marks + 1] = "a change replaces" end
    if entry.default then marks[#marks + 1] = "default " .. entry.default end
    local of = entry.elements and entry.elements.type ~= "a value" and not entry.fields and " of " .. entry.elements.type or ""
    lines[#lines + 1] = ("%s%s: %s%s%s"):format(indent, entry.name, entry.type, of,
      #marks > 0 and " (" .. table.concat(marks, ", ") .. ")" or "")
    if entry.doc ~= "" then lines[#lines + 1] = indent .. "    " .. entry.doc end
    if entry.fields then add_fields(lines, entry.fields, indent .. "  ") end
  end
end

local function page_of(name)
  local page, message = kind.find(name)
  if not page then
    local found = near.nearest(name, names())
    error(fail { message, code = "kind", hint = found and ("did you mean '%s'?"):format(found) or "'vmrun kinds' lists them" })
  end
  return page
end

local function text_of(page)
  local told = kind.document(page)
  local lines = { told.name, "", told.doc, "", "fields:" }
  add_fields(lines, told.fields, "  ")
  lines[#lines + 1] = ""
  lines[#lines + 1] = "outputs:"
  add_fields(lines, told.outputs, "  ")
  return table.concat(lines, "\n")
end

--- The names of all kinds of the standard library, in their order.
M.names = names

--- What a kind takes and gives, for a person.
M.text = text_of

--- `args.recipe` is the first word: the kind's name, if any.
function M.run(args)
  local name = args.recipe
  if args.json then
    if name then return { text = json.encode(kind.document(page_of(name)), { indent = 2 }) } end
    return { text = json.encode(json.array(names()), { indent = 2 }) }
  end
  return { text = name and text_of(page_of(name)) or listing() }
end

return M
