#!/usr/bin/env bash
# Another `version` upgrades the cluster: node by node in the graph's order, with pods moved away first; a run may die anywhere; what
# would break the cluster is refused before the first write.
. "$(dirname "$0")/lib/story.sh"
. "$(dirname "$0")/lib/nodes.sh"

k() { timeout 30 kubectl --kubeconfig "$config" "$@"; }
kubelets() { k get nodes -o custom-columns=N:.metadata.name,V:.status.nodeInfo.kubeletVersion --no-headers | awk '{ print $2 }' | sort -u | tr '\n' ' '; }
images() {
  k get pods -n kube-system -o custom-columns=I:.spec.containers[0].image --no-headers | grep -oE 'kube-[a-z-]+:v[0-9.]+' | sort -u | tr '\n' ' '
}
left_over() { k get nodes -o json | jq -r '.items[] | select(.spec.unschedulable or .metadata.annotations["vmrun/upgrade"]) | .metadata.name'; }
upgraded_to() {
  same "$1: all kubelets are at $2" "$(kubelets)" "v$2 "
  same "$1: and the control planes with kube-proxy" "$(images)" "kube-apiserver:v$2 kube-controller-manager:v$2 kube-proxy:v$2 kube-scheduler:v$2 "
  same "$1: no Node is cordoned or marked" "$(left_over)" "${3:-}"
  exits "$1: the next plan has no changes" 0 plan version="$2" "${@:4}" --detailed-exitcode
}

exits "a cluster of 1.35.1" 0 apply version=1.35.1
config=$work/kubeconfig
check "a kubeconfig" vmrun kubeconfig "$recipe" --out "$config"
[ "$failed" -eq 0 ] || exit
same "it is of 1.35.1" "$(kubelets)" "v1.35.1 "

# What is refused, before anything is touched.
touched=$(writes)
disks >"$work/disks"
exits "a minor release that is skipped" 1 apply version=1.37.0
has "is named" "the cluster is at 1.35.1, and shall be at 1.37.0: that skips 1.36: an upgrade goes on by one minor release"
has "once" "1 step would break the cluster; nothing was changed"
matches "with its place" 'recipes/cluster/life.lua:[0-9]+: kubernetes.node.cp-1'
exits "for a part of it, too" 1 apply version=1.37.0 --target node.cp-2/kubeadm.node.tools
has "it says the same" "that skips 1.36"
exits "for a worker, too" 1 apply version=1.37.0 --target 'azure.virtual_machine_scale_set.worker.instances[0]/kubernetes.node.worker'
exits "without asking Azure, too" 1 apply version=1.37.0 --no-preflight
exits "a downgrade" 1 apply version=1.35.0
has "is named as well" "that is a downgrade, which kubeadm does not do"
same "nothing was written for all of these" "$(writes)" "$touched"
same "nor on the machines" "$(disks | diff "$work/disks" -)" ""

# The next patch, with two workers of three away at once, and one that somebody has cordoned.
exits "a third worker" 0 apply version=1.35.1 workers=3
workers=(workers=3 max_unavailable=67%)
exits "the plan of an upgrade" 2 plan version=1.35.2 "${workers[@]}" --detailed-exitcode
has "it shows each control plane" 'kubernetes.node.cp-3: change (field `version` changed: 1.35.1 -> 1.35.2)'
has "and the workers" 'kubernetes.node.worker: change 3 alike (field `version` changed: 1.35.1 -> 1.35.2)'
has "and nothing more than kubeadm's file beside" "Plan: 0 to add, 7 to change, 0 to destroy."
check "somebody cordons a worker" k cordon demo-worker000002
start_watch
exits "the upgrade" 0 apply version=1.35.2 "${workers[@]}"
stop_watch
done_order=$(grep -oE 'kubernetes\.node\.[a-z0-9-]+: changed \(' <<<"$out" | grep -oE 'cp-[0-9]|worker' | tr '\n' ' ')
same "control planes one after the other, then workers" "$done_order" "cp-1 cp-2 cp-3 worker worker worker "
matches "with a snapshot of etcd before" "kubernetes.node.cp-1: saving a snapshot of etcd"
same "etcd is led by one that stays" "$(grep -oE "cp-[1-3]: etcd's leadership .*" <<<"$out" | paste -sd,)" \
  "cp-1: etcd's leadership goes from demo-cp-1 to demo-cp-2,cp-2: etcd's leadership goes from demo-cp-2 to demo-cp-1"
