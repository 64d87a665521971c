--- Azure Resource Manager's front: token, api-version, routing, headers, errors.
local crypto, json, log, task = require "crypto", require "json", require "log", require "task"
local world, clock = require "emulator.world", require "emulator.clock"
local traffic = require "emulator.traffic"
local operations, requests = require "emulator.arm.operations", require "emulator.arm.requests"
local problem, ids = require "emulator.arm.problem", require "emulator.arm.id"
local resources, key_vault = require "emulator.arm.resources", require "emulator.arm.key_vault"

require "emulator.arm.network"
require "emulator.arm.compute"
require "emulator.arm.scale_set"
require "emulator.arm.snapshots"
require "emulator.arm.placement_groups"
require "emulator.arm.identity"
require "emulator.arm.authorization"
require "emulator.arm.storage"
require "emulator.arm.storage_services"
require "emulator.arm.insights"
require "emulator.arm.operational_insights"
require "emulator.arm.private_link"
require "emulator.arm.dns_records"
require "emulator.arm.container_registry"
require "emulator.arm.route_tables"
require "emulator.arm.application_security_groups"
require "emulator.arm.firewalls"
require "emulator.arm.service_gateways"
require "emulator.arm.vault_keys"
require "emulator.arm.disk_encryption_sets"
require "emulator.arm.catalog"
require "emulator.arm.names"
require "emulator.arm.tags"
local deployments, preflight, locks = require "emulator.arm.deployments", require "emulator.arm.preflight",
  require "emulator.arm.locks"

local raise = problem.raise

local POLLS = { operations = "status", operationresults = "result", operationstatuses = "status", diskoperations = "status",
  asyncoperations = "result", privatednsoperationstatuses = "status", privatednsoperationresults = "result",
  operationsstatus = "status", nfvoperations = "status",
  dnsoperationstatuses = "status", dnsoperationresults = "result" }

local READ_ONLY = { listkeys = true, listconnectionstrings = true, checknameavailability = true, validate = true, whatif = true,
  retrievebootdiagnosticsdata = true, calculatetemplatehash = true, checkavailability = true, listusages = true,
    checkpolicyrestrictions = true }

--- Whether a request is a write as we count them.
local function is_write(method, path)
  if method == "PUT" or method == "PATCH" or method == "DELETE" then return true end
  return method == "POST" and not READ_ONLY[(path:match("[^/]+$") or ""):lower()]
end

local KIND = { GET = "reads", HEAD = "reads", DELETE = "deletes" }

local function common_headers(ctx, headers)
  local kind = KIND[ctx.req.method] or "writes"
  headers["x-ms-request-id"] = ctx.request_id
  headers["x-ms-correlation-request-id"] = ctx.req.headers["x-ms-correlation-request-id"] or ctx.request_id
  headers["x-ms-client-request-id"] = ctx.req.headers["x-ms-client-request-id"]
  headers["x-ms-routing-request-id"] = ("EMULATOR:%s:%s"):format(os.date("!%Y%m%dT%H%M%SZ"), ctx.request_id)
  headers["x-ms-ratelimit-remaining-subscription-" .. kind] = kind == "reads" and "249" or "199"
  headers["x-ms-ratelimit-remaining-subscription-global-" .. kind] = kind == "reads" and "3749" or "2999"
  headers["Cache-Control"] = "no-cache"
  return headers
end

local function check_version(ctx)
  local api = ctx.query["api-version"]
  if not api or api == "" then
    raise(400, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.",
      { gateway = true })
  end
  if not api:find("^%d%d%d%d%-%d%d%-%d%d") then
    raise(400, "InvalidApiVersionParameter", ("The api-version '%s' is invalid. The supported versions are those of the form "
      .. "'2025-05-01'."):format(api), { gateway = true })
  end
  ctx.api = api
end

local function check_token(ctx)
  local principal, why = world.entra.check(ctx.req.headers.authorization, "arm")
  if not principal then
    raise(401, ctx.req.headers.authorization and "InvalidAuthenticationToken" or "AuthenticationFailed", why, { headers = {
      ["WWW-Authenticate"] = ('Bearer authorization_uri="%s/%s", error="invalid_token", error_description="%s"'):format(ctx.origin,
        world.tenant, why) } })
  end
  ctx.principal = principal
