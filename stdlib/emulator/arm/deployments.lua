--- Microsoft.Resources/deployments: template deployments of a group or of the subscription. Each resource of the template is put as a
-- client would put it, after those that it depends on.
local crypto, json, task = require "crypto", require "json", require "task"
local world, clock = require "emulator.world", require "emulator.clock"
local ids, problem, style, template, value = require "emulator.arm.id", require "emulator.arm.problem", require "emulator.arm.style",
  require "emulator.arm.template", require "emulator.arm.value"
local records, operations, requests = require "emulator.arm.records", require "emulator.arm.operations", require "emulator.arm.requests"
local resources, template_hash = require "emulator.arm.resources", require "emulator.arm.template_hash"
local what_if = require "emulator.arm.what_if"

local raise = problem.raise
local DEPLOYMENT = "Microsoft.Resources/deployments"

--- `deployments.send(ctx)` carries out a request; the server sets it.
local deployments = {}

-- What a template comes to -----------------------------------------------------------------------------------------------

local NOT_SENT = { type = true, name = true, apiVersion = true, dependsOn = true, copy = true, condition = true, comments = true,
  resources = true, scope = true, resourceGroup = true, subscriptionId = true, existing = true, metadata = true }

-- A request of a deployment's own, in the name of who asked for it.
local function send(deployment, method, id, api, body)
  local principal = deployment.principal
  world.entra.authorize(principal, method, id)
  local ctx = { req = { method = method, path = id, headers = {}, body = body and json.encode(body) }, query = { ["api-version"] = api },
    path = id, origin = deployment.origin, request_id = crypto.uuid(), api = api, principal = principal }
  return deployments.send(ctx)
end

local function new_scope(deployment, source, sent)
  local scope = { subscription = world.subscription, tenant = world.tenant, group = deployment.group, variables = source.variables or {},
    variable_values = {}, evaluating = {}, copies = {}, ids = {}, deployment = { name = deployment.name, properties = { mode =
    deployment.mode, template = { ["$schema"] = source["$schema"], contentVersion = source.contentVersion } } } }
  scope.lookup = {
    group = function()
      if not deployment.group then template.invalid("The template function 'resourceGroup' is not expected at this location") end
      return records.show(requests.group_record { subscription = world.subscription, group = deployment.group })
    end,
    subscription = function()
      return { id = "/subscriptions/" .. world.subscription, subscriptionId = world.subscription, tenantId = world.tenant,
        displayName = "vmrun emulator" }
    end,
    provider = resources.provider,
    environment = function() return { name = "AzureCloud", resourceManager = deployment.origin, authentication = { tenant = "common" },
      suffixes = { keyvaultDns = "." .. world.vault_suffix, storage = "core.windows.net" } } end,
  }
  scope.parameters = template.parameters(source.parameters or {}, sent, scope)
  return scope
end

-- `reference` and `list...` are known only once others stand.
local function with_live_lookup(scope, deployment)
  scope.lookup.resource = function(id)
    local record = records.get(id)
    if record then return records.show(record) end
    return (records.child(id))
  end
  scope.lookup.action = function(id, name, api, input)
    return send(deployment, "POST", id .. "/" .. name, api, input or {}).json
  end
end

local function base_of(entry, scope, deployment)
  if entry.scope then return (template.evaluate(entry.scope, scope):gsub("^([^/])", "/%1"):gsub("/$", "")) end
  local group = entry.resourceGroup and template.evaluate(entry.resourceGroup, scope) or deployment.group
  local subscription = entry.subscriptionId and template.evaluate(entry.subscriptionId, scope) or world.subscription
  return "/subscriptions/" .. subscription .. (group and "/resourceGroups/" .. group or "")
end

