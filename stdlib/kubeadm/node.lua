--- kubeadm, kubelet and kubectl of one release, held. Once the host has joined a cluster, which release it has is a matter of its
-- Node (kubernetes.node's `version`): the repository, which has one minor release, and the holds stay one of this role.
local field, release, role = require "field", require "kubernetes.release", require "role"

return role "kubeadm.node" {
  doc = "The Kubernetes packages of a host: pinned and held, from the repository of their minor release.",
  inputs = {
    runtime = field.resource { "containerd.runtime", required = true, doc = "The container runtime, which must be there before." },
    version = field.string { required = true, match = "^v?%d+%.%d+%.%d+$", doc = "The release, such as 1.36.1." },
    repository = field.string { doc = "The package repository; pkgs.k8s.io's for the minor release unless given." },
  },
  tasks = function(host, f)
    local url = f.repository or ("https://pkgs.k8s.io/core:/stable:/v1.%d/deb"):format(release.minor(f.version))
    host.apt_repository "kubernetes" { url = url .. "/", suite = "/", key_url = url .. "/Release.key" }
    host.package "kubernetes" { names = { "kubelet", "kubeadm", "kubectl" }, version = f.version:gsub("^v", "") .. "-*", hold = true,
      version_until = "/etc/kubernetes/kubelet.conf" }
    host.package "tools" { names = { "cri-tools", "kubernetes-cni" }, hold = true }
    -- kubeadm starts it, once there is something for it to read.
    host.service "kubelet" { state = "any" }
  end,
}
