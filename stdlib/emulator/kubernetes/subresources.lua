--- The parts of objects with an address of their own: scale, eviction, binding, log, token, approval, finalize.
local json = require "json"
local admission = require "emulator.kubernetes.admission"
local value = require "emulator.kubernetes.value"
local status = require "emulator.kubernetes.status"
local selector = require "emulator.kubernetes.selector"
local jsonpath = require "emulator.kubernetes.jsonpath"
local authentication = require "emulator.kubernetes.authentication"
local patches = require "emulator.kubernetes.patch"
local schema = require "emulator.kubernetes.schema"

local subresources = {}

local function body_of(ctx, tools, kinds)
  local body, kind = tools.decode(ctx.req, kinds or tools.body_kinds)
  if type(body) ~= "table" then error(status.bad_request("the body of the request is empty"), 0) end
  return body, kind
end

local function refuse_verb(ctx, verb)
  error(status.method_not_supported(ctx.res, verb), 0)
end

local function scale_paths(res)
  local scale = type(res.subresources.scale) == "table" and res.subresources.scale or {}
  return scale.specReplicasPath or ".spec.replicas", scale.statusReplicasPath or ".status.replicas", scale.labelSelectorPath
end

local function scale_of(res, object)
  local spec, current, labels = scale_paths(res)
  local m = object.metadata
  local text
  if labels then text = jsonpath.first(labels, object)
  elseif res.key == "/replicationcontrollers" then text = selector.text { matchLabels = value.get(object, "spec", "selector") }
  elseif res.builtin then text = selector.text(value.get(object, "spec", "selector")) end
  return { kind = "Scale", apiVersion = "autoscaling/v1", metadata = { name = m.name, namespace = m.namespace, uid = m.uid,
    resourceVersion = m.resourceVersion, creationTimestamp = m.creationTimestamp },
    spec = { replicas = jsonpath.first(spec, object) }, status = { replicas = jsonpath.first(current, object) or 0, selector = text } }
end

function subresources.scale(ctx, verb, tools)
  local res = ctx.res
  local object = ctx.cluster.objects:get(res, ctx.namespace, ctx.name)
  if verb == "get" then return tools.respond(200, scale_of(res, object)) end
  if verb ~= "update" and verb ~= "patch" then refuse_verb(ctx, verb) end
  local body, kind = body_of(ctx, tools, verb == "patch" and tools.patch_kinds or nil)
  local wanted = body
  if verb == "patch" then
    local before = scale_of(res, object)
    if kind == "application/json-patch+json" then wanted = patches.json(before, body)
    else wanted = patches.merge(before, body) end
  end
  local replicas = value.get(wanted, "spec", "replicas") or 0
  if math.type(replicas) ~= "integer" or replicas < 0 then
    error(status.invalid({ group = "autoscaling", kind = "Scale" }, ctx.name, { status.field.invalid("spec.replicas", replicas,
      "must be greater than or equal to 0") }), 0)
  end
  local version = value.get(wanted, "metadata", "resourceVersion")
  if version and version ~= object.metadata.resourceVersion then error(status.modified(res, ctx.name), 0) end
  local path = scale_paths(res)
  local options = tools.options(ctx)
  local new, changed = ctx.cluster.objects:modify(res, ctx.namespace, ctx.name, function(o)
    jsonpath.set(path, o, replicas)
  end, { manager = options.manager, user = ctx.user, subresource = "scale", dry = options.dry })
  if changed and not options.dry then tools.saved(ctx, verb:upper(), 200) end
  return tools.respond(200, scale_of(res, new))
end

local function ready(pod)
  local c = value.find(value.get(pod, "status", "conditions"), "type", "Ready")
  return c and c.status == "True"
end

