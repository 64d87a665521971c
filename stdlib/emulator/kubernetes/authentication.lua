--- Who is asking: client certificates, bootstrap tokens, tokens of service accounts, or nobody.
local crypto = require "crypto"
local task = require "task"
local value = require "emulator.kubernetes.value"
local status = require "emulator.kubernetes.status"

local authentication = {}

local function with(groups, extra)
  local out = {}
  for _, g in ipairs(groups or {}) do out[#out + 1] = g end
  out[#out + 1] = extra
  return out
end

local function bootstrap(store, id, secret)
  local object = store:get("/secrets", "kube-system", "bootstrap-token-" .. id)
  if not object or object.type ~= "bootstrap.kubernetes.io/token" or object.metadata.deletionTimestamp then return nil end
  local function data(name) return object.data[name] and crypto.unbase64(object.data[name]) end
  if data "token-secret" ~= secret or data "token-id" ~= id or data "usage-bootstrap-authentication" ~= "true" then return nil end
  local expires = value.seconds(data "expiration")
  if expires and expires <= task.time() then return nil end
  local groups = { "system:bootstrappers" }
  for g in (data "auth-extra-groups" or ""):gmatch("[^,]+") do groups[#groups + 1] = g end
  return { name = "system:bootstrap:" .. id, groups = with(groups, "system:authenticated") }
end

local function service_account(cluster, token)
  local claims = cluster.service_key and crypto.jwt_verify(token, cluster.service_key)
  if not claims or claims.exp and claims.exp <= task.time() then return nil end
  local k = claims["kubernetes.io"]
  if not k or not k.serviceaccount then return nil end
  local account = cluster.store:get("/serviceaccounts", k.namespace, k.serviceaccount.name)
  if not account or account.metadata.uid ~= k.serviceaccount.uid then return nil end
  if k.pod then
    local pod = cluster.store:get("/pods", k.namespace, k.pod.name)
    if not pod or pod.metadata.uid ~= k.pod.uid then return nil end
  end
  return { name = "system:serviceaccount:" .. k.namespace .. ":" .. account.metadata.name, uid = account.metadata.uid,
    groups = { "system:serviceaccounts", "system:serviceaccounts:" .. k.namespace, "system:authenticated" } }
end

--- The user of a bearer token, or nil.
function authentication.token(cluster, token)
  local id, secret = token:match("^(%l*%d*[%l%d]+)%.([%l%d]+)$")
  if id and #id == 6 and #secret == 16 then return bootstrap(cluster.store, id, secret) end
  return service_account(cluster, token)
end

--- The user of a request: {name, groups}. Raises Unauthorized for credentials that are not valid.
function authentication.user(cluster, req)
  local client = req.client
  if client == false then error(status.unauthorized(), 0) end -- one of another authority, or one that has expired
  if client and client.cn and client.cn ~= "" then
    return { name = client.cn, groups = with(client.o, "system:authenticated") }
  end
  local header = req.headers.authorization
  if header then
    local token = header:match("^[Bb]earer%s+(%S+)$")
    local user = token and authentication.token(cluster, token)
    if not user then error(status.unauthorized(), 0) end
    return user
  end
  return { name = "system:anonymous", groups = { "system:unauthenticated" } }
end

--- A token for a service account. options: {seconds=, audiences=, pod=}.
function authentication.issue(cluster, account, options)
  local now = math.floor(task.time())
  local seconds = options.seconds or 3600
  local audiences = options.audiences and #options.audiences > 0 and options.audiences or { cluster.issuer }
  local claims = { iss = cluster.issuer, aud = audiences, iat = now, nbf = now, exp = now + seconds, jti = crypto.uuid(),
    sub = "system:serviceaccount:" .. account.metadata.namespace .. ":" .. account.metadata.name,
    ["kubernetes.io"] = { namespace = account.metadata.namespace,
      serviceaccount = { name = account.metadata.name, uid = account.metadata.uid },
      pod = options.pod and { name = options.pod.metadata.name, uid = options.pod.metadata.uid } } }
  return crypto.jwt_sign(claims, cluster.service_key), now + seconds
end

return authentication
