#!/usr/bin/env bash
# disk_encryption of recipes/cluster.lua: system disks by a key of ours, and back; what the plan says of it, what Azure then has.
. "$(dirname "$0")/lib/story.sh"
half=(--target 'azure.*' control_planes=1 workers=1)
ours=("${half[@]}" disk_encryption=customer)
group=/subscriptions/{subscription}/resourceGroups/demo-rg/providers
compute=$group/Microsoft.Compute
get() { arm GET "$1" "${2:-2025-04-01}"; }
disks_are() { get "$compute/disks" 2025-01-02 | jq -r '.value[].id' | while read -r id; do get "$id" 2025-01-02; done | jq -r .properties.encryption.type | sort | uniq -c | sed 's/^ *//'; }
set_of_machine() { get "$compute/virtualMachines/demo-cp-1" | jq -r '.properties.storageProfile.osDisk.managedDisk.diskEncryptionSet.id | split("/") | last'; }
set_of_workers() { get "$compute/virtualMachineScaleSets/demo-worker" | jq -r '.properties.virtualMachineProfile.storageProfile.osDisk.managedDisk.diskEncryptionSet.id | split("/") | last'; }
vault() { get "$group/Microsoft.KeyVault/vaults/demo-vault" 2025-05-01; }

exits "without it" 0 apply "${half[@]}"
same "disks have Azure's own key" "$(disks_are)" "2 EncryptionAtRestWithPlatformKey"
same "nothing of it is made" "$(ids | grep -ciE 'diskEncryptionSets|/keys/')" 0
same "nor is the vault bound for good" "$(vault | jq .properties.enablePurgeProtection)" null

exits "turned on for what is there" 2 plan "${ours[@]}" --detailed-exitcode
has "machines are made anew" "azure.virtual_machine.cp-1: replace (field \`encryption_set\` changed, forces replacement)"
has "so are the workers" "azure.virtual_machine_scale_set.worker: replace (field \`encryption_set\` changed, forces replacement)"
same "and nothing else is" "$(grep -c ': replace (' <<<"$out")" 2
has "the vault is told to be bound" "note: azure.key_vault.main: the vault demo-vault gets purge protection, which is for good"
exits "and applied" 0 apply "${ours[@]}"
exits "there is nothing more to do" 0 plan "${ours[@]}" --detailed-exitcode
same "the machine's disk has the set" "$(set_of_machine)" demo-disks
same "the workers' have, too" "$(set_of_workers)" demo-disks
same "so say the disks" "$(disks_are)" "2 EncryptionAtRestWithCustomerKey"
same "the vault has purge protection" "$(vault | jq .properties.enablePurgeProtection)" true
set=$(get "$compute/diskEncryptionSets/demo-disks" 2025-01-02)
out=$(jq -r .properties.activeKey.keyUrl <<<"$set")
matches "the set has the vault's key" "^https://demo-vault[.].*/keys/disks/[0-9a-f]+$"
same "its identity may use it, by a role on the vault" "$(arm GET "$group/Microsoft.KeyVault/vaults/demo-vault/providers/Microsoft.Authorization/roleAssignments" 2022-04-01 |
  jq -r --arg of "$(jq -r .identity.principalId <<<"$set")" '[.value[] | select(.properties.principalId == $of) | .properties |
    "\(.scope | split("/") | last) \(.roleDefinitionId | split("/") | last)"] | unique | .[]')" "demo-vault e147488a-f6f5-4113-8e2d-b22465e65bf6"
emulator writes | jq -r '.last[] | "\(.method) \(.path)"' | grep -nE 'PUT .*(roleAssignments|virtualMachines/demo-cp-1$|virtualMachineScaleSets/demo-worker$)' >"$work/order"
role=$(grep roleAssignments "$work/order" | tail -n 1 | cut -d: -f1) first=$(grep -E '/demo-(cp-1|worker)$' "$work/order" | tail -n 2 | head -n 1 | cut -d: -f1)
if [ "${role:-9999}" -lt "${first:-0}" ]; then pass "the role came before the disks"; else fail "the role came before the disks" "$(cat "$work/order")"; fi
exits "a worker more" 0 apply "${ours[@]}" workers=2
has "is no more than that" "Done: 1 added, 0 changed, 0 destroyed"
same "and has the key, too" "$(disks_are)" "3 EncryptionAtRestWithCustomerKey"
exits "which is complete" 0 plan "${ours[@]}" workers=2 --detailed-exitcode

# Changed behind our back.
jq '.properties.rotationToLatestKeyVersionEnabled = false | {location, identity: {type: .identity.type}, properties: (.properties | {activeKey, encryptionType,
  rotationToLatestKeyVersionEnabled})}' <<<"$set" >"$work/set.json"
check "somebody turns rotation off" arm PUT "$compute/diskEncryptionSets/demo-disks" 2025-01-02 "$(cat "$work/set.json")"
grant=$(arm GET "$group/Microsoft.KeyVault/vaults/demo-vault/providers/Microsoft.Authorization/roleAssignments" 2022-04-01 |
  jq -r '.value[] | select(.properties.roleDefinitionId | endswith("e147488a-f6f5-4113-8e2d-b22465e65bf6")) | .id')
