-- A graph from an edge list: a line a node, its name and then the names of what it waits for.
local timed = use("timed")

local p = params {
  edges = param.file { help = "the edge list" },
  seconds = param.number { default = 0, min = 0, help = "how long each node takes to make" },
}

local entries, users, ready = {}, {}, {}
for line in p.edges:gmatch("[^\n]+") do
  local needs = {}
  for word in line:gmatch("%S+") do needs[#needs + 1] = word end
  local name = table.remove(needs, 1)
  if name then
    local entry = { name = name, needs = needs, missing = #needs }
    entries[#entries + 1] = entry
    if entry.missing == 0 then ready[#ready + 1] = entry end
    for _, need in ipairs(needs) do
      users[need] = users[need] or {}
      table.insert(users[need], entry)
    end
  end
end

local nodes, count = {}, 0
while ready[count + 1] do
  count = count + 1
  local entry, needs = ready[count], {}
  for i, need in ipairs(entry.needs) do needs[i] = nodes[need].id end
  nodes[entry.name] = timed.node(entry.name) { needs = needs, seconds = p.seconds }
  for _, user in ipairs(users[entry.name] or {}) do
    user.missing = user.missing - 1
    if user.missing == 0 then ready[#ready + 1] = user end
  end
end

for _, entry in ipairs(entries) do
  if not nodes[entry.name] then
    error(("%s waits for itself, or for a name that has no line: %s"):format(entry.name, table.concat(entry.needs, " ")))
  end
end