local function budget_refusal(ctx, pod)
  local found
  for _, pdb in ipairs(ctx.cluster.store:list("policy/poddisruptionbudgets", ctx.namespace)) do
    if selector.object(pdb.spec.selector)(pod.metadata.labels or {}) then
      if found then
        error(status.internal("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."), 0)
      end
      found = pdb
    end
  end
  if not found or not ready(pod) then return nil end
  local s = found.status or {}
  if (s.disruptionsAllowed or 0) > 0 then return nil, found end
  return status.too_many("Cannot evict pod as it would violate the pod's disruption budget.", 0, json.array { {
    reason = "DisruptionBudget", message = ("The disruption budget %s needs %d healthy pods and has %d currently")
      :format(found.metadata.name, s.desiredHealthy or 0, s.currentHealthy or 0) } })
end

function subresources.eviction(ctx, verb, tools)
  if verb ~= "create" then refuse_verb(ctx, verb) end
  local body = body_of(ctx, tools)
  local pod = ctx.cluster.objects:get(ctx.res, ctx.namespace, ctx.name)
  admission.namespace_lifecycle(ctx.cluster, ctx.res, pod)
  local refusal, budget = budget_refusal(ctx, pod)
  if refusal then error(refusal, 0) end
  local options = value.get(body, "deleteOptions") or {}
  local dry = options.dryRun and #options.dryRun > 0 or ctx.req.query.dryRun == "All"
  if budget and not dry then
    local res = ctx.cluster.resources:by_key "policy/poddisruptionbudgets"
    ctx.cluster.objects:modify(res, ctx.namespace, budget.metadata.name, function(o)
      o.status.disruptionsAllowed = o.status.disruptionsAllowed - 1
      o.status.disruptedPods = o.status.disruptedPods or {}
      o.status.disruptedPods[ctx.name] = value.time()
    end, { manager = "kube-apiserver", subresource = "status" })
  end
  ctx.cluster.objects:delete(ctx.res, ctx.namespace, ctx.name, { grace = options.gracePeriodSeconds,
    preconditions = options.preconditions, dry = dry })
  if not dry then tools.saved(ctx, "POST", 201) end
  return tools.respond(201, { kind = "Status", apiVersion = "v1", metadata = {}, status = "Success", code = 201 })
end

function subresources.binding(ctx, verb, tools)
  if verb ~= "create" then refuse_verb(ctx, verb) end
  local node = value.get(body_of(ctx, tools), "target", "name")
  local pod = ctx.cluster.objects:get(ctx.res, ctx.namespace, ctx.name)
  if pod.spec.nodeName then
    error(status.conflict({ group = "", plural = "pods/binding" }, ctx.name,
      ("pod %s is already assigned to node %q"):format(ctx.name, pod.spec.nodeName)), 0)
  end
  ctx.cluster:bind(pod, node)
  tools.saved(ctx, "POST", 201)
  return tools.respond(201, { kind = "Status", apiVersion = "v1", metadata = {}, status = "Success", code = 201 })
end

