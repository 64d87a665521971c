--- The part of JSONPath that printer columns and scale subresources use: fields, indexes, `[*]`, and filters on equality.
local json = require "json"

local jsonpath = {}

local function literal(text)
  return text:match('^"(.*)"$') or text:match("^'(.*)'$") or tonumber(text) or (text == "true" and true) or text
end

local function parse(path)
  local steps, at = {}, 1
  path = path:gsub("^{", ""):gsub("}$", ""):gsub("^%$", "")
  while at <= #path do
    local c = path:sub(at, at)
    if c == "." then
      local name, tail = path:match("^([^%.%[\\]+)()", at + 1)
      name, tail = name or "", tail or at + 1
      while path:sub(tail, tail) == "\\" do        -- an escaped dot belongs to the name
        local more, next_ = path:match("^([^%.%[\\]*)()", tail + 2)
        name, tail = name .. path:sub(tail + 1, tail + 1) .. more, next_
      end
      if name == "*" then steps[#steps + 1] = { all = true } elseif name ~= "" then steps[#steps + 1] = { name = name } end
      at = tail
    elseif c == "[" then
      local inner, tail = path:match("^%[(.-)%]()", at)
      local filter = path:match("^%[%?%((.-)%)%]", at)
      if filter then
        tail = at + #filter + 5
        local left, op, right = filter:match("^%s*@%.?(.-)%s*([=!]=)%s*(.-)%s*$")
        if not left then return nil end
        steps[#steps + 1] = { filter = parse("." .. left), equal = op == "==", literal = literal(right) }
      elseif inner == "*" then
        steps[#steps + 1] = { all = true }
      elseif tonumber(inner) then
        steps[#steps + 1] = { index = tonumber(inner) + 1 }
      elseif inner then
        steps[#steps + 1] = { name = inner:match("^['\"](.*)['\"]$") or inner }
      else
        return nil
      end
      at = tail
    else
      local name, tail = path:match("^([^%.%[]+)()", at)
      steps[#steps + 1] = { name = name }
      at = tail
    end
  end
  return steps
end

local function walk(steps, at, v, out)
  if v == nil or v == json.null then return end
  local step = steps[at]
  if not step then out[#out + 1] = v; return end
  if type(v) ~= "table" then return end
  if step.name then return walk(steps, at + 1, v[step.name], out) end
  if step.index then return walk(steps, at + 1, v[step.index], out) end
  for _, item in ipairs(v) do
    local take = step.all
    if step.filter then
      local found = {}
      walk(step.filter, 1, item, found)
      take = (found[1] == step.literal) == step.equal
    end
    if take then walk(steps, at + 1, item, out) end
  end
  if step.all and not json.is_array(v) then
    for _, item in pairs(v) do walk(steps, at + 1, item, out) end
  end
end

local compiled = {}

--- All values at a path, in order.
function jsonpath.all(path, v)
  local steps = compiled[path]
  if steps == nil then
    steps = parse(path) or false
    compiled[path] = steps
  end
  local out = {}
  if steps then walk(steps, 1, v, out) end
  return out
end

--- The first value at a path, or nil.
function jsonpath.first(path, v) return jsonpath.all(path, v)[1] end

--- Sets the value at a path of plain names.
function jsonpath.set(path, v, new)
  local steps = parse(path)
  for i = 1, #steps - 1 do
    local name = steps[i].name or steps[i].index
    if type(v[name]) ~= "table" then v[name] = {} end
    v = v[name]
  end
  v[steps[#steps].name] = new
end

return jsonpath
