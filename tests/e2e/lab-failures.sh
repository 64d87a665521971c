#!/usr/bin/env bash
# A cluster with real kubeadm to which things happen: while it is brought up the connection to a machine is lost, the first control plane
# loses its power within `kubeadm init`, vmrun is killed at random moments (LAB_SEED makes them the same again); later a control plane
# is cut off from the network, and machines are deleted behind our back, the first control plane's, too.
. "$(dirname "$0")/lib/cluster.sh"

planned() {
  params=("${site[@]}" version=1.20.2 control_planes="$1" workers="$2")
  with=("${params[@]}")
}
seed=${LAB_SEED:-$RANDOM}
RANDOM=$seed
echo "# LAB_SEED=$seed"

# While it is brought up.
drop_connections() { inside demo-cp-1 -m -p pkill -KILL -f '^sshd: azureuser' && : >"$work/dropped"; }
power_off() { arm POST "$(of_machine demo-cp-1)/powerOff" 2025-04-01 >/dev/null && : >"$work/off"; }
happens() { # each once: who connects again is told all of it again
  case $line in
    *"package containerd") [ -e "$work/dropped" ] || { sleep 1; drop_connections; } ;;
    *"command kubeadm init") [ -e "$work/off" ] || { sleep $((5 + RANDOM % 10)); power_off; } ;;
  esac
}
planned 3 4
patience=1500 at_line 0 'node\.cp-1/containerd\.runtime\.runtime: package containerd$|kubeadm\.init\.cluster: command kubeadm init$' happens
check "the connection was lost while apt-get was at work" test -e "$work/dropped"
check "the first control plane was powered off within kubeadm init" test -e "$work/off"
same "the run ended by itself, and badly" "$code" 1
out=$(cat "$work/lines")
matches "it connected again" '203\.0\.113\.2: the connection to 203\.0\.113\.2:22 was lost: .+; connecting again'
matches "the step went on, and its end was heard of" 'node\.cp-1/containerd\.runtime\.runtime: created \('
has "it says where" "kubeadm.init.cluster: create failed"
same "no cluster is there yet" "$(grep -c 'kubeadm.init.cluster: created (' <<<"$out")" 0
took "a bring-up that is interrupted"

: >"$work/all"
kills=0
for _ in {1..20}; do # some end by themselves, before a machine that is off has come up
  [ "$kills" -lt 10 ] || break
  moment=$((2 + RANDOM % 7)) # all of it may take no longer than a minute and a half
  timeout 1500 "$VMRUN" apply "$recipe" --yes --state-dir "$state" "${params[@]}" >"$work/lines" 2>&1 </dev/null &
  run=$!
  sleep "$moment"
  kill_run
  code=0
  wait "$run" 2>/dev/null || code=$?
  cat "$work/lines" >>"$work/all"
  echo "# killed after $moment s: $(grep -vE '^ {2,}|^$' "$work/lines" | tail -n 1 | cut -c 1-100)"
  [ "$code" -ne 137 ] || kills=$((kills + 1))
done
same "ten runs were killed" "$kills" 10
exits "the next run ends well" 0 apply
echo "$out" >>"$work/all"
took "ten killed runs, and one that ends"
[ "$failed" -eq 0 ] || exit
check "a kubeconfig" shows_config
nothing_left "there are no changes"
check "seven nodes are Ready" until_true 180 nodes_ready 7
same "each once" "$(k get nodes -o name | sort | uniq -d | wc -l) $(k get nodes -o name | wc -l)" "0 7"
same "three members of etcd" "$(members)" "demo-cp-1 demo-cp-2 demo-cp-3"
same "seven machines" "$(machines | wc -l)" 7
same "one cluster's authority on all of them" "$(said all "hostname; sudo sha256sum /etc/kubernetes/pki/ca.crt" | awk 'length($1) == 64 { print $1 }' | sort | uniq -c | awk '{ print $1 }')" 7
same "kubeadm init ended once" "$(said all 'sudo ls /var/lib/vmrun' | grep -cx 'init.done')" 1
same "nothing of it is under way" "$(said all 'sudo ls /var/lib/vmrun' | grep -c '[.]begun$')" 0
twice() {
  emulator writes | jq -r '.last[] | select(.service == "arm" or .service == "vault") | "\(.method) \(.status) \(.path)"' | sed 's/?.*//' |
    awk '$1 == "DELETE" { delete made[tolower($3)] } $1 == "PUT" && $2 == 201 && made[tolower($3)]++ { print }'
}
above "Azure made things" "$(emulator writes | jq '[.last[] | select(.service == "arm" and .method == "PUT" and .status == 201)] | length')" 20
same "none of them twice" "$(twice)" ""
# The log has what the first init began as well, whose cluster went with the reset.
born=$(k get namespace kube-system -o jsonpath='{.metadata.creationTimestamp}')
made=$(said demo-cp-1 sudo cat /var/log/kubernetes/audit.log | jq -r --arg born "$born" 'select(.verb == "create" and .objectRef.resource == "nodes" and .responseStatus.code == 201 and .requestReceivedTimestamp >= $born) | .objectRef.name // .user.username')
above "Nodes were made" "$(grep -c . <<<"$made")" 0
same "the same Node was not made twice" "$(sort <<<"$made" | uniq -d)" ""

# A certificate for a person, who may do what a group of theirs may.
check "a certificate for a person" vmrun kubeconfig "$recipe" --user anna --group readers --out "$work/anna"
anna() { timeout 60 "$kubectl" --kubeconfig "$work/anna" "$@"; }
exits "may do nothing by itself" 1 anna get pods -A
has "the API knows who asks" 'User "anna" cannot list resource "pods"'
check "a right for the group" k create clusterrolebinding readers --clusterrole=view --group=readers
exits "is theirs" 0 anna get pods -A
exits "but no more than that" 1 anna get secrets -A

