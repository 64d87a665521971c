--- Operations: what takes its time after a request was answered, and how it is polled. They outlive the emulator.
local crypto, log, task = require "crypto", require "log", require "task"
local world, clock = require "emulator.world", require "emulator.clock"
local problem, style, records = require "emulator.arm.problem", require "emulator.arm.style", require "emulator.arm.records"

local raise = problem.raise

--- `running`: those under way, id -> event of their end; `fault(op)`: what is to go wrong with one that starts, or nil.
local operations = { running = {} }

--- What an operation does when its time is over, by its verb; a service adds its own. May wait.
local work = {}
operations.work = work

local function finish(op, status, failure)
  op.status, op.finished, op.error = status, task.time(), failure
  world.store:put("operation", op.id, op)
  local ended = operations.running[op.id]
  operations.running[op.id] = nil
  if ended then ended:set() end
end

local function as_failure(why)
  if problem.is(why) then return problem.body(why).error end
  local text = type(why) == "table" and why.message or tostring(why)
  return { code = type(why) == "table" and why.arm_code or "InternalOperationError", message = text }
end

local function run(op)
  local left = op.ends - task.time()
  if left > 0 then task.sleep(left) end
  if op.stuck then return end
  local ok, why = pcall(function()
    if op.fail then raise(409, op.fail, op.fail_message or "The operation failed on demand.") end
    return work[op.verb](op)
  end)
  if ok then
    finish(op, "Succeeded")
  elseif type(why) == "table" and why.code == "cancelled" then
    error(why, 0) -- the emulator stops: the next start goes on with it
  else
    if not problem.is(why) then log.error("%s of %s: %s", op.verb, tostring(op.resource), tostring(why)) end
    local record = op.resource and records.get(op.resource)
    local action = record and op.verb == "action" and records.statement(record.type).actions[op.action]
    local put_back, problem_of_that = pcall(function() if action and action.failed then action.failed(record, op.input) end end)
    if not put_back then log.warn("what %s of %s began can not be put back: %s", op.action, op.resource, tostring(problem_of_that)) end
    if record and record.op == op.id then
      record.state, record.op = "Failed", nil
      records.new_etag(record)
      records.save(record)
    end
    finish(op, "Failed", as_failure(why))
  end
end

--- Starts an operation. `op`: `{verb, resource, seconds, style, namespace, location, subscription, ...}`, all plain values.
function operations.start(op)
  op.id = crypto.uuid()
  op.status, op.started = "InProgress", task.time()
  op.ends = op.started + clock.scale(op.seconds or 0)
  local fault = operations.fault and operations.fault(op)
  if fault then op.stuck, op.fail, op.fail_message = fault.stuck, fault.fail, fault.message end
  world.store:put("operation", op.id, op)
  operations.running[op.id] = task.event()
  task.spawn(run, op)
  return op
end

--- An operation that is over before it is told of.
function operations.done(op)
  op.id = crypto.uuid()
  op.status, op.started, op.finished = "Succeeded", task.time(), task.time()
  world.store:put("operation", op.id, op)
  return op
end

--- The operation that a record is in, or nil.
function operations.under_way(record)
  local op = record.op and world.store:get("operation", record.op)
  return op and op.status == "InProgress" and op or nil
end

function work.put(op)
  local record = records.get(op.resource)
  if not record then return end
  local statement = records.statement(record.type)
  if statement.provision then statement.provision(record, op) end
  record = records.get(op.resource)
  if record and record.op == op.id then
    record.state, record.op = "Succeeded", nil
    if not (statement.style.etag == "counter" and not (op.created and statement.provision_counts)) then records.new_etag(record) end
    records.save(record)
    if statement.output then op.output = records.show(record) end
  end
end

--- Removes a record with what stands below it and what is behind them.
function operations.destroy(record, op)
  local statement = records.statement(record.type)
  local below = {}
  for child in records.each(nil, record.id .. "/") do table.insert(below, 1, child) end
  for _, child in ipairs(below) do
    local its = records.statement(child.type)
    if its.destroy then its.destroy(child, op) end
    records.remove(child)
  end
  if statement.destroy then statement.destroy(record, op) end
  if records.get(record.id) then records.remove(record) end
