--- A client of Azure Resource Manager and of Key Vault's data plane: tokens, retries, paging, long-running operations.
-- Protocol facts: learn.microsoft.com, "Azure Resource Manager: async operations, throttling, common deployment errors".
local crypto, http, json, task, log = require "crypto", require "http", require "json", require "task", require "log"
local credential, cloud_of = require "azure.credential", require "azure.cloud"
local fail, pace, together = require "fail", require "azure.pace", require "together"

local client = {}
client.__index = client

local RETRIED = { [408] = true, [429] = true, [500] = true, [502] = true, [503] = true, [504] = true }
local RETRIED_CODES = {
  AnotherOperationInProgress = true, RetryableError = true, ReferencedResourceNotProvisioned = true,
  OperationPreempted = true, ConflictingConcurrentWriteNotAllowed = true, PrincipalNotFound = true,
  NicReservedForAnotherVm = true, KeyVaultAccessForbidden = true,
}
local AWAITED = { KeyVaultAccessForbidden = "waiting for the role on the key's vault" } -- said while it is tried again
local LOST = { connect = true, resolve = true, timeout = true, reset = true } -- codes of a request that got no answer
local ATTEMPTS, RETRY_BUDGET = 8, 300

--- The text and code of an ARM error body; the cause often hides in `details` or in JSON inside `message`.
local function read_error(answer)
  local body = answer.body and answer.body ~= "" and json.decode(answer.body)
  local problem = type(body) == "table" and (body.error or body) or nil
  if type(problem) ~= "table" or not (problem.code or problem.message) then
    return { code = "HTTP" .. answer.status, message = "HTTP " .. answer.status }
  end
  local message = tostring(problem.message or "")
  for _, detail in ipairs(type(problem.details) == "table" and problem.details or {}) do
    if detail.message and not message:find(detail.message, 1, true) then
      message = message .. " (" .. tostring(detail.code) .. ": " .. detail.message .. ")"
    end
  end
  return { code = tostring(problem.code or ("HTTP" .. answer.status)), message = message, body = problem }
end

local HINTS = {
  AuthorizationFailed = "the principal lacks a role on this scope; assign one, or wait: a new assignment takes minutes",
  QuotaExceeded = "ask for more quota, or choose another size or region",
  SkuNotAvailable = "choose another size, zone or region",
  AllocationFailed = "choose another size or zone, or try again later",
  RequestDisallowedByPolicy = "an Azure policy forbids it; see the policy named above",
  KeyVaultAccessForbidden =
    "give the disk encryption set's identity 'Key Vault Crypto Service Encryption User' on the key's vault",
  ScopeLocked = "a management lock protects it; remove the lock first",
}

local function raise(what, answer, problem)
  local request = answer.headers and answer.headers["x-ms-request-id"]
  error(fail { ("%s: %s: %s%s"):format(what, problem.code, problem.message,
    request and (" (request " .. request .. ")") or ""),
    code = problem.code, hint = HINTS[problem.code], status = answer.status })
end

-- How long to wait before the next attempt, or poll (`default`: seconds where the answer does not say).
local function retry_after(answer, attempt, default)
  local headers = answer and answer.headers or {}
  local milliseconds = tonumber(headers["retry-after-ms"] or headers["x-ms-retry-after-ms"])
  if milliseconds then return milliseconds / 1000 end
  local seconds = tonumber(headers["retry-after"])
  if seconds then return seconds end
  if default then return default end
  return math.min(60, (2 ^ attempt - 1) * 0.8 * (0.8 + 0.5 * math.random()))
end

-- The credential that is configured; looked for once, when the first token is wanted.
local function credential_of(self)
  if self.credential then return self.credential end
  local found, tried = credential.find(self.cloud)
  if not found then
    local reasons = {}
    for i, source in ipairs(tried) do reasons[i] = source.name .. ": " .. source.why end
    error(fail { "no Azure credential was found (" .. table.concat(reasons, "; ") .. ")", code = "auth",
      hint = "run 'vmrun login' or 'az login', or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET" })
  end
  self.credential = found
  return found
end

local function ask_for_token(self, audience)
  local from = self.once("credential", credential_of, self)
  local token, seconds = from.token(audience)
  log.mask(token)
  log.debug("a token for %s: %s, good for %d s", audience, from.name, seconds)
  self.tokens[audience] = { token = token, expires = task.now() + seconds } -- whatever happens to the wall clock
  return token
