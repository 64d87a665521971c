-- No rule lets the whole internet reach port 22, nor everything.
local EVERYONE = { ["*"] = true, ["0.0.0.0/0"] = true, ["::/0"] = true, Internet = true }

local function everyone(source)
  if type(source) ~= "table" then return EVERYONE[source or "*"] end
  for _, one in ipairs(source) do
    if EVERYONE[one] then return true end
  end
end

local function covers_ssh(port)
  if type(port) == "table" then
    for _, one in ipairs(port) do
      if covers_ssh(one) then return true end
    end
    return false
  end
  local text = tostring(port or "*")
  local first, last = text:match("^(%d+)%-(%d+)$")
  return text == "*" or text == "22" or first ~= nil and tonumber(first) <= 22 and tonumber(last) >= 22
end

for _, resource in ipairs(plan.resources) do
  if resource.kind == "azure.network_security_group" and resource.action ~= "delete" then
    for _, rule in ipairs(resource.fields.rules or {}) do
      local inbound = (rule.direction or "Inbound") == "Inbound" and (rule.access or "Allow") == "Allow"
      if inbound and everyone(rule.source) and covers_ssh(rule.port) then
        deny(resource, ("rule `%s` lets everyone reach port 22"):format(rule.name))
      end
    end
  end
end
