#!/usr/bin/env bash
# cloud_provider of recipes/cluster.lua: Nodes are set up by it, Services get load balancers that we leave alone, a role that is missing shows
# and is mended, and it is there from the start or not at all.
. "$(dirname "$0")/lib/story.sh"
on=(control_planes=1 workers=1 cloud_provider=true version=1.35.4)
network=/subscriptions/{subscription}/resourceGroups/demo-rg/providers/Microsoft.Network
nsg=$network/networkSecurityGroups/demo-nsg
set=/subscriptions/{subscription}/resourceGroups/demo-rg/providers/Microsoft.Compute/virtualMachineScaleSets/demo-worker
get() { arm GET "$1" "${2:-2025-05-01}"; }
k() { timeout 20 kubectl --kubeconfig "$work/kubeconfig" "$@"; }

exits "a release of which no provider is known is refused" 1 vmrun check "$recipe" "${on[@]/1.35.4/1.37.0}"
has "by the release" "no version of cloud-provider-azure is known for Kubernetes 1.37.0; known are those for 1.20 to 1.36"

# A cluster that was made without one cannot get one.
exits "a cluster without it" 0 apply control_planes=1 workers=0 version=1.35.4 --target kubeadm.init.cluster
exits "turned on" 1 plan "${on[@]}" workers=0 --target kubeadm.init.cluster
has "is refused" "the cluster was made without a cloud provider, and cloud_provider cannot be turned on later"
has "with what to do" "leave cloud_provider = false, or make a new cluster"
exits "left as it was" 0 plan control_planes=1 workers=0 cloud_provider=false version=1.35.4 --target kubeadm.init.cluster --detailed-exitcode
exits "it goes" 0 vmrun destroy "$recipe" --yes --include-unmanaged
[ "$failed" -eq 0 ] || exit

exits "a cluster with it" 0 apply "${on[@]}"
[ "$failed" -eq 0 ] || exit
exits "again there is nothing to do" 0 plan "${on[@]}" --detailed-exitcode
check "a kubeconfig" vmrun kubeconfig "$recipe" --out "$work/kubeconfig"
nodes() { k get nodes -o json | jq -c "[.items[] | $1] | sort"; }
same "every Node has its machine's id" "$(nodes '.spec.providerID | sub("/subscriptions/[^/]*"; "")')" \
  '["azure:///resourceGroups/demo-rg/providers/Microsoft.Compute/virtualMachineScaleSets/demo-worker/virtualMachines/0","azure:///resourceGroups/demo-rg/providers/Microsoft.Compute/virtualMachines/demo-cp-1"]'
same "size, region and zone" "$(nodes '.metadata.labels | [.["node.kubernetes.io/instance-type"], .["topology.kubernetes.io/region"], .["topology.kubernetes.io/zone"]] | join(" ")' | jq -c unique)" \
  '["Standard_D2s_v5 westus2 0"]'
same "and waits for nothing" "$(nodes '[.spec.taints[]?.key] | join(" ")')" '["","node-role.kubernetes.io/control-plane"]'
same "the control plane has the load balancer's address, too" "$(k get node demo-cp-1 -o json | jq -c '[.status.addresses[].type]')" '["Hostname","InternalIP","ExternalIP"]'
same "so its kubelet asked twice, and no request is open" "$(k get csr -o json | jq -c '[([.items[] | select(.spec.username == "system:node:demo-cp-1")] | length),
  ([.items[] | select(.status.conditions == null)] | length)]')" '[2,0]'
same "claims get disks of a class of ours" "$(k get storageclass -o json | jq -c '[.items[] | [.metadata.name, .provisioner, .metadata.annotations["storageclass.kubernetes.io/is-default-class"]]]')" \
  '[["managed-csi","disk.csi.azure.com","true"]]'
k -n kube-system get secret azure-cloud-provider -o jsonpath='{.data.cloud-config}' | base64 -d >"$work/azure.json"
same "azure.json names the identity and no secret" "$(jq -r '[.useManagedIdentityExtension, .resourceGroup, .vnetName, .subnetName, .securityGroupName, .vmType, .loadBalancerSku, has("aadClientSecret")] | join(" ")' "$work/azure.json")" \
  "true demo-rg demo-vnet demo-nodes demo-nsg vmss standard false"
