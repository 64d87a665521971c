-- README.md, doc/vmrun.1 and `vmrun help` tell of the same program: verbs and options that are written down exist.
local fs, process = require "fs", require "process"
local test = require "tap"

local root = arg[0]:match("^(.*)/tests/lua/") or "."

local function help(...)
  local result = assert(process.run { argv = { process.self(), "help", ... }, timeout = 10 })
  assert(result.code == 0, result.stderr)
  return result.stdout
end

local function verbs()
  local list = {}
  for verb in help():gmatch("\n  (%l+)  ") do list[verb] = true end
  return list
end

-- The commands of README.md: lines of its plain blocks that start with vmrun, without their comments.
local function commands()
  local list, inside = {}, nil
  local text = assert(fs.read(root .. "/README.md")):gsub("\\\n%s*", "")
  for line in text:gmatch("[^\n]+") do
    local fence = line:match("^```(.*)$")
    local command = inside == "" and line:match("^%$?vmrun%s+(.*)$")
    if fence then
      inside = not inside and fence or nil
    elseif command then
      list[#list + 1] = (command:gsub("%s+#.*$", ""))
    end
  end
  return list
end

test("what README.md runs is there", function(t)
  local known, list = verbs(), commands()
  t.ok(#list >= 8, "the README has commands")
  for _, command in ipairs(list) do
    local first = command:match("^%S+")
    local recipe = command:match("%S+%.lua")
    local verb = known[first] and first or "apply"
    t.ok(known[first] or first == recipe, command .. ": no such verb")
    t.ok(recipe == nil or fs.stat(root .. "/" .. recipe) ~= nil, command .. ": no such recipe")
    local options = help(verb)
    for option in command:gsub(" %-%- .*$", ""):gmatch("%s(%-%-[%l-]+)") do
      t.ok(options:find(option .. "[ \n=[]") ~= nil, command .. ": no such option " .. option)
    end
    local parameters = recipe and help(root .. "/" .. recipe) or ""
    for name in command:gmatch("%s([%l_]+)=") do
      t.ok(parameters:find(name, 1, true) ~= nil, command .. ": no such parameter " .. name)
    end
  end
end)

test("the manual page has each verb", function(t)
  local page = assert(fs.read(root .. "/doc/vmrun.1"))
  for verb in pairs(verbs()) do t.ok(page:find(verb, 1, true) ~= nil, verb) end
end)

test("README.md's recipe and each example can be read", function(t)
  local folder = assert(fs.mktemp("vmrun-docs"))
  local recipe = assert(fs.read(root .. "/README.md")):match("\n```lua\n(.-\n)```")
  assert(fs.write(folder .. "/readme.lua", recipe))
  local files = { folder .. "/readme.lua" }
  for _, name in ipairs(assert(fs.list(root .. "/examples"))) do
    if name:match("%.lua$") and name ~= "role.lua" then files[#files + 1] = root .. "/examples/" .. name end
  end
  for _, file in ipairs(files) do
    local result = assert(process.run { argv = { process.self(), "check", file }, env = { HOST_KEY = "a key" }, timeout = 30 })
    t.eq(result.code, 0, file .. ": " .. result.stderr)
  end
  fs.remove(folder, { recursive = true })
end)

test.done()
