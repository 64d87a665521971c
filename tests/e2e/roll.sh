#!/usr/bin/env bash
# Stale workers are replaced in place of others, a few at a time: what a plan says of it, budgets of pods, failures, a kill in the middle.
. "$(dirname "$0")/lib/story.sh"
cp -r "$root/recipes" "$work/recipes"
recipe=$work/recipes/cluster.lua
set=/subscriptions/{subscription}/resourceGroups/demo-rg/providers/Microsoft.Compute/virtualMachineScaleSets/demo-worker
base=(environment=production control_planes=1)
k() { timeout 30 kubectl --kubeconfig "$work/kubeconfig" "$@"; }
workers() { k get nodes -l node-role.kubernetes.io/worker --no-headers | awk '$2 == "Ready" { print $1 }' | sort; }
instances() { arm GET "$set/virtualMachines" 2025-04-01 | jq -r '.value[].properties.osProfile.computerName' | sort; }
sizes() { arm GET "$set/virtualMachines" 2025-04-01 | jq -r '.value[].sku.name' | sort -u | tr '\n' ' '; }
capacity() { arm GET "$set" 2025-04-01 | jq .sku.capacity; }
kept() { comm -12 <(echo "$1") <(workers) | sed '/^$/d' | wc -l; }
adds() { grep -c ': members added' <<<"$out"; }

# The fewest and most workers that were Ready and not cordoned, and the most instances, asked all the time.
watch_workers() {
  while [ -e "$work/watching" ]; do
    k get nodes -l node-role.kubernetes.io/worker --no-headers 2>/dev/null | awk '$2 == "Ready" { n++ } END { print n + 0 }'
    sleep 0.3
  done >>"$work/watched"
}
start_watch() { : >"$work/watched" && : >"$work/watching" && { watch_workers & watcher=$!; } && until_true 10 test -s "$work/watched"; }
stop_watch() { rm -f "$work/watching" && wait "$watcher"; }
fewest() { sort -n "$work/watched" | head -1; }
most() { sort -n "$work/watched" | tail -1; }

given=("${base[@]}" workers=3)
exits "three workers" 0 apply "${given[@]}"
[ "$failed" -eq 0 ] || exit
check "a kubeconfig" vmrun kubeconfig "$recipe" --out "$work/kubeconfig"

# Left alone.
sed -i 's/mode = "Uniform", capacity/mode = "Uniform", size = p.worker_size, capacity/; s/^  roll           = /  worker_size = param.string { default = "Standard_D2s_v5" },\n&/' "$recipe"
sed -i 's/fields.size, fields.image, fields.user = p.size, /fields.size, fields.image, fields.user = fields.size or p.size, /' "$recipe"
exits "the same size under another name" 0 plan "${given[@]}" --detailed-exitcode
first=$(workers)
exits "another size, left alone" 0 apply "${given[@]}" worker_size=Standard_D4s_v5 roll=false
same "leaves all workers" "$(kept "$first")" 3
same "as they were" "$(sizes)" "Standard_D2s_v5 "
given+=(worker_size=Standard_D4s_v5)
exits "then there is nothing to do" 0 plan "${given[@]}" roll=false --detailed-exitcode
has "which is said" "No changes."
for i in 0 1 2; do has "each is told: $i" "stale, and stays: azure.virtual_machine_scale_set.worker.instances[$i] (size)"; done
exits "also as JSON" 0 plan "${given[@]}" roll=false --json
same "has them" "$(jq -c '[.. | objects | select(.stale?) | [.action, .member, .stale]] | unique' <<<"$out")" '[["no-op","0","size"],["no-op","1","size"],["no-op","2","size"]]'

