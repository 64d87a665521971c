--- Microsoft Entra ID: principals, token endpoints, and who may do what (role assignments).
local crypto, json, task = require "crypto", require "json", require "task"
local world = require "emulator.world"
local fail = require "fail"

local LIFE = 3599

local entra = {}

-- Audiences by what they are for; each with and without a slash at its end.
local function audiences()
  return {
    arm = { "https://management.azure.com", "https://management.core.windows.net", world.origin },
    vault = { "https://vault.azure.net", world.vault_audience },
    graph = { "https://graph.microsoft.com", "https://graph.windows.net", world.origin .. "/graph", world.origin .. "/msgraph" },
  }
end

local function audience_kind(audience)
  local bare = audience:gsub("/+$", "")
  for kind, list in pairs(audiences()) do
    for _, known in ipairs(list) do
      if bare == known then return kind end
    end
  end
  return nil
end

--- Adds a principal that logs in with a secret. Returns it with the secret.
function entra.add_application(name)
  local principal = { client_id = crypto.uuid(), object_id = crypto.uuid(), name = name, type = "ServicePrincipal", owner = true }
  local secret = "s" .. crypto.base64url(crypto.random(30)) -- never a '-' in front, which programs take for an option
  principal.secret_hash = crypto.sha256(secret)
  world.store:put("principal", principal.client_id, principal)
  return principal, secret
end

--- A principal's key and certificate in PEM, for a login without a secret; made when somebody first asks.
function entra.certificate(principal)
  local pair = world.store:get("certificate", principal.client_id)
  if not pair then
    pair = fail.check(crypto.x509_ca { cn = principal.name, o = { "vmrun emulator" }, days = 825, key_type = "rsa" })
    world.store:put("certificate", principal.client_id, pair)
  end
  return pair.key .. pair.cert
end

--- The person of this directory, who logs in by device code.
function entra.person()
  for _, principal in pairs(world.store:all("principal")) do
    if principal.type == "User" then return principal end
  end
  local person = { client_id = crypto.uuid(), object_id = crypto.uuid(), name = "person@vmrun.example", type = "User", owner = true }
  world.store:put("principal", person.client_id, person)
  return person
end

--- A principal by client id: an application or a managed identity.
function entra.by_client(client_id)
  local principal = world.store:get("principal", client_id:lower())
  if principal then return principal end
  for record in world.arm.each("Microsoft.ManagedIdentity/userAssignedIdentities") do
    local p = record.body.properties
    if p.clientId == client_id:lower() then
      return { client_id = p.clientId, object_id = p.principalId, name = record.name, type = "ServicePrincipal", resource = record.id }
    end
  end
end

--- A principal by object id: an application, a person or a managed identity.
function entra.by_object(object_id)
  for _, principal in pairs(world.store:all("principal")) do
    if principal.object_id == object_id:lower() then return principal end
  end
  for record in world.arm.each("Microsoft.ManagedIdentity/userAssignedIdentities") do
    local p = record.body.properties
    if p.principalId == object_id:lower() then
      return { client_id = p.clientId, object_id = p.principalId, name = record.name, type = "ServicePrincipal", resource = record.id }
    end
  end
  return world.own_identity.by_object(object_id)
end

--- A signed token for a principal and an audience; and its expiry.
function entra.issue(principal, audience)
  local now = math.floor(task.time())
  local claims = { aud = audience, iss = ("https://sts.windows.net/%s/"):format(world.tenant), iat = now, nbf = now - 5, exp = now + LIFE,
    appid = principal.client_id, appidacr = "1", oid = principal.object_id, sub = principal.object_id, tid = world.tenant,
    idp = ("https://sts.windows.net/%s/"):format(world.tenant), idtyp = "app", ver = "1.0", uti = crypto.base64url(crypto.random(12)),
    xms_mirid = principal.resource, upn = principal.type == "User" and principal.name or nil }
  if principal.type == "User" then claims.idtyp = "user" end
  return fail.check(crypto.jwt_sign(claims, world.token_key, { kid = "emulator" })), claims.exp
