--- `kubeadm certs`: when certificates end, and renewing them.
local crypto = require "crypto"
local json = require "json"
local task = require "task"
local yaml = require "yaml"
local value = require "emulator.kubernetes.value"
local Client = require "emulator.kubernetes.client"
local config = require "emulator.kubeadm.config"
local cluster = require "emulator.kubeadm.cluster"
local files = require "emulator.kubeadm.files"
local layout = require "emulator.kubeadm.layout"
local pki = require "emulator.kubeadm.pki"
local tokens = require "emulator.kubeadm.tokens"

local certs = {}

-- name, path in the folder or kubeconfig, authority, what `renew` says
local list = {
  { "admin.conf", conf = "admin.conf", says = "certificate embedded in the kubeconfig file for the admin to use and for kubeadm itself" },
  { "apiserver", path = "apiserver", ca = "ca", says = "certificate for serving the Kubernetes API" },
  { "apiserver-etcd-client", path = "apiserver-etcd-client", ca = "etcd-ca", says = "certificate the apiserver uses to access etcd" },
  { "apiserver-kubelet-client", path = "apiserver-kubelet-client", ca = "ca", says = "certificate for the API server to connect to kubelet" },
  { "controller-manager.conf", conf = "controller-manager.conf", says = "certificate embedded in the kubeconfig file for the controller manager to use" },
  { "etcd-healthcheck-client", path = "etcd/healthcheck-client", ca = "etcd-ca", says = "certificate for liveness probes to healthcheck etcd" },
  { "etcd-peer", path = "etcd/peer", ca = "etcd-ca", says = "certificate for etcd nodes to communicate with each other" },
  { "etcd-server", path = "etcd/server", ca = "etcd-ca", says = "certificate for serving etcd" },
  { "front-proxy-client", path = "front-proxy-client", ca = "front-proxy-ca", says = "certificate for the front proxy client" },
  { "scheduler.conf", conf = "scheduler.conf", says = "certificate embedded in the kubeconfig file for the scheduler manager to use" },
  { "super-admin.conf", conf = "super-admin.conf", says = "certificate embedded in the kubeconfig file for the super-admin", since = 29 },
}

local function entries(ctx)
  return value.filter(list, function(e) return not e.since or ctx.minor >= e.since end)
end

local function certificate(ctx, e)
  if e.path then return files.read(ctx.machine, pki.FOLDER .. "/" .. e.path .. ".crt") end
  local text = files.read(ctx.machine, "/etc/kubernetes/" .. e.conf)
  local conf = text and yaml.decode(text)
  local data = value.get(conf, "users", 1, "user", "client-certificate-data")
  return data and crypto.unbase64(data)
end

local function seconds_of(t) return type(t) == "number" and t or value.seconds(t) end

local function residual(seconds)
  if seconds <= 0 then return "<invalid>" end
  local days = math.floor(seconds / 86400)
  if days >= 365 * 2 then return days // 365 .. "y" end
  if days > 2 then return days .. "d" end
  return math.floor(seconds / 3600) .. "h"
end

local function shown(t) return os.date("!%b %d, %Y %H:%M UTC", math.floor(t)) end

local function read_cluster(ctx, tag)
  cluster.reading(ctx, tag)
  ctx:say ""
end