identity=$(arm GET "/subscriptions/{subscription}/resourceGroups/demo-rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/demo-cloud" 2024-11-30 | jq -r '.properties | "\(.clientId) \(.principalId)"')
same "which is the cloud's own" "$(jq -r .userAssignedIdentityID "$work/azure.json")" "${identity% *}"
of_machine() { get "$1" 2025-04-01 | jq -c '[.identity.userAssignedIdentities // {} | keys[] | split("/") | last] | sort'; }
same "control planes have it" "$(of_machine "${set%/virtualMachineScaleSets/*}/virtualMachines/demo-cp-1")" '["demo-cloud","demo-control"]'
same "and workers have it not" "$(of_machine "$set")" '["demo-worker"]'
assignments() { arm GET "/subscriptions/{subscription}/resourceGroups/demo-rg/providers/Microsoft.Authorization/roleAssignments" 2022-04-01; }
same "two roles on the group are all that it has" "$(assignments | jq -c --arg id "${identity#* }" '[.value[].properties | select(.principalId == $id) |
  [(.roleDefinitionId | split("/") | last | .[0:8]), (.scope | split("/") | last)]] | sort')" '[["4d97b98b","demo-rg"],["9980e02c","demo-rg"]]'

# A Service of type LoadBalancer: what the controller manager writes is its own.
service() { k create service loadbalancer "$1" --tcp="$2:80"; }
address() { k get service "$1" -o jsonpath='{.status.loadBalancer.ingress[0].ip}'; }
has_address() { [ -n "$(address "$1")" ]; }
rules() { get "$nsg" | jq -c '[.properties.securityRules[].name | select(startswith("k8s-azure-lb"))] | length'; }
pools() { get "$set" 2025-04-01 | jq -c '[.properties.virtualMachineProfile.networkProfile.networkInterfaceConfigurations[].properties.ipConfigurations[].properties.loadBalancerBackendAddressPools[]?.id | split("/") | .[-3:] | join("/")]'; }
check "a Service that wants one" service web 8080
check "gets one" until_true 30 has_address web
same "with a load balancer beside ours" "$(get "$network/loadBalancers" | jq -c '[.value[].name] | sort')" '["demo","demo-lb"]'
same "a rule in our security group" "$(rules)" 1
same "and the workers in its pool" "$(pools)" '["demo/backendAddressPools/kubernetes"]'
exits "none of it is drift" 0 plan "${on[@]}" --detailed-exitcode
# Writes of ours to the same group and the same set, while nobody would mend what they spoil.
scale() { k -n kube-system scale deployment cloud-controller-manager --replicas="$1" && until_true 20 runs "$1"; }
runs() { [ "$(k -n kube-system get pods -l k8s-app=cloud-controller-manager -o name | wc -l)" = "$1" ]; }
check "the controller manager stops" scale 0
more=("${on[@]}" admin_cidr=203.0.113.128/25 monitoring=true)
exits "other rules, and an agent in the set's model" 0 apply "${more[@]}" --target 'azure.*'
same "its rule is still there" "$(rules)" 1
same "with our new one" "$(get "$nsg" | jq -c '[.properties.securityRules[] | select(.name == "ssh") | .properties.sourceAddressPrefixes[]] | contains(["203.0.113.128/25"])')" true
same "and so is its pool" "$(pools)" '["demo/backendAddressPools/kubernetes"]'
exits "nothing is left to do" 0 plan "${more[@]}" --target 'azure.*' --detailed-exitcode
check "the controller manager is back" scale 1

# Somebody takes a role away.
role=$(assignments | jq -r --arg id "${identity#* }" '.value[] | select(.properties.principalId == $id and (.properties.roleDefinitionId | contains("4d97b98b"))).id')
check "its network role is taken away" arm DELETE "$role" 2022-04-01
check "another Service" service more 9090
fails() { k get events -o json | jq -r '.items[] | select(.involvedObject.name == "more" and .reason == "SyncLoadBalancerFailed").message' | tail -n 1; }
has_failed() { [ -n "$(fails)" ]; }
check "says that it cannot" until_true 30 has_failed
out=$(fails)
has "with the action" "Microsoft.Network/publicIPAddresses"
has "that it may not" "AuthorizationFailed"
exits "the plan sees what is missing" 2 plan "${more[@]}" --detailed-exitcode
has "by its name" "azure.role_assignment.cloud-network: create"
has "and nothing else" "Plan: 1 to add, 0 to change, 0 to destroy."
exits "apply brings it back" 0 apply "${more[@]}"
check "and the Service gets its load balancer" until_true 60 has_address more

check "they go" k delete service web more
gone() { [ "$(rules)" = 0 ] && [ "$(pools)" = '[]' ] && [ "$(get "$network/loadBalancers" | jq -c '[.value[].name]')" = '["demo-lb"]' ]; }
check "with all that was made for them" until_true 60 gone

more=("${more[@]/workers=1/workers=2}")
exits "a worker more" 0 apply "${more[@]}"
same "is set up as well" "$(nodes '.spec.providerID // "none" | split("/") | last')" '["0","1","demo-cp-1"]'
# Its images follow the cluster, behind the control planes.
images() { k -n kube-system get deploy,daemonset -o json | jq -c '[.items[].spec.template.spec.containers[].image | select(contains("azure-cloud")) | split(":")[1]] | unique'; }
same "its version is that of the release" "$(images)" '["v1.35.4"]'
more=("${more[@]/version=1.35.4/version=1.36.1}")
exits "another release" 0 apply "${more[@]}"
same "brings another version" "$(images)" '["v1.36.0"]'
matches "after the control plane" "kubernetes.node.cp-1: changed"
exits "and nothing is left to do" 0 plan "${more[@]}" --detailed-exitcode
exits "turned off" 1 plan "${more[@]/cloud_provider=true/cloud_provider=false}"
has "it is refused" "the cluster was made with a cloud provider, and cloud_provider cannot be turned off later"

exits "all is destroyed" 0 vmrun destroy "$recipe" --yes --include-unmanaged
same "nothing of ours is left in Azure" "$(ids)" ""
same "no machine is left" "$(machines)" ""