end

--- A token for an audience; one request serves all that wait for it.
function client:token(audience)
  local entry = self.tokens[audience]
  if entry and entry.expires > task.now() + 300 then return entry.token end
  return self.once("token " .. audience, ask_for_token, self, audience)
end

--- Waits while the provider asked everybody to slow down.
local function hold_back(self)
  local wait = (self.not_before or 0) - task.now()
  if wait > 0 then task.sleep(wait) end
end

--- One request with retries. `options`: `{etag=, none=, audience=, ok = {[404]=true}, raw = true, what=, attempts=, connects=}`
-- (how often at most; when nothing answers).
-- Returns the answer with `json` (the decoded body or nil).
function client:request(method, url, body, options)
  options = options or {}
  local audience = options.audience or self.cloud.audience
  local what = options.what or (method .. " " .. (url:gsub("^https?://[^/]+", ""):gsub("%?.*", "")))
  local started, refreshed, registered = task.now(), false, false
  for attempt = 1, ATTEMPTS do
    hold_back(self)
    local paced = audience == self.cloud.audience
    if paced then self.pace:before(method) end
    local headers = {
      Authorization = "Bearer " .. self:token(audience), Accept = "application/json",
      ["x-ms-client-request-id"] = crypto.uuid(), ["x-ms-correlation-request-id"] = self.correlation,
      ["If-Match"] = options.etag or nil, ["If-None-Match"] = options.none or nil,
      ["Content-Type"] = body and "application/json" or nil,
    }
    local answer, message, code = http.request {
      method = method, url = url, headers = headers, ca = self.cloud.ca, connect_to = options.connect_to,
      body = body and json.encode(body) or ((method == "POST" or method == "PUT") and "" or nil),
      timeout = 120, connect_timeout = 20,
    }
    if paced then self.pace:after(method, answer) end
    local again
    if not answer then
      if not LOST[code] then error(fail { ("%s: %s"):format(what, message), code = code, hint = code == "tls" and
        "is its certificate from an authority that this machine trusts?" or nil }) end
      again = { code = code, message = message }
    elseif answer.status == 401 and not refreshed then
      refreshed = true
      self.tokens[audience] = nil
      again = { code = "401", message = "the token was refused", now = true }
    elseif answer.status >= 400 and not (options.ok and options.ok[answer.status]) then
      local problem = read_error(answer)
      local namespace = problem.code == "MissingSubscriptionRegistration" and url:match(".*/providers/([%w.]+)/")
      if namespace and not registered then
        registered = true
        self:register(namespace)
        again = { code = problem.code, message = problem.message, now = true }
      elseif RETRIED[answer.status] or RETRIED_CODES[problem.code] then
        again = problem
        if answer.status == 429 then self.not_before = task.now() + retry_after(answer, attempt) end
      else
        raise(what, answer, problem)
      end
    else
      if answer.body and answer.body ~= "" and not options.raw then answer.json = json.decode(answer.body) end
      return answer
    end
    if attempt == (not answer and options.connects or options.attempts or ATTEMPTS) or task.now() - started > RETRY_BUDGET then
      if answer then raise(what, answer, again) end
      error(fail { ("%s: %s"):format(what, again.message), code = again.code == "timeout" and "timeout" or "unreachable",
        hint = "is " .. self.cloud.arm .. " reachable from here?" })
    end
    if not again.now then
      log.debug("%s: %s, trying again", what, again.code)
      if AWAITED[again.code] and options.ctx then options.ctx:progress(AWAITED[again.code] .. ": " .. again.message) end
      task.sleep(retry_after(answer, attempt))
    end
  end
end

local REGISTER_API, REGISTERING = "2021-04-01", 600 -- seconds that a registration may take

local function register(self, namespace)
  log.info("the subscription is not registered for %s: registering it", namespace)
  local path = ("/subscriptions/%s/providers/%s"):format(self.subscription, namespace)
  local started = task.now()
  local answer = self:request("POST", self:url(path .. "/register", REGISTER_API))
  while answer.json.registrationState ~= "Registered" do
    if task.now() - started > REGISTERING then
      error(fail { ("the registration of %s does not end"):format(namespace), code = "MissingSubscriptionRegistration",
        hint = "az provider register --namespace " .. namespace })
    end
    task.sleep(retry_after(answer, 2, self.cloud.kind == "emulator" and 0.05 or 5))
    answer = self:request("GET", self:url(path, REGISTER_API))
  end