local function id_of(base, type_name, name)
  if type_name:lower() == "microsoft.resources/resourcegroups" then return ("/subscriptions/%s/resourceGroups/%s"):format(world.subscription, name) end
  local namespace, rest = type_name:match("^([^/]+)/(.+)$")
  local names, steps = {}, {}
  for step in name:gmatch("[^/]+") do names[#names + 1] = step end
  for step in (rest or ""):gmatch("[^/]+") do steps[#steps + 1] = step end
  if not namespace or #names ~= #steps then
    template.invalid("The template resource '%s' of type '%s' has incorrect segment lengths. A nested resource type must have identical "
      .. "number of segments as its resource name", name, type_name)
  end
  local id = base .. "/providers/" .. namespace
  for i, step in ipairs(steps) do id = ("%s/%s/%s"):format(id, step, names[i]) end
  return id
end

local function copies(scope)
  local kept = {}
  for key, item in pairs(scope.copies) do kept[key] = item end
  return kept
end

-- Adds an entry of `resources` (one for each copy, and those nested in it) to `plan.items`.
local function add(plan, entry, symbol, parent)
  local scope, deployment = plan.scope, plan.deployment
  local function one()
    if entry.condition ~= nil and not template.evaluate(entry.condition, scope) then return end
    local type_name, name = template.evaluate(entry.type, scope), template.evaluate(entry.name, scope)
    if type(type_name) ~= "string" or type(name) ~= "string" then template.invalid("A template resource wants a type and a name") end
    if parent then type_name, name = parent.type .. "/" .. type_name, parent.name .. "/" .. name end
    local api = template.evaluate(entry.apiVersion or "", scope)
    if api == "" then template.invalid("The template resource '%s' has no apiVersion", name) end
    local id = id_of(base_of(entry, scope, deployment), type_name, name)
    local item = { id = id, type = type_name, name = name, api = api, entry = entry, copies = copies(scope), existing = entry.existing }
    if scope.ids[id:lower()] then template.invalid("The resource '%s' is defined multiple times in a template", id) end
    scope.ids[id:lower()] = id
    scope.ids[name:lower()] = scope.ids[name:lower()] or id
    if symbol then scope.ids[symbol:lower()] = id end
    plan.items[#plan.items + 1] = item
    plan.by_id[id:lower()] = item
    item.depends = { parent and parent.id }
    for _, name_of in ipairs(entry.dependsOn or {}) do item.depends[#item.depends + 1] = template.evaluate(name_of, scope) end
    for _, child in ipairs(entry.resources or {}) do add(plan, child, nil, item) end
    return item
  end
  if not entry.copy then return one() end
  local loop = template.evaluate(entry.copy.name, scope):lower()
  local made = {}
  plan.loops[loop] = made
  for index = 0, template.evaluate(entry.copy.count, scope) - 1 do
    scope.copies[loop], scope.copies[1] = index, index
    made[#made + 1] = one()
    if entry.copy.mode and entry.copy.mode:lower() == "serial" and #made > 1 then
      table.insert(made[#made].depends, made[#made - 1].id)
    end
  end
  scope.copies[loop], scope.copies[1] = nil, nil
end

local function settle_order(plan)
  for _, item in ipairs(plan.items) do
    item.waits = {}
    plan.scope.copies = item.copies
    template.references(item.entry, plan.scope, item.depends)
    for _, name in ipairs(item.depends) do
      local loop = plan.loops[name:lower()]
      local target = plan.by_id[template.target(name, plan.scope):lower()]
      for _, other in ipairs(loop or { target }) do
        if other ~= item then item.waits[#item.waits + 1] = other end
      end
    end
  end
  plan.scope.copies = {}
  local mark = {}
  local function visit(item)
    if mark[item] == "done" then return end
    if mark[item] then template.invalid("Circular dependency detected on resource: '%s'", item.id) end
    mark[item] = "open"
    for _, other in ipairs(item.waits) do visit(other) end
    mark[item] = "done"
  end
  for _, item in ipairs(plan.items) do visit(item) end
end

-- A template with its parameters taken: what is to be put and in which order.
local function plan_of(deployment, source, sent)
  local plan = { deployment = deployment, items = {}, by_id = {}, loops = {}, source = source }
  plan.scope = new_scope(deployment, source, sent)
  if type(source.resources) ~= "table" then template.invalid("The template has no resources") end
  if json.is_array(source.resources) then
    for _, entry in ipairs(source.resources) do add(plan, entry) end
  else
    for _, symbol in ipairs(value.keys(source.resources)) do add(plan, source.resources[symbol], symbol) end
  end
  settle_order(plan)
  return plan
end

-- Carrying it out --------------------------------------------------------------------------------------------------------

local function body_of(item, plan)
  local scope, body = plan.scope, {}
  scope.copies = item.copies
  local nested = item.type:lower() == DEPLOYMENT:lower()
  for key, field in pairs(item.entry) do
    if not NOT_SENT[key] then
      local p = nested and key == "properties" and field
      local inner = p and (p.expressionEvaluationOptions or {}).scope
      if p and inner and inner:lower() == "inner" then
        body.properties = {}
        for name, part in pairs(p) do body.properties[name] = name == "template" and part or template.evaluate(part, scope) end
      else
        body[key] = template.evaluate(field, scope)
      end
    end
  end
  return body
end

local function wait_for(id)
  local record = records.get(id)
  if not record then record = select(2, records.child(id)) end
  local op_id = record and record.op
  if not op_id then return end
  local running = operations.running[op_id]
  if running then running:wait() end
  local op = world.store:get("operation", op_id)
  if op and op.status == "Failed" then
    local why = op.error or {}
    raise(409, why.code or "InternalOperationError", why.message or "The operation failed.", { details = why.details })
  end
end

-- Writes that meet another one of the same network are sent again, as the deployment engine does.
local function put(item, plan)
  local deployment = plan.deployment
  local body = body_of(item, plan)
  for _ = 1, 100 do
    local ok, answer = pcall(send, deployment, "PUT", item.id, item.api, body)
    if ok then
      wait_for(item.id)
      return answer
    end
    if not problem.is(answer) or answer.status ~= 409 or not (answer.code:find("^AnotherOperation") or answer.code:find("^ConflictingConcurrent")
      or answer.code == "RetryableError") then
      error(answer, 0)
    end
    task.sleep(clock.scale(2))
  end
  raise(409, "Conflict", ("'%s' was busy for too long."):format(item.id))
end

local function failure_of(item, why)
  if not problem.is(why) then return { code = "InternalServerError", message = type(why) == "table" and why.message or tostring(why) } end
  local failure = problem.body(why).error
  failure.target = failure.target or item.id
  return failure
end

local function run_item(item, plan)
  for _, other in ipairs(item.waits) do
    other.ended:wait()
    if other.state ~= "Succeeded" then item.state = "Skipped" end
  end
  item.started = task.time()
  if item.state ~= "Skipped" and item.existing then item.state = "Succeeded" end
  if not item.state then
    local ok, why = pcall(put, item, plan)
    if not ok and type(why) == "table" and why.code == "cancelled" then error(why, 0) end
    item.state = ok and "Succeeded" or "Failed"
    if not ok then item.failure = failure_of(item, why) end
  end
  item.finished = task.time()
  item.ended:set()
end

local function capital(text) return text:sub(1, 1):upper() .. text:sub(2) end

local function outputs_of(plan)
  local outputs = {}
  for name, output in pairs(plan.source.outputs or {}) do
    if output.condition == nil or template.evaluate(output.condition, plan.scope) then
      local secret = output.type:lower():find("^secure")
      outputs[name] = { type = capital(output.type), value = not secret and template.evaluate(output.value, plan.scope) or nil }
    end
  end
  return outputs
end

-- What stands in the group and not in the template, the newest first.
local function others_of(plan)
  local kept, others = plan.scope.ids, {}
  if not plan.deployment.group then return others end
  for record in records.each(nil, ("/subscriptions/%s/resourceGroups/%s/"):format(world.subscription, plan.deployment.group)) do
    local nested = select(2, record.type:gsub("/", "")) > 1
    if not nested and not kept[record.id:lower()] and record.type ~= DEPLOYMENT and not record.owner then table.insert(others, 1, record) end
  end
  return others
end

-- It goes, in the mode Complete.
local function remove_others(plan)
  for _, record in ipairs(others_of(plan)) do
    if records.get(record.id) then operations.destroy(record, {}) end
  end
end

local function duration(seconds) return ("PT%.7fS"):format(math.max(seconds, 0.0001)) end

local function note_operations(record, plan)
  local list = json.array {}
  for i, item in ipairs(plan.items) do
    if item.started then
      list[i] = { operationId = crypto.sha256(item.id):sub(1, 16):upper(), properties = { provisioningOperation = "Create",
        provisioningState = item.state, timestamp = clock.iso(item.finished), duration = duration(item.finished - item.started),
        statusCode = item.state == "Succeeded" and "OK" or "Conflict", statusMessage = item.failure and { error = item.failure },
        targetResource = { id = item.id, resourceType = item.type, resourceName = item.name } } }
    end
  end
  record.private.operations = list
end

function operations.work.deploy(op)
  local record = records.get(op.resource)
  if not record then return end
  local deployment = record.private.deployment
  local plan = plan_of(deployment, record.private.template, record.private.parameters)
  with_live_lookup(plan.scope, deployment)
  record.state = "Running"
  records.save(record)
  for _, item in ipairs(plan.items) do item.ended = task.event() end
  for _, item in ipairs(plan.items) do task.spawn(run_item, item, plan) end
  local failures = json.array {}
  for _, item in ipairs(plan.items) do
    item.ended:wait()
    if item.failure then failures[#failures + 1] = item.failure end
  end
  local p = record.body.properties
  p.timestamp, p.duration = clock.iso(), duration(task.time() - op.started)
  note_operations(record, plan)
  record.private.parameters = nil
  local ok, why = #failures == 0, nil
  if ok then
    plan.scope.copies = {}
    ok, why = pcall(outputs_of, plan)
    if ok and plan.source.outputs then p.outputs = why end
    if not ok then failures[1] = problem.is(why) and problem.body(why).error or error(why, 0) end
  end
  p.outputResources = json.array {}
  for _, item in ipairs(plan.items) do
    if item.state == "Succeeded" then p.outputResources[#p.outputResources + 1] = { id = item.id } end
  end
  if ok and deployment.mode == "Complete" then remove_others(plan) end
  if not ok then
    p.error = { code = "DeploymentFailed", details = failures, target = record.id, message = "At least one resource deployment operation "
      .. "failed. Please list deployment operations for details. Please see https://aka.ms/arm-deployment-operations for usage details." }
    p.outputResources = nil
  end
  record.state, record.op = ok and "Succeeded" or "Failed", nil
  records.save(record)
  if not ok then raise(409, p.error.code, p.error.message, { details = failures, target = record.id }) end
end

-- Requests ---------------------------------------------------------------------------------------------------------------

local function shown_parameters(plan)
  local shown = {}
  for name, item in pairs(plan.scope.parameters) do
    local type_name = plan.source.parameters[name].type
    local secret = type_name:lower():find("^secure")
    shown[name] = { type = secret and "Secure" .. capital(type_name:sub(7)) or capital(type_name), value = not secret and item or nil }
  end
  return shown
end

local function providers_of(plan)
  local namespaces, order = {}, {}
  for _, item in ipairs(plan.items) do
    local namespace, rest = item.type:match("^([^/]+)/(.+)$")
    local types = namespaces[namespace]
    if not types then
      types = {}
      namespaces[namespace] = types
      order[#order + 1] = { namespace = namespace, resourceTypes = types }
    end
    plan.scope.copies = item.copies
    local location = item.entry.location and template.evaluate(item.entry.location, plan.scope):lower():gsub("%s", "") or json.null
    local known
    for _, other in ipairs(types) do known = known or other.resourceType == rest and other end
    if not known then types[#types + 1] = { resourceType = rest, locations = json.array { location } }
    elseif not template.functions.contains(nil, known.locations, location) then known.locations[#known.locations + 1] = location end
  end
  plan.scope.copies = {}
  for _, entry in ipairs(order) do entry.resourceTypes = json.array(entry.resourceTypes) end
  return json.array(order)
end

local function named(item) return { id = item.id, resourceType = item.type, resourceName = item.name } end

local function dependencies_of(plan)
  local list = json.array {}
  for _, item in ipairs(plan.items) do
    if #item.waits > 0 then
      local entry = named(item)
      entry.dependsOn = json.array {}
      for i, other in ipairs(item.waits) do entry.dependsOn[i] = named(other) end
      list[#list + 1] = entry
    end
  end
  return list
end

-- The deployment that a request describes: what is kept of it and what it comes to. Refuses a template that can not work.
local function described(id, ctx)
  local sent = requests.body_of(ctx)
  local p = type(sent.properties) == "table" and sent.properties or {}
  if p.templateLink then
    raise(400, "InvalidTemplateLink", "The template link can not be followed: the emulator fetches nothing. Send the template itself.",
      { gateway = true })
  end
  if type(p.template) ~= "table" then
    raise(400, "InvalidTemplateDeployment", "The deployment has no template.", { gateway = true })
  end
  local mode = capital(tostring(p.mode or ""):lower())
  if mode ~= "Incremental" and mode ~= "Complete" then
    raise(400, "InvalidDeploymentMode", ("The deployment mode '%s' is not valid."):format(tostring(p.mode)), { gateway = true })
  end
  if not id.group and type(sent.location) ~= "string" then
    raise(400, "LocationRequired", "The location property is required for this definition.", { gateway = true })
  end
  local principal = ctx.principal
  local deployment = { name = id.name, group = id.group, mode = mode, origin = ctx.origin, principal = { object_id = principal.object_id,
    client_id = principal.client_id, owner = principal.owner } }
  local plan = plan_of(deployment, p.template, p.parameters)
  local body = { location = sent.location, tags = sent.tags, properties = { templateHash = select(2,
    template_hash.of(ctx.req.body, "properties", "template")),
    parameters = shown_parameters(plan), mode = mode, timestamp = clock.iso(), duration = duration(0), correlationId = ctx.request_id,
    providers = providers_of(plan), dependencies = dependencies_of(plan) } }
  return plan, body, { deployment = deployment, template = p.template, parameters = p.parameters }
end

local function put_deployment(id, ctx)
  local group = requests.live_group(id)
  if not id.name:find("^[%w_.()-]+$") or #id.name > 64 then
    raise(400, "InvalidDeploymentName", ("The deployment name '%s' is not valid: letters, digits, '-', '_', '.', '(' and ')', at most 64.")
      :format(id.name), { gateway = true })
  end
  local old = records.get(id.path)
  if old and operations.under_way(old) then
    raise(409, "DeploymentActive", ("Unable to edit or replace deployment '%s': previous deployment is still active. Please see "
      .. "https://aka.ms/arm-deploy for usage details."):format(old.name), { gateway = true })
  end
  local _, body, private = described(id, ctx)
  local record = old or records.new(DEPLOYMENT, (group and group.id or id.scope) .. "/providers/" .. DEPLOYMENT .. "/" .. id.name, body)
  record.body, record.private, record.state = body, private, "Accepted"
  local op = operations.start { verb = "deploy", resource = record.id, seconds = 1, style = "deployment", namespace = "Microsoft.Resources" }
  record.op = op.id
  records.save(record)
  return { status = old and 200 or 201, json = records.show(record, ctx), headers = operations.headers(op, ctx, "async") }
end

records.define(DEPLOYMENT, {
  style = style.deployment, located = false, uses = false, final_status = 204, seconds = { delete = 2 },
  answers = { PUT = put_deployment },
  not_found = function(id)
    raise(404, "DeploymentNotFound", ("Deployment '%s' could not be found."):format(id.name), { gateway = true })
  end,
  views = { operations = function(record, ctx)
    local items = {}
    for i, op in ipairs(record.private.operations or {}) do
      items[i] = value.copy(op)
      items[i].id = record.id .. "/operations/" .. op.operationId
    end
    return requests.page(items, ctx)
  end },
  actions = {
    validate = { sync = true, unborn = true, run = function(_, _, ctx, id)
      local plan, body = described(id, ctx)
      local p = body.properties
      p.provisioningState, p.validatedResources = "Succeeded", json.array {}
      for i, item in ipairs(plan.items) do p.validatedResources[i] = { id = item.id } end
      return { id = id.path, name = id.name, type = DEPLOYMENT, properties = p }
    end },
    whatIf = { sync = true, unborn = true, run = function(_, _, ctx, id)
      local plan, _, kept = described(id, ctx)
      with_live_lookup(plan.scope, kept.deployment)
      return what_if.answer(plan.items, function(item) return body_of(item, plan) end, others_of(plan), kept.deployment.mode)
    end },
    exportTemplate = { sync = true, run = function(record) return { template = record.private.template } end },
  },
})

return deployments
