--- Requests on resources, collections, actions and views: checked against the type's statement, carried out, answered as ARM does.
local crypto, json, task = require "crypto", require "json", require "task"
local world, clock = require "emulator.world", require "emulator.clock"
local ids, problem, style, value = require "emulator.arm.id", require "emulator.arm.problem", require "emulator.arm.style",
  require "emulator.arm.value"
local relaxed, identities = require "emulator.arm.relaxed", require "emulator.arm.identities"
local records, operations, contract = require "emulator.arm.records", require "emulator.arm.operations",
  require "emulator.arm.contract"

local raise = problem.raise
local requests = {}

local TOP = { location = true, tags = true, sku = true, kind = true, identity = true, zones = true, plan = true,
  extendedLocation = true, properties = true, managedBy = true, placement = true }

local function busy_problem(record, op, ctx)
  local how = style[op.style] or style.network
  if how.name == "compute" or how.name == "disk" then
    raise(409, "ConflictingConcurrentWriteNotAllowed", ("The request on '%s' failed due to conflict with a concurrent request; "
      .. "another operation on it is in progress."):format(record.id))
  end
  local url = how.operation and operations.urls(op, ctx) or ""
  raise(409, "AnotherOperationInProgress", ("Another operation on this or dependent resource is in progress. To retrieve status "
    .. "of the operation use uri: %s."):format(url), { headers = clock.retry_after(how.retry) })
end

local function check_idle(record, ctx)
  local op = operations.under_way(record)
  if op and not records.statement(record.type).style.queues then busy_problem(record, op, ctx) end
end
requests.check_idle = check_idle

local function check_etag(record, ctx, shown)
  local want, none = ctx.req.headers["if-match"], ctx.req.headers["if-none-match"]
  local how = shown and shown.style or record and records.statement(record.type).style
  if none == "*" and record then
    raise(412, "PreconditionFailed", ("The resource '%s' exists already."):format(record.id))
  end
  if not want or want == "" or want == "*" and record then return end -- some clients send conditions that are empty
  if not record then raise(412, "PreconditionFailed", "The resource does not exist.") end
  local function bare(tag) return (tag:gsub("^W/", ""):gsub('"', "")) end
  if bare(want) == bare(record.etag or "") then return end
  if how and how.etag == "weak" then
    raise(412, "PreconditionFailed", "Precondition failed.", { details = json.array { { code = "PreconditionFailedEtagMismatch",
      message = ('Etag provided in if-match header W/"%s" does not match etag %s of resource %s in NRP data store.'):format(
        bare(want), record.etag, record.id) } } })
  end
  raise(412, "PreconditionFailed", ('Etag provided in if-match header "%s" does not match etag %s of resource.'):format(bare(want),
    tostring(record.etag)))
end

local function normal_location(text) return (text:lower():gsub("[%s]+", "")) end

local function group_record(id)
  local group = records.get(("/subscriptions/%s/resourceGroups/%s"):format(id.subscription, id.group))
  if not group then problem.group_not_found(id.group) end
  return group
end

--- Cuts references that were sent as whole resources down to their ids; children keep their form.
local function plain_references(from, children)
  for key, item in pairs(from) do
    if type(item) == "table" then
      if children and children[key] then
        for _, element in ipairs(item) do
          if type(element) == "table" and type(element.properties) == "table" then
            plain_references(element.properties, children[key].children)
          end
        end
      elseif type(item.id) == "string" and item.id:sub(1, 15):lower() == "/subscriptions/" and (item.name or item.etag) and item.properties then
        from[key] = { id = item.id }
      else
        plain_references(item)
      end
    end
  end
end

