#!/usr/bin/env bash
# What our kinds send: each body against Microsoft's own definitions of its type, and in shape against what az sends for the same.
. "$(dirname "$0")/lib/story.sh"
here=$root/tests/e2e/arm_types
kinds=$here/kinds.lua stack=$root/tests/e2e/azure/stack.lua

# The bodies kept since the last time; from then on, more are.
kept() { ask -X POST "$(endpoint arm)/emulator/traffic?bodies=1" -H "Authorization: Bearer $(endpoint token)"; }
made() { exits "$1" 0 vmrun apply "$2" --emulator --yes "${@:3}"; }
cluster() { made "$1" "$recipe" --target 'azure.*' "${@:2}"; }

check "an emulator" vmrun emulator start
office=/subscriptions/$(endpoint subscription)/resourceGroups/office
arm PUT "$office" 2025-04-01 '{"location":"westus2"}' >/dev/null
arm PUT "$office/providers/Microsoft.Network/virtualNetworks/office" 2025-05-01 \
  '{"location":"westus2","properties":{"addressSpace":{"addressPrefixes":["10.9.0.0/16"]}}}' >/dev/null
admin=$office/providers/Microsoft.Network/virtualNetworks/office

if [ -n "${VMRUN_ARM_TYPES:-}" ]; then
  kept >/dev/null
  made "all kinds" "$stack"
  made "the others, with more fields" "$kinds"
  cluster "the cluster"
  cluster "on Spot instances" --stack spot name=spot spot=true spot_price=0.5 control_planes=1
  cluster "in zones" --stack zoned name=zoned zones=1,2,3 control_planes=1 workers=1
  cluster "in a network that is peered with the administrators'" --stack peered name=peered access=peered admin_network="$admin" \
    network=10.20.0.0/16 control_planes=1
  cluster "with a key of ours, and monitored" --stack kept name=kept disk_encryption=customer monitoring=true control_planes=1 workers=1
  kept >"$work/first.json"
  made "again, with other values" "$stack" rules=1 workers=3 tag=b
  made "and the others" "$kinds" later=true
  cluster "and the cluster" workers=3 admin_cidr=198.51.100.0/24 environment=staging
  cluster "and the one with a key of ours" --stack kept name=kept disk_encryption=customer monitoring=true log_days=60 control_planes=1 \
    workers=1 environment=staging
  kept >"$work/again.json"

  told() { "$VMRUN" lua "$here/check.lua" "$VMRUN_ARM_TYPES" "$@" 2>&1; }
  first=$(told "$work/first.json") again=$(told "$work/again.json" again)
  of() { grep "^$1 " <<<"$2" | cut -d' ' -f2-; }
  # The definitions have no fractions: a price is documented as a number, and is an integer in them.
  price='body.properties.virtualMachineProfile.billingProfile.maxPrice'
  same "each body is right by the schema of its type" "$(of wrong "$first")" \
    "PUT Microsoft.Compute/virtualMachineScaleSets@2025-04-01: '$price' wants an integer, got the number 0.25
PUT Microsoft.Compute/virtualMachineScaleSets@2025-04-01: '$price' wants an integer, got the number 0.5"
  # Azure shows more than its definitions have (recorded exchanges do, too), and a change carries it along.
  same "and each that changes a resource" "$(of wrong "$again" | sed -nE "s/^PUT ([^@]+)@.*has no property '([^']+)'.*/\1 \2/p; t; p")" \
    "PUT Microsoft.Compute/virtualMachineScaleSets@2025-04-01: '$price' wants an integer, got the number 0.25
