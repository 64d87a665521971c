--- Versions and what is asked of them, in Terraform's way of writing it: "= 1.2.3", "!= 1.2", ">= 1.2, < 2.0", "~> 1.2".
local M = {}

local function parse(text)
  local parts = {}
  if not text:find("^%d+[%d.]*$") then return nil end
  for number in text:gmatch("%d+") do parts[#parts + 1] = math.tointeger(tonumber(number)) end
  return #parts <= 3 and not text:find("..", 1, true) and not text:find("%.$") and parts or nil
end

local function compare(a, b)
  for i = 1, 3 do
    local x, y = a[i] or 0, b[i] or 0
    if x ~= y then return x < y and -1 or 1 end
  end
  return 0
end

local FITS = {
  ["="] = function(c) return c == 0 end, ["!="] = function(c) return c ~= 0 end,
  [">"] = function(c) return c > 0 end, [">="] = function(c) return c >= 0 end,
  ["<"] = function(c) return c < 0 end, ["<="] = function(c) return c <= 0 end,
  -- The last part that is written may grow: ~> 1.2 is 1.2 and up to 2.0, ~> 1.2.3 is 1.2.3 and up to 1.3.
  ["~>"] = function(c, have, want)
    for i = 1, #want - 1 do
      if (have[i] or 0) ~= want[i] then return false end
    end
    return c >= 0
  end,
}

--- Whether a version fits all of the constraints, which commas separate; nil and what is wrong with them.
function M.fits(have, constraints)
  if type(constraints) ~= "string" then return nil, 'a version is a text such as "~> 0.4"' end
  local version, all = parse(have), true
  for one in (constraints .. ","):gmatch("%s*([^,]-)%s*,") do
    local sign, text = one:match("^([=!<>~]*)%s*(.+)$")
    local test, want = FITS[sign == "" and "=" or sign], text and parse(text)
    if not test or not want then return nil, ("%q is no version; write \"~> 0.4\", \">= 0.4, < 1.0\" or \"= 0.4.2\""):format(one) end
    all = all and test(compare(version, want), version, want)
  end
  return all
end

return M
