--- Regular expressions as the schemas of custom resources use them (a part of RE2): alternation, groups, classes,
-- counted repetition, anchors. Compiled to a tree and matched by backtracking over bytes.
local regex = {}

local classes = {
  d = function(c) return c >= 48 and c <= 57 end,
  w = function(c) return c >= 48 and c <= 57 or c >= 65 and c <= 90 or c >= 97 and c <= 122 or c == 95 end,
  s = function(c) return c == 32 or c >= 9 and c <= 13 end,
}

local function negated(fn) return function(c) return not fn(c) end end

local escapes = { n = 10, t = 9, r = 13, f = 12, v = 11, a = 7 }

local posix = { alpha = "%a", digit = "%d", alnum = "%w", upper = "%u", lower = "%l", space = "%s", punct = "%p", xdigit = "%x" }

local parse_alternation

local function escape(p)
  local c = p.text:sub(p.at, p.at)
  p.at = p.at + 1
  if classes[c] then return { "class", classes[c] } end
  if classes[c:lower()] and c ~= c:lower() then return { "class", negated(classes[c:lower()]) } end
  if c == "A" then return { "start" } end
  if c == "z" then return { "finish" } end
  if c == "b" then return { "boundary" } end
  if c == "x" then
    local hex = p.text:match("^%x%x", p.at)
    if hex then p.at = p.at + 2; return { "byte", tonumber(hex, 16) } end
  end
  if c == "" then error("trailing backslash") end
  return { "byte", escapes[c] or c:byte() }
end

local function parse_class(p)
  local negate = p.text:sub(p.at, p.at) == "^"
  if negate then p.at = p.at + 1 end
  local tests, first = {}, true
  while true do
    local c = p.text:sub(p.at, p.at)
    if c == "" then error("missing closing ]") end
    if c == "]" and not first then p.at = p.at + 1; break end
    first = false
    local name = p.text:match("^%[:(%a+):%]", p.at)
    local low
    if name and posix[name] then
      p.at = p.at + #name + 4
      local pattern = posix[name]
      tests[#tests + 1] = function(b) return string.char(b):match(pattern) ~= nil end
    elseif c == "\\" then
      p.at = p.at + 1
      local node = escape(p)
      if node[1] == "class" then tests[#tests + 1] = node[2] else low = node[2] end
    else
      low = c:byte()
      p.at = p.at + 1
    end
    if low then
      local high = low
      if p.text:sub(p.at, p.at) == "-" and p.text:sub(p.at + 1, p.at + 1) ~= "]" then
        p.at = p.at + 1
        local h = p.text:sub(p.at, p.at)
        p.at = p.at + 1
        high = h == "\\" and escape(p)[2] or h:byte()
      end
      tests[#tests + 1] = function(b) return b >= low and b <= high end
    end
  end
  return { "class", function(b)
    for _, test in ipairs(tests) do
      if test(b) then return not negate end
    end
    return negate
  end }
end

local function parse_atom(p)
  local c = p.text:sub(p.at, p.at)
  p.at = p.at + 1
  if c == "(" then
    local flags = p.text:match("^%?[imsU]*:", p.at) or p.text:match("^%?P?<%w+>", p.at)
    if flags then p.at = p.at + #flags elseif p.text:sub(p.at, p.at) == "?" then error("unsupported group") end
    local node = parse_alternation(p)
    if p.text:sub(p.at, p.at) ~= ")" then error("missing closing )") end
    p.at = p.at + 1
    return node
  elseif c == "[" then
    return parse_class(p)
  elseif c == "." then
    return { "class", function(b) return b ~= 10 end }
  elseif c == "^" then
    return { "start" }
  elseif c == "$" then
    return { "finish" }
  elseif c == "\\" then
    return escape(p)
  end
  return { "byte", c:byte() }
end

local function parse_sequence(p)
  local list = { "sequence" }
  while p.at <= #p.text do
    local c = p.text:sub(p.at, p.at)
    if c == "|" or c == ")" then break end
    local node = parse_atom(p)
    while true do
      local q = p.text:sub(p.at, p.at)
      local low, high
      if q == "*" then low, high = 0, math.huge elseif q == "+" then low, high = 1, math.huge elseif q == "?" then low, high = 0, 1
      elseif q == "{" then
        local a, comma, b, tail = p.text:match("^{(%d+)(,?)(%d*)}()", p.at)
        if not a then break end
        low, high = tonumber(a), comma == "" and tonumber(a) or tonumber(b) or math.huge
        p.at = tail - 1
      else
        break
      end
      p.at = p.at + 1
      local lazy = p.text:sub(p.at, p.at) == "?"
      if lazy then p.at = p.at + 1 end
      node = { "repeat", node, low, high, lazy }
    end
    list[#list + 1] = node
  end
  return list
end

function parse_alternation(p)
  local node = { "either", parse_sequence(p) }
  while p.text:sub(p.at, p.at) == "|" do
    p.at = p.at + 1
    node[#node + 1] = parse_sequence(p)
  end
  return #node == 2 and node[2] or node
end

local match

local function word(text, at)
  local c = text:byte(at)
  return c ~= nil and classes.w(c)
end

local matchers = {
  byte = function(node, text, at, rest) return text:byte(at) == node[2] and rest(at + 1) end,
  class = function(node, text, at, rest)
    local c = text:byte(at)
    return c ~= nil and node[2](c) and rest(at + 1)
  end,
  start = function(_, _, at, rest) return at == 1 and rest(at) end,
  finish = function(_, text, at, rest) return at == #text + 1 and rest(at) end,
  boundary = function(_, text, at, rest) return word(text, at - 1) ~= word(text, at) and rest(at) end,
  either = function(node, text, at, rest)
    for i = 2, #node do
      if match(node[i], text, at, rest) then return true end
    end
    return false
  end,
  sequence = function(node, text, at, rest)
    local function step(i, here)
      if i > #node then return rest(here) end
      return match(node[i], text, here, function(next_) return step(i + 1, next_) end)
    end
    return step(2, at)
  end,
  ["repeat"] = function(node, text, at, rest)
    local inner, low, high, lazy = node[2], node[3], node[4], node[5]
    if inner[1] == "class" or inner[1] == "byte" then      -- the common case, without recursion
      local n = 0
      while n < high do
        local c = text:byte(at + n)
        if c == nil or not (inner[1] == "byte" and c == inner[2] or inner[1] == "class" and inner[2](c)) then break end
        n = n + 1
      end
      for k = n, low, -1 do
        if rest(at + k) then return true end
      end
      return false
    end
    local function step(count, here)
      if lazy and count >= low and rest(here) then return true end
      if count < high and match(inner, text, here, function(next_)
        return (next_ > here or count < low) and step(count + 1, next_)
      end) then return true end
      return not lazy and count >= low and rest(here)
    end
    return step(0, at)
  end,
}

function match(node, text, at, rest) return matchers[node[1]](node, text, at, rest) end

local compiled = {}

--- Does the pattern match somewhere in the text? nil when the pattern is beyond what is understood here.
function regex.match(pattern, text)
  local tree = compiled[pattern]
  if tree == nil then
    local p = { text = pattern, at = 1 }
    local ok, node = pcall(parse_alternation, p)
    tree = ok and p.at > #pattern and node or false
    compiled[pattern] = tree
  end
  if not tree then return nil end
  for at = 1, #text + 1 do
    if match(tree, text, at, function() return true end) then return true end
  end
  return false
end

return regex
