--- A client of a Kubernetes API: discovery, get, list, server-side apply and its dry run, patch, delete, watch, wait.
-- Protocol facts: https://kubernetes.io/docs/reference/using-api/api-concepts/ and .../server-side-apply/.
local crypto, http, json, task = require "crypto", require "http", require "json", require "task"
local fail, together = require "fail", require "together"

local client = {}
client.__index = client

local MANAGER = "vmrun"
local RETRIED = { [429] = true, [500] = true, [502] = true, [503] = true, [504] = true }
local BUDGET = 120 -- seconds of trying again
local SETTLED = 10 -- seconds until all of a server knows a new kind, and two writers have taken turns

--- A client from the parts of a kubeconfig: server, ca (PEM), cert and key (PEM) or token or basic (base64), server_name,
-- insecure, proxy, connect_to (a function that gives "addr:port" or nil), renew (a function that gives new parts; asked after
-- a 401, and from the time `renew_at` on).
local function new(parts)
  return setmetatable({ parts = parts, kinds = {}, discovering = together(), renewing = together() }, client)
end

local function status_of(answer)
  local body = answer.body and answer.body ~= "" and json.decode(answer.body) or nil
  return type(body) == "table" and body.kind == "Status" and body or nil
end

local function text_of(answer)
  local status = status_of(answer)
  if status then return tostring(status.message or status.reason), status.reason, status end
  return ("HTTP %d"):format(answer.status), nil, nil
end

local function date(seconds) return os.date("!%Y-%m-%d %H:%M:%S UTC", seconds) end

-- Why the server may not know us: a certificate says itself that it is over.
local function stranger(parts)
  local cert = parts.cert and crypto.x509_read(parts.cert)
  if cert and cert.not_after <= task.time() then
    return (" (the client certificate expired at %s)"):format(date(cert.not_after)),
      "get a new kubeconfig from who keeps the cluster"
  end
  return "", "the API server does not know our credentials: were they renewed, or have they expired?"
end

-- A 500 of 1.20 and older for what is wrong with the object, and stays so.
local function is_final(answer)
  return answer.status == 500 and (answer.body or ""):find("failed to create typed patch object", 1, true) ~= nil
end

local HINTS = { [403] = "the user of these credentials lacks this right: a Role or ClusterRole must give it" }

local function raise(self, what, answer)
  local message, reason, status = text_of(answer)
  local hint, more = HINTS[answer.status], ""
  if answer.status == 401 then more, hint = stranger(self.parts) end
  if is_final(answer) then hint = "the server does not know this field: is it older than the manifest, or the name mistyped?" end
  local missing = reason == "NotFound" and status.details
  if missing and missing.kind == "namespaces" then hint = "the namespace must be there first" end
  error(fail { ("%s: %s%s"):format(what, message, more), code = reason or ("HTTP%d"):format(answer.status), status = status,
    hint = hint })
end

-- New parts in place of `old`, once, however many requests find them old; a failure is told to all of them.
local function renew(self, old)
  if self.parts ~= old then return end
  if old.failed then error(old.failed, 0) end
  self.renewing(old, function()
    local ok, made = pcall(old.renew)
    if not ok then
      if not fail.interrupted(made) then old.failed = made end
      error(made, 0)
    end
    self.parts = made
  end)
end

local function request_of(self, method, path, body, options)
  local parts = self.parts
  if parts.renew_at and parts.renew_at <= task.time() then
    renew(self, parts)
    parts = self.parts
  end
  local headers = { Accept = options.accept or "application/json", ["User-Agent"] = "vmrun",
    ["Content-Type"] = body and (options.content_type or "application/json") or nil,
    Authorization = parts.token and ("Bearer " .. parts.token) or parts.basic and ("Basic " .. parts.basic) or nil }
  return { method = method, url = parts.server .. path, headers = headers, body = body and (type(body) == "string" and body
    or json.encode(body)) or nil, ca = parts.ca, cert = parts.cert, key = parts.key, server_name = parts.server_name,
    insecure = parts.insecure, proxy = parts.proxy, connect_to = parts.connect_to and parts.connect_to() or nil,
    timeout = options.timeout or 60 }, parts
end

