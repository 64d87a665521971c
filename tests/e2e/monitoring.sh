#!/usr/bin/env bash
# monitoring of recipes/cluster.lua: turned on in a cluster that runs, seen, grown, changed by others, and turned off.
. "$(dirname "$0")/lib/story.sh"
one=(control_planes=1 workers=1)
on=(control_planes=1 workers=1 monitoring=true log_days=90)
group=/subscriptions/{subscription}/resourceGroups/demo-rg/providers
machine=$group/Microsoft.Compute/virtualMachines/demo-cp-1
set=$group/Microsoft.Compute/virtualMachineScaleSets/demo-worker
network=$group/Microsoft.Network
get() { arm GET "$1" "${2:-2025-04-01}"; }
of() { jq -c "[$1] | sort" 2>&1; }
of_machine() { get "$machine" | of '.resources[]?.name'; }
of_model() { get "$set" | of '.properties.virtualMachineProfile.extensionProfile.extensions[].name'; }
of_workers() { get "$set/virtualMachines" | of '.value[] | [.resources[].name] | sort | join(" ")'; }
settled() { [ "$(get "$1" | jq -r .properties.provisioningState)" = Succeeded ]; }
diagnostics() { get "$1/providers/Microsoft.Insights/diagnosticSettings" 2021-05-01-preview | jq -c "$2"; }
told='.value[] | [(.properties.workspaceId | split("/") | last), [.properties.logs[] | select(.enabled) | .categoryGroup], [.properties.metrics[] | select(.enabled) | .category]]'
watched() { get "$1/providers/Microsoft.Insights/dataCollectionRuleAssociations" 2024-03-11 | jq -r '.value[].properties.dataCollectionRuleId | split("/") | last'; }

exits "a cluster without it" 0 apply "${one[@]}"
same "has nothing of it" "$(ids | grep -ciE 'Microsoft\.(Insights|OperationalInsights)/')" 0
same "the workers' only extension is their health" "$(of_model)" '["health"]'
[ "$failed" -eq 0 ] || exit
before=$(get "$machine" | jq -r .properties.vmId) worker=$(get "$set/virtualMachines" | jq -r '.value[].properties.vmId')
disks >"$work/disks"

exits "turned on" 2 plan "${on[@]}" --detailed-exitcode
has "nothing goes, and the machines change in place" "Plan: 7 to add, 2 to change, 0 to destroy."
exits "and applied" 0 apply "${on[@]}"
has "as planned" "Done: 7 added, 2 changed, 0 destroyed"
exits "there is nothing more to do" 0 plan "${on[@]}" --detailed-exitcode
same "the machines are the same" "$(get "$machine" | jq -r .properties.vmId) $(get "$set/virtualMachines" | jq -r '.value[].properties.vmId')" "$before $worker"
same "with nothing changed on them" "$(disks | diff "$work/disks" -)" ""
same "logs are kept as long as said" "$(get "$group/Microsoft.OperationalInsights/workspaces/demo-logs" 2025-02-01 | jq .properties.retentionInDays)" 90
same "the vault tells logs and metrics" "$(diagnostics "$group/Microsoft.KeyVault/vaults/demo-vault" "$told")" '["demo-logs",["allLogs"],["AllMetrics"]]'
same "so does the load balancer" "$(diagnostics "$network/loadBalancers/demo-lb" "$told")" '["demo-logs",["allLogs"],["AllMetrics"]]'
same "the rules have logs alone" "$(diagnostics "$network/networkSecurityGroups/demo-nsg" "$told")" '["demo-logs",["allLogs"],[]]'
same "the control plane has the agent" "$(of_machine)" '["AzureMonitorLinuxAgent"]'
same "so has the workers' model" "$(of_model)" '["AzureMonitorLinuxAgent","health"]'
same "and the worker that was there" "$(of_workers)" '["AzureMonitorLinuxAgent health"]'
same "each is told what to send" "$(watched "$machine") $(watched "$set")" "demo-machines demo-machines"
same "the agent sends as the machine's identity" "$(get "$machine" | jq -r '.resources[0].properties.settings.authentication.managedIdentity |
  "\(.["identifier-name"]) \(.["identifier-value"] | split("/") | last)"')" "mi_res_id demo-control"

exits "a worker more" 0 apply "${on[@]/workers=1/workers=2}" --target 'azure.*'
has "is no more than that" "Done: 1 added, 0 changed, 0 destroyed"
same "and has the agent from the model" "$(of_workers)" '["AzureMonitorLinuxAgent health","AzureMonitorLinuxAgent health"]'
on=("${on[@]/workers=1/workers=2}" --target 'azure.*')
exits "which is complete" 0 plan "${on[@]}" --detailed-exitcode

# What others do.
newest=$(get "$set/virtualMachines" | jq -r '.value[-1].instanceId')
check "somebody takes the agent off a worker" arm DELETE "$set/virtualMachines/$newest/extensions/AzureMonitorLinuxAgent" 2025-04-01
check "and a setting off the vault" arm DELETE "$group/Microsoft.KeyVault/vaults/demo-vault/providers/Microsoft.Insights/diagnosticSettings/vault" 2021-05-01-preview
arm GET "$group/Microsoft.Insights/dataCollectionRules/demo-machines" 2024-03-11 | jq '{location, kind, tags, properties: (.properties |
  {dataSources, destinations, dataFlows} | .dataSources.syslog[0].logLevels = ["Emergency"] | del(.destinations.logAnalytics[].workspaceId))}' >"$work/rule.json"