same "which only the first took" "$(grep -c 'saving a snapshot' <<<"$out")" 1
same "one control plane was away at once" "$(most_away demo-cp)" 1
same "and two workers beside the cordoned one, at most" "$(most_away 'demo-worker00000[01]')" 2
same "the snapshot is for root alone" "$(stat -c '%a %U' "$state"/emulator/machines/*/root/var/backups/etcd | head -n 1)" "700 root"
upgraded_to "a patch release" 1.35.2 demo-worker000002 "${workers[@]}"
check "the cordoned one is given back" k uncordon demo-worker000002
given=(workers=2 max_unavailable=1)
exits "two workers again" 0 apply version=1.35.2 "${given[@]}"

# The next minor release: its repository, its packages; and another flannel, which comes behind the control planes.
flannel() { k get daemonset -n kube-flannel kube-flannel-ds "$@"; }
older() {
  flannel -o json | jq '{apiVersion, kind, metadata: (.metadata | {name, namespace, labels}), spec}' |
    sed -E 's|(flannel-io/flannel:v)[0-9.]+|\10.27.0|' | k apply --server-side --force-conflicts --field-manager=vmrun -f -
}
check "an older flannel" older
exits "the release without its control planes" 1 apply version=1.36.1 "${given[@]}" --exclude kubernetes.node.cp-1
has "flannel does not wait for those that nobody upgrades" \
  "the control planes are not at 1.36.1 and nothing in this run brings them there: demo-cp-1, demo-cp-2, demo-cp-3"
same "they are as they were" "$(kubelets)" "v1.35.2 "
start_watch
exits "the next minor release, one step at a time" 0 apply version=1.36.1 "${given[@]}" --parallel 1
stop_watch
matches "flannel waits for the control planes" "flannel.network.flannel: waiting for the control planes to be at 1.36.1"
same "and is changed behind them" "$(grep -oE '(flannel\.network\.flannel|kubernetes\.node\.cp-[12]): changed' <<<"$out" | grep -oE 'flannel:|cp-.' | tail -n 1)" flannel:
same "to what goes with us" "$(flannel -o jsonpath='{.spec.template.spec.containers[0].image}' | grep -c v0.27.0)" 0
same "one control plane was away at once" "$(most_away demo-cp)" 1
same "and one worker" "$(most_away demo-worker)" 1
upgraded_to "a minor release" 1.36.1 "" "${given[@]}"
same "the machines have the repository of the minor release" \
  "$(grep -hoE 'stable:/v[0-9.]+' "$state"/emulator/machines/*/root/etc/apt/sources.list.d/kubernetes.list | grep -v key | sort -u)" "stable:/v1.36"
same "the version that kubeadm keeps is the new one" \
  "$(k get configmap -n kube-system kubeadm-config -o jsonpath='{.data.ClusterConfiguration}' | grep -c 'kubernetesVersion: v1.36.1')" 1
same "flannel stays" "$(k get daemonset -n kube-flannel kube-flannel-ds -o jsonpath='{.status.numberReady}')" 5

# Killed in each step, and gone on with.
patch=1
while IFS='|' read -r name pattern; do
  patch=$((patch + 1))
  kill_after 1 "$pattern" version="1.36.$patch" "${given[@]}"
  same "$name: killed" "$code" 137
  exits "$name: the next run ends well" 0 apply version="1.36.$patch" "${given[@]}"
  upgraded_to "$name" "1.36.$patch" "" "${given[@]}"
