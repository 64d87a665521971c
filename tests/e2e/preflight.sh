#!/usr/bin/env bash
# Before the first write: what Azure would refuse is told at once, with its place, and nothing is written. And the role that
# `vmrun permissions` prints is enough.
. "$(dirname "$0")/lib/story.sh"

cat >"$work/small.lua" <<'LUA'
local azure = use "azure"
local p = params {
  size = param.string { default = "Standard_D2s_v5" }, zone = param.string { default = "1" },
  tags = param.map { param.string {}, default = {} }, count = param.integer { default = 1 },
  more = param.integer { default = 0 }, set_size = param.string { default = "Standard_D2s_v5" }, surge = param.string { default = "0" },
}
local group = azure.resource_group "g" { name = "small-rg", location = "westeurope" }
local network = azure.virtual_network "net" { group = group, cidr = "10.0.0.0/16" }
local subnet = azure.subnet "nodes" { vnet = network, cidr = "10.0.1.0/24" }
azure.public_ip_address "ip" { group = group }
for i = 1, p.more do azure.public_ip_address("more-" .. i) { group = group } end
local nic = azure.network_interface "nic" { group = group, subnet = subnet }
local key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a"
azure.virtual_machine "vm" {
  group = group, interface = nic, size = p.size, image = "debian-12", public_key = key, zone = p.zone, tags = p.tags,
}
azure.virtual_machine_scale_set "set" {
  group = group, mode = "Uniform", capacity = p.count, size = p.set_size, image = "debian-12", public_key = key, subnet = subnet,
  roll = { max_surge = p.surge },
}
LUA
small=$work/small.lua
check "an emulator" vmrun emulator start

admin() { ask --fail -X "$1" "$(endpoint arm)/emulator/$2" -H "Authorization: Bearer $(endpoint token)" --data "${3:-}"; }
limits() { admin PUT limits "$1" >"$work/limits" || fail "limits are taken"; }
# What was asked since the last time.
traffic() { admin POST "traffic?reset=1" >"$work/traffic"; }
# Everything that is asked only before a write.
preflights() {
  jq '[.counts.by | to_entries[] | select(.key | test("permissions|usages|skus|policyAssignments|checkPolicyRestrictions|Resources/providers"))
    | .value] | add // 0' "$work/traffic"
}

exits "a plan that Azure would take" 0 vmrun plan "$small" --emulator
lacks "has nothing more to say" "(preflight"
has "and its plan" "8 to add"
traffic
asked=$(preflights)
exits "one with forty addresses more" 0 vmrun plan "$small" --emulator more=40
traffic
same "asks for no more" "$asked $(preflights)" "5 5"

before=$(writes)
limits '{"quota": {"cores": 5, "standardDSv5Family": 100, "StandardSkuPublicIpAddresses": 0},
  "sizes": {"Standard_D4s_v5": {"zones": ["1", "3"]}},
  "policies": [{"name": "owners", "type": "Microsoft.Compute/virtualMachines", "without_tag": "owner"},
    {"name": "watched", "effect": "Audit"}]}'
check "a provider is taken from the subscription" arm POST "/subscriptions/{subscription}/providers/Microsoft.Network/unregister" 2021-04-01
before=$(writes)
exits "too much of everything" 1 vmrun plan "$small" --emulator size=Standard_D4s_v5 zone=2
has "the quota that is too small" \
  "small.lua:17: azure.virtual_machine_scale_set.set: quota: the plan needs 6 more of 'Total Regional vCPUs' in westeurope, where 5 of 5 are left"
lacks "not the one that is not" "DSv5 Family"
has "of addresses, too" \
  "small.lua:10: azure.public_ip_address.ip: quota: the plan needs 1 more of 'Public IPv4 Addresses - Standard' in westeurope, where 0 of 0"
has "the zone without the size" \
  "small.lua:14: azure.virtual_machine.vm: the size Standard_D4s_v5 is not offered in zone 2 of westeurope; zones that have it: 1, 3"
has "the policy that denies" "small.lua:14: azure.virtual_machine.vm: Azure's policy 'owners' denies it"
lacks "not the one that only looks" "watched"
has "a provider to be registered is no problem" \
  "note: azure.virtual_network.net: the subscription is not registered for Microsoft.Network; it will be"
