--- Serving certificates of kubelets. A kubelet asks the cluster for one, and nobody in a cluster approves that: without it
-- `kubectl logs` and `exec` fail on its node. What it asks for must be its own: its name, and addresses of its Node
-- (https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/#certificate-rotation).
local crypto, json = require "crypto", require "json"
local fail, task = require "fail", require "task"

local M = {}

local VERSION, KIND, SIGNER = "certificates.k8s.io/v1", "CertificateSigningRequest", "kubernetes.io/kubelet-serving"
local ASKS = 20 -- seconds in which a new kubelet asks for its certificate, and again when its addresses are others
local SERVES = 60 -- seconds in which a kubelet that has asked serves
local SAYS = 5 -- seconds in which a cloud provider that has set a Node up has said its addresses, too
local USAGES = { ["digital signature"] = true, ["key encipherment"] = true, ["server auth"] = true }

local function is_of(request, name)
  return request.spec.signerName == SIGNER and request.spec.username == "system:node:" .. name
end

local function is_open(request)
  return #(request.status and request.status.conditions or {}) == 0
end

--- The requests of a node that nobody has answered, and the version of the list.
function M.requests(api, name)
  local open = {}
  local list, version = api:list(VERSION, KIND)
  for _, request in ipairs(list) do
    if is_of(request, name) and is_open(request) then open[#open + 1] = request end
  end
  return open, version
end

local function addresses_of(node) return node.status and node.status.addresses or {} end

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
  for _, address in ipairs(addresses_of(node)) do own[address.address] = true end
  for _, list in ipairs { asked.dns, asked.ip } do
    for _, wanted in ipairs(list) do
      if not own[wanted] then return ("it names %s, which is not an address of the Node"):format(wanted) end
    end
  end
  return #asked.dns + #asked.ip == 0 and "it names nothing" or nil
end

--- Approves the open requests of a node. Fails when one asks for what is not the node's. Returns the version of the list.
function M.approve(api, node)
  local open, version = M.requests(api, node.metadata.name)
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
  return version
end

local function has_address(node, key, wanted)
  for _, address in ipairs(addresses_of(node)) do
    if address[key] == wanted then return true end
  end
  return false
end

-- Whether a Node has an address that it had not.
local function has_more(node, before)
  for _, address in ipairs(addresses_of(node)) do
    if not has_address(before, "address", address.address) then return true end
  end
  return false
end

-- A cloud provider lifts its taint first, and says the addresses of the machine then. True once the Node has another address, or goes.
local function is_told_more(api, node)
  if not (node.spec and node.spec.providerID) or has_address(node, "type", "ExternalIP") then return false end
  local ok, done = pcall(api.wait, api, { apiVersion = "v1", kind = "Node", metadata = { name = node.metadata.name } }, function(now)
    return not now or now.metadata.uid ~= node.metadata.uid or has_more(now, node)
  end, SAYS)
  if not ok and not (fail.is(done) and done.code == "timeout") then error(done, 0) end
  return ok
end

-- Whether a request names all that a node is reached by: a kubelet whose addresses are others, because a cloud provider said so,
-- asks once more.
local function covers(request, node)
  local asked, named = crypto.x509_read(crypto.unbase64(request.spec.request) or ""), {}
  for _, list in ipairs { asked and asked.dns or {}, asked and asked.ip or {} } do
    for _, name in ipairs(list) do named[name] = true end
  end
  for _, address in ipairs(addresses_of(node)) do
    if not named[address.address] then return false end
  end
  return true
end

local ANY = setmetatable({}, { __index = function() return true end })

-- Whether the API server reaches a kubelet, as it does for logs and exec. A kubelet without a certificate ends each handshake; for one
-- behind a closed way the API server waits longer than we do.
local function is_reached(api, name)
  local path = ("/api/v1/nodes/%s/proxy/healthz"):format(name)
  local ok, failure, answer = pcall(api.request, api, "GET", path, nil, { ok = ANY, timeout = 10, patience = 0 })
  if not ok and not (fail.is(failure) and failure.code == "unreachable") then error(failure, 0) end
  return ok and answer.status == 200
end

--- Approves what the kubelet of a node asks for until the API server reaches it. One approval is not enough where who signs is slow
-- (a controller manager takes over a lease first): a kubelet that begins anew, or whose API server was away, asks once more and
-- forgets what it asked for before. Where it is not reached in time, the result is a warning of that.
function M.serve(api, node, seconds)
  seconds = seconds or SERVES
  local name, ends, pause = node.metadata.name, task.now() + seconds, 0.1
  while true do
    local version = M.approve(api, node)
    if is_reached(api, name) then return nil end
    local left = ends - task.now()
    if left <= 0 then
      return ("warning: after %g s the API server does not reach the kubelet of %s: kubectl logs and exec fail there"):format(seconds, name)
    end
    local news = api:watch(VERSION, KIND, { since = version }, math.min(pause, left), function(event, request)
      return event ~= "DELETED" and is_of(request, name)
    end)
    pause = news and 0.1 or math.min(2, pause * 2)
  end
end

--- Waits until a node that was just made has asked for all its addresses, and approves; false when it does not ask within the time.
-- What an earlier node of its name has asked for does not count.
function M.settle(api, node, seconds)
  seconds = seconds or ASKS
  local name, since, ends, told = node.metadata.name, node.metadata.creationTimestamp, task.now() + seconds, false
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
    local changed = has_more(now, node)
    node = now
    if not changed and not told then
      told, changed = true, is_told_more(api, node)
      ends = changed and task.now() + seconds or ends
    end
    if not changed then
      M.approve(api, node)
      return asked == true
    end
  end
end

return M