done <<'STEPS'
in the snapshot|node\.cp-1: saving a snapshot
while the first control plane is drained|node\.cp-1: draining
within kubeadm upgrade apply|node\.cp-1: command kubeadm upgrade apply
before its kubelet is upgraded|node\.cp-1: package kubelet
before its kubelet restarts|node\.cp-1: service kubelet
while it is waited for|node\.cp-1: waiting for the Node to be ready at
within kubeadm upgrade node|node\.cp-2: command kubeadm upgrade node
while a worker is drained|kubernetes\.node\.worker: draining
before a worker's kubelet restarts|kubernetes\.node\.worker: service kubelet
STEPS
now=1.36.$patch
same "of the snapshots the newest five are kept" "$(find "$state"/emulator/machines/*/root/var/backups/etcd -name '*.db' | wc -l)" 5

# A worker that fails keeps the others from being begun.
next=1.36.$((patch + 1))
exits "a worker whose packages cannot be installed" 0 vmrun exec "$recipe" demo-worker000000 -- \
  "sudo -n mv /usr/local/sbin/apt-get /usr/local/sbin/away; printf '#!/bin/sh\necho no space left >&2\nexit 100\n' | sudo -n tee /usr/local/sbin/apt-get; sudo -n chmod 755 /usr/local/sbin/apt-get"
exits "fails the upgrade" 1 apply version="$next" "${given[@]}"
version_of() { k get node "$1" -o jsonpath='{.status.nodeInfo.kubeletVersion} {.spec.unschedulable}'; }
if grep -q 'worker.*was not begun' <<<"$out"; then
  has "the other was not begun" "the upgrade of node demo-worker000001 was not begun: that of demo-worker000000 has failed"
  same "it is as it was" "$(version_of demo-worker000001)" "v$now "
else
  same "the other had its turn before" "$(version_of demo-worker000001)" "v$next "
fi
has "what the host said is told" "no space left"
same "the one that failed takes no pods" "$(version_of demo-worker000000)" "v$now true"
exits "it is mended" 0 vmrun exec "$recipe" demo-worker000000 -- sudo -n mv /usr/local/sbin/away /usr/local/sbin/apt-get
exits "and the next run ends well" 0 apply version="$next" "${given[@]}"
upgraded_to "after a failure" "$next" "" "${given[@]}"
now=$next next=1.36.$((patch + 2))

# Certificates that are about to end: those of the first and the second control plane, made for ten days.
config_map() { k get configmap -n kube-system kubeadm-config -o jsonpath='{.data.ClusterConfiguration}'; }
configured() { k patch configmap -n kube-system kubeadm-config --type merge -p "$(jq -n --arg c "$1" '{data: {ClusterConfiguration: $c}}')"; }
was=$(config_map)
check "certificates are to live for ten days" configured "$was
certificateValidityPeriod: 240h0m0s"
for node in demo-cp-1 demo-cp-2; do
  exits "those of $node are made" 0 vmrun exec "$recipe" "$node" -- "sudo -n kubeadm certs renew all && sudo -n crictl stop \$(sudo -n crictl ps -q --name '^kube-apiserver\$') >/dev/null"
done
check "and those to come for a year" configured "$was"
ends=$(date -u -d '+10 days' +%F)
served() { # NODE: the day on which the certificate ends that its API server shows
  local address
  address=$(vmrun emulator list --json | jq -r --arg name "$1" '.machines[] | select(.hostname == $name) | .address')
  date -u -d "$(openssl s_client -connect "$address:6443" </dev/null 2>/dev/null | openssl x509 -noout -enddate | cut -d= -f2)" +%F
}
shows() { [ "$(served "$1")" = "$2" ]; }
check "the API servers show them" until_true 20 shows demo-cp-1 "$ends"
check "both" until_true 20 shows demo-cp-2 "$ends"
exits "a plan says so" 2 plan version="$now" "${given[@]}" --detailed-exitcode
has "which, and when" "\"end $ends: admin.conf, apiserver, apiserver-etcd-client"
has "of which control plane" "kubeadm.join.cp-2: 10 certificates of this control plane end within 30 days, admin.conf on $ends; they are to be renewed"
matches "of the first, too" "kubeadm.init.cluster: [0-9]+ certificates of this control plane end within 30 days, admin.conf on $ends"
has "and no other" "Plan: 0 to add, 2 to change, 0 to destroy."
exits "an apply renews them" 0 apply version="$now" "${given[@]}"
same "one control plane after the other" "$(grep -oE 'kubeadm\.(init\.cluster|join\.cp-2): (command certificates|changed)' <<<"$out" | paste -sd,)" \
  "kubeadm.init.cluster: command certificates,kubeadm.init.cluster: changed,kubeadm.join.cp-2: command certificates,kubeadm.join.cp-2: changed"