end

local checked = {}

--- The principal of an Authorization header for "arm", "vault" or "graph"; or nil and why not.
function entra.check(header, kind)
  local token = header and header:match("^[Bb]earer%s+(%S+)$")
  if not token then return nil, "Authentication failed. The 'Authorization' header is missing." end
  local claims = checked[token]
  if not claims then
    claims = crypto.jwt_verify(token, world.token_key)
    if not claims then return nil, "The access token is invalid: its signature does not match." end
    checked[token] = claims
  end
  if claims.exp < task.time() then
    checked[token] = nil
    return nil, "The access token expiry UTC time is earlier than the current UTC time: get a new token."
  end
  if claims.tid ~= world.tenant then return nil, ("The access token is of the wrong tenant '%s'."):format(tostring(claims.tid)) end
  local is = audience_kind(claims.aud)
  if is ~= kind then
    return nil, ("The access token has been obtained for wrong audience or resource '%s'."):format(claims.aud)
  end
  return { object_id = claims.oid, client_id = claims.appid, claims = claims,
    owner = (world.store:get("principal", claims.appid) or {}).owner }
end

local VERBS = { GET = "read", HEAD = "read", PUT = "write", PATCH = "write", DELETE = "delete" }

local function action_of(method, path)
  local provider = path:match(".*/providers/(.+)$")
  local words = {}
  if provider then
    local at = 0
    for step in provider:gmatch("[^/]+") do
      if at == 0 or at % 2 == 1 then words[#words + 1] = step end
      at = at + 1
    end
  else
    words = { "Microsoft.Resources", "subscriptions", path:lower():find("/resourcegroups") and "resourceGroups" or nil }
  end
  if method == "POST" then return table.concat(words, "/") .. "/action" end
  return table.concat(words, "/") .. "/" .. (VERBS[method] or "read")
end

--- Raises 403 AuthorizationFailed unless a role assignment of the principal admits the request.
function entra.authorize(principal, method, path)
  if principal.owner then return end
  local action = action_of(method, path)
  if world.roles.allows(principal.object_id, path, action, false) then return end
  require("emulator.arm.problem").raise(403, "AuthorizationFailed", ("The client '%s' with object id '%s' does not have authorization "
    .. "to perform action '%s' over scope '%s' or the scope is invalid. If access was recently granted, please refresh your "
    .. "credentials."):format(principal.client_id, principal.object_id, action, path))
end

-- The endpoints ---------------------------------------------------------------------------------------------------------

local function answer(status, body) return { status = status, json = body } end

local function refuse(status, error_name, number, text)
  return answer(status, { error = error_name, error_description = ("AADSTS%d: %s Trace ID: %s Timestamp: %s"):format(number, text,
    crypto.uuid(), os.date("!%Y-%m-%d %H:%M:%SZ")), error_codes = json.array { number },
    timestamp = os.date("!%Y-%m-%d %H:%M:%SZ"), trace_id = crypto.uuid(), correlation_id = crypto.uuid() })
end

local function decode_form(text)
  local fields = {}
  for key, item in (text or ""):gmatch("([^&=]+)=([^&]*)") do
    local function plain(s) return (s:gsub("+", " "):gsub("%%(%x%x)", function(h) return string.char(tonumber(h, 16)) end)) end
    fields[plain(key)] = plain(item)
  end
  return fields
end
entra.decode_form = decode_form

-- The audience that a request wants; or nil and the refusal.
local function wanted_audience(form)
  local resource = form.scope and form.scope:match("(%S+)/%.default") or form.resource or form.scope
  if not resource then return nil, refuse(400, "invalid_request", 900144, "The request body must contain the following parameter: 'scope'.") end
  if not audience_kind(resource) then
    return nil, refuse(400, "invalid_resource", 500011, ("The resource principal named %s was not found in the tenant named %s."):format(
      resource, world.tenant))
  end
  return resource
end

-- Whether an assertion is of a client (RFC 7523): signed by its certificate, by it, of it and for this endpoint.
local function asserted(principal, form, tenant)
  local pair = world.store:get("certificate", principal.client_id)
  local claims = pair and crypto.jwt_verify(form.client_assertion, pair.cert)
  return claims and claims.iss == principal.client_id and claims.sub == principal.client_id
    and tostring(claims.aud):lower():find("/" .. (tenant or ""):lower() .. "/", 1, true) ~= nil
end

-- Whether an assertion is of somebody whom an identity trusts: of an issuer whose key is known here, for the subject and audience of one
-- of its federated credentials.
local function federated(principal, form)
  local middle = form.client_assertion:match("^[^.]+%.([^.]+)%.")
  local claims = middle and json.decode(crypto.unbase64url(middle) or "")
  if type(claims) ~= "table" or not principal.resource then return false end
  for record in world.arm.each("Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials", principal.resource .. "/") do
    local p = record.body.properties
    local key = p.issuer == claims.iss and p.subject == claims.sub and world.store:get("issuer", p.issuer)
    local fits = false
    for _, audience in ipairs(p.audiences) do
      for _, own in ipairs(type(claims.aud) == "table" and claims.aud or { claims.aud }) do fits = fits or own == audience end
    end
    if key and fits and crypto.jwt_verify(form.client_assertion, key) then return true end
  end
  return false
end

local GRANTS = {}

function GRANTS.client_credentials(form, _, tenant)
  local principal = entra.by_client(form.client_id or "")
  if not principal then
    return refuse(400, "unauthorized_client", 700016, ("Application with identifier '%s' was not found in the directory '%s'."):format(
      tostring(form.client_id), world.tenant))
  end
  if form.client_assertion then
    if not asserted(principal, form, tenant) and not federated(principal, form) then
      return refuse(401, "invalid_client", 700027, "Client assertion failed signature validation: no certificate that is registered with "
        .. "this application signed it, or it is of another client, for another endpoint or too old.")
    end
  elseif not principal.secret_hash or crypto.sha256(form.client_secret or "") ~= principal.secret_hash then
    return refuse(401, "invalid_client", 7000215, ("Invalid client secret provided. Ensure the secret being sent in the request is the "
      .. "client secret value, not the client secret ID, for a secret added to app '%s'."):format(principal.client_id))
  end
  local resource, refusal = wanted_audience(form)
  if not resource then return refusal end
  return answer(200, { token_type = "Bearer", expires_in = LIFE, ext_expires_in = LIFE, access_token = entra.issue(principal, resource) })
end

-- A person's tokens: with one that gets the next.
local function person_tokens(form)
  local resource, refusal = wanted_audience(form)
  if not resource then return refusal end
  local person, refresh = entra.person(), crypto.base64url(crypto.random(48))
  world.store:put("refresh", crypto.sha256(refresh), { at = task.time() })
  local id_token = crypto.jwt_sign({ aud = form.client_id, iss = ("https://login.microsoftonline.com/%s/v2.0"):format(world.tenant),
    oid = person.object_id, tid = world.tenant, preferred_username = person.name, exp = math.floor(task.time()) + LIFE }, world.token_key)
  return answer(200, { token_type = "Bearer", scope = form.scope, expires_in = LIFE, ext_expires_in = LIFE, refresh_token = refresh,
    access_token = entra.issue(person, resource), id_token = id_token })
end

function GRANTS.refresh_token(form)
  if not world.store:get("refresh", crypto.sha256(form.refresh_token or "")) then
    return refuse(400, "invalid_grant", 70000, "The provided value for the input parameter 'refresh_token' is not valid.")
  end
  return person_tokens(form)
end

GRANTS["urn:ietf:params:oauth:grant-type:device_code"] = function(form)
  local pending = world.store:get("device_code", crypto.sha256(form.device_code or ""))
  if not pending then return refuse(400, "bad_verification_code", 70000, "The device code is not known.") end
  if task.time() > pending.expires then return refuse(400, "expired_token", 70020, "The device code has expired.") end
  if not pending.approved then return refuse(400, "authorization_pending", 70016, "The person has not typed the code yet.") end
  world.store:delete("device_code", crypto.sha256(form.device_code))
  form.scope = pending.scope
  return person_tokens(form)
end

-- RFC 8628: a code for the program, and one that a person types elsewhere.
local function device_code(req, origin)
  local form = decode_form(req.body)
  local code, user_code = crypto.base64url(crypto.random(32)), crypto.base64url(crypto.random(12)):gsub("[^%w]", "X"):upper():sub(1, 9)
  world.store:put("device_code", crypto.sha256(code), { user_code = user_code, scope = form.scope, expires = task.time() + 900 })
  return answer(200, { device_code = code, user_code = user_code, verification_uri = origin .. "/devicelogin", expires_in = 900, interval = 1,
    message = ("To sign in to the emulator, approve the code %s: vmrun emulator approve %s"):format(user_code, user_code) })
end

--- A person types a code; false when there is none like it.
function entra.approve(user_code)
  for key, pending in pairs(world.store:all("device_code")) do
    if pending.user_code == user_code:upper() and task.time() < pending.expires then
      pending.approved = true
      world.store:put("device_code", key, pending)
      return true
    end
  end
  return false
end

local function token(req, tenant)
  world.traffic.other "token"
  local form = decode_form(req.body)
  if tenant and tenant:lower() ~= world.tenant and tenant ~= "adfs" and tenant ~= "organizations" and tenant ~= "common" then
    return refuse(400, "invalid_request", 90002, ("Tenant '%s' not found."):format(tenant))
  end
  local grant = GRANTS[form.grant_type]
  if not grant then
    return refuse(400, "unsupported_grant_type", 70003, ("The app requested an unsupported grant type '%s'."):format(
      tostring(form.grant_type)))
  end
  return grant(form, req, tenant)
end

local function configuration(origin, tenant)
  local base = ("%s/%s"):format(origin, tenant)
  local path = tenant == "adfs" and "/oauth2" or "/oauth2/v2.0"
  return answer(200, { token_endpoint = base .. path .. "/token", authorization_endpoint = base .. path .. "/authorize",
    device_authorization_endpoint = base .. path .. "/devicecode", issuer = base .. "/v2.0", jwks_uri = origin .. "/common/discovery/v2.0/keys",
    token_endpoint_auth_methods_supported = json.array { "client_secret_post", "private_key_jwt" },
    response_types_supported = json.array { "code", "id_token", "token" }, scopes_supported = json.array { "openid" },
    subject_types_supported = json.array { "pairwise" }, id_token_signing_alg_values_supported = json.array { "RS256" },
    tenant_region_scope = "WW", cloud_instance_name = "emulator" })
end

--- Answers Entra ID's paths; nil when the path is none of them.
function entra.handle(req)
  local origin = "https://" .. (req.headers.host or req.host)
  local path = req.path:gsub("//+", "/")
  local tenant, rest = path:match("^/([^/]+)/(.+)$")
  if not tenant then return nil end
  if rest == "oauth2/v2.0/token" or rest == "oauth2/token" then
    if req.method ~= "POST" then return refuse(400, "invalid_request", 900561, "The endpoint only accepts POST requests.") end
    return token(req, tenant)
  end
  if rest == "oauth2/v2.0/devicecode" or rest == "oauth2/devicecode" then return device_code(req, origin) end
  if rest == "v2.0/.well-known/openid-configuration" or rest == ".well-known/openid-configuration" then
    return configuration(origin, tenant)
  end
  if tenant == "common" and rest == "discovery/instance" then
    local host = req.headers.host or req.host
    return answer(200, { tenant_discovery_endpoint = ("%s/%s/v2.0/.well-known/openid-configuration"):format(origin, world.tenant),
      ["api-version"] = "1.1", metadata = json.array { { preferred_network = host, preferred_cache = host,
        aliases = json.array { host } } } })
  end
  return nil
end

return entra
