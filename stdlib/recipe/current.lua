--- The evaluation that goes on: its texts, where it is, and what was wrong so far. One at a time.
--
--     files      chunk name -> source (recipe.source), for recipes and their libraries
--     problems   list of { file, line, column, width, message, hint }
local declare = require "declare"

local M = {}

local raised_meta = { __name = "recipe error" }
function raised_meta.__tostring(self) return self.message end

--- Where the recipe code is that runs now: the file and the line.
function M.where()
  local source, line = declare.place(M.files)
  return source and source.path or M.path, line or 1
end

--- The same as a place: { file =, line = }.
function M.place()
  local file, line = M.where()
  return { file = file, line = line }
end

--- What has a name and no fields yet: { page =, name =, file =, line = }.
function M.waiting(pending)
  if type(pending) == "table" then return pending end
  local page, name, file, line = declare.waiting(pending)
  return { page = page, name = name, file = file, line = line }
end

--- The source that a place is in.
function M.source(place)
  return M.sources[place.file]
end

--- Notes a problem at a place; the carets come from `span` ({ line, column, width }) when it is known.
function M.problem(place, message, span, hint)
  local at = span or place
  M.problems[#M.problems + 1] = {
    file = place.file, line = at.line or place.line, column = span and span.column, width = span and span.width,
    message = message, hint = hint, order = #M.problems,
  }
end

local function span_at(place, word)
  local source = word and M.source(place)
  return source and source:member(place.line, word) or nil
end

--- Raises a problem at the recipe code that runs; `word` is what the carets go under.
function M.raise(message, word, hint)
  local place = M.place()
  error(setmetatable({ place = place, message = message, hint = hint, span = span_at(place, word) }, raised_meta), 0)
end

--- Notes a problem at the recipe code that runs, and gives poison in place of a value.
function M.fault(message, word, hint)
  local place = M.place()
  M.problem(place, message, span_at(place, word), hint)
  return M.poison()
end

--- What to say of a name that is not there yet where it is used, because it gets its value further down; nil when it does not.
function M.too_early(place, name)
  local source = M.source(place)
  local line, cycle = nil, nil
  if source then line, cycle = source:later(name, place.line) end
  if not line then return nil end
  if not cycle then
    return ("'%s' is made further down, on line %d: a recipe is read from the top"):format(name, line)
  end
  local steps = {}
  for i, step in ipairs(cycle) do steps[i] = ("'%s' needs '%s' (line %d)"):format(step.name, step.needs, step.line) end
  return "a cycle: " .. table.concat(steps, ", "), "make one of them without the other"
end

local function caught(err)
  if getmetatable(err) == raised_meta then return err end
  local place = M.place()
  local message = type(err) == "string" and err or (type(err) == "table" and err.message) or
    ("the recipe raised a " .. type(err))
  message = message:gsub("^[^\n]-:%d+: ", "", 1):gsub("^%[string [^\n]-%]:%d+: ", "", 1)
  local source, word = M.source(place), message:match("'([^']+)'%)?$") or message:match("%(%a+ '([^']+)'%)")
  local hint
  local missing = message:match("a nil value %(local '([^']+)'%)$") or message:match("a nil value %(upvalue '([^']+)'%)$")
  if missing then
    local early, how = M.too_early(place, missing)
    message, hint = early or message, how
  end
  return setmetatable({ place = place, message = message, hint = hint, native = type(err) == "string",
    span = word and source and source:word(place.line, word) or nil }, raised_meta)
end

--- Notes what the handler M.caught made. A fault that Lua saw after something had failed already is left out: it follows from that.
function M.note(caught)
  if getmetatable(caught) ~= raised_meta then error(caught, 0) end
  if caught.native and M.poisoned and caught.message:find("poison", 1, true) then return end
  for pending in pairs(M.pending) do -- its fields were what failed
    local at = M.waiting(pending)
    if at.file == caught.place.file and at.line == caught.place.line then M.pending[pending] = nil end
  end
  M.problem(caught.place, caught.message, caught.span, caught.hint)
end

--- Calls a function of the recipe; what goes wrong inside is noted, and the result is poison.
function M.guard(fn, ...)
  local results = table.pack(xpcall(fn, M.caught, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  M.note(results[2])
  return M.poison()
end

--- Begins an evaluation.
function M.begin(path)
  M.path, M.files, M.sources, M.problems = path, {}, {}, {}
  -- For xpcall: turns what Lua raises into a problem with its place.
  M.caught = declare.handler(caught, M.files)
  M.poisoned, M.scope, M.prefix = false, nil, ""
  M.pending, M.components, M.outputs, M.used = {}, {}, nil, {}
end

return M
