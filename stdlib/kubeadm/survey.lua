--- What a cluster's API says of its machines, in three requests however many there are: versions of kubelets and static pods,
-- whether Nodes are ready and etcd's members run, what version the cluster's configuration has.
local at_once = require "at_once"
local client, connect = require "kubernetes.client", require "kubernetes.connect"
local release, skew = require "kubernetes.release", require "kubeadm.skew"
local fail, task, yaml = require "fail", require "task", require "yaml"

local M = {}

--- The annotation of a Node that is being upgraded: "VERSION STEP[ cordoned]", with what it takes to go on where a run ended.
-- STEP is apply or node, as in `kubeadm upgrade STEP`; `cordoned`: it was before, and stays so.
M.MARK = "vmrun/upgrade"

--- Those of Nodes that are away for another size of their machine, or for maintenance (away.lua).
M.RESIZE, M.MAINTENANCE = "vmrun/resize", "vmrun/maintenance"

--- Seconds that a static pod may take to start: its startup probe has 240, and one restart.
M.STARTS = 300

local SHARED = 2 -- seconds for which the reads of one plan share an answer
local PARTS = { ["kube-apiserver"] = true, ["kube-controller-manager"] = true, ["kube-scheduler"] = true }

local function bare(version) return version and (version:gsub("^v", "")) end

local function version_of(pod)
  local image = ((pod.spec.containers or {})[1] or {}).image or ""
  return image:match(":v(%d+%.%d+%.%d+)")
end

--- Whether kubeadm has called a Node a control plane; before 1.20 it said master.
function M.is_control_plane(object)
  local labels = object.metadata.labels or {}
  return (labels["node-role.kubernetes.io/control-plane"] or labels["node-role.kubernetes.io/master"]) ~= nil
end

local function under_way(object)
  local annotations = object.metadata.annotations or {}
  return (annotations[M.MARK] or annotations[M.RESIZE] or annotations[M.MAINTENANCE]) ~= nil
end

local function node_of(object)
  local info = object.status and object.status.nodeInfo
  return { object = object, kubelet = bare(info and info.kubeletVersion), ready = client.condition(object, "Ready") == "True",
    control_plane = M.is_control_plane(object), mark = (object.metadata.annotations or {})[M.MARK],
    cordoned = object.spec.unschedulable == true, under_way = under_way(object) }
end

local PODS = { namespace = "kube-system", labels = "tier=control-plane" }
local COMES = { ContainerCreating = true, PodInitializing = true }

-- A kubelet may say a minute late that a container which has passed its startup probe is ready: who runs for a short time only is
-- starting still.
local function is_young(running)
  return running ~= nil and (running.startedAt or "") > os.date("!%Y-%m-%dT%H:%M:%SZ", os.time() - M.STARTS)
end

-- Whether a pod that is not Ready only takes its time: its container is being made, or runs and has not passed its startup probe yet.
local function is_starting(pod)
  local statuses = pod.status and pod.status.containerStatuses or {}
  if not statuses[1] then return pod.status ~= nil and pod.status.phase == "Pending" end
  for _, status in ipairs(statuses) do
    local state = status.state or {}
    if status.ready ~= true and not (state.running and status.started == false or is_young(state.running)
      or state.waiting and COMES[state.waiting.reason or ""]) then
      return false
    end
  end
  return true
end

local function add_pod(nodes, pod)
  local part, node = (pod.metadata.labels or {}).component, nodes[pod.spec.nodeName or ""]
  if not node then return end
  local ready = client.condition(pod, "Ready") == "True"
  if not ready and node.ready and is_starting(pod) and (part == "etcd" or PARTS[part]) then
    node.starting = node.starting or {}
    node.starting[pod.metadata.name or part] = true
  end
  if part == "etcd" then node.etcd = ready and node.ready end
  if not PARTS[part] then return end
  node.control_plane = true
  node.pods = release.older(node.pods, version_of(pod))
  node.pods_ready = node.pods_ready ~= false and ready
  if part == "kube-apiserver" then node.api_server, node.api_ready = version_of(pod), ready end
end

--- The version of the cluster that kubeadm keeps in its configuration; nil when it keeps none.
function M.version(api)
  local map = api:get("v1", "ConfigMap", "kube-system", "kubeadm-config")
  local config = map and map.data and yaml.decode(map.data.ClusterConfiguration or "")
  return type(config) == "table" and bare(config.kubernetesVersion) or nil
end

--- { version, nodes = { [name] = { object, kubelet, ready, control_plane, mark, cordoned, under_way (is it away for
-- something of ours?); of control planes also: api_server, api_ready,
-- pods (the oldest of its three), pods_ready, etcd (does its member run? nil: it has none), starting (the names of
-- those of its static pods that only take their time, a set; nil for none) } }, pods (what a watch of the control planes' pods goes
-- on from) }
function M.take(api)
  local nodes, pods, version = table.unpack(at_once({
    function() return (api:list("v1", "Node")) end,
    function() return { api:list("v1", "Pod", PODS) } end,
    function() return M.version(api) end }, function(ask) return ask() end), 1, 3)
  local survey = { version = version, nodes = {}, pods = { namespace = PODS.namespace, labels = PODS.labels, known = pods[1], since = pods[2] } }
  for _, object in ipairs(nodes) do survey.nodes[object.metadata.name] = node_of(object) end
  for _, pod in ipairs(pods[1]) do add_pod(survey.nodes, pod) end
  return survey
