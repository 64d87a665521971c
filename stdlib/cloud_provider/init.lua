--- What a Kubernetes cluster has of the cloud that it runs in: addresses and zones of its Nodes, load balancers, disks.
return { doc = "cloud providers of Kubernetes clusters: cloud-provider-azure and its CSI driver for disks" }
