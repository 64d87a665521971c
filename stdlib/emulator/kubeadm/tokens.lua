--- `kubeadm token`: create, list, delete, generate.
local crypto = require "crypto"
local json = require "json"
local task = require "task"
local yaml = require "yaml"
local value = require "emulator.kubernetes.value"
local Client = require "emulator.kubernetes.client"
local config = require "emulator.kubeadm.config"
local cluster = require "emulator.kubeadm.cluster"
local pki = require "emulator.kubeadm.pki"

local tokens = {}

local SECRETS = "/api/v1/namespaces/kube-system/secrets"

local function client(ctx)
  local path = ctx.flags.kubeconfig or "/etc/kubernetes/admin.conf"
  local api, why = Client.from_kubeconfig(ctx.world, ctx.machine, path, "kubeadm")
  if not api then
    ctx:fail(('failed to load admin kubeconfig: open %s: %s'):format(path, why:find("No such file", 1, true) and "no such file or directory" or why))
  end
  return api
end

local function create(ctx)
  local token = ctx.flags.words[3] or config.new_token()
  if not config.token_valid(token) then
    ctx:fail(('bootstrapTokens[0].token: Invalid value: "%s": the bootstrap token is invalid'):format(token), 3)
  end
  local ttl = ctx.flags.ttl or "24h0m0s"
  if not value.duration(ttl) then
    ctx:fail(('invalid argument "%s" for "--ttl" flag: time: invalid duration "%s"'):format(ttl, ttl))
  end
  local api = client(ctx)
  local path = SECRETS .. "/bootstrap-token-" .. token:sub(1, 6)
  if api:call("GET", path) then ctx:fail(('a token with id "%s" already exists'):format(token:sub(1, 6))) end
  local made, why = pcall(cluster.add_token, ctx, api, "token", { token = token, ttl = ttl, usages = ctx.flags.usages or { "signing", "authentication" },
    groups = ctx.flags.groups or { "system:bootstrappers:kubeadm:default-node-token" }, description = ctx.flags.description })
  if not made then error(why, 0) end
  if not ctx.flags["print-join-command"] then
    ctx:say(token)
    return 0
  end
  local info = api:call("GET", "/api/v1/namespaces/kube-public/configmaps/cluster-info")
  local c = info and yaml.decode(info.data.kubeconfig).clusters[1].cluster
  if not c then ctx:fail("failed to get join command: there is no cluster-info ConfigMap") end
  local key = ctx.flags["certificate-key"]
  local space = ctx.minor < 22 and "    " or ""
  ctx:say(("kubeadm join %s --token %s %s--discovery-token-ca-cert-hash %s %s"):format(c.server:gsub("^https://", ""), token, space,
    pki.pin(crypto.unbase64(c["certificate-authority-data"])), key and "--control-plane --certificate-key " .. key or ""))
  return 0
end

local function decoded(secret, name)
  local text = secret.data and secret.data[name]
  return text and crypto.unbase64(text)
end

local function age(expires)
  if not expires then return "<forever>", "<never>" end
  local left = (value.seconds(expires) or 0) - task.time()
  if left <= 0 then return "<invalid>", expires end
  local text = left >= 3600 and math.floor(left / 3600) .. "h" or left >= 60 and math.floor(left / 60) .. "m" or math.floor(left) .. "s"
  return text, expires
end

local function usages(secret)
  local out = {}
  for _, u in ipairs { "authentication", "signing" } do
    if decoded(secret, "usage-bootstrap-" .. u) == "true" then out[#out + 1] = u end
  end
  return #out > 0 and table.concat(out, ",") or "<none>"
end

local function columns(ctx, rows)
  local widths = {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do widths[i] = math.max(widths[i] or 0, #cell) end
  end
  for _, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do cells[i] = i < #row and cell .. (" "):rep(widths[i] - #cell + 3) or cell end
    ctx:say(table.concat(cells))
  end
end
tokens.columns = columns

local function list(ctx)
  local answer, why = client(ctx):call("GET", SECRETS .. "?fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken")
  if not answer then ctx:fail("failed to list bootstrap tokens: " .. why) end
  if ctx.flags.output == "json" then
    for _, s in ipairs(answer.items) do
      ctx:say(json.encode({ kind = "BootstrapToken", apiVersion = "output.kubeadm.k8s.io/v1alpha3", token = decoded(s, "token-id") .. "." .. decoded(s, "token-secret"),
        expires = decoded(s, "expiration"), description = decoded(s, "description"), usages = json.array { usages(s) } }, { indent = 4, sort = true }))
    end
    return 0
  end
  local rows = { { "TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS" } }
  for _, s in ipairs(answer.items) do
    local ttl, expires = age(decoded(s, "expiration"))
    rows[#rows + 1] = { decoded(s, "token-id") .. "." .. decoded(s, "token-secret"), ttl, expires, usages(s), decoded(s, "description") or "<none>",
      decoded(s, "auth-extra-groups") or "<none>" }
  end
  if #rows > 1 then columns(ctx, rows) end
  return 0
end

local function delete(ctx)
  if #ctx.flags.words < 3 then ctx:fail('missing subcommand; "kubeadm token delete" is missing token of form [a-z0-9]{6}') end
  local api = client(ctx)
  for i = 3, #ctx.flags.words do
    local id = ctx.flags.words[i]:match("^([a-z0-9]+)")
    if not id or #id ~= 6 then
      ctx:fail(('given token didn\'t match pattern "\\\\A([a-z0-9]{6})\\\\z" or "\\\\A([a-z0-9]{6})\\\\.([a-z0-9]{16})\\\\z"'))
    end
    local ok, why, code = api:call("DELETE", SECRETS .. "/bootstrap-token-" .. id)
    if not ok then ctx:fail(('failed to delete bootstrap token "%s": %s'):format(id, code == 404 and ('secrets "bootstrap-token-%s" not found'):format(id) or why)) end
    ctx:say(('bootstrap token "%s" deleted'):format(id))
  end
  return 0
end

--- `kubeadm token WORD`.
function tokens.run(ctx)
  local word = ctx.flags.words[2]
  if word == "create" then return create(ctx) end
  if word == "list" then return list(ctx) end
  if word == "delete" then return delete(ctx) end
  if word == "generate" then
    ctx:say(config.new_token())
    return 0
  end
  ctx:fail(word and ('unknown command "%s" for "kubeadm token"'):format(word) or "missing subcommand; \"token\" is not meant to be run on its own")
end

return tokens
