--- An emulator in a folder of its own for one test, and a plain client that shows what came over the wire.
local http, json, task = require "http", require "json", require "task"
local launch, endpoint = require "emulator.launch", require "emulator.endpoint"

local API = { network = "2025-05-01", compute = "2025-04-01", resources = "2025-04-01" }
local lab = {}
lab.__index = lab

local function form(fields)
  local parts = {}
  for key, value in pairs(fields) do
    parts[#parts + 1] = key .. "=" .. value:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end)
  end
  return table.concat(parts, "&")
end

--- Asks the token endpoint; `more` overrides form fields. Returns the decoded answer and its status.
function lab:login(audience, more)
  local e = self.endpoint
  local fields = { grant_type = "client_credentials", client_id = e.client_id, client_secret = e.client_secret,
    scope = audience .. "/.default" }
  for key, value in pairs(more or {}) do fields[key] = value end
  local answer = assert(http.request { method = "POST", url = ("%s/%s/oauth2/v2.0/token"):format(e.entra, fields.tenant or e.tenant),
    body = form(fields), ca = e.ca, headers = { ["Content-Type"] = "application/x-www-form-urlencoded" } })
  return json.decode(answer.body), answer.status
end

--- One request. `path`: below ARM; "~" stands for our subscription and group "g". `options`: `api, headers, token, host`.
function lab:call(method, path, body, options)
  options = options or {}
  local e = self.endpoint
  path = path:gsub("^~~", "/subscriptions/" .. e.subscription):gsub("^~",
    "/subscriptions/" .. e.subscription .. "/resourceGroups/g/providers")
  local api = options.api or (path:find("Microsoft.Network") and API.network) or (path:find("Microsoft.Compute") and API.compute)
    or (path:find("KeyVault") and "2024-11-01") or API.resources
  self.arm_token = self.arm_token or self:login("https://management.azure.com").access_token
  local headers = { Authorization = "Bearer " .. (options.token or self.arm_token),
    ["Content-Type"] = body and "application/json" or nil }
  for key, value in pairs(options.headers or {}) do headers[key] = value end
  local url = path:find("^https://") and path or e.arm .. path
  if not url:find("api%-version=") and options.api ~= false then
    url = url .. (url:find("?", 1, true) and "&" or "?") .. "api-version=" .. api
  end
  local answer = assert(http.request { method = method, url = url, body = body and json.encode(body) or (method == "POST" and "" or nil),
    headers = headers, ca = e.ca, connect_to = options.connect_to, timeout = 20 })
  answer.json = answer.body ~= "" and json.decode(answer.body) or nil
  answer.code = type(answer.json) == "table" and answer.json.error and answer.json.error.code
  return answer
end

--- Follows the operation of an answer to its end; returns the last poll.
function lab:finish(answer)
  local url = answer.headers["azure-asyncoperation"] or answer.headers.location
  local limit = task.now() + 20
  while url do
    local poll = self:call("GET", url)
    local state = poll.json and poll.json.status
    if poll.status ~= 202 and state ~= "InProgress" then return poll end
    if task.now() > limit then error("the operation does not end") end
    task.sleep((tonumber(poll.headers["retry-after-ms"]) or 20) / 1000)
  end
  return answer
end

--- A write that is followed to its end and must succeed; returns the resource.
function lab:put(path, body, options)
  local answer = self:call("PUT", path, body, options)
  if answer.status >= 300 then error(("PUT %s: %d %s"):format(path, answer.status, answer.body), 2) end
  local last = self:finish(answer)
  if last.json and last.json.status == "Failed" then error(("PUT %s: %s"):format(path, last.body), 2) end
  return self:call("GET", path, nil, options).json
end

--- A delete that is followed to its end.
function lab:delete(path)
  local answer = self:call("DELETE", path)
  if answer.status >= 300 then error(("DELETE %s: %d %s"):format(path, answer.status, answer.body), 2) end
  return self:finish(answer)
end

--- One of the emulator's own paths.
function lab:ask(method, path, body) return endpoint.ask(self.endpoint, method, path, body) end

--- Starts it (again): same folder, same world.
function lab:start(options)
  self.endpoint = launch.ensure(self.dir, options or self.options)
  return self
end

--- The emulator of a folder, whoever ends it.
local function at(dir) return setmetatable({ dir = dir, options = {} }, lab):start() end

--- An emulator for a test that ends with it. `options`: `factor`, `group = false`.
local function open(t, options)
  options = options or {}
  local self = setmetatable({ dir = t.tmp() .. "/emulator", options = options }, lab)
  t.after(function() launch.reset(self.dir) end)
  self:start()
  if options.group ~= false then self:put("~~/resourceGroups/g", { location = "westus2" }) end
  return self
end

return { open = open, at = at }
