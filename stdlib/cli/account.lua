--- Who acts on which subscription: what is named before a plan is applied on Azure.
local arm, crypto, json = require "azure.arm", require "crypto", require "json"

local M = {}

-- The names in a token's claims; the token itself was checked by whom we ask.
local function claims(token)
  local body = token:match("^[^.]+%.([^.]+)")
  local text = body and crypto.unbase64url(body)
  local decoded = text and json.decode(text)
  return type(decoded) == "table" and decoded or {}
end

--- `{ tenant, subscription, name, principal }` of a target.
function M.describe(target)
  local client = arm.open(target)
  local subscription = client:get("/subscriptions/" .. target.subscription, "2022-12-01") or {}
  local who = claims(client:token(client.cloud.audience))
  return {
    tenant = subscription.tenantId or target.tenant or who.tid or "unknown", subscription = target.subscription,
    name = subscription.displayName or "unknown",
    principal = who.upn or who.unique_name or who.app_displayname or who.appid or who.oid or "unknown",
  }
end

return M
