-- What happens to Nodes while the cluster lives, one after the other: another release, another size
-- of a control plane's machine, newer packages of the system.
local kubeadm, kubernetes = use("kubeadm", "kubernetes")

return function(p)
  local life = {}

  local function maintained(name, fields)
    fields.packages, fields.security, fields.reboot = p.packages, p.security_only, p.reboot
    return kubeadm.maintenance(name) (fields)
  end

  -- Returns what is last done to it.
  function life.control_plane(name, cluster, vm, host, after)
    local upgraded = kubernetes.node(name) {
      cluster = cluster, name = vm.name, host = host, version = p.version, control_plane = true,
      after = after,
    }
    local sized = kubeadm.machine_size(name) {
      machine = vm, size = p.size, cluster = cluster, name = vm.name, after = { upgraded },
    }
    return maintained(name, {
      cluster = cluster, name = vm.name, host = host, control_plane = true, after = { sized },
    })
  end

  function life.worker(cluster, vm, host, after)
    local name = lower(vm.hostname)
    local upgraded = kubernetes.node "worker" {
      cluster = cluster, name = name, host = host, version = p.version,
      labels = { ["node-role.kubernetes.io/worker"] = "" }, max_unavailable = p.max_unavailable,
      after = after,
    }
    return maintained("worker", { cluster = cluster, name = name, host = host,
      max_unavailable = p.max_unavailable, after = { upgraded } })
  end

  return life
end
