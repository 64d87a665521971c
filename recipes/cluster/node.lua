-- What is on every machine before it joins: a host to reach, the system, a runtime, the tools. Where
-- they come from are parameters, for sites that are cut off from the world.
local azure, ssh, linux, containerd, kubeadm = use("azure", "ssh", "linux", "containerd", "kubeadm")

return function(p, key)
  return component "node" {
    inputs = {
      machine_id = param.string {}, vm_id = param.string { optional = true },
      hostname = param.string {}, address = param.string {}, group = param.string {},
      through = param.string { optional = true }, jump = param.any { optional = true },
    },
    build = function(input)
      local keys = azure.host_keys "keys" { machine_id = input.machine_id, vm_id = input.vm_id }
      local host = ssh.host "host" {
        name = input.hostname, hostname = input.hostname, groups = { input.group },
        address = input.through or input.address, via = input.jump,
        user = p.user, key = key.private_key, host_keys = keys.lines,
      }
      local base = linux.base "base" {
        host = host, hostname = input.hostname, mirror = p.debian_mirror,
      }
      local runtime = containerd.runtime "runtime" {
        host = host, package = p.containerd, repository = p.containerd_repository,
        kubernetes = p.version, mirrors = p.registry_mirrors, after = { base },
      }
      return { host = host, tools = kubeadm.node "tools" {
        host = host, runtime = runtime, version = p.version, repository = p.kubernetes_repository,
      } }
    end,
  }
end
