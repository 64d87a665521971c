#!/usr/bin/env bash
# Another `version` with real kubeadm: a cluster goes from 1.20.2 to 1.20.3 (the same source, with another release in it) under clients
# that read and write through the load balancer, and through a run that is killed.
. "$(dirname "$0")/lib/cluster.sh"

params=("${site[@]}" control_planes=3 workers=2)
exits "three control planes and two workers of 1.20.2" 0 apply version=1.20.2
took "the cluster's bring-up"
check "a kubeconfig" shows_config
[ "$failed" -eq 0 ] || exit
nodes() { k get nodes -o json | jq -c '[.items[] | [(.status.conditions[] | select(.type == "Ready").status), .status.nodeInfo.kubeletVersion]] | group_by(.) | map([length] + .[0])'; }
images() { k -n kube-system get pods -o json | jq -c '[.items[].spec.containers[0].image | capture("/(?<part>kube-[a-z-]+):(?<version>.*)") | .part + ":" + .version] | group_by(.) | map([length, .[0]])'; }
same "five nodes are Ready at 1.20.2" "$(nodes)" '[[5,"True","v1.20.2"]]'
# What the kubelet has just begun counts as healthy after its startup probe, which takes a minute.
healthy() { k -n kube-system wait --for=condition=Ready pod -l tier=control-plane --timeout=100s; }
check "and so is all of the control planes" until_true 400 healthy
took "until the control planes count as healthy"

# What the cluster is for: a service of four pods of which three are to be there at all times, and something to remember.
shop | k apply -f - >/dev/null
k apply -f - >/dev/null <<'YAML'
apiVersion: v1
kind: ConfigMap
metadata: { name: kept, labels: { made: before } }
data: { word: kept }
---
apiVersion: v1
kind: Secret
metadata: { name: kept, labels: { made: before } }
stringData: { word: kept }
YAML
check "a deployment with a budget runs" k rollout status deploy shop --timeout=110s
kept() { k get configmap,secret,deploy,pdb,service -A -o json | jq -cS '[.items[] | [.kind, .metadata.namespace, .metadata.name, .metadata.uid]] | sort'; }
k create configmap traffic --from-literal=turn=0 >/dev/null
kept | jq -c '.[] | select(.[1] == "default" or .[1] == "production")' | sort >"$work/kept"
above "there is something to be kept" "$(wc -l <"$work/kept")" 5

# Clients that try nothing twice: a write, and a read of what was written, each over a connection of its own; a line a failure.
k config view --raw --minify -o json >"$work/config.json"
part() { jq -r "$1" "$work/config.json"; }
part '.clusters[0].cluster["certificate-authority-data"]' | base64 -d >"$work/api-ca.pem"
(umask 077 && part '.users[0].user | .["client-certificate-data"], .["client-key-data"]' | while read -r line; do base64 -d <<<"$line"; done >"$work/client.pem")
name=$(part '.clusters[0].cluster["tls-server-name"]') balancer=$(part '.clusters[0].cluster.server | ltrimstr("https://")')
api() { # PATH ARGS...: what it says is in $work/answer
  : >"$work/answer"
  curl -sS --fail-with-body --max-time 120 --cacert "$work/api-ca.pem" --cert "$work/client.pem" --connect-to "::$balancer" \
    -o "$work/answer" "https://$name$1" "${@:2}"
}
requests() {
  local turn=0 tries=0 failures=0 read
  while [ -e "$work/traffic" ]; do
    turn=$((turn + 1)) tries=$((tries + 2))
    if ! api /api/v1/namespaces/default/configmaps/traffic -X PATCH -H 'Content-Type: application/merge-patch+json' \
      --data "{\"data\":{\"turn\":\"$turn\"}}" 2>"$work/why"; then
      failures=$((failures + 1))
      echo "$(date -u +%T) write $turn: $(cat "$work/why" "$work/answer")" >>"$work/failures"
    elif ! api /api/v1/namespaces/default/configmaps/traffic 2>"$work/why" || ! read=$(jq -r .data.turn "$work/answer") ||
      [ "$read" != "$turn" ]; then
      failures=$((failures + 1))
      echo "$(date -u +%T) read $turn: $(cat "$work/why" "$work/answer")" >>"$work/failures"
    fi
    echo "$tries $failures" >"$work/counts"
    sleep 0.2
  done
}
# The fewest that were there of what has a budget, and who was away, as the API tells it.
available() {
  while [ -e "$work/traffic" ]; do
    shop_ready >>"$work/available"
    k get nodes -o json | jq -c '[.items[] | select(.spec.unschedulable) | .metadata.name]' >>"$work/away"
    sleep 1
  done 2>/dev/null
}
: >"$work/traffic"
: >"$work/failures"
: >"$work/available"
: >"$work/away"
requests &
client=$!
available &
watcher=$!
children=("$client" "$watcher")
progress() { [ "$(cut -d' ' -f1 "$work/counts")" -gt 10 ]; }
check "a client reads and writes" until_true 60 progress
same "without a failure" "$(cat "$work/failures")" ""

exits "the plan of an upgrade" 2 plan version=1.20.3
has "it shows each control plane" 'kubernetes.node.cp-3: change (field `version` changed: 1.20.2 -> 1.20.3)'
has "and the workers" 'kubernetes.node.worker: change 2 alike (field `version` changed: 1.20.2 -> 1.20.3)'

