--- Azure by hand, as the REPL has it: `azure.list("Microsoft.Network/virtualNetworks")`, `azure.get(ID)`, `azure.request(METHOD, PATH, BODY)`.
local arm = require "azure.arm"
local fail = require "fail"

local PROVIDERS, RESOURCES = "2021-04-01", "2021-04-01"

--- Of a target, as a session has it.
return function(target)
  if type(target) ~= "table" or (target.kind ~= "azure" and target.kind ~= "emulator") then
    error(fail { "this session has no Azure", code = "target", hint = "start the REPL with the recipe of a stack on Azure or the emulator" })
  end
  local client = arm.open(target)
  local versions = {}

  -- The newest version of a type that is no preview.
  local function version_of(type_name)
    local key = type_name:lower()
    if versions[key] then return versions[key] end
    local namespace, rest = type_name:match("^([^/]+)/(.+)$")
    local provider = namespace and client:get(("/subscriptions/%s/providers/%s"):format(client.subscription, namespace), PROVIDERS)
    for _, entry in ipairs(provider and provider.resourceTypes or {}) do
      if entry.resourceType:lower() == rest:lower() then
        for _, version in ipairs(entry.apiVersions) do
          if not version:find("preview") then
            versions[key] = version
            return version
          end
        end
      end
    end
    error(fail { ("there is no type '%s'"):format(type_name), code = "absent", hint = "a type is NAMESPACE/NAME: Microsoft.Network/virtualNetworks" })
  end

  local function type_of(id)
    local namespace, rest = id:match(".*/providers/([^/]+)/(.+)$")
    if not namespace then return "Microsoft.Resources/resourceGroups" end
    local steps, i = {}, 0
    for step in rest:gmatch("[^/]+") do
      i = i + 1
      if i % 2 == 1 then steps[#steps + 1] = step end
    end
    return namespace .. "/" .. table.concat(steps, "/")
  end

  local console = {}

  --- All of a type in the subscription, or in a group (by name); without a type, what the subscription or the group holds.
  function console.list(type_name, group)
    local scope = "/subscriptions/" .. client.subscription .. (group and "/resourceGroups/" .. group or "")
    if not type_name then return client:list(scope .. "/resources", RESOURCES) end
    if type_name:lower() == "microsoft.resources/resourcegroups" then return client:list(scope .. "/resourceGroups", RESOURCES) end
    return client:list(scope .. "/providers/" .. type_name, version_of(type_name))
  end

  --- A resource by its id, or nil.
  function console.get(id)
    local type_name = type_of(id)
    return client:get(id, type_name == "Microsoft.Resources/resourceGroups" and RESOURCES or version_of(type_name))
  end

  --- Any request; returns the decoded answer and its status. `path` has its api-version.
  function console.request(method, path, body)
    local answer = client:request(method, client.cloud.arm .. path, body, { ok = { [404] = true } })
    return answer.json, answer.status
  end

  return console
end
