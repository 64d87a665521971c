--- `vmrun login`: a person's login by device code; which credential is used and why not another.
local crypto, json = require "crypto", require "json"
local cloud_of, credential, login = require "azure.cloud", require "azure.credential", require "azure.login"

local M = {}

local function claims_of(token)
  local middle = token:match("^[^.]+%.([^.]+)%.")
  local claims = middle and json.decode(crypto.unbase64url(middle) or "")
  return type(claims) == "table" and claims or {}
end

-- Every source in its order with what it said, and what the first one that is there gives.
local function survey(cloud)
  local found, tried = credential.find(cloud)
  local shown = { cloud = cloud.arm, sources = json.array {} }
  for i, entry in ipairs(tried) do
    shown.sources[i] = { name = entry.name, state = entry.credential and "used" or entry.why and "absent" or "later",
      detail = entry.credential and entry.credential.name or entry.why or "not asked: an earlier one is there" }
  end
  if not found then return shown end
  local ok, token, seconds = pcall(found.token, cloud.audience)
  if not ok then
    shown.problem = type(token) == "table" and token.message or tostring(token)
    return shown
  end
  local claims = claims_of(token)
  shown.token = { tenant = claims.tid, object = claims.oid, application = claims.appid, user = claims.upn, audience = claims.aud,
    seconds = math.floor(seconds) }
  return shown
end

local function show(call, cloud)
  local shown = survey(cloud)
  local code = shown.token and 0 or 1
  if call.json then return { text = json.encode(shown, { indent = 2, sort = true }), code = code } end
  local lines = { "cloud: " .. shown.cloud }
  for _, source in ipairs(shown.sources) do
    lines[#lines + 1] = ("%s %-18s %s"):format(source.state == "used" and "*" or " ", source.name, source.detail)
  end
  if shown.problem then lines[#lines + 1] = "but it gives no token: " .. shown.problem end
  if shown.token then
    local t = shown.token
    lines[#lines + 1] = ("token: tenant %s, %s %s, good for %d min"):format(tostring(t.tenant), t.user and "user" or "object",
      tostring(t.user or t.object), t.seconds // 60)
  elseif not shown.problem then
    lines[#lines + 1] = "no credential: set AZURE_*, use 'az login', or log in here: vmrun login"
  end
  return { text = table.concat(lines, "\n"), code = code }
end

function M.run(call)
  local cloud = cloud_of { kind = "azure", tenant = call.tenant }
  if call.show then return show(call, cloud) end
  if call.forget then
    return { text = login.forget(cloud) and "the login is forgotten" or "there was no login", code = 0 }
  end
  local kept = login.begin(cloud, cloud.tenant, function(message)
    io.stderr:write(message, "\n")
    io.stderr:flush()
  end)
  return { text = ("logged in as %s in tenant %s"):format(tostring(kept.user), kept.tenant) }
end

return M
