--- The name that was probably meant.

--- Edit distance in which two swapped neighbours cost one; gives up above `limit`.
local function distance(a, b, limit)
  local n, m = #a, #b
  if math.abs(n - m) > limit then return limit + 1 end
  local before, row = {}, {}
  for j = 0, m do row[j] = j end
  for i = 1, n do
    local next_row, best = { [0] = i }, i
    local x = a:byte(i)
    for j = 1, m do
      local y = b:byte(j)
      local cost = math.min(row[j] + 1, next_row[j - 1] + 1, row[j - 1] + (x == y and 0 or 1))
      if i > 1 and j > 1 and x == b:byte(j - 1) and a:byte(i - 1) == y then cost = math.min(cost, before[j - 2] + 1) end
      next_row[j] = cost
      if cost < best then best = cost end
    end
    if best > limit then return limit + 1 end
    before, row = row, next_row
  end
  return row[m]
end

--- The nearest of `names` (a list, or a table by name) to `name`; nil when none is near.
local function nearest(name, names)
  if type(name) ~= "string" then return nil end
  local candidates, listed = {}, #names > 0
  for key, item in pairs(names) do
    local candidate = listed and item or not listed and key
    if type(candidate) == "string" then candidates[#candidates + 1] = candidate end
  end
  table.sort(candidates)
  local limit, found = math.max(1, math.min(3, #name // 3)), nil
  for _, candidate in ipairs(candidates) do
    local d = candidate:lower() == name:lower() and 0 or distance(name, candidate, limit)
    if d <= limit and (not found or d < found.distance) and (d == 0 or d < #name) then
      found = { name = candidate, distance = d }
    end
  end
  return found and found.name
end

--- The end of a message: `; did you mean 'x'?`, or nothing.
local function hint(name, names, quote)
  local found = nearest(name, names)
  quote = quote or "'"
  return found and ("; did you mean %s%s%s?"):format(quote, found, quote) or ""
end

return { nearest = nearest, hint = hint, distance = distance }