check "somebody takes the role away" arm DELETE "$grant" 2022-04-01
settled() { [ "$(get "$compute/diskEncryptionSets/demo-disks" 2025-01-02 | jq -r .properties.provisioningState)" = Succeeded ]; }
check "which takes a while" until_true 20 settled
exits "the plan sees both" 2 plan "${ours[@]}" workers=2 --detailed-exitcode
has "the rotation" "auto_rotate (changed outside): false -> true"
has "the role" "azure.role_assignment.disks: create"
has "and no more" "Plan: 1 to add, 1 to change, 0 to destroy."
exits "and mends them" 0 apply "${ours[@]}" workers=2
exits "which is all" 0 plan "${ours[@]}" workers=2 --detailed-exitcode

# Azure makes no disk with a key that the set's identity may not use.
cat >"$work/early.lua" <<'LUA'
local azure = use "azure"
local p = params { set = param.string {}, subnet = param.string {}, zone = param.string { optional = true } }
local group = azure.resource_group "early" { name = "early-rg", location = "westus2" }
local nic = azure.network_interface "nic" { group = group, subnet = azure.existing "subnet" { id = p.subnet } }
azure.virtual_machine "vm" {
  group = group, interface = nic, size = "Standard_D2s_v5", image = "debian-12", encryption_set = azure.existing "set" { id = p.set },
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a",
}
LUA
subnet=$(arm GET "$group/Microsoft.Network/virtualNetworks/demo-vnet/subnets/demo-nodes" 2025-05-01 | jq -r .id)
exits "a set of somebody else's is used by its id" 0 vmrun apply "$work/early.lua" --emulator --yes "set=$(jq -r .id <<<"$set")" "subnet=$subnet"
exits "and read back" 0 vmrun plan "$work/early.lua" "set=$(jq -r .id <<<"$set")" "subnet=$subnet" --detailed-exitcode
exits "no disk is left" 0 vmrun destroy "$work/early.lua" --yes
check "without the role" arm DELETE "$(arm GET "$group/Microsoft.KeyVault/vaults/demo-vault/providers/Microsoft.Authorization/roleAssignments" 2022-04-01 |
  jq -r '.value[] | select(.properties.roleDefinitionId | endswith("e147488a-f6f5-4113-8e2d-b22465e65bf6")) | .id')" 2022-04-01
sed -i 's/public_key =/timeouts = { create = 3 }, &/' "$work/early.lua" # a new role is waited for longer than a story lasts
exits "Azure makes none" 1 vmrun apply "$work/early.lua" --emulator --yes "set=$(jq -r .id <<<"$set")" "subnet=$subnet"
matches "and the error says why" "create did not end within 3 s: waiting for the role on the key's vault: Unable to access key vault resource 'https://demo-vault"
exits "what was made of it goes" 0 vmrun destroy "$work/early.lua" --yes

exits "back to Azure's own key" 2 plan "${half[@]}" disk_encryption=platform workers=2 --detailed-exitcode
has "is new machines again" "azure.virtual_machine.cp-1: replace (field \`encryption_set\` changed, forces replacement)"
lacks "the vault's protection is no change" "purge_protection"
exits "and applied" 0 apply "${half[@]}" disk_encryption=platform workers=2
same "disks have Azure's own" "$(disks_are)" "3 EncryptionAtRestWithPlatformKey"
same "set and key are gone" "$(ids | grep -ciE 'diskEncryptionSets|/keys/')" 0
same "the vault stays as it became" "$(vault | jq .properties.enablePurgeProtection)" true
exits "and there is nothing more to do" 0 plan "${half[@]}" disk_encryption=platform workers=2 --detailed-exitcode

exits "destroy" 0 vmrun destroy "$recipe" --yes
has "its plan says what becomes of the vault" "the vault demo-vault stays soft-deleted for 7 days, and nobody can purge it before: it has purge protection"
same "nothing of ours is left" "$(ids)" ""
exits "the name is taken until then" 0 apply "${ours[@]}" --emulator
has "the plan says so" "the soft-deleted vault demo-vault is recovered, with all that it holds"
exits "it came back complete" 0 plan "${ours[@]}" --detailed-exitcode
exits "destroyed with its set" 0 vmrun destroy "$recipe" --yes
same "nothing of ours is left of that either" "$(ids)" ""
same "but the vault" "$(vmrun emulator list --json | jq -c '[.deleted_vaults[].name]')" '["demo-vault"]'

# One that went without protection gets it when it comes back.
exits "another without it" 0 apply "${half[@]}" --stack other name=other disk_encryption=platform
exits "goes" 0 vmrun destroy "$recipe" --yes --stack other
exits "and comes back with it" 0 apply "${ours[@]}" --stack other name=other
same "protected" "$(arm GET "${group/demo/other}/Microsoft.KeyVault/vaults/other-vault" 2025-05-01 | jq .properties.enablePurgeProtection)" true
