--- The instance metadata service: tokens for managed identities. On Azure it asks nothing but to be on the machine; here
-- a machine says which one it is in its address (`/machine/ID/metadata/...`) or asks as the emulator's own identity.
local json = require "json"
local world = require "emulator.world"

local function refuse(status, name, text)
  return { status = status, json = { error = name, error_description = text } }
end

--- Identities of a machine (a virtual machine's or a scale set instance's record).
local function identities(record)
  local body = record.body
  local ids = body.identity and body.identity.userAssignedIdentities
  if not ids and record.set then
    local set = world.arm.get(record.set)
    ids = set and set.body.identity and set.body.identity.userAssignedIdentities
  end
  local list = {}
  for id in pairs(ids or {}) do
    local identity = world.arm.get(id)
    if identity then list[#list + 1] = identity end
  end
  table.sort(list, function(a, b) return a.id < b.id end)
  return list
end

local function principal_of(identity)
  local p = identity.body.properties
  return { client_id = p.clientId, object_id = p.principalId, name = identity.name, resource = identity.id }
end

local function choose(q, machine)
  if not machine then return world.store:get("principal", world.client_id) end
  local record = world.arm.get(machine)
  local set = record and record.set and world.arm.get(record.set)
  -- Its own comes before those that it was given, when none is named.
  local own = record and world.own_identity.own(set or record)
  local wanted = q.client_id or q.object_id or q.principal_id or q.msi_res_id or q.mi_res_id
  if own and not wanted then return own end
  local list = record and identities(record) or {}
  for _, identity in ipairs(list) do
    local p = identity.body.properties
    if not wanted and #list == 1 then return principal_of(identity) end
    if wanted and (wanted == p.clientId or wanted == p.principalId or wanted:lower() == identity.id:lower()) then
      return principal_of(identity)
    end
  end
  return nil
end

local NOT_FOUND = { status = 404, json = { error = "Not found" } }

-- Its first interface. The public address of a Standard load balancer is not among what it shows: that is asked for apart.
local function interface(machine)
  local at = world.fabric.interface(machine)
  if not at then return json.array {} end
  local address, length = at.prefix:match("^([^/]+)/(%d+)$")
  return json.array { { ipv4 = { ipAddress = json.array { { privateIpAddress = at.ip, publicIpAddress = "" } },
    subnet = json.array { { address = address, prefix = length } } }, ipv6 = { ipAddress = json.array {} } } }
end

local function instance(machine)
  local record = machine and world.arm.get(machine)
  if not record then return NOT_FOUND end
  local p = record.body.properties
  return { status = 200, json = { compute = { azEnvironment = "AzurePublicCloud", location = record.body.location, name = record.name,
    resourceId = record.id, resourceGroupName = record.id:match("/resource[gG]roups/([^/]+)"), subscriptionId = world.subscription,
    vmId = p.vmId, vmSize = p.hardwareProfile and p.hardwareProfile.vmSize, osType = "Linux",
    vmScaleSetName = record.set and record.set:match("[^/]+$") or "", zone = record.body.zones and record.body.zones[1] or "",
    platformFaultDomain = "0", platformUpdateDomain = "0", tagsList = json.array {} }, network = { interface = interface(machine) } } }
end

-- The public addresses behind which a machine stands.
local function balancers(machine)
  local public = machine and world.fabric.public_addresses(machine) or {}
  if #public == 0 then return NOT_FOUND end
  local own, list = world.fabric.interface(machine).ip, json.array {}
  for i, address in ipairs(public) do list[i] = { frontendIpAddress = address, privateIpAddress = own } end
  return { status = 200, json = { loadbalancer = { publicIpAddresses = list, inboundRules = json.array {}, outboundRules = json.array {} } } }
end

local function handle(req)
  local machine, path = req.path:match("^/machine(/.+)(/metadata/.*)$")
  path = path or req.path
  if path:find("^/metadata/") and req.headers.metadata ~= "true" then
    return refuse(400, "invalid_request", "Required metadata header not specified")
  end
  if path:find("^/metadata/instance") then return instance(machine) end
  if path:find("^/metadata/loadbalancer") then return balancers(machine) end
  if not path:find("^/metadata/identity/oauth2/token/?$") then return { status = 404, json = { error = "Not found" } } end
  -- The older of Azure's clients post a form.
  local asked = req.method == "POST" and world.entra.decode_form(req.body) or req.query
  if not asked.resource then
    return refuse(400, "invalid_request", "Required audience parameter not specified")
  end
  local principal = choose(asked, machine)
  if not principal then return refuse(400, "invalid_request", "Identity not found") end
  local token, expires = world.entra.issue(principal, asked.resource)
  return { status = 200, json = { access_token = token, client_id = principal.client_id, expires_in = "3599", ext_expires_in = "3599",
    expires_on = tostring(expires), not_before = tostring(expires - 3604), resource = asked.resource, token_type = "Bearer" } }
end

return { handle = handle }
