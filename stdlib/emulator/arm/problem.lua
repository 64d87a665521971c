--- Failures of ARM: a status and an error body, raised by whoever finds them.
local meta = { __name = "arm problem" }
function meta.__tostring(self) return self.code .. ": " .. self.message end

--- Raises. `more`: `{target=, details=, headers=, gateway=true (refused by ARM itself, not the provider)}`.
local function raise(status, code, message, more)
  more = more or {}
  error(setmetatable({ status = status, code = code, message = message, target = more.target, details = more.details,
    headers = more.headers, gateway = more.gateway }, meta), 2)
end

local function is(value) return getmetatable(value) == meta end

--- The error body.
local function body(problem)
  return { error = { code = problem.code, message = problem.message, target = problem.target, details = problem.details } }
end

local function group_not_found(name)
  raise(404, "ResourceGroupNotFound", ("Resource group '%s' could not be found."):format(name), { gateway = true })
end

--- `path`: type and name below the group, as ARM says it.
local function not_found(path, group)
  raise(404, "ResourceNotFound", ("The Resource '%s' under resource group '%s' was not found. For more details please go to "
    .. "https://aka.ms/ARMResourceNotFoundFix"):format(path, group or ""), { gateway = true })
end

return { raise = raise, is = is, body = body, group_not_found = group_not_found, not_found = not_found }
