#!/usr/bin/env bash
# Another size of the control planes: one machine after the other, with its pods moved away and etcd's majority kept.
. "$(dirname "$0")/lib/story.sh"
k() { timeout 30 kubectl --kubeconfig "$work/kubeconfig" "$@"; }
vm() { echo "/subscriptions/{subscription}/resourceGroups/demo-rg/providers/Microsoft.Compute/virtualMachines/demo-cp-$1"; }
sizes() { for i in 1 2 3; do arm GET "$(vm $i)" 2025-04-01 | jq -r .properties.hardwareProfile.vmSize; done | sort -u | tr '\n' ' '; }
left_over() { k get nodes -o json | jq -r '.items[] | select(.spec.unschedulable or .metadata.annotations["vmrun/resize"]) | .metadata.name'; }
boots() { k get nodes -o json | jq -r '.items[] | select(.metadata.name | test("cp")) | .status.nodeInfo.bootID' | sort; }
watch_planes() {
  while [ -e "$work/watching" ]; do
    k get nodes --no-headers 2>/dev/null | awk '/-cp-/ && $2 != "Ready" { n++ } END { print n + 0 }'
    sleep 0.3
  done >>"$work/watched"
}

given=(environment=production control_planes=3 workers=1)
exits "a cluster of three" 0 apply "${given[@]}"
[ "$failed" -eq 0 ] || exit
check "a kubeconfig" vmrun kubeconfig "$recipe" --out "$work/kubeconfig"
exits "nothing more to do" 0 plan "${given[@]}" --detailed-exitcode
before=$(boots)
given+=(size=Standard_D4s_v5)
exits "the plan of another size" 2 plan "${given[@]}" --detailed-exitcode
has "names each machine" 'kubeadm.machine_size.cp-3: change (field `size` changed: Standard_D2s_v5 -> Standard_D4s_v5)'
lacks "and changes none at once" "azure.virtual_machine.cp-1: change"

check "one is out of order" arm POST "$(vm 3)/deallocate" 2025-04-01
not_ready() { k get nodes --no-headers | grep 'cp-3' | grep -q NotReady; }
check "and Kubernetes sees it" until_true 60 not_ready
exits "while that is so" 1 apply "${given[@]}" --target kubeadm.machine_size.cp-1
has "no other goes" "etcd would lose its majority without demo-cp-1: 1 of 3 would be left"
same "nothing is cordoned" "$(left_over)" ""
same "no size has changed" "$(sizes)" "Standard_D2s_v5 "
check "it is back" arm POST "$(vm 3)/start" 2025-04-01
ready() { k get nodes --no-headers | grep 'cp-3' | grep -qw Ready; }
check "and Ready" until_true 60 ready

: >"$work/watched" && : >"$work/watching"
watch_planes &
watcher=$!
kill_after 1 'machine_size\.cp-2: deallocating' "${given[@]}"
same "one is killed" "$code" 137
same "while the second was away" "$(left_over)" "demo-cp-2"
exits "the next run goes on, and says what it could not ask" 1 apply "${given[@]}"
has "as the machine was away" "node.cp-2/"
exits "the one after can ask" 0 apply "${given[@]}"
rm "$work/watching" && wait "$watcher"
same "all have the size" "$(sizes)" "Standard_D4s_v5 "
same "all were started anew" "$(comm -12 <(echo "$before") <(boots))" ""
same "none is cordoned" "$(left_over)" ""
same "never was more than one away" "$(sort -n "$work/watched" | tail -1)" 1
exits "the next plan has no changes" 0 plan "${given[@]}" --detailed-exitcode
exits "destroy" 0 vmrun destroy "$recipe" --yes
