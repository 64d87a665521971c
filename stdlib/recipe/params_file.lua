--- Files of parameters: `name.params.lua` (a chunk that returns a table), `.json` or `.yaml`.
local declare, json, yaml = require "declare", require "json", require "yaml"
local fail = require "fail"

local M = {}

local readers = {}

function readers.lua(path, text)
  local chunk, message = load(text, "@" .. path, "t", {})
  if not chunk then error(fail { message, code = "params" }, 0) end
  local ok, result = pcall(chunk)
  if not ok then error(fail { tostring(result), code = "params" }, 0) end
  return result
end

function readers.json(path, text)
  local result, message = json.decode(text)
  if result == nil then error(fail { ("%s: %s"):format(path, message), code = "params" }, 0) end
  return result
end

function readers.yaml(path, text)
  local result, message = yaml.decode(text)
  if result == nil and message then error(fail { ("%s:%s"):format(path, message), code = "params" }, 0) end
  return (result == nil or result == json.null) and {} or result
end
readers.yml = readers.yaml

--- The parameters of a file, by name. Raises a failure.
function M.read(path)
  local reader = readers[path:match("%.(%w+)$") or ""]
  if not reader then
    error(fail { ("%s is not a file of parameters: its name ends with .lua, .json or .yaml"):format(path), code = "params" }, 0)
  end
  local text, message = declare.read(path)
  if not text then error(fail { message, code = "params" }, 0) end
  local result = reader(path, text)
  if type(result) ~= "table" or #result > 0 then
    error(fail { ("%s does not hold a table of parameters by name"):format(path), code = "params" }, 0)
  end
  return result
end

return M
