#!/usr/bin/env bash
# The Azure CLI as Debian packages it, unmodified and not configured: the lines of `emulator env` are all that it gets.
. "$(dirname "$0")/lib/story.sh"
check "an emulator" vmrun emulator start
eval "$("$VMRUN" emulator env --state-dir "$state")"
export AZURE_CONFIG_DIR=$work/az HOME=$work/home AZURE_CORE_COLLECT_TELEMETRY=false AZURE_CORE_NO_COLOR=true AZURE_CORE_ONLY_SHOW_ERRORS=true
mkdir -p "$AZURE_CONFIG_DIR" "$HOME/.ssh"
ssh-keygen -q -t ed25519 -N '' -f "$work/key"
group=rg-az image=Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2:latest
base=/subscriptions/$AZURE_SUBSCRIPTION_ID/resourceGroups/$group
vault=kvaz$(date +%s)

# says NAME TEXT COMMAND...: it succeeds and prints that; refuses NAME TEXT COMMAND...: it fails, and says that.
says() {
  local name=$1 want=$2 code=0
  shift 2
  out=$(timeout 90 "$@" 2>"$work/err" </dev/null) || code=$?
  if [ "$code" -eq 0 ] && grep -qF -- "$want" <<<"$out"; then pass "$name"; else fail "$name" "exit code $code" "$out" "$(grep -v Warning "$work/err" | tail -n 5)"; fi
}
refuses() {
  local name=$1 want=$2
  shift 2
  if out=$(timeout 90 "$@" 2>&1 </dev/null); then fail "$name" "it succeeded" "$out"
  elif grep -qF -- "$want" <<<"$out"; then pass "$name"
  else fail "$name" "$out"; fi
}

# The package's default profile names API versions that its own libraries lack.
says "the profile" "" az cloud set -n AzureCloud --profile 2020-09-01-hybrid
refuses "a wrong secret" AADSTS7000215 az login --service-principal -u "$AZURE_CLIENT_ID" -p wrong --tenant "$AZURE_TENANT_ID"
says "login with a certificate" "$AZURE_SUBSCRIPTION_ID" az login --service-principal -u "$AZURE_CLIENT_ID" -p "$AZURE_CLIENT_CERTIFICATE_PATH" \
  --tenant "$AZURE_TENANT_ID"
says "login with a secret" "$AZURE_SUBSCRIPTION_ID" az login --service-principal -u "$AZURE_CLIENT_ID" -p "$AZURE_CLIENT_SECRET" --tenant "$AZURE_TENANT_ID"
says "a token for others" Bearer az account get-access-token
says "locations" westeurope az account list-locations
says "providers" Registered az provider show -n Microsoft.Compute
says "group create" Succeeded az group create -n "$group" -l westeurope
says "group exists" true az group exists -n "$group"
refuses "no group" ResourceGroupNotFound az group show -n "$group-none"

says "nsg create" Succeeded az network nsg create -g "$group" -n nsg1
says "nsg rule create" Succeeded az network nsg rule create -g "$group" --nsg-name nsg1 -n ssh --priority 100 --destination-port-ranges 22 \
  --access Allow --protocol Tcp
refuses "the same priority again" SecurityRuleConflict az network nsg rule create -g "$group" --nsg-name nsg1 -n other --priority 100 \
  --destination-port-ranges 23 --access Allow --protocol Tcp
says "vnet create" Succeeded az network vnet create -g "$group" -n vnet1 --address-prefix 10.0.0.0/16 --subnet-name s1 --subnet-prefix 10.0.0.0/24
says "a second one" Succeeded az network vnet create -g "$group" -n vnet2 --address-prefix 10.1.0.0/16
says "subnet create" s2 az network vnet subnet create -g "$group" --vnet-name vnet1 -n s2 --address-prefixes 10.0.1.0/24 --network-security-group nsg1
says "both subnets are there" s1 az network vnet subnet list -g "$group" --vnet-name vnet1
says "vnet peering create" Initiated az network vnet peering create -g "$group" -n p1 --vnet-name vnet1 --remote-vnet vnet2 --allow-vnet-access
says "public-ip create" ipAddress az network public-ip create -g "$group" -n ip1 --sku Standard
says "lb create" Succeeded az network lb create -g "$group" -n lb1 --sku Standard --public-ip-address ip1 --frontend-ip-name fe --backend-pool-name be
says "lb probe create" p1 az network lb probe create -g "$group" --lb-name lb1 -n p1 --protocol Tcp --port 80
says "lb rule create" r1 az network lb rule create -g "$group" --lb-name lb1 -n r1 --protocol Tcp --frontend-port 80 --backend-port 80 \
  --frontend-ip-name fe --backend-pool-name be --probe-name p1
says "nat gateway, as a resource" natGateways az resource create -g "$group" -n nat1 --resource-type Microsoft.Network/natGateways --is-full-object \
  --properties '{"location":"westeurope","sku":{"name":"Standard"},"properties":{"idleTimeoutInMinutes":10}}'
says "resource list" vnet1 az resource list -g "$group"

says "identity create" principalId az identity create -g "$group" -n id1
principal=$(az identity show -g "$group" -n id1 --query principalId -o tsv 2>/dev/null)
assignment=$(cat /proc/sys/kernel/random/uuid) reader=acdd72a7-3385-48ef-bd42-f606fba81ae7
says "role assignment" "$assignment" az rest -m put -u "$base/providers/Microsoft.Authorization/roleAssignments/$assignment?api-version=2022-04-01" \
  -b "{\"properties\":{\"roleDefinitionId\":\"$base/providers/Microsoft.Authorization/roleDefinitions/$reader\",\"principalId\":\"$principal\",\"principalType\":\"ServicePrincipal\"}}"