local function container_names(pod)
  local out = {}
  for _, list in ipairs { "initContainers", "containers" } do
    for _, c in ipairs(pod.spec[list] or {}) do out[#out + 1] = c.name end
  end
  return out
end

function subresources.log(ctx, _, tools)
  local pod = ctx.cluster.objects:get(ctx.res, ctx.namespace, ctx.name)
  local name = ctx.req.query.container
  if not name or name == "" then
    if #pod.spec.containers > 1 then
      local names = {}
      for i, c in ipairs(pod.spec.containers) do names[i] = c.name end
      error(status.bad_request(("a container name must be specified for pod %s, choose one of: [%s]")
        :format(ctx.name, table.concat(names, " "))), 0)
    end
    name = pod.spec.containers[1].name
  elseif not value.contains(container_names(pod), name) then
    error(status.bad_request(("container %s is not valid for pod %s"):format(name, ctx.name)), 0)
  end
  if not pod.spec.nodeName then return tools.plain(200, "") end
  local lines, why = ctx.cluster:container_log(pod, name)
  if not lines then error(status.new(500, nil, why), 0) end
  local tail = math.tointeger(tonumber(ctx.req.query.tailLines))
  local from = tail and math.max(1, #lines - tail + 1) or 1
  local out = {}
  for i = from, #lines do
    out[#out + 1] = (ctx.req.query.timestamps == "true" and lines[i].time .. " " or "") .. lines[i].text .. "\n"
  end
  return tools.plain(200, table.concat(out))
end

function subresources.token(ctx, verb, tools)
  if verb ~= "create" then refuse_verb(ctx, verb) end
  local body = body_of(ctx, tools)
  local account = ctx.cluster.objects:get(ctx.res, ctx.namespace, ctx.name)
  local spec = body.spec or {}
  local seconds = spec.expirationSeconds or 3600
  if seconds < 600 then
    error(status.invalid({ group = "authentication.k8s.io", kind = "TokenRequest" }, ctx.name, { status.field.invalid(
      "spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes") }), 0)
  end
  local token, expires = authentication.issue(ctx.cluster, account, { seconds = seconds, audiences = spec.audiences })
  body.apiVersion, body.kind = "authentication.k8s.io/v1", "TokenRequest"
  body.metadata = { name = ctx.name, namespace = ctx.namespace, creationTimestamp = value.time() }
  spec.expirationSeconds = seconds
  spec.audiences = spec.audiences or json.array { ctx.cluster.issuer }
  body.spec = spec
  body.status = { token = token, expirationTimestamp = value.time(expires) }
  return tools.respond(201, body)
end

local function replace_part(name)
  return function(ctx, verb, tools)
    local objects = ctx.cluster.objects
    if verb == "get" then return tools.show(ctx, objects:get(ctx.res, ctx.namespace, ctx.name)) end
    if verb ~= "update" and verb ~= "patch" then refuse_verb(ctx, verb) end
    local options = tools.options(ctx)
    local body, kind = body_of(ctx, tools, verb == "patch" and tools.patch_kinds or nil)
    local new, changed = objects:modify(ctx.res, ctx.namespace, ctx.name, function(o)
      local version = value.get(body, "metadata", "resourceVersion")
      if version and verb == "update" and version ~= o.metadata.resourceVersion then error(status.modified(ctx.res, ctx.name), 0) end
      local wanted = body
      if verb == "patch" then
        wanted = kind == "application/json-patch+json" and patches.json(o, body)
          or kind == "application/merge-patch+json" and patches.merge(o, body) or patches.strategic(ctx.res.schema, o, body)
      end
      schema.prune(ctx.res.schema, wanted)
      if name == "approval" then o.status = o.status or {}; o.status.conditions = value.get(wanted, "status", "conditions")
      elseif name == "finalize" then o.spec.finalizers = value.get(wanted, "spec", "finalizers") or json.array {}
      else o.spec.ephemeralContainers = value.get(wanted, "spec", "ephemeralContainers") end
    end, { manager = options.manager, user = ctx.user, subresource = name == "approval" and "status" or nil, dry = options.dry })
    if changed and not options.dry then tools.saved(ctx, verb:upper(), 200) end
    return tools.show(ctx, new)
  end
end

subresources.approval = replace_part "approval"
subresources.finalize = replace_part "finalize"
subresources.ephemeralcontainers = replace_part "ephemeralcontainers"

local function impossible(ctx)
  ctx.cluster.objects:get(ctx.res, ctx.namespace, ctx.name)
  error(status.bad_request(("%s is not possible here: the emulator keeps the state of containers but runs none"):format(ctx.subresource)), 0)
end

subresources.exec, subresources.attach, subresources.portforward = impossible, impossible, impossible

function subresources.proxy(ctx, _, tools)
  if ctx.res.key ~= "/nodes" or tools.rest ~= "healthz" then return impossible(ctx) end
  ctx.cluster.objects:get(ctx.res, nil, ctx.name)
  local kubelet, why, address = ctx.cluster:reach_kubelet(ctx.name)
  if kubelet then return tools.plain(200, "ok") end
  error(address and status.unavailable("error trying to reach service: " .. why) or status.new(500, nil, why), 0)
end

return subresources
