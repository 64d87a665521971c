#!/usr/bin/env bash
# Another image or other custom data: workers are rolled, control planes stay, are named, and are made anew one by one when that is
# asked for, each behind etcd's majority.
. "$(dirname "$0")/lib/story.sh"
k() { timeout 30 kubectl --kubeconfig "$work/kubeconfig" "$@"; }
vm() { arm GET "/subscriptions/{subscription}/resourceGroups/demo-rg/providers/Microsoft.Compute/virtualMachines/demo-cp-$1" 2025-04-01; }
images() { for i in 1 2 3; do vm $i | jq -r .properties.storageProfile.imageReference.offer; done | tr '\n' ' '; }
made() { for i in 1 2 3; do vm $i | jq -r .properties.vmId; done; }
members() { vmrun emulator list --json | jq -c '[.kubernetes[] | select(.type == "kubernetes.cluster") | .members | keys[]]'; }
# What the state keeps of what a control plane was made of.
kept() { timeout 30 "$VMRUN" state show "$recipe" "azure.virtual_machine.cp-$1" --state-dir "$state" --json | jq -r .outputs.made_of; }
stays() { echo "machine demo-cp-$1 was made of another $2, and stays until it is replaced: --replace azure.virtual_machine.cp-$1"; }
cp -r "$root/recipes" "$work/recipes"
recipe=$work/recipes/cluster.lua

given=(workers=1)
exits "a cluster of three" 0 apply "${given[@]}"
[ "$failed" -eq 0 ] || exit
check "a kubeconfig" vmrun kubeconfig "$recipe" --out "$work/kubeconfig"
first=$(made)
same "the image is remembered" "$(kept 1 | grep -cxE 'debian-12 [0-9a-f]{64}')" 1
same "and of the same custom data what tells nothing of others" "$(for i in 1 2 3; do kept $i; done | sort -u | wc -l)" 3
given+=(image=ubuntu-24.04)
exits "the plan of another image" 2 plan "${given[@]}" --detailed-exitcode
for i in 1 2 3; do has "names control plane $i" "$(stays $i image)"; done
lacks "and makes none anew" "azure.virtual_machine.cp-2: replace"
lacks "nor changes one" "azure.virtual_machine.cp-2: change"
has "the worker is rolled" "remove (stale: image; [+1] comes for it, 1 of 1)"
exits "apply" 0 apply "${given[@]}"
same "control planes are the same machines" "$(made)" "$first"
exits "the next plan has no changes" 0 plan "${given[@]}" --detailed-exitcode
has "and still names them" "$(stays 3 image)"

exits "two at once are too many" 1 plan "${given[@]}" --replace azure.virtual_machine.cp-2 --replace azure.virtual_machine.cp-3
has "for etcd" "etcd would lose its majority without demo-cp-2, demo-cp-3"
exits "the first is the way to the others" 1 plan "${given[@]}" --replace azure.virtual_machine.cp-1
has "which is said" "the way to the cluster is the machine that would be replaced"
for i in 2 3; do
  exits "control plane $i is made anew" 0 apply "${given[@]}" --replace azure.virtual_machine.cp-$i
  same "in the place of the old member" "$(members)" '["demo-cp-1","demo-cp-2","demo-cp-3"]'
  exits "then nothing is to be done" 0 plan "${given[@]}" --detailed-exitcode
  lacks "and it is not named any more" "machine demo-cp-$i was"
done
same "both are of the new image" "$(images)" "debian-12 ubuntu-24_04-lts ubuntu-24_04-lts "
same "and all are Ready" "$(k get nodes --no-headers | grep -c ' Ready ')" 4

echo "# another" >>"$work/recipes/cluster/cloud-init.yaml"
exits "other custom data" 0 apply "${given[@]}"
exits "has come to the workers" 0 plan "${given[@]}" --detailed-exitcode
has "the first has two reasons" "$(stays 1 'image, custom_data')"
has "the others one" "$(stays 3 custom_data)"
exits "the last is made anew" 0 apply "${given[@]}" --replace azure.virtual_machine.cp-3
exits "and then" 0 plan "${given[@]}" --detailed-exitcode
has "there is one less" "$(stays 2 custom_data)"
lacks "to be named" "machine demo-cp-3 was"
exits "destroy" 0 vmrun destroy "$recipe" --yes
