--- One TLS port for everything of Azure: vaults by host name, the rest by path.
local json = require "json"
local world = require "emulator.world"
local admin, arm, imds = require "emulator.admin", require "emulator.arm.server", require "emulator.imds"

local function metadata(req)
  local origin = "https://" .. (req.headers.host or req.host)
  local cloud = {
    name = "vmrun", portal = origin .. "/portal", media = origin, graph = origin .. "/msgraph/", graphAudience = origin .. "/graph/",
    authentication = { loginEndpoint = origin .. "/", audiences = json.array { "https://management.core.windows.net/",
      "https://management.azure.com/", origin .. "/" }, tenant = "common", identityProvider = "AAD" },
    suffixes = { keyVaultDns = world.vault_suffix, storage = "core.windows.net", acrLoginServer = "azurecr.io",
      sqlServerHostname = "database.windows.net", mhsmDns = "managedhsm.azure.net", azureDataLakeStoreFileSystem = "azuredatalakestore.net",
      azureDataLakeAnalyticsCatalogAndJob = "azuredatalakeanalytics.net", azureFrontDoorEndpointSuffix = "azurefd.net",
      storageSyncEndpointSuffix = "afs.azure.net", mysqlServerEndpoint = "mysql.database.azure.com",
      postgresqlServerEndpoint = "postgres.database.azure.com", mariadbServerEndpoint = "mariadb.database.azure.com",
      synapseAnalytics = "dev.azuresynapse.net", attestationEndpoint = "attest.azure.net" },
    resourceManager = origin, batch = origin, gallery = origin, vmImageAliasDoc = origin .. "/emulator/aliases", sqlManagement = origin,
    activeDirectoryDataLake = origin, microsoftGraphResourceId = origin .. "/msgraph/", appInsightsResourceId = origin,
    appInsightsTelemetryChannelResourceId = origin, attestationResourceId = "https://attest.azure.net",
    synapseAnalyticsResourceId = "https://dev.azuresynapse.net", logAnalyticsResourceId = origin, ossrDbmsResourceId = origin,
  }
  local version = (req.query or {})["api-version"]
  if version == "1.0" or version == "2015-01-01" then
    return { galleryEndpoint = origin, graphEndpoint = origin .. "/graph/", portalEndpoint = cloud.portal,
      authentication = { loginEndpoint = origin .. "/", audiences = cloud.authentication.audiences } }
  end
  if version and version < "2020-06-01" then return json.array { cloud } end
  return cloud
end

--- Microsoft Graph, as far as tools ask it who a principal is.
local function graph(req)
  local principal, why = world.entra.check(req.headers.authorization, "graph")
  if not principal then
    return { status = 401, json = { error = { code = "InvalidAuthenticationToken", message = why } } }
  end
  local function shown(p)
    return { id = p.object_id, appId = p.client_id, displayName = p.name, servicePrincipalNames = json.array { p.client_id },
      servicePrincipalType = p.resource and "ManagedIdentity" or "Application", ["@odata.type"] = "#microsoft.graph.servicePrincipal" }
  end
  if req.path:find("/me$") then
    return { status = 400, json = { error = { code = "BadRequest", message = "/me request is only valid with delegated authentication flow." } } }
  end
  local list = {}
  local wanted = (req.query["$filter"] or ""):match("eq%s+'([^']+)'") or req.path:match("/servicePrincipals/([^/]+)$")
  if req.path:find("getByIds$") then
    for _, id in ipairs((json.decode(req.body) or {}).ids or {}) do
      local found = world.entra.by_object(id)
      if found then list[#list + 1] = shown(found) end
    end
  elseif wanted then
    local found = world.entra.by_client(wanted) or world.entra.by_object(wanted)
    if found then list[1] = shown(found) end
    if not req.query["$filter"] then
      return list[1] and { status = 200, json = list[1] } or { status = 404, json = { error = { code = "Request_ResourceNotFound",
        message = ("Resource '%s' does not exist."):format(wanted) } } }
    end
  end
  return { status = 200, json = { value = json.array(list) } }
end

local function vault_of(host)
  return host:match("^([%w-]+)%.vault%.localhost$") or host:match("^([%w-]+)%.vault%.azure%.net$")
end

local function route(req)
  local name = vault_of(req.host)
  if name then
    world.traffic.other "vault"
    return world.vault.handle(name, req)
  end
  local path = req.path:gsub("//+", "/")
  if path:find("^/emulator/") then return admin.handle(req) end
  if path == "/metadata/endpoints" then return { status = 200, json = metadata(req) } end
  if path:find("^/m?s?graph/") or req.host == "graph.microsoft.com" then return graph(req) end
  if path:find("^/metadata/") or path:find("^/machine/") then return imds.handle(req) end
  local entra = world.entra.handle(req)
  if entra then return entra end
  return nil
end

--- Answers one request of the TLS port.
local function handle(req)
  local result = route(req)
  if not result then return arm.handle(req) end
  world.store:sync()
  local headers = result.headers or {}
  if result.json ~= nil then headers["Content-Type"] = "application/json; charset=utf-8" end
  headers["Cache-Control"] = "no-store"
  return { status = result.status, headers = headers, body = result.json ~= nil and json.encode(result.json) or "" }
end

--- Answers the plain port: the instance metadata service.
local function handle_plain(req)
  local result = imds.handle(req)
  return { status = result.status, headers = { ["Content-Type"] = "application/json; charset=utf-8" },
    body = json.encode(result.json) }
end

local REAL = { ["login.microsoftonline.com"] = true, ["management.azure.com"] = true, ["graph.microsoft.com"] = true }

--- Whether a proxy's CONNECT is for us: Azure's real names, so that tools work with HTTPS_PROXY alone.
local function proxied(host)
  host = host:lower()
  return REAL[host] or vault_of(host) ~= nil or host == world.addresses.front
end

return { handle = handle, handle_plain = handle_plain, proxied = proxied }
