--- Reads a recipe: its text becomes declarations (through the native module `declare`), and problems with their places.
local declare, kind = require "declare", require "kind"
local near = require "recipe.nearest"
local now = require "recipe.current"
local sandbox, words, libraries = require "recipe.sandbox", require "recipe.words", require "recipe.libraries"
local source_of = require "recipe.source"
words.libraries = libraries

local M = {}

local function folder_of(path) return path:match("^(.+)/[^/]*$") or (path:find("^/") and "/") or "." end

-- Where a path of file() or files() leads: beside the text that calls it, never outside of its folder.
local function beside(word, path)
  local place = now.place()
  local source = now.sources[place.file]
  if type(path) ~= "string" then now.raise(("%s wants a path, such as %s(\"motd.txt\")"):format(word, word), word) end
  if path:find("^[/~]") then
    now.raise(("%s(%q) is not beside the recipe; copy it there"):format(word, path), path)
  end
  local folder = folder_of(place.file)
  return folder == "." and path or folder .. "/" .. path, source and source.root or folder
end

local function read(path, root, shown)
  local text, message = declare.read(path, root)
  if not text then now.raise(message, shown) end
  return text
end

-- file("path"): the text of a file.
local function file(path)
  local real, root = beside("file", path)
  return read(real, root, path)
end

-- files("folder"): the texts of all files below a folder, by their paths in it; names that begin with a dot are left out.
local function files(path)
  local real, root = beside("files", path)
  local found = {}
  local function walk(folder, prefix)
    local names = declare.list(folder)
    if not names then return false end
    for _, name in ipairs(names) do
      if not walk(folder .. "/" .. name, prefix .. name .. "/") then
        found[prefix .. name] = read(folder .. "/" .. name, root, path)
      end
    end
    return true
  end
  if not walk(real, "") then now.raise(("files(%q): there is no such folder"):format(path), path) end
  return found
end

local function compile(path, text, env)
  local source = source_of.new(path, text)
  source.root = folder_of(path)
  now.files["@" .. path], now.sources[path] = source, source
  if text:byte(1) == 27 then
    now.problem({ file = path }, "this is compiled Lua; a recipe is text")
    return nil
  end
  local chunk, message = load(text, "@" .. path, "t", env)
  if not chunk then
    local line, what = message:match(":(%d+): (.*)$")
    local place = { file = path, line = tonumber(line) or 1 }
    local token = (what or ""):match("near '(.-)'$")
    now.problem(place, what or message, token and source:word(place.line, token))
  end
  return chunk
end

local function report_pending()
  for pending in pairs(now.pending) do
    local at = now.waiting(pending)
    local name = at.page.name
    local source = now.source(at)
    local declaration = source and source:declaration(at.line, name:match("[^.]+$"), at.name)
    now.problem(at, ('%s "%s" has a name but no fields; write %s "%s" {}'):format(name, at.name, name, at.name),
      declaration and declaration.head)
  end
end

local function report_given()
  local known = now.known or {}
  for name, entry in pairs(now.given) do
    if not known[name] then
      now.problem({ file = now.path }, ("no parameter '%s' (from %s)%s"):format(name, entry.from, near.hint(name, known)))
    end
  end
end

local function by_place(a, b)
  if a.file ~= b.file then
    if a.file == now.path or b.file == now.path then return a.file == now.path end
    return a.file < b.file
  end
  local x, y = a.line or 0, b.line or 0
  if x ~= y then return x < y end
  x, y = a.column or 0, b.column or 0
  if x ~= y then return x < y end
  return a.order < b.order
end

local function hand_over(problems)
  table.sort(problems, by_place)
  local seen = {}
  for _, p in ipairs(problems) do
    local key = ("%s:%s:%s"):format(p.file, p.line, p.message)
    if not seen[key] then
      seen[key] = true
      declare.error(p.message, p.hint, p.file, p.line or 0, p.column or 0, p.width or 0)
    end
  end
end

local TESTED = {
  ["=="] = "%s is not known until it exists, and == with such a value is always false",
  ["~="] = "%s is not known until it exists, and ~= with such a value is always true",
  ["if"] = "%s is not known until it exists, and such a value is always true in a condition",
}

-- What Lua cannot refuse: a comparison by == with a reference, and a reference as a condition.
local function lint()
  local found = {}
  for _, use in pairs(now.used) do
    local source = now.sources[use.file]
    local how, span = source:tested(use.line, use.key)
    if how then
      found[#found + 1] = { message = TESTED[how]:format("'" .. use.key .. "'"), file = use.file, line = span.line,
        column = span.column, width = span.width }
    end
  end
  table.sort(found, function(a, b)
    if a.file ~= b.file then return a.file < b.file end
    return a.line < b.line or a.line == b.line and a.column < b.column
  end)
  return found
end

--- Evaluates. `options`: `path` (as the person named it), `paths` (folders of VMRUN_PATH), `given` (parameters by name:
-- `{ value =, text = bool, from = "command line" }`), `lint`. Returns `{ params =, warnings = }`.
function M.run(options)
  now.begin(options.path)
  now.given, now.lint, now.told, now.known = options.given or {}, options.lint, nil, nil
  now.joins = 0
  local all = sandbox.base()
  words.add(all)
  all.file, all.files, all.require = file, files, libraries.require
  local env = sandbox.environment(all)
  local roots = { folder_of(options.path) }
  for _, folder in ipairs(options.paths or {}) do roots[#roots + 1] = folder end
  libraries.begin(roots, env)

  local text, message = declare.read(options.path)
  if not text then
    now.problem({ file = options.path }, message)
    hand_over(now.problems)
    return { params = {}, warnings = {} }
  end
  local chunk = compile(options.path, text, env)
  now.evaluating = true
  if chunk then
    local ok, err = xpcall(chunk, now.caught)
    if not ok then now.note(err) end
    if ok then report_pending() end
  end
  now.evaluating = false
  if chunk and (now.known or #now.problems == 0) then report_given() end
  hand_over(now.problems)
  return { params = now.told or {}, warnings = options.lint and lint() or {} }
end

--- The kind of a full name: of the standard library, or of a library of the recipe that was read last.
function M.kind(name)
  local page, message = kind.find(name)
  if page then return page end
  local provider, rest = name:match("^([%w_]+)%.([%w_.]+)$")
  page = provider and libraries.roots and libraries.kind(provider, rest)
  if kind.is(page) then return page end
  return nil, message
end

return M
