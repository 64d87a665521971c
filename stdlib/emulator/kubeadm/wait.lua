--- Waiting as kubeadm waits: for its nominal minutes on the emulator's clock, yet long enough for a busy machine; and not
-- longer when it is plain that what is waited for cannot come.
local task = require "task"
local Client = require "emulator.kubernetes.client"

local wait = {}

local LEAST, HOPELESS = 60, 6     -- seconds of real time

--- Calls done() on each change until it gives a value. hopeless() true for a while ends it early. Returns it, or nil.
function wait.until_(ctx, nominal, done, hopeless)
  local ends = task.now() + math.max(nominal / ctx.world.clock.factor, LEAST)
  local stuck
  while true do
    local result, why = done()
    if result then return result end
    if hopeless and hopeless() then
      stuck = stuck or task.now() + math.max(nominal / ctx.world.clock.factor, HOPELESS)
      if task.now() >= stuck then return nil, why end
    else
      stuck = nil
    end
    local left = ends - task.now()
    if left <= 0 then return nil, why end
    ctx.kubernetes:wait(math.min(left, 0.5))
  end
end

local function kubelet_of(ctx) return ctx.kubernetes.kubelets[ctx.machine.id] end

-- A kubelet that runs and cannot start what it should, or does not run.
local function hopeless(ctx)
  return function()
    local k = kubelet_of(ctx)
    if not k or k.state ~= "active" then return true end
    if next(k.static.running) == nil or next(k.static.failed) ~= nil then return true end
    local here = k.static.running["kube-apiserver"]
    return here ~= nil and (here.server:healthy())       -- it answers here, so what fails is the way to it
  end
end

local function old_failure(ctx)
  for _, l in ipairs { "[kubelet-check] Initial timeout of 40s passed.", "", "\tUnfortunately, an error has occurred:", "\t\ttimed out waiting for the condition", "",
    "\tThis error is likely caused by:", "\t\t- The kubelet is not running",
    "\t\t- The kubelet is unhealthy due to a misconfiguration of the node in some way (required cgroups disabled)", "",
    "\tIf you are on a systemd-powered system, you can try to troubleshoot the error with the following commands:",
    "\t\t- 'systemctl status kubelet'", "\t\t- 'journalctl -xeu kubelet'", "",
    "\tAdditionally, a control plane component may have crashed or exited when started by the container runtime.",
    "\tTo troubleshoot, list all containers using your preferred container runtimes CLI.", "",
    "\tHere is one example how you may list all Kubernetes containers running in cri-o/containerd using crictl:",
    "\t\t- 'crictl --runtime-endpoint /run/containerd/containerd.sock ps -a | grep kube | grep -v pause'",
    "\t\tOnce you have found the failing container, you can inspect its logs with:",
    "\t\t- 'crictl --runtime-endpoint /run/containerd/containerd.sock logs CONTAINERID'", "" } do ctx:say(l) end
  ctx:fail("error execution phase wait-control-plane: couldn't initialize a Kubernetes cluster")
end

--- Ends the command as kubeadm 1.31 and later do when the kubelet is not healthy.
function wait.kubelet_failure(ctx, phase)
  for _, l in ipairs { "[kubelet-check] The kubelet is not healthy after 4m0.000s", "", "Unfortunately, an error has occurred, likely caused by:",
    "\t- The kubelet is not running", "\t- The kubelet is unhealthy due to a misconfiguration of the node in some way (required cgroups disabled)", "",
    "If you are on a systemd-powered system, you can try to troubleshoot the error with the following commands:",
    "\t- 'systemctl status kubelet'", "\t- 'journalctl -xeu kubelet'", "" } do ctx:say(l) end
  ctx:fail(("error execution phase %s: failed while waiting for the kubelet to start: The HTTP call equal to 'curl -sSL http://127.0.0.1:10248/healthz' "
    .. 'returned error: Get "http://127.0.0.1:10248/healthz": dial tcp 127.0.0.1:10248: connect: connection refused'):format(phase))
end

local function api_failure(ctx, why)
  for _, l in ipairs { "[api-check] The API server is not healthy after 4m0.000s", "",
    "A control plane component may have crashed or exited when started by the container runtime.",
    "To troubleshoot, list all containers using your preferred container runtimes CLI.",
    "Here is one example how you may list all running Kubernetes containers by using crictl:",
    "\t- 'crictl --runtime-endpoint unix:///run/containerd/containerd.sock ps -a | grep kube | grep -v pause'",
    "\tOnce you have found the failing container, you can inspect its logs with:",
    "\t- 'crictl --runtime-endpoint unix:///run/containerd/containerd.sock logs CONTAINERID'", "" } do ctx:say(l) end
  ctx:fail("error execution phase wait-control-plane: failed while waiting for the control plane to start: " .. (why or "context deadline exceeded"))
end

--- Waits for the kubelet, the API server behind the cluster's endpoint, and the other components.
function wait.control_plane(ctx, c, started)
  local function spent() return ("%.6f"):format((task.now() - started) * 1.0) end
  local healthy = wait.until_(ctx, 240, function()
    local k = kubelet_of(ctx)
    return k and k.state == "active"
  end, function()
    local k = kubelet_of(ctx)
    return not k or k.state ~= "active"
  end)
  if not healthy then
    if ctx.minor < 31 then old_failure(ctx) end
    wait.kubelet_failure(ctx, "wait-control-plane")
  end
  if ctx.minor >= 31 then
    ctx:say(("[kubelet-check] The kubelet is healthy after %sms"):format(spent()))
    if ctx.minor >= 33 then ctx:say("[control-plane-check] Waiting for healthy control plane components. This can take up to 4m0s")
    else ctx:say("[api-check] Waiting for a healthy API server. This can take up to 4m0s") end
  end
  local api = Client.from_kubeconfig(ctx.world, ctx.machine, "/etc/kubernetes/admin.conf", "kubeadm")
  local answer, why = wait.until_(ctx, 240, function()
    local code, body = api:request("GET", "/healthz?timeout=10s")
    if code == 200 then return true end
    return nil, code and "the server answered " .. code or body
  end, hopeless(ctx))
  if not answer then
    if ctx.minor < 31 then old_failure(ctx) end
    api_failure(ctx, why)
  end
  if ctx.minor < 31 then
    ctx:say(("[apiclient] All control plane components are healthy after %s seconds"):format(spent()))
  elseif ctx.minor < 33 then
    ctx:say(("[api-check] The API server is healthy after %ss"):format(spent()))
  else
    local address = c.init.localAPIEndpoint.advertiseAddress
    for _, e in ipairs { { "kube-apiserver", ("https://%s:%d/livez"):format(address, c.init.localAPIEndpoint.bindPort or 6443) },
      { "kube-controller-manager", "https://127.0.0.1:10257/healthz" }, { "kube-scheduler", "https://127.0.0.1:10259/livez" } } do
      ctx:say(("[control-plane-check] Checking %s at %s"):format(e[1], e[2]))
    end
    for _, name in ipairs { "kube-controller-manager", "kube-scheduler", "kube-apiserver" } do
      ctx:say(("[control-plane-check] %s is healthy after %ss"):format(name, spent()))
    end
  end
end

--- Waits for a Node to be registered.
function wait.node(ctx, api, name, phase)
  local node, why = wait.until_(ctx, 240, function() return api:call("GET", "/api/v1/nodes/" .. name) end)
  if not node then ctx:fail(("error execution phase %s: %s"):format(phase, why or "timed out waiting for the condition")) end
  return node
end

return wait
