#!/usr/bin/env bash
# The main story: a cluster comes up, stays as it is, grows, shrinks, drifts, is mended, and goes.
. "$(dirname "$0")/lib.sh"

exits "the first apply" 0 apply
has "it ends with the outputs" "resource_group_name"
[ "$failed" -eq 0 ] || exit
first=$(writes)
if [ "$first" -gt 50 ]; then pass "the emulator counted $first writes"; else fail "the emulator counted only $first writes"; fi

config=$work/kubeconfig
check "a kubeconfig" vmrun kubeconfig "$root/recipes/cluster.lua" --out "$config"
same "it is for its owner alone" "$(stat -c %a "$config")" 600
k() { kubectl --kubeconfig "$config" "$@"; }
nodes_ready() { [ "$(k get nodes --no-headers | grep -cw Ready)" -eq "$1" ]; }
check "five nodes are Ready" nodes_ready 5
same "three of them are control planes" "$(k get nodes -l node-role.kubernetes.io/control-plane --no-headers | wc -l)" 3
exits "Flux's objects" 0 k get gitrepositories,kustomizations -A
same "all of them are Ready" "$(k get gitrepositories,kustomizations -A -o json | jq '[.items[].status.conditions[] | select(.type == "Ready" and .status == "True")] | length')" 4
commit=$(vmrun output "$root/recipes/cluster.lua" revision)
matches "at the commit that was pushed" "${commit#*:}"
exits "the deployments" 0 k get deploy -A
matches "nginx runs in production" "production +nginx +2/2"

exits "the same again" 0 apply
has "there are no changes" "No changes."
same "nothing was written" "$(writes)" "$first"

exits "without a parameter that was given" 0 apply workers=4
has "two workers more" "Plan:"
check "seven nodes are Ready" nodes_ready 7
exits "workers left out" 1 plan
has "it says what to do" "workers was 4; pass workers=4 or --unset workers"
exits "back to two workers" 0 apply workers=2
check "five nodes are left" nodes_ready 5
exits "and nothing more to do" 0 plan workers=2 --detailed-exitcode

# Drift in three layers, in one plan.
exits "a file changed on a node" 0 vmrun exec "$root/recipes/cluster.lua" demo-cp-2 -- sudo -n sh -c "echo drift >> /etc/modules-load.d/overlay.conf"
worker=$(k get nodes -l node-role.kubernetes.io/worker -o name | head -n 1)
check "a label taken off a node" k label "$worker" node-role.kubernetes.io/worker-
check "a rule deleted in Azure" vmrun emulator az DELETE "/subscriptions/{subscription}/resourceGroups/demo-rg/providers/Microsoft.Network/networkSecurityGroups/demo-nsg/securityRules/node-port"
exits "the plan sees the drift" 2 plan workers=2 --detailed-exitcode
has "the file" "overlay"
has "the rule" "node-port"
has "the label" "node-role.kubernetes.io/worker"
exits "apply mends it" 0 apply workers=2
exits "and nothing is left of it" 0 plan workers=2 --detailed-exitcode

# The repository leads.
git_url=$(vmrun output "$root/recipes/cluster.lua" git_url)
key=$(vmrun output "$root/recipes/cluster.lua" git_key_file)
export GIT_SSH_COMMAND="ssh -i $key -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
name=story-$RANDOM
check "the repository can be cloned" git clone -q "$git_url" "$work/clone"
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  a: b\n' "$name" >"$work/clone/apps/production/config.yaml"
sed -i 's|^resources:|resources:\n  - config.yaml|' "$work/clone/apps/production/kustomization.yaml"
git -C "$work/clone" add -A
git -C "$work/clone" -c user.name=t -c user.email=t@t commit -qm "a config map"
check "a commit is pushed" git -C "$work/clone" push -q
check "it arrives in the cluster" until_true 60 k get configmap -n production "$name"
check "a deployment is deleted" k delete deploy -n production nginx
check "it comes back" until_true 60 k get deploy -n production nginx
exits "which is nobody's change" 0 plan workers=2 --detailed-exitcode

# A worker whose kubelet stops.
host=${worker#node/}
exits "a kubelet is stopped" 0 vmrun exec "$root/recipes/cluster.lua" "$host" -- sudo -n systemctl stop kubelet
not_ready() { [ "$(k get node "$host" --no-headers | awk '{ print $2 }')" = NotReady ]; }
check "its node turns NotReady" until_true 60 not_ready
exits "it starts again" 0 vmrun exec "$root/recipes/cluster.lua" "$host" -- sudo -n systemctl start kubelet

exits "the emulator stops" 0 vmrun emulator stop
exits "and comes back by itself, the same" 0 plan workers=2 --detailed-exitcode
check "with all nodes" until_true 30 nodes_ready 5

exits "the inventory" 0 vmrun inventory "$root/recipes/cluster.lua" --format ansible
printf '%s\n' "$out" >"$work/inventory.json"
exits "ansible reads it" 0 ansible-inventory -i "$work/inventory.json" --list
has "it has the control planes" "control_plane"

exits "destroy" 0 vmrun destroy "$root/recipes/cluster.lua" --yes
has "it says what stays" "soft-deleted"
same "the state is empty" "$(vmrun state list "$root/recipes/cluster.lua" | wc -l)" 0
left=$(vmrun emulator list --json | jq '[.resources[]? | select(.id | test("demo-rg"; "i"))] | length')
same "nothing of ours is left in Azure" "$left" 0
