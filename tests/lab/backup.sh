#!/usr/bin/env bash
# vmrun backup and restore with a real kubeadm, etcd and containerd, on machines with systemd: the only control plane is lost, and
# is made of its backup; the worker comes back by itself. By hand: script/test does not run it, and it has not been seen to pass
# yet. Needs root and what script/setup --lab installs.
. "$(dirname "$0")/../e2e/lib/story.sh"
lab=$root/tests/lab cache=${VMRUN_LAB_CACHE:-$HOME/.cache/vmrun-lab}
if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap docker-registry skopeo dnsmasq >/dev/null; then
  fail "a real cluster" "it needs root and what script/setup --lab installs"
  exit
fi

vmrun() { timeout "${patience:-150}" "$VMRUN" "$1" "$2" --state-dir "$state" "${@:3}"; }
size=(control_planes=1 workers=1)
apply() { patience=1800 vmrun apply "$recipe" --emulator --yes "${params[@]}" "${size[@]}" "$@"; }
plan() { vmrun plan "$recipe" --detailed-exitcode "${params[@]}" "${size[@]}" "$@"; }
said() { vmrun exec "$recipe" "$1" -- "${@:2}" 2>/dev/null | sed -n 's/^  //p'; }
check "the site" "$lab/site/start.sh" "$state" 10280 10250
[ "$failed" -eq 0 ] || exit
mapfile -t params < <(grep = <<<"$out" | grep -E '^(version|containerd|kubernetes_repository|registry_mirrors)=')
kubectl=$("$lab/build.sh" kubectl)/kubectl config=$work/kubeconfig
k() { timeout 60 "$kubectl" --kubeconfig "$config" "$@"; }
export VMRUN_BACKUP_KEY="correct horse battery"

since=$SECONDS
exits "one control plane and one worker" 0 apply
echo "# the cluster was up after $((SECONDS - since)) s"
[ "$failed" -eq 0 ] || exit
check "its kubeconfig" vmrun kubeconfig "$recipe" --out "$config"
check "an object" k create configmap kept --from-literal=word=once
check "a secret one" k create secret generic hidden --from-literal=word=unmistakable-words
check "a deployment" k create deployment much --image=nginx:1.28-alpine --replicas=2
check "runs" k rollout status deployment much --timeout=90s
uid=$(k get namespace kube-system -o jsonpath='{.metadata.uid}')
since=$SECONDS
exits "a backup" 0 vmrun backup "$recipe" --out "$work/demo.backup"
echo "# $(head -n 1 <<<"$out"); it took $((SECONDS - since)) s"
same "nothing of it stays there" "$(said demo-cp-1 "sudo ls /var/lib/etcd")" member

check "the control plane is lost" arm DELETE /subscriptions/{subscription}/resourceGroups/demo-rg/providers/Microsoft.Compute/virtualMachines/demo-cp-1 2025-04-01
gone() { ! machines | grep -q cp-1; }
check "it is gone" until_true 60 gone
since=$SECONDS
exits "it is made of its backup" 0 apply restore="$work/demo.backup"
echo "# it was there after $((SECONDS - since)) s"
check "its kubeconfig" vmrun kubeconfig "$recipe" --out "$config"
same "the cluster is the one that was" "$(k get namespace kube-system -o jsonpath='{.metadata.uid}')" "$uid"
same "the object is there" "$(k get configmap kept -o jsonpath='{.data.word}')" once
same "the secret, too" "$(k get secret hidden -o jsonpath='{.data.word}' | base64 -d)" unmistakable-words
ready() { [ "$(k get nodes --no-headers | awk '{ print $1, $2 }' | sort | paste -sd' ')" = "demo-cp-1 Ready demo-worker000000 Ready" ]; }
check "both Nodes are Ready" until_true 180 ready
check "what ran, runs" k rollout status deployment much --timeout=120s
check "and follows what is said" k scale deployment much --replicas=3
check "to the worker" k rollout status deployment much --timeout=120s
exits "nothing is left to do" 0 plan --unset restore
destroy() { patience=900 vmrun destroy "$recipe" --yes --include-unmanaged; }
exits "all of it goes" 0 destroy
