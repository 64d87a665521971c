--- Credentials from an exec plugin, as kubeconfigs name them: a program that prints an ExecCredential with a token or a
-- client certificate (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins).
local json, log, process, task = require "json", require "log", require "process", require "task"
local fail = require "fail"

local M = {}

local SECONDS = 60
local EARLY = 30 -- seconds before they end in which new credentials are asked for
local GROUP = "client.authentication.k8s.io/"
local VERSIONS = { [GROUP .. "v1"] = true, [GROUP .. "v1beta1"] = true }

-- By its last name: the whole text of a kubeconfig is a secret of its recipe.
local function refuse(plugin, text, hint)
  error(fail { ("the kubeconfig's exec plugin '%s' %s"):format(plugin.command:match "[^/]*$", text), code = "credential",
    hint = hint })
end

-- Days since 1970 of a date of the Gregorian calendar.
local function days(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719469
end

--- Unix time of a time as RFC 3339 writes it; nil when it is none.
function M.time(text)
  local year, month, day, hour, minute, second,
    rest = tostring(text):match("^(%d%d%d%d)-(%d%d)-(%d%d)[Tt](%d%d):(%d%d):(%d%d)(.*)$")
  if not year then return nil end
  local sign, hours, minutes = rest:gsub("^%.%d+", ""):match("^([+-])(%d%d):(%d%d)$")
  local offset = sign and (tonumber(hours) * 60 + tonumber(minutes)) * (sign == "+" and 60 or -60) or 0
  return days(math.tointeger(year), math.tointeger(month),
    math.tointeger(day)) * 86400 + hour * 3600 + minute * 60 + second - offset
end

-- What the plugin is told: the API's version, that nobody is there to ask, and the cluster where it wants to know.
local function told(plugin, cluster)
  local spec = { interactive = false }
  if plugin.provideClusterInfo then
    spec.cluster = { server = cluster.server, ["tls-server-name"] = cluster["tls-server-name"],
      ["insecure-skip-tls-verify"] = cluster["insecure-skip-tls-verify"],
        ["certificate-authority-data"] = cluster["certificate-authority-data"],
      ["proxy-url"] = cluster["proxy-url"] }
    for _, extension in ipairs(cluster.extensions or {}) do
      if extension.name == GROUP:sub(1, -2) .. "/exec" then spec.cluster.config = extension.extension end
    end
  end
  return json.encode { kind = "ExecCredential", apiVersion = plugin.apiVersion, spec = spec }
end

local function run(plugin, cluster)
  local argv, env = { plugin.command }, {}
  for _, word in ipairs(type(plugin.args) == "table" and plugin.args or {}) do argv[#argv + 1] = tostring(word) end
  for _, variable in ipairs(type(plugin.env) == "table" and plugin.env or {}) do env[variable.name] = tostring(variable.value) end
  env.KUBERNETES_EXEC_INFO = told(plugin, cluster)
  local ended, message, code = process.run { argv = argv, env = env, stdin = "", timeout = SECONDS, max_output = 1 << 20 }
  if not ended then
    if code == "timeout" then refuse(plugin, ("gave no answer in %d s"):format(SECONDS),
      "does it wait for somebody to log in? Run it in a terminal first") end
    refuse(plugin, "cannot be run: " .. message, plugin.installHint or "install it, or name it by its whole path")
  end
  if ended.code ~= 0 then
    local said = ended.stderr:gsub("%s+$", ""):sub(-1000)
    refuse(plugin, ("ended with %s%s"):format(ended.signal and "signal " .. ended.signal or "exit code " .. ended.code,
      said ~= "" and ": " .. log.masked(said) or ""), plugin.installHint or "run it in a terminal to see what it needs")
  end
  return ended.stdout
end

-- The output itself is a secret: what is wrong with it is told without it.
local function read(plugin, output)
  local answer = json.decode(output)
  if type(answer) ~= "table" or answer.kind ~= "ExecCredential" then refuse(plugin, "printed no ExecCredential") end
  if answer.apiVersion ~= plugin.apiVersion then
    refuse(plugin, ("answered with %s, but the kubeconfig says %s"):format(tostring(answer.apiVersion), plugin.apiVersion))
  end
  local status = type(answer.status) == "table" and answer.status or {}
  local made = { token = status.token ~= "" and status.token or nil, cert = status.clientCertificateData,
    key = status.clientKeyData }
  for _, secret in ipairs { made.token or "", made.key or "" } do
    if type(secret) ~= "string" then refuse(plugin, "printed a credential that is no text") end
    if secret ~= "" then log.mask(secret) end
  end
  if not made.token and not made.cert then refuse(plugin, "gave neither a token nor a certificate") end
  if (made.cert == nil) ~= (made.key == nil) then refuse(plugin, "gave a certificate or a key without the other") end
  if status.expirationTimestamp and status.expirationTimestamp ~= json.null then
    made.expires = M.time(status.expirationTimestamp)
    if not made.expires then refuse(plugin,
      ("gave an expirationTimestamp that is no time: %s"):format(tostring(status.expirationTimestamp))) end
    if made.expires <= task.time() then refuse(plugin,
      ("gave a credential that expired at %s"):format(status.expirationTimestamp)) end
  end
  return made
end

--- Adds a plugin's credentials to the parts of a client: token or cert and key, `renew_at`, and `renew` for new parts.
function M.attach(parts, plugin, cluster)
  if type(plugin) ~= "table" or type(plugin.command) ~= "string" or plugin.command == "" then
    error(fail { "the kubeconfig's exec plugin has no command", code = "kubeconfig" })
  end
  if not VERSIONS[plugin.apiVersion or ""] then
    refuse(plugin, ("speaks %s; v1 and v1beta1 of %s are known"):format(tostring(plugin.apiVersion), GROUP:sub(1, -2)),
      "is there a newer one of it?")
  end
  if plugin.interactiveMode == "Always" then refuse(plugin, "must be run in a terminal",
    "use a credential that needs nobody to be asked") end
  local function made()
    local new = {}
    for name, value in pairs(parts) do new[name] = value end
    for name, value in pairs(read(plugin, run(plugin, cluster))) do new[name] = value end
    new.renew = made
    local now = task.time()
    new.renew_at = new.expires and new.expires - math.min(EARLY, (new.expires - now) / 2)
    return new
  end
  return made()
end

return M