has "all are counted" "4 things would fail; nothing was changed"
exits "nor does an apply write" 1 vmrun apply "$small" --emulator --yes size=Standard_D4s_v5 zone=2
same "a single thing" "$(writes)" "$before"
same "nothing is there" "$(ids)" ""
exits "a plan is not kept" 1 vmrun plan "$small" --emulator size=Standard_D4s_v5 zone=2 --out "$work/kept"
if [ -e "$work/kept" ]; then fail "at all"; else pass "at all"; fi
exits "a size with a slip" 1 vmrun plan "$small" --emulator size=Standard_D2s_v55
has "is not offered" "the size Standard_D2s_v55 is not offered in westeurope"
has "the nearest is named" "did you mean 'Standard_D2s_v5'?"
limits '{"sizes": {"Standard_D2s_v5": false}}'
exits "a size that we do not get" 1 vmrun plan "$small" --emulator
has "says why" "the size Standard_D2s_v5 is not available to this subscription in westeurope (NotAvailableForSubscription)"
limits '{"quota": {"cores": 4}, "policies": [{"name": "owners", "without_tag": "owner"}]}'
exits "exactly as much as is left" 1 vmrun plan "$small" --emulator 'tags={"owner":"me"}'
lacks "is no quota's problem" "quota"
lacks "nor is what has the tag a policy's" "virtual_machine.vm: Azure's policy"
has "what has not is" "azure.resource_group.g: Azure's policy 'owners' denies it"
traffic
exits "one address more" 1 vmrun plan "$small" --emulator more=1
traffic
asked=$(preflights)
exits "or forty of them" 1 vmrun plan "$small" --emulator more=40
traffic
same "are the same question to a policy" "$(preflights)" "$asked"
exits "without asking" 0 vmrun plan "$small" --emulator --no-preflight
traffic
same "nothing is asked" "$(preflights)" 0

limits '{"quota": {"cores": 4}}'
exits "an apply registers the provider" 0 vmrun apply "$small" --emulator --yes
traffic
exits "a plan with nothing to do" 0 vmrun plan "$small" --detailed-exitcode
traffic
same "asks nothing of the kind" "$(preflights)" 0
exits "one machine more" 1 vmrun plan "$small" count=2
has "is too much then" "needs 2 more of 'Total Regional vCPUs' in westeurope, where 0 of 4 are left"
exits "so is a larger one" 1 vmrun plan "$small" size=Standard_D4s_v5
has "by what it is larger" "needs 2 more of 'Total Regional vCPUs' in westeurope, where 0 of 4 are left"
exits "one in the place of another is not" 0 vmrun plan "$small" zone=3
has "that goes" "1 to destroy"
exits "nor is one less" 0 vmrun plan "$small" count=0
exits "a roll to another size of as many cores is not" 0 vmrun plan "$small" set_size=Standard_D2s_v3
has "which takes one away first" "comes for it, 1 of 1"
exits "with a surge it is" 1 vmrun plan "$small" set_size=Standard_D2s_v3 surge=3
has "by as many as there are at most" "azure.virtual_machine_scale_set.set: quota: the plan needs 2 more of 'Total Regional vCPUs'"
exits "a roll to a larger size is" 1 vmrun plan "$small" set_size=Standard_D4s_v5
has "by what it is larger in the end" "azure.virtual_machine_scale_set.set: quota: the plan needs 2 more of 'Total Regional vCPUs'"
exits "with a surge" 1 vmrun plan "$small" set_size=Standard_D4s_v5 surge=100%
has "by all of it" "azure.virtual_machine_scale_set.set: quota: the plan needs 4 more of 'Total Regional vCPUs'"
exits "what changes no machine" 0 vmrun plan "$small" 'tags={"a":"b"}'
has "changes it" "1 to change"

# A principal that may only read: the same emulator, under Azure's own names.
azure() { timeout 150 "$VMRUN" "$1" "$2" --state-dir "$work/stack" "${@:3}"; }
eval "$("$VMRUN" emulator env --state-dir "$state")"
applicant() { admin POST "application?name=$1" >"$work/$1.json"; }
be() { AZURE_CLIENT_ID=$(jq -r .client_id "$work/$1.json") AZURE_CLIENT_SECRET=$(jq -r .client_secret "$work/$1.json"); }
guid() { cat /proc/sys/kernel/random/uuid; }
# assign NAME ROLE SCOPE: a role (its GUID) for an applicant.
assign() {
  arm PUT "$3/providers/Microsoft.Authorization/roleAssignments/$(guid)" 2022-04-01 "{\"properties\": {\"principalType\": \"ServicePrincipal\",
    \"principalId\": \"$(jq -r .object_id "$work/$1.json")\",
    \"roleDefinitionId\": \"/subscriptions/$AZURE_SUBSCRIPTION_ID/providers/Microsoft.Authorization/roleDefinitions/$2\"}}" >/dev/null
}
unset AZURE_CLIENT_CERTIFICATE_PATH
applicant reader
check "a reader" assign reader acdd72a7-3385-48ef-bd42-f606fba81ae7 "/subscriptions/$AZURE_SUBSCRIPTION_ID"
be reader
sleep 2
sed 's/small-rg/other-rg/' "$small" >"$work/other.lua"
before=$(writes)
exits "a principal that may only read" 1 azure plan "$work/other.lua"
matches "may not make the group" \
  "other.lua:7: azure.resource_group.g: our principal may not Microsoft.Resources/subscriptions/resourceGroups/write on /subscriptions/[-0-9a-f]+ "
