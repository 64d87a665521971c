#!/usr/bin/env bash
# The main story: a cluster comes up, stays as it is, grows, shrinks, drifts, is mended, and goes.
. "$(dirname "$0")/lib/story.sh"

exits "the first apply" 0 apply
has "it ends with the outputs" "resource_group_name"
[ "$failed" -eq 0 ] || exit
first=$(writes)
if [ "$first" -gt 50 ]; then pass "the emulator counted $first writes"; else fail "the emulator counted only $first writes"; fi

config=$work/kubeconfig
check "a kubeconfig" vmrun kubeconfig "$recipe" --out "$config"
same "it is for its owner alone" "$(stat -c %a "$config")" 600
k() { timeout 30 kubectl --kubeconfig "$config" "$@"; }
nodes_ready() { [ "$(k get nodes --no-headers | awk '$2 ~ /^Ready/ { n++ } END { print n + 0 }')" -eq "$1" ]; }
worker_names() { k get nodes -l node-role.kubernetes.io/worker -o name | sed 's|^node/||' | sort; }
check "five nodes are Ready" nodes_ready 5
same "three of them are control planes" "$(k get nodes -l node-role.kubernetes.io/control-plane -o name | wc -l)" 3
revision=$(vmrun output "$recipe" revision --raw)
key=$(vmrun output "$recipe" git_key_file --raw)
git_url=$(vmrun output "$recipe" git_url --raw)
export GIT_SSH_COMMAND="ssh -i $key -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
check "the repository can be cloned" timeout 30 git clone -q "$git_url" "$work/clone"
same "the output names its commit" "$revision" "main@sha1:$(git -C "$work/clone" rev-parse HEAD)"
ready='[.items[] | select(any(.status.conditions[]; .type == "Ready" and .status == "True")) | .status.lastAppliedRevision // .status.artifact.revision] | unique'
same "all of Flux is Ready at the commit that was pushed" "$(k get gitrepositories,kustomizations -A -o json | jq -c "$ready")" "[\"$revision\"]"
same "which is four objects" "$(k get gitrepositories,kustomizations -A -o name | wc -l)" 4
exits "the deployments" 0 k get deploy -A
matches "nginx runs in production" "production +nginx +2/2"

disks >"$work/disks"
exits "the same again" 0 apply
has "there are no changes" "No changes."
same "nothing was written to Azure, the vault, Kubernetes or Git" "$(writes)" "$first"
same "nothing was written to the machines" "$(disks | diff "$work/disks" -)" ""

# Two workers more, and two less.
before=$(worker_names)
exits "the plan for two workers more" 2 plan workers=4 --detailed-exitcode
summary=$(grep '^Plan:' <<<"$out")
matches "it changes nothing else, and destroys nothing" "^Plan: 18 to add, 0 to change, 0 to destroy"
same "what it adds are the instances and what stands on them" \
  "$(grep -E '^  [^ ]' <<<"$out" | grep -vF '  + azure.virtual_machine_scale_set.worker.instances[+' | grep -v '^Plan:')" \
  "  + azure.virtual_machine_scale_set.worker: add 2 (grows from 2 to 4)"
