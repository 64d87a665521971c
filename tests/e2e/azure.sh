#!/usr/bin/env bash
# Every Azure kind against the emulator: applied, applied again, grown, shrunk, changed outside, killed, destroyed.
. "$(dirname "$0")/lib/story.sh"
stack=$root/tests/e2e/azure/stack.lua
arm() { "$VMRUN" lua "$root/tests/e2e/azure/arm.lua" "$state/emulator" "$@"; }
apply() { vmrun apply "$stack" --emulator --yes "$@" </dev/null; }
plan() { vmrun plan "$stack" --detailed-exitcode "$@" </dev/null; }
count() { arm GET "/emulator/writes" | jq ".counts.total"; }
nsg='~/Microsoft.Network/networkSecurityGroups/t-nsg'
rule() { printf '{"properties":{"protocol":"Tcp","access":"Allow","direction":"Inbound","priority":%s,"sourceAddressPrefix":"*","sourcePortRange":"*","destinationAddressPrefix":"*","destinationPortRange":"80"}}' "$1"; }

exits "apply" 0 apply
matches "all was made" "Done: [0-9]+ added, 0 changed, 0 destroyed"
before=$(count)
exits "a second plan has no changes" 0 plan
exits "a second apply" 0 apply
has "says so" "No changes."
same "and writes nothing" "$(count)" "$before"

exits "growing" 0 apply workers=3
has "adds two" "add 2 (grows from 1 to 3)"
exits "shrinking" 0 apply workers=1
matches "removes two by their ids" "instances\[1..2\]: remove 2 alike"
same "the first one stays" "$(vmrun output "$stack" --json | jq -r '.instances.value[].id' | tr '\n' ' ')" "0 "
exits "a parameter out of bounds" 1 apply rules=9
exits "nothing is left to do" 0 plan workers=1

arm DELETE "$nsg/securityRules/ssh" >/dev/null
arm PUT "$nsg/securityRules/theirs" "$(rule 300)" >/dev/null
exits "a rule that was deleted in Azure is drift" 2 plan workers=1
has "it is named" "rules[ssh]"
lacks "another's rule is none" "theirs"
exits "it is mended" 0 apply workers=1
same "and theirs stays" "$(arm GET "$nsg" | sed 's/^200 //' | jq -r '[.properties.securityRules[].name]|sort|join(" ")')" "api ssh theirs"
exits "a rule that is no longer declared" 0 apply rules=1 workers=1
same "goes" "$(arm GET "$nsg" | sed 's/^200 //' | jq -r '[.properties.securityRules[].name]|sort|join(" ")')" "ssh theirs"
exits "and then nothing" 0 plan rules=1 workers=1

exits "a tag, a secret and a trigger change" 0 apply rules=1 workers=1 tag=b
has "three things" "0 added, 3 changed, 0 destroyed"
arm POST '~/Microsoft.Compute/virtualMachines/m-1/deallocate' >/dev/null
arm POST '~/Microsoft.Compute/virtualMachineScaleSets/t-w/virtualMachines/0/powerOff' >/dev/null
exits "a stopped machine is seen" 2 plan rules=1 workers=1 tag=b
has "and said" "deallocated"
has "also of a set" "power (changed outside): \"stopped\""
exits "and started" 0 apply rules=1 workers=1 tag=b
exits "and then nothing more" 0 plan rules=1 workers=1 tag=b

pid=$(jq .pid "$state/emulator/endpoint.json")
kill -9 "$pid"
exits "the emulator comes back after a kill" 0 plan rules=1 workers=1 tag=b
has "with the same world" "No changes."
lacks "secrets are not in the state" "canary-b" <<<"$(strings -a "$state"/stacks/*/state.db* 2>/dev/null)"
check "one write at a time is waited for" arm PUT /emulator/faults '[{"method":"PUT","path":"networkSecurityGroups","status":429,"code":"TooManyRequests","retry_after":1,"times":1}]'
exits "throttled, then done" 0 apply rules=2 workers=1 tag=b

arm PUT '~/Microsoft.Network/publicIPAddresses/theirs' '{"location":"westus2"}' >/dev/null
exits "destroy finds what is not ours" 1 vmrun destroy "$stack" --yes </dev/null
has "and names it" "publicIPAddresses theirs"
lacks "but not what came with ours" "OsDisk"
arm DELETE '~/Microsoft.Network/publicIPAddresses/theirs' >/dev/null
exits "destroy" 0 vmrun destroy "$stack" --yes </dev/null
has "it says what stays" "soft-deleted"
same "nothing is left" "$(vmrun emulator list --json | jq '.resources|length')" 0
same "the state is empty" "$(vmrun state list "$stack" | wc -l)" 0
exits "and once more, as Flexible" 0 apply mode=Flexible workers=2 rules=2 tag=b
exits "which is complete" 0 plan mode=Flexible workers=2 rules=2 tag=b
exits "and destroyed" 0 vmrun destroy "$stack" --yes </dev/null
same "with its instances, disks and interfaces" "$(vmrun emulator list --json | jq '.resources|length')" 0

# Killed at some moment, run again: it completes, nothing is made twice, nothing is forgotten.
creates() { arm GET /emulator/writes | jq -r '.last[]|select(.method=="PUT" and .status==201)|.path' | sort | uniq -d; }
first=$state
for moment in 0.1 0.3 0.7 1.5; do
  state=$work/state-$moment
  "$VMRUN" apply "$stack" --emulator --yes --state-dir "$state" </dev/null >/dev/null 2>&1 &
  victim=$!
  sleep "$moment"
  kill -KILL "$victim" 2>/dev/null
  wait "$victim" 2>/dev/null # it is gone, and its lease with it, only when it has been reaped
  exits "killed after $moment s, then complete" 0 apply
  same "nothing was made twice" "$(creates)" ""
  exits "nothing is left to do" 0 plan
  vmrun emulator reset >/dev/null
done
state=$first # which the end stops