end

function work.delete(op)
  local record = records.get(op.resource)
  if record and record.op == op.id then operations.destroy(record, op) end
end

--- What stands below an inline list goes with its element.
function work.delete_child(op) work.put(op) end

function work.delete_group(op)
  local group = records.get(op.resource)
  if not group then return end
  local members = {}
  for record in records.each(nil, op.resource .. "/") do
    table.insert(members, 1, record)
  end
  for _, record in ipairs(members) do
    if records.get(record.id) then operations.destroy(record, op) end
  end
  records.remove(group)
end

function work.action(op)
  local record = records.get(op.resource)
  if not record then return end
  local statement = records.statement(record.type)
  op.output = statement.actions[op.action].run(record, op.input, op) or nil
  record = records.get(op.resource)
  if record and record.op == op.id then
    record.op = nil
    if record.state == "Updating" then record.state = "Succeeded" end
    records.save(record)
  end
end

--- Takes up what was under way when the emulator ended.
function operations.restore()
  local old = task.time() - 3600
  local stale = {}
  for id, op in pairs(world.store:all("operation")) do
    if op.status == "InProgress" then
      operations.running[id] = task.event()
      task.spawn(run, op)
    elseif (op.finished or 0) < old then
      stale[#stale + 1] = id
    end
  end
  for _, id in ipairs(stale) do world.store:delete("operation", id) end
end

--- Where an operation is polled: for its status, for its result.
function operations.urls(op, ctx)
  local how = style[op.style]
  local tail = ("?api-version=%s&t=%d&c=c&s=s&h=h"):format(ctx.api or "2025-01-01", math.floor(op.started))
  local base
  if op.style == "group" then
    base = ("%s/subscriptions/%s"):format(ctx.origin, world.subscription)
  elseif how.below then
    base = ctx.origin .. op.resource
  elseif how.in_group then
    base = ("%s%s/providers/%s"):format(ctx.origin, op.group, op.namespace)
  else
    base = ("%s/subscriptions/%s/providers/%s/locations/%s"):format(ctx.origin, world.subscription, op.namespace,
      op.location or "eastus")
  end
  return ("%s/%s/%s%s"):format(base, how.operation, op.id, tail),
    ("%s/%s/%s%s%s"):format(base, how.result or how.operation, op.id, tail, how.result and "" or "&monitor=true")
end

--- The headers that lead to an operation.
function operations.headers(op, ctx, which)
  local how = style[op.style]
  local async, location = operations.urls(op, ctx)
  local headers = clock.retry_after(how.retry, op.ends)
  if which ~= "location" and not how.no_async and op.style ~= "group" then
    headers["Azure-AsyncOperation"], headers["Azure-AsyncNotification"] = async, "Enabled"
  end
  if which ~= "async" then headers["Location"] = location end
  return headers
end

--- Answers a poll.
function operations.poll(op_id, ctx, kind)
  local op = world.store:get("operation", op_id)
  if not op then raise(404, "NotFound", ("The operation '%s' was not found."):format(op_id)) end
  local how = style[op.style]
  local by_location = kind:find("result") or ctx.query.monitor or op.style == "group" or how.no_async
  if not by_location then
    local headers = op.status == "InProgress" and clock.retry_after(how.retry, op.ends) or nil
    return { status = 200, headers = headers, json = how.body(op) }
  end
  if op.status == "InProgress" then
    return { status = 202, headers = operations.headers(op, ctx, "location") }
  elseif op.status == "Failed" then
    return { status = 409, json = { error = op.error } }
  end
  if op.location_json then return { status = 200, json = op.location_json } end
  if op.output then return { status = 200, json = op.output } end
  if how.location_body and op.verb == "put" then
    local record = records.get(op.resource)
    if record then return { status = 200, json = records.show(record) } end
  end
  return { status = op.final_status or (op.style == "group" and 200 or how.name == "network" and 204 or 200) }
end

return operations
