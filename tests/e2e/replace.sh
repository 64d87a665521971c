#!/usr/bin/env bash
# Another image or other custom data: workers are rolled, then control planes one by one, each in a plan of its own behind etcd's
# majority; without a roll they stay and are named.
. "$(dirname "$0")/lib/story.sh"
k() { timeout 30 kubectl --kubeconfig "$work/kubeconfig" "$@"; }
vm() { arm GET "/subscriptions/{subscription}/resourceGroups/demo-rg/providers/Microsoft.Compute/virtualMachines/demo-cp-$1" 2025-04-01; }
images() { for i in 1 2 3; do vm $i | jq -r .properties.storageProfile.imageReference.offer; done | tr '\n' ' '; }
made() { for i in 1 2 3; do vm $i | jq -r .properties.vmId; done; }
members() { vmrun emulator list --json | jq -c '[.kubernetes[] | select(.type == "kubernetes.cluster") | .members | keys[]]'; }
# What the state keeps of what a control plane was made of.
kept() { timeout 30 "$VMRUN" state show "$recipe" "azure.virtual_machine.cp-$1" --state-dir "$state" --json | jq -r .outputs.made_of; }
stays() { echo "stale, and stays: azure.virtual_machine.cp-$1 ($2)"; }
waits() { echo "stale, and replaced when this is done: azure.virtual_machine.cp-$1 ($2)"; }
cp -r "$root/recipes" "$work/recipes"
recipe=$work/recipes/cluster.lua

given=(workers=1)
exits "a cluster of three" 0 apply "${given[@]}"
[ "$failed" -eq 0 ] || exit
check "a kubeconfig" vmrun kubeconfig "$recipe" --out "$work/kubeconfig"
first=$(made)
same "the image is remembered" "$(kept 1 | grep -cxE 'debian-12 scrypt:[0-9a-f]{64}')" 1
same "and of the same custom data what tells nothing of others" "$(for i in 1 2 3; do kept $i; done | sort -u | wc -l)" 3

given+=(image=ubuntu-24.04 roll=false)
exits "the plan of another image, and no roll" 0 plan "${given[@]}"
for i in 1 2 3; do has "names control plane $i" "$(stays $i image)"; done
lacks "and makes none anew" "azure.virtual_machine.cp-2: replace"
lacks "nor changes one" "azure.virtual_machine.cp-2: change"
exits "apply" 0 apply "${given[@]}"
same "control planes are the same machines" "$(made)" "$first"
exits "the next plan has no changes" 0 plan "${given[@]}" --detailed-exitcode
has "and still names them" "$(stays 3 image)"

exits "two at once are too many" 1 plan "${given[@]}" --replace azure.virtual_machine.cp-2 --replace azure.virtual_machine.cp-3
has "for etcd" "etcd would lose its majority without demo-cp-2, demo-cp-3"
exits "the first is the way to the others" 1 plan "${given[@]}" --replace azure.virtual_machine.cp-1
has "which is said" "the way to the cluster is the machine that would be replaced"
exits "control plane 3 is made anew" 0 apply "${given[@]}" --replace azure.virtual_machine.cp-3
same "in the place of the old member" "$(members)" '["demo-cp-1","demo-cp-2","demo-cp-3"]'
exits "then nothing is to be done" 0 plan "${given[@]}" --detailed-exitcode
lacks "and it is not named any more" "azure.virtual_machine.cp-3 ("

# With a roll the workers come first, then control planes, one in each plan.
given=(workers=1 image=ubuntu-24.04 roll=true)
exits "the plan of a roll" 2 plan "${given[@]}" --detailed-exitcode
has "the worker is rolled" "remove (stale: image; [+1] comes for it, 1 of 1)"
for i in 1 2; do has "control plane $i waits" "$(waits $i image)"; done
lacks "the third is of it already" "azure.virtual_machine.cp-3"
lacks "none is made anew before" "azure.virtual_machine.cp-1: replace"
exits "apply" 0 apply "${given[@]}"
same "in three plans" "$(grep -c '^Done: ' <<<"$out")" 3
same "one after the other" "$(grep -oE '^  ± azure.virtual_machine.cp-[123]' <<<"$out" | grep -oE '[123]$' | paste -sd' ')" "1 2"
same "all are of the new image" "$(images)" "ubuntu-24_04-lts ubuntu-24_04-lts ubuntu-24_04-lts "
same "and members" "$(members)" '["demo-cp-1","demo-cp-2","demo-cp-3"]'
same "and all are Ready" "$(k get nodes --no-headers | grep -c ' Ready ')" 4
exits "then nothing is to be done" 0 plan "${given[@]}" --detailed-exitcode
lacks "and nobody is stale" "stale"

given=(workers=0 image=ubuntu-24.04 roll=true)
exits "without workers" 0 apply "${given[@]}"
echo "# another" >>"$work/recipes/cluster/cloud-init.yaml"
exits "other custom data for a part" 0 apply "${given[@]}" --target azure.virtual_machine_scale_set.worker
exits "the plan of the rest" 2 plan "${given[@]}" --detailed-exitcode --out "$work/saved"
has "is of the first" "azure.virtual_machine.cp-1: replace (stale: custom_data)"
has "the others wait" "$(waits 3 custom_data)"
second=$(made)
exits "it is what is done" 0 vmrun apply "$work/saved"
same "to the first alone" "$(made | paste - - - | cut -f2-)" "$(paste - - - <<<"$second" | cut -f2-)"
same "as members" "$(members)" '["demo-cp-1","demo-cp-2","demo-cp-3"]'
has "and it says what waits" "Not in this plan: azure.virtual_machine.cp-2 is stale (custom_data); the next apply replaces it."
# A run that is killed within one goes on where it was.
with=("${given[@]}")
at_line 1 'cp-2.*: destroyed' kill_run
exits "the next run ends well" 0 apply "${given[@]}"
exits "and then nothing is to be done" 0 plan "${given[@]}" --detailed-exitcode
lacks "nobody is stale" "stale"
same "three members" "$(members)" '["demo-cp-1","demo-cp-2","demo-cp-3"]'

given=(workers=0 control_planes=1 image=debian-12 roll=true)
exits "a cluster of one, from three" 0 apply "${given[@]}"
exits "has no other to go on with" 0 plan "${given[@]}" --detailed-exitcode
has "so it stays" "$(stays 1 'image')"
exits "destroy" 0 vmrun destroy "$recipe" --yes
