--- `vmrun permissions RECIPE`: the custom role that suffices for all verbs of what a recipe declares.
local fail, fs, json, process = require "fail", require "fs", require "json", require "process"
local permission = require "azure.permission"

local M = {}

local function subscription_of(call)
  local target = call.target
  local bound = type(target) == "table" and target.kind == "azure" and target.subscription
  local text = fs.read(call.endpoint)
  local endpoint = text and json.decode(text)
  local found = call.subscription or bound or process.env "AZURE_SUBSCRIPTION_ID" or type(endpoint) == "table" and endpoint.subscription
  if not found then
    error(fail { "the role needs the subscription that it is for", code = "usage", hint = "pass --subscription ID" })
  end
  return found
end

--- `call`: `{stack, resources = {{address, kind, fields}, ...}, subscription, target, endpoint (a path)}`.
function M.run(call)
  local resources = {}
  for _, resource in ipairs(call.resources) do
    if resource.kind:find("^azure%.") then resources[#resources + 1] = resource end
  end
  local actions, data = permission.role(resources)
  local role = { Name = "vmrun " .. call.stack, IsCustom = true,
    Description = "What vmrun needs to apply and destroy " .. call.stack .. ".",
    Actions = json.array(actions), NotActions = json.array {}, DataActions = json.array(data), NotDataActions = json.array {},
    AssignableScopes = json.array { "/subscriptions/" .. subscription_of(call) } }
  return { text = json.encode(role, { indent = 2 }) }
end

return M
