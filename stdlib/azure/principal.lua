--- Who we are to Azure: the principal that our tokens name. Read, never written.
local arm, crypto, fail, field, json = require "azure.arm", require "crypto", require "fail", require "field", require "json"
local kind = require "kind"

local function find(ctx)
  local client = arm.open(ctx.target)
  local token = client:token(client.cloud.audience)
  local claims = json.decode(crypto.unbase64url(token:match("^[^.]+%.([^.]+)%.") or "") or "")
  if type(claims) ~= "table" or not claims.oid then
    error(fail { "our token for Azure does not say who we are (no `oid`)", code = "auth" })
  end
  local user = claims.idtyp == "user" or (claims.idtyp == nil and claims.upn ~= nil)
  return { fields = ctx.fields, outputs = { object_id = claims.oid, tenant_id = claims.tid,
    type = user and "User" or "ServicePrincipal" } }
end

return kind "azure.principal" {
  doc = "The principal that vmrun works as.", provider = "azure", data = true,
  fields = {},
  outputs = { object_id = field.string { doc = "Its object id." }, tenant_id = field.string {},
    type = field.string { doc = "User or ServicePrincipal." } },
  identity = function() return "principal" end,
  read = find, create = find, update = find,
  delete = function() end,
}