exits "two workers more" 0 apply workers=4
has "the plan was the same" "$summary"
check "seven nodes are Ready" nodes_ready 7
grown=$(worker_names)
same "the workers of before are among them" "$(comm -23 <(echo "$before") <(echo "$grown"))" ""
exits "workers left out" 1 plan
has "it says what to do" "workers was 4; pass workers=4 or --unset workers"
mark=$(emulator writes | jq -r '.last[-1].time')
exits "back to two workers" 0 apply workers=2
check "five nodes are left" nodes_ready 5
same "the newest went" "$(worker_names)" "$before"
exits "and nothing more to do" 0 plan workers=2 --detailed-exitcode
emulator writes | jq -r --arg mark "$mark" '.last[] | select(.time > $mark) | "\(.service) \(.method) \(.path)"' >"$work/shrink"
for gone in $(comm -13 <(echo "$before") <(echo "$grown")); do
  instance=$((10#${gone: -6}))
  steps=$(grep -nE "kubernetes PATCH /api/v1/nodes/$gone(\$|\\?)|/eviction|kubernetes DELETE /api/v1/nodes/$gone|arm DELETE .*demo-worker/virtualMachines/$instance(\$|\\?)|arm POST .*demo-worker/delete" "$work/shrink")
  cordon=$(grep -m1 "PATCH /api/v1/nodes/$gone" <<<"$steps" | cut -d: -f1)
  node=$(grep -m1 "DELETE /api/v1/nodes/$gone" <<<"$steps" | cut -d: -f1)
  machine=$(grep "arm " <<<"$steps" | head -n 1 | cut -d: -f1)
  if [ -n "$cordon" ] && [ -n "$node" ] && [ -n "$machine" ] && [ "$cordon" -lt "$node" ] && [ "$node" -lt "$machine" ]; then
    pass "$gone was cordoned, its Node deleted, then the instance"
  else
    fail "$gone was cordoned, its Node deleted, then the instance" "$(cat "$work/shrink")"
  fi
done

# Drift in three layers, in one plan.
exits "a file is changed on a node" 0 vmrun exec "$recipe" demo-cp-2 -- "echo drift | sudo -n tee -a /etc/modules-load.d/overlay.conf"
worker=$(worker_names | head -n 1)
check "a label is taken off a node" k label node "$worker" node-role.kubernetes.io/worker-
check "a rule is deleted in Azure" arm DELETE "/subscriptions/{subscription}/resourceGroups/demo-rg/providers/Microsoft.Network/networkSecurityGroups/demo-nsg/securityRules/node-port" 2025-05-01
sleep 0.5
exits "the plan sees the drift" 2 plan workers=2 --detailed-exitcode
has "the file" "overlay"
has "the rule" "node-port"
has "the label" "node-role.kubernetes.io/worker"
has "as three changes" "Plan: 0 to add, 3 to change, 0 to destroy."
before_mending=$(writes)
exits "apply mends it" 0 apply workers=2
has "just these" "Done: 0 added, 3 changed, 0 destroyed"
same "with a write each in Azure and Kubernetes" "$(($(writes) - before_mending))" 2
exits "and nothing is left of it" 0 plan workers=2 --detailed-exitcode

# The repository leads.
name=story-$RANDOM
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  a: b\n' "$name" >"$work/clone/apps/production/config.yaml"
sed -i 's|^resources:|resources:\n  - config.yaml|' "$work/clone/apps/production/kustomization.yaml"
git -C "$work/clone" add -A
git -C "$work/clone" -c user.name=t -c user.email=t@t commit -qm "a config map"
check "a commit is pushed" timeout 30 git -C "$work/clone" push -q
check "it arrives in the cluster" until_true 30 k get configmap -n production "$name"
check "a deployment is deleted" k delete deploy -n production nginx
check "it comes back" until_true 30 k get deploy -n production nginx
exits "which is nobody's change" 0 plan workers=2 --detailed-exitcode

# A worker whose kubelet stops.
exits "a kubelet is stopped" 0 vmrun exec "$recipe" "$worker" -- sudo -n systemctl stop kubelet
not_ready() { [ "$(k get node "$worker" --no-headers | awk '{ print $2 }')" = NotReady ]; }
check "its node turns NotReady" until_true 30 not_ready
exits "it starts again" 0 vmrun exec "$recipe" "$worker" -- sudo -n systemctl start kubelet
check "and is Ready" until_true 30 nodes_ready 5

exits "the emulator stops" 0 vmrun emulator stop
exits "and comes back by itself, the same" 0 plan workers=2 --detailed-exitcode
check "with all nodes" until_true 30 nodes_ready 5

# What the old chain handed over.
vmrun inventory "$recipe" --format ansible >"$work/inventory.json"
exits "ansible reads the inventory" 0 timeout 30 ansible-inventory -i "$work/inventory.json" --list
same "it has all hosts in their groups" "$(jq -c '[(.control_plane.hosts | length), (.worker.hosts | length)]' <<<"$out")" "[3,2]"
exits "outputs as JSON" 0 vmrun output "$recipe" --json
same "in the shape of Terraform's" "$(jq -c '.resource_group_name' <<<"$out")" '{"sensitive":false,"type":"string","value":"demo-rg"}'

# What is not ours refuses the destroy.
disk=/subscriptions/{subscription}/resourceGroups/demo-rg/providers/Microsoft.Compute/disks/volume
check "somebody makes a disk in our group" arm PUT "$disk" 2025-01-02 \
  '{"location":"westus2","sku":{"name":"Premium_LRS"},"properties":{"diskSizeGB":8,"creationData":{"createOption":"Empty"}}}'
exits "destroy refuses" 1 vmrun destroy "$recipe" --yes
has "it names the disk" "volume"
has "it says how" "--include-unmanaged"
check "nothing was done" nodes_ready 5
exits "destroy with it" 0 vmrun destroy "$recipe" --yes --include-unmanaged
has "it says what stays" "soft-deleted"
exits "the state" 0 vmrun state list "$recipe"
same "is empty" "$out" ""
same "nothing of ours is left in Azure" "$(ids)" ""
same "but the vault, for a while" "$(vmrun emulator list --json | jq -c '[.deleted_vaults[].name]')" '["demo-vault"]'
same "no machine is left" "$(machines)" ""
