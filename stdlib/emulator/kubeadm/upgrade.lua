--- `kubeadm upgrade`: plan, apply, node.
local yaml = require "yaml"
local value = require "emulator.kubernetes.value"
local Client = require "emulator.kubernetes.client"
local certs = require "emulator.kubeadm.certs"
local cluster = require "emulator.kubeadm.cluster"
local config = require "emulator.kubeadm.config"
local files = require "emulator.kubeadm.files"
local layout = require "emulator.kubeadm.layout"
local release = require "emulator.kubeadm.release"
local tokens = require "emulator.kubeadm.tokens"
local wait = require "emulator.kubeadm.wait"

local upgrade = {}

local function client(ctx)
  local path = files.exists(ctx.machine, "/etc/kubernetes/admin.conf") and "/etc/kubernetes/admin.conf" or "/etc/kubernetes/kubelet.conf"
  local api, why = Client.from_kubeconfig(ctx.world, ctx.machine, path, "kubeadm")
  if not api then ctx:fail(("couldn't create a Kubernetes client from file \"%s\": %s"):format(path, why)) end
  if not api.options.cert then
    local text = files.read(ctx.machine, "/var/lib/kubelet/pki/" .. (require("fs").readlink(ctx.machine.root .. "/var/lib/kubelet/pki/kubelet-client-current.pem") or "x"):match("[^/]+$"))
    api.options.cert, api.options.key = text, text
  end
  return api
end

local function fetch(ctx, tag, api)
  if tag == "upgrade/config" and ctx.minor < 32 then ctx:say("[upgrade/config] Making sure the configuration is correct:") end
  cluster.reading(ctx, tag)
  local c, why = cluster.fetch(api, true)
  if not c then ctx:fail(("[%s] FATAL: failed to get config map: %s"):format(tag, why)) end
  c.init = { nodeRegistration = config.registration(ctx, nil), localAPIEndpoint = { advertiseAddress = ctx.machine.private_ip, bindPort = 6443 } }
  return c
end

local function kubelets(api)
  local counts, nodes = {}, api:call("GET", "/api/v1/nodes")
  for _, n in ipairs(nodes and nodes.items or {}) do
    local v = value.get(n, "status", "nodeInfo", "kubeletVersion") or "unknown"
    counts[v] = (counts[v] or 0) + 1
  end
  return counts
end

