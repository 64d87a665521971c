--- Graphs for the engine's benchmark: vmrun lua graph.lua SHAPE NODES SEED FOLDER writes FOLDER/edges (a line a node: its name, and the
-- names of what it waits for) and FOLDER/main.tf (the same as Terraform's terraform_data). Shapes: wide, tree, chain, layered.
-- vmrun lua graph.lua FILE FOLDER writes main.tf for an edge list that is there.
local fs = require "fs"
local shape, count, seed, folder = arg[1], tonumber(arg[2]), tonumber(arg[3]), arg[4]

local LAYERS, FAN = 20, 3
local waits = {
  wide = function(i) return i > 0 and { 0 } or {} end,
  tree = function(i) return i > 0 and { (i - 1) // 2 } or {} end,
  chain = function(i) return i > 0 and { i - 1 } or {} end,
  layered = function(i)
    local layer = i * LAYERS // count
    local first, last = (layer - 1) * count // LAYERS, layer * count // LAYERS - 1
    if layer == 0 or first > last then return {} end
    local chosen, list = {}, {}
    for _ = 1, math.min(FAN, last - first + 1) do
      local one
      repeat one = math.random(first, last) until not chosen[one]
      chosen[one] = true
      list[#list + 1] = one
    end
    table.sort(list)
    return list
  end,
}

local function generate()
  math.randomseed(seed)
  local lines = {}
  for i = 0, count - 1 do
    local words = { "n" .. i }
    for _, need in ipairs(waits[shape](i)) do words[#words + 1] = "n" .. need end
    lines[#lines + 1] = table.concat(words, " ")
  end
  return table.concat(lines, "\n") .. "\n"
end

local text
if waits[shape] then
  text = generate()
  assert(fs.write(folder .. "/edges", text))
else
  text, folder = assert(fs.read(shape)), arg[2]
end
local resources = {}
for line in text:gmatch("[^\n]+") do
  local name, needs = nil, {}
  for word in line:gmatch("%S+") do
    if name then needs[#needs + 1] = ("terraform_data.%s.id"):format(word) else name = word end
  end
  resources[#resources + 1] = ('resource "terraform_data" "%s" {\n  input = [%s]\n}\n'):format(name, table.concat(needs, ", "))
end
assert(fs.write(folder .. "/main.tf", table.concat(resources)))
