#!/usr/bin/env bash
# Spot instances that Azure takes back: shown as evicted, started or replaced by apply; no capacity is a warning.
. "$(dirname "$0")/lib/story.sh"
compute=providers/Microsoft.Compute
evict() { vmrun emulator evict "$(vmrun output "$1" --json | jq -r ".instances.value[$2].resource_id")"; }
# The emulator's own word for what each machine of a set does.
power() {
  arm GET "$1/instanceView" 2025-04-01 | jq -r '.statuses[] | select(.code | startswith("PowerState")).code | split("/") | last'
}

# Sets of both modes and both policies, without anything on their machines.
cat >"$work/sets.lua" <<'LUA'
local azure = use "azure"
local p = params { mode = param.choice { "Uniform", "Flexible" }, eviction = param.choice { "Deallocate", "Delete" } }
local g = azure.resource_group "g" { name = "spot-rg", location = "westeurope" }
local v = azure.virtual_network "v" { name = "v", group = g, cidr = "10.0.0.0/16" }
local s = azure.subnet "s" { name = "s", vnet = v, cidr = "10.0.1.0/24" }
local w = azure.virtual_machine_scale_set "w" { name = "spot", group = g, subnet = s, mode = p.mode, size = "Standard_D2s_v5",
  image = "debian-12", user = "ops", capacity = 2, spot = { eviction = p.eviction },
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEYHYIBbMWQEzPAAzP2G7DJQY8OEHWfeB6RzOWtrlIMQ" }
outputs { instances = w.instances }
LUA
sets=$work/sets.lua
ids_of() { vmrun output "$sets" --json | jq -r '.instances.value[].id' | sort | tr '\n' ' '; }
for mode in Uniform Flexible; do
  exits "$mode, Deallocate" 0 vmrun apply "$sets" --emulator --yes mode=$mode eviction=Deallocate
  before=$(ids_of) gone=$(vmrun output "$sets" --json | jq -r '.instances.value[0] | .name')
  check "one is evicted" evict "$sets" 0
  exits "the plan" 2 vmrun plan "$sets" --detailed-exitcode mode=$mode eviction=Deallocate
  has "shows it" "[evicted: $gone]"
  exits "apply" 0 vmrun apply "$sets" --emulator --yes mode=$mode eviction=Deallocate
  same "starts it" "$(power "$(vmrun output "$sets" --json | jq -r '.instances.value[0].resource_id')")" running
  same "the same" "$(ids_of)" "$before"
  exits "and then nothing" 0 vmrun plan "$sets" --detailed-exitcode mode=$mode eviction=Deallocate
  exits "$mode, Delete: another set" 0 vmrun apply "$sets" --emulator --yes mode=$mode eviction=Delete
  exits "is complete" 0 vmrun plan "$sets" --detailed-exitcode mode=$mode eviction=Delete
  before=$(ids_of)
  check "one is evicted, and gone" evict "$sets" 0
  exits "the plan" 2 vmrun plan "$sets" --detailed-exitcode mode=$mode eviction=Delete
  has "makes up for it" "grows from 1 to 2"
  exits "apply" 0 vmrun apply "$sets" --emulator --yes mode=$mode eviction=Delete
  same "has one of before and one that is new" "$(comm -12 <(tr ' ' '\n' <<<"$before" | sed '/^$/d') <(ids_of | tr ' ' '\n' | sed '/^$/d') | wc -l) $(ids_of | wc -w)" "1 2"
  exits "and then nothing" 0 vmrun plan "$sets" --detailed-exitcode mode=$mode eviction=Delete
  exits "it goes" 0 vmrun destroy "$sets" --yes
done

# An error that is not for lack of capacity stays one.
exits "Deallocate again" 0 vmrun apply "$sets" --emulator --yes mode=Uniform eviction=Deallocate
check "both are evicted" evict "$sets" 0
check "at once" evict "$sets" 1
first=$(vmrun output "$sets" --json | jq -r '.instances.value[0] | .name') second=$(vmrun output "$sets" --json | jq -r '.instances.value[1] | .name')
check "a start fails" vmrun emulator fault fail method=POST "path=virtualMachines/${first##*_}" times=1
exits "for a reason of its own" 1 vmrun apply "$sets" --emulator --yes mode=Uniform eviction=Deallocate
has "which is said" "InternalExecutionError"
exits "the one that could start runs" 2 vmrun plan "$sets" --detailed-exitcode mode=Uniform eviction=Deallocate
has "the other is evicted still" "[evicted: $first]"
lacks "alone" "$second"
exits "then it starts" 0 vmrun apply "$sets" --emulator --yes mode=Uniform eviction=Deallocate
exits "and nothing is left to do" 0 vmrun plan "$sets" --detailed-exitcode mode=Uniform eviction=Deallocate
exits "they go" 0 vmrun destroy "$sets" --yes

# The cluster's workers: what is on an evicted machine does not answer, and is nobody's fault.
given=(environment=production control_planes=1 workers=2 spot=true)
set=/subscriptions/{subscription}/resourceGroups/demo-rg/$compute/virtualMachineScaleSets/demo-worker
exits "a cluster with Spot workers" 0 apply "${given[@]}"
vmrun kubeconfig "$recipe" --out "$work/kubeconfig" >/dev/null 2>&1
ready() { [ "$(timeout 30 kubectl --kubeconfig "$work/kubeconfig" get nodes --no-headers | awk '$2 ~ /^Ready/' | wc -l)" -eq "$1" ]; }
check "three nodes are Ready" ready 3
subscription=$(endpoint subscription)
check "a worker is evicted" vmrun emulator evict "${set//\{subscription\}/$subscription}/virtualMachines/1"
check "its Node is not Ready" until_true 30 ready 2
for code in AllocationFailed OverconstrainedAllocationRequest SkuNotAvailable; do
  check "there is no capacity: $code" vmrun emulator fault fail method=POST path=demo-worker/virtualMachines/1 "fail=$code"
  exits "apply goes on" 0 apply "${given[@]}"
  has "with a warning" "warning: Azure has no capacity to start what it evicted: demo-worker_1 ($code)"
  exits "the plan" 2 plan "${given[@]}" --detailed-exitcode
  has "shows it as evicted again" "[evicted: demo-worker_1]"
  has "would start it, and nothing else" "Plan: 0 to add, 1 to change, 0 to destroy."
  check "the fault ends" vmrun emulator fault clear
done
exits "with capacity" 0 apply "${given[@]}"
lacks "there is no warning" "warning"
same "it runs" "$(power "$set/virtualMachines/1")" running
check "its Node is Ready" until_true 30 ready 3
exits "and nothing is left to do" 0 plan "${given[@]}" --detailed-exitcode
exits "destroy" 0 vmrun destroy "$recipe" --yes