# Two workers less: what must not be away all at once moves one after the other.
apart='{ weight: 100, podAffinityTerm: { topologyKey: kubernetes.io/hostname, labelSelector: { matchLabels: { app: shop } } } }'
shop "initialDelaySeconds: 5" "affinity: { podAntiAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [$apart] } }" | k apply -f - >/dev/null
check "four pods with a budget of one" k rollout status deploy shop --timeout=110s
same "are on four workers" "$(k get pods -l app=shop -o json | jq -r '.items[].spec.nodeName' | sort -u | wc -l)" 4
available() {
  while [ -e "$work/watching" ]; do
    shop_ready >>"$work/available"
    sleep 0.5
  done 2>/dev/null
}
: >"$work/watching"
available &
watcher=$!
children=("$watcher")
planned 3 2
exits "two workers less" 0 apply
rm "$work/watching"
wait "$watcher"
children=()
same "five nodes are left" "$(k get nodes -o name | wc -l)" 5
above "the budget was watched" "$(wc -l <"$work/available")" 5
above "and kept" "$(sort -n "$work/available" | head -n 1)" 2
evictions() { said control_plane sudo cat /var/log/kubernetes/audit.log | jq -c "select(.objectRef.subresource == \"eviction\" and (.objectRef.name | startswith(\"shop-\")) and $1)" | wc -l; }
above "pods were evicted" "$(evictions '.responseStatus.code == 201')" 1
took "a person's certificate, and two workers less"

# A control plane that cannot be reached: nothing is done about it, and nothing that counts on it.
check "etcd is well" until_true 400 etcd_ready
ids() { etcdctl demo-cp-"${1:-1}" member list | awk -F', ' '{ print $1, $3 }' | sort; }
ids >"$work/members"
cut_off() { printf 'table inet cut { chain in { type filter hook input priority -300; policy drop; }; chain out { type filter hook output priority -300; policy drop; }; }\n' | inside demo-cp-2 -m -n nft -f -; }
check "one is cut off" cut_off
not_ready() { [ "$(k get node "$1" --no-headers | awk '{ print $2 }')" = NotReady ]; }
check "its Node is not ready" until_true 300 not_ready demo-cp-2
touched=$(writes)
exits "the plan is not whole" 1 plan
has "it says so of its host" "? node.cp-2/ssh.host.host: unknown (unreachable)"
has "and does nothing" "No changes."
exits "nor for a part" 1 plan --target kubeadm.join.cp-2
has "it says the same" "? kubeadm.join.cp-2: unknown (unreachable)"
has "and does nothing" "No changes."
exits "apply does nothing, either" 1 apply
planned 1 2
exits "fewer control planes" 1 apply
has "would lose the majority" "etcd would lose its majority"
has "it says which is ill" "demo-cp-2 is not healthy"
planned 3 2
exits "nor may another be made anew" 1 apply --replace azure.virtual_machine.cp-3
has "for the same reason" "etcd would lose its majority without demo-cp-3"
above "Azure was asked to write before" "$touched" 20
same "and for all of this nothing" "$(writes)" "$touched"
same "etcd has the same members" "$(ids)" "$(cat "$work/members")"
check "the way is open again" inside demo-cp-2 -m -n nft delete table inet cut
check "its Node comes back" until_true 300 nodes_ready 5
took "a control plane that is cut off"

# Machines that somebody deletes. LOST: which, ASKED: which other one tells of etcd.
lost() { # NAME ASKED
  local row=$3 was
  check "$1: etcd is well" until_true 600 etcd_ready
  ids "$2" >"$work/members"
  same "$1: three members" "$(wc -l <"$work/members")" 3
  was=$(awk -v name="demo-$1" '$2 == name { print $1 }' "$work/members")
  check "$1: its machine is deleted" arm DELETE "$(of_machine "demo-$1")" 2025-04-01
  check "$1: it is gone" until_true 60 eval "! machines | grep -qx demo-$1"
  exits "$1: the plan" 2 plan
  has "$1: it shows the loss" "azure.virtual_machine.$1: create (was deleted outside)"
  matches "$1: and that another takes its place" "$row"
  lacks "$1: the others stay" "azure.virtual_machine.cp-$2: "
  check "$1: the cluster lives on" until_true 120 k get nodes
  exits "$1: apply replaces it" 0 apply
  same "$1: what the lost one left went before the new one joined" \
    "$(grep -oE "looking for what an earlier machine left|command kubeadm join" <<<"$out" | uniq | paste -sd,)" \
    "looking for what an earlier machine left,command kubeadm join"
  check "$1: five nodes are Ready" until_true 180 nodes_ready 5
  same "$1: three members again, and no other" "$(members "demo-cp-$2") $(ids "$2" | wc -l)" "demo-cp-1 demo-cp-2 demo-cp-3 3"
  same "$1: of which one is another" "$(ids "$2" | grep -vxFf "$work/members" | awk '{ print $2 }') ${was:+$(ids "$2" | grep -c "^$was ")}" "demo-$1 0"
  nothing_left "$1: there are no changes"
  took "$1 was deleted"
}
lost cp-3 2 '± kubeadm\.join\.cp-3: replace'
lost cp-1 2 '~ kubeadm\.init\.cluster: change \(.*another machine, which joins the cluster'
same "what ran runs" "$(k get deploy shop -o jsonpath='{.status.readyReplicas}')" 4
exits "the emulator stops" 0 vmrun emulator stop