end

local function route(ctx)
  local steps = ids.split(ctx.path)
  local kind = #steps > 1 and POLLS[steps[#steps - 1]:lower()]
  if ctx.req.method == "GET" and kind then return operations.poll(steps[#steps], ctx, kind) end
  local action = (steps[#steps] or ""):lower()
  if action == "listkeys" or not (ctx.req.method == "POST" and READ_ONLY[action]) then locks.check(ctx.req.method, ctx.path) end
  local answer = resources.handle(ctx)
  if answer then return answer end
  local subscription = ctx.path:match("^/subscriptions/([^/]+)")
  if subscription and subscription:lower() ~= world.subscription then
    raise(404, "SubscriptionNotFound", ("The subscription '%s' could not be found."):format(subscription), { gateway = true })
  end
  local vault = ctx.req.method == "POST" and ctx.path:lower():match("/microsoft%.keyvault/locations/[^/]+/deletedvaults/([^/]+)/purge$")
  if vault then return key_vault.purge(vault, ctx) end
  answer = preflight.handle(ctx) or requests.handle(ctx)
  if answer then return answer end
  raise(404, "NotFound", ("No resource or operation answers at '%s'."):format(ctx.path), { gateway = true })
end

deployments.send = route

--- A fault that somebody asked for (faults.lua): an answer instead of the right one, or whether the right one gets lost.
local function fault_of(ctx)
  local fault = world.faults and world.faults.request(ctx.req.method, ctx.path)
  if not fault then return nil end
  if fault.delay then task.sleep(fault.delay) end
  if fault.reset then return fault.reset == "before" and { drop = true } or nil, fault.reset == "after" end
  if not fault.status then return nil end
  local headers = { ["Retry-After"] = fault.retry_after and tostring(fault.retry_after) or nil }
  return { status = fault.status, headers = headers, json = { error = { code = fault.code or "InternalServerError",
    message = fault.message or "A fault that was asked for." } } }
end

--- A path in its usual form; deployments have an older one, without their provider.
local function usual(path)
  path = path:gsub("//+", "/"):gsub("(.)/$", "%1")
  return (path:gsub("^(/[^/]+/[^/]+/[rR]esource[gG]roups/[^/]+)(/deployments/)", "%1/providers/Microsoft.Resources%2"))
end

--- Answers one request to ARM.
local function handle(req)
  local ctx = { req = req, query = req.query or {}, path = usual(req.path),
    origin = "https://" .. (req.headers.host or req.host), request_id = crypto.uuid() }
  traffic.arm(req, ctx.path)
  clock.sleep(clock.latency(req.method))
  local lost
  local ok, answer = pcall(function()
    check_token(ctx)
    check_version(ctx)
    local fault
    fault, lost = fault_of(ctx)
    if fault then return fault end
    world.entra.authorize(ctx.principal, req.method, ctx.path)
    return route(ctx)
  end)
  if not ok then
    local why = answer
    if problem.is(why) then
      answer = { status = why.status, json = problem.body(why), headers = why.headers or {} }
      if why.gateway then answer.headers["x-ms-failure-cause"] = "gateway" end
    elseif type(why) == "table" and why.code == "cancelled" then
      error(why, 0)
    else
      log.error("ARM %s %s: %s", req.method, ctx.path, tostring(why))
      answer = { status = 500, json = { error = { code = "InternalServerError", message = tostring(why) } }, headers = {} }
    end
  end
  if answer.drop then return answer end
  if answer.status < 400 and is_write(req.method, ctx.path) then world.writes.add("arm", req.method, ctx.path, answer.status) end
  world.store:sync()
  if lost then return { drop = true } end
  local headers = common_headers(ctx, answer.headers or {})
  local body
  if answer.json ~= nil and req.method ~= "HEAD" then
    body = json.encode(answer.json)
    headers["Content-Type"] = "application/json; charset=utf-8"
  end
  return { status = answer.status, headers = headers, body = body or "" }
end

return { handle = handle }
