--- One pod on its node: mounts, the network, init containers, containers, and their end. No container runs; what a pod
-- would wait for is waited for, and the few things that other parts of the emulation need really happen (an init container
-- that copies a file of a ConfigMap to the host, as Flannel's does with the CNI configuration; programs of `program.lua`).
local crypto = require "crypto"
local fs = require "fs"
local json = require "json"
local task = require "task"
local value = require "emulator.kubernetes.value"
local conditions = require "emulator.kubernetes.controllers.pods"
local program = require "emulator.kubernetes.program"

local worker = {}

local PULL, START, LIFE, STOP = 4, 1, 5, 2     -- nominal seconds

local function fresh(k, namespace, name, uid)
  local pod = k.cluster and k.cluster.store:get("/pods", namespace, name)
  return pod and pod.metadata.uid == uid and pod or nil
end

local function set(k, pod, fn)
  return k.cluster:status("/pods", pod.metadata.namespace, pod.metadata.name, function(o)
    if o.metadata.uid ~= pod.metadata.uid then return false end
    o.status = o.status or {}
    o.status.conditions = value.copy(o.status.conditions or json.array {})
    return fn(o)
  end, "kubelet")
end

-- Waits for a change of the node's pods or of configuration, at most so long.
local function wait(k, seconds) k.pods_changed:wait(seconds) end

-- What is no file of a machine's root, and is on every machine.
local KERNEL = { ["/dev"] = true, ["/proc"] = true, ["/sys"] = true }

local function missing_source(k, pod)
  local namespace = pod.metadata.namespace
  local function need(key, name, optional, volume)
    if name and not optional and not k.cluster.store:get(key, namespace, name) then
      local kind = key == "/secrets" and "secret" or "configmap"
      return ('MountVolume.SetUp failed for volume "%s" : %s "%s" not found'):format(volume, kind, name)
    end
  end
  for _, v in ipairs(pod.spec.volumes or {}) do
    local why = v.configMap and need("/configmaps", v.configMap.name, v.configMap.optional, v.name)
      or v.secret and need("/secrets", v.secret.secretName, v.secret.optional, v.name)
    for _, s in ipairs(v.projected and v.projected.sources or {}) do
      why = why or s.configMap and need("/configmaps", s.configMap.name, s.configMap.optional, v.name)
        or s.secret and need("/secrets", s.secret.name, s.secret.optional, v.name)
    end
    if v.hostPath and not why and not KERNEL[v.hostPath.path:match("^/[^/]*")] then
      local stat = fs.stat(k.machine.root .. v.hostPath.path, { follow = true })
      local type_ = v.hostPath.type
      if (type_ == "File" or type_ == "Directory") and not stat then
        why = ('MountVolume.SetUp failed for volume "%s" : hostPath type check failed: %s is not a %s'):format(v.name, v.hostPath.path, type_:lower())
      elseif type_ == "DirectoryOrCreate" and not stat then
        fs.mkdir(k.machine.root .. v.hostPath.path)
      end
    end
    if why then return why end
  end
end

local function missing_env(k, pod, c)
  for _, e in ipairs(c.env or {}) do
    for field, key in pairs { configMapKeyRef = "/configmaps", secretKeyRef = "/secrets" } do
      local ref = value.get(e, "valueFrom", field)
      local found = ref and k.cluster.store:get(key, pod.metadata.namespace, ref.name)
      if ref and not ref.optional then
        local kind = key == "/secrets" and "secret" or "configmap"
        if not found then return ('%s "%s" not found'):format(kind, ref.name) end
        if not (found.data or {})[ref.key] then
          return ("couldn't find key %s in %s %s/%s"):format(ref.key, kind == "secret" and "Secret" or "ConfigMap", pod.metadata.namespace, ref.name)
        end
      end
    end
  end
  for _, e in ipairs(c.envFrom or {}) do
    local ref, key = e.configMapRef or e.secretRef, e.configMapRef and "/configmaps" or "/secrets"
    if ref and not ref.optional and not k.cluster.store:get(key, pod.metadata.namespace, ref.name) then
      return ('%s "%s" not found'):format(e.configMapRef and "configmap" or "secret", ref.name)
    end
  end
end

local function waiting_status(c, reason, message)
  return { name = c.name, image = c.image, imageID = "", ready = false, started = false, restartCount = 0,
    state = { waiting = { reason = reason, message = message } }, lastState = {} }
end

local function image_id(image) return image:gsub("[:@].*$", "") .. "@sha256:" .. crypto.sha256(image) end

local function container_id(pod, c) return "containerd://" .. crypto.sha256(pod.metadata.uid .. c.name) end

local function running_status(pod, c, started)
  return { name = c.name, image = c.image, imageID = image_id(c.image), containerID = container_id(pod, c), ready = true, started = true,
    restartCount = 0, state = { running = { startedAt = started } }, lastState = {} }
end

local function ended_status(pod, c, started)
  return { name = c.name, image = c.image, imageID = image_id(c.image), containerID = container_id(pod, c), ready = c.init == true, started = false,
    restartCount = 0, lastState = {}, state = { terminated = { exitCode = 0, reason = "Completed", startedAt = started,
      finishedAt = value.time(), containerID = container_id(pod, c) } } }
end

local function each(list, fn) return value.map(list or {}, fn) end

local function creating(k, pod, reason, message)
  set(k, pod, function(o)
    local s = o.status
    s.phase, s.hostIP, s.startTime = "Pending", k.machine.private_ip, s.startTime or value.time()
    s.hostIPs = json.array { { ip = k.machine.private_ip } }
    if o.spec.initContainers then
      s.initContainerStatuses = each(o.spec.initContainers, function(c) return waiting_status(c, "PodInitializing") end)
    end
    s.containerStatuses = each(o.spec.containers, function(c)
      return waiting_status(c, o.spec.initContainers and "PodInitializing" or reason, message)
    end)
    conditions.condition(s.conditions, "Initialized", o.spec.initContainers and "False" or "True",
      o.spec.initContainers and "ContainersNotInitialized" or nil)
    conditions.condition(s.conditions, "Ready", "False", "ContainersNotReady")
    conditions.condition(s.conditions, "ContainersReady", "False", "ContainersNotReady")
  end)
end

-- Where a container's path is on the machine: a mounted file of a ConfigMap (text), or a hostPath (path).
local function resolve(k, pod, c, path)
  for _, m in ipairs(c.volumeMounts or {}) do
    local base = m.mountPath:gsub("/$", "")
    if path == base or path:sub(1, #base + 1) == base .. "/" then
      local rest = path:sub(#base + 2)
      local v = value.find(pod.spec.volumes, "name", m.name) or {}
      if v.hostPath then return nil, k.machine.root .. v.hostPath.path .. "/" .. rest end
      if v.configMap then
        local map = k.cluster.store:get("/configmaps", pod.metadata.namespace, v.configMap.name)
        local key = rest
        for _, item in ipairs(v.configMap.items or {}) do
          if item.path == rest then key = item.key end
        end
        return map and (map.data or {})[key]
      end
    end
  end
end

local function run_init(k, pod, c)
  local words = {}
  for _, list in ipairs { c.command or {}, c.args or {} } do
    for _, w in ipairs(list) do words[#words + 1] = w end
  end
  if words[1] ~= "cp" then return end
  local files = {}
  for i = 2, #words do
    if words[i]:sub(1, 1) ~= "-" then files[#files + 1] = words[i] end
  end
  local text = files[1] and resolve(k, pod, c, files[1])
  local _, target = resolve(k, pod, c, files[2] or "")
  if text and target then
    fs.mkdir(target:match("^(.*)/"))
    fs.write(target, text, { mode = tonumber("644", 8) })
    k:say(pod, c.name, ("copied %s to %s"):format(files[1], files[2]))
    k.wake:set()
  end
end

-- What makes a container of a known system image fail at its start, as the real one does.
local function crash(k, pod, c)
  if c.image:find("flannel", 1, true) and value.contains(c.args, "--kube-subnet-mgr") then
    if not k.pod_cidr then return "Error registering network: failed to acquire lease: node \"" .. k.name .. "\" pod cidr not assigned" end
    if not k.machine:module("br_netfilter") then
      return "Failed to check br_netfilter: stat /proc/sys/net/bridge/bridge-nf-call-iptables: no such file or directory"
    end
  end
end

local function bring_up(k, namespace, name, uid)
  while true do
    local pod = fresh(k, namespace, name, uid)
    if not pod or pod.metadata.deletionTimestamp then return end
    local why = missing_source(k, pod)
    local reason = "FailedMount"
    if not why and not pod.spec.hostNetwork and not k:cni() then
      reason, why = "NetworkNotReady", "network is not ready: container runtime network not ready: NetworkReady=false "
        .. "reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized"
    elseif not why and not pod.spec.hostNetwork and not k:pod_address(uid) then
      reason, why = "FailedCreatePodSandBox", "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for "
        .. "sandbox: plugin type=\"flannel\" failed (add): loadFlannelSubnetEnv failed: open /run/flannel/subnet.env: no such file or directory"
    end
    if not why then return pod end
    creating(k, pod, "ContainerCreating")
    k:event(pod, "Warning", reason, why)
    wait(k, 2)
  end
end

local function start_one(k, pod, c)
  k:event(pod, "Normal", "Pulled", ('Container image "%s" already present on machine'):format(c.image))
  k:event(pod, "Normal", "Created", "Created container: " .. c.name)
  k:event(pod, "Normal", "Started", "Started container " .. c.name)
  k:say(pod, c.name, ("emulator: container %s (%s) is recorded as started; nothing runs in it"):format(c.name, c.image))
end

local function initialize(k, pod)
  local done = {}
  for i, c in ipairs(pod.spec.initContainers or {}) do
    k.cluster.sleep(PULL / 2)
    if not fresh(k, pod.metadata.namespace, pod.metadata.name, pod.metadata.uid) then return false end
    start_one(k, pod, c)
    run_init(k, pod, c)
    local started = value.time()
    done[i] = c.restartPolicy == "Always" and running_status(pod, c, started) or ended_status(pod, { name = c.name, image = c.image, init = true }, started)
  end
  set(k, pod, function(o)
    if #done > 0 then o.status.initContainerStatuses = json.array(done) end
    conditions.condition(o.status.conditions, "Initialized", "True")
    conditions.condition(o.status.conditions, "PodReadyToStartContainers", "True")
  end)
  return true
end

local function failing(k, namespace, name, uid)
  local restarts = 0
  while true do
    local pod = fresh(k, namespace, name, uid)
    if not pod or pod.metadata.deletionTimestamp then return nil end
    local broken, why, config
    for _, c in ipairs(pod.spec.containers) do
      why = missing_env(k, pod, c)
      config = why ~= nil
      why = why or crash(k, pod, c) or program.crash(k, pod, c)
      if why then broken = c; break end
    end
    if not broken then return pod end
    if not config then
      restarts = restarts + 1
      k:say(pod, broken.name, why)
    end
    set(k, pod, function(o)
      o.status.phase = config and "Pending" or "Running"
      o.status.containerStatuses = each(o.spec.containers, function(c)
        local st = waiting_status(c, "ContainerCreating", c.name == broken.name and why or nil)
        if c.name == broken.name then
          st.state.waiting.reason = config and "CreateContainerConfigError" or "CrashLoopBackOff"
          st.restartCount = restarts
        end
        return st
      end)
    end)
    k:event(pod, "Warning", config and "Failed" or "BackOff", config and "Error: " .. why
      or ("Back-off restarting failed container %s in pod %s"):format(broken.name, pod.metadata.name))
    wait(k, 2)
  end
end

local function set_running(k, pod, more)
  local address = pod.spec.hostNetwork and k.machine.private_ip or k:pod_address(pod.metadata.uid)
  local started = value.time()
  return set(k, pod, function(o)
    local s = o.status
    s.phase, s.startTime, s.hostIP, s.podIP = "Running", s.startTime or started, k.machine.private_ip, address
    s.hostIPs, s.podIPs = json.array { { ip = k.machine.private_ip } }, json.array { { ip = address } }
    s.containerStatuses = each(o.spec.containers, function(c) return running_status(o, c, started) end)
    conditions.condition(s.conditions, "Initialized", "True")
    conditions.condition(s.conditions, "PodReadyToStartContainers", "True")
    conditions.condition(s.conditions, "ContainersReady", "True")
    conditions.condition(s.conditions, "Ready", "True")
    if more then more(o) end
  end)
end

local function initial_delay(pod)
  local longest = 0
  for _, c in ipairs(pod.spec.containers) do
    longest = math.max(longest, value.get(c, "readinessProbe", "initialDelaySeconds") or 0)
  end
  return longest
end

local function complete(k, pod)
  k.cluster.sleep(LIFE)
  set(k, pod, function(o)
    o.status.phase = "Succeeded"
    local before = o.status.containerStatuses
    o.status.containerStatuses = each(o.spec.containers, function(c, i)
      local st = ended_status(o, c, value.get(before, i, "state", "running", "startedAt") or value.time())
      st.ready = false
      return st
    end)
    conditions.condition(o.status.conditions, "Ready", "False", "PodCompleted")
    conditions.condition(o.status.conditions, "ContainersReady", "False", "PodCompleted")
  end)
end

local function finish(k, namespace, name, uid)
  while true do
    local pod = fresh(k, namespace, name, uid)
    if not pod then return end
    if pod.metadata.deletionTimestamp then
      local grace = pod.metadata.deletionGracePeriodSeconds or 0
      for _, c in ipairs(pod.spec.containers) do k:event(pod, "Normal", "Killing", "Stopping container " .. c.name) end
      k.cluster.sleep(math.min(grace, STOP))
      k.cluster:try(function()
        if fresh(k, namespace, name, uid) then k.cluster.objects:delete(k.cluster:res "/pods", namespace, name, { grace = 0 }) end
      end)
      return
    end
    local ready = conditions.ready(pod)
    if value.get(pod, "status", "phase") == "Running" and not ready then set_running(k, pod) end
    wait(k, 30)
  end
end

--- Where a kubelet keeps what it has of a pod.
function worker.folder(k, uid) return k.machine.root .. "/var/lib/kubelet/pods/" .. uid end

--- Lives as long as the pod is on this node. A machine that never started it, whatever its status says, starts it.
function worker.run(k, namespace, name, uid)
  local pod = fresh(k, namespace, name, uid)
  if not pod then return end
  local phase, folder = value.get(pod, "status", "phase"), worker.folder(k, uid)
  if phase == "Running" and not fs.stat(folder) then phase = "Pending" end
  fs.mkdir(folder, tonumber("750", 8))
  if phase ~= "Running" and phase ~= "Succeeded" and phase ~= "Failed" and not pod.metadata.deletionTimestamp then
    creating(k, pod, "ContainerCreating")
    pod = bring_up(k, namespace, name, uid)
    if pod and initialize(k, pod) then
      k.cluster.sleep(PULL)
      pod = failing(k, namespace, name, uid)
      if pod then
        for _, c in ipairs(pod.spec.containers) do start_one(k, pod, c) end
        k.cluster.sleep(START + initial_delay(pod))
        if fresh(k, namespace, name, uid) then
          set_running(k, pod)
          if pod.spec.restartPolicy ~= "Always" then complete(k, pod) end
        end
      end
    end
  elseif phase == "Running" then
    for _, c in ipairs(pod.spec.containers) do k:say(pod, c.name, ("emulator: container %s goes on"):format(c.name)) end
    if pod.spec.restartPolicy ~= "Always" and not pod.metadata.deletionTimestamp then complete(k, pod) end
    local address = value.get(pod, "status", "podIP")
    if address and not pod.spec.hostNetwork then k.pod_addresses[uid] = address end
  end
  pod = fresh(k, namespace, name, uid)
  local programs <close> = pod and value.get(pod, "status", "phase") == "Running" and program.start(k, pod) or nil
  finish(k, namespace, name, uid)
end

-- A static pod's container that was started again is another one; it is ready when it says so.
local function show_static(k, pod, entry)
  local ready, id = not entry.ready or entry.ready(), "containerd://" .. entry.id
  local before = value.get(pod, "status", "containerStatuses", 1)
  if before and before.containerID == id and conditions.ready(pod) == ready then return end
  set_running(k, pod, function(o)
    for _, status in ipairs(o.status.containerStatuses) do
      status.restartCount = (before and before.restartCount or 0) + (before and before.containerID ~= id and 1 or 0)
      status.containerID, status.ready = id, ready
    end
    if ready then return end
    conditions.condition(o.status.conditions, "ContainersReady", "False", "ContainersNotReady")
    conditions.condition(o.status.conditions, "Ready", "False", "ContainersNotReady")
  end)
end

--- Shows a static pod of the node as an object.
function worker.mirror(k, s, name, entry)
  local full = name .. "-" .. s.name
  local namespace = entry.pod.metadata.namespace or "default"
  local old = k.cluster.store:get("/pods", namespace, full)
  if old and value.get(old, "metadata", "annotations", "kubernetes.io/config.hash") ~= entry.digest:sub(1, 32) then
    k.cluster:try(function() k.cluster.objects:delete(k.cluster:res "/pods", namespace, full, { grace = 0 }) end)
    old = nil
  end
  if old then
    show_static(k, old, entry)
    return
  end
  if not k.cluster.store:get("/namespaces", nil, namespace) then return end
  local hash = entry.digest:sub(1, 32)
  local spec = value.copy(entry.pod.spec)
  spec.nodeName = s.name
  spec.tolerations = json.array { { operator = "Exists", effect = "NoExecute" } }
  local annotations = value.copy(entry.pod.metadata.annotations or {})
  for key, v in pairs { hash = hash, mirror = hash, seen = value.micro_time(task.time()), source = "file" } do
    annotations["kubernetes.io/config." .. key] = v
  end
  local created = k.cluster:try(function()
    return k.cluster.objects:create(k.cluster:res "/pods", { metadata = { name = full, namespace = namespace,
        labels = value.copy(entry.pod.metadata.labels), annotations = annotations,
        ownerReferences = json.array { { apiVersion = "v1", kind = "Node", name = s.name, uid = k.node_uid, controller = true } } },
      spec = spec }, { namespace = namespace, manager = "kubelet" })
  end)
  if created then
    for _, c in ipairs(created.spec.containers) do k:say(created, c.name, ("emulator: %s runs inside the emulator"):format(name)) end
    show_static(k, created, entry)
  end
end

return worker