# Killed while kubeadm is at work on the second control plane.
params+=(version=1.20.3) with=("${params[@]}")
patience=1500 lag=2 at_line 1 'node\.cp-2: command kubeadm upgrade node' kill_run
cp "$work/lines" "$work/log"
same "vmrun is killed within kubeadm upgrade node" "$code" 137
[ "$code" -eq 137 ] || grep -A3 'failed' "$work/log" | head -n 40
same "the first control plane took a snapshot" "$(grep -c 'cp-1: saving a snapshot' "$work/log")" 1
exits "the next run ends well" 0 apply
echo "$out" >>"$work/log"
took "the upgrade, with its interruption"

sleep 2
rm -f "$work/traffic"
wait "$client" "$watcher"
children=()
read -r tries failures <"$work/counts"
echo "bench upgrade.requests $tries count"
echo "bench upgrade.failed_requests $failures count"
same "no request of the client failed" "$(tail -n 40 "$work/failures")" ""

same "five nodes are Ready at 1.20.3" "$(nodes)" '[[5,"True","v1.20.3"]]'
same "static pods and kube-proxy are of 1.20.3" "$(images)" \
  '[[3,"kube-apiserver:v1.20.3"],[3,"kube-controller-manager:v1.20.3"],[5,"kube-proxy:v1.20.3"],[3,"kube-scheduler:v1.20.3"]]'
same "the server says so" "$(k version -o json | jq -r .serverVersion.gitVersion)" v1.20.3
same "kubeadm's configuration, too" "$(k -n kube-system get configmap kubeadm-config -o jsonpath='{.data.ClusterConfiguration}' | grep kubernetesVersion)" \
  "kubernetesVersion: v1.20.3"
same "the packages are held at it" "$(said all "hostname; dpkg-query -W -f '\${db:Status-Want} \${Package} \${Version}\n' kubeadm kubelet kubectl" | grep hold | sort | uniq -c | awk '{ print $1, $2, $3, $4 }' | paste -sd,)" \
  "5 hold kubeadm 1.20.3-1.1,5 hold kubectl 1.20.3-1.1,5 hold kubelet 1.20.3-1.1"
same "control planes one after the other, then workers" \
  "$(grep -oE 'kubernetes\.node\.[a-z0-9-]+: changed \(' "$work/log" | grep -oE 'cp-[0-9]|worker' | paste -sd' ')" "cp-1 cp-2 cp-3 worker worker"
same "one node was away at once" "$(jq -s 'map(length) | max' "$work/away")" 1
same "each in its turn" "$(jq -rs '[.[][]] | unique | length' "$work/away")" 5
same "nothing is left cordoned or marked" \
  "$(k get nodes -o json | jq -c '[.items[] | select(.spec.unschedulable or .metadata.annotations["vmrun/upgrade"]) | .metadata.name]')" '[]'
above "the budget was kept" "$(sort -n "$work/available" | head -n 1)" 2
snapshot=/var/backups/etcd/kubernetes-1.20.2-before-1.20.3.db
same "etcd's snapshot is on the first, for root alone" "$(said demo-cp-1 "sudo stat -c '%a %U' /var/backups/etcd $snapshot" | paste -sd,)" "700 root,600 root"
same "and on no other" "$(said control_plane "sudo ls /var/backups/etcd 2>/dev/null" | wc -l)" 1
same "what was there is there" "$(kept | jq -c '.[]' | grep -xFf "$work/kept" | sort)" "$(cat "$work/kept")"
same "with what it says" "$(k get configmap,secret -l made=before -o json | jq -r '[.items[] | .data.word] | join(" ")')" "kept a2VwdA=="
nothing_left "the next plan has no changes"

# Another image of Debian: the workers come first, then the control planes, each in a plan of its own. What was there stays.
was=$(for name in demo-cp-{1,2,3}; do arm GET "$(of_machine $name)" 2025-04-01 | jq -r .properties.vmId; done)
params+=(image=Debian:debian-12:12:latest)
: >"$work/traffic"
: >"$work/available"
: >"$work/away"
available &
watcher=$!
children=("$watcher")
exits "the plan of a roll" 2 plan
for i in 1 2 3; do has "control plane $i waits" "stale, and replaced when this is done: azure.virtual_machine.cp-$i (image)"; done
exits "a roll of all machines" 0 apply
took "a roll of all machines"
rm -f "$work/traffic"
wait "$watcher"
children=()
same "control planes one after the other, after the workers" "$(grep -oE '^ +[±-] azure\.virtual_machine(\.cp-[123]|_scale_set\.worker\.instances\[[0-9]\]): ' <<<"$out" |
  grep -oE 'cp-[123]|instances' | paste -sd' ')" "instances instances cp-1 cp-2 cp-3"
same "none is the machine that it was" "$(for name in demo-cp-{1,2,3}; do arm GET "$(of_machine $name)" 2025-04-01 | jq -r .properties.vmId; done |
  grep -cxF "$was")" 0
same "three members of etcd" "$(members)" "demo-cp-1 demo-cp-2 demo-cp-3"
same "five nodes are Ready at 1.20.3" "$(nodes)" '[[5,"True","v1.20.3"]]'
same "one node was away at once" "$(jq -s 'map(length) | max' "$work/away")" 1
above "the budget was kept" "$(sort -n "$work/available" | head -n 1)" 2
same "what was there is there" "$(kept | jq -c '.[]' | grep -xFf "$work/kept" | sort)" "$(cat "$work/kept")"
nothing_left "nothing is left to do"
