--- Serving certificates of kubelets. A kubelet asks the cluster for one, and nobody in a cluster approves that: without it
-- `kubectl logs` and `exec` fail on its node. What it asks for must be its own: its name, and addresses of its Node
-- (https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/#certificate-rotation).
local crypto, json = require "crypto", require "json"
local fail = require "fail"

local M = {}

local VERSION, KIND, SIGNER = "certificates.k8s.io/v1", "CertificateSigningRequest", "kubernetes.io/kubelet-serving"
local USAGES = { ["digital signature"] = true, ["key encipherment"] = true, ["server auth"] = true }

local function is_of(request, name)
  return request.spec.signerName == SIGNER and request.spec.username == "system:node:" .. name
end

local function is_open(request)
  return #(request.status and request.status.conditions or {}) == 0
end

--- The requests of a node that nobody has answered, and whether it has any at all since a time (RFC 3339; nil: ever).
function M.requests(api, name, since)
  local open, any = {}, false
  for _, request in ipairs(api:list(VERSION, KIND)) do
    if is_of(request, name) then
      any = any or not since or request.metadata.creationTimestamp >= since
      if is_open(request) then open[#open + 1] = request end
    end
  end
  return open, any
end

-- Why a request is not for what the node may serve; nil: it is.
local function objection(request, node)
  local name = node.metadata.name
  local asked = crypto.x509_read(crypto.unbase64(request.spec.request) or "")
  if not asked then return "it cannot be read" end
  if asked.cn ~= "system:node:" .. name or #asked.o ~= 1 or asked.o[1] ~= "system:nodes" then return "its subject is another" end
  for _, usage in ipairs(request.spec.usages or {}) do
    if not USAGES[usage] then return ("it is for %s"):format(usage) end
  end
  local own = { [name] = true }
  for _, address in ipairs(node.status and node.status.addresses or {}) do own[address.address] = true end
  for _, list in ipairs { asked.dns, asked.ip } do
    for _, wanted in ipairs(list) do
      if not own[wanted] then return ("it names %s, which is not an address of the Node"):format(wanted) end
    end
  end
  return #asked.dns + #asked.ip == 0 and "it names nothing" or nil
end

--- Approves the open requests of a node. Fails when one asks for what is not the node's.
function M.approve(api, node)
  local open = M.requests(api, node.metadata.name)
  for _, request in ipairs(open) do
    local why = objection(request, node)
    if why then
      error(fail { ("the kubelet of node %s asks for a serving certificate that it must not have (%s): %s"):format(node.metadata.name,
        request.metadata.name, why), code = "serving", hint = "look at it: kubectl describe csr " .. request.metadata.name })
    end
    request.status = { conditions = json.array { { type = "Approved", status = "True", reason = "VmrunNode",
      message = "the names and addresses are the Node's" } } }
    api:request("PUT", api:path_of(request) .. "/approval", request)
  end
  return #open
end

--- Waits until a node that was just made has asked, and approves; false when it does not ask within the time. What an earlier node
-- of its name has asked for does not count.
function M.settle(api, node, seconds)
  local name, since = node.metadata.name, node.metadata.creationTimestamp
  local _, any = M.requests(api, name, since)
  if not any then
    any = api:watch(VERSION, KIND, {}, seconds, function(event, request)
      return event ~= "DELETED" and is_of(request, name) and request.metadata.creationTimestamp >= since
    end)
  end
  if any then M.approve(api, node) end
  return any == true
end

return M
