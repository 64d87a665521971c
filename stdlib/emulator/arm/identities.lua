--- Managed identities of resources: their own are made by the service, and known to the directory as long as the resource is there.
local crypto = require "crypto"
local world = require "emulator.world"
local records = require "emulator.arm.records"

local identities = {}

--- Completes the `identity` of a body that is written.
function identities.complete(body, ctx)
  local identity, old = body.identity, ctx.old
  if type(identity) ~= "table" then return end
  identity.principalId, identity.tenantId = nil, nil
  if not tostring(identity.type):find("SystemAssigned", 1, true) then return end
  local was = old and old.body.identity
  identity.principalId, identity.tenantId = was and was.principalId or crypto.uuid(), world.tenant
  ctx.private.own_client = old and old.private.own_client or crypto.uuid()
end

--- A resource's own identity as a principal, or nil.
function identities.own(record)
  local identity = record.body.identity
  if type(identity) ~= "table" or not identity.principalId then return nil end
  return { client_id = record.private.own_client, object_id = identity.principalId, name = record.name, type = "ServicePrincipal",
    resource = record.id }
end

--- The principal that is a resource's own identity, by its object id.
function identities.by_object(object_id)
  for record in records.each() do
    local principal = identities.own(record)
    if principal and principal.object_id == object_id:lower() then return principal end
  end
end

world.own_identity = identities

return identities