local function check_references(record_id, body, own)
  local prefix = "/subscriptions/" .. world.subscription .. "/"
  for _, entry in ipairs(records.references(record_id, body)) do
    local inside = entry.to:sub(1, #record_id + 1) == record_id:lower() .. "/"
    local there
    if inside then
      local list, name = entry.to:match("/([^/]+)/([^/]+)$")
      for key in pairs(own.children or {}) do
        if key:lower() == list then there = value.named(body.properties[key], name) ~= nil end
      end
      if there == nil then there = records.get(entry.to) ~= nil end
    elseif entry.to:sub(1, #prefix) ~= prefix then
      there = entry.to:find("^/subscriptions/[^/]+/providers/") ~= nil
    else
      there = records.get(entry.to) ~= nil or records.child(entry.to) ~= nil or entry.to:find("^/subscriptions/[^/]+/providers/") ~= nil
        or entry.to == record_id:lower()
    end
    if not there then
      raise(400, "InvalidResourceReference", ("Resource %s referenced by resource %s was not found. Please make sure that the "
        .. "referenced resource exists, and that both resources are in the same region."):format(entry.id, record_id),
        { details = json.array {} })
    end
  end
end

local function check_fixed(statement, old, body)
  for _, path in ipairs(statement.fixed or {}) do
    local was, is = value.at(old.body, path), value.at(body, path)
    if was ~= nil and is ~= nil and not value.same(was, is) and not (type(was) == "string" and type(is) == "string"
      and was:lower() == is:lower()) then
      raise(409, "PropertyChangeNotAllowed", ("Changing property '%s' is not allowed."):format((path:gsub("^properties%.", ""))),
        { target = (path:gsub("^properties%.", "")) })
    end
  end
end

--- Completes and checks a whole body against the statement; `ctx.old` is the record that was there.
local function complete(statement, body, ctx)
  body.properties = body.properties or {}
  for _, key in ipairs { "properties", "tags", "sku", "identity" } do
    if body[key] ~= nil and body[key] ~= json.null and type(body[key]) ~= "table" then
      raise(400, "InvalidRequestContent", ("The request content was invalid and could not be deserialized: '%s' is no object."):format(key),
        { gateway = true })
    end
  end
  value.strip_null(body)
  body.properties = body.properties or {}
  if statement.style == style.network then value.strip_empty(body.properties) end -- clients made of Go's structures send them
  body.properties.provisioningState = nil
  for _, key in ipairs(statement.read_only or {}) do body.properties[key] = nil end
  plain_references(body.properties, statement.children)
  local old = ctx.old
  if statement.located ~= false then
    local location = body.location or old and old.body.location
    if type(location) ~= "string" then
      raise(400, "LocationRequired", "The location property is required for this definition.", { gateway = true })
    end
    body.location = normal_location(location)
    if not records.locations[body.location] and body.location ~= "global" then
      raise(400, "LocationNotAvailableForResourceType", ("The provided location '%s' is not available for resource type '%s'. "
        .. "List of available regions for the resource type is '%s'."):format(body.location, statement.type,
        table.concat(value.keys(records.locations), ",")), { gateway = true })
    end
    if old and old.body.location ~= body.location then
      raise(409, "InvalidResourceLocation", ("The resource '%s' already exists in location '%s' in resource group '%s'. A resource "
        .. "with the same name cannot be created in location '%s'. Please select a new resource name."):format(ctx.name,
        old.body.location, ctx.id.group or "", body.location), { gateway = true })
    end
  end
  for _, key in ipairs(statement.kept or {}) do
    if body.properties[key] == nil and old then body.properties[key] = value.copy(old.body.properties[key]) end
  end
  contract.check(statement, body)
  identities.complete(body, ctx)
  for list, spec in pairs(statement.children or {}) do
    local elements = body.properties[list]
    if elements == nil and not spec.optional then
      elements = {}
      body.properties[list] = elements
    end
    if elements then
      if type(elements) ~= "table" then
        raise(400, "InvalidRequestFormat", ("Cannot parse the request: '%s' is no list."):format(list))
      end
      body.properties[list] = json.array(elements)
      for i, element in ipairs(elements) do
        if type(element) ~= "table" or type(element.name) ~= "string" then
          raise(400, "InvalidRequestFormat", ("Cannot parse the request: '%s' has an element without a name."):format(list))
        end
        if element.properties == nil then element.properties = {} end
        element.properties.provisioningState = nil
        for _, key in ipairs(spec.read_only or {}) do element.properties[key] = nil end
        value.fill(element.properties, spec.defaults or {})
        elements[i] = { name = element.name, properties = element.properties, zones = element.zones, state = element.state }
      end
    end
  end
  if statement.prepare then statement.prepare(body, ctx) end
  if old then check_fixed(statement, old, body) end
  records.place_children { id = ctx.record_id, type = statement.type, body = body }
  if not statement.generic then check_references(ctx.record_id, body, statement) end
  return body
end

--- Accepts a completed body: keeps it, starts the operation. Returns record, operation (or nil), created.
local function accept(statement, record, body, ctx)
  local how, created = statement.style, record == nil
  local changed = created or not value.same(record.body, body) or record.state == "Failed"
  local old_body = record and record.body
  if created then
    record = records.new(statement.type, ctx.record_id, body)
  else
    record.body = body
  end
  for key, item in pairs(ctx.private or {}) do record.private[key] = item end
  record.changed, record.changed_by = task.time(), ctx.principal and ctx.principal.client_id
  record.made_by = created and record.changed_by or record.made_by
  local seconds = created and (ctx.seconds and ctx.seconds.create or statement.seconds.create)
    or (ctx.seconds and ctx.seconds.update or statement.seconds.update) or 0
  if statement.duration then seconds = statement.duration(body, old_body) end
  local op
  local at_once = how.update_at_once and not created or statement.immediate or statement.immediate_create and created
  if how.by_state then
    if created and seconds > 0 then record.state = how.pending[1] end
    if record.state ~= "Succeeded" then
      op = operations.start { verb = "put", resource = record.id, seconds = seconds, style = "network", namespace = ctx.id.namespace,
        created = created }
      record.op = op.id
    end
  elseif statement.quiet_noop and not changed then
    record.state = "Succeeded"
  elseif how.operation and how.name ~= "group" and not how.at_once then
    local spec = { verb = "put", resource = record.id, seconds = seconds, style = how.name, namespace = ctx.id.namespace,
      location = body.location, group = ids.group_of(record.id), created = created, zones = body.zones }
    if (changed or how.each_put) and not at_once then
      record.state = how.pending[created and 1 or 2]
      op = operations.start(spec)
      record.op = op.id
    else
      if changed then record.state = "Succeeded" end
      op = operations.done(spec)
    end
  elseif statement.provision and changed then
    statement.provision(record, { verb = "put", created = created })
    record.state = "Succeeded"
  else
    record.state = "Succeeded"
  end
  if changed and not created then records.new_etag(record) end
  if statement.began then statement.began(record, { old = old_body, created = created, op = op, private = ctx.private }) end
  records.save(record)
  return record, op, created
end

--- An etag as it stands in the header, or nil.
local function tag_of(record)
  local kind = records.statement(record.type).style.etag
  return kind == "bare" and ('"%s"'):format(record.etag) or kind and record.etag or nil
end

local function put_answer(statement, record, op, created, ctx, shown)
  local how = statement.style
  local headers = {}
  local quiet = op and op.status == "Succeeded" and (statement.quiet or how.update_at_once)
  if op and how.operation and not quiet then
    headers = operations.headers(op, ctx, how.no_async and "location" or how.put_location and "both" or "async")
  end
  if how.by_state and record.state ~= "Succeeded" then headers = clock.retry_after(how.retry) end
  if how.etag_on_put then headers.ETag = tag_of(record) end
  local status = (statement.put_status or how.put_status)[created and 1 or 2]
  local body = shown or records.show(record, ctx)
  if how.empty_put and op and op.status == "InProgress" then body = how.name == "dns" and {} or nil end
  if statement.quiet_noop and not created and not op then body.properties.provisioningState = how.pending[2] end
  if how.brief and op and op.status == "InProgress" and statement.brief then body = statement.brief(record, body) end
  if statement.put_headers then statement.put_headers(record, headers, created) end
  return { status = status, headers = headers, json = body }
end

local function body_of(ctx)
  local text = ctx.req.body
  if not text or text == "" then
    raise(400, "InvalidRequestContent", "The request content was invalid and could not be deserialized: 'the body is empty'.")
  end
  local body, why = relaxed.decode(text)
  if type(body) ~= "table" then
    raise(400, "InvalidRequestContent", ("The request content was invalid and could not be deserialized: '%s'."):format(tostring(why)),
      { gateway = true })
  end
  return body
end
requests.body_of = body_of

--- Whether a type's resource may have a name.
function requests.may_be_named(statement, name)
  return not statement.name or name:find(statement.name) ~= nil and #name <= (statement.longest or 80)
    and #name >= (statement.shortest or 1)
end

local function check_name(statement, name)
  if not requests.may_be_named(statement, name) then
    raise(400, "InvalidResourceName", ("Resource name %s is invalid. The name can be up to %d characters long. It must begin with a word "
      .. "character, and it must end with a word character or with '_'. The name may contain word characters or '.', '-', '_'."):format(
      name, statement.longest or 80), { details = json.array {} })
  end
end

function requests.live_group(id)
  if not id.group then return nil end
  local group = group_record(id)
  if group.state == "Deleting" then
    raise(409, "ResourceGroupBeingDeleted", ("The resource group '%s' is in deprovisioning state and cannot perform this operation.")
      :format(group.name), { gateway = true })
  end
  return group
end

--- The id in its final form of what is there: a record, an inline child, or what is there by itself with its parent; else nil.
local function there(path)
  local record = records.get(path)
  if record then return record.id end
  local element = records.child(path)
  if element then return element.id or path end
  local id = ids.parse(path)
  local statement = id.whole and id.parent and records.statement(id.type)
  local parent = statement and statement.given and there(id.parent)
  return parent and ("%s/%s/%s"):format(parent, statement.type:match("[^/]+$"), id.name)
end

local function no_parent(statement, id, what)
  raise(404, "ParentResourceNotFound",
    ("Failed to perform '%s' on resource(s) of type '%s', because the parent resource '%s' could "
    .. "not be found."):format(what, statement.type:match("/(.*)$"), id.parent), { gateway = true })
end

--- The id that a new record gets: its group's and parent's own case, the statement's own type case.
local function record_id(statement, id)
  local group = id.group and group_record(id)
  if statement.new_id then return statement.new_id(id, group) end
  if id.parent then
    local parent = there(id.parent)
    if not parent and not statement.orphan then no_parent(statement, id, "write") end
    return ("%s/%s/%s"):format(parent or id.parent, statement.type:match("[^/]+$"), id.name)
  end
  local scope = id.scope
  if group and #id.steps == id.first + 1 and id.scope:lower() == group.id:lower() then scope = group.id end
  local extended = records.get(scope)
  return ("%s/providers/%s/%s"):format(extended and extended.id or scope, statement.type, id.name)
end

local function old_or_child_problem(statement, id, ctx)
  local group = requests.live_group(id)
  local found = records.get(id.path)
  if found then return found end
  if statement.not_found then statement.not_found(id, ctx) end
  problem.not_found(statement.type .. "/" .. table.concat(id.names, "/"), group and group.name or id.group)
end

--- For inline children: the parent's record.
local function parent_of(statement, id)
  local parent = records.get(id.parent)
  if not parent then
    problem.not_found(statement.inline[1] .. "/" .. table.concat(id.names, "/", 1, #id.names - 1), id.group)
  end
  return parent
end

local function child_not_found(parent, statement, name)
  raise(404, "NotFound", ("Resource %s/%s/%s not found."):format(parent.id, statement.inline[2], name), { details = json.array {} })
end

local methods = {}

local function put_child(statement, id, ctx)
  requests.live_group(id)
  local parent = records.get(id.parent)
  if not parent then no_parent(statement, id, "write") end
  local body, list = body_of(ctx), statement.inline[2]
  local owner = records.statement(parent.type)
  local there, at = value.named(parent.body.properties[list], id.name)
  if not there then check_name(statement.spec, id.name) end
  check_etag(there and parent or nil, ctx, owner)
  check_idle(parent, ctx)
  local whole = value.copy(parent.body)
  local element = { name = there and there.name or id.name, properties = value.strip_null(body.properties or {}), zones = body.zones }
  value.fill(element.properties, statement.spec.alone or {})
  whole.properties[list] = whole.properties[list] or json.array {}
  if at then whole.properties[list][at] = element else table.insert(whole.properties[list], element) end
  ctx.old, ctx.record_id, ctx.name, ctx.private = parent, parent.id, parent.name, {}
  ctx.child = { list = list, name = element.name }
  ctx.seconds = { update = statement.seconds.create }
  whole = complete(owner, whole, ctx)
  local record, op = accept(owner, parent, whole, ctx)
  local shown = value.named(records.show(record, ctx).properties[list], id.name)
  local answer = put_answer(owner, record, op, not there, ctx, shown)
  answer.status = there and 200 or 201
  return answer
end

function methods.PUT(statement, id, ctx)
  if statement.inline then return put_child(statement, id, ctx) end
  requests.live_group(id)
  if not statement.extension then check_name(statement, id.name) end
  local old = records.get(id.path)
  local sent = body_of(ctx)
  ctx.old, ctx.name, ctx.private = old, old and old.name or id.name, {}
  check_etag(old, ctx)
  if old then check_idle(old, ctx) end
  ctx.record_id = old and old.id or record_id(statement, id)
  local body = {}
  for key, item in pairs(sent) do
    if TOP[key] then body[key] = item end
  end
  if statement.partial and old then
    for key, item in pairs(old.body) do
      if body[key] == nil then body[key] = value.copy(item) end
    end
    for key, item in pairs(old.body.properties) do
      if body.properties[key] == nil then body.properties[key] = value.copy(item) end
    end
  end
  body = complete(statement, body, ctx)
  local record, op, created = accept(statement, old, body, ctx)
  return put_answer(statement, record, op, created, ctx)
end

function methods.PATCH(statement, id, ctx)
  if statement.inline then raise(405, "HttpMethodNotAllowed", "PATCH is not supported for this type.") end
  requests.live_group(id)
  local old = old_or_child_problem(statement, id, ctx)
  local patch = body_of(ctx)
  check_etag(old, ctx)
  check_idle(old, ctx)
  local body = value.copy(old.body)
  for key, item in pairs(patch) do
    if key == "tags" then
      body.tags = value.strip_null(item)
    elseif TOP[key] then
      if type(item) == "table" and type(body[key]) == "table" then value.merge(body[key], item) else body[key] = item end
    end
  end
  ctx.old, ctx.record_id, ctx.name, ctx.private = old, old.id, old.name, {}
  ctx.patch = true
  body = complete(statement, body, ctx)
  local record, op = accept(statement, old, body, ctx)
  local answer = put_answer(statement, record, op, false, ctx)
  answer.status = statement.style.name == "disk" and 202 or 200
  return answer
end

local function delete_child(statement, id, ctx)
  if id.group and not records.get(("/subscriptions/%s/resourceGroups/%s"):format(id.subscription, id.group)) then
    problem.group_not_found(id.group)
  end
  local parent = records.get(id.parent)
  local list = statement.inline[2]
  local there, at
  if parent then there, at = value.named(parent.body.properties[list], id.name) end
  if not there then return { status = 204 } end
  local owner = records.statement(parent.type)
  check_etag(parent, ctx, owner)
  check_idle(parent, ctx)
  if statement.spec.busy then statement.spec.busy(there, parent) end
  local whole = value.copy(parent.body)
  table.remove(whole.properties[list], at)
  ctx.old, ctx.record_id, ctx.name, ctx.private = parent, parent.id, parent.name, {}
  ctx.removed = { list = list, element = there }
  ctx.seconds = { update = statement.seconds.delete }
  whole = complete(owner, whole, ctx)
  local _, op = accept(owner, parent, whole, ctx)
  if statement.spec.gone then statement.spec.gone(there, parent) end
  return { status = 202, headers = operations.headers(op, ctx, "both") }
end

function methods.DELETE(statement, id, ctx)
  if statement.inline then return delete_child(statement, id, ctx) end
  if id.group then group_record(id) end
  local record = records.get(id.path)
  if not record then return { status = 204 } end
  check_etag(record, ctx)
  local op = not statement.style.by_state and operations.under_way(record)
  if op then
    if op.verb == "delete" then return { status = 202, headers = operations.headers(op, ctx, "both") } end
    check_idle(record, ctx)
  end
  if statement.busy then statement.busy(record, ctx) end
  local how = statement.style
  local shown = statement.delete_body and records.show(record, ctx)
  if how.delete == "sync" then
    operations.destroy(record, {})
    return { status = 200, json = shown or nil }
  end
  local spec = { verb = "delete", resource = record.id, seconds = statement.seconds.delete or 0, style = how.name,
    namespace = ctx.id.namespace, location = record.body.location, group = ids.group_of(record.id), final_status = statement.final_status }
  if how.delete == "location" then
    spec.verb, spec.style = statement.delete_verb or "delete", "group"
  end
  if statement.delete_at_once and statement.delete_at_once(record) then
    operations.destroy(record, {})
    return { status = 200, headers = operations.headers(operations.done(spec), ctx, "both") }
  end
  record.state = "Deleting"
  op = operations.start(spec)
  record.op = op.id
  if statement.deleting then statement.deleting(record) end
  records.save(record)
  return { status = 202, headers = operations.headers(op, ctx, how.delete == "location" and "location" or "both") }
end

local function page(items, ctx, statement)
  local size = math.min(tonumber(ctx.query["$top"]) or 100, 100)
  local token = ctx.query["$skiptoken"]
  local skip = token and (tonumber((crypto.unbase64url(token) or ""):match("^at:(%d+)$")) or #items) or 0
  local value_list = {}
  for i = skip + 1, math.min(#items, skip + size) do value_list[#value_list + 1] = items[i] end
  local answer = { value = json.array(value_list) }
  if skip + size < #items or (statement and statement.trailing_page and skip == 0 and #items > 0) then
    local target = ctx.req.target or ctx.req.path
    target = target:gsub("[?&]%$skiptoken=[^&]*", ""):gsub("[?&]%%24skiptoken=[^&]*", "")
    answer.nextLink = ("%s%s%s$skiptoken=%s"):format(ctx.origin, target, target:find("?", 1, true) and "&" or "?",
      crypto.base64url("at:" .. math.min(#items, skip + size)))
  end
  return { status = 200, json = answer }
end
requests.page = page

--- What is there by itself in a parent as long as nothing was said of it; it is not kept. Nil where something was said, or no parent is.
local function given_record(statement, parent_path)
  local parent, name = records.get(parent_path), statement.given_name or "default"
  local id = parent and ("%s/%s/%s"):format(parent.id, statement.type:match("[^/]+$"), name)
  if not id or records.get(id) then return nil end
  return { id = id, type = statement.type, name = name, body = { properties = statement.given(parent) }, private = {}, state = "Succeeded",
    etag = parent.etag }
end

--- A record, or what is there by itself.
local function known(statement, id)
  if not statement.given or id.name:lower() ~= (statement.given_name or "default") then return records.get(id.path) end
  return records.get(id.path) or given_record(statement, id.parent)
end

--- Those of a type below a path, as they are shown; what is there by itself comes first.
local function shown_below(statement, path, ctx)
  local given = statement.given and given_record(statement, path)
  local items = { given and records.show(given, ctx) or nil }
  for record in records.each(statement.type, path .. "/") do
    if not statement.listed or statement.listed(record, ctx) then items[#items + 1] = records.show(record, ctx) end
  end
  return items
end

--- A page of all in a record that is of one of these types.
function requests.inside(record, types, ctx)
  local items = {}
  for _, type_name in ipairs(types) do
    for _, item in ipairs(shown_below(records.statement(type_name), record.id, ctx)) do items[#items + 1] = item end
  end
  return page(items, ctx)
end

--- All of a type at a scope.
local function list(statement, id, ctx)
  if id.group and not statement.extension then group_record(id) end
  local items = {}
  if statement.inline then
    local parent = parent_of(statement, id)
    for _, element in ipairs(records.show(parent, ctx).properties[statement.inline[2]] or {}) do items[#items + 1] = element end
    return page(items, ctx)
  end
  if id.parent and not statement.orphan and not there(id.parent) then
    if statement.parent_not_found then statement.parent_not_found(id) end
    problem.not_found(statement.type:match("^(.*)/[^/]+$") .. "/" .. table.concat(id.names, "/"), id.group)
  end
  if statement.list then
    items = statement.list(id, ctx)
  else
    items = shown_below(statement, id.parent or id.scope, ctx)
  end
  return page(items, ctx, statement)
end

function methods.GET(statement, id, ctx)
  if not id.whole then return list(statement, id, ctx) end
  if statement.inline then
    if id.group then group_record(id) end
    local parent = parent_of(statement, id)
    local shown = value.named(records.show(parent, ctx).properties[statement.inline[2]], id.name)
    if not shown then child_not_found(parent, statement, id.name) end
    return { status = 200, json = shown, headers = { ETag = tag_of(parent) } }
  end
  if id.group then group_record(id) end
  if statement.check_id then statement.check_id(id) end
  local record = known(statement, id)
  if not record and id.parent and not statement.orphan and not there(id.parent) then no_parent(statement, id, "read") end
  if not record then
    if statement.not_found then statement.not_found(id, ctx) end
    -- Resource Manager knows what stands in a group by itself; of what stands below, the provider is asked.
    if statement.style == style.network and id.parent then
      raise(404, "NotFound", ("Resource %s not found."):format(id.name), { details = json.array {} })
    end
    local group = id.group and group_record(id)
    problem.not_found(statement.type .. "/" .. table.concat(id.names, "/"), group and group.name)
  end
  local headers = statement.style.by_state and record.state ~= "Succeeded" and clock.retry_after(statement.style.retry) or {}
  headers.ETag = tag_of(record)
  return { status = 200, json = records.show(record, ctx), headers = headers }
end

function methods.HEAD(statement, id, ctx)
  local ok, answer = pcall(methods.GET, statement, id, ctx)
  return { status = ok and answer.status == 200 and 204 or 404 }
end

--- The statement and id that an action or a view ("…/start", "…/instanceView") belongs to, and its name.
local function split_action(id)
  local own = ids.parse("/" .. table.concat(id.steps, "/", 1, #id.steps - 1))
  if not own.type or not own.whole then return nil end
  return records.statement(own.type), own, id.steps[#id.steps]
end

local function find_key(map, name)
  for key, item in pairs(map or {}) do
    if key:lower() == name:lower() then return item, key end
  end
end

local function view(id, ctx)
  local statement, own, name = split_action(id)
  local fn = statement and find_key(statement.views, name)
  if not fn then return nil end
  if own.group then group_record(own) end
  if statement.check_id then statement.check_id(own) end
  local record = records.get(own.path)
  if not record then
    if statement.not_found then statement.not_found(own, ctx) end
    problem.not_found(statement.type .. "/" .. table.concat(own.names, "/"), own.group and group_record(own).name)
  end
  return fn(record, ctx)
end

local function post(id, ctx)
  local statement, own, name = split_action(id)
  if not statement then raise(404, "NotFound", "The requested path does not exist.") end
  if own.group then requests.live_group(own) end
  local record = records.get(own.path)
  local action, key = find_key(statement.actions, name)
  if not record and not (action and action.unborn) then
    if statement.not_found then statement.not_found(own, ctx) end
    problem.not_found(statement.type .. "/" .. table.concat(own.names, "/"), own.group and group_record(own).name)
  end
  if not action then
    raise(404, "ResourceActionNotFound", ("The resource type '%s' has no action '%s'."):format(statement.type, name))
  end
  local input = ctx.req.body and ctx.req.body ~= "" and body_of(ctx) or {}
  if action.check then action.check(record, input, ctx) end
  if action.sync then return { status = 200, json = action.run(record, input, ctx, own) } end
  if not action.shared then check_idle(record, ctx) end
  local op = operations.start { verb = "action", action = key, resource = record.id, input = input, seconds = action.seconds or 0,
    style = statement.style.name, namespace = own.namespace, location = record.body.location, group = ids.group_of(record.id),
    query = { force = ctx.query.forceDeletion, skip = ctx.query.skipShutdown } }
  if not action.shared then
    record.op = op.id
    if action.updating then record.state = "Updating" end
    records.save(record)
  end
  if action.began then action.began(record, input, op) end
  return { status = 202, headers = operations.headers(op, ctx, "both") }
end

--- Answers a request on a resource, a collection, an action or a view. `ctx`: `{req, query, api, origin, principal}`.
function requests.handle(ctx)
  local id = ids.parse(ctx.path)
  ctx.id = id
  if not id.type then return nil end
  local method = ctx.req.method
  if method == "POST" then return post(id, ctx) end
  if method == "GET" and not id.whole then
    local seen = view(id, ctx)
    if seen then return seen.status and seen or { status = 200, json = seen } end
  end
  local act = methods[method]
  if not act or (not id.whole and method ~= "GET") then
    raise(405, "HttpMethodNotAllowed", ("The method '%s' is not allowed on '%s'."):format(method, ctx.path))
  end
  local statement = records.statement(id.type)
  if method == "PUT" and world.store:get("provider", id.namespace:lower()) == "NotRegistered" then
    raise(409, "MissingSubscriptionRegistration", ("The subscription is not registered to use namespace '%s'. See "
      .. "https://aka.ms/rps-not-found for how to register subscriptions."):format(id.namespace), { gateway = true, target = id.namespace })
  end
  local own = statement.answers and statement.answers[method]
  local answer = own and own(id, ctx)
  if answer then return answer end
  return act(statement, id, ctx)
end

requests.group_record = group_record

return requests
