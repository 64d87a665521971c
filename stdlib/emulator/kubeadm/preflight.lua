--- kubeadm's checks before it begins: all of them run, in its order; the errors come together.
local fs = require "fs"
local value = require "emulator.kubernetes.value"
local hosts = require "emulator.kubernetes.hosts"
local Kubelet = require "emulator.kubernetes.kubelet"
local files = require "emulator.kubeadm.files"

local preflight = {}

local function add(r, name, text) r[#r + 1] = { name = name, text = text } end

local function ports(r, ctx, list)
  for _, port in ipairs(list) do
    if ctx.kubernetes:port_used(ctx.machine, port) or ctx.machine:port_used(port) then
      add(r.errors, "Port-" .. port, ("Port %d is in use"):format(port))
    end
  end
end

local function label(path) return (path:gsub("/", "-")) end

local function absent(r, ctx, path)
  if files.exists(ctx.machine, path) then add(r.errors, "FileAvailable-" .. label(path), path .. " already exists") end
end

local function empty(r, ctx, path)
  if files.filled(ctx.machine, path) then add(r.errors, "DirAvailable-" .. label(path), path .. " is not empty") end
end

local function runtime(r, ctx)
  local ok, why = Kubelet.runtime(ctx.machine)
  if ok then return end
  if ctx.minor < 29 then
    add(r.errors, "CRI", ('container runtime is not running: output: time="%s" level=fatal msg="connect: connect endpoint '
      .. "'unix:///run/containerd/containerd.sock', make sure you are running as root and the endpoint has been started: %s\"\n, error: exit status 1")
      :format(value.time(), why))
  else
    add(r.errors, "CRI", 'could not connect to the container runtime: failed to create new CRI runtime service: validate service connection: '
      .. 'validate CRI v1 runtime API for endpoint "unix:///run/containerd/containerd.sock": '
      .. (why:match("^rpc") and why or ('rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: %s"'):format(why)))
  end
end

local function setting(r, ctx, name)
  local path = "/proc/sys/" .. name:gsub("%.", "/")
  local v = ctx.machine:sysctl(name)
  if v == nil then add(r.errors, "FileContent-" .. label(path), path .. " does not exist")
  elseif v:match("^%s*(.-)%s*$") ~= "1" then add(r.errors, "FileContent-" .. label(path), path .. " contents are not set to 1") end
end

local function swap(r, ctx)
  if #ctx.machine:swaps() == 0 then return end
  if ctx.minor < 28 then return add(r.errors, "Swap", "running with swap on is not supported. Please disable swap") end
  add(r.warnings, "Swap", "swap is supported for cgroup v2 only. The kubelet must be properly configured to use swap. Please refer to "
    .. "https://kubernetes.io/docs/concepts/architecture/nodes/#swap-memory, or disable swap on the node")
end

local function programs(r, ctx)
  local needed = { "conntrack", "ip", "iptables", "mount", "nsenter" }
  if ctx.minor < 31 then table.insert(needed, 1, "crictl") end
  for _, name in ipairs(needed) do
    if not ctx.machine:command(name) then add(r.errors, "FileExisting-" .. name, name .. " not found in system path") end
  end
  local useful = ctx.minor < 31 and { "ebtables", "ethtool", "socat", "tc", "touch" } or { "ethtool", "tc", "touch" }
  for _, name in ipairs(useful) do
    if not ctx.machine:command(name) then add(r.warnings, "FileExisting-" .. name, name .. " not found in system path") end
  end
end

local function hostname(r, ctx, name)
  if hosts.resolve(ctx.machine, name) then return end
  add(r.warnings, "Hostname", ('hostname "%s" could not be reached'):format(name))
  add(r.warnings, "Hostname", ('hostname "%s": lookup %s on 168.63.129.16:53: no such host'):format(name, name))
end

local function common(r, ctx, name)
  runtime(r, ctx)
  if ctx.minor < 30 then setting(r, ctx, "net.bridge.bridge-nf-call-iptables") end
  setting(r, ctx, "net.ipv4.ip_forward")
  swap(r, ctx)
  programs(r, ctx)
  hostname(r, ctx, name)
  local s = ctx.machine:service "kubelet"
  if not s then
    add(r.errors, "KubeletVersion", "couldn't get kubelet version: cannot execute 'kubelet --version': executable file not found in $PATH")
  elseif not s.enabled then
    add(r.warnings, "Service-Kubelet", "kubelet service is not enabled, please run 'systemctl enable kubelet.service'")
  end
end

local function finish(r, ctx)
  local ignored = {}
  for _, name in ipairs(ctx.flags["ignore-preflight-errors"] or {}) do ignored[name:lower()] = true end
  for _, list in ipairs { ctx.ignored or {} } do
    for _, name in ipairs(list) do ignored[name:lower()] = true end
  end
  local errors, warnings = {}, r.warnings
  for _, e in ipairs(r.errors) do
    if ignored.all or ignored[e.name:lower()] then warnings[#warnings + 1] = e else errors[#errors + 1] = e end
  end
  for _, w in ipairs(warnings) do ctx:err(("\t[WARNING %s]: %s\n"):format(w.name, w.text)) end
  if #errors == 0 then return end
  local lines = { ctx.minor >= 31 and "[preflight] Some fatal errors occurred:" or "[preflight] Some fatal errors occurred:" }
  for _, e in ipairs(errors) do lines[#lines + 1] = ("\t[ERROR %s]: %s"):format(e.name, e.text) end
  lines[#lines + 1] = "[preflight] If you know what you are doing, you can make a check non-fatal with `--ignore-preflight-errors=...`"
  ctx:fail("error execution phase preflight: " .. table.concat(lines, "\n"))
end

local function new() return { errors = {}, warnings = {} } end

local function root(ctx)
  if ctx.call.uid and ctx.call.uid ~= 0 then
    local r = new()
    add(r.errors, "IsPrivilegedUser", "user is not running as root")
    finish(r, ctx)
  end
end
preflight.root = root

local function resources(r, ctx)
  local size = ctx.machine.size or {}
  if size.cores and size.cores < 2 then
    add(r.errors, "NumCPU", ("the number of available CPUs %d is less than the required 2"):format(size.cores))
  end
  if size.memory_mib and size.memory_mib < 1700 then
    add(r.errors, "Mem", ("the system RAM (%d MB) is less than the minimum 1700 MB"):format(size.memory_mib))
  end
end

local manifests = { "kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd" }

--- The checks of a machine that becomes a control plane. second: it joins one.
function preflight.control_plane(ctx, c, second)
  root(ctx)
  local r = new()
  resources(r, ctx)
  ports(r, ctx, { c.init.localAPIEndpoint.bindPort or 6443, 10259, 10257 })
  for _, name in ipairs(manifests) do absent(r, ctx, "/etc/kubernetes/manifests/" .. name .. ".yaml") end
  if not second then common(r, ctx, c.init.nodeRegistration.name) end
  if not second and ctx.minor >= 24 then ports(r, ctx, { 10250 }) end
  ports(r, ctx, { 2379, 2380 })
  empty(r, ctx, (c.cluster.etcd and c.cluster.etcd["local"] or {}).dataDir or "/var/lib/etcd")
  finish(r, ctx)
end

--- The checks of a machine that joins.
function preflight.join(ctx, name, control_plane)
  root(ctx)
  local r = new()
  empty(r, ctx, "/etc/kubernetes/manifests")
  absent(r, ctx, "/etc/kubernetes/kubelet.conf")
  absent(r, ctx, "/etc/kubernetes/bootstrap-kubelet.conf")
  common(r, ctx, name)
  ports(r, ctx, { 10250 })
  if not control_plane then absent(r, ctx, "/etc/kubernetes/pki/ca.crt") end
  finish(r, ctx)
end

--- The lines about images, which the emulator does not pull.
function preflight.images(ctx)
  ctx:say("[preflight] Pulling images required for setting up a Kubernetes cluster")
  ctx:say("[preflight] This might take a minute or two, depending on the speed of your internet connection")
  ctx:say(("[preflight] You can also perform this action %s using 'kubeadm config images pull'"):format(ctx.minor < 30 and "in beforehand" or "beforehand"))
  ctx.world.clock.sleep(20)
end

preflight.stat = fs.stat

return preflight