check "and levels out of the rule" arm PUT "$group/Microsoft.Insights/dataCollectionRules/demo-machines" 2024-03-11 "$(cat "$work/rule.json")"
get "$set" | jq '{location, properties: {virtualMachineProfile: {extensionProfile: {extensions: (.properties.virtualMachineProfile.extensionProfile.extensions + [
  {name: "theirs", properties: {publisher: "Them", type: "Theirs", typeHandlerVersion: "1.0"}}])}}}}' >"$work/set.json"
check "a policy puts an extension of its own into the model" arm PATCH "$set" 2025-04-01 "$(cat "$work/set.json")"
check "which takes a while" until_true 30 settled "$set"
gone() { [ "$(of_workers)" = '["AzureMonitorLinuxAgent health","health"]' ]; }
check "so does the other" until_true 30 gone
exits "the plan sees what is ours" 2 plan "${on[@]}" --detailed-exitcode
has "the agent" "extensions (changed outside)"
has "the setting" "azure.diagnostic_setting.vault: create"
has "the levels" "levels"
lacks "and not what is theirs" "theirs"
has "no more" "Plan: 1 to add, 2 to change, 0 to destroy."
exits "and mends it" 0 apply "${on[@]}"
same "on the worker" "$(of_workers)" '["AzureMonitorLinuxAgent health","AzureMonitorLinuxAgent health"]'
same "theirs stays in the model" "$(of_model)" '["AzureMonitorLinuxAgent","health","theirs"]'
exits "and is no drift" 0 plan "${on[@]}" --detailed-exitcode
exits "logs for less long" 0 apply "${on[@]/log_days=90/log_days=60}"
has "change the workspace alone" "Done: 0 added, 1 changed, 0 destroyed"

exits "turned off" 2 plan control_planes=1 workers=2 monitoring=false log_days=30 --target 'azure.*' --detailed-exitcode
has "takes it all away, and no machine" "Plan: 0 to add, 2 to change, 7 to destroy."
exits "and applied" 0 apply control_planes=1 workers=2 monitoring=false log_days=30 --target 'azure.*'
same "no agent is on the control plane" "$(of_machine)" '[]'
same "nor on the workers" "$(of_workers)" '["health","health"]'
same "nor in their model, where theirs stays" "$(of_model)" '["health","theirs"]'
same "nothing else is left" "$(ids | grep -ciE 'Microsoft\.(Insights|OperationalInsights)/')" 0
exits "and nothing to do" 0 plan control_planes=1 workers=2 monitoring=false log_days=30 --target 'azure.*' --detailed-exitcode

exits "on again, and then all goes" 0 apply "${on[@]}"
exits "destroy" 0 vmrun destroy "$recipe" --yes --include-unmanaged
same "nothing of ours is left in Azure" "$(ids)" ""
same "no machine is left" "$(machines)" ""

# The role that is printed for both, and nothing else.
azure() { timeout 150 "$VMRUN" "$1" "$2" --state-dir "$work/stack" "${@:3}"; }
eval "$("$VMRUN" emulator env --state-dir "$state")"
unset AZURE_CLIENT_CERTIFICATE_PATH
both=(control_planes=1 workers=1 name=roled monitoring=true disk_encryption=customer)
azure permissions "$recipe" "${both[@]}" >"$work/role.json"
ask --fail -X POST "$(endpoint arm)/emulator/application?name=worker" -H "Authorization: Bearer $(endpoint token)" >"$work/worker.json"
role=$(cat /proc/sys/kernel/random/uuid)
# define [WITHOUT]: the custom role, an action less.
define() {
  arm PUT "/subscriptions/$AZURE_SUBSCRIPTION_ID/providers/Microsoft.Authorization/roleDefinitions/$role" 2022-04-01 "$(jq --arg without "${1:-}" \
    '{properties: {roleName: .Name, description: .Description, assignableScopes: .AssignableScopes,
      permissions: [{actions: (.Actions - [$without]), dataActions: .DataActions}]}}' "$work/role.json")" >/dev/null
}
check "the role of both is defined" define
check "and assigned" arm PUT "/subscriptions/$AZURE_SUBSCRIPTION_ID/providers/Microsoft.Authorization/roleAssignments/$(cat /proc/sys/kernel/random/uuid)" 2022-04-01 \
  "{\"properties\": {\"principalType\": \"ServicePrincipal\", \"principalId\": \"$(jq -r .object_id "$work/worker.json")\",
    \"roleDefinitionId\": \"/subscriptions/$AZURE_SUBSCRIPTION_ID/providers/Microsoft.Authorization/roleDefinitions/$role\"}}"
AZURE_CLIENT_ID=$(jq -r .client_id "$work/worker.json") AZURE_CLIENT_SECRET=$(jq -r .client_secret "$work/worker.json")
sleep 2 # until a new role counts everywhere
for action in Microsoft.Compute/virtualMachines/extensions/write Microsoft.KeyVault/vaults/keys/write; do
  define "$action"
  exits "without $action" 1 azure apply "$recipe" --target 'azure.*' --yes "${both[@]}"
  has "it is named" "$action"
done
define
exits "with all of it the Azure half is made" 0 azure apply "$recipe" --target 'azure.*' --yes "${both[@]}"
exits "read" 0 azure plan "$recipe" --target 'azure.*' --detailed-exitcode "${both[@]}"
exits "and destroyed" 0 azure destroy "$recipe" --yes=cluster