end

--- Registers a resource provider with the subscription, and waits until it is; once, however many need it.
function client:register(namespace) self.once("register " .. namespace, register, self, namespace) end

function client:url(id, api) return self.cloud.arm .. id .. (id:find("?", 1, true) and "&" or "?") .. "api-version=" .. api end

--- A resource, or nil where ARM says that it (or its parent) is not there.
function client:get(id, api)
  local answer = self:request("GET", self:url(id, api), nil, { ok = { [404] = true } })
  if answer.status == 404 then
    local code = read_error(answer).code
    if code == "SubscriptionNotFound" then raise("GET " .. id, answer, read_error(answer)) end
    return nil
  end
  return answer.json
end

local ENDED = { succeeded = true, failed = true, canceled = true }
local SETTLE = 45 -- seconds: less than a read may take

-- What becomes ready together is not asked in one turn of the loop: as many without a newcomer end the moment.
local QUIET_TURNS = 3

--- One of those that `all()` lists, when others of the list (`key`) are wanted in the same moment: one request serves them. Nil
-- when it is wanted alone, is not in the list or the list is refused: then it is to be asked for by its own name. All that
-- were listed come second, by their ids in lower case.
function client:gathered(key, id, all)
  local batch = self.batches[key]
  if batch then
    batch.count = batch.count + 1
    batch.event:wait()
  else
    batch = { count = 1, event = task.event(), items = {} }
    self.batches[key] = batch
    local release <close> = setmetatable({}, { __close = function() -- also when this task is cancelled: nobody waits for ever
      if self.batches[key] == batch then self.batches[key] = nil end
      batch.event:set()
    end })
    local quiet, count = 0, 1
    while quiet < QUIET_TURNS do
      task.sleep(0)
      quiet, count = batch.count == count and quiet + 1 or 0, batch.count
    end
    self.batches[key] = nil
    local ok, items
    if batch.count > 1 then ok, items = pcall(all) end
    if ok == false and fail.interrupted(items) then error(items, 0) end
    for _, item in ipairs(ok and items or {}) do batch.items[item.id:lower()] = item end
  end
  return batch.items[id:lower()], batch.items
end

local KEPT = 60 -- seconds that a list stands for what is read of it

--- One of a list that is asked for once, whoever wants something of it first, and told once: who looks again wants to know
-- what is there by then. Nil when it is not in the list or the list is refused.
function client:kept(list, id, api)
  local key = list:lower() .. " " .. api
  local found = self.lists[key]
  if not found or task.now() - found.began > KEPT then
    found = { began = task.now(), event = task.event(), items = {} }
    self.lists[key] = found
    local release <close> = setmetatable({}, { __close = function() found.event:set() end })
    local ok, items = pcall(self.list, self, list, api)
    if not ok and fail.interrupted(items) then error(items, 0) end
    for _, item in ipairs(ok and items or {}) do found.items[item.id:lower()] = item end
  else
    found.event:wait()
  end
  local item = found.items[id:lower()]
  found.items[id:lower()] = nil
  return item
end

--- A resource once no operation is under way on it (an earlier run's, somebody else's); as it is when that takes too long.
-- `options.alone`: lists do not show all of it; `options.list`: the list that others of its sort are looked for in by the
-- same plan; `options.beside` with `options.all`: what gathered() is called with, instead of the collection.
function client:settled(id, api, options)
  options = options or {}
  local started, url = task.now(), self:url(id, api)
  local collection = not options.alone and id:match("^(.*/providers/.*)/[^/]+$")
  local listed = options.list and self:kept(options.list, id, api) or not options.list and collection
    and self:gathered(options.beside or collection:lower() .. " " .. api, id,
      options.all or function() return self:list(collection, api) end)
  while true do
    local answer = listed and { status = 200, json = listed, headers = {} }
      or self:request("GET", url, nil, { ok = { [404] = true } })
    listed = nil
    if answer.status == 404 then return self:get(id, api) end
    local state = type(answer.json.properties) == "table" and answer.json.properties.provisioningState
    if type(state) ~= "string" or ENDED[state:lower()] or task.now() - started > SETTLE then return answer.json end
    task.sleep(retry_after(answer, 2, self.cloud.kind == "emulator" and 0.05 or 5))
  end