matches "nor the network" "other.lua:8: azure.virtual_network.net: our principal may not Microsoft.Network/virtualNetworks/write"
matches "nor join the subnet" "azure.network_interface.nic: .* nor Microsoft.Network/virtualNetworks/subnets/join/action"
has "is told what to do" "vmrun permissions $work/other.lua"
has "with the quota, at once" "needs 4 more of 'Total Regional vCPUs' in westeurope, where 0 of 4 are left"
limits '{"policies": [{"name": "owners"}]}'
exits "what it may not ask" 1 azure plan "$work/other.lua"
has "is said" "note: policies could not be checked: "
exits "an apply is refused" 1 azure apply "$work/other.lua" --yes
same "with nothing written" "$(writes)" "$before"

# A role on one resource counts.
cat >"$work/joined.lua" <<'LUA'
local azure = use "azure"
local p = params { vnet = param.string {}, lend = param.string { optional = true } }
azure.subnet "mine" { vnet = azure.existing "net" { id = p.vnet }, cidr = "10.0.2.0/24" }
if p.lend then azure.role_assignment "lend" { scope = p.vnet, principal = p.lend, role = "Reader" } end
LUA
vnet=/subscriptions/$AZURE_SUBSCRIPTION_ID/resourceGroups/small-rg/providers/Microsoft.Network/virtualNetworks/net
exits "a subnet in somebody's network" 1 azure plan "$work/joined.lua" "vnet=$vnet"
has "needs a right" "our principal may not Microsoft.Network/virtualNetworks/subnets/write on $vnet"
check "a role on that network alone" assign reader 4d97b98b-1d4f-4787-a291-c67834d212e7 "$vnet"
sleep 2
exits "is enough for it" 0 azure plan "$work/joined.lua" "vnet=$vnet"
me=$(jq -r .object_id "$work/reader.json")
exits "not for lending it" 1 azure plan "$work/joined.lua" "vnet=$vnet" "lend=$me"
has "which is another right" "our principal may not Microsoft.Authorization/roleAssignments/write on $vnet"
check "the right to lend that network" assign reader 18d7d88d-d35e-4fb5-a5c3-7773c20a72d9 "$vnet"
sleep 2
exits "lets it" 0 azure plan "$work/joined.lua" "vnet=$vnet" "lend=$me"

# The role that is printed for the cluster, and nothing else.
limits '{}'
check "the role is printed" azure permissions "$recipe"
azure permissions "$recipe" >"$work/role.json"
same "for this subscription" "$(jq -r '.AssignableScopes[0]' "$work/role.json")" "/subscriptions/$AZURE_SUBSCRIPTION_ID"
same "no action is everything" "$(jq '[.Actions[] | select(. == "*")] | length' "$work/role.json")" 0
# define GUID [WITHOUT]: the custom role, an action less.
define() {
  arm PUT "/subscriptions/$AZURE_SUBSCRIPTION_ID/providers/Microsoft.Authorization/roleDefinitions/$1" 2022-04-01 "$(jq --arg without "${2:-}" \
    '{properties: {roleName: .Name, description: .Description, assignableScopes: .AssignableScopes,
      permissions: [{actions: (.Actions - [$without]), dataActions: .DataActions}]}}' "$work/role.json")" >/dev/null
}
role=$(guid)
applicant worker
check "it is defined" define "$role"
check "and assigned" assign worker "$role" "/subscriptions/$AZURE_SUBSCRIPTION_ID"
be worker
sleep 2
for action in Microsoft.Network/virtualNetworks/write Microsoft.Network/natGateways/join/action; do
  define "$role" "$action"
  exits "without $action" 1 azure apply "$recipe" --target 'azure.*' --yes workers=1 control_planes=1
  has "it is named" "may not $action"
  lacks "as the only one" ", nor "
done
define "$role" Microsoft.Network/virtualNetworks/write
exits "without it and without asking" 1 azure apply "$recipe" --target 'azure.*' --yes workers=1 control_planes=1 --no-preflight
has "Azure refuses it in the middle" "AuthorizationFailed"
define "$role"
exits "with all of them the Azure half is made" 0 azure apply "$recipe" --target 'azure.*' --yes workers=1 control_planes=1
exits "read" 0 azure plan "$recipe" --target 'azure.*' --detailed-exitcode workers=1 control_planes=1
define "$role" Microsoft.Network/natGateways/delete
exits "without a delete" 1 azure destroy "$recipe" --yes=cluster
matches "nothing goes" "our principal may not Microsoft.Network/natGateways/delete on .*/natGateways/demo-nat \\(preflight"
has "at all" "1 thing would fail; nothing was changed"
define "$role"
exits "and destroyed" 0 azure destroy "$recipe" --yes=cluster
