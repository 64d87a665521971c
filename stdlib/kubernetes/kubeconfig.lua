--- Kubeconfigs: from one context of a file to what a client needs
-- (https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/).
local crypto, fs, log, yaml = require "crypto", require "fs", require "log", require "yaml"
local credential = require "kubernetes.credential"
local fail = require "fail"

local M = {}

local function refuse(text, hint) error(fail { "the kubeconfig " .. text, code = "kubeconfig", hint = hint }) end

local function named(list, name)
  for _, entry in ipairs(type(list) == "table" and list or {}) do
    if type(entry) == "table" and entry.name == name then return entry end
  end
end

-- Of a file that the kubeconfig names we know the folder only when its path is whole.
local function content(entry, name)
  local path = entry[name]
  if type(path) ~= "string" or path == "" then return nil end
  if path:sub(1, 1) ~= "/" then
    refuse(("names a file by a relative path: %s"):format(path),
      "kubectl config view --raw --flatten writes one that has all of it inside")
  end
  local text, why = fs.read(path)
  if not text then refuse(("names a file that cannot be read: %s"):format(why)) end
  return text
end

-- `NAME-data`, in base64, counts more than the file of NAME.
local function pem(entry, name)
  local data = entry[name .. "-data"]
  if type(data) ~= "string" or data == "" then return content(entry, name) end
  return crypto.unbase64(data) or refuse(("has %s-data that is not base64"):format(name))
end

local function chosen(config, context)
  local name = context or config["current-context"]
  local found = named(config.contexts, name)
  if not found or type(found.context) ~= "table" then
    refuse("has no usable context" .. (name and name ~= "" and (" '%s'"):format(name) or ""))
  end
  local cluster, user = named(config.clusters, found.context.cluster), named(config.users, found.context.user)
  if not cluster or type(cluster.cluster) ~= "table" or type(cluster.cluster.server) ~= "string" then
    refuse(("has no cluster '%s', which its context '%s' names"):format(tostring(found.context.cluster), name))
  end
  if not user then refuse(("has no user '%s', whom its context '%s' names"):format(tostring(found.context.user), name)) end
  return cluster.cluster, type(user.user) == "table" and user.user or {}
end

local function with_token(parts, token)
  parts.token = token:gsub("%s+$", "")
  log.mask(parts.token)
end

--- The parts of a kubeconfig table (or text) for `client.new`. With an exec plugin the credentials are those that it gives:
-- `renew` asks it again, and `renew_at` says when (Unix time).
function M.parts(config, context)
  if type(config) == "string" then config = fail.check(yaml.decode(config)) end
  if type(config) ~= "table" then refuse "is no table" end
  local cluster, user = chosen(config, context)
  local parts = { server = cluster.server:gsub("/+$", ""), ca = pem(cluster, "certificate-authority"),
    server_name = cluster["tls-server-name"],
    insecure = cluster["insecure-skip-tls-verify"] == true or nil, proxy = cluster["proxy-url"],
    cert = pem(user, "client-certificate"), key = pem(user, "client-key") }
  if user["auth-provider"] then
    refuse("has an auth-provider, which Kubernetes no longer has", "use an exec plugin, such as kubelogin")
  end
  if user.token and user.token ~= "" then
    with_token(parts, user.token)
  elseif user.tokenFile then
    -- A token in a file is exchanged there before it ends.
    parts.renew = function()
      local again = {}
      for name, value in pairs(parts) do again[name] = value end
      with_token(again, content(user, "tokenFile"))
      return again
    end
    with_token(parts, content(user, "tokenFile"))
  elseif user.username and user.username ~= "" then
    parts.basic = crypto.base64(user.username .. ":" .. (user.password or ""))
    log.mask(parts.basic)
  end
  if user.exec and not parts.token and not parts.cert then return credential.attach(parts, user.exec, cluster) end
  return parts
end

return M
