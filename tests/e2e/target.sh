#!/usr/bin/env bash
# The target of a stack on the built-in emulator: chosen once, never another one; what is not ours in our groups.
. "$(dirname "$0")/lib/verbs.sh"
at_exit() { "$VMRUN" emulator stop --state-dir "$work/.vmrun" >/dev/null 2>&1; }

cat >ours.lua <<'LUA'
local azure = use "azure"
local group = azure.resource_group "main" { name = "shared-rg", location = "westeurope" }
azure.virtual_network "main" { name = "ours", group = group, cidr = "10.0.0.0/16" }
outputs { group = group.id }
LUA

# no target: refused, and nothing was started
run 1 plan ours.lua
has err "this stack has no target yet"
run 1 apply ours.lua
if [ -e .vmrun/emulator ]; then not_ok "an emulator was made"; else ok; fi
run 1 plan ours.lua --emulator --subscription 00000000-0000-0000-0000-000000000000
has err "exclude each other"

# bound to the emulator: the same again needs no word, another one is refused
run 0 apply ours.lua --emulator
has out "Done: 2 added"
run 0 plan ours.lua --detailed-exitcode
run 1 plan ours.lua --subscription 00000000-0000-0000-0000-000000000000
has err "this stack belongs to the emulator, and --subscription says Azure subscription 00000000"
AZURE_SUBSCRIPTION_ID=00000000-0000-0000-0000-000000000000 run 1 plan ours.lua
has err "unset AZURE_SUBSCRIPTION_ID"
eval "$("$VMRUN" emulator env)"
own=$AZURE_SUBSCRIPTION_ID
unset HTTPS_PROXY HTTP_PROXY SSL_CERT_FILE REQUESTS_CA_BUNDLE AZURE_CLIENT_ID AZURE_CLIENT_SECRET AZURE_TENANT_ID
run 0 plan ours.lua --detailed-exitcode
unset AZURE_SUBSCRIPTION_ID
run 0 output ours.lua group
is "$(cat out)" "/subscriptions/$own/resourceGroups/shared-rg"

# the emulator that was stopped comes back by itself, with its world
run 0 emulator stop
run 0 plan ours.lua --detailed-exitcode
has out "No changes."

# a lost state is rebuilt by looking
mv .vmrun/stacks/ours lost
run 0 import ours.lua --all --emulator
has out "2 imported"
run 0 plan ours.lua --detailed-exitcode

# destroy refuses while our group holds what is not ours
cat >theirs.lua <<'LUA'
local azure = use "azure"
local group = azure.existing "group" { id = "/subscriptions/SUBSCRIPTION/resourceGroups/shared-rg", api_version = "2025-04-01" }
azure.resource "ip" { type = "Microsoft.Network/publicIPAddresses", api_version = "2025-05-01", parent = group,
  body = { location = "westeurope", sku = { name = "Standard" }, properties = { publicIPAllocationMethod = "Static" } } }
LUA
sed -i "s/SUBSCRIPTION/$own/" theirs.lua
run 0 apply theirs.lua --emulator
run 1 destroy ours.lua
has out "azure.resource_group.main: also holds Microsoft.Network/publicIPAddresses ip"
run 0 plan ours.lua --detailed-exitcode
run 0 destroy theirs.lua
run 0 destroy ours.lua
run 0 emulator list
is "$(cat out)" "nothing"
run 0 emulator reset
if [ -e .vmrun/emulator ]; then not_ok "the emulator's folder is left"; else ok; fi

finish