local function check_expiration(ctx)
  local as_json = ctx.flags.output == "json"
  if not as_json then read_cluster(ctx, "check-expiration") end
  local rows = { { "CERTIFICATE", "EXPIRES", "RESIDUAL TIME", "CERTIFICATE AUTHORITY", "EXTERNALLY MANAGED" } }
  local out = { kind = "CertificateExpirationInfo", apiVersion = "output.kubeadm.k8s.io/v1alpha3", certificates = json.array {}, certificateAuthorities = json.array {} }
  local now = task.time()
  for _, e in ipairs(entries(ctx)) do
    local cert = certificate(ctx, e)
    if not cert then
      rows[#rows + 1] = { "!MISSING! " .. e[1], "", "", "", "" }
      table.insert(out.certificates, { name = e[1], missing = true })
    else
      local ends = seconds_of(crypto.x509_read(cert).not_after)
      local authority = e.ca or (ctx.minor >= 28 and "ca" or "")
      rows[#rows + 1] = { e[1], shown(ends), residual(ends - now), authority, "no      " }
      table.insert(out.certificates, { name = e[1], expirationDate = value.time(ends), residualTime = math.floor(ends - now), caName = authority,
        externallyManaged = false, missing = false })
    end
  end
  local second = { { "CERTIFICATE AUTHORITY", "EXPIRES", "RESIDUAL TIME", "EXTERNALLY MANAGED" } }
  for _, spec in ipairs { pki.authorities[1], pki.authorities[3], pki.authorities[2] } do
    local cert = files.read(ctx.machine, pki.FOLDER .. "/" .. spec[2] .. ".crt")
    if cert then
      local ends = seconds_of(crypto.x509_read(cert).not_after)
      second[#second + 1] = { spec[1], shown(ends), residual(ends - now), "no      " }
      table.insert(out.certificateAuthorities, { name = spec[1], expirationDate = value.time(ends), residualTime = math.floor(ends - now), externallyManaged = false })
    end
  end
  if as_json then
    ctx:say(json.encode(out, { indent = 4, sort = true }))
    return 0
  end
  tokens.columns(ctx, rows)
  ctx:say ""
  tokens.columns(ctx, second)
  return 0
end

local function renew_one(ctx, e, c)
  local cas = pki.loaded(ctx.machine)
  if e.conf then
    if not cas.ca then ctx:fail("failed to renew certificate " .. e[1] .. ": couldn't load CA certificate") end
    layout.write_kubeconfig(ctx, c, e.conf, cas.ca)
  else
    local spec = value.find(pki.leaves, "path", e.path)
    if not cas[e.ca] then ctx:fail("failed to renew certificate " .. e[1] .. ": couldn't load CA certificate") end
    local pair = pki.issue(ctx, c, spec, cas[e.ca])
    files.write(ctx.machine, pki.FOLDER .. "/" .. e.path .. ".crt", pair.cert)
    files.write(ctx.machine, pki.FOLDER .. "/" .. e.path .. ".key", pair.key, true)
  end
  ctx:say(e.says .. " renewed")
end

local function renew(ctx)
  local what = ctx.flags.words[3]
  if not what then ctx:fail('missing subcommand; "renew" is not meant to be run on its own') end
  read_cluster(ctx, "renew")
  local api = Client.from_kubeconfig(ctx.world, ctx.machine, "/etc/kubernetes/admin.conf", "kubeadm")
  local c, why
  if api then c, why = cluster.fetch(api) end
  if not c then ctx:fail("could not read the cluster's configuration: " .. tostring(why)) end
  c.init = { localAPIEndpoint = { advertiseAddress = ctx.machine.private_ip, bindPort = 6443 }, nodeRegistration = config.registration(ctx, nil) }
  local some = false
  for _, e in ipairs(entries(ctx)) do
    if what == "all" and certificate(ctx, e) or what == e[1] then
      renew_one(ctx, e, c)
      some = true
    end
  end
  if not some then ctx:fail(('unknown command "%s" for "kubeadm certs renew"'):format(what)) end
  if what == "all" then
    ctx:say ""
    ctx:say("Done renewing certificates. You must restart the kube-apiserver, kube-controller-manager, kube-scheduler and etcd, so that they can use the new certificates.")
  end
  return 0
end

--- What an upgrade does with the certificates of a control plane: new ones, without a word. c: the cluster's configuration.
function certs.renewed(ctx, c)
  local quiet = setmetatable({ say = function() end }, { __index = ctx })
  for _, e in ipairs(entries(ctx)) do
    if certificate(ctx, e) then renew_one(quiet, e, c) end
  end
end

--- `kubeadm certs WORD`.
function certs.run(ctx)
  local word = ctx.flags.words[2]
  if word == "check-expiration" then return check_expiration(ctx) end
  if word == "renew" then return renew(ctx) end
  if word == "certificate-key" then
    ctx:say(crypto.hex(crypto.random(32)))
    return 0
  end
  ctx:fail(word and ('unknown command "%s" for "kubeadm certs"'):format(word) or 'missing subcommand; "certs" is not meant to be run on its own')
end

return certs
