--- A person's login by device code (RFC 8628): what `vmrun login` keeps, and tokens from it.
-- The refresh token lies in `$XDG_CONFIG_HOME/vmrun/login.json` (or below ~/.config), for its owner alone.
local crypto, fs, json, log = require "crypto", require "fs", require "json", require "log"
local process, task = require "process", require "task"
local entra, fail = require "azure.entra", require "fail"

-- The Azure CLI's public client, which every tenant knows: a device code needs no registration of ours.
local CLIENT = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"

local login = {}

local function folder()
  local base = process.env "XDG_CONFIG_HOME"
  if not base or base == "" then base = (process.env "HOME" or "") .. "/.config" end
  return base .. "/vmrun"
end

function login.path() return folder() .. "/login.json" end

local function read_all()
  local text = fs.read(login.path())
  local all = text and json.decode(text)
  return type(all) == "table" and all or {}
end

local function write_all(all)
  fail.check(fs.mkdir(folder(), 448)) -- 0700
  fail.check(fs.write(login.path(), json.encode(all, { indent = 2, sort = true }) .. "\n", { mode = 384, atomic = true }))
end

--- What is kept for a cloud (`{tenant, refresh_token, user}`), or nil.
function login.kept(cloud) return read_all()[cloud.login] end

--- Forgets a cloud's login; false when there was none.
function login.forget(cloud)
  local all = read_all()
  if not all[cloud.login] then return false end
  all[cloud.login] = nil
  write_all(all)
  return true
end

local function refused(body)
  error(fail { "Microsoft Entra ID refused the login: " .. tostring(body.error_description or body.error), code = "auth",
    hint = "log in again: vmrun login" })
end

local function scope_of(audience) return audience .. "/.default offline_access openid profile" end

-- Who a token is of; its signature is its reader's business.
local function user_of(body)
  local middle = (body.id_token or body.access_token or ""):match("^[^.]+%.([^.]+)%.")
  local claims = middle and json.decode(crypto.unbase64url(middle) or "")
  claims = type(claims) == "table" and claims or {}
  return claims.preferred_username or claims.upn or claims.oid, claims.tid
end

local function keep(cloud, tenant, body)
  log.mask(body.refresh_token)
  local user, tid = user_of(body)
  local all = read_all()
  all[cloud.login] = { tenant = tid or tenant, refresh_token = body.refresh_token, user = user or all[cloud.login] and all[cloud.login].user }
  write_all(all)
  return all[cloud.login]
end

--- Logs a person in: `tell(message)` shows where to go and which code to type; returns what is kept then.
function login.begin(cloud, tenant, tell)
  tenant = tenant or "organizations"
  local code, status = entra.post(cloud, tenant, "devicecode", { client_id = CLIENT, scope = scope_of(cloud.audience) })
  if status ~= 200 then refused(code) end
  tell(code.message)
  local interval, ends = tonumber(code.interval) or 5, task.now() + (tonumber(code.expires_in) or 900)
  while task.now() < ends do
    task.sleep(interval)
    local body, answered = entra.post(cloud, tenant, "token", { grant_type = "urn:ietf:params:oauth:grant-type:device_code", client_id = CLIENT,
      device_code = code.device_code })
    if answered == 200 then return keep(cloud, tenant, body) end
    if body.error == "slow_down" then interval = interval + 5 elseif body.error ~= "authorization_pending" then refused(body) end
  end
  error(fail { "nobody typed the code in time", code = "auth", hint = "log in again: vmrun login" })
end

--- A token for an audience from the kept login; the refresh token that comes with it replaces the old one.
function login.token(cloud, audience)
  local kept = login.kept(cloud)
  log.mask(kept.refresh_token)
  local body, status = entra.post(cloud, kept.tenant, "token", { grant_type = "refresh_token", client_id = CLIENT,
    refresh_token = kept.refresh_token, scope = scope_of(audience) })
  if status ~= 200 then refused(body) end
  if body.refresh_token and body.refresh_token ~= kept.refresh_token then keep(cloud, kept.tenant, body) end
  return body.access_token, tonumber(body.expires_in) or 3600
end

return login
