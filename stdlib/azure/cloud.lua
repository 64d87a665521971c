--- Where a target's Azure answers: endpoints, trust and credential of the real clouds and of the emulator.
local fs, http, json, process = require "fs", require "http", require "json", require "process"
local credential = require "azure.credential"
local fail = require "fail"

local CLOUDS = {
  AzureCloud = { arm = "https://management.azure.com", login = "https://login.microsoftonline.com",
    audience = "https://management.azure.com", vault_suffix = "vault.azure.net", vault_audience = "https://vault.azure.net" },
  AzureUSGovernment = { arm = "https://management.usgovcloudapi.net", login = "https://login.microsoftonline.us",
    audience = "https://management.usgovcloudapi.net", vault_suffix = "vault.usgovcloudapi.net",
    vault_audience = "https://vault.usgovcloudapi.net" },
  AzureChinaCloud = { arm = "https://management.chinacloudapi.cn", login = "https://login.partner.microsoftonline.cn",
    audience = "https://management.chinacloudapi.cn", vault_suffix = "vault.azure.cn",
    vault_audience = "https://vault.azure.cn" },
}

local function env(name) return process.env(name) end

local function emulator(target)
  local path = target.emulator_dir .. "/endpoint.json"
  local text = fs.read(path)
  local endpoint = text and json.decode(text)
  if not endpoint then
    error(fail { "the emulator of " .. target.emulator_dir .. " does not answer", code = "unreachable",
      hint = "start it: vmrun emulator start" })
  end
  local cloud = {
    kind = "emulator", arm = endpoint.arm, login = endpoint.entra, imds = endpoint.imds, ca = endpoint.ca,
    audience = "https://management.azure.com", subscription = endpoint.subscription, tenant = endpoint.tenant,
    vault_suffix = endpoint.vault_suffix, vault_audience = endpoint.vault_audience or "https://vault.azure.net", env = env,
  }
  cloud.credential = { name = "the emulator's service principal", token = function(audience)
    return credential.request_token(cloud, endpoint.tenant, { grant_type = "client_credentials",
      client_id = endpoint.client_id, client_secret = endpoint.client_secret }, audience)
  end }
  -- Vault host names of the emulator resolve nowhere; they all answer at one address.
  local vault_address = endpoint.vault_address or endpoint.arm:match("^https://([^/]+)")
  cloud.dial = function() return vault_address end
  return cloud
end

-- A cloud of its own, as its metadata endpoint describes it.
local function described(url, ca)
  local answer = fail.check(http.request { method = "GET", url = url:gsub("/+$", "") .. "/metadata/endpoints?api-version=2023-11-01",
    ca = ca, timeout = 30 })
  local body = answer.status == 200 and json.decode(answer.body)
  local login = type(body) == "table" and (body.authentication or {}).loginEndpoint
  if not login or not body.resourceManager then
    error(fail { url .. " does not describe a cloud: HTTP " .. answer.status, code = "cloud",
      hint = "AZURE_CLOUD wants a cloud's name or the address of its Resource Manager" })
  end
  local function bare(text) return (text:gsub("/+$", "")) end
  local suffix = (body.suffixes or {}).keyVaultDns
  suffix = suffix and suffix:gsub("^%.", "")
  return { arm = bare(body.resourceManager), login = bare(login), audience = bare(body.authentication.audiences[1]), vault_suffix = suffix,
    vault_audience = suffix and "https://" .. suffix }
end

local cache = {}

--- `target`: `{kind = "emulator", emulator_dir=}` or `{kind = "azure", cloud=, subscription=, tenant=}`.
return function(target)
  if target.kind == "emulator" then
    local cloud = cache[target.emulator_dir]
    if not cloud then
      cloud = emulator(target)
      cache[target.emulator_dir] = cloud
    end
    return cloud
  end
  local name = target.cloud or env("AZURE_CLOUD") or "AzureCloud"
  local bundle = env "SSL_CERT_FILE"
  local ca = bundle and bundle ~= "" and fail.check(fs.read(bundle)) or nil
  local known = name:find("^https?://") and described(name, ca) or CLOUDS[name]
  if not known then
    error(fail { "no cloud is named '" .. name .. "'", hint = "one of AzureCloud, AzureUSGovernment, AzureChinaCloud, or the https:// address of a Resource Manager" })
  end
  local cloud = { kind = "azure", subscription = target.subscription, tenant = target.tenant or env("AZURE_TENANT_ID"), env = env,
    ca = ca }
  for key, value in pairs(known) do cloud[key] = value end
  cloud.login = env("AZURE_AUTHORITY_HOST") and env("AZURE_AUTHORITY_HOST"):gsub("/$", "") or cloud.login
  return cloud
end
