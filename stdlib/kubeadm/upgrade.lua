--- Brings one Node of a kubeadm cluster to a release: cordon and drain, kubeadm, `kubeadm upgrade`, kubelet, ready again, uncordon.
-- Each step can be repeated, and what is under way is written on the Node itself (survey.MARK), so that whoever comes after a run
-- that died goes on. The first control plane that finds the cluster's configuration at the old release is the one that changes
-- it (`kubeadm upgrade apply`), after a snapshot of etcd; which one that is does not matter.
local client, credentials = require "kubernetes.client", require "kubeadm.credentials"
local drain = require "kubernetes.drain"
local etcd = require "kubeadm.etcd"
local fail, json, role = require "fail", require "json", require "role"
local release, skew = require "kubernetes.release", require "kubeadm.skew"
local static_pods, survey, turn = require "kubeadm.static_pods", require "kubeadm.survey", require "kubeadm.turn"

local M = {}

local READY = 600 -- seconds for a Node to be Ready with its new kubelet
local PROGRAM = { name = "kubeadm.upgrade", seconds = 2400 }
local SNAPSHOT = { name = "kubeadm.snapshot", seconds = 600 }

local function handle(name) return { apiVersion = "v1", kind = "Node", metadata = { name = name } } end

local function listed(names) return table.concat(names, ", ") end

-- What a plan has said already may have changed since then.
local function object_to(now, f)
  local why, hint = skew.objection(now, f.version)
  if not why and f.control_plane then
    local unwell = skew.unwell(now, f.name)
    if #unwell > 0 then
      why, hint = ("control plane %s is not healthy, so %s stays as it is"):format(listed(unwell), f.name), "bring it back first"
    end
  elseif not why then
    local lagging = skew.lagging(now, f.version, {})
    if #lagging > 0 then
      why, hint = ("the API server of %s is older than %s"):format(listed(lagging), f.version), "upgrade the control planes first"
    end
  end
  if why then error(fail { why, code = "skew", hint = hint }) end
end

-- The mark of a Node, written with the cordon in one request.
local function begin(api, now, f)
  local node = now.nodes[f.name]
  local version, step, cordoned = (node.mark or ""):match("^(%S+) (%S+)(.*)$")
  if version ~= f.version then
    step = f.control_plane and now.version and release.compare(now.version, f.version) < 0 and "apply" or "node"
    cordoned = version and cordoned or node.cordoned and " cordoned" or ""
  end
  api:merge(handle(f.name), { metadata = { annotations = { [survey.MARK] = f.version .. " " .. step .. cordoned } },
    spec = { unschedulable = true } })
  return step, cordoned ~= ""
end

local function on_host(ctx, page, declare) role.perform(page, ctx, "apply", declare) end

-- An API server that ends serves on for a while (config.lua), so kubeadm takes the old one for the new one, and its last requests may
-- come between the two. `kubeadm upgrade` may be run again; once the API is ready it is.
local TWICE = [[mkdir -p /var/lib/vmrun
upgrade() { COMMAND </dev/null; }
ready() { kubectl --request-timeout=10s --kubeconfig "$config" get --raw /readyz; }
upgrade || {
  config=/etc/kubernetes/admin.conf end=$(($(date +%s) + 120))
  [ -e $config ] || config=/etc/kubernetes/kubelet.conf
  until ! command -v kubectl || ready || [ "$(date +%s)" -ge $end ]; do sleep 2; done >/dev/null 2>&1
  upgrade
} && : >DONE]]

--- The program that runs a command of `kubeadm upgrade` and leaves the file `done`.
function M.program(command, done) return (TWICE:gsub("COMMAND", command):gsub("DONE", done)) end

local function install(ctx, step)
  local f, done = ctx.fields, ("/var/lib/vmrun/upgrade-%s.done"):format(ctx.fields.version)
  local command = step == "apply" and ("kubeadm upgrade apply v%s -y"):format(f.version) or "kubeadm upgrade node"
  on_host(ctx, PROGRAM, function(host)
    local function package(names) return { names = names, version = f.version .. "-*", hold = true } end
    host.package "kubeadm" (package { "kubeadm" })
    host.command (command) { creates = done, timeout = 1800, notify = "kubelet",
      run = M.program(command, done) }
    local kubelet = package { "kubelet", "kubectl" }
    kubelet.notify = "kubelet"
    host.package "kubelet" (kubelet)
    host.service "kubelet" {}
    host.flush()
    if f.control_plane then host.command "etcd is healthy" { timeout = 200, run = etcd.healthy(180) } end
  end)
end

local function wait(ctx, api)
  local f = ctx.fields
  ctx:progress("waiting for the Node to be ready at " .. f.version)
  api:wait(handle(f.name), function(now)
    local info = now and now.status and now.status.nodeInfo
    return info and info.kubeletVersion == "v" .. f.version and client.condition(now, "Ready") == "True"
  end, READY, "to be ready at " .. f.version)
  if not f.control_plane then return end
  static_pods.wait(ctx, api, f.name, READY, "to be ready at " .. f.version, function(part, pod)
    return part == "etcd" or (pod.spec.containers[1].image or ""):match(":v([%d.]+)$") == f.version
  end)
end

local function go(ctx, api)
  local f = ctx.fields
  local now = survey.settled(ctx, api)
  object_to(now, f)
  if f.control_plane and now.version and release.compare(now.version, f.version) < 0 then
    ctx:progress "saving a snapshot of etcd"
    on_host(ctx, SNAPSHOT, function(host) etcd.snapshot(host, f.cluster.cluster_name or "kubernetes", now.version, f.version) end)
  end
  local step, cordoned = begin(api, now, f)
  survey.forget(api)
  ctx:progress "draining"
  drain(ctx, api, f.name)
  if f.control_plane then credentials.hand_over(ctx, f.cluster, f.name) end
  install(ctx, step)
  wait(ctx, api)
  api:merge(handle(f.name), { metadata = { annotations = { [survey.MARK] = json.null } },
    spec = { unschedulable = cordoned or json.null } })
  survey.forget(api)
end

--- What a Node runs, as `version` is compared: with a note while an upgrade of it has not ended; nil for a Node that is not there.
function M.runs(now, name)
  local node = now.nodes[name]
  local version = node and survey.runs(node)
  return version and node.mark and version .. ", not finished" or version
end

--- Brings ctx.fields.name to ctx.fields.version, if it is not there.
function M.bring(ctx, api)
  local f = ctx.fields
  local now = survey.take(api)
  if M.runs(now, f.name) == f.version then return end
  if f.control_plane then return go(ctx, api) end
  local node = now.nodes[f.name]
  turn.run(ctx, api, f.name, "upgrade", node.mark ~= nil or not node.ready, f.max_unavailable, function() go(ctx, api) end)
end

return M
