-- A graph from an edge list: a line a node, its name and then the names of what it waits for.
local timed = use("timed")

local p = params {
  edges = param.file { help = "the edge list" },
  seconds = param.number { default = 0, min = 0, help = "how long each node takes to make" },
}

local ids, users, held = {}, {}, {}

-- Declares a node when all that it needs is declared; else it is held, and counts what it misses.
local function declare(name, names)
  local needs, missing = {}, nil
  for need in names:gmatch("%S+") do
    if ids[need] then
      needs[#needs + 1] = ids[need]
    else
      missing = missing or { name = name, names = names, count = 0 }
      missing.count = missing.count + 1
      users[need] = users[need] or {}
      table.insert(users[need], missing)
    end
  end
  held[name] = missing and names
  if not missing then ids[name] = timed.node(name) { needs = needs, seconds = p.seconds }.id end
end

for name, names in p.edges:gmatch("([^ \t\r\n]+)([^\n]*)") do
  declare(name, names)
  local done = { users[name] and ids[name] and name }
  while done[1] do
    for _, user in ipairs(users[table.remove(done)] or {}) do
      user.count = user.count - 1
      if user.count == 0 then
        declare(user.name, user.names)
        done[#done + 1] = user.name
      end
    end
  end
end

for name, names in pairs(held) do
  error(("%s waits for itself, or for a name that has no line:%s"):format(name, names))
end
