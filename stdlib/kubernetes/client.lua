--- A client of a Kubernetes API: discovery, get, list, server-side apply and its dry run, patch, delete, watch, wait.
-- Protocol facts: https://kubernetes.io/docs/reference/using-api/api-concepts/ and .../server-side-apply/.
local crypto, http, json, task, yaml = require "crypto", require "http", require "json", require "task", require "yaml"
local fail = require "fail"

local client = {}
client.__index = client

local MANAGER = "vmrun"
local RETRIED = { [429] = true, [500] = true, [502] = true, [503] = true, [504] = true }
local BUDGET = 120 -- seconds of trying again

--- A client from the parts of a kubeconfig: server, ca (PEM), cert and key (PEM) or token, server_name, connect_to (a function
-- that gives "addr:port" or nil), renew (a function that gives new parts after a 401).
local function new(parts)
  return setmetatable({ parts = parts, kinds = {}, versions = {} }, client)
end

local function text_of(answer)
  local body = answer.body and answer.body ~= "" and json.decode(answer.body) or nil
  if type(body) == "table" and body.kind == "Status" then
    return tostring(body.message or body.reason), body.reason, body
  end
  return ("HTTP %d"):format(answer.status), nil, nil
end

local function raise(what, answer)
  local message, reason, status = text_of(answer)
  error(fail { ("%s: %s"):format(what, message), code = reason or ("HTTP%d"):format(answer.status), status = status,
    hint = answer.status == 401 and "the API server does not know our credentials: were they renewed, or have they expired?" or nil })
end

local function request_of(self, method, path, body, options)
  local parts = self.parts
  local headers = { Accept = options.accept or "application/json", ["User-Agent"] = "vmrun",
    ["Content-Type"] = body and (options.content_type or "application/json") or nil,
    Authorization = parts.token and ("Bearer " .. parts.token) or nil }
  return { method = method, url = parts.server .. path, headers = headers, body = body and (type(body) == "string" and body
    or json.encode(body)) or nil, ca = parts.ca, cert = parts.cert, key = parts.key, server_name = parts.server_name,
    connect_to = parts.connect_to and parts.connect_to() or nil, timeout = options.timeout or 60 }
end