end

--- All items of a list, page after page.
function client:list(path, api)
  local items, url = {}, self:url(path, api)
  while url do
    local answer = self:request("GET", url, nil, { ok = { [404] = true } })
    if answer.status == 404 then return items end
    for _, item in ipairs(answer.json.value or {}) do items[#items + 1] = item end
    local next_link = answer.json.nextLink
    url = next_link ~= "" and next_link ~= json.null and next_link or nil
  end
  return items
end

local FAILED = { failed = true, canceled = true, cancelled = true }
local DONE = { succeeded = true, completed = true }

-- A URL as it was given, or a path of this cloud.
local function absolute(self, url)
  return url:find("^https?://") and url or self.cloud.arm .. (url:sub(1, 1) == "/" and "" or "/") .. url
end

--- Follows a long-running operation to its end. `ctx:record` keeps the poll URL, so that a later run can resume.
local function follow(self, first, method, original, ctx)
  local answer = first
  local headers = first.headers
  local poll = headers["azure-asyncoperation"] or headers["operation-location"]
  local kind = poll and "status" or nil
  if not poll and headers.location and first.status == 202 then
    poll, kind = absolute(self, headers.location), "location"
  end
  if not poll and (method == "PUT" or method == "PATCH") then
    local state = answer.json and answer.json.properties and answer.json.properties.provisioningState
    if state and not DONE[state:lower()] and not FAILED[state:lower()] then poll, kind = original, "resource" end
  end
  if ctx and poll then ctx:record { operation = poll, kind = kind, original = original, method = method } end
  local result = self:poll(poll, kind, method, original, answer)
  if method ~= "POST" or kind ~= "status" then return result end
  -- What an action gives back is in its operation, or waits at the Location.
  local output = result and result.properties and result.properties.output
  if output or not headers.location then return output end
  return self:request("GET", absolute(self, headers.location), nil, { ok = { [404] = true } }).json
end

--- Polls until the operation ended; returns the resource's body (PUT, PATCH) or the operation's last answer.
function client:poll(poll, kind, method, original, answer)
  local missing = 0
  while poll do
    task.sleep(answer and retry_after(answer, 2, self.cloud.kind == "emulator" and 0.05 or 5) or 0)
    local next_answer = self:request("GET", poll, nil, { ok = { [404] = true } })
    local state
    if next_answer.status == 404 then
      -- A poll URL may answer 404 for a while after it was given.
      missing = missing + 1
      if missing > 5 then break end
    elseif kind == "status" then
      state = next_answer.json and next_answer.json.status
      state = state and state:lower() or "succeeded"
    elseif kind == "location" then
      state = next_answer.status == 202 and "inprogress" or "succeeded"
    else
      local properties = next_answer.json and next_answer.json.properties
      state = ((properties and properties.provisioningState) or "Succeeded"):lower()
    end
    answer = next_answer
    if state and FAILED[state] then
      local problem = answer.json and answer.json.error or { code = "OperationFailed", message = "the operation " .. state }
      raise(method .. " " .. original:gsub("^https?://[^/]+", ""):gsub("%?.*", ""), answer, problem)
    end
    if state and DONE[state] then break end
    if kind == "location" and answer.headers.location then poll = absolute(self, answer.headers.location) end
  end
  if method == "PUT" or method == "PATCH" then
    if not poll then return answer.json end
    return self:request("GET", original).json
  end
  return answer.json
end

--- Writes under one parent at a time: ARM serialises writes within a network, NSG or load balancer.
function client:serial(key, fn, ...)
  key = key:lower()
  local tail = self.queues[key]
  local mine = task.event()
  self.queues[key] = mine
  if tail then tail:wait() end
  local release <close> = setmetatable({}, { __close = function()
    mine:set()
    if self.queues[key] == mine then self.queues[key] = nil end
  end })
  return fn(...)
end

--- PUT and wait; returns the resource as ARM then shows it. `options`: `{etag=, none=, ctx=}`.
function client:put(id, api, body, options)
  options = options or {}
  local url = self:url(id, api)
  local answer = self:request("PUT", url, body, { etag = options.etag, none = options.none, ctx = options.ctx })
  return follow(self, answer, "PUT", url, options.ctx)
end

function client:patch(id, api, body, options)
  options = options or {}
  local url = self:url(id, api)
  return follow(self, self:request("PATCH", url, body, { etag = options.etag }), "PATCH", url, options.ctx)
end

--- DELETE and wait; what is already gone is no error.
function client:delete(id, api, options)
  options = options or {}
  local url = self:url(id, api)
  local started = task.now()
  while true do
    local ok, problem = pcall(function()
      local answer = self:request("DELETE", url, nil, { etag = options.etag, ok = { [404] = true } })
      if answer.status ~= 404 then follow(self, answer, "DELETE", url, options.ctx) end
    end)
    if ok then return end
    -- A network interface or address is held for a while after its user went.
    local code = type(problem) == "table" and tostring(problem.code) or ""
    local held = code:find("^InUse") or code == "NicInUse" or code == "PublicIPAddressCannotBeDeleted"
      or code == "LoadBalancerInUseByVirtualMachineScaleSet"
    if not held or task.now() - started > (options.patience or 60) then error(problem) end
    task.sleep(2)
  end
end

--- POST of an action and wait; returns the last body.
function client:post(id, action, api, body, options)
  options = options or {}
  local url = self:url(id .. "/" .. action, api)
  local answer = self:request("POST", url, body, {})
  return follow(self, answer, "POST", url, options.ctx)
end

--- Key Vault's data plane: `uri` is the vault's, `path` like "/secrets/name".
function client:vault(method, uri, path, body, options)
  local url = (uri:gsub("/$", "")) .. path
  if not path:find "[?&]api%-version=" then url = url .. (path:find("?", 1, true) and "&" or "?") .. "api-version=7.4" end
  options = options or {}
  local connect_to = self.cloud.dial and self.cloud.dial(uri)
  local started = task.now()
  while true do
    local ok, answer = pcall(self.request, self, method, url, body,
      { audience = self.cloud.vault_audience, ok = options.ok, connect_to = connect_to, connects = options.connects })
    if ok then return answer end
    -- A role or access policy takes a while to be seen by the vault; its name takes a while to resolve.
    local code = type(answer) == "table" and answer.code or ""
    local late = code == "Forbidden" or code == "resolve" or code == "unreachable"
    if not late or task.now() - started > (options.patience or 0) then error(answer) end
    task.sleep(self.cloud.kind == "emulator" and 0.2 or 5)
  end
end

local CLOSED = { Forbidden = true, resolve = true, unreachable = true }

--- A secret's bundle for a read, or nil when there is none. Where the vault does not let us look, what we never made counts
-- as absent (making it looks again, and the role for that may be made in the same run); else it is not known.
function client:secret(ctx, uri, name)
  local ok, answer = pcall(self.vault, self, "GET", uri, "/secrets/" .. name, nil, { ok = { [404] = true }, connects = 2 })
  if ok then return answer.status == 200 and answer.json or nil end
  local code = type(answer) == "table" and answer.code
  if not CLOSED[code] then error(answer, 0) end
  if not ctx.prior then return nil end
  error(fail { ("%s cannot be read: %s"):format(name, answer.message), code = "unreachable",
    hint = "does our principal have a role for the vault's secrets?" })
end

--- A vault's secrets without their values, page after page.
function client:secrets(uri)
  local items, path = {}, "/secrets"
  while path do
    local answer = self:vault("GET", uri, path, nil, { connects = 2 })
    for _, item in ipairs(answer.json.value or {}) do items[#items + 1] = item end
    path = type(answer.json.nextLink) == "string" and answer.json.nextLink:match("^https?://[^/]+(/.+)$") or nil
  end
  return items
end

local clients = {}

--- The client of a target (one a process): tokens, pacing and queues are shared by all tasks.
local function open(target)
  local cloud = cloud_of(target)
  local key = cloud.arm .. " " .. cloud.subscription
  if clients[key] then return clients[key] end
  local self = setmetatable({ cloud = cloud, credential = cloud.credential, tokens = {}, queues = {}, batches = {}, lists = {},
    once = together(), pace = pace.new(), correlation = crypto.uuid(), subscription = cloud.subscription }, client)
  clients[key] = self
  return self
end

return { open = open, read_error = read_error }
