--- A stand-in for kubelets: Nodes that are Ready, and pods of theirs that run as soon as they are bound and are gone as soon as
-- they shall go. It works by the API alone, so it is the same for a real server and an emulated one.
local client = require "kubernetes.client"
local json, task = require "json", require "task"

local Kubelet = {}
Kubelet.__index = Kubelet

local STRATEGIC = { content_type = "application/strategic-merge-patch+json", ok = { [404] = true, [409] = true } }

local function now() return os.date "!%Y-%m-%dT%H:%M:%SZ" end

local function attend(api, pod)
  local path, status = api:path_of(pod), pod.status or {}
  if pod.metadata.deletionTimestamp then
    api:request("DELETE", path .. "?gracePeriodSeconds=0", nil, STRATEGIC)
  elseif pod.spec.nodeName and status.phase == "Pending" then
    api:request("PATCH", path .. "/status", { status = { phase = "Running", podIP = "10.1.0.1", startTime = now(),
      conditions = json.array {
      { type = "Ready", status = "True", lastTransitionTime = now() }, { type = "ContainersReady", status = "True",
        lastTransitionTime = now() } } } },
      STRATEGIC)
  end
end

-- Renews the node's lease, for a while with a server that is away.
local function beat(api, node)
  while true do
    api:apply({ apiVersion = "coordination.k8s.io/v1", kind = "Lease", metadata = { name = node, namespace = "kube-node-lease" },
      spec = { holderIdentity = node, leaseDurationSeconds = 40, renewTime = os.date "!%Y-%m-%dT%H:%M:%S.000000Z" } },
        { force = true })
    task.sleep(1)
  end
end

--- Starts one for a node. parts: of a client with all rights.
function Kubelet.start(parts, node)
  local api = client.new(parts)
  local room = { cpu = "8", memory = "32Gi", pods = "110" }
  api:request("POST", "/api/v1/nodes", { apiVersion = "v1", kind = "Node", metadata = { name = node,
    labels = { ["kubernetes.io/os"] = "linux" } } },
    { ok = { [409] = true } })
  api:request("PATCH", "/api/v1/nodes/" .. node .. "/status", { status = { capacity = room, allocatable = room,
    conditions = json.array {
    { type = "Ready", status = "True", reason = "Lab", lastHeartbeatTime = now(), lastTransitionTime = now() } } } }, STRATEGIC)
  local self = setmetatable({ tasks = {} }, Kubelet)
  self.tasks[1] = task.spawn(beat, api, node)
  self.tasks[2] = task.spawn(function()
    while true do
      api:watch("v1", "Pod", { fields = "spec.nodeName=" .. node }, 3600, function(event, pod)
        if event ~= "DELETED" then attend(api, pod) end
      end)
    end
  end)
  return self
end

--- Ends it; its Node stays.
function Kubelet:close()
  for _, one in ipairs(self.tasks) do
    one:cancel "the lab ends"
    one:join()
  end
end
Kubelet.__close = Kubelet.close

return Kubelet
