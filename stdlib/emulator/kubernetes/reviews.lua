--- Kinds that are questions: they are answered and not kept.
local json = require "json"
local value = require "emulator.kubernetes.value"
local status = require "emulator.kubernetes.status"
local rbac = require "emulator.kubernetes.rbac"
local authentication = require "emulator.kubernetes.authentication"

local reviews = {}

local function attributes_of(spec)
  local r, n = spec.resourceAttributes, spec.nonResourceAttributes
  if r then
    local sub = r.subresource ~= "" and r.subresource or nil
    return { verb = r.verb or "", group = r.group or "", resource = r.resource or "", subresource = sub,
      namespace = r.namespace ~= "" and r.namespace or nil, name = r.name ~= "" and r.name or nil }
  end
  if n then return { verb = n.verb, path = n.path or "/" } end
  error(status.bad_request("exactly one of nonResourceAttributes or resourceAttributes must be specified"), 0)
end

local function answer(ctx, body, user)
  local allowed = rbac.allowed(ctx.cluster.store, user, attributes_of(body.spec or {}))
  body.metadata = body.metadata or {}
  body.metadata.creationTimestamp = json.null
  body.status = { allowed = allowed }
  if allowed and not value.contains(user.groups, "system:masters") then body.status.reason = "RBAC: allowed" end
  return body
end

function reviews.selfsubjectaccessreviews(ctx, body) return answer(ctx, body, ctx.user) end

function reviews.subjectaccessreviews(ctx, body)
  local spec = body.spec or {}
  return answer(ctx, body, { name = spec.user or "", groups = spec.groups or {} })
end

reviews.localsubjectaccessreviews = reviews.subjectaccessreviews

function reviews.selfsubjectrulesreviews(ctx, body)
  local resource_rules, other = json.array {}, json.array {}
  local rules = rbac.rules(ctx.cluster.store, ctx.user, value.get(body, "spec", "namespace"))
  if value.contains(ctx.user.groups, "system:masters") then
    rules = { { verbs = { "*" }, apiGroups = { "*" }, resources = { "*" } }, { verbs = { "*" }, nonResourceURLs = { "*" } } }
  end
  for _, rule in ipairs(rules) do
    if rule.nonResourceURLs then
      other[#other + 1] = { verbs = json.array(value.copy(rule.verbs)), nonResourceURLs = json.array(value.copy(rule.nonResourceURLs)) }
    else
      resource_rules[#resource_rules + 1] = value.copy(rule)
    end
  end
  body.status = { resourceRules = resource_rules, nonResourceRules = other, incomplete = false }
  return body
end

function reviews.selfsubjectreviews(ctx, body)
  body.status = { userInfo = { username = ctx.user.name, uid = ctx.user.uid, groups = json.array(value.copy(ctx.user.groups)) } }
  return body
end

function reviews.tokenreviews(ctx, body)
  local user = authentication.token(ctx.cluster, value.get(body, "spec", "token") or "")
  if not user then
    body.status = { authenticated = false, error = "[invalid bearer token]", user = {} }
  else
    body.status = { authenticated = true, user = { username = user.name, uid = user.uid, groups = json.array(value.copy(user.groups)) },
      audiences = json.array { ctx.cluster.issuer } }
  end
  return body
end

function reviews.bindings(ctx, body)
  local pods = ctx.cluster.resources:find("", "v1", "pods")
  local pod = ctx.cluster.objects:get(pods, ctx.namespace, value.get(body, "metadata", "name") or "")
  ctx.cluster:bind(pod, value.get(body, "target", "name"))
  return { kind = "Status", apiVersion = "v1", metadata = {}, status = "Success", code = 201 }
end

return reviews
