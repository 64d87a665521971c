-- A cloud provider of a release that none is known for, under a name that it keeps for itself, without what it has to have, in a
-- cluster that does not wait for it.
local azure, cloud_provider, kubernetes = use("azure", "cloud_provider", "kubernetes")
local ssh, containerd, kubeadm = use("ssh", "containerd", "kubeadm")
local cluster = kubernetes.cluster "c" { kubeconfig = "kubeconfig" }
local group = azure.resource_group "g" { name = "g", location = "westeurope" }
local identity = azure.user_assigned_identity "i" { name = "iii", group = group }
local network = azure.virtual_network "v" { name = "v", group = group, cidr = "10.0.0.0/16" }
local subnet = azure.subnet "s" { name = "s", vnet = network, cidr = "10.0.1.0/24" }
local provider = cloud_provider.azure "provider" {
  cluster = cluster, version = "1.37.0", group = group, subnet = subnet, identity = identity,
}
cloud_provider.azure "name" {
  cluster = cluster, version = "1.36.0", group = group, subnet = subnet, identity = identity, cluster_name = "demo-internal",
}
cloud_provider.azure "less" { cluster = cluster, version = "1.36.0", group = group, subnet = subnet }
cloud_provider.azure_disk "disks" { cluster = cluster, provider = provider, disks = "Premium" }

local host = ssh.host "h" { address = "10.0.1.4", user = "u", key = "k", host_keys = { "ssh-ed25519 AAAA" } }
local tools = kubeadm.node "t" { host = host, version = "1.36.1",
  runtime = containerd.runtime "r" { host = host, kubernetes = "1.36.1" } }
for name, is in pairs { awaited = true, alone = false } do
  local made = kubeadm.init(name) { host = host, node = tools, address = "10.0.1.4", endpoint = "api.example", cloud_provider = is }
  cloud_provider.azure(name) { cluster = made, version = "1.36.0", group = group, subnet = subnet, identity = identity }
end
