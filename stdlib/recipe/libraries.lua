--- Libraries of recipes: Lua files beside the recipe, then on VMRUN_PATH, read in the same sandbox.
--
--     require "net.names"            net/names.lua
--     use("mine").thing "x" {}       mine/thing.lua, a page that returns a kind or a component
local declare, kind, near = require "declare", require "kind", require "recipe.nearest"
local now = require "recipe.current"

local M = {}

local LOADING = {}
local PURE = { json = true, yaml = true, crypto = true, kind = true, field = true, fail = true,
  role = true, ["azure.statement"] = true, ["kubernetes.set"] = true } -- the makers of kinds
local NATIVE = { http = true, ssh = true, git = true, task = true, log = true, stream = true, fs = true, process = true,
  server = true, sqlite = true, dial = true, wait = true }

local function join(root, path) return root == "." and path or root .. "/" .. path end

-- The text of a library: its root, its path for people, and the text; nil when there is none.
local function find(name)
  local relative = name:gsub("%.", "/")
  for _, root in ipairs(M.roots) do
    for _, path in ipairs { relative .. ".lua", relative .. "/init.lua" } do
      local text, message, code = declare.read(join(root, path), root)
      if text then return join(root, path), text, root end
      if code ~= "absent" then now.raise(message) end
    end
  end
end

-- The libraries in the folder where `name` would be.
local function names(name)
  local found, above = {}, name:match("^(.*)%.[^.]+$")
  for _, root in ipairs(M.roots) do
    for _, entry in ipairs(declare.list(above and join(root, above:gsub("%.", "/")) or root) or {}) do
      local last = entry:match("^([%w_-]+)%.lua$") or entry:match("^([%w_-]+)$")
      if last then found[#found + 1] = (above and above .. "." or "") .. last end
    end
  end
  return found
end

local function compile(path, text, root, env)
  local source = require("recipe.source").new(path, text)
  now.files["@" .. path], now.sources[path] = source, source
  source.root = root
  if text:byte(1) == 27 then now.raise(path .. " is compiled Lua; libraries are text") end
  local chunk, message = load(text, "@" .. path, "t", env)
  if not chunk then
    local line, what = message:match(":(%d+): (.*)$")
    local place = { file = path, line = tonumber(line) or 1 }
    now.problem(place, what or message, source:word(place.line, (what or ""):match("near '(.-)'$") or ""))
    return nil
  end
  return chunk
end

--- require for recipes: a library of the recipe's own.
function M.require(name)
  if type(name) ~= "string" or not name:find("^[%w_][%w_.-]*$") then
    now.raise(('require wants the name of a library, such as require "names", got %s'):format(tostring(name)), "require")
  end
  local loaded = M.loaded[name]
  if loaded == LOADING then now.raise(("library '%s' requires itself"):format(name), name) end
  if loaded ~= nil then return loaded end
  local path, text, root = find(name)
  if not path then
    now.raise(("no library '%s' beside the recipe or on VMRUN_PATH%s"):format(name, near.hint(name, names(name))), name)
  end
  local chunk = compile(path, text, root, M.environment)
  if not chunk then
    M.loaded[name] = now.poison()
    return M.loaded[name]
  end
  M.loaded[name] = LOADING
  local result = now.guard(chunk, name)
  M.loaded[name] = result == nil and true or result
  return M.loaded[name]
end

-- A native module whose functions do nothing while a recipe is read: that has no effect on the world.
local function guarded(name)
  local module = require(name)
  if type(module) ~= "table" then return module end
  return setmetatable({}, {
    __metatable = false,
    __index = function(_, key)
      local item = module[key]
      if type(item) ~= "function" then return item end
      return function(...)
        if now.evaluating then now.raise(("%s.%s works only inside a kind's verbs, not while a recipe is read"):format(name, key), key) end
        return item(...)
      end
    end,
  })
end

local function page_require(name)
  if PURE[name] then return require(name) end
  if NATIVE[name] then return guarded(name) end
  return M.require(name)
end

--- The page `provider/name.lua` of a library; nil when there is none. Kinds may require native modules for their verbs.
function M.kind(provider, name)
  local key = provider .. "." .. name
  local loaded = M.loaded[key]
  if loaded ~= nil then return loaded end
  local path, text, root = find(key)
  if not path then return nil end
  local env = setmetatable({}, { __metatable = false, __index = function(_, word)
    if word == "require" then return page_require end
    return M.environment[word]
  end, __newindex = function(_, word, item) M.environment[word] = item end })
  local chunk = compile(path, text, root, env)
  local page = chunk and now.guard(chunk, key) or now.poison()
  M.loaded[key] = page
  return page
end

--- Whether some library has a folder of this name.
function M.has(provider)
  for _, root in ipairs(M.roots) do
    if declare.list(join(root, provider)) then return true end
  end
  return false
end

--- The pages of a provider's folder, by name.
function M.kinds(provider)
  local found = {}
  for _, root in ipairs(M.roots) do
    for _, entry in ipairs(declare.list(join(root, provider)) or {}) do
      local name = entry:match("^([%w_]+)%.lua$")
      if name and name ~= "init" then found[#found + 1] = name end
    end
  end
  return found
end

--- Begins anew: `roots` are the recipe's folder and those of VMRUN_PATH.
function M.begin(roots, environment)
  M.roots, M.environment, M.loaded = roots, environment, {}
end

M.is_kind = kind.is
return M
