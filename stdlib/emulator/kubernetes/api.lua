--- The API server: a request in, an answer out. One for each control plane machine; all of a cluster share its objects.
local json = require "json"
local yaml = require "yaml"
local crypto = require "crypto"
local log = require "log"
local task = require "task"
local value = require "emulator.kubernetes.value"
local status = require "emulator.kubernetes.status"
local rbac = require "emulator.kubernetes.rbac"
local authentication = require "emulator.kubernetes.authentication"
local selector = require "emulator.kubernetes.selector"
local protobuf = require "emulator.kubernetes.protobuf"
local printer = require "emulator.kubernetes.printer"
local discovery = require "emulator.kubernetes.discovery"
local openapi = require "emulator.kubernetes.openapi"
local subresources = require "emulator.kubernetes.subresources"
local reviews = require "emulator.kubernetes.reviews"

local api = {}

local encoded = setmetatable({}, { __mode = "k" })
local encoded_items = setmetatable({}, { __mode = "k" })

-- Stored objects never change, so their text is made once.
local function text_of(object)
  local text = encoded[object]
  if not text then
    text = json.encode(object)
    encoded[object] = text
  end
  return text
end

-- In a list the kind is said once, except of custom resources.
local function item_text(res, object)
  if not res.builtin then return text_of(object) end
  local text = encoded_items[object]
  if not text then
    local item = value.shallow(object)
    item.kind, item.apiVersion = nil, nil
    text = json.encode(item)
    encoded_items[object] = text
  end
  return text
end

local function respond(code, body, headers)
  headers = headers or {}
  headers["Content-Type"] = headers["Content-Type"] or "application/json"
  headers["Cache-Control"] = "no-cache, private"
  return { status = code, headers = headers, body = type(body) == "string" and body or json.encode(body) }
end

local function plain(code, text) return { status = code, headers = { ["Content-Type"] = "text/plain; charset=utf-8" }, body = text } end

local function truthy(text) return text == "true" or text == "1" or text == "" and true end

-- ?dryRun=All&dryRun=... : last wins, which is enough
local function dry_run(query)
  if query.dryRun == nil or query.dryRun == "" then return false end
  if query.dryRun ~= "All" then
    error(status.new(422, "Invalid", ('PatchOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["%s"]: supported values: "All"')
      :format(query.dryRun), {}), 0)
  end
  return true
end

local function manager(req)
  local name = req.query.fieldManager
  if name and name ~= "" then return name end
  local agent = req.headers["user-agent"] or ""
  return (agent:match("^([^/]+)") or "unknown"):sub(1, 128)
end

local PROTOBUF = "application/vnd.kubernetes.protobuf"

local function decode_body(req, kinds)
  local kind = (req.headers["content-type"] or "application/json"):match("^%s*([^;%s]+)")
  if not req.body or req.body == "" then return nil, kind end
  if kinds and not kinds[kind] then error(status.unsupported_media(table.concat(value.keys(kinds), ", ")), 0) end
  local body, why
  if kind == PROTOBUF then
    body, why = protobuf.decode(req.body)
    if not body then error(status.unsupported_media("application/json, application/yaml (" .. why .. ")"), 0) end
  elseif kind:find("yaml", 1, true) then body, why = yaml.decode(req.body) else body, why = json.decode(req.body) end
  if body == nil then
    error(status.bad_request(("the object provided is unrecognized: couldn't get version/kind; json parse error: %s"):format(why)), 0)
  end
  return body, kind
end

local body_kinds = { ["application/json"] = true, ["application/yaml"] = true, [PROTOBUF] = true }
local patch_kinds = { ["application/json-patch+json"] = true, ["application/merge-patch+json"] = true,
  ["application/strategic-merge-patch+json"] = true, ["application/apply-patch+yaml"] = true }

