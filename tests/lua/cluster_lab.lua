--- Stacks of recipes/cluster.lua on emulators of their own, applied once for all tests of a file: what the recipe compiles to is
-- read where it ended up, in ARM, on the machines' disks, in the cluster, in Git. `close` ends them; the file calls it last.
local fs, json, process = require "fs", require "json", require "process"
local git, launch, task = require "git", require "emulator.launch", require "task"
local emulator_lab = require "emulator_lab"

local M = { root = arg[0]:match "^(.*)/tests/lua/" or ".", APPLY = 60 }
M.recipe = M.root .. "/recipes/cluster.lua"

local stack = {}
stack.__index = stack
local opened = {}

--- The program on the recipe, with the stack's state: its standard output; raises when it ends with another code than `code`.
function stack:run(verb, words, code)
  local argv = { process.self() }
  for word in verb:gmatch "%S+" do argv[#argv + 1] = word end
  for _, word in ipairs { M.recipe, "--state-dir", self.dir } do argv[#argv + 1] = word end
  for _, word in ipairs(words or {}) do argv[#argv + 1] = word end
  local result = assert(process.run { argv = argv, timeout = M.APPLY, env = { NO_COLOR = "1", AZURE_SUBSCRIPTION_ID = false } })
  if result.code ~= (code or 0) then
    error(("vmrun %s ended with %s: %s"):format(verb, tostring(result.code or result.signal),
      (result.stdout:sub(-2000) .. result.stderr:sub(-2000))), 0)
  end
  return result.stdout, result.stderr
end

--- Applies some targets of the recipe (all without any), and remembers what was said.
function stack:apply(targets, code)
  local words = { "--emulator", "--yes" }
  for _, word in ipairs(self.given) do words[#words + 1] = word end
  for _, target in ipairs(targets or {}) do words[#words + 1] = "--target" words[#words + 1] = target end
  local out, err = self:run("apply", words, code)
  self.said = out .. err
  return self
end

--- What a plan of the stack would do: its actions by address.
function stack:plan(targets)
  local words = { "--json" }
  for _, word in ipairs(self.given) do words[#words + 1] = word end
  for _, target in ipairs(targets or {}) do words[#words + 1] = "--target" words[#words + 1] = target end
  local found = {}
  for _, action in ipairs(json.decode((self:run("plan", words))).actions) do
    if action.action ~= "none" and action.action ~= "same" then found[action.address] = action end
  end
  return found
end

--- A resource of ARM; "~" is the stack's group. Its properties are its own, too: `vm.sku`, `vm.hardwareProfile`.
function stack:arm(path, api)
  local id = path:gsub("^~", "/subscriptions/" .. self.lab.endpoint.subscription .. "/resourceGroups/" .. self.name .. "-rg")
  local answer = self.lab:call("GET", id, nil, { api = api })
  if answer.status ~= 200 then error(("ARM has no %s: %d %s"):format(id, answer.status, answer.body), 2) end
  return setmetatable(answer.json, { __index = answer.json.properties })
end

--- The ids of everything in ARM that was asked for.
function stack:ids() return self.lab:ask("GET", "list").arm end

--- All role assignments of the stack's group and below: { scope =, principalId =, role = GUID }.
function stack:roles()
  local list = {}
  for _, id in ipairs(self:ids()) do
    if id:find("/roleAssignments/", 1, true) then
      local a = self:arm(id, "2022-04-01")
      list[#list + 1] = { scope = id:match "^(.-)/providers/Microsoft.Authorization", principal = a.principalId,
        role = a.roleDefinitionId:match "[^/]+$" }
    end
  end
  return list
end

--- The name of a secret in the stack's vault -> its value; nil when there is none. Our role may still be on its way.
function stack:secret(name)
  local vault = self:arm("~/providers/Microsoft.KeyVault/vaults/" .. self.name .. "-vault", "2024-11-01").vaultUri
  local client = require("azure.arm").open(self:target())
  local answer = client:vault("GET", vault:gsub("/$", ""), "/secrets/" .. name, nil, { ok = { [404] = true }, patience = 30 })
  return answer.status == 200 and answer.json.value or nil
end

function stack:target()
  local e = self.lab.endpoint
  return { kind = "emulator", subscription = e.subscription, tenant = e.tenant, emulator_dir = self.dir .. "/emulator" }
end

--- The machines: hostname -> { root =, id =, private_ip = }.
function stack:machines()
  if self.found then return self.found end
  self.found = {}
  for _, id in ipairs(fs.list(self.dir .. "/emulator/machines")) do
    local root = self.dir .. "/emulator/machines/" .. id .. "/root"
    local name = fs.read(root .. "/etc/hostname")
    if name and (fs.stat(root .. "/var/lib/cloud") or name:find("^" .. self.name .. "%-")) then
      self.found[name:match "%S+"] = { root = root, id = id }
    end
  end
  return self.found
end

--- A file of a machine, or nil; a machine by its host name without the stack's.
function stack:file(machine, path)
  local found = self:machines()[self.name .. "-" .. machine]
  if not found then error("there is no machine " .. machine, 2) end
  return fs.read(found.root .. path), found.root .. path
end

--- A command on a machine, by vmrun exec: what it printed.
function stack:sh(machine, command)
  local name = self.name .. "-" .. machine
  local said = self:run("exec", { name, "--", command }):gsub("\n$", "")
  if said == name .. ": done" then return "" end
  return (said:gsub("^[^\n]*:\n  ", ""):gsub("\n  ", "\n"))
end

--- kubectl as the administrator: its output; `get` decodes it.
function stack:kubectl(...)
  if not self.config then
    self.config = self.dir .. "/admin.conf"
    self:run("kubeconfig", { "--out", self.config })
  end
  local argv = { "kubectl", "--kubeconfig", self.config, "--request-timeout", "20s", ... }
  local result = assert(process.run { argv = argv, timeout = 30, env = { HOME = self.dir } })
  if result.code ~= 0 then error(table.concat(argv, " ", 4) .. ": " .. result.stderr, 2) end
  return result.stdout
end

function stack:get(...) return json.decode((self:kubectl("get", ...))) end

--- An object of the cluster.
function stack:object(kind, name, namespace)
  return self:get(kind, name, "-o", "json", "-n", namespace or "default")
end

function stack:output(name)
  local all = json.decode((self:run("output", { "--json" })))
  if name then return all[name] and all[name].value end
  return all
end

--- What the repository has: path -> text, and the commit.
function stack:repository(prefix)
  local key = assert(fs.read(self:output "git_key_file"))
  local url = self:output "git_url"
  local scan = require("ssh").scan { host = url:match "@([%d.]+):", port = tonumber(url:match ":(%d+)/") }
  local known = {}
  for i, line in ipairs(scan) do known[i] = ("[%s]:%s %s"):format(url:match "@([%d.]+):", url:match ":(%d+)/", line) end
  local got = assert(git.read { url = url, branch = "main", prefix = prefix or "", key = key, known_hosts = known, timeout = 20 })
  return got.files, got.commit, known, key
end

--- Every text below the state folder (state, logs, saved plans; not the emulator's own world) that holds `text`: its path.
function stack:leak(text)
  local function look(folder)
    for _, name in ipairs(fs.list(folder) or {}) do
      local path = folder .. "/" .. name
      local kind = fs.stat(path).type
      local found
      if kind == "directory" and path ~= self.dir .. "/emulator" then found = look(path) end
      if kind == "file" and path ~= self.config and (fs.read(path) or ""):find(text, 1, true) then found = path end
      if found then return found end
    end
  end
  if self.said and self.said:find(text, 1, true) then return "the output of apply" end
  return look(self.dir)
end

--- A stack by a name of its own, made when it is first asked for. `options`: given (parameters), targets, before(stack).
-- A stack that cannot be made fails each test that needs it, with the same words.
function M.stack(key, options)
  local self = opened[key]
  if not self then
    self = setmetatable({ dir = assert(fs.mktemp "vmrun-cluster-"), given = options.given or {}, name = options.name or "demo" }, stack)
    opened[key] = self
    local ok, message = pcall(function()
      self.lab = emulator_lab.at(self.dir .. "/emulator")
      if options.before then options.before(self) end
      if options.targets ~= false then self:apply(options.targets) end
      if options.after then options.after(self) end
    end)
    if not ok then self.failure = message end
  end
  if self.failure then error(self.failure, 0) end
  return self
end

--- The graph of the recipe: addresses -> kinds, and needs(a, b): does a need b, directly or by others?
function M.graph(...)
  local result = assert(process.run { argv = { process.self(), "graph", M.recipe, "--format", "json", ... }, timeout = 20 })
  if result.code ~= 0 then error(result.stderr, 0) end
  local told = json.decode(result.stdout)
  local nodes, edges = {}, {}
  for _, node in ipairs(told.nodes) do nodes[node.address] = node.kind end
  for _, edge in ipairs(told.edges) do
    edges[edge.from] = edges[edge.from] or {}
    table.insert(edges[edge.from], edge.to)
  end
  local function needs(from, to, seen)
    seen = seen or {}
    if seen[from] then return false end
    seen[from] = true
    for _, next_one in ipairs(edges[from] or {}) do
      if next_one == to or needs(next_one, to, seen) then return true end
    end
    return false
  end
  return nodes, needs
end

--- What a role declares for some fields, without a host but with what it is asked: a list of tasks with type, name and canonical
-- fields.
function M.declared(role, given, facts)
  local page = require(role)
  local fields, tasks = { host = { address = "192.0.2.1", user = "root", hostname = "h" } }, {}
  for name, spec in pairs(page.fields) do if spec.default ~= nil and spec.default ~= json.null then fields[name] = spec.default end end
  for name, value in pairs(given or {}) do fields[name] = value end
  local types = require "host.task"
  local host = setmetatable({ checking = true, codename = "bookworm", flush = function() end, ask = function() end }, {
    __index = function(_, kind)
      if page.facts and page.facts[kind] then return facts and facts[kind] or "" end
      return function(title)
        local function add(name, values)
          local declared = types.declare(assert(types.find(kind)), name, values, role)
          declared.kind = kind
          tasks[#tasks + 1] = declared
        end
        if type(title) == "table" then return add(kind, title) end
        return function(values) add(title, values) end
      end
    end })
  page.tasks(host, fields, { progress = function() end })
  return tasks
end

--- Waits until fn gives a true value; the last value after so many seconds.
function M.wait(seconds, fn)
  local ends = task.now() + seconds
  while true do
    local value = fn()
    if value or task.now() > ends then return value end
    task.sleep(0.05)
  end
end

--- Ends all stacks.
function M.close()
  for key, self in pairs(opened) do
    pcall(launch.reset, self.dir .. "/emulator")
    fs.remove(self.dir, { recursive = true })
    opened[key] = nil
  end
end

return M