local function plan(ctx)
  local api = client(ctx)
  local c = fetch(ctx, "upgrade/config", api)
  ctx:say(ctx.minor < 28 and "[preflight] Running pre-flight checks." or "[upgrade/preflight] Running preflight checks")
  ctx:say(ctx.minor < 28 and "[upgrade] Running cluster health checks" or "[upgrade] Running cluster health checks")
  ctx:say("[upgrade] Fetching available versions to upgrade to")
  local current, target = c.cluster.kubernetesVersion, ctx.flags.words[3] or ctx.version
  if not target:match("^v") then target = "v" .. target end
  ctx:say("[upgrade/versions] Cluster version: " .. current)
  ctx:say("[upgrade/versions] kubeadm version: " .. ctx.version)
  local series = current:match("^(v%d+%.%d+)")
  if ctx.minor < 28 then
    ctx:say("[upgrade/versions] Latest stable version: " .. target)
    ctx:say(("[upgrade/versions] Latest version in the %s series: %s"):format(series, target))
  else
    ctx:say("[upgrade/versions] Target version: " .. target)
    ctx:say(("[upgrade/versions] Latest version in the %s series: %s"):format(series, target))
  end
  ctx:say ""
  if current == target then return 0 end
  ctx:say("Components that must be upgraded manually after you have upgraded the control plane with 'kubeadm upgrade apply':")
  local rows = { { "COMPONENT", "CURRENT", "AVAILABLE" } }
  for _, v in ipairs(value.keys(kubelets(api))) do rows[#rows + 1] = { "kubelet", ("%d x %s"):format(kubelets(api)[v], v), target } end
  tokens.columns(ctx, rows)
  ctx:say ""
  ctx:say(("Upgrade to the latest version in the %s series:"):format(series))
  ctx:say ""
  local dns, etcd = release.addons(current)
  local new_dns, new_etcd = release.addons(target)
  rows = { { "COMPONENT", "CURRENT", "AVAILABLE" } }
  for _, name in ipairs { "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy" } do rows[#rows + 1] = { name, current, target } end
  rows[#rows + 1], rows[#rows + 2] = { "CoreDNS", dns, new_dns }, { "etcd", etcd, new_etcd }
  tokens.columns(ctx, rows)
  local line = "_____________________________________________________________________"
  for _, l in ipairs { "", "You can now apply the upgrade by executing the following command:", "", "\tkubeadm upgrade apply " .. target, "" } do ctx:say(l) end
  if ctx.version ~= target then
    ctx:say(("Note: Before you can perform this upgrade, you have to update kubeadm to %s."):format(target))
    ctx:say ""
  end
  for _, l in ipairs { line, "", "", "The table below shows the current state of component configs as understood by this version of kubeadm.",
    'Configs that have a "yes" mark in the "MANUAL UPGRADE REQUIRED" column require manual config upgrade or',
    "resetting to kubeadm defaults before a successful upgrade can be performed. The version to manually",
    'upgrade to is denoted in the "PREFERRED VERSION" column.', "" } do ctx:say(l) end
  tokens.columns(ctx, { { "API GROUP", "CURRENT VERSION", "PREFERRED VERSION", "MANUAL UPGRADE REQUIRED" },
    { "kubeproxy.config.k8s.io", "v1alpha1", "v1alpha1", "no" }, { "kubelet.config.k8s.io", "v1beta1", "v1beta1", "no" } })
  ctx:say(line)
  ctx:say ""
  return 0
end

local ETCD = "/etc/kubernetes/manifests/etcd.yaml"

-- Waits until the kubelet runs what the manifests say, and the API server here answers.
local function settle(ctx)
  local static = ctx.kubernetes:kubelet(ctx.machine).static
  local done = wait.until_(ctx, 300, function()
    for name, m in pairs(static:manifests()) do
      local entry = static.running[name]
      if not entry or entry.digest ~= m.digest then return nil, name end
    end
    return static.running["kube-apiserver"].server:healthy()
  end)
  if not done then
    ctx:fail("[upgrade/apply] FATAL: couldn't upgrade control plane. kubeadm has tried to recover everything into the earlier state. "
      .. "Errors faced: timed out waiting for the condition")
  end
end

-- etcd's manifest keeps all but its image; certificates are renewed on the way.
local function manifests(ctx, c)
  local quiet = setmetatable({ say = function() end }, { __index = ctx })
  certs.renewed(ctx, c)
  local etcd, image = files.read(ctx.machine, ETCD), release.images(c.cluster.kubernetesVersion, c.cluster.imageRepository).etcd
  if etcd then
    local new = etcd:gsub("(image: *)%S*/etcd:[^%s\"']+", function(word) return word .. image end)
    if new ~= etcd then files.write(ctx.machine, ETCD, new, true) end
  end
  layout.control_plane(quiet, c)
  ctx.kubernetes:changed(ctx.machine)
  settle(ctx)
end

local function apply(ctx)
  local target = ctx.flags.words[3] or ctx.version
  if not target:match("^v") then target = "v" .. target end
  local api = client(ctx)
  local c = fetch(ctx, "upgrade/config", api)
  ctx:say(ctx.minor < 28 and "[preflight] Running pre-flight checks." or "[upgrade/preflight] Running preflight checks")
  local current = c.cluster.kubernetesVersion
  local from, to = release.minor(current), release.minor(target)
  if to > ctx.minor then
    ctx:fail(("[upgrade/version] FATAL: the --version argument is invalid due to these fatal errors:\n\n\t- Specified version to upgrade to \"%s\" is higher "
      .. "than the kubeadm version \"%s\". Upgrade kubeadm first using the tool you used to install kubeadm"):format(target, ctx.version))
  elseif to > from + 1 then
    ctx:fail(("[upgrade/version] FATAL: the --version argument is invalid due to these fatal errors:\n\n\t- Specified version to upgrade to \"%s\" is too high; "
      .. "kubeadm can upgrade only 1 minor version at a time"):format(target))
  elseif to < from then
    ctx:fail(("[upgrade/version] FATAL: the --version argument is invalid due to these fatal errors:\n\n\t- Specified version to upgrade to \"%s\" is lower "
      .. "than the cluster version"):format(target))
  end
  if not ctx.flags.yes then
    local answer = ctx.call.stdin
    ctx:out("[upgrade] Are you sure you want to proceed? [y/N]: ")
    if type(answer) ~= "string" or not answer:match("^[yY]") then ctx:fail("won't proceed; the user didn't answer (Y|y) in order to continue") end
  end
  ctx:say(("[upgrade/apply] Upgrading your Static Pod-hosted control plane to version \"%s\"..."):format(target))
  c.cluster.kubernetesVersion = target
  manifests(ctx, c)
  for _, name in ipairs { "kube-apiserver", "kube-controller-manager", "kube-scheduler" } do
    ctx:say(('[upgrade/staticpods] Component "%s" upgraded successfully!'):format(name))
  end
  cluster.upload_config(ctx, api, c)
  c.kubelet = c.kubelet_file
  cluster.upload_kubelet(ctx, api, c)
  cluster.addons(ctx, api, c)
  ctx:say ""
  ctx:say(('[upgrade/successful] SUCCESS! Your cluster was upgraded to "%s". Enjoy!'):format(target))
  ctx:say ""
  ctx:say("[upgrade/kubelet] Now that your control plane is upgraded, please proceed with upgrading your kubelets if you haven't already done so.")
  return 0
end

local function node(ctx)
  local api = client(ctx)
  local c = fetch(ctx, "upgrade", api)
  local control_plane = files.exists(ctx.machine, "/etc/kubernetes/manifests/kube-apiserver.yaml")
  ctx:say("[preflight] Running pre-flight checks")
  if not control_plane then
    ctx:say("[preflight] Skipping prepull. Not a control plane node.")
    ctx:say("[upgrade] Skipping phase. Not a control plane node.")
  else
    ctx:say(("[upgrade] Upgrading your Static Pod-hosted control plane instance to version \"%s\"..."):format(c.cluster.kubernetesVersion))
    manifests(ctx, c)
  end
  ctx:say('[kubelet-start] Writing kubelet configuration to file "/var/lib/kubelet/config.yaml"')
  files.write(ctx.machine, "/var/lib/kubelet/config.yaml", yaml.encode(c.kubelet_file))
  ctx:say("[upgrade] The configuration for this node was successfully updated!")
  ctx:say("[upgrade] Now you should go ahead and upgrade the kubelet package using your package manager.")
  return 0
end

--- `kubeadm upgrade WORD`.
function upgrade.run(ctx)
  local word = ctx.flags.words[2]
  if word == "plan" then return plan(ctx) elseif word == "apply" then return apply(ctx) elseif word == "node" then return node(ctx) end
  ctx:fail(word and ('unknown command "%s" for "kubeadm upgrade"'):format(word) or 'missing subcommand; "upgrade" is not meant to be run on its own')
end

return upgrade