same "the API servers show new ones" "$(served demo-cp-1) $(served demo-cp-2)" "$(date -u -d '+365 days' +%F) $(date -u -d '+365 days' +%F)"
exits "and they are new" 0 plan version="$now" "${given[@]}" --detailed-exitcode
lacks "nothing is said any more" "certificate"
check "the API server answers with the new one" k get --raw /readyz
exits "a run that died between new certificates and those who read them" 0 vmrun exec "$recipe" demo-cp-3 -- sudo -n touch /var/lib/vmrun/certificates.renewing
exits "is seen" 2 plan version="$now" "${given[@]}" --detailed-exitcode
has "and made up for" "kubeadm.join.cp-3: change"
exits "by the next" 0 apply version="$now" "${given[@]}"
exits "which is all" 0 plan version="$now" "${given[@]}" --detailed-exitcode

# etcd's majority.
exits "one control plane of three may be made anew" 0 plan version="$now" "${given[@]}" --replace azure.virtual_machine.cp-2
exits "the first may not: nobody would know how the others are" 1 plan version="$now" "${given[@]}" --replace azure.virtual_machine.cp-1
has "it says so" "etcd keeps its majority without demo-cp-1: the way to the cluster is the machine that would be replaced"
machine=/subscriptions/{subscription}/resourceGroups/demo-rg/providers/Microsoft.Compute/virtualMachines
check "a control plane is stopped" arm POST "$machine/demo-cp-3/deallocate" 2025-04-01
not_ready() { k get node demo-cp-3 --no-headers | grep -q NotReady; }
check "its Node turns NotReady" until_true 40 not_ready
touched=$(writes)
exits "an upgrade is refused then" 1 plan version="$next" "${given[@]}" --exclude azure.virtual_machine.cp-3
has "with the reason" "control plane demo-cp-3 is not healthy: an upgrade begins with a healthy cluster"
exits "another one may not be made anew" 1 apply version="$now" "${given[@]}" --replace azure.virtual_machine.cp-2 --exclude azure.virtual_machine.cp-3
has "which is told" "etcd would lose its majority without demo-cp-2: 1 of 3 would be left; of 3 members demo-cp-3 is not healthy"
exits "nor destroyed" 1 vmrun destroy "$recipe" --yes --target azure.virtual_machine.cp-2
has "by --target, where the cluster cannot be asked" "it is not known whether etcd keeps its majority without demo-cp-2"
exits "nor reset" 1 vmrun destroy "$recipe" --yes --target kubeadm.join.cp-2 --no-preflight
has "whatever Azure is asked" "it is not known whether etcd keeps its majority without demo-cp-2"
exits "nor left out" 1 plan version="$now" "${given[@]}" control_planes=1 --exclude azure.virtual_machine.cp-3
same "nothing was written for all of these" "$(writes)" "$touched"
exits "the broken one may be made anew" 0 apply version="$now" "${given[@]}" --replace azure.virtual_machine.cp-3
members() { vmrun emulator list --json | jq -c '[.kubernetes[] | select(.type == "kubernetes.cluster") | .members | keys[]]'; }
same "in the place of the old member" "$(members)" '["demo-cp-1","demo-cp-2","demo-cp-3"]'
upgraded_to "with a control plane made anew" "$now" "" "${given[@]}"
check "it is stopped again" arm POST "$machine/demo-cp-3/deallocate" 2025-04-01
check "its Node turns NotReady" until_true 40 not_ready
exits "the whole cluster may go, as it is" 0 vmrun destroy "$recipe" --yes
same "no machine is left" "$(machines)" ""
