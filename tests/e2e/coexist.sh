#!/usr/bin/env bash
# Others write to the same things while an apply runs: what a cloud-controller-manager does to the load balancer and the security group,
# and a policy that adds a tag to whatever it sees. Neither is lost, neither is drift.
. "$(dirname "$0")/lib/story.sh"
cat >"$work/net.lua" <<'LUA'
local azure = use "azure"
local p = params { round = param.integer { default = 1 } }
local g = azure.resource_group "g" { name = "co-rg", location = "westeurope", tags = { of = "us" } }
local rules = {}
for i = 1, p.round do rules[i] = { name = "r" .. i, priority = 100 + i, port = 7000 + i, source = "10.0.0.0/8" } end
local ip = azure.public_ip_address "ip" { name = "ip", group = g }
local network = azure.virtual_network "v" { name = "v", group = g, cidr = "10.0.0.0/16" }
local nsg = azure.network_security_group "nsg" { name = "nsg", group = g, rules = rules, tags = { of = "us" } }
azure.subnet "s" { name = "s", vnet = network, cidr = "10.0.1.0/24", security_group = nsg }
local ours = {}
for i = 1, p.round do ours[i] = { name = "r" .. i, frontend = "f", pool = "p", probe = "t", frontend_port = 7000 + i, backend_port = 80 } end
azure.load_balancer "lb" { name = "lb", group = g, frontends = { { name = "f", public_ip = ip } }, pools = { { name = "p" } },
  probes = { { name = "t", protocol = "Tcp", port = 80 } }, rules = ours, tags = { of = "us" } }
LUA
net() { vmrun "$1" "$work/net.lua" "${@:2}"; }
base=/subscriptions/{subscription}/resourceGroups/co-rg/providers/Microsoft.Network
group=/subscriptions/{subscription}/resourceGroups/co-rg
nsg=$base/networkSecurityGroups/nsg lb=$base/loadBalancers/lb

check "an emulator" vmrun emulator start --profile azure --clock 20
exits "the first apply" 0 net apply --emulator --yes

# The others, each again and again: a rule into the group; a rule into the balancer by a PUT of the whole; a tag on all three.
others_nsg() {
  local i=0
  until [ -e "$work/stop" ]; do
    i=$((i + 1))
    arm PUT "$nsg/securityRules/ccm-$i" 2025-05-01 "{\"properties\":{\"priority\":$((1000 + i)),\"direction\":\"Inbound\",\"access\":\"Allow\",\"protocol\":\"Tcp\",
      \"sourceAddressPrefix\":\"Internet\",\"sourcePortRange\":\"*\",\"destinationAddressPrefix\":\"*\",\"destinationPortRange\":\"$((30000 + i))\"}}" \
      >/dev/null 2>&1 && echo "nsg ccm-$i" >>"$work/wrote"
  done
}
others_lb() {
  local i=0 body tag
  until [ -e "$work/stop" ]; do
    i=$((i + 1))
    body=$(arm GET "$lb" 2025-05-01) || continue
    tag=$(jq -r .etag <<<"$body")
    body=$(jq -c --arg n "ccm-$i" --argjson port $((40000 + i)) '.properties.loadBalancingRules += [{name: $n, properties: {protocol: "Tcp", frontendPort: $port,
      backendPort: 80, frontendIPConfiguration: {id: .properties.frontendIPConfigurations[0].id}, backendAddressPool:
      {id: .properties.backendAddressPools[0].id}}}] | .tags.policy = "added"' <<<"$body")
    put_if "$lb" "$tag" "$body" && echo "lb ccm-$i" >>"$work/wrote"
    arm PATCH "$group" 2021-04-01 '{"tags":{"of":"us","policy":"added"}}' >/dev/null 2>&1
    arm PATCH "$nsg" 2025-05-01 '{"tags":{"of":"us","policy":"added"}}' >/dev/null 2>&1
  done
}
# put_if PATH ETAG BODY: written only if nobody else did meanwhile.
put_if() {
  local token path=${1//\{subscription\}/$(endpoint subscription)}
  token=$(ask "$(endpoint entra)/$(endpoint tenant)/oauth2/v2.0/token" -d grant_type=client_credentials -d "client_id=$(endpoint client_id)" \
    -d "scope=https://management.azure.com/.default" --data-urlencode "client_secret=$(endpoint client_secret)" | jq -r .access_token)
  ask --fail -X PUT "$(endpoint arm)$path?api-version=2025-05-01" -H "Authorization: Bearer $token" -H "Content-Type: application/json" \
    -H "If-Match: $2" --data "$3" >/dev/null 2>&1
}
touch "$work/wrote"
others_nsg &
others_lb &
until_true 30 test -s "$work/wrote"
wrote() { grep -c "^$1 " "$work/wrote"; }
more_than() { [ "$(wrote "$2")" -gt "$1" ]; }
round=1 bad=0
while [ "$round" -lt 90 ] && { [ "$(wrote nsg)" -lt 3 ] || [ "$(wrote lb)" -lt 3 ] || [ "$round" -lt 12 ]; }; do
  round=$((round + 1))
  # Ours is the faster: the others get a turn at the balancer before the next.
  turns=$(wrote lb)
  until_true 2 more_than "$turns" lb || true
  out=$(net apply "round=$round" --yes 2>&1) || { bad=$((bad + 1)) && printf '%s\n' "$out" >"$work/bad"; }
done
if [ "$bad" -eq 0 ]; then pass "$((round - 1)) applies while others write"; else fail "$((round - 1)) applies while others write" "$(cat "$work/bad")"; fi
touch "$work/stop"
wait
if [ "$(wrote nsg)" -ge 3 ] && [ "$(wrote lb)" -ge 3 ]; then pass "the others wrote to both"
else fail "the others wrote to both" "$(cat "$work/wrote")"; fi

expected() { (sed -n "s/^$1 //p" "$work/wrote"; seq -f r%g "$round") | sort; }
rules=$(arm GET "$nsg" 2025-05-01 | jq -r '.properties.securityRules[].name' | sort)
same "every rule of the group is there, theirs and ours" "$(diff <(expected nsg) - <<<"$rules")" ""
rules=$(arm GET "$lb" 2025-05-01 | jq -r '.properties.loadBalancingRules[].name' | sort)
same "and every rule of the balancer" "$(diff <(expected lb) - <<<"$rules")" ""
same "the tag that a policy added stays" "$(arm GET "$lb" 2025-05-01 | jq -c .tags)" '{"of":"us","policy":"added"}'
exits "none of it is drift" 0 net plan "round=$round" --detailed-exitcode
exits "nor for the scheduler" 0 net drift
# Ours, changed by somebody else, is.
arm PATCH "$group" 2021-04-01 '{"tags":{"of":"them","policy":"added"}}' >/dev/null
exits "our own tag is ours" 2 net plan "round=$round" --detailed-exitcode
exits "it is mended" 0 net apply "round=$round" --yes
same "and theirs is left alone" "$(arm GET "$group" 2021-04-01 | jq -cS .tags)" '{"of":"us","policy":"added"}'
exits "one rule less" 0 net apply "round=$((round - 1))" --yes
if arm GET "$nsg" 2025-05-01 | jq -r '.properties.securityRules[].name' | grep -qx "r$round"; then fail "ours goes"; else pass "ours goes"; fi
check "theirs stays" arm GET "$nsg/securityRules/$(sed -n 's/^nsg //p' "$work/wrote" | head -n 1)" 2025-05-01
exits "all is destroyed" 0 net destroy --yes
