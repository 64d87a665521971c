--- Certificates for kubelets, and the tokens by which machines join: approving, signing, expiring, and the signatures in
-- cluster-info.
local crypto = require "crypto"
local json = require "json"
local task = require "task"
local value = require "emulator.kubernetes.value"
local rbac = require "emulator.kubernetes.rbac"

local CSRS, KCM = "certificates.k8s.io/certificatesigningrequests", "kube-controller-manager"
local KUBELET_CLIENT, KUBELET_SERVING, CLIENT = "kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving",
  "kubernetes.io/kube-apiserver-client"

local function condition(csr, type_) return value.find(value.get(csr, "status", "conditions"), "type", type_) end

local signer = { name = "certificates", component = KCM, watches = {} }

function signer.all(cluster, add)
  for _, o in ipairs(cluster.store:list(CSRS)) do add(nil, o.metadata.name) end
end

signer.watches[CSRS] = function(event, add)
  if event.type ~= "DELETED" then add(nil, event.object.metadata.name) end
end

local function days(csr, cluster)
  local seconds = value.get(csr, "spec", "expirationSeconds")
  return seconds and math.max(seconds / 86400, 600 / 86400) or cluster.certificate_days or 365
end

local function issue(cluster, csr)
  local usages = {}
  for _, u in ipairs(csr.spec.usages or {}) do
    if u == "client auth" then usages[#usages + 1] = "client" elseif u == "server auth" then usages[#usages + 1] = "server" end
  end
  return crypto.x509_sign_csr { ca = cluster.ca, csr = crypto.unbase64(csr.spec.request), days = days(csr, cluster), usage = usages }
end

local function set(cluster, csr, c)
  return cluster:status(CSRS, nil, csr.metadata.name, function(o)
    o.status = o.status or {}
    o.status.conditions = value.copy(o.status.conditions or json.array {})
    c.lastTransitionTime, c.lastUpdateTime = value.time(), value.time()
    table.insert(o.status.conditions, c)
  end)
end

local function failed(cluster, csr, message)
  return set(cluster, csr, { type = "Failed", status = "True", reason = "SignerValidationFailure", message = message })
end

-- Only requests of the form that kubelets make, from who may make them.
local function approve(cluster, csr, subject)
  if csr.spec.signerName ~= KUBELET_CLIENT then return csr end
  local node = subject.cn and subject.cn:match("^system:node:(.+)$")
  if not node or not value.contains(subject.o, "system:nodes") then return csr end
  local user = { name = csr.spec.username, groups = csr.spec.groups or {} }
  local function may(sub)
    return rbac.allowed(cluster.store, user, { verb = "create", group = "certificates.k8s.io", resource = "certificatesigningrequests",
      subresource = sub })
  end
  local self_renewal = user.name == subject.cn and may "selfnodeclient"
  if not self_renewal and not may "nodeclient" then return csr end
  return set(cluster, csr, { type = "Approved", status = "True", reason = "AutoApproved",
    message = self_renewal and "Auto approving self kubelet client certificate after SubjectAccessReview."
      or "Auto approving kubelet client certificate after SubjectAccessReview." })
end

function signer.reconcile(cluster, _, name)
  local csr = cluster.store:get(CSRS, nil, name)
  if not csr or not cluster.ca or not cluster.ca.key or value.get(csr, "status", "certificate") or condition(csr, "Denied")
    or condition(csr, "Failed") then return end
  local cert, why = issue(cluster, csr)
  if not cert then return failed(cluster, csr, why) end
  local subject = crypto.x509_read(cert)
  if not condition(csr, "Approved") then csr = approve(cluster, csr, subject) end
  if not csr or not condition(csr, "Approved") then return end
  local kind = csr.spec.signerName
  if kind ~= KUBELET_CLIENT and kind ~= KUBELET_SERVING and kind ~= CLIENT then return end
  if kind ~= CLIENT and not (value.contains(subject.o, "system:nodes") and (subject.cn or ""):match("^system:node:.")) then
    return failed(cluster, csr, "subject organization is not system:nodes")
  end
  if kind == CLIENT and value.contains(subject.o, "system:masters") then
    return failed(cluster, csr, "use of " .. kind .. " signer with system:masters group is not allowed")
  end
  cluster:status(CSRS, nil, name, function(o) o.status.certificate = crypto.base64(cert) end)
end

-- Bootstrap tokens

local tokens = { name = "token-cleaner", component = KCM, watches = {} }

local function is_token(o) return o.type == "bootstrap.kubernetes.io/token" and o.metadata.namespace == "kube-system" end

function tokens.all(cluster, add)
  for _, o in ipairs(cluster.store:list("/secrets", "kube-system")) do
    if is_token(o) then add(o.metadata.namespace, o.metadata.name) end
  end
end

tokens.watches["/secrets"] = function(event, add)
  if event.type ~= "DELETED" and is_token(event.object) then add("kube-system", event.object.metadata.name) end
end

function tokens.reconcile(cluster, namespace, name, manager)
  local o = cluster.store:get("/secrets", namespace, name)
  local text = o and value.get(o, "data", "expiration")
  local expires = text and value.seconds(crypto.unbase64(text))
  if not expires then return end
  local left = expires - task.time()
  if left > 0 then return manager:after(left, tokens, namespace, name, left + 0.05) end
  cluster.objects:delete(cluster:res "/secrets", namespace, name)
end

-- cluster-info

local bootstrap_signer = { name = "bootstrap-signer", component = KCM, watches = {} }

function bootstrap_signer.all(_, add) add("kube-public", "cluster-info") end
bootstrap_signer.watches["/configmaps"] = function(event, add)
  if event.object.metadata.namespace == "kube-public" and event.object.metadata.name == "cluster-info" then add("kube-public", "cluster-info") end
end
bootstrap_signer.watches["/secrets"] = function(event, add)
  if is_token(event.object) then add("kube-public", "cluster-info") end
end

--- The detached signature of a text by a token, as cluster-info carries it.
local function signature(text, id, secret)
  local head = crypto.base64url(json.encode({ alg = "HS256", kid = id }, { sort = true }))
  local mac = crypto.hmac_sha256(secret, head .. "." .. crypto.base64url(text))
  return head .. ".." .. crypto.base64url(crypto.unhex(mac))
end

function bootstrap_signer.reconcile(cluster)
  local info = cluster.store:get("/configmaps", "kube-public", "cluster-info")
  local text = info and value.get(info, "data", "kubeconfig")
  if not text then return end
  local wanted = {}
  for _, o in ipairs(cluster.store:list("/secrets", "kube-system")) do
    if is_token(o) and o.data and crypto.unbase64(o.data["usage-bootstrap-signing"] or "") == "true" then
      local id = crypto.unbase64(o.data["token-id"])
      wanted["jws-kubeconfig-" .. id] = signature(text, id, crypto.unbase64(o.data["token-secret"]))
    end
  end
  cluster:modify("/configmaps", "kube-public", "cluster-info", function(o)
    for k in pairs(value.copy(o.data)) do
      if k:match("^jws%-kubeconfig%-") and not wanted[k] then o.data[k] = nil end
    end
    for k, v in pairs(wanted) do o.data[k] = v end
  end)
end

return { signer, tokens, bootstrap_signer, signature = signature }
