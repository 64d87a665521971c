--- Microsoft.ManagedIdentity: user-assigned identities.
local crypto, json = require "crypto", require "json"
local world = require "emulator.world"
local records = require "emulator.arm.records"
local problem, style = require "emulator.arm.problem", require "emulator.arm.style"
records.define("Microsoft.ManagedIdentity/userAssignedIdentities", {
  kind = "azure.user_assigned_identity", style = style.plain, stateless = true,
  new_id = function(id, group)
    return ("/subscriptions/%s/resourcegroups/%s/providers/Microsoft.ManagedIdentity/userAssignedIdentities/%s"):format(
      world.subscription, group.name, id.name)
  end,
  prepare = function(body, ctx)
    local old = ctx.old and ctx.old.body.properties
    body.tags = body.tags or {}
    body.properties = { tenantId = world.tenant, principalId = old and old.principalId or crypto.uuid(),
      clientId = old and old.clientId or crypto.uuid() }
  end,
  put_headers = function(record, headers, created)
    if created then headers.Location = record.id end
  end,
})

records.define("Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials", {
  style = style.plain, stateless = true, located = false, name = "^[%w][%w_-]*$", shortest = 3, longest = 120,
  prepare = function(body)
    local p = body.properties
    for _, key in ipairs { "issuer", "subject" } do
      if type(p[key]) ~= "string" or p[key] == "" then
        problem.raise(400, "BadRequest", ("The federated identity credential needs '%s'."):format(key))
      end
    end
    p.audiences = p.audiences or json.array { "api://AzureADTokenExchange" }
  end,
})

return {}
