--- Microsoft Entra ID tokens, found in the order of Azure's DefaultAzureCredential.
-- A credential is `{ name = "...", token = function(audience) -> token, seconds it is good for }`; a source that is not configured
-- says why instead, so that "no credential" can list what was tried.
local crypto, fs, http, json = require "crypto", require "fs", require "http", require "json"
local process, task = require "process", require "task"
local entra, fail, login = require "azure.entra", require "fail", require "azure.login"

-- The seconds until a time by the wall clock; a few minutes where the answer names none.
local function left(expires_on)
  expires_on = tonumber(expires_on)
  return expires_on and expires_on - task.time() or 600
end

--- Asks the token endpoint; `fields` are the grant's own form fields.
local function request_token(cloud, tenant, fields, audience)
  fields.scope = audience .. "/.default"
  local body, status = entra.post(cloud, tenant, "token", fields)
  if status ~= 200 or not body.access_token then
    error(fail { "Microsoft Entra ID refused the token: " .. tostring(body.error_description or body.error), code = "auth",
      hint = "check the credential that 'AZURE_*' or 'az login' gives, and its tenant " .. tenant })
  end
  return body.access_token, tonumber(body.expires_in) or 3600
end

local function assertion(cloud, tenant, client, pem)
  local now = math.floor(task.time())
  return fail.check(crypto.jwt_sign({
    aud = ("%s/%s/oauth2/v2.0/token"):format(cloud.login, tenant), iss = client, sub = client,
    jti = crypto.uuid(), nbf = now, iat = now, exp = now + 600,
  }, pem.key, { cert = pem.cert }))
end

local JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

local sources = {}

function sources.environment(cloud)
  local env = cloud.env
  local tenant, client = env("AZURE_TENANT_ID"), env("AZURE_CLIENT_ID")
  if not tenant or not client then return nil, "AZURE_TENANT_ID and AZURE_CLIENT_ID are not set" end
  local secret, certificate = env("AZURE_CLIENT_SECRET"), env("AZURE_CLIENT_CERTIFICATE_PATH")
  if secret then
    return { name = "client secret of " .. client, token = function(audience)
      return request_token(cloud, tenant,
        { grant_type = "client_credentials", client_id = client, client_secret = secret }, audience)
    end }
  end
  if certificate then
    return { name = "client certificate of " .. client, token = function(audience)
      local text = fail.check(fs.read(certificate))
      local pem = { key = text:match("%-%-%-%-%-BEGIN [%u ]*PRIVATE KEY.-END [%u ]*PRIVATE KEY%-%-%-%-%-\n?"),
        cert = text:match("%-%-%-%-%-BEGIN CERTIFICATE.-END CERTIFICATE%-%-%-%-%-\n?") }
      if not pem.key or not pem.cert then
        error(fail { certificate .. " does not hold a private key and a certificate in PEM form", code = "auth" })
      end
      return request_token(cloud, tenant, { grant_type = "client_credentials", client_id = client,
        client_assertion_type = JWT_BEARER, client_assertion = assertion(cloud, tenant, client, pem) }, audience)
    end }
  end
  return nil, "neither AZURE_CLIENT_SECRET nor AZURE_CLIENT_CERTIFICATE_PATH is set"
end

function sources.workload_identity(cloud)
  local env = cloud.env
  local file, tenant, client = env("AZURE_FEDERATED_TOKEN_FILE"), env("AZURE_TENANT_ID"), env("AZURE_CLIENT_ID")
  if not file or not tenant or not client then return nil, "AZURE_FEDERATED_TOKEN_FILE is not set" end
  return { name = "workload identity " .. client, token = function(audience)
    -- Kubernetes rotates the file; it is read for each token.
    local text = fail.check(fs.read(file))
    return request_token(cloud, tenant, { grant_type = "client_credentials", client_id = client,
      client_assertion_type = JWT_BEARER, client_assertion = (text:gsub("%s+$", "")) }, audience)
  end }
end

function sources.managed_identity(cloud)
  local base = cloud.imds or "http://169.254.169.254"
  local probe = http.request { method = "GET", url = base .. "/metadata/identity/oauth2/token", timeout = 1,
    connect_timeout = 1 }
  -- Azure's answers 400 to who does not say `Metadata: true`; other clouds have one at this address, too.
  if not probe then return nil, "no instance metadata service answers" end
  if probe.status ~= 400 then return nil, "the instance metadata service that answers here is not Azure's" end
  local client = cloud.env("AZURE_CLIENT_ID")
  return { name = "managed identity" .. (client and (" " .. client) or ""), token = function(audience)
    local url = ("%s/metadata/identity/oauth2/token?api-version=2018-02-01&resource=%s%s"):format(
      base, entra.urlencode(audience .. "/"), client and ("&client_id=" .. entra.urlencode(client)) or "")
    local answer = fail.check(http.request { method = "GET", url = url, headers = { Metadata = "true" }, timeout = 30 })
    local body = json.decode(answer.body)
    if answer.status ~= 200 or not body then
      error(fail { "the instance metadata service gave no token: HTTP " .. answer.status, code = "auth" })
    end
    return body.access_token, tonumber(body.expires_in) or left(body.expires_on)
  end }
end

function sources.azure_cli(cloud)
  local path = cloud.env("PATH") or ""
  local found
  for folder in path:gmatch("[^:]+") do
    if fs.stat(folder .. "/az", { follow = true }) then found = folder .. "/az" break end
  end
  if not found then return nil, "the Azure CLI (az) is not on PATH" end
  local function ask(audience)
    local argv = { found, "account", "get-access-token", "--output", "json", "--resource", audience }
    if cloud.tenant then argv[#argv + 1] = "--tenant" argv[#argv + 1] = cloud.tenant end
    local result = fail.check(process.run { argv = argv, timeout = 60 })
    local body = result.code == 0 and json.decode(result.stdout)
    if body then return body end
    return nil, (result.stderr:gsub("%s+$", ""))
  end
  -- Whether somebody is logged in is known only by asking; the answer serves the first who wants a token.
  local first, why = ask(cloud.audience)
  if not first then
    if why:find("az login", 1, true) then return nil, "nobody is logged in to the Azure CLI: az login" end
    return nil, "the Azure CLI gives no token: " .. why
  end
  return { name = "Azure CLI", token = function(audience)
    local body = audience == cloud.audience and first or nil
    first = nil
    if not body then
      body, why = ask(audience)
      if not body then
        error(fail { "az account get-access-token failed: " .. why, code = "auth", hint = "run 'az login'" })
      end
    end
    return body.accessToken, left(body.expires_on)
  end }
end

function sources.device_code(cloud)
  local kept = login.kept(cloud)
  if not kept then return nil, "nobody logged in here: vmrun login" end
  return { name = "login of " .. tostring(kept.user or kept.tenant), token = function(audience) return login.token(cloud, audience) end }
end

local order = { "environment", "workload_identity", "managed_identity", "azure_cli", "device_code" }

--- The first credential that is configured; and every source in its order as `{name, credential, why}`: the one that is used, why those
-- before it are not there, nothing of those behind it, which are not asked.
-- `cloud`: `{login, ca, imds, tenant, env = function(name)}`.
local function find(cloud)
  local found, tried = nil, {}
  for i, name in ipairs(order) do
    tried[i] = { name = (name:gsub("_", " ")) }
    if not found then
      found, tried[i].why = sources[name](cloud)
      tried[i].credential = found
    end
  end
  return found, tried
end

return { find = find, request_token = request_token }
