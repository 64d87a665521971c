--- The read-eval-print loop's Lua half: an environment with vmrun's modules, and statements that run as tasks, so that what
-- waits may be called as if it blocked.
local json, near = require "json", require "recipe.nearest"
local complete, fail, kind, kinds = require "cli.complete", require "fail", require "kind", require "cli.kinds"

local M = {}

local MODULES = { "crypto", "dial", "fail", "fs", "git", "http", "json", "log", "process", "server", "ssh", "stream", "task", "wait",
  "yaml", "kubernetes" }

local env, pending, opened

-- Values as text.

local function key_text(key)
  if type(key) == "string" and key:find("^[%a_][%w_]*$") then return key end
  return "[" .. (type(key) == "string" and ("%q"):format(key) or tostring(key)) .. "]"
end

local function keys_of(t)
  local keys = {}
  for key in next, t do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    if type(a) == type(b) and (type(a) == "number" or type(a) == "string") then return a < b end
    return type(a) == "number" or (type(b) ~= "number" and tostring(a) < tostring(b))
  end)
  return keys
end

local function show(value, indent, seen)
  if type(value) == "string" then return (("%q"):format(value):gsub("\\\n", "\\n")) end
  if value == json.null then return "null" end
  if type(value) ~= "table" then return tostring(value) end
  local mt = getmetatable(value)
  if type(mt) == "table" and mt.__tostring then return tostring(value) end
  if seen[value] then return "{ ... }" end
  seen[value] = true
  local parts, n = {}, #value
  for i = 1, n do parts[i] = show(value[i], indent .. "  ", seen) end
  for _, key in ipairs(keys_of(value)) do
    if not (math.type(key) == "integer" and key >= 1 and key <= n) then
      parts[#parts + 1] = key_text(key) .. " = " .. show(value[key], indent .. "  ", seen)
    end
  end
  seen[value] = nil
  if #parts == 0 then return "{}" end
  local line = "{ " .. table.concat(parts, ", ") .. " }"
  if #line + #indent <= 100 and not line:find("\n", 1, true) then return line end
  return "{\n" .. indent .. "  " .. table.concat(parts, ",\n" .. indent .. "  ") .. "\n" .. indent .. "}"
end

--- A value as text over several lines.
function M.show(value) return show(value, "", {}) end

-- The environment.

local function resources_of(session)
  local all = {}
  for _, row in ipairs(session.rows or {}) do
    local value = {}
    for name, item in pairs(row.fields) do value[name] = item end
    for name, item in pairs(row.outputs) do value[name] = item end
    all[row.address] = value
  end
  return setmetatable(all, { __index = function(_, address)
    local names = {}
    for name in next, all do names[#names + 1] = name end
    error(("the state has no '%s'%s"):format(tostring(address), near.hint(address, names)), 2)
  end })
end

-- `kinds`: providers, then kinds. A kind shows what it takes, and called it checks fields as a recipe would; what stands for another
-- resource is taken as it is.

local function checked(page, fields)
  local own, references = {}, {}
  for name, value in pairs(fields) do
    local into = page.fields[name] and page.fields[name].type == "resource" and references or own
    into[name] = value
  end
  local got, problems = kind.check(page, own)
  local lines = {}
  for _, problem in ipairs(problems) do
    local missing = page.fields[problem.missing]
    if not (missing and (missing.type == "resource" or problem.missing == page.own_name)) then lines[#lines + 1] = page.name .. " " .. problem.text end
  end
  if lines[1] then error(fail { table.concat(lines, "\n"), code = "fields" }, 0) end
  for name, value in pairs(references) do got[name] = value end
  return got
end

local function shown_kind(page)
  return setmetatable({}, { __tostring = function() return kinds.text(page) end,
    __call = function(_, fields) return checked(page, fields) end })
end

local function all_kinds()
  local providers = {}
  for _, name in ipairs(kinds.names()) do
    local provider, word = name:match "^([^.]+)%.(.+)$"
    providers[provider] = providers[provider] or {}
    providers[provider][word] = shown_kind(kind.find(name))
  end
  return providers
end

local HELP = [[
An expression is evaluated and shown; a statement runs. What waits can be called as if it blocked; Ctrl-C cancels it.
  resources["ADDRESS"]   fields and outputs of a resource of the stack       outputs    the stack's outputs
  session                the stack: rows, target, folder                     help       this text
  kinds.azure.subnet     what a kind takes; kinds.azure.subnet { cidr = "10.0.0.0/24" } checks fields; Tab completes them
  nodes.list(), nodes.reboot(PATTERN), nodes.maintain(PATTERN, { security = true, reboot = "always" })
                         the stack's Nodes, one at a time: drained, upgraded, restarted; PATTERN as of `vmrun exec`
  azure.list(TYPE, GROUP), azure.get(ID), azure.request(METHOD, PATH, BODY)  of the stack's target
modules: ]] .. table.concat(MODULES, ", ")

--- Begins a session. `session` is what vr_session_describe gives, or null.
function M.open(session)
  session = type(session) == "table" and session or {}
  pending, opened = "", session
  local words = { session = session, resources = resources_of(session), outputs = session.outputs or {}, target = session.target,
    help = setmetatable({}, { __tostring = function() return HELP end }) }
  local known = {}
  for _, name in ipairs(MODULES) do known[name] = true end
  env = setmetatable(words, { __index = function(_, name)
    if name == "azure" then return require "azure.console" (session.target) end
    if name == "kinds" then
      words.kinds = all_kinds()
      return words.kinds
    end
    if known[name] then
      local ok, module = pcall(require, name)
      if ok then return module end
    end
    return _G[name]
  end })
  return json.null
end

local function compile(text)
  local chunk = load("return " .. text, "=repl", "t", env)
  if chunk then return chunk end
  local message
  chunk, message = load(text, "=repl", "t", env)
  return chunk, message
end

local function run(chunk)
  local results = table.pack(xpcall(chunk, function(err)
    if type(err) == "table" and err.message then
      return err.message .. (err.code and " (" .. err.code .. ")" or "") .. (err.hint and "\n    " .. err.hint or "")
    end
    return tostring(err)
  end))
  if not results[1] then
    io.stderr:write(results[2], "\n")
    return false
  end
  for i = 2, results.n do print(M.show(results[i])) end
  if results.n > 1 then env._ = results[2] end
  return true
end

-- Operations need what no state has, such as keys: a line that names them is evaluated once that was fetched.
local function wants_nodes(text)
  if rawget(env, "nodes") then return false end
  for before in text:gmatch "()%f[%w_]nodes%s*%." do
    if not text:sub(1, before - 1):find "[%.:]%s*$" then return true end
  end
  return false
end

--- What a line wanted: { session =, values = }, see cli/nodes.lua.
function M.give(given)
  rawset(env, "nodes", require "cli.nodes".new(given.session, given.values))
  return json.null
end

--- One line. "more" when the statement goes on, "ok", or "failed"; { values = addresses } when it is to be given (`give`) the values
-- of these resources, and then to be fed again.
function M.feed(line)
  local text = pending .. line
  if text:find("^%s*$") then
    pending = ""
    return "ok"
  end
  local chunk, message = compile(text)
  if not chunk then
    if message:find("<eof>", 1, true) then
      pending = text .. "\n"
      return "more"
    end
    pending = ""
    io.stderr:write((message:gsub("^repl:%d+: ", "")), "\n")
    return "failed"
  end
  if wants_nodes(text) then
    local ok, chosen = pcall(require "cli.nodes".choose, opened)
    if ok then return { values = chosen } end
    pending = ""
    io.stderr:write(tostring(chosen.message or chosen), "\n")
    return "failed"
  end
  pending = ""
  local ok = run(chunk)
  io.stdout:flush()
  return ok and "ok" or "failed"
end

--- Forgets a statement that was begun.
function M.reset()
  pending = ""
  return json.null
end

-- Names of the environment, and fields of tables that a word names.
local function names_of(word)
  local path, last = word:match("^(.-)([%w_]*)$")
  local found, holder = {}, env
  for name in path:gmatch("([%w_]+)[.:]") do
    local ok, value = pcall(function() return holder[name] end)
    if not ok or type(value) ~= "table" then return {} end
    holder = value
  end
  local function add(t)
    for name in next, t do
      if type(name) == "string" and name:sub(1, #last) == last and name:find("^[%a_][%w_]*$") then found[path .. name] = true end
    end
  end
  add(holder)
  local mt = getmetatable(holder)
  if type(mt) == "table" and type(mt.__index) == "table" then add(mt.__index) end
  if holder == env then
    add(_G)
    for _, name in ipairs { "kinds", "nodes", table.unpack(MODULES) } do
      if name:sub(1, #last) == last then found[path .. name] = true end
    end
  end
  return keys_of(found)
end

-- The types of ARM that kinds are of.
local function types()
  local found = {}
  for _, name in ipairs(kinds.names()) do
    local page = kind.find(name)
    if type(page.type) == "string" then found[page.type] = true end
  end
  return keys_of(found)
end

-- What a string may hold by what stands before it: an address of the state, a type of Azure's.
local function strings_of(line)
  local typed = line:match "resources%s*%[%s*[\"']([^\"']*)$"
  if typed then return keys_of(env.resources), typed end
  typed = line:match "azure%.list%s*%(?%s*[\"']([^\"']*)$"
  if typed then return types(), typed end
end

--- What the word at the end of a line may become. `begun` is `N LINE`: the word's place in the line, from 0, and the line up to the cursor.
function M.complete(begun)
  local start, line = begun:match "^(%d+) (.*)$"
  local word = line:sub(tonumber(start) + 1)
  local list, typed = strings_of(line)
  if not list then list, typed = complete.candidates(pending .. line) end
  if not list then return json.array(names_of(word)) end
  -- A candidate may begin before the word: the editor splits at more signs than a name ends at.
  local found = json.array {}
  for _, candidate in ipairs(list) do
    if candidate:sub(1, #typed) == typed then found[#found + 1] = word .. candidate:sub(#typed + 1) end
  end
  return found
end

return M
