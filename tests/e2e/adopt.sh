#!/usr/bin/env bash
# A cluster in what belongs to somebody else: their group, network, subnet and way out are used, and left as they were.
. "$(dirname "$0")/lib/story.sh"
group=/subscriptions/{subscription}/resourceGroups/their-rg
network=$group/providers/Microsoft.Network
put() { arm PUT "$1" 2025-05-01 "$2" >/dev/null && until_true 20 settled "$1"; }
settled() { [ "$(arm GET "$1" 2025-05-01 | jq -r .properties.provisioningState)" = Succeeded ]; }
id() { arm GET "$1" 2025-05-01 | jq -r .id; }
# What is theirs, whole; an etag says only that somebody wrote.
theirs() {
  local path
  arm GET "$group" 2025-04-01 | jq -S .
  for path in publicIPAddresses/their-ip natGateways/their-nat networkSecurityGroups/their-nsg virtualNetworks/their-vnet \
    virtualNetworks/their-vnet/subnets/machines; do arm GET "$network/$path" 2025-05-01 | jq -S 'del(.. | .etag?)'; done
}
rule() {
  printf '{"name":"%s","properties":{"priority":%d,"direction":"Inbound","access":"Allow","protocol":"Tcp","sourceAddressPrefix":"%s",
    "sourcePortRange":"*","destinationAddressPrefix":"*","destinationPortRange":"%s"}}' "$@"
}

check "an emulator" vmrun emulator start
check "their group" arm PUT "$group" 2025-04-01 '{"location":"westeurope","tags":{"owner":"them"}}'
check "their address" put "$network/publicIPAddresses/their-ip" \
  '{"location":"northeurope","sku":{"name":"Standard"},"properties":{"publicIPAllocationMethod":"Static"}}'
check "their way out" put "$network/natGateways/their-nat" "{\"location\":\"northeurope\",\"sku\":{\"name\":\"Standard\"},
  \"properties\":{\"publicIpAddresses\":[{\"id\":\"$(id "$network/publicIPAddresses/their-ip")\"}]}}"
egress=$(arm GET "$network/publicIPAddresses/their-ip" 2025-05-01 | jq -r .properties.ipAddress)
check "their rules" put "$network/networkSecurityGroups/their-nsg" "{\"location\":\"northeurope\",\"properties\":{\"securityRules\":[
  $(rule ssh 100 203.0.113.0/24 22), $(rule api 110 203.0.113.0/24 6443), $(rule egress 120 "$egress" 6443)]}}"
check "their network" put "$network/virtualNetworks/their-vnet" \
  '{"location":"northeurope","tags":{"owner":"them"},"properties":{"addressSpace":{"addressPrefixes":["10.20.0.0/16"]}}}'
check "their subnet" put "$network/virtualNetworks/their-vnet/subnets/machines" "{\"properties\":{\"addressPrefix\":\"10.20.7.0/24\",
  \"defaultOutboundAccess\":false,\"natGateway\":{\"id\":\"$(id "$network/natGateways/their-nat")\"},
  \"networkSecurityGroup\":{\"id\":\"$(id "$network/networkSecurityGroups/their-nsg")\"}}}"
theirs >"$work/theirs"
ids >"$work/ids"
[ "$failed" -eq 0 ] || exit

# All of it: the group, and the subnet with its network, rules and way out.
given=(environment=production control_planes=1 workers=1 "group_id=$(arm GET "$group" 2025-04-01 | jq -r .id)"
  "subnet_id=$(id "$network/virtualNetworks/their-vnet/subnets/machines")")
exits "the machines come up in it" 0 apply "${given[@]}" --target 'azure.*'
made=$(comm -13 "$work/ids" <(ids))
same "no group, network, subnet, rules or way out was made" \
  "$(grep -iE '/(virtualNetworks|networkSecurityGroups|natGateways)/|/resourceGroups/[^/]+$' <<<"$made")" ""
same "what was made is in their group" "$(grep -vi '/resourceGroups/their-rg/' <<<"$made")" ""
vm=$network/networkInterfaces/demo-cp-1-nic
same "the interface is in their subnet" "$(arm GET "$vm" 2025-05-01 | jq -r '.properties.ipConfigurations[0].properties.subnet.id | split("/") | last')" machines
same "and where the network is, not the group" "$(arm GET "$vm" 2025-05-01 | jq -r .location)" northeurope
exits "the cluster" 0 apply "${given[@]}"
exits "and nothing more to do" 0 plan "${given[@]}" --detailed-exitcode
vmrun kubeconfig "$recipe" --out "$work/kubeconfig" >/dev/null 2>&1
ready() { [ "$(timeout 30 kubectl --kubeconfig "$work/kubeconfig" get nodes --no-headers | awk '$2 ~ /^Ready/' | wc -l)" -eq 2 ]; }
check "two nodes are Ready" ready
same "the outputs name what was adopted" "$(vmrun output "$recipe" --json |
  jq -c '[.resource_group_name, .virtual_network_name, .subnet_name | .value]')" '["their-rg","their-vnet","machines"]'
same "their subnet is not ours" "$(vmrun state list "$recipe" | grep -cE 'azure\.(subnet|virtual_network|network_security_group|resource_group)\.')" 0
exits "destroy" 0 vmrun destroy "$recipe" --yes
same "leaves what was there" "$(ids)" "$(cat "$work/ids")"
same "as it was" "$(theirs | diff "$work/theirs" -)" ""

# The network alone: the subnet and its rules are ours, and the way out too unless theirs is named.
given=(environment=production control_planes=1 workers=0 name=guest "group_id=$(arm GET "$group" 2025-04-01 | jq -r .id)"
  network=10.20.0.0/16 "network_id=$(id "$network/virtualNetworks/their-vnet")")
exits "a plan with their way out" 0 plan "${given[@]}" --emulator "egress_ip=$egress"
has "makes a subnet" "azure.subnet.nodes"
has "lets the machines' way out in" "$egress"
lacks "and makes none" "nat_gateway"
exits "machines with a way out of their own" 0 apply "${given[@]}" --target 'azure.*'
same "are in a subnet of ours beside theirs" "$(arm GET "$network/virtualNetworks/their-vnet" 2025-05-01 |
  jq -r '[.properties.subnets[] | .name + " " + (.properties.natGateway.id | split("/") | last)] | sort | join(", ")')" \
  "guest-nodes guest-nat, machines their-nat"
exits "which goes" 0 vmrun destroy "$recipe" --yes
same "and leaves the rest" "$(theirs | diff "$work/theirs" -)" ""
same "whole" "$(ids)" "$(cat "$work/ids")"
