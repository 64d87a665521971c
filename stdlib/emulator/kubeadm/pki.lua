--- The certificates of a control plane, as kubeadm lays them out in /etc/kubernetes/pki.
--
-- Authorities and the key of service accounts are RSA, so that tools which expect RSA there work; leaf keys are EC, because
-- fifteen RSA keys a machine would cost more CPU than all the rest of the emulator.
local crypto = require "crypto"
local task = require "task"
local value = require "emulator.kubernetes.value"
local ip = require "emulator.kubernetes.ip"
local files = require "emulator.kubeadm.files"

local pki = {}

pki.FOLDER = "/etc/kubernetes/pki"

--- Authorities: name, path without ending, common name.
pki.authorities = { { "ca", "ca", "kubernetes" }, { "front-proxy-ca", "front-proxy-ca", "front-proxy-ca" }, { "etcd-ca", "etcd/ca", "etcd-ca" } }

local function local_sans(c, machine)
  local address = c.init.localAPIEndpoint.advertiseAddress
  return { "localhost", c.init.nodeRegistration.name }, { address, "127.0.0.1", "::1" }, machine
end

local function api_sans(c)
  local dns = { "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." .. c.cluster.networking.dnsDomain,
    c.init.nodeRegistration.name }
  local ips = { ip.nth(c.cluster.networking.serviceSubnet, 1), c.init.localAPIEndpoint.advertiseAddress }
  local function add(san)
    local list = (ip.number(san) or san:find(":", 1, true)) and ips or dns
    if not value.contains(list, san) then list[#list + 1] = san end
  end
  local endpoint = c.cluster.controlPlaneEndpoint
  if endpoint and endpoint ~= "" then add(endpoint:match("^(.-):%d+$") or endpoint) end
  for _, san in ipairs(c.cluster.apiServer.certSANs or {}) do add(san) end
  table.sort(dns)
  return dns, ips
end

--- Leaf certificates in kubeadm's order: name, path, authority, and what is in it.
pki.leaves = {
  { name = "apiserver", path = "apiserver", ca = "ca", cn = "kube-apiserver", usage = { "server" }, sans = api_sans, for_ = "serving the Kubernetes API" },
  { name = "apiserver-kubelet-client", path = "apiserver-kubelet-client", ca = "ca", cn = "kube-apiserver-kubelet-client", o = { "kubeadm:cluster-admins" },
    usage = { "client" }, for_ = "for the API server to connect to kubelet" },
  { name = "front-proxy-client", path = "front-proxy-client", ca = "front-proxy-ca", cn = "front-proxy-client", usage = { "client" }, for_ = "for the front proxy client" },
  { name = "etcd/server", path = "etcd/server", ca = "etcd-ca", usage = { "server", "client" }, sans = local_sans, for_ = "for serving etcd" },
  { name = "etcd/peer", path = "etcd/peer", ca = "etcd-ca", usage = { "server", "client" }, sans = local_sans, for_ = "for etcd nodes to communicate with each other" },
  { name = "etcd/healthcheck-client", path = "etcd/healthcheck-client", ca = "etcd-ca", cn = "kube-etcd-healthcheck-client", usage = { "client" },
    for_ = "for liveness probes to healthcheck etcd" },
  { name = "apiserver-etcd-client", path = "apiserver-etcd-client", ca = "etcd-ca", cn = "kube-apiserver-etcd-client", usage = { "client" },
    for_ = "the apiserver uses to access etcd" },
}

local function must(ctx, v, why)
  if v == nil then ctx:fail("error execution phase certs: " .. tostring(why)) end
  return v
end

local function save(ctx, path, pair)
  local machine = ctx.machine
  must(ctx, files.write(machine, pki.FOLDER .. "/" .. path .. ".crt", pair.cert))
  must(ctx, files.write(machine, pki.FOLDER .. "/" .. path .. ".key", pair.key, true))
end

--- The pair at a path, or nil.
function pki.load(machine, path)
  local cert, key = files.read(machine, pki.FOLDER .. "/" .. path .. ".crt"), files.read(machine, pki.FOLDER .. "/" .. path .. ".key")
  return cert and key and { cert = cert, key = key } or nil
end

local function days(text, default)
  local seconds = value.duration(text)
  return seconds and math.max(1, math.floor(seconds / 86400)) or default
end

--- How many days leaf certificates live.
function pki.leaf_days(c) return days(c.cluster.certificateValidityPeriod, 365) end

local function authority(ctx, c, spec, made)
  local pair = pki.load(ctx.machine, spec[2])
  if pair then
    ctx:say(("[certs] Using existing %s certificate authority"):format(spec[1]))
  else
    local label = spec[1] == "etcd-ca" and "etcd/ca" or spec[1]
    ctx:say(('[certs] Generating "%s" certificate and key'):format(label))
    pair = must(ctx, crypto.x509_ca { cn = spec[3], days = days(c.cluster.caCertificateValidityPeriod, 3650), key_type = "rsa" })
    save(ctx, spec[2], pair)
    task.sleep(0)
  end
  made[spec[1]] = pair
end

--- Makes one leaf certificate.
function pki.issue(ctx, c, spec, ca)
  local dns, ips = {}, {}
  if spec.sans then dns, ips = spec.sans(c, ctx.machine) end
  local o = spec.o
  if o and ctx.minor < 29 then o = { "system:masters" } end
  return must(ctx, crypto.x509_issue { ca = ca, cn = spec.cn or c.init.nodeRegistration.name, o = o, dns = dns, ip = ips, days = pki.leaf_days(c),
    usage = spec.usage }), dns, ips
end

local function leaf(ctx, c, spec, made, quiet)
  if pki.load(ctx.machine, spec.path) then
    if not quiet then ctx:say(("[certs] Using existing %s certificate and key on disk"):format(spec.name)) end
    return
  end
  ctx:say(('[certs] Generating "%s" certificate and key'):format(spec.name))
  local pair, dns, ips = pki.issue(ctx, c, spec, made[spec.ca])
  save(ctx, spec.path, pair)
  if spec.sans then
    ctx:say(("[certs] %s serving cert is signed for DNS names [%s] and IPs [%s]"):format(spec.name, table.concat(dns, " "), table.concat(ips, " ")))
  end
end

-- The element of DER at a place: content start, end of the element.
local function element(der, at)
  local n = der:byte(at + 1)
  local start = at + 2
  if n >= 128 then
    local size = 0
    for i = 1, n - 128 do size = size * 256 + der:byte(start + i - 1) end
    start, n = start + n - 128, size
  end
  return start, start + n
end

-- The public key inside a certificate as a PEM of its own: the seventh field of its body.
local function public_key_of(cert)
  local der = crypto.unbase64((cert:gsub("%-%-%-%-%-[^-]+%-%-%-%-%-", ""):gsub("%s+", "")))
  local at = element(der, element(der, 1))
  local from, to
  for _ = 1, 7 do
    from = at
    local _, ends = element(der, at)
    at, to = ends, ends
  end
  local text = crypto.base64(der:sub(from, to - 1)):gsub(("."):rep(64), "%0\n")
  return "-----BEGIN PUBLIC KEY-----\n" .. text:gsub("\n$", "") .. "\n-----END PUBLIC KEY-----\n"
end

local function service_account_key(ctx, ca)
  if files.exists(ctx.machine, pki.FOLDER .. "/sa.key") then
    ctx:say('[certs] Using the existing "sa" key')
    return
  end
  ctx:say('[certs] Generating "sa" key and public key')
  local key = must(ctx, crypto.rsa_key(2048))
  local carrier = must(ctx, crypto.x509_issue { ca = ca, cn = "sa", key = key, days = 1, usage = { "client" } })
  must(ctx, files.write(ctx.machine, pki.FOLDER .. "/sa.key", key, true))
  must(ctx, files.write(ctx.machine, pki.FOLDER .. "/sa.pub", public_key_of(carrier.cert), true))
end

local function by_name(name)
  return value.find(pki.leaves, "name", name)
end

--- All certificates of a first control plane.
function pki.init(ctx, c)
  ctx:say(('[certs] Using certificateDir folder "%s"'):format(pki.FOLDER))
  local made = {}
  authority(ctx, c, pki.authorities[1], made)
  leaf(ctx, c, by_name "apiserver", made)
  leaf(ctx, c, by_name "apiserver-kubelet-client", made)
  authority(ctx, c, pki.authorities[2], made)
  leaf(ctx, c, by_name "front-proxy-client", made)
  authority(ctx, c, pki.authorities[3], made)
  for _, name in ipairs { "etcd/server", "etcd/peer", "etcd/healthcheck-client", "apiserver-etcd-client" } do leaf(ctx, c, by_name(name), made) end
  service_account_key(ctx, made.ca)
  return made
end

--- The authorities that are on the disk.
function pki.loaded(machine)
  local made = {}
  for _, spec in ipairs(pki.authorities) do made[spec[1]] = pki.load(machine, spec[2]) end
  return made
end

--- The certificates of another control plane, whose authorities are there already.
function pki.join(ctx, c)
  ctx:say(('[certs] Using certificateDir folder "%s"'):format(pki.FOLDER))
  local made = pki.loaded(ctx.machine)
  for _, name in ipairs { "apiserver", "apiserver-kubelet-client", "etcd/server", "etcd/healthcheck-client", "apiserver-etcd-client", "etcd/peer",
    "front-proxy-client" } do leaf(ctx, c, by_name(name), made) end
  ctx:say(('[certs] Valid certificates and keys now exist in "%s"'):format(pki.FOLDER))
  ctx:say('[certs] Using the existing "sa" key')
end

--- What a second control plane needs of the first: names in the kubeadm-certs Secret and their files.
pki.shared = { ["ca.crt"] = "ca.crt", ["ca.key"] = "ca.key", ["front-proxy-ca.crt"] = "front-proxy-ca.crt", ["front-proxy-ca.key"] = "front-proxy-ca.key",
  ["etcd-ca.crt"] = "etcd/ca.crt", ["etcd-ca.key"] = "etcd/ca.key", ["sa.key"] = "sa.key", ["sa.pub"] = "sa.pub" }

--- The pin of a certificate: "sha256:...".
function pki.pin(cert) return "sha256:" .. crypto.x509_read(cert).spki_sha256 end

-- Sealing of uploaded certificates: a keystream and a tag from HMAC-SHA256 (no AES is at hand; the same promise: without the
-- key there is nothing, and a wrong key is noticed).

local function keystream(key, nonce, n)
  local out, size = {}, 0
  local i = 0
  while size < n do
    out[#out + 1] = crypto.unhex(crypto.hmac_sha256(key, nonce .. i))
    size, i = size + 32, i + 1
  end
  return table.concat(out):sub(1, n)
end

local function xor(a, b)
  local out = {}
  for i = 1, #a do out[i] = string.char(a:byte(i) ~ b:byte(i)) end
  return table.concat(out)
end

--- Seals a text with a key in hex.
function pki.seal(hex, text)
  local key, nonce = crypto.unhex(hex), crypto.random(12)
  local body = xor(text, keystream(key, nonce, #text))
  return nonce .. body .. crypto.unhex(crypto.hmac_sha256(key, "tag" .. nonce .. body))
end

--- Opens what `seal` made; nil when the key is wrong.
function pki.open(hex, sealed)
  local key = crypto.unhex(hex)
  if not key or #sealed < 44 then return nil end
  local nonce, body, tag = sealed:sub(1, 12), sealed:sub(13, -33), sealed:sub(-32)
  if crypto.unhex(crypto.hmac_sha256(key, "tag" .. nonce .. body)) ~= tag then return nil end
  return xor(body, keystream(key, nonce, #body))
end

return pki
