#!/usr/bin/env bash
# A range of workers: between its ends an autoscaler decides how many, and what it adds or takes away is followed.
. "$(dirname "$0")/lib/story.sh"
set=/subscriptions/{subscription}/resourceGroups/demo-rg/providers/Microsoft.Compute/virtualMachineScaleSets/demo-worker
given=(environment=production control_planes=1 workers=2-5)
capacity() { arm GET "$set" 2025-04-01 | jq .sku.capacity; }
# What an autoscaler does: the capacity alone, then its instances come or go.
scale() { arm PATCH "$set" 2025-04-01 "{\"sku\":{\"capacity\":$1}}" >/dev/null && until_true 30 settled; }
settled() { [ "$(arm GET "$set" 2025-04-01 | jq -r .properties.provisioningState)" = Succeeded ]; }
k() { timeout 30 kubectl --kubeconfig "$work/kubeconfig" "$@"; }
workers() { k get nodes -l node-role.kubernetes.io/worker -o name | sed 's|^node/||' | sort; }
all_ready() { [ "$(k get nodes -l node-role.kubernetes.io/worker --no-headers | awk '$2 == "Ready" { n++ } END { print n + 0 }')" -eq "$1" ]; }
writes_to_set() {
  emulator writes | jq -r --arg mark "$mark" '[.last[] | select(.time > $mark and (.path | test("virtualMachineScaleSets/demo-worker($|[?])")))] | length'
}

exits "a range that is none" 1 plan "${given[@]}" workers=5-2 --emulator
has "is refused" "'workers' wants a range from less to more, got 5-2"
exits "two to five workers" 0 apply "${given[@]}"
[ "$failed" -eq 0 ] || exit
same "begin as two" "$(capacity)" 2
vmrun kubeconfig "$recipe" --out "$work/kubeconfig" >/dev/null 2>&1
check "and join" all_ready 2
exits "nothing more to do" 0 plan "${given[@]}" --detailed-exitcode
first=$(workers)

check "somebody scales to four" scale 4
exits "the plan" 2 plan "${given[@]}" --detailed-exitcode
lacks "leaves the capacity alone" "capacity"
matches "and removes nothing" "^Plan: [0-9]+ to add, 0 to change, 0 to destroy"
mark=$(emulator writes | jq -r '.last[-1].time')
exits "apply" 0 apply "${given[@]}"
same "writes nothing to the set" "$(writes_to_set)" 0
same "which has four still" "$(capacity)" 4
check "the two that came are joined" all_ready 4
same "beside those that were there" "$(comm -23 <(echo "$first") <(workers))" ""
exits "and then nothing" 0 plan "${given[@]}" --detailed-exitcode

check "somebody scales to one" scale 1
exits "the plan" 2 plan "${given[@]}" --detailed-exitcode
has "grows it to the least" "grows from 1 to 2"
before=$(workers)
exits "apply" 0 apply "${given[@]}"
same "two are there" "$(capacity)" 2
check "both are Ready" all_ready 2
same "of four Nodes one is left, and one is new" "$(comm -12 <(echo "$before") <(workers) | wc -l) $(workers | wc -l)" "1 2"
same "each Node has its instance" "$(workers)" \
  "$(arm GET "$set/virtualMachines" 2025-04-01 | jq -r '.value[].properties.osProfile.computerName' | sort)"
exits "and then nothing" 0 plan "${given[@]}" --detailed-exitcode

before=$(workers)
check "somebody scales to seven" scale 7
exits "the plan" 2 plan "${given[@]}" --detailed-exitcode
has "says how far it goes down" "shrinks"
exits "apply" 0 apply "${given[@]}"
same "five are left" "$(capacity)" 5
check "all are Ready" all_ready 5
same "with those that were there" "$(comm -23 <(echo "$before") <(workers))" ""
exits "and then nothing" 0 plan "${given[@]}" --detailed-exitcode

exits "another range" 2 plan "${given[@]}" workers=1-3 --detailed-exitcode
matches "takes the newest" "remove 2"
exits "a number" 0 apply "${given[@]}" workers=3
same "is that many" "$(capacity)" 3
exits "a range left out" 1 plan environment=production control_planes=1
has "is asked for as a number" "workers was 3; pass workers=3"
exits "a range again" 0 apply "${given[@]}"
same "leaves them" "$(capacity)" 3
exits "left out" 1 plan environment=production control_planes=1
has "it is asked for as it was written" "workers was 2-5; pass workers=2-5"
exits "destroy" 0 vmrun destroy "$recipe" --yes