says "keyvault create" "$vault.vault.azure.net" az keyvault create -g "$group" -n "$vault" -l westeurope
says "secret set" hello az rest -m put -u "https://$vault.vault.azure.net/secrets/s1?api-version=7.4" --resource https://vault.azure.net -b '{"value":"hello"}'
says "secret show" hello az rest -u "https://$vault.vault.azure.net/secrets/s1?api-version=7.4" --resource https://vault.azure.net
refuses "with a token of ARM's" Unauthorized az rest -u "https://$vault.vault.azure.net/secrets/s1?api-version=7.4" --resource https://management.azure.com
says "keyvault delete" "" az keyvault delete -g "$group" -n "$vault"
says "it can be recovered" "$vault" az keyvault list-deleted --resource-type vault
says "keyvault purge" "" az keyvault purge -n "$vault"
says "sshkey create" key1 az sshkey create -g "$group" -n key1 --public-key "$(cat "$work/key.pub")"

cat >"$work/small.json" <<'J'
{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
 "parameters": {"n": {"type": "string", "maxLength": 8}, "secret": {"type": "securestring", "defaultValue": "hidden"}},
 "variables": {"vnet": "[concat(parameters('n'), '-vnet')]"},
 // The text goes to ARM as it is here, with this comment.
 "resources": [
  {"type": "Microsoft.Network/networkSecurityGroups", "apiVersion": "2022-07-01", "name": "[format('{0}-{1}', parameters('n'), copyIndex(1))]",
   "location": "[resourceGroup().location]", "copy": {"name": "groups", "count": 2}, "properties": {}},
  {"type": "Microsoft.Network/virtualNetworks", "apiVersion": "2022-07-01", "name": "[variables('vnet')]", "location": "[resourceGroup().location]",
   "dependsOn": ["groups"], "properties": {"addressSpace": {"addressPrefixes": ["10.9.0.0/16"]}, "subnets": [{"name": "a", "properties":
    {"addressPrefix": "10.9.0.0/24", "networkSecurityGroup": {"id": "[resourceId('Microsoft.Network/networkSecurityGroups', format('{0}-1', parameters('n')))]"}}}]}}],
 "outputs": {"prefix": {"type": "string", "value": "[reference(variables('vnet')).addressSpace.addressPrefixes[0]]"}}}
J
says "deployment group validate" Succeeded az deployment group validate -g "$group" --template-file "$work/small.json" --parameters n=x
says "deployment group create" 10.9.0.0/16 az deployment group create -g "$group" -n d1 --template-file "$work/small.json" --parameters n=x
says "its resources" x-vnet az deployment group show -g "$group" -n d1 --query properties.outputResources
if grep -q hidden <<<"$(az deployment group show -g "$group" -n d1 2>/dev/null)"; then fail "a secret parameter is not shown"; else pass "a secret parameter is not shown"; fi
refuses "a parameter that is too long" InvalidTemplate az deployment group create -g "$group" -n d2 --template-file "$work/small.json" --parameters n=waytoolong
sed -i 's|10.9.0.0/24|10.8.0.0/24|' "$work/small.json"
refuses "a resource that is refused" NetcfgSubnetRangeOutsideVnet az deployment group create -g "$group" -n d3 --template-file "$work/small.json" --parameters n=y
says "its operations say which" Failed az deployment operation group list -g "$group" -n d3

count() { az vmss list-instances -g "$group" -n "$1" --query 'length(@)' -o tsv; }
for mode in Flexible Uniform; do
  set=ss${mode:0:1} set=${set,,}
  says "vmss create ($mode)" '"VMSS"' az vmss create -g "$group" -n "$set" --image $image --admin-username u --ssh-key-values "$work/key.pub" \
    --instance-count 2 --orchestration-mode $mode --vm-sku Standard_B1s --vnet-name vnet1 --subnet s1 --upgrade-policy-mode manual
  same "has two instances" "$(count "$set")" 2
  says "vmss scale ($mode)" '"capacity": 3' az vmss scale -g "$group" -n "$set" --new-capacity 3
  id=$(az vmss list-instances -g "$group" -n "$set" --query '[0].[instanceId,name]' -o tsv 2>/dev/null | awk '{print ($1 == "" || $1 == "None") ? $2 : $1; exit}')
  says "vmss delete-instances ($mode)" "" az vmss delete-instances -g "$group" -n "$set" --instance-ids "$id"
  same "has two again" "$(count "$set")" 2
  says "vmss delete ($mode)" "" az vmss delete -g "$group" -n "$set"
done
says "vm create" "VM running" az vm create -g "$group" -n vm1 --image $image --admin-username u --ssh-key-values "$work/key.pub" --size Standard_B1s \
  --vnet-name vnet1 --subnet s1
says "vm show" "VM running" az vm show -g "$group" -n vm1 -d
says "vm delete" "" az vm delete -g "$group" -n vm1 --yes
says "group delete" "" az group delete -n "$group" --yes
says "group exists no more" false az group exists -n "$group"
says "login with a managed identity" systemAssignedIdentity az login --identity
says "and its requests" "[" az group list

refuses "another host is not reached" "" curl -sf https://example.com/