Microsoft.Network/loadBalancers body.properties.loadBalancingRules[1].properties.allowBackendPortConflict
Microsoft.Network/loadBalancers body.properties.loadBalancingRules[1].properties.enableDestinationServiceEndpoint
Microsoft.Network/natGateways body.properties.type
Microsoft.Network/natGateways body.sku.tier
Microsoft.Network/networkInterfaces body.kind
Microsoft.Network/networkInterfaces body.properties.allowPort25Out"
  same "and all types have one, but those" "$(of unknown "$first" | tr '\n' ' ')" \
    "Microsoft.Cache/redis Microsoft.HybridCompute/machines Microsoft.Network/routeTables Microsoft.Web/serverfarms "
  types=$(grep -ohE '\btype = "Microsoft\.[A-Za-z]+/[A-Za-z/]+"' "$root"/stdlib/azure/*.lua | cut -d'"' -f2 | sort -u)
  seen=$({ of sent "$first" | cut -d' ' -f1; of unknown "$first"; } | sort -u)
  same "no kind's type was left out" "$(comm -23 <(echo "$types") <(echo "$seen"))" ""
  out=$first
  has "extensions of machines, too" "sent Microsoft.Compute/virtualMachines/extensions 2025-04-01"
  if [ "$(wc -l <<<"$types")" -ge 25 ]; then pass "which are many"; else fail "which are many" "$types"; fi
  if [ "$(of sent "$again" | wc -l)" -ge 18 ]; then pass "many are changed, too"; else fail "many are changed, too" "$again"; fi

  jq '.bodies[0].body = "{\"location\":7,\"tagz\":{}}"' "$work/first.json" >"$work/wrong.json"
  out=$(told "$work/wrong.json")
  has "a wrong body is found" "'body.location' wants text, got the number 7"
  has "by name" "has no property 'body.tagz'"
else
  skip "bodies by Microsoft's definitions: VMRUN_ARM_TYPES names no folder"
fi

# The same with az, of which Debian's package has no command for NAT gateways that works.
eval "$("$VMRUN" emulator env --state-dir "$state")"
export AZURE_CONFIG_DIR=$work/az HOME=$work/home
export AZURE_CORE_COLLECT_TELEMETRY=false AZURE_CORE_NO_COLOR=true AZURE_CORE_ONLY_SHOW_ERRORS=true
mkdir -p "$AZURE_CONFIG_DIR" "$HOME/.ssh"
ssh-keygen -q -t ed25519 -N '' -f "$work/key"
image=Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2:latest
login=(--admin-username u --ssh-key-values "$work/key.pub")
az() { timeout 90 /usr/bin/env az "$@" </dev/null; }
theirs() { check "az $1 $2 $3" az "$@" -g theirs; }
check "az's profile" az cloud set -n AzureCloud --profile 2020-09-01-hybrid
check "az's login" az login --service-principal -u "$AZURE_CLIENT_ID" -p "$AZURE_CLIENT_SECRET" --tenant "$AZURE_TENANT_ID"
kept >/dev/null
check "az group create" az group create -n theirs -l westeurope --tags of=both
theirs network nsg create -n nsg1
theirs network nsg rule create --nsg-name nsg1 -n ssh --priority 100 --destination-port-ranges 22 --access Allow --protocol Tcp
theirs network vnet create -n vnet1 --address-prefix 10.0.0.0/16
theirs network vnet subnet create --vnet-name vnet1 -n s1 --address-prefixes 10.0.1.0/24 --network-security-group nsg1
theirs network public-ip create -n ip1 --sku Standard
theirs network lb create -n lb1 --sku Standard --public-ip-address ip1 --frontend-ip-name fe --backend-pool-name be
theirs network lb probe create --lb-name lb1 -n p1 --protocol Tcp --port 80
theirs network lb rule create --lb-name lb1 -n r1 --protocol Tcp --frontend-port 80 --backend-port 80 --frontend-ip-name fe \
  --backend-pool-name be --probe-name p1 --disable-outbound-snat true
theirs network lb inbound-nat-rule create --lb-name lb1 -n n1 --protocol Tcp --frontend-port 22 --backend-port 22 --frontend-ip-name fe
theirs network nic create -n nic1 --vnet-name vnet1 --subnet s1 --lb-name lb1 --lb-address-pools be --lb-inbound-nat-rules n1
theirs identity create -n id1
identity=/subscriptions/$AZURE_SUBSCRIPTION_ID/resourceGroups/theirs/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id1
theirs keyvault create -n kvoftheirs -l westeurope
theirs sshkey create -n key1 --public-key "$(cat "$work/key.pub")"
theirs vm create -n vm1 --image $image "${login[@]}" --size Standard_B1s --nics nic1 --assign-identity "$identity" \
  --storage-sku Premium_LRS --os-disk-size-gb 64
for mode in Flexible Uniform; do
  # Not checked: once the set is made, az looks for its name among the outputs in letters that ARM makes small. What counts is what it sent.
  az vmss create -g theirs -n "s$mode" --image $image "${login[@]}" --instance-count 1 --orchestration-mode $mode --vm-sku Standard_B1s \
    --vnet-name vnet1 --subnet s1 --upgrade-policy-mode manual --assign-identity "$identity" --lb "" --public-ip-address "" >/dev/null 2>&1
done
kept >"$work/az.json"
exits "the same as a recipe" 0 vmrun apply "$here/same.lua" --emulator --yes key="$(cat "$work/key.pub")"
kept >"$work/ours.json"
out=$("$VMRUN" lua "$here/shapes.lua" "$work/az.json" "$work/ours.json" "$here/az.tsv" 2>&1)
same "each difference in shape is explained in az.tsv, and no row is idle" "$(grep -v '^compared ' <<<"$out")" ""
same "and these were compared" "$(sed -n 's/^compared //p' <<<"$out" | tr '\n' ',')" "Microsoft.Compute/sshPublicKeys,\
Microsoft.Compute/virtualMachineScaleSets Flexible,Microsoft.Compute/virtualMachineScaleSets Uniform,Microsoft.Compute/virtualMachines,\
Microsoft.KeyVault/vaults,Microsoft.ManagedIdentity/userAssignedIdentities,Microsoft.Network/loadBalancers,\
Microsoft.Network/networkInterfaces,Microsoft.Network/networkSecurityGroups,Microsoft.Network/publicIPAddresses,\
Microsoft.Network/virtualNetworks,Microsoft.Resources/resourceGroups,"