# Rolled, with a budget of pods in the way for a while.
web() {
  k apply -f - <<YAML
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: default }
spec:
  replicas: 3
  selector: { matchLabels: { app: web } }
  template: { metadata: { labels: { app: web } }, spec: { containers: [{ name: web, image: web }] } }
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: { name: web, namespace: default }
spec: { minAvailable: 3, selector: { matchLabels: { app: web } } }
YAML
}
check "pods with a budget that lets none go" web
check "they run" until_true 30 sh -c "[ \"\$(kubectl --kubeconfig '$work/kubeconfig' get deployment web -o jsonpath='{.status.readyReplicas}')\" = 3 ]"
exits "the plan of a roll" 2 plan "${given[@]}" roll=true --detailed-exitcode --out "$work/roll.plan"
has "says which goes, why, and what comes" "instances[0]: remove (stale: size; [+1] comes for it, 1 of 3)"
has "and for whom" "instances[+3]: add (for [2])"
exits "as JSON" 2 plan "${given[@]}" roll=true --detailed-exitcode --json
same "too" "$(jq -c '[.. | objects | select(.replaced_by?) | .member] | unique' <<<"$out")" '["0","1","2"]'
start_watch
vmrun apply "$work/roll.plan" --yes >"$work/out" 2>&1 &
run=$!
check "the first is drained" until_true 60 grep -q 'draining: [1-9]' "$work/out"
cordoned() { [ "$(k get nodes --no-headers | grep -c SchedulingDisabled)" -eq 1 ]; }
check "it alone is cordoned" cordoned
sleep 3
same "the budget holds it" "$(kept "$first") $(instances | wc -l)" "2 3"
check "the budget allows one" k patch pdb web --type merge -p '{"spec":{"minAvailable":2}}'
wait "$run"
same "the saved plan ends well" "$?" 0
stop_watch
out=$(<"$work/out")
same "never was more than one away" "$(fewest)" 2
same "all workers are new" "$(kept "$first") $(workers | wc -l)" "0 3"
same "of the new size" "$(sizes)" "Standard_D4s_v5 "
same "each Node has its instance" "$(workers)" "$(instances)"
same "one was added for each" "$(adds) $(capacity)" "3 3"
exits "the next plan has no changes" 0 plan "${given[@]}" roll=true --detailed-exitcode
lacks "and nobody is stale" stale

# Custom data, of which no machine says anything; killed in the middle, twice.
given+=(roll=true)
second=$(workers)
echo "# another" >>"$work/recipes/cluster/cloud-init.yaml"
sed -i 's/fields.public_key, fields.custom_data = key.public_key, file("cluster\/cloud-init.yaml")/fields.public_key = key.public_key\n  fields.custom_data = file(fields.capacity and "cluster\/cloud-init.yaml" or "cluster\/old.yaml")/' "$recipe"
head -n -1 "$work/recipes/cluster/cloud-init.yaml" >"$work/recipes/cluster/old.yaml"
exits "the plan" 2 plan "${given[@]}" --detailed-exitcode
matches "says that it is the custom data" 'remove \(stale: custom_data; \[\+3\] comes for it, 3 of 3\)'
start_watch
kill_at 'worker.instances\[[0-9]+\]: removed' "${given[@]}"
same "killed when the first has gone" "$code" 137
kill_at 'kubeadm.join.join: created' "${given[@]}"
same "killed when its successor has joined" "$code" 137
same "two of before are there" "$(kept "$second")" 2
exits "the plan goes on" 2 plan "${given[@]}" --detailed-exitcode
matches "with the two" 'comes for it, 2 of 2\)'
exits "apply" 0 apply "${given[@]}"
same "adds two" "$(adds)" 2
stop_watch
same "never was more than one away" "$(fewest) $(most)" "2 3"
same "all are new" "$(kept "$second") $(capacity) $(instances | wc -l)" "0 3 3"
exits "the next plan has no changes" 0 plan "${given[@]}" --detailed-exitcode
same "what Azure was asked for is what there is" "$(workers)" "$(instances)"

# A join that fails stops the rest.
third=$(workers)
k -n kube-system get configmap kubeadm-config -o yaml | grep -v 'resourceVersion\|uid' >"$work/kubeadm-config.yaml"
check "no machine can join" k -n kube-system delete configmap kubeadm-config
exits "back to the first size" 1 apply "${given[@]}" worker_size=Standard_D2s_v5
same "one went, the others were not begun" "$(kept "$third")" 2
same "and its successor is there" "$(instances | wc -l)" 3
exits "again" 1 apply "${given[@]}" worker_size=Standard_D2s_v5
same "nobody more went" "$(kept "$third") $(instances | wc -l)" "2 3"
check "they can join again" k apply -f "$work/kubeadm-config.yaml"
exits "then it goes on" 0 apply "${given[@]}" worker_size=Standard_D2s_v5
same "to the end" "$(kept "$third") $(sizes)$(workers | wc -l)" "0 Standard_D2s_v5 3"

# With surge some come first: of 34% of three, two. Among them is the first whose host name has a capital letter.
fourth=$(workers)
start_watch
exits "another size with surge" 0 apply "${given[@]}" max_surge=34%
same "those that come come first" "$(grep -oE ': (members added|removed)' <<<"$out" | head -1)" ": members added"
stop_watch
same "all are new" "$(kept "$fourth") $(capacity)" "0 3"
check "never was more than one away" [ "$(fewest)" -ge 2 ]
given+=(max_surge=34%)

# A replacement of the whole set makes as many as there are to be.
check "with all workers away no budget can hold" k delete pdb web
exits "the set is replaced" 0 apply "${given[@]}" --replace azure.virtual_machine_scale_set.worker
same "by one of three" "$(capacity) $(instances | wc -l) $(workers | wc -l)" "3 3 3"
exits "the next plan has no changes" 0 plan "${given[@]}" --detailed-exitcode
exits "destroy" 0 vmrun destroy "$recipe" --yes