-- That no way leads to the server now (a load balancer's probe fails) is as temporary as a refused connection.
local function ask(self, ...)
  local ok, request = pcall(request_of, self, ...)
  if ok then return http.request(request) end
  if type(request) == "table" and request.code == "unreachable" then return nil, request.message, "unreachable" end
  error(request, 0)
end

--- One request, with retries for what the server calls temporary. options: ok = {[404] = true}, content_type, timeout, what.
-- Returns the decoded body (nil for a tolerated failure) and the answer.
function client:request(method, path, body, options)
  options = options or {}
  local what = options.what or ("%s %s"):format(method, (path:gsub("%?.*", "")))
  local started, pause, renewed = task.now(), 0.2, false
  local patience = options.patience or self.patience or BUDGET
  while true do
    local answer, message, code = ask(self, method, path, body, options)
    local wait
    if not answer then
      -- An API server that starts or loses its quorum resets connections; one with a certificate that does not fit never will.
      local final = code == "cancelled" or (code == "tls" and message:find("certificate", 1, true))
      if final or task.now() - started > patience then
        error(fail { ("%s: %s"):format(what, message), code = final and code or "unreachable",
          hint = "is the API server up, and may we reach it?" })
      end
      wait = pause
    elseif answer.status == 401 and self.parts.renew and not renewed then
      renewed, self.parts = true, self.parts.renew()
    elseif RETRIED[answer.status] and not (options.ok and options.ok[answer.status])
      and task.now() - started < patience then
      wait = tonumber(answer.headers["retry-after"]) or pause
    elseif answer.status >= 400 then
      if options.ok and options.ok[answer.status] then return nil, answer end
      raise(what, answer)
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

function client:discover(api_version)
  local list = self:request("GET", group_path(api_version), nil, { ok = { [404] = true } })
  local found = {}
  for _, resource in ipairs(list and list.resources or {}) do
    if not resource.name:find("/", 1, true) then
      found[resource.kind] = { plural = resource.name, namespaced = resource.namespaced, verbs = resource.verbs }
    end
  end
  self.kinds[api_version] = found
  return found
end

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

--- The path of an object that we hold.
function client:path_of(object)
  return self:path(object.apiVersion, object.kind, namespace_of(self, object), object.metadata.name)
end

--- An object, or nil when it is not there (or its kind is not).
function client:get(api_version, kind, namespace, name)
  if not self:kind(api_version, kind) then return nil end
  return (self:request("GET", self:path(api_version, kind, namespace, name), nil, { ok = { [404] = true } }))
end

--- All objects of a kind, page by page. options: labels (a selector), fields (a selector), namespace.
function client:list(api_version, kind, options)
  options = options or {}
  local items, next_page = {}, nil
  repeat
    local query = { "limit=500" }
    if options.labels then query[#query + 1] = "labelSelector=" .. escape(options.labels) end
    if options.fields then query[#query + 1] = "fieldSelector=" .. escape(options.fields) end
    if next_page then query[#query + 1] = "continue=" .. escape(next_page) end
    local list = self:request("GET", self:path(api_version, kind, options.namespace) .. "?" .. table.concat(query, "&"))
    for _, item in ipairs(list.items or {}) do
      item.apiVersion, item.kind = item.apiVersion or api_version, item.kind or kind
      items[#items + 1] = item
    end
    next_page = list.metadata and list.metadata.continue
    if next_page == "" then next_page = nil end
    self.version_seen = list.metadata and list.metadata.resourceVersion
  until not next_page
  return items
end

--- Server-side apply. options: dry_run, force, manager. A conflict is an error that names the fields and who holds them.
function client:apply(object, options)
  options = options or {}
  local query = "?fieldManager=" .. (options.manager or MANAGER) .. "&force=" .. tostring(options.force == true)
    .. (options.dry_run and "&dryRun=All" or "")
  local what = ("apply %s %s"):format(object.kind, object.metadata.name)
  local body, answer = self:request("PATCH", self:path_of(object) .. query, object,
    { content_type = "application/apply-patch+yaml", ok = { [409] = true, [404] = options.dry_run }, what = what })
  if body then return body end
  if answer.status == 404 then return nil, "absent" end
  local message, _, status = text_of(answer)
  local causes = {}
  for _, cause in ipairs(status and status.details and status.details.causes or {}) do
    causes[#causes + 1] = ("%s (%s)"):format(cause.field, cause.message)
  end
  error(fail { ("%s: %s"):format(what, #causes > 0 and "others hold fields of it: " .. table.concat(causes, "; ") or message),
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

--- Deletes an object; true when it was there. options: propagation ("Background" unless given), wait (seconds to wait until gone).
function client:delete(object, options)
  options = options or {}
  if not self:kind(object.apiVersion, object.kind) then return false end
  local path = self:path_of(object)
  local body = self:request("DELETE", path, { apiVersion = "v1", kind = "DeleteOptions",
    propagationPolicy = options.propagation or "Background" }, { ok = { [404] = true } })
  if body and options.wait then
    self:wait(object, function(now) return now == nil end, options.wait, "to be gone")
  end
  return body ~= nil
end

--- Watches a kind: calls each(event_type, object) for each event until it returns a true value (which is returned) or the
-- deadline has passed (nil). options: namespace, fields, labels, since. Reconnects, and lists again where the server asks for it.
function client:watch(api_version, kind, options, seconds, each)
  local deadline, since = task.now() + seconds, options.since
  while task.now() < deadline do
    local query = { "watch=true", "allowWatchBookmarks=true" }
    if since then query[#query + 1] = "resourceVersion=" .. escape(since) end
    if options.fields then query[#query + 1] = "fieldSelector=" .. escape(options.fields) end
    if options.labels then query[#query + 1] = "labelSelector=" .. escape(options.labels) end
    local request = request_of(self, "GET", self:path(api_version, kind, options.namespace) .. "?" .. table.concat(query, "&"),
      nil, { timeout = math.max(1, deadline - task.now()) })
    local stream, rest = http.open(request), ""
    if stream and stream.status == 200 then
      while true do
        local chunk = stream:read(math.max(0.1, deadline - task.now()))
        if not chunk then break end
        rest = rest .. chunk
        for line in function()
          local text, more = rest:match("^([^\n]*)\n(.*)$")
          if text then rest = more end
          return text
        end do
          local event = line ~= "" and json.decode(line)
          if event and event.type == "ERROR" then
            since = nil -- 410: what we knew is too old
          elseif event then
            since = event.object.metadata.resourceVersion
            if event.type ~= "BOOKMARK" then
              local answer = each(event.type, event.object)
              if answer then
                stream:close()
                return answer
              end
            end
          end
        end
      end
    else
      since = nil
      task.sleep(math.min(0.5, math.max(0, deadline - task.now())))
    end
    if stream then stream:close() end
  end
end

--- Waits until `done(object or nil)` says so, by watching. Fails after `seconds` with what the object last said.
function client:wait(object, done, seconds, what)
  local name, namespace = object.metadata.name, namespace_of(self, object)
  local deadline = task.now() + seconds
  local now
  repeat
    now = self:get(object.apiVersion, object.kind, namespace, name)
    local answer = done(now)
    if answer then return answer, now end
    answer = self:watch(object.apiVersion, object.kind, { namespace = namespace, fields = "metadata.name=" .. name,
      since = now and now.metadata.resourceVersion }, math.max(0.1, math.min(30, deadline - task.now())), function(event, changed)
      now = event ~= "DELETED" and changed or nil
      return done(now)
    end)
    if answer then return answer, now end
  until task.now() >= deadline
  error(fail { ("%s %s: waited %g s for it %s; %s"):format(object.kind, name, seconds, what or "to be ready", client.last_words(now)),
    code = "timeout" })
end

--- What an object's conditions say, for a message.
function client.last_words(object)
  if not object then return "it is not there" end
  local words = {}
  for _, condition in ipairs(object.status and object.status.conditions or {}) do
    if condition.type == "Ready" or condition.status ~= "True" then
      words[#words + 1] = ("%s=%s%s"):format(condition.type, condition.status,
        condition.message and condition.message ~= "" and " (" .. condition.message .. ")" or "")
    end
  end
  return #words > 0 and "it says " .. table.concat(words, ", ") or "it has no conditions yet"
end

--- The status of a condition: "True", "False", "Unknown" or nil, and its message.
function client.condition(object, name)
  for _, condition in ipairs(object and object.status and object.status.conditions or {}) do
    if condition.type == name then return condition.status, condition.message end
  end
end

-- Kubeconfigs.

local function inline(entry, name)
  local data = entry[name .. "-data"]
  return data and crypto.unbase64(data) or nil
end

local function named(list, name)
  for _, entry in ipairs(list or {}) do if entry.name == name then return entry end end
end

--- The parts of a kubeconfig table (or text): server, ca, cert, key, token. Files and exec plugins are left to the caller.
local function parts_of(config, context)
  if type(config) == "string" then config = fail.check(yaml.decode(config)) end
  local chosen = named(config.contexts, context or config["current-context"])
  local cluster = chosen and named(config.clusters, chosen.context.cluster)
  local user = chosen and named(config.users, chosen.context.user)
  if not cluster or not user then
    error(fail { "the kubeconfig has no usable context" .. (context and " '" .. context .. "'" or ""), code = "kubeconfig" })
  end
  return { server = (cluster.cluster.server:gsub("/$", "")), ca = inline(cluster.cluster, "certificate-authority"),
    server_name = cluster.cluster["tls-server-name"], cert = inline(user.user, "client-certificate"),
    key = inline(user.user, "client-key"), token = user.user.token }
end

return { new = new, parts_of = parts_of, condition = client.condition, last_words = client.last_words, MANAGER = MANAGER }