--- Which form of a list or object a client wants: "Table" or "PartialObjectMetadata" with its version, or nil.
local function wanted_form(req)
  for part in (req.headers.accept or ""):gmatch("[^,]+") do
    local as, version, group = part:match("as=([%w]+)"), part:match("v=([%w]+)"), part:match("g=([%w.]+)")
    if as and (group == "meta.k8s.io") then return as, "meta.k8s.io/" .. (version or "v1") end
    if not as and part:find("application/json", 1, true) or part:find("*/*", 1, true) then return nil end
    if part:find("application/yaml", 1, true) and not as then return "yaml" end
  end
  return nil
end

local function viewed(res, object)
  if object.apiVersion == res.api_version then return object end
  local out = value.shallow(object)
  out.apiVersion = res.api_version
  return out
end

local function list_meta(revision, next_, remaining)
  return { resourceVersion = tostring(revision), continue = next_, remainingItemCount = remaining }
end

local function as_partial(object, version)
  return { kind = "PartialObjectMetadata", apiVersion = version, metadata = object.metadata }
end

local function show(ctx, object, code)
  local form, version = wanted_form(ctx.req)
  local res = ctx.res
  object = viewed(res, object)
  if form == "Table" then
    return respond(code or 200, printer.table(res, { object }, { api_version = version, include = ctx.req.query.includeObject,
      list = list_meta(object.metadata.resourceVersion) }), ctx.headers)
  elseif form == "PartialObjectMetadata" then
    return respond(code or 200, as_partial(object, version), ctx.headers)
  elseif form == "yaml" then
    ctx.headers["Content-Type"] = "application/yaml"
    return respond(code or 200, yaml.encode(object), ctx.headers)
  end
  return respond(code or 200, text_of(object), ctx.headers)
end

local function matcher(ctx)
  local labels = ctx.req.query.labelSelector
  local by_label = labels and labels ~= "" and selector.labels(labels)
  local by_field, name = selector.fields(ctx.req.query.fieldSelector, ctx.res)
  local any_field = ctx.req.query.fieldSelector and ctx.req.query.fieldSelector ~= ""
  return function(object)
    if ctx.namespace and object.metadata.namespace ~= ctx.namespace then return false end
    if ctx.name and object.metadata.name ~= ctx.name then return false end
    return (not by_label or by_label(object.metadata.labels or {})) and (not any_field or by_field(object))
  end, name
end