end

--- Surveys until `missing(survey)` returns nil, and returns that survey; again when a pod of the control planes is another than in it.
-- What is missing is a table: `words` for the progress line; `message`, `code` and `hint` of the failure after so many seconds, or
-- at once where it is `hopeless`; `look`: seconds after which it is looked at anyway, 15 unless said.
function M.await(ctx, api, seconds, missing)
  local deadline, told = task.now() + seconds, nil
  while true do
    local survey = M.take(api)
    local lack = missing(survey)
    if not lack then return survey end
    if lack.hopeless or task.now() > deadline then error(fail { lack.message, code = lack.code, hint = lack.hint }) end
    if ctx.progress and lack.words ~= told then ctx:progress(lack.words) end
    told = lack.words
    api:watch("v1", "Pod", survey.pods, math.min(lack.look or 15, seconds), function() return true end)
  end
end

-- What a survey lacks while static pods of control planes are only starting.
local function start_of(survey)
  local names = {}
  for _, node in pairs(survey.nodes) do
    for name in pairs(node.starting or {}) do names[#names + 1] = name end
  end
  table.sort(names)
  if #names == 0 then return nil end
  local words = table.concat(names, ", ")
  return { words = ("waiting for %s to start"):format(words), code = "starting",
    message = ("%s %s still starting after %d s"):format(words, #names == 1 and "is" or "are", M.STARTS),
    hint = "see why: kubectl describe pod -n kube-system " .. names[1] }
end

--- A survey in which no static pod of a control plane is only starting: right after a cluster was made, the startup probes of etcd
-- and the API servers take a minute. `missing(survey)`: what else is waited for (see `await`).
function M.settled(ctx, api, missing)
  return M.await(ctx, api, M.STARTS, function(survey) return start_of(survey) or missing and missing(survey) end)
end

--- A survey with a member of etcd that runs, on a Node that is Ready.
function M.with_etcd(ctx, api, seconds)
  return M.await(ctx, api, seconds, function(survey)
    for _, node in pairs(survey.nodes) do if node.etcd then return nil end end
    return { words = "waiting for etcd", code = "backup", message = "no control plane has a running etcd and is Ready" }
  end)
end

local taking = require "together"()
local shared = setmetatable({}, { __mode = "k" }) -- client -> { survey, at }

--- The same, from what was asked a moment ago if it was.
function M.recent(api)
  local entry = shared[api]
  if entry and task.now() - entry.at < SHARED then return entry.survey end
  return taking(api, function()
    local survey = M.take(api)
    shared[api] = { survey = survey, at = task.now() }
    return survey
  end)
end

--- The same for the reads of a plan, which ask at about the same time. Returns the client, too.
function M.shared(ctx, cluster)
  local api = connect.client(ctx, cluster)
  return M.recent(api), api
end

--- Forgets what reads shared: something of the cluster was changed.
function M.forget(api) shared[api] = nil end

--- The version that a Node runs: the oldest of its kubelet and its static pods.
function M.runs(node) return release.older(node.kubelet, node.pods) end

--- Seconds that it may take until no control plane is older than what waits for that.
M.UPGRADE = 3000

local ALONE = 5 -- seconds for which all that run only wait, until there is no hope: one of them may be the first to see what came

--- Waits until no API server of the cluster is older than a version: what goes with that version may come. Where the cluster's
-- configuration is missing nothing is waited for: kubeadm says so. Nor is it where nothing of the run is left that could bring it
-- there: its upgrade failed, or was not asked for.
function M.wait_for(ctx, api, version)
  local alone_since
  M.await(ctx, api, M.UPGRADE, function(survey)
    local behind = skew.lagging(survey, version, {})
    if #behind == 0 and (not survey.version or release.compare(survey.version, version) >= 0) then return nil end
    local now = task.now()
    alone_since = ctx:waits(true) and (alone_since or now) or nil
    local hopeless = alone_since ~= nil and now - alone_since >= ALONE
    return { words = "waiting for the control planes to be at " .. version, code = "skew", hint = "upgrade the control planes first",
      message = ("the control planes are not at %s %s: %s"):format(version,
        hopeless and "and nothing in this run brings them there" or ("after %d s"):format(M.UPGRADE),
        #behind > 0 and table.concat(behind, ", ") or "the cluster's configuration says " .. tostring(survey.version)), hopeless = hopeless,
      look = #behind == 0 and 2 or alone_since and ALONE or nil } -- of a ConfigMap no pod tells
  end)
  ctx:waits(false)
end

return M