-- Sends a request by `send` (of the binding `http`). That no way leads to the server now (a load balancer's probe fails) is as
-- temporary as a refused connection. Returns the answer, or nil, message, code; and the parts that it was sent with.
local function ask(self, send, ...)
  local ok, request, parts = pcall(request_of, self, ...)
  if not ok then
    if type(request) == "table" and request.code == "unreachable" then return nil, request.message, "unreachable" end
    error(request, 0)
  end
  local answer, message, code = send(request)
  return answer, message, code, parts
end

-- An API server that starts or loses its quorum resets connections; one with a certificate that does not fit never will.
local function is_hopeless(code, message)
  return code == "cancelled" or code == "url" or code == "tls" and message:find("certificate", 1, true) ~= nil
end

local function unreachable(what, message, code)
  error(fail { ("%s: %s"):format(what, message), code = code or "unreachable", hint = code == "tls"
    and "the kubeconfig's certificate-authority must be the one that signed the server's certificate"
    or "is the API server up, and may we reach it?" })
end

--- One request, with retries for what the server calls temporary. options: ok = {[404] = true}, content_type, timeout, what,
-- patience (seconds of trying again). Returns the decoded body (nil for a tolerated failure) and the answer.
function client:request(method, path, body, options)
  options = options or {}
  local what = options.what or ("%s %s"):format(method, (path:gsub("%?.*", "")))
  local started, pause, renewed = task.now(), 0.2, false
  local patience = options.patience or self.patience or BUDGET
  local encoded = body and (type(body) == "string" and body or json.encode(body)) or nil
  while true do
    local answer, message, code, parts = ask(self, http.request, method, path, encoded, options)
    local wait
    if not answer then
      if is_hopeless(code, message) then unreachable(what, message, code) end
      wait = pause
      if task.now() + wait - started > patience then unreachable(what, message) end
    elseif answer.status == 401 and parts.renew and not renewed then
      renewed = true
      renew(self, parts)
    elseif RETRIED[answer.status] and not (options.ok and options.ok[answer.status]) and not is_final(answer) then
      wait = tonumber(answer.headers["retry-after"]) or pause
      if task.now() + wait - started > patience then raise(self, what, answer) end
    elseif answer.status >= 400 then
      if options.ok and options.ok[answer.status] then return nil, answer end
      raise(self, what, answer)
    else
      return answer.body ~= "" and json.decode(answer.body) or nil, answer
    end
    if wait then
      task.sleep(wait)
      pause = math.min(pause * 1.7, 5)
    end
  end
end

-- Discovery. A kind that is not found is looked for once more, since its definition may be new.

local function group_path(api_version)
  return api_version:find("/", 1, true) and "/apis/" .. api_version or "/api/" .. api_version
end

local function ask_for_kinds(self, api_version)
  local list = self:request("GET", group_path(api_version), nil, { ok = { [404] = true } })
  local found = {}
  for _, resource in ipairs(list and list.resources ~= json.null and list.resources or {}) do
    if resource.name == "pods/eviction" then
      self.evictions = resource.group and ("%s/%s"):format(resource.group, resource.version)
    elseif not resource.name:find("/", 1, true) then
      found[resource.kind] = { plural = resource.name, namespaced = resource.namespaced, verbs = resource.verbs }
    end
  end
  self.kinds[api_version] = found
  return found
end

function client:discover(api_version) return self.discovering(api_version, ask_for_kinds, self, api_version) end

--- What the server says of a kind: { plural =, namespaced = }; nil when it has none.
function client:kind(api_version, kind)
  local known = self.kinds[api_version]
  if not (known and known[kind]) then known = self:discover(api_version) end
  return known[kind]
end

local function escape(text)
  return (text:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- The path of an object or, without a name, of a collection.
function client:path(api_version, kind, namespace, name)
  local found = self:kind(api_version, kind)
  if not found then
    error(fail { ("the server has no kind %s in %s"):format(kind, api_version), code = "nokind",
      hint = "is its CustomResourceDefinition installed?" })
  end
  local path = group_path(api_version)
  if found.namespaced and namespace then path = path .. "/namespaces/" .. escape(namespace) end
  return path .. "/" .. found.plural .. (name and "/" .. escape(name) or "")
end

local function namespace_of(self, object)
  local found = self:kind(object.apiVersion, object.kind)
  if found and not found.namespaced then return nil end
  return object.metadata.namespace or "default"
end

-- Whether a refusal says that the namespace is going away, and what is in it too.
local function is_terminating(answer)
  local status = json.decode(answer.body)
  for _, cause in ipairs(type(status) == "table" and status.details and status.details.causes or {}) do
    if cause.reason == "NamespaceTerminating" then return true end
  end
  return false
end

--- Asks for a pod's eviction, in the version of it that the server speaks. Nil when a budget says no, or the pod is gone or goes
-- with its namespace.
function client:evict(pod)
  local path = self:path("v1", "Pod", pod.metadata.namespace, pod.metadata.name) .. "/eviction"
  local done, answer = self:request("POST", path, { apiVersion = self.evictions or "policy/v1", kind = "Eviction",
    metadata = { name = pod.metadata.name, namespace = pod.metadata.namespace } },
    { ok = { [403] = true, [404] = true, [429] = true } })
  if answer.status == 403 and not is_terminating(answer) then raise(self, "POST " .. path, answer) end
  return done
end

--- The path of an object that we hold.
function client:path_of(object)
  return self:path(object.apiVersion, object.kind, namespace_of(self, object), object.metadata.name)
end

--- An object, or nil when it is not there (or its kind is not).
function client:get(api_version, kind, namespace, name)
  if not self:kind(api_version, kind) then return nil end
  return (self:request("GET", self:path(api_version, kind, namespace, name), nil, { ok = { [404] = true } }))
end

local function query_of(options, more)
  local query = more
  if options.labels then query[#query + 1] = "labelSelector=" .. escape(options.labels) end
  if options.fields then query[#query + 1] = "fieldSelector=" .. escape(options.fields) end
  return "?" .. table.concat(query, "&")
end

--- All objects of a kind, page by page. options: labels (a selector), fields (a selector), namespace, limit (of a page; 500).
-- Returns them, and the version of the whole. When the server forgets the version that the pages are of (410), it begins
-- again, the third time with one page.
function client:list(api_version, kind, options)
  options = options or {}
  local path = self:path(api_version, kind, options.namespace)
  local items, next_page, limit, begun = {}, nil, options.limit or 500, 1
  while true do
    local list = self:request("GET", path .. query_of(options, { "limit=" .. limit, next_page and "continue="
      .. escape(next_page) }), nil,
      { ok = { [410] = next_page ~= nil } })
    if list then
      for _, item in ipairs(list.items ~= json.null and list.items or {}) do
        item.apiVersion, item.kind = item.apiVersion or api_version, item.kind or kind
        items[#items + 1] = item
      end
      next_page = list.metadata and list.metadata.continue
      if not next_page or next_page == "" then return items, list.metadata and list.metadata.resourceVersion end
    else
      items, next_page, begun = {}, nil, begun + 1
      if begun == 3 then limit = 0 end
    end
  end
end

-- A path that nobody serves has no Status of an object in its answer: the kind is so new that not all of the server knows it.
local function is_unserved(answer)
  if answer.status ~= 404 then return false end
  local status = status_of(answer)
  return not (status and status.details and status.details.name)
end

-- Two writers at once, which is nobody's decision to make: the server says Conflict, but names no field.
local function is_race(answer)
  local status = answer.status == 409 and status_of(answer)
  return status and status.reason == "Conflict" and (status.message or ""):find("the object has been modified", 1, true) ~= nil
end

--- Server-side apply. options: dry_run, force, manager. A conflict is an error that names the fields and who holds them.
function client:apply(object, options)
  options = options or {}
  local query = "?fieldManager=" .. escape(options.manager or MANAGER) .. "&force=" .. tostring(options.force == true)
    .. (options.dry_run and "&dryRun=All" or "")
  local what = ("apply %s %s"):format(object.kind, object.metadata.name)
  local path, started, answer = self:path_of(object) .. query, task.now(), nil
  while true do
    local body
    body, answer = self:request("PATCH", path, object,
      { content_type = "application/apply-patch+yaml", ok = { [409] = true, [404] = true }, what = what })
    if body then return body end
    if not (is_unserved(answer) and not options.dry_run or is_race(answer)) or task.now() - started > SETTLED then break end
    task.sleep(0.1)
  end
  if answer.status == 404 then
    if options.dry_run then return nil, "absent" end
    raise(self, what, answer)
  end
  local status = status_of(answer)
  local causes = {}
  for _, cause in ipairs(status and status.details and status.details.causes or {}) do
    causes[#causes + 1] = ("%s (%s)"):format(cause.field, cause.message)
  end
  if #causes == 0 then raise(self, what, answer) end
  error(fail { ("%s: others hold fields of it: %s"):format(what, table.concat(causes, "; ")),
    code = "conflict", hint = "take the fields out of the recipe, or set force = true to take them over" })
end

--- A merge patch (RFC 7386) of an object. options: subresource.
function client:merge(object, change, options)
  options = options or {}
  return (self:request("PATCH", self:path_of(object) .. (options.subresource and "/" .. options.subresource or ""), change,
    { content_type = "application/merge-patch+json" }))
end

function client:create(object, path)
  return (self:request("POST", path or self:path(object.apiVersion, object.kind, namespace_of(self, object)), object))
end

--- Deletes an object; true when it was there. options: propagation ("Background" unless given), wait (seconds to wait until
-- gone), uid (only the object that has it: another of the name is left, and false is given).
function client:delete(object, options)
  options = options or {}
  if not self:kind(object.apiVersion, object.kind) then return false end
  local path = self:path_of(object)
  local body = self:request("DELETE", path, { apiVersion = "v1", kind = "DeleteOptions",
    propagationPolicy = options.propagation or "Background", preconditions = options.uid and { uid = options.uid } or nil },
    { ok = { [404] = true, [409] = options.uid ~= nil } })
  if body and options.wait then
    self:wait(object, function(now) return now == nil end, options.wait, "to be gone")
  end
  return body ~= nil
end

-- Watching. What is known of the world is kept by name, so that after a gap (410) it can be told what has changed in it.

local function key_of(object) return (object.metadata.namespace or "") .. "/" .. object.metadata.name end

-- Lists, and tells `each` how that differs from what was known. Returns its answer, and the version of the list.
local function catch_up(self, api_version, kind, options, known, each)
  local items, version = self:list(api_version, kind, options)
  local there, answer = {}, nil
  for _, item in ipairs(items) do
    local key = key_of(item)
    local old = known[key]
    there[key] = item
    if not answer and (not old or old.metadata.resourceVersion ~= item.metadata.resourceVersion) then
      answer = each(old and "MODIFIED" or "ADDED", item)
    end
  end
  for key, old in pairs(known) do
    if not there[key] then
      known[key] = nil
      answer = answer or each("DELETED", old)
    end
  end
  for key, item in pairs(there) do known[key] = item end
  return answer, version
end

-- The events of a stream, one JSON text a line, until it ends or the deadline has passed.
local function events(stream, deadline)
  local rest, lines, at = {}, {}, 0
  return function()
    at = at + 1
    while not lines[at] do
      local left = deadline - task.now()
      local chunk = left > 0 and stream:read(left)
      if not chunk then return nil end
      lines, at = {}, 1
      local from, ending = 1, chunk:find("\n", 1, true)
      while ending do
        rest[#rest + 1] = chunk:sub(from, ending - 1)
        lines[#lines + 1], rest = table.concat(rest), {}
        from = ending + 1
        ending = chunk:find("\n", from, true)
      end
      rest[#rest + 1] = chunk:sub(from)
    end
    return json.decode(lines[at])
  end
end

-- Tells the events of one stream. Returns each's answer, the version up to which all is told (nil: to be listed again), and
-- whether the server was in trouble.
local function follow(stream, deadline, since, known, each)
  for event in events(stream, deadline) do
    local object = event.object
    if event.type == "ERROR" then
      if object.code == 410 then return nil, nil end
      return nil, since, true
    end
    since = object.metadata.resourceVersion
    if event.type ~= "BOOKMARK" then
      known[key_of(object)] = event.type ~= "DELETED" and object or nil
      local answer = each(event.type, object)
      if answer then return answer, since end
    end
  end
  return nil, since
end

--- Watches a kind: calls each(event_type, object) for each event until it returns a true value (which is returned) or the
-- deadline has passed (nil); the second result is the version up to which all is told. options: namespace, fields, labels, since
-- (a version; without one what is there is told first, as ADDED), known (objects of that version).
-- A connection that ends is taken up where it was; where the server has forgotten that (410) all is listed again, and what
-- changed meanwhile is told as ADDED, MODIFIED or DELETED.
function client:watch(api_version, kind, options, seconds, each)
  local deadline, since, known = task.now() + seconds, options.since, {}
  for _, object in ipairs(options.known or {}) do known[key_of(object)] = object end
  local path, pause, renewed = self:path(api_version, kind, options.namespace), 0.1, false
  local what = ("watch %s"):format(kind)
  while task.now() < deadline do
    local answer
    if not since then
      answer, since = catch_up(self, api_version, kind, options, known, each)
      if answer then return answer, since end
    end
    local left, before, began = math.max(1, math.ceil(deadline - task.now())), since, task.now()
    local query = query_of(options, { "watch=true", "allowWatchBookmarks=true", "timeoutSeconds=" .. left, "resourceVersion="
      .. escape(since) })
    local stream, message, code, parts = ask(self, http.open, "GET", path .. query, nil, { timeout = math.min(left, 60) })
    local trouble, wait = true, nil
    if stream then
      local _ <close> = setmetatable({}, { __close = function() stream:close() end })
      if stream.status == 200 then
        answer, since, trouble = follow(stream, deadline, since, known, each)
        if answer then return answer, since end
      elseif stream.status == 410 then
        since, trouble = nil, false
      elseif stream.status == 401 and parts.renew and not renewed then
        renewed, trouble = true, false
        renew(self, parts)
      elseif RETRIED[stream.status] then
        wait = tonumber(stream.headers["retry-after"])
      else
        raise(self, what, { status = stream.status, body = stream:read(5) })
      end
    elseif is_hopeless(code, message) then
      unreachable(what, message, code)
    end
    -- One that ends at once, and again and again, is in trouble, too.
    if since ~= before and not trouble then pause = 0.1 end
    if trouble or (task.now() - began < 1 and since == before) then
      task.sleep(math.max(0, math.min(wait or pause, deadline - task.now())))
      pause = math.min(pause * 1.7, 5)
    end
  end
  return nil, since
end

--- Waits until `done(object or nil)` says so, by watching. Fails after `seconds` with what the object last said. A kind that
-- the server does not have is waited for like its object.
function client:wait(object, done, seconds, what)
  local name = object.metadata.name
  local deadline = task.now() + seconds
  local now
  repeat
    now = self:get(object.apiVersion, object.kind, namespace_of(self, object), name)
    local answer = done(now)
    if answer then return answer, now end
    local left = math.max(0.1, math.min(30, deadline - task.now()))
    if not self:kind(object.apiVersion, object.kind) then
      task.sleep(math.min(left, 1)) -- discovery cannot be watched
    else
      answer = self:watch(object.apiVersion, object.kind, { namespace = namespace_of(self, object), fields = "metadata.name="
        .. name,
        since = now and now.metadata.resourceVersion, known = now and { now } }, left, function(event, changed)
        now = event ~= "DELETED" and changed or nil
        return done(now)
      end)
      if answer then return answer, now end
    end
  until task.now() >= deadline
  error(fail { ("%s %s: waited %g s for it %s; %s"):format(object.kind, name, seconds, what or "to be ready",
    client.last_words(now)),
    code = "timeout" })
end

-- Go writes a list that is not there as null.
local function list_of(value) return type(value) == "table" and value or {} end

local function conditions_of(object)
  return list_of(object and type(object.status) == "table" and object.status.conditions)
end

--- What an object's conditions say, for a message.
function client.last_words(object)
  if not object then return "it is not there" end
  local words = {}
  for _, condition in ipairs(conditions_of(object)) do
    if condition.type == "Ready" or condition.status ~= "True" then
      words[#words + 1] = ("%s=%s%s"):format(condition.type, condition.status,
        condition.message and condition.message ~= "" and " (" .. condition.message .. ")" or "")
    end
  end
  return #words > 0 and "it says " .. table.concat(words, ", ") or "it has no conditions yet"
end

--- The status of a condition: "True", "False", "Unknown" or nil, and its message.
function client.condition(object, name)
  for _, condition in ipairs(conditions_of(object)) do
    if condition.type == name then return condition.status, condition.message end
  end
end

return { new = new, condition = client.condition, conditions = conditions_of, last_words = client.last_words, MANAGER = MANAGER }