local function collect(ctx, revision)
  local matches, store = matcher(ctx), ctx.cluster.store
  local found = revision and store:at(ctx.res.key, revision, ctx.namespace)
  if revision and not found then return nil end
  local out = {}
  for _, object in ipairs(found or store:list(ctx.res.key, ctx.namespace)) do
    if matches(object) then out[#out + 1] = viewed(ctx.res, object) end
  end
  return out
end

local function continue_token(revision, start)
  return crypto.base64url(json.encode { v = "meta.k8s.io/v1", rv = revision, start = start })
end

-- Where a list goes on: after which name, and at which revision; -1 is the newest, for who takes what changed meanwhile.
local function continued(ctx)
  local token = ctx.req.query.continue
  if not token or token == "" then return "", nil end
  local decoded = json.decode(crypto.unbase64url(token) or "")
  if type(decoded) ~= "table" or type(decoded.start) ~= "string" then
    error(status.bad_request("continue key is not valid: " .. token), 0)
  end
  return decoded.start, decoded.rv ~= -1 and decoded.rv or nil
end

-- A page of a list is of the revision that the first one had.
local function page(ctx)
  local limit = math.tointeger(tonumber(ctx.req.query.limit))
  local after, revision = continued(ctx)
  local objects = collect(ctx, revision)
  if not objects then
    local failure = status.expired("The provided continue parameter is too old to display a consistent list result. You can start a new list "
      .. "without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing "
      .. "with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the "
      .. "first chunk was returned and now may show up in the list.")
    failure.body.metadata.continue = continue_token(-1, after)
    error(failure, 0)
  end
  revision = revision or ctx.cluster.store.revision
  local start = 1
  while objects[start] and (objects[start].metadata.namespace or "") .. "/" .. objects[start].metadata.name <= after do start = start + 1 end
  if not limit or limit <= 0 or #objects - start + 1 <= limit then
    return table.move(objects, start, #objects, 1, {}), list_meta(revision)
  end
  local out = table.move(objects, start, start + limit - 1, 1, {})
  local last = out[#out].metadata
  local remaining = not (ctx.req.query.labelSelector or ctx.req.query.fieldSelector) and #objects - start + 1 - limit or nil
  return out, list_meta(revision, continue_token(revision, (last.namespace or "") .. "/" .. last.name), remaining)
end

local function list(ctx)
  local objects, meta = page(ctx)
  local form, version = wanted_form(ctx.req)
  local res = ctx.res
  if form == "Table" then
    return respond(200, printer.table(res, objects, { api_version = version, include = ctx.req.query.includeObject, list = meta }), ctx.headers)
  end
  local texts = {}
  for i, object in ipairs(objects) do
    texts[i] = form == "PartialObjectMetadataList" and json.encode(as_partial(object, version)) or item_text(res, object)
  end
  local kind, gv = res.list_kind, res.api_version
  if form == "PartialObjectMetadataList" then kind, gv = form, version end
  return respond(200, ('{"kind":%s,"apiVersion":%s,"metadata":%s,"items":[%s]}'):format(json.encode(kind), json.encode(gv),
    json.encode(meta), table.concat(texts, ",")), ctx.headers)
end

local function seen_by(event, matches)
  local now = event.type ~= "DELETED" and matches(event.object)
  local before = event.old and matches(event.old)
  if event.type == "DELETED" then return before and "DELETED" or nil end
  if now and before then return "MODIFIED" end
  if now then return "ADDED" end
  return before and "DELETED" or nil
end

local function watch_writer(ctx)
  local form, version = wanted_form(ctx.req)
  local first = true
  return function(w, type_, object)
    object = viewed(ctx.res, object)
    local text
    if form == "Table" then
      text = json.encode(printer.table(ctx.res, { object }, { api_version = version, include = ctx.req.query.includeObject,
        headers = first, list = list_meta(object.metadata.resourceVersion) }))
      first = false
    elseif form and form:match("^Partial") then
      text = json.encode(as_partial(object, version))
    else
      text = text_of(object)
    end
    return w:write('{"type":"' .. type_ .. '","object":' .. text .. "}\n")
  end
end

local function bookmark(ctx, revision, initial)
  local annotations = initial and { ["k8s.io/initial-events-end"] = "true" } or nil
  local form, version = wanted_form(ctx.req)
  local kind, gv = ctx.res.kind, ctx.res.api_version
  if form == "Table" then
    return json.encode { type = "BOOKMARK", object = { kind = "Table", apiVersion = version, columnDefinitions = json.null,
      metadata = { resourceVersion = tostring(revision) }, rows = json.array { { cells = json.array {}, object = {
        kind = "PartialObjectMetadata", apiVersion = version,
        metadata = { resourceVersion = tostring(revision), creationTimestamp = json.null, annotations = annotations } } } } } } .. "\n"
  end
  return json.encode { type = "BOOKMARK", object = { kind = kind, apiVersion = gv, metadata = {
    resourceVersion = tostring(revision), creationTimestamp = json.null, annotations = annotations } } } .. "\n"
end

local BOOKMARK_EVERY, BOOKMARK_BEFORE_END = 60, 2 -- seconds

local function watch(ctx)
  local q = ctx.req.query
  local store, key = ctx.cluster.store, ctx.res.key
  local matches = matcher(ctx)
  local since = math.tointeger(tonumber(q.resourceVersion)) or 0
  local initial = truthy(q.sendInitialEvents)
  local backlog = {}
  if since > 0 and not initial then
    local events = store:since(since)
    if not events then
      error(status.expired(("too old resource version: %d (%d)"):format(since, store.oldest)), 0)
    end
    for _, event in ipairs(events) do
      if event.kind == key then backlog[#backlog + 1] = event end
    end
  elseif q.sendInitialEvents ~= "false" then
    for _, object in ipairs(store:list(key, ctx.namespace)) do
      backlog[#backlog + 1] = { type = "ADDED", object = object }
    end
  end
  local start_revision = store.revision
  local queue = task.queue()
  local unsubscribe = store:subscribe(function(event)
    if event.kind == key then queue:push(event) end
  end)
  local timeout = tonumber(q.timeoutSeconds) or 1800 + crypto.random(2):byte(1) * 7
  local ends = task.now() + timeout
  return { status = 200, headers = { ["Content-Type"] = "application/json", ["Cache-Control"] = "no-cache, private" },
    stream = function(w)
      local guard <close> = setmetatable({}, { __close = unsubscribe })
      local ended <close> = ctx.server:watching(queue)
      local write = watch_writer(ctx)
      for _, event in ipairs(backlog) do
        local type_ = seen_by(event, matches)
        if type_ and not write(w, type_, type_ == "DELETED" and event.type ~= "DELETED" and event.old or event.object) then return end
      end
      if initial and truthy(q.allowWatchBookmarks) and not w:write(bookmark(ctx, start_revision, true)) then return end
      while true do
        local left = ends - task.now()
        if left <= 0 then return end
        local last = left - BOOKMARK_BEFORE_END
        local event = queue:pop(last > 0 and math.min(last, BOOKMARK_EVERY) or left)
        if event == false or ctx.server.closed then return end
        if event then
          if ctx.server:unreadable(key, event.object) then return end
          local type_ = seen_by(event, matches)
          if type_ == "DELETED" and event.type ~= "DELETED" then
            local object = value.shallow(event.old)                -- it left the selection: its old form, the new revision
            object.metadata = value.shallow(event.old.metadata)
            object.metadata.resourceVersion = event.object.metadata.resourceVersion
            if not write(w, type_, object) then return end
          elseif type_ and not write(w, type_, event.object) then
            return
          end
        elseif truthy(q.allowWatchBookmarks) and not w:write(bookmark(ctx, store.revision)) then
          return
        end
      end
    end }
end

local function write_options(ctx)
  local q = ctx.req.query
  return { namespace = ctx.namespace, user = ctx.user, manager = manager(ctx.req), validation = q.fieldValidation, dry = dry_run(q),
    encryption = ctx.server.encryption,
    warnings = ctx.warnings, subresource = ctx.subresource }
end

-- What the cluster's own parts write (heartbeats, certificates of kubelets) is its life and no write of a client.
local function saved(ctx, method, code)
  local name = ctx.user and ctx.user.name or ""
  if name:find("^system:node:") or name:find("^system:kube%-") or name:find("^system:serviceaccount:") then return end
  if ctx.cluster.written then ctx.cluster.written(method, ctx.req.path, code) end
end

local function create(ctx)
  local body = decode_body(ctx.req, body_kinds)
  if type(body) ~= "table" then error(status.bad_request("the body of the request is empty"), 0) end
  local options = write_options(ctx)
  local review = reviews[ctx.res.plural]
  if review and ctx.res.builtin then return respond(201, review(ctx, ctx.cluster.objects:asked(ctx.res, body, options))) end
  local object = ctx.cluster.objects:create(ctx.res, body, options)
  if not options.dry then saved(ctx, "POST", 201) end
  return show(ctx, object, 201)
end

local function update(ctx)
  local body = decode_body(ctx.req, body_kinds)
  if type(body) ~= "table" then error(status.bad_request("the body of the request is empty"), 0) end
  local options = write_options(ctx)
  local object, changed = ctx.cluster.objects:update(ctx.res, ctx.namespace, ctx.name, body, options)
  if changed and not options.dry then saved(ctx, "PUT", 200) end
  return show(ctx, object)
end

local function patch(ctx)
  local body, kind = decode_body(ctx.req, patch_kinds)
  if type(body) ~= "table" then error(status.bad_request("error decoding patch: the body is not an object"), 0) end
  local options = write_options(ctx)
  if kind == "application/apply-patch+yaml" then
    if not ctx.req.query.fieldManager or ctx.req.query.fieldManager == "" then
      error(status.new(422, "Invalid", 'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
        { group = "meta.k8s.io", kind = "PatchOptions", causes = json.array { { reason = "FieldValueRequired",
          message = "Required value: is required for apply patch", field = "fieldManager" } } }), 0)
    end
    options.force = truthy(ctx.req.query.force) and ctx.req.query.force ~= ""
    local object, created, changed = ctx.cluster.objects:apply(ctx.res, ctx.namespace, ctx.name, body, options)
    if (created or changed) and not options.dry then saved(ctx, "PATCH", created and 201 or 200) end
    return show(ctx, object, created and 201 or 200)
  end
  local object, changed = ctx.cluster.objects:patch(ctx.res, ctx.namespace, ctx.name, kind, body, options)
  if changed and not options.dry then saved(ctx, "PATCH", 200) end
  return show(ctx, object)
end

local policies = { Orphan = true, Background = true, Foreground = true }

local function delete_options(ctx)
  local body = decode_body(ctx.req) or {}
  local q = ctx.req.query
  local policy = body.propagationPolicy or q.propagationPolicy
  if body.orphanDependents == true then policy = "Orphan" end
  if policy and not policies[policy] then
    error(status.new(422, "Invalid", ('DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "%s": '
      .. 'supported values: "Background", "Foreground", "Orphan"'):format(policy), {}), 0)
  end
  local dry = body.dryRun and #body.dryRun > 0 or dry_run(q)
  return { grace = body.gracePeriodSeconds or math.tointeger(tonumber(q.gracePeriodSeconds)), policy = policy,
    preconditions = body.preconditions, dry = dry, user = ctx.user }
end

local returns_object = { ["/pods"] = true, ["/namespaces"] = true, ["/services"] = true, ["/serviceaccounts"] = true,
  ["/persistentvolumeclaims"] = true, ["/persistentvolumes"] = true, ["/podtemplates"] = true, ["/resourcequotas"] = true }

local function delete(ctx)
  local options = delete_options(ctx)
  local object, gone = ctx.cluster.objects:delete(ctx.res, ctx.namespace, ctx.name, options)
  if not options.dry then saved(ctx, "DELETE", 200) end
  if not gone or returns_object[ctx.res.key] then return show(ctx, object) end
  return respond(200, { kind = "Status", apiVersion = "v1", metadata = {}, status = "Success",
    details = { name = ctx.name, group = ctx.res.group ~= "" and ctx.res.group or nil, kind = ctx.res.plural, uid = object.metadata.uid } },
    ctx.headers)
end

local function delete_collection(ctx)
  local options = delete_options(ctx)
  local objects = collect(ctx)
  for _, object in ipairs(objects) do
    ctx.cluster.objects:delete(ctx.res, object.metadata.namespace, object.metadata.name, options)
  end
  if #objects > 0 and not options.dry then saved(ctx, "DELETE", 200) end
  local out = json.array {}
  for i, object in ipairs(objects) do out[i] = object end
  return respond(200, { kind = ctx.res.list_kind, apiVersion = ctx.res.api_version, metadata = list_meta(ctx.cluster.store.revision),
    items = out }, ctx.headers)
end

local function get(ctx)
  return show(ctx, ctx.cluster.objects:get(ctx.res, ctx.namespace, ctx.name))
end

local handlers = { get = get, list = list, watch = watch, create = create, update = update, patch = patch, delete = delete,
  deletecollection = delete_collection }

local function verb_of(req, name)
  local m = req.method
  if m == "GET" or m == "HEAD" then
    if name then return truthy(req.query.watch) and "watch" or "get" end
    return truthy(req.query.watch) and "watch" or "list"
  end
  if m == "POST" then return "create" end
  if m == "PUT" then return "update" end
  if m == "PATCH" then return "patch" end
  if m == "DELETE" then return name and "delete" or "deletecollection" end
end

local function segments(path)
  local out = {}
  for part in path:gmatch("[^/]+") do out[#out + 1] = part end
  return out
end

--- The parts of a resource's path: group, version, namespace, plural, name, subresource; nil when it is none.
local function parse(path)
  local s = segments(path)
  local group, version, at
  if s[1] == "api" and s[2] then group, version, at = "", s[2], 3
  elseif s[1] == "apis" and s[3] then group, version, at = s[2], s[3], 4
  else return nil end
  if not s[at] then return nil end
  if s[at] == "namespaces" and s[at + 2] and not (#s == at + 2 and (s[at + 2] == "status" or s[at + 2] == "finalize")) then
    return group, version, s[at + 1], s[at + 2], s[at + 3], s[at + 4], table.concat(s, "/", at + 5)
  end
  return group, version, nil, s[at], s[at + 1], s[at + 2], table.concat(s, "/", at + 3)
end

local function authorize(ctx, attributes)
  if rbac.allowed(ctx.cluster.store, ctx.user, attributes) then return end
  local why = rbac.refusal(ctx.user, attributes)
  if attributes.path then error(status.new(403, "Forbidden", why, {}), 0) end
  error(status.forbidden(ctx.res or { group = attributes.group, plural = attributes.resource }, attributes.name, why), 0)
end

-- What a request is about must be readable with the keys of this server.
local function decrypt(ctx)
  local store, key = ctx.cluster.store, ctx.res.key
  if not store.sealed[key] and not ctx.server.encryption:covers(key) then return end
  local list = not ctx.name and store:list(key, ctx.namespace) or { store:get(key, ctx.namespace, ctx.name) }
  for _, object in ipairs(list) do
    local why = ctx.server:unreadable(key, object)
    if why then error(status.internal(why), 0) end
  end
end

local function no_page()
  return plain(404, "404 page not found\n")
end

local function resource_request(ctx)
  local req = ctx.req
  local group, version, namespace, plural, name, sub, rest = parse(req.path)
  if not group then return no_page() end
  local res = ctx.cluster.resources:find(group, version, plural)
  ctx.namespace, ctx.name, ctx.subresource = namespace, name, sub
  local verb = verb_of(req, name)
  if not verb then return plain(405, "method not allowed\n") end
  ctx.res = res
  if sub and verb == "watch" then verb = "get" end
  local attributes = { verb = verb, group = group, resource = plural, subresource = sub, namespace = namespace, name = name }
  if plural == "namespaces" and group == "" and name then attributes.namespace = name end
  if verb == "list" or verb == "watch" then
    local _, only = nil, req.query.fieldSelector and req.query.fieldSelector:match("^metadata%.name=([^,]+)$")
    attributes.name = name or only
  end
  authorize(ctx, attributes)
  if not res then return no_page() end
  if res.namespaced ~= (namespace ~= nil) and (name or verb == "create") then
    return no_page()
  end
  if res.warning or res.deprecated then
    ctx.warnings[#ctx.warnings + 1] = res.warning or ("%s %s is deprecated"):format(res.api_version, res.kind)
  end
  if sub then
    if not res.subresources[sub] then return no_page() end
    if sub ~= "status" then
      local fn = subresources[sub]
      if not fn then return no_page() end
      return fn(ctx, verb, { decode = decode_body, patch_kinds = patch_kinds, body_kinds = body_kinds, options = write_options,
        respond = respond, plain = plain, show = show, saved = saved, rest = rest })
    end
    if verb ~= "get" and verb ~= "update" and verb ~= "patch" then error(status.method_not_supported(res, verb), 0) end
  elseif not value.contains(res.verbs, verb) then
    error(status.method_not_supported(res, verb), 0)
  end
  if verb ~= "create" then decrypt(ctx) end
  return handlers[verb](ctx)
end

local function health(ctx, path)
  local root, check = path:match("^/(%a+)/?(.*)$")
  local ok, why = ctx.server:healthy()
  local checks, failing = { "ping", "log", "etcd" }, { etcd = not ok }
  if root == "readyz" then
    table.move({ "informer-sync", "shutdown" }, 1, 2, #checks + 1, checks)
    failing["informer-sync"], failing.shutdown = not ctx.server:synced(), ctx.server.draining
  end
  if check ~= "" then
    if not value.contains(checks, check) then return no_page() end
    if failing[check] then return plain(500, ("internal server error: %s failed: reason withheld\n"):format(check)) end
    return plain(200, "ok")
  end
  local lines = {}
  for _, name in ipairs(checks) do
    lines[#lines + 1] = failing[name] and ("[-]%s failed: reason withheld"):format(name) or "[+]" .. name .. " ok"
    ok = ok and not failing[name]
  end
  if not ok then
    log.debug("kubernetes: %s fails: %s", root, why or table.concat(lines, ", "))
    return plain(500, table.concat(lines, "\n") .. "\n" .. root .. " check failed\n")
  end
  if ctx.req.query.verbose ~= nil then return plain(200, table.concat(lines, "\n") .. "\n" .. root .. " check passed\n") end
  return plain(200, "ok")
end

local function document(ctx, doc, kind)
  local headers = { ETag = doc.etag, ["Content-Type"] = kind, Vary = "Accept" }
  if ctx.req.headers["if-none-match"] == doc.etag then return { status = 304, headers = headers, body = "" } end
  return { status = 200, headers = headers, body = doc.body }
end

local function aggregated(req)
  local accept = req.headers.accept or ""
  for part in accept:gmatch("[^,]+") do
    if part:find("as=APIGroupDiscoveryList", 1, true) then
      local version = part:match("v=(v%w+)")
      if version == "v2" or version == "v2beta1" then return version end
    end
  end
end

local function discover(ctx, path)
  local resources = ctx.cluster.resources
  if path == "/api" or path == "/apis" then
    local version = aggregated(ctx.req)
    if version then
      local kind = ("application/json;g=apidiscovery.k8s.io;v=%s;as=APIGroupDiscoveryList"):format(version)
      return respond(200, discovery.aggregated(resources, path == "/api", version), { ["Content-Type"] = kind, Vary = "Accept" })
    end
    return respond(200, path == "/api" and discovery.core(ctx.req) or discovery.groups(resources), { Vary = "Accept" })
  end
  local gv = path:match("^/api/([^/]+)$") or path:match("^/apis/([^/]+/[^/]+)$")
  if gv then
    local found = discovery.resources(resources, gv)
    return found and respond(200, found) or no_page()
  end
  local group = path:match("^/apis/([^/]+)$")
  if group then
    local found = discovery.group(resources, group)
    return found and respond(200, found) or no_page()
  end
end

local function metrics(ctx)
  local lines = { "# HELP apiserver_storage_objects Number of stored objects by resource.", "# TYPE apiserver_storage_objects gauge" }
  for _, kind in ipairs(ctx.cluster.store:kinds()) do
    local group, plural = kind:match("^(.*)/(.+)$")
    lines[#lines + 1] = ('apiserver_storage_objects{resource="%s"} %d'):format(group == "" and plural or plural .. "." .. group,
      #ctx.cluster.store:list(kind))
  end
  return plain(200, table.concat(lines, "\n") .. "\n")
end

local function other_request(ctx, path)
  if path:match("^/healthz") or path:match("^/livez") or path:match("^/readyz") then return health(ctx, path) end
  if path == "/version" then return respond(200, ctx.server:version()) end
  if path:match("^/apis?$") or path:match("^/api/[^/]+$") or path:match("^/apis/[^/]+$") or path:match("^/apis/[^/]+/[^/]+$") then
    return discover(ctx, path)
  end
  if path == "/openapi/v2" then
    local version = ctx.server:version().gitVersion
    if (ctx.req.headers.accept or ""):find("protobuf", 1, true) then
      return document(ctx, openapi.v2_protobuf(ctx.cluster.resources, version), "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
    end
    return document(ctx, openapi.v2_json(ctx.cluster.resources, version), "application/json")
  elseif path == "/openapi/v3" then
    return document(ctx, openapi.v3_index(ctx.cluster.resources), "application/json")
  elseif path:match("^/openapi/v3/") then
    local doc = openapi.v3(ctx.cluster.resources, path:sub(13), ctx.server:version().gitVersion)
    return doc and document(ctx, doc, "application/json") or no_page()
  elseif path == "/metrics" then
    return metrics(ctx)
  elseif path == "/" then
    return respond(200, { paths = json.array { "/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version" } })
  elseif path == "/.well-known/openid-configuration" then
    return respond(200, { issuer = ctx.cluster.issuer, jwks_uri = ctx.cluster.issuer .. "/openid/v1/jwks",
      response_types_supported = json.array { "id_token" }, subject_types_supported = json.array { "public" },
      id_token_signing_alg_values_supported = json.array { "RS256" } })
  end
end

local function is_resource(path)
  return path:match("^/api/[^/]+/.") or path:match("^/apis/[^/]+/[^/]+/.")
end

local function serve(ctx)
  ctx.user = authentication.user(ctx.cluster, ctx.req)
  local path = ctx.req.path
  if #path > 1 then path = path:gsub("/+$", "") end
  if is_resource(path) then
    if not ctx.server:healthy() then error(status.new(500, nil, "etcdserver: request timed out"), 0) end
    return resource_request(ctx)
  end
  authorize(ctx, { verb = ctx.req.method == "GET" and "get" or ctx.req.method:lower(), path = path })
  return other_request(ctx, path) or no_page()
end

local function with_warnings(ctx, answer)
  if #ctx.warnings > 0 and answer.headers then
    local lines = {}
    for i, text in ipairs(ctx.warnings) do lines[i] = '299 - "' .. text:gsub('[\\"]', "\\%0") .. '"' end
    answer.headers.Warning = lines
  end
  return answer
end

--- The function that answers requests for one API server. server: cluster, healthy() -> ok, why; version() -> table;
-- watching(queue) -> a value to close; closed, draining; encryption, unreadable(key, object) -> why, synced().
function api.handler(server)
  return function(req)
    local ctx = { req = req, server = server, cluster = server.cluster, warnings = {}, headers = {} }
    local ok, answer = xpcall(serve, function(e)
      if status.is(e) or type(e) == "table" and e.code == "cancelled" then return e end
      return { trace = debug and debug.traceback(tostring(e), 2) or tostring(e) }
    end, ctx)
    if not ok then
      if type(answer) == "table" and answer.code == "cancelled" then error(answer, 0) end
      if not status.is(answer) then
        log.error("kubernetes: %s %s: %s", req.method, req.path, answer.trace)
        answer = status.internal("the emulator's API server failed; its log says where")
      end
      local headers = answer.code == 429 and { ["Retry-After"] = tostring(answer.body.details.retryAfterSeconds or 1) } or nil
      answer = respond(answer.code, answer.body, headers)
    end
    if req.method ~= "GET" and server.cluster.sync then server.cluster.sync() end
    return with_warnings(ctx, answer)
  end
end

return api
