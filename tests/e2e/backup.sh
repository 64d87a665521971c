#!/usr/bin/env bash
# vmrun backup, and recipes/cluster.lua with restore: all control planes are lost, and their cluster is there again, with what was in
# it. What cannot be restored is refused before anything is touched; who dies in the middle goes on.
. "$(dirname "$0")/lib/story.sh"
size=(control_planes=3 workers=1)
group=/subscriptions/{subscription}/resourceGroups/demo-rg/providers
config=$work/kubeconfig file=$work/demo.backup
k() { timeout 30 kubectl --kubeconfig "$config" "$@"; }
fresh_config() { vmrun kubeconfig "$recipe" --out "$config"; }
on() { vmrun exec "$recipe" "$@"; }
roots() { find "$state"/emulator/machines/*/root/var/lib/etcd "$state"/emulator/machines/*/root/var/lib/vmrun \
  \( -name '*backup*.db*' -o -name 'restore*' \) 2>/dev/null; }
lose() { # NUMBER...: these control planes' machines go, and nobody said a word
  local i
  for i; do arm DELETE "$group/Microsoft.Compute/virtualMachines/demo-cp-$i" 2025-04-01 >/dev/null || return; done
  until_true 30 lost_are "$@"
}
lost_are() { local i; for i; do ! machines | grep -qx "demo-cp-$i" || return; done; }
nodes() { k get nodes --no-headers | awk '{ print $1, $2 }' | sort | paste -sd' '; }
all_ready() { [ "$(nodes)" = "demo-cp-1 Ready demo-cp-2 Ready demo-cp-3 Ready demo-worker000000 Ready" ]; }
unset VMRUN_BACKUP_KEY
printf 'correct horse battery\n' >"$work/key"

exits "a cluster" 0 apply "${size[@]}"
check "its kubeconfig" fresh_config
check "an object" k create configmap kept --from-literal=word=once
check "and a secret one" k create secret generic hidden --from-literal=word=unmistakable-words

# Backup.
exits "without a passphrase there is none" 1 vmrun backup "$recipe" --out "$file"
has "it says how" "there is no passphrase for the backup"
: >"$work/empty"
exits "nor with an empty one" 1 vmrun backup "$recipe" --out "$file" --key-file "$work/empty"
exits "a backup" 0 vmrun backup "$recipe" --out "$file" --key-file "$work/key"
matches "it says of what" "^api.demo.internal, Kubernetes 1[.]36[.]1, taken from demo-cp-[1-3]: .* of etcd, [0-9]+ objects"
same "is for its owner alone" "$(stat -c %a "$file")" 600
same "and nothing lies beside it" "$(ls "$work" | grep -c 'backup')" 1
same "nor on the machines" "$(roots)" ""
same "nothing can be read in it" "$(grep -caE 'unmistakable|BEGIN|kubeadm|ConfigMap|ca[.]key' "$file")" 0
out=$("$VMRUN" backup "$recipe" --state-dir "$state" --show "$file" --key-file - <"$work/key" 2>&1)
same "its manifest says what it is of" "$(jq -r '"\(.cluster.endpoint) \(.kubernetes) \(.control_planes | join(" "))"' <<<"$out")" \
  "api.demo.internal 1.36.1 demo-cp-1 demo-cp-2 demo-cp-3"
same "and has all that there must be" "$(jq -r '.files[].name' <<<"$out" | sort | paste -sd' ')" \
  "cluster-configuration.yaml encryption.yaml pki/ca.crt pki/ca.key pki/etcd/ca.crt pki/etcd/ca.key pki/front-proxy-ca.crt pki/front-proxy-ca.key pki/sa.key pki/sa.pub snapshot.db"
same "the passphrase is nowhere" "$(grep -rl 'correct horse battery' "$state" "$file" | head -n 1)" ""
check "another control plane is stopped" arm POST "$group/Microsoft.Compute/virtualMachines/demo-cp-3/powerOff" 2025-04-01
not_ready() { k get node demo-cp-3 --no-headers | grep -q NotReady; }
check "its Node turns NotReady" until_true 60 not_ready
VMRUN_BACKUP_KEY=other exits "a backup comes from one that is well" 0 vmrun backup "$recipe" --out "$work/other.backup"
lacks "not from that one" "taken from demo-cp-3"
on_again() { apply "${size[@]}"; } # what lies on it is seen only when it is there
check "apply starts it again" until_true 60 on_again
check "an object that the backup does not have" k create configmap later --from-literal=word=twice

# A cluster that lives stays.
export VMRUN_BACKUP_KEY="correct horse battery"
uid=$(k get namespace kube-system -o jsonpath='{.metadata.uid}')
exits "nothing is restored where there is a cluster" 0 plan "${size[@]}" restore="$file" --detailed-exitcode
has "and that is told" "$file is restored where no control plane of api.demo.internal is left, and nowhere else; --unset restore"
check "one control plane is lost" lose 1
exits "of three" 0 plan "${size[@]}" restore="$file"
has "its machine in the place of it joins the others" "another machine, which joins the cluster"
lacks "no backup takes their place" "is made of the backup"

