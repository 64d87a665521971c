#!/usr/bin/env bash
# recipes/cluster.lua with cloud_provider=true: kubelets and kube-controller-manager of Kubernetes 1.20.2, the real ones, wait for a cloud
# provider. What stands in for Azure's programs is the lab's (tests/lab/site/image/cloud.lua).
. "$(dirname "$0")/lib/cluster.sh"

params=("${site[@]}" version=1.20.2 control_planes=1 workers=1 cloud_provider=true)
exits "one control plane and one worker" 0 apply
took "one control plane and one worker"
[ "$failed" -eq 0 ] || exit

check "a kubeconfig" shows_config
nodes() { k get nodes -o json | jq -c "[.items[] | $1] | sort"; }
same "both Nodes are Ready" "$(nodes '.status.conditions[] | select(.type == "Ready").status')" '["True","True"]'
same "and wait for nothing" "$(nodes '[.spec.taints[]?.key] | join(" ")')" '["","node-role.kubernetes.io/master"]'
same "they have their machines' ids" "$(nodes '.spec.providerID | split("/") | last')" '["0","demo-cp-1"]'
same "zones and sizes" "$(nodes '.metadata.labels | [.["node.kubernetes.io/instance-type"], .["topology.kubernetes.io/region"], .["topology.kubernetes.io/zone"]] | join(" ")' | jq -c unique)" \
  '["Standard_D2s_v5 westus2 0"]'
same "kubelets were started to wait for it" "$(for n in demo-cp-1 worker; do said $n "sudo grep -o cloud-provider=external /var/lib/kubelet/kubeadm-flags.env"; done | sort -u)" "cloud-provider=external"
same "so was kube-controller-manager" "$(said demo-cp-1 "sudo grep -o cloud-provider=external /etc/kubernetes/manifests/kube-controller-manager.yaml")" "cloud-provider=external"
same "the control plane has the load balancer's address, too" "$(k get node demo-cp-1 -o json | jq -c '[.status.addresses[].type]')" '["Hostname","InternalIP","ExternalIP"]'
same "a certificate names it, and no request is open" "$(k get csr -o json | jq -c '[.items[] | select(.status.conditions == null)] | length')" 0
address=$(k get node demo-cp-1 -o json | jq -r '.status.addresses[] | select(.type == "ExternalIP").address')
same "that the kubelet serves with" "$(said demo-cp-1 "sudo openssl x509 -noout -ext subjectAltName -in /var/lib/kubelet/pki/kubelet-server-current.pem" | grep -oF "$address")" "$address"
check "logs come from it" k -n kube-system logs deploy/cloud-controller-manager
out=$(k -n kube-system logs deploy/cloud-controller-manager)
has "its identity gets a token on a control plane" "a token for"
check "all of the system's deployments are available" k -n kube-system wait --for=condition=Available deploy --all --timeout=110s
rolled_out() { k -n kube-system rollout status "$1" --timeout=110s; }
for set in daemonset/cloud-node-manager daemonset/csi-azuredisk-node; do check "$set is everywhere" rolled_out $set; done
exits "again there is nothing to do" 0 plan
exits "it is not turned off" 1 vmrun plan "$recipe" "${params[@]}" cloud_provider=false
has "for a reason" "cloud_provider cannot be turned off later"
destroy() { patience=600 vmrun destroy "$recipe" --yes --include-unmanaged "${params[@]}"; }
exits "all of it goes" 0 destroy
same "no machine is left" "$(machines)" ""

# The next emulator may have the same network while the site of this one still answers.
serve=$(cut -d' ' -f1 "$state/emulator/site.serving") first=$state network=$(endpoint net)
for n in {1..5000}; do # a folder's name says where an emulator looks first
  next=$work/state-$n
  [ $((0x$(printf %s "$next/emulator" | sha256sum | cut -c 1-4) % 250 + 2)) -ne "${network#127.}" ] || break
done
kill -STOP "$serve"
exits "the emulator stops" 0 vmrun emulator stop
(sleep 6; kill -CONT "$serve") &
state=$next
check "another has a site" "$lab/site/start.sh" "$state"
wait
same "in the same network" "$(endpoint net)" "$network"
serves() { ! flock -n "$1/emulator/site.serving" true; }
ended() { ! serves "$1"; }
check "the first one's has ended" until_true 20 ended "$first"
sleep 1
check "the other's is its own, and stays" serves "$state"
exits "it stops, too" 0 vmrun emulator stop
