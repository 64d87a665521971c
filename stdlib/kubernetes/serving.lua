--- Serving certificates of kubelets. A kubelet asks the cluster for one, and nobody in a cluster approves that: without it
-- `kubectl logs` and `exec` fail on its node. What it asks for must be its own: its name, and addresses of its Node
-- (https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/#certificate-rotation).
local crypto, json = require "crypto", require "json"
local fail, task = require "fail", require "task"

local M = {}

local VERSION, KIND, SIGNER = "certificates.k8s.io/v1", "CertificateSigningRequest", "kubernetes.io/kubelet-serving"
local USAGES = { ["digital signature"] = true, ["key encipherment"] = true, ["server auth"] = true }

local function is_of(request, name)
  return request.spec.signerName == SIGNER and request.spec.username == "system:node:" .. name
end

local function is_open(request)
  return #(request.status and request.status.conditions or {}) == 0
end

--- The requests of a node that nobody has answered.
function M.requests(api, name)
  local open = {}
  for _, request in ipairs(api:list(VERSION, KIND)) do
    if is_of(request, name) and is_open(request) then open[#open + 1] = request end
  end
  return open
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
    if why then -- it may know of an address that came since the Node was read
      node = api:get("v1", "Node", nil, node.metadata.name) or node
      why = objection(request, node)
    end
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

local function has_address(node, wanted)
  for _, address in ipairs(node.status and node.status.addresses or {}) do
    if address.address == wanted then return true end
  end
  return false
end

-- Whether a request names all that a node is reached by: a kubelet whose addresses are others, because a cloud provider said so,
-- asks once more.
local function covers(request, node)
  local asked, named = crypto.x509_read(crypto.unbase64(request.spec.request) or ""), {}
  for _, list in ipairs { asked and asked.dns or {}, asked and asked.ip or {} } do
    for _, name in ipairs(list) do named[name] = true end
  end
  for _, address in ipairs(node.status and node.status.addresses or {}) do
    if not named[address.address] then return false end
  end
  return true
end

--- Waits until a node that was just made has asked for all its addresses, and approves; false when it does not ask within the time.
-- What an earlier node of its name has asked for does not count.
function M.settle(api, node, seconds)
  local name, since, ends = node.metadata.name, node.metadata.creationTimestamp, task.now() + seconds
  local function asks(request)
    return is_of(request, name) and request.metadata.creationTimestamp >= since and covers(request, node)
  end
  while true do
    M.approve(api, node) -- it does not ask again while it waits for the first
    local asked = false
    for _, request in ipairs(api:list(VERSION, KIND)) do asked = asked or asks(request) end
    asked = asked or api:watch(VERSION, KIND, {}, math.max(0, ends - task.now()), function(event, request)
      return event ~= "DELETED" and asks(request)
    end)
    local now = api:get("v1", "Node", nil, name)
    if not now or now.metadata.uid ~= node.metadata.uid then return false end
    local changed = false
    for _, address in ipairs(now.status.addresses or {}) do changed = changed or not has_address(node, address.address) end
    node = now
    if not changed then
      M.approve(api, node)
      return asked == true
    end
  end
end

return M
