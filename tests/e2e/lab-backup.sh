#!/usr/bin/env bash
# vmrun backup and restore with real kubeadm, etcd and containerd: all three control planes are lost, and are made of their backup;
# the worker comes back by itself.
. "$(dirname "$0")/lib/cluster.sh"

params=("${site[@]}" version=1.20.2 control_planes=3 workers=1)
rolled_out() { timeout 400 "$kubectl" --kubeconfig "$config" rollout status "$@"; }
export VMRUN_BACKUP_KEY="correct horse battery"

exits "three control planes and one worker" 0 apply
took "three control planes and one worker"
[ "$failed" -eq 0 ] || exit
check "its kubeconfig" shows_config
check "an object" k create configmap kept --from-literal=word=once
check "a secret one" k create secret generic hidden --from-literal=word=unmistakable-words
check "a deployment" k create deployment much --image=nginx:1.28-alpine --replicas=2
check "runs" rolled_out deployment much --timeout=300s
uid=$(k get namespace kube-system -o jsonpath='{.metadata.uid}')
exits "a backup" 0 vmrun backup "$recipe" --out "$work/demo.backup"
[ "$failed" -eq 0 ] || exit
took "a backup: $(head -n 1 <<<"$out")"
same "nothing of it stays there" "$(said demo-cp-1 "sudo ls /var/lib/etcd")" member

for n in 1 2 3; do check "control plane $n is lost" arm DELETE "$(of_machine "demo-cp-$n")" 2025-04-01; done
gone() { ! machines | grep -q cp-; }
check "they are gone" until_true 60 gone
exits "they are made of their backup" 0 apply restore="$work/demo.backup"
took "a restore"
check "its kubeconfig" shows_config
for n in 1 2 3; do check "control plane $n serves its logs" k -n kube-system logs "etcd-demo-cp-$n" --tail=1; done
same "etcd has three members" "$(members)" "demo-cp-1 demo-cp-2 demo-cp-3"
same "the cluster is the one that was" "$(k get namespace kube-system -o jsonpath='{.metadata.uid}')" "$uid"
same "the object is there" "$(k get configmap kept -o jsonpath='{.data.word}')" once
same "the secret, too" "$(k get secret hidden -o jsonpath='{.data.word}' | base64 -d)" unmistakable-words
check "all Nodes are Ready" until_true 300 nodes_ready 4
check "what ran, runs" rolled_out deployment much --timeout=300s
check "and follows what is said" k scale deployment much --replicas=3
check "to the worker" rolled_out deployment much --timeout=300s
nothing_left "nothing is left to do" --unset restore
destroy() { patience=900 vmrun destroy "$recipe" --yes --include-unmanaged "${params[@]}"; }
exits "all of it goes" 0 destroy