# What cannot be restored.
check "all are lost" lose 2 3
refused() { # NAME TEXT ARGS...
  local name=$1 text=$2 touched
  shift 2
  touched="$(writes) $(machines)"
  exits "$name" 1 apply "${size[@]}" "$@"
  has "it says why" "$text"
  same "and nothing was touched" "$(writes) $(machines)" "$touched"
}
refused "without a backup there is none" "a new, empty cluster would take the place of this one"
VMRUN_BACKUP_KEY=wrong refused "a wrong key" "the key does not fit" restore="$file"
unset VMRUN_BACKUP_KEY
refused "no key" "there is no key for it" restore="$file"
export VMRUN_BACKUP_KEY="correct horse battery"
refused "no file" "cannot be restored: cannot" restore="$work/none"
head -c -1 "$file" >"$work/short"
refused "a truncated one" "truncated" restore="$work/short"
head -c $(($(head -n 2 "$file" | wc -c) + 2 * 65552)) "$file" >"$work/cut"
refused "one that was cut between its pieces" "truncated: its end is missing" restore="$work/cut"
cp "$file" "$work/flipped"
printf '\377' | dd of="$work/flipped" bs=1 seek=100000 conv=notrunc status=none
refused "a damaged one" "damaged" restore="$work/flipped"
refused "of another release than this, too old" "more than one minor release older" restore="$file" version=1.38.0
refused "or too new" "which is newer than version = 1.35.9" restore="$file" version=1.35.9
exits "of another cluster" 1 apply --stack other name=other control_planes=1 workers=0 restore="$file"
has "it says of which" "it is of the cluster api.demo.internal, not of api.other.internal"

# Restore, killed in the middle.
exits "the plan" 2 plan "${size[@]}" restore="$file" --detailed-exitcode
matches "says from what, of when and of which release" "kubeadm.init.cluster: the cluster is made of the backup $file, of 20[0-9-]+T[0-9:]+Z, Kubernetes 1[.]36[.]1"
killed() { # NAME WHERE: the next apply is killed when it says so
  kill_after 1 "$2" "${size[@]}" restore="$file"
  same "killed $1" "$code" 137
}
killed "while it makes machines" "azure.virtual_machine.cp-1: created"
killed "while it brings the backup to the host" "kubeadm.init.cluster: bringing pki/ca.crt"
killed "within kubeadm init" "kubeadm.init.cluster: command kubeadm init"
same "which the first control plane remembers" "$(roots | grep -c '/var/lib/vmrun/restore$')" 1
exits "the next goes on" 0 apply "${size[@]}" restore="$file"
check "its kubeconfig" fresh_config
same "the cluster is the one that was" "$(k get namespace kube-system -o jsonpath='{.metadata.uid}')" "$uid"
same "the object is there" "$(k get configmap kept -o jsonpath='{.data.word}')" once
same "the secret, too" "$(k get secret hidden -o jsonpath='{.data.word}' | base64 -d)" unmistakable-words
same "what came after the backup is not" "$(k get configmap later 2>&1 | grep -c NotFound)" 1
check "all Nodes are Ready, the worker by itself" until_true 60 all_ready
same "no machine has anything left of it" "$(roots)" ""
same "three members of etcd" "$(vmrun emulator list --json | jq -c '[.kubernetes[] | select(.type == "kubernetes.cluster") | .members | keys[]]')" \
  '["demo-cp-1","demo-cp-2","demo-cp-3"]'
exits "nothing is left to do" 0 plan "${size[@]}" restore="$file" --detailed-exitcode
exits "nor without restore" 0 plan "${size[@]}" --unset restore --detailed-exitcode
lacks "which is not spoken of any more" "is restored"
exits "an apply changes nothing" 0 apply "${size[@]}" --unset restore
has "at all" "No changes."
same "the passphrase is nowhere" "$(grep -rl 'correct horse battery' "$state" "$file" | head -n 1)" ""

# Fewer control planes than there were: those that do not come back are no Nodes either.
exits "another backup" 0 vmrun backup "$recipe" --out "$file"
check "all are lost again" lose 1 2 3
size=(control_planes=1 workers=1)
exits "one is enough, and another key of etcd's is no matter" 0 apply "${size[@]}" restore="$file" encryption_key=renewed
check "its kubeconfig" fresh_config
same "it was read with the backup's key, and has the new one" "$(vmrun exec "$recipe" demo-cp-1 -- sed -n 's/^ *- name: //p' /etc/kubernetes/encryption.yaml |
  sed -n 's/^  //p')" encryption-renewed
same "the secret is there" "$(k get secret hidden -o jsonpath='{.data.word}' | base64 -d)" unmistakable-words
two() { [ "$(nodes)" = "demo-cp-1 Ready demo-worker000000 Ready" ]; }
check "it and the worker are all Nodes" until_true 60 two
same "the object is there" "$(k get configmap kept -o jsonpath='{.data.word}')" once
exits "all of it goes" 0 vmrun destroy "$recipe" --yes
