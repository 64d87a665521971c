--- Policies: Lua files that see a whole plan and deny it, or warn of it.
local fail, fs, json = require "fail", require "fs", require "json"
local sandbox = require "recipe.sandbox"

local M = {}

local STEPS = 500000000 -- of Lua's machine: some seconds

-- A copy with secrets as "(secret)", and without what is not known yet.
local function clean(item)
  if item == json.null then return nil end
  if type(item) ~= "table" then return item end
  if item["$digest"] then return "(secret)" end
  if item["$unknown"] then return nil end
  local copy = {}
  for key, part in pairs(item) do copy[key] = clean(part) end
  return copy
end

local function files_of(folder)
  local names, found = fail.check(fs.list(folder)), {}
  for _, name in ipairs(names) do
    if name:find("%.lua$") then found[#found + 1] = name end
  end
  table.sort(found)
  if not found[1] then error(fail { folder .. " has no policies", code = "policy", hint = "a policy is a file NAME.lua" }) end
  return found
end

-- What a policy says goes into `told`: { level, policy, address, file, line, message }.
local function words_of(name, plan, told)
  local words = sandbox.base()
  local function says(level)
    return function(resource, message)
      if type(resource) ~= "table" or not resource.address or type(message) ~= "string" then
        error(level .. " wants a resource of the plan and a text: " .. level .. "(resource, \"why\")", 2)
      end
      told[#told + 1] = { level = level, policy = name, address = resource.address, file = resource.file, line = resource.line,
        message = message }
    end
  end
  words.plan, words.deny, words.warn = plan, says "deny", says "warn"
  return setmetatable({}, { __index = function(_, key)
    if words[key] == nil then error(("unknown name '%s'"):format(tostring(key)), 2) end
    return words[key]
  end })
end

local function run(path, name, plan, told)
  local text = fail.check(fs.read(path))
  local chunk, message = load(text, "@" .. path, "t", words_of(name, plan, told))
  if not chunk then error(fail { message, code = "policy" }) end
  local thread = coroutine.create(chunk)
  debug.sethook(thread, function() error("it is still running: an endless loop?", 0) end, "", STEPS)
  local ok, err = coroutine.resume(thread)
  if not ok then
    error(fail { ("policy %s: %s"):format(path, type(err) == "table" and err.message or tostring(err)), code = "policy" })
  end
end

--- `call`: `{folders, plan = {stack, destroy, summary, resources = {{address, kind, name, action, reason, fields, changes, file, line},
-- ...}}}`. Gives the list of what the policies say.
function M.run(call)
  local told = json.array {}
  local plan = clean(call.plan)
  for _, folder in ipairs(call.folders) do
    for _, name in ipairs(files_of(folder)) do run(folder .. "/" .. name, name:gsub("%.lua$", ""), plan, told) end
  end
  return told
end

return M
