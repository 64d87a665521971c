--- Where things stand in a recipe's text: enough of a lexer to put carets under the word that an error is about.

local M = {}

local LONG = "^%[(=*)%["
local SYMBOLS = { "^%.%.%.?", "^[=~<>]=", "^::", "^//", "^." }

-- The text in long brackets of a level that begins at `at`, to its end.
local function long(text, at, level)
  local _, last = text:find("]" .. level .. "]", at, true)
  return text:sub(at, last)
end

local function comment(text, at)
  local level = text:match(LONG, at + 2)
  return level and long(text, at, level) or text:match("^[^\n]*", at)
end

local function quoted_text(text, at, quote)
  local stop = at + 1
  while true do
    stop = text:find("[\"'\\\n]", stop) or #text
    local byte = text:byte(stop)
    if byte == quote or byte == 10 or stop == #text then break end
    stop = stop + (byte == 92 and 2 or 1)
  end
  local piece = text:sub(at, stop)
  return piece, (piece:sub(2, -2):gsub("\\(.)", "%1"))
end

-- A token that begins with none of white space, letters and digits: its text, kind and value; no kind: a comment.
local function special(text, at, byte)
  if byte == 45 and text:byte(at + 1) == 45 then return comment(text, at) end
  if byte == 34 or byte == 39 then
    local piece, inner = quoted_text(text, at, byte)
    return piece, "text", inner
  end
  local level = byte == 91 and text:match(LONG, at)
  if level then
    local piece = long(text, at, level)
    return piece, "text", piece:sub(#level + 3, -(#level + 3))
  end
  for _, pattern in ipairs(SYMBOLS) do
    local piece = text:match(pattern, at)
    if piece then return piece, "symbol" end
  end
end

--- The tokens of a Lua text: names, texts (with `value`), numbers and symbols, each with its line and column (from 1).
-- Text that Lua refuses gives the tokens before the fault.
function M.tokens(text)
  local tokens, at, line, start, size = {}, 1, 1, 1, #text
  while at <= size do
    local byte = text:byte(at)
    if byte == 10 then
      at, line = at + 1, line + 1
      start = at
    elseif byte == 32 or byte >= 9 and byte <= 13 then
      at = text:find("[^ \t\r\v\f]", at) or size + 1
    else
      local piece, kind, value = text:match("^[%a_][%w_]*", at), "name", nil
      if not piece then
        piece, kind = text:match("^%d[%w.]*", at), "number"
        if not piece then piece, kind, value = special(text, at, byte) end
      end
      if kind then tokens[#tokens + 1] = { kind = kind, text = piece, line = line, column = at - start + 1, value = value } end
      if kind ~= "name" and kind ~= "symbol" then
        for stop in piece:gmatch("()\n") do line, start = line + 1, at + stop end
      end
      at = at + #piece
    end
  end
  return tokens
end

local CLOSER = { ["{"] = "}", ["("] = ")", ["["] = "]" }

--- A text and what is known of it. `path` is how the text is named to people.
function M.new(path, text)
  local self = { path = path, text = text, tokens = M.tokens(text), lines = {}, first = {}, declared = {} }
  for line in (text .. "\n"):gmatch("(.-)\r?\n") do self.lines[#self.lines + 1] = line end
  for i, token in ipairs(self.tokens) do
    self.first[token.line] = self.first[token.line] or i
  end
  return setmetatable(self, { __index = M })
end

-- The index of the token that closes the bracket at i.
local function closing(self, i)
  local depth = 0
  for j = i, #self.tokens do
    local text = self.tokens[j].kind == "symbol" and self.tokens[j].text
    if text and CLOSER[text] then depth = depth + 1 end
    if text == "}" or text == ")" or text == "]" then
      depth = depth - 1
      if depth == 0 then return j end
    end
  end
end

--- What an error's carets stand under: from token i to token j, as far as they share a line.
local function span(self, i, j)
  local first, last = self.tokens[i], self.tokens[i]
  for k = i + 1, j or i do
    if self.tokens[k].line ~= first.line then break end
    last = self.tokens[k]
  end
  local text = last.text:match("^[^\n]*")
  return { file = self.path, line = first.line, column = first.column, width = last.column + #text - first.column }
end

--- The place of a word on a line, or on one of the lines before it (Lua blames the last line of a statement); nil when
-- there is none. `after` is a column to start from.
function M:word(line, word, after)
  for l = line, math.max(1, line - 30), -1 do
    local i = self.first[l]
    while i and self.tokens[i] and self.tokens[i].line == l do
      local token = self.tokens[i]
      if (token.text == word or token.value == word) and (l ~= line or token.column >= (after or 1)) then
        return span(self, i)
      end
      i = i + 1
    end
  end
end

-- The first token of a line that `fits`.
local function first_of(self, line, fits)
  local i = self.first[line]
  while i and self.tokens[i] and self.tokens[i].line == line do
    if fits(self.tokens[i], self.tokens[i - 1]) then return span(self, i) end
    i = i + 1
  end
end

--- The place of a name behind a dot or colon, such as `gateway` in `net.gateway`; else as M.word.
function M:member(line, name)
  return first_of(self, line, function(token, before)
    return token.text == name and before and (before.text == "." or before.text == ":")
  end) or self:word(line, name)
end

--- The place of a text in quotes; else as M.word.
function M:quoted(line, text)
  return first_of(self, line, function(token) return token.value == text end) or self:word(line, text)
end

-- What a loop declares stands at one place: all declarations by `word` that a line begins are found once.
local function declarations(self, line, word)
  local of_line = self.declared[line]
  if not of_line then
    of_line = {}
    self.declared[line] = of_line
  end
  local found = of_line[word]
  if found then return found end
  found = {}
  of_line[word] = found
  local i = self.first[line]
  while i and self.tokens[i] and self.tokens[i].line <= line + 1 do
    local token, following = self.tokens[i], self.tokens[i + 1]
    if token.kind == "name" and token.text == word and following and (following.kind == "text" or following.text == "(") then
      local first, last = i, i + 1
      while first > 2 and self.tokens[first - 1].text == "." and self.tokens[first - 2].kind == "name" do first = first - 2 end
      if following.text == "(" then last = closing(self, last) or last end
      local open = self.tokens[last + 1]
      local at = open and (open.text == "{" and last + 1 or
        (open.text == "(" and (self.tokens[last + 2] or {}).text == "{" and last + 2))
      found[#found + 1] = { name = following.value or (self.tokens[i + 2] or {}).value,
        head = span(self, first, last), open = at or nil, keys = {} }
    end
    i = i + 1
  end
  return found
end

--- The declaration that a line begins: `kind "name" { ... }`, `kind(name) { ... }`. `word` is the last part of the kind's
-- name. Returns { head = span, open = index of the `{` or nil }; nil when the line has none.
function M:declaration(line, word, name)
  local found = declarations(self, line, word)
  for _, one in ipairs(found) do
    if one.name == name then return one end
  end
  return found[1]
end

--- The place of a field's name in a declaration; nil when the text does not show it.
function M:key(declaration, name)
  local known = declaration.keys[name]
  if known == nil then
    known = declaration.open and self:field(declaration.open, { name }, "name") or false
    declaration.keys[name] = known
  end
  return known or nil
end

--- The lines of a declaration's fields, by name; those that the text does not show are not in it.
function M:key_lines(declaration)
  local lines = declaration.lines
  if not lines then
    lines = {}
    declaration.lines = lines
    if declaration.open then self:each_key(declaration.open, function(key, token) lines[key] = lines[key] or token.line end) end
  end
  return lines
end

--- A call of a word with a table: `outputs { ... }`, `params { ... }`; as M.declaration gives it.
function M:call(line, word)
  local i = self.first[line]
  while i and self.tokens[i] and self.tokens[i].line <= line + 1 do
    if self.tokens[i].text == word then
      local j = i + 1
      if (self.tokens[j] or {}).text == "(" then j = j + 1 end
      return { head = span(self, i), open = (self.tokens[j] or {}).text == "{" and j or nil }
    end
    i = i + 1
  end
end

-- Goes over the entries of the table that opens at token i: fn(key or position, index of the key or nil, first, last).
local function entries(self, open, fn)
  local close = closing(self, open)
  if not close then return end
  local i, position = open + 1, 0
  while i < close do
    local token, key, key_at = self.tokens[i], nil, nil
    if token.kind == "name" and self.tokens[i + 1].text == "=" then
      key, key_at, i = token.text, i, i + 2
    elseif token.text == "[" then
      local stop = closing(self, i)
      if stop and stop == i + 2 and self.tokens[stop + 1].text == "=" then
        local inner = self.tokens[i + 1]
        key, key_at = inner.value or tonumber(inner.text), i + 1
      end
      i = (stop or i) + 2
    else
      position = position + 1
      key = position
    end
    local first = i
    local depth = 0
    while i < close do
      local here = self.tokens[i]
      local text = here.text
      if here.kind == "name" and (text == "function" or text == "do" or text == "then") then depth = depth + 1 end
      if here.kind == "name" and (text == "end" or text == "elseif") then depth = depth - 1 end
      if here.kind == "symbol" then
        if CLOSER[text] then i = closing(self, i) or close end
        if depth == 0 and (text == "," or text == ";") then break end
      end
      i = i + 1
    end
    if first < close and fn(key, key_at, first, math.min(i, close) - 1) then return end
    i = i + 1
  end
end

--- Goes over the keys of the table that opens at token i: fn(key, token).
function M:each_key(open, fn)
  entries(self, open, function(key, key_at)
    if key_at then fn(key, self.tokens[key_at]) end
  end)
end

--- The place of a field of a table, by its path: { "rules", 2, "port" }. `part` is "name" for the key, else the value.
-- nil when the text does not show it (the table was made elsewhere).
function M:field(open, path, part)
  local best
  for depth, step in ipairs(path) do
    local found
    if not open then break end
    entries(self, open, function(key, key_at, first, last)
      if key ~= step then return false end
      found = { key_at = key_at, first = first, last = last }
      return true
    end)
    if not found then break end
    local deepest = depth == #path
    if deepest and part == "name" and found.key_at then
      best = span(self, found.key_at)
    elseif self.tokens[found.first].text == "{" then
      best = span(self, found.key_at or found.first)
    else
      best = span(self, found.first, found.last)
    end
    open = self.tokens[found.first].text == "{" and found.first or nil
    if not deepest and not open then break end
  end
  return best
end

--- The keys of a table in the order of the text: name to position.
function M:order(open)
  local order, n = {}, 0
  if open then
    entries(self, open, function(key)
      n = n + 1
      if type(key) == "string" then order[key] = order[key] or n end
    end)
  end
  return order
end

--- The names of all local variables and functions of the text.
function M:locals()
  local names = {}
  for i, token in ipairs(self.tokens) do
    if token.kind == "name" and (token.text == "local" or token.text == "for") then
      local j = i + 1
      if (self.tokens[j] or {}).text == "function" then j = j + 1 end
      while self.tokens[j] and self.tokens[j].kind == "name" do
        names[self.tokens[j].text] = true
        if (self.tokens[j + 1] or {}).text ~= "," then break end
        j = j + 2
      end
    end
  end
  return names
end

local OPEN = { ["("] = 1, ["{"] = 1, ["["] = 1, [")"] = -1, ["}"] = -1, ["]"] = -1 }
local GOES_ON = { ["="] = true, [".."] = true, [","] = true, ["and"] = true, ["or"] = true, ["not"] = true, ["+"] = true, ["-"] = true,
  ["*"] = true, ["/"] = true, ["=="] = true, ["~="] = true }

-- The assignments of names outside of all brackets: { name, line, last, uses = { name = line }, order = names }.
local function assignments(self)
  local found, depth, current = {}, 0, nil
  for i, token in ipairs(self.tokens) do
    local before, after = self.tokens[i - 1] or {}, self.tokens[i + 1] or {}
    if current and depth == 0 and token.line > before.line and not GOES_ON[before.text] and not GOES_ON[token.text] then current = nil end
    depth = depth + (token.kind == "symbol" and OPEN[token.text] or 0)
    if token.kind == "name" and before.text ~= "." then
      if depth == 0 and after.text == "=" then
        current = { name = token.text, line = token.line, uses = {}, order = {} }
        found[#found + 1] = current
      elseif current and after.text ~= "=" and not current.uses[token.text] then
        current.uses[token.text] = token.line
        table.insert(current.order, token.text)
      end
    end
    if current then current.last = token.line end
  end
  return found
end

--- Where a name that is not there yet on a line gets its value further down: that line, or nil; and, when what it is given needs
-- what is being made on the line, the cycle: a list of { name, line, needs }.
function M:later(name, line)
  local all, here, by_name = assignments(self), nil, {}
  for _, one in ipairs(all) do
    if one.line <= line and line <= one.last then here = one end
    if one.line > line and not by_name[one.name] then by_name[one.name] = one end
  end
  local target = by_name[name]
  if not target then return nil end
  if not here then return target.line end
  by_name[here.name] = here
  local function back(one, seen)
    if one.uses[here.name] then return { { name = one.name, line = one.uses[here.name], needs = here.name } } end
    for _, use in ipairs(one.order) do
      local way = by_name[use] and not seen[use] and back(by_name[use], setmetatable({ [use] = true }, { __index = seen }))
      if way then
        table.insert(way, 1, { name = one.name, line = one.uses[use], needs = use })
        return way
      end
    end
  end
  local cycle = back(target, { [name] = true, [here.name] = true })
  if cycle then table.insert(cycle, 1, { name = here.name, line = line, needs = name }) end
  return target.line, cycle
end

--- Whether the chain of names that ends in `word` on a line is compared or tested there: "==", "~=", "if", or nil.
function M:tested(line, word)
  local i = self.first[line]
  while i and self.tokens[i] and self.tokens[i].line == line do
    if self.tokens[i].text == word and self.tokens[i - 1] and self.tokens[i - 1].text == "." then
      local after = self.tokens[i + 1] and self.tokens[i + 1].text
      local first = i
      while self.tokens[first - 1] and self.tokens[first - 1].text == "." do first = first - 2 end
      local before = self.tokens[first - 1] and self.tokens[first - 1].text
      local stops = after ~= "." and after ~= "[" and after ~= ":" and after ~= ".." and before ~= ".."
      if stops then
        if after == "==" or after == "~=" or before == "==" or before == "~=" then
          return before == "~=" and before or (after == "~=" and after or "=="), span(self, first, i)
        end
        if (before == "if" or before == "not" or before == "while") and (after == "then" or after == "and" or after == "or" or after == "do") then
          return "if", span(self, first, i)
        end
      end
    end
    i = i + 1
  end
end

return M
