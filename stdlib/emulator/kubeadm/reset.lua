--- `kubeadm reset`: takes the machine out of its cluster as far as it can, and its files away.
local yaml = require "yaml"
local value = require "emulator.kubernetes.value"
local Client = require "emulator.kubernetes.client"
local cluster = require "emulator.kubeadm.cluster"
local config = require "emulator.kubeadm.config"
local files = require "emulator.kubeadm.files"

local reset = {}

local MANIFEST = "/etc/kubernetes/manifests/etcd.yaml"

local function data_dir(ctx)
  local pod = yaml.decode(files.read(ctx.machine, MANIFEST) or "")
  for _, v in ipairs(value.get(pod, "spec", "volumes") or {}) do
    if v.name == "etcd-data" then return value.get(v, "hostPath", "path") end
  end
end

local function leave_etcd(ctx)
  local entry = ctx.kubernetes:kubelet(ctx.machine).static.running.etcd
  local k = entry and entry.cluster
  if not k then return end
  local mine, others = nil, 0
  for name, m in pairs(k.members) do
    if m.machine == ctx.machine.id then mine = name else others = others + 1 end
  end
  if mine and others > 0 then
    if not k:quorum() then
      ctx:err(config.klog("W", "removeetcdmember.go:90", "[reset] Failed to remove etcd member: etcdserver: re-configuration failed due to not enough started members, "
        .. "please manually remove this etcd member using etcdctl"))
      return
    end
    k:remove_member(mine)
  end
end

local function old_words(ctx, stacked, state)
  ctx:say("[reset] Stopping the kubelet service")
  ctx:say('[reset] Unmounting mounted directories in "/var/lib/kubelet"')
  ctx:say("[reset] Deleting contents of config directories: [/etc/kubernetes/manifests /etc/kubernetes/pki]")
  ctx:say("[reset] Deleting files: [/etc/kubernetes/admin.conf /etc/kubernetes/kubelet.conf /etc/kubernetes/bootstrap-kubelet.conf "
    .. "/etc/kubernetes/controller-manager.conf /etc/kubernetes/scheduler.conf]")
  local folders = { "/var/lib/kubelet", "/var/lib/dockershim", "/var/run/kubernetes", "/var/lib/cni" }
  if stacked then table.insert(folders, 1, state) end
  ctx:say("[reset] Deleting contents of stateful directories: [" .. table.concat(folders, " ") .. "]")
  for _, l in ipairs { "", "The reset process does not clean CNI configuration. To do so, you must remove /etc/cni/net.d", "",
    "The reset process does not reset or clean up iptables rules or IPVS tables.",
    "If you wish to reset iptables, you must do so manually by using the \"iptables\" command.", "",
    "If your cluster was setup to utilize IPVS, run ipvsadm --clear (or similar)", "to reset your system's IPVS tables.", "",
    "The reset process does not clean your kubeconfig files and you must remove them manually.",
    "Please, check the contents of the $HOME/.kube/config file." } do ctx:say(l) end
end

local function new_words(ctx, stacked, state)
  if stacked then ctx:say(("[reset] Deleted contents of the etcd data directory: %s"):format(state)) end
  ctx:say("[reset] Stopping the kubelet service")
  ctx:say('[reset] Unmounting mounted directories in "/var/lib/kubelet"')
  ctx:say("[reset] Deleting contents of directories: [/etc/kubernetes/manifests /var/lib/kubelet /etc/kubernetes/pki]")
  ctx:say("[reset] Deleting files: [/etc/kubernetes/admin.conf /etc/kubernetes/super-admin.conf /etc/kubernetes/kubelet.conf "
    .. "/etc/kubernetes/bootstrap-kubelet.conf /etc/kubernetes/controller-manager.conf /etc/kubernetes/scheduler.conf]")
  for _, l in ipairs { "", "The reset process does not perform cleanup of CNI plugin configuration,", "network filtering rules and kubeconfig files.", "",
    "For information on how to perform this cleanup manually, please see:", "    https://k8s.io/docs/reference/setup-tools/kubeadm/kubeadm-reset/", "" } do ctx:say(l) end
end

--- The whole of it.
function reset.run(ctx)
  if not ctx.flags.force then
    local answer = ctx.call.stdin
    if type(answer) ~= "string" or not answer:match("^[yY]") then
      ctx:err("[reset] WARNING: Changes made to this host by 'kubeadm init' or 'kubeadm join' will be reverted.\n")
      ctx:out("[reset] Are you sure you want to proceed? [y/N]: ")
      ctx:fail("aborted reset operation")
    end
  end
  local stacked = files.exists(ctx.machine, MANIFEST)
  local state = data_dir(ctx) or "/var/lib/etcd"
  local api = Client.from_kubeconfig(ctx.world, ctx.machine, "/etc/kubernetes/admin.conf", "kubeadm")
  if api and stacked then
    cluster.reading(ctx, "reset")
    local fetched, why = cluster.fetch(api)
    if not fetched then
      ctx:err(config.klog("W", "reset.go:99", "[reset] Unable to fetch the kubeadm-config ConfigMap from cluster: failed to get config map: " .. why))
    end
  end
  ctx:say("[preflight] Running pre-flight checks")
  if not stacked then
    ctx:err(config.klog("W", "removeetcdmember.go:79", "[reset] No kubeadm config, using etcd pod spec to get data directory"))
    if ctx.minor < 28 then
      ctx:say("[reset] No etcd config found. Assuming external etcd")
      ctx:say("[reset] Please, manually reset etcd to prevent further issues")
    end
  else
    if ctx.minor < 22 then
      ctx:say(('[reset] Removing info for node "%s" from the ConfigMap "kubeadm-config" in the "kube-system" Namespace'):format(ctx.machine.hostname))
    end
    leave_etcd(ctx)
  end
  ctx.machine:stop_service "kubelet"
  local static = ctx.kubernetes:kubelet(ctx.machine).static
  files.empty(ctx.machine, "/etc/kubernetes/manifests")
  static:stop()
  files.empty(ctx.machine, "/etc/kubernetes/pki")
  for _, f in ipairs { "admin.conf", "super-admin.conf", "kubelet.conf", "bootstrap-kubelet.conf", "controller-manager.conf", "scheduler.conf" } do
    files.remove(ctx.machine, "/etc/kubernetes/" .. f)
  end
  for _, folder in ipairs { "/var/lib/kubelet", "/var/run/kubernetes", "/var/lib/cni" } do files.empty(ctx.machine, folder) end
  if stacked then
    files.empty(ctx.machine, state)
    ctx.kubernetes:etcd_wiped(ctx.machine.id)
  end
  if ctx.minor < 28 then old_words(ctx, stacked, state) else new_words(ctx, stacked, state) end
  ctx.kubernetes:changed(ctx.machine)
  return 0
end

return reset
