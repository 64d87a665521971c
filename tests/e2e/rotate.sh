#!/usr/bin/env bash
# Another `encryption_key` rotates the key of Secrets in etcd: on all control planes, one step after the other, while clients read. A run
# may die anywhere; what not all control planes could follow is refused; keys in a wrong order show as on real API servers.
. "$(dirname "$0")/lib/story.sh"

k() { timeout 30 kubectl --kubeconfig "$config" "$@"; }
on() { vmrun exec "$recipe" "$1" -- "sudo -n sh -c $(printf %q "$2")"; }
said() { on "$@" 2>/dev/null | sed -n 's/^  //p'; }

# The names of the keys in the file of each control plane, in its order.
keys() {
  local node
  for node in "$@"; do on_disk "$node" | sed -n 's/^ *\(- \)\{0,1\}name: //p' | paste -sd,; done | sort | uniq -c | awk '{ print $1 "x" $2 }' | paste -sd' '
}
root_of() { vmrun emulator list --json | jq -r --arg name "$1" '.machines[] | select(.hostname == $name) | .root'; }
on_disk() { cat "$(root_of "$1")/etc/kubernetes/encryption.yaml"; }
# What begins the values of Secrets in etcd, each once.
sealed() {
  said demo-cp-1 '
    pki=/etc/kubernetes/pki/etcd
    crictl exec "$(crictl ps -q --name "^etcd\$")" etcdctl --cacert=$pki/ca.crt --cert=$pki/healthcheck-client.crt \
      --key=$pki/healthcheck-client.key get --prefix /registry/secrets/ | grep -aoE "^k8s(:enc:[^:]*:v1:[^:]*:|.)" | sort -u'
}
vault() { # METHOD PATH [BODY]
  local token host
  host=demo-vault.$(endpoint vault_suffix)
  token=$(ask "$(endpoint entra)/$(endpoint tenant)/oauth2/v2.0/token" -d grant_type=client_credentials -d "client_id=$(endpoint client_id)" \
    -d "scope=$(endpoint vault_audience)/.default" --data-urlencode "client_secret=$(endpoint client_secret)" | jq -r .access_token)
  ask --fail-with-body --connect-to "$host:$(endpoint vault_address)" -X "$1" "https://$host$2?api-version=7.4" \
    -H "Authorization: Bearer $token" -H "Content-Type: application/json" ${3+--data "$3"}
}
in_vault() { vault GET /secrets | jq -r '.value[].id | sub(".*/"; "") | select(startswith("encryption"))' | sort | paste -sd' '; }

# A client that never stops: each line is a read that failed.
read_on() {
  local end
  while [ -e "$work/reading" ]; do
    end=$(date +%s%N)
    timeout 20 kubectl --kubeconfig "$config" get secrets -n many -o name >"$work/read" 2>"$work/read.err" &&
      [ "$(wc -l <"$work/read")" -ge "$many" ] || { date; cat "$work/read.err"; wc -l <"$work/read"; } >>"$work/unread"
    echo "$((($(date +%s%N) - end) / 1000000))" >>"$work/reads"
    sleep 0.02
  done
}
many=130 reader=''
start_reading() {
  : >"$work/unread"
  : >"$work/reads"
  : >"$work/reading"
  read_on &
  reader=$!
}
stop_reading() { # NAME
  rm -f "$work/reading"
  wait "$reader" 2>/dev/null
  reader=''
  same "$1: each of $(wc -l <"$work/reads") reads of all Secrets meanwhile went well" "$(cat "$work/unread")" ""
}
trap 'rm -f "$work/reading"; [ -z "$reader" ] || wait "$reader"; finish; exit $?' EXIT

rotated_to() { # NAME WORD CONTROL-PLANE...
  same "$1: all control planes have that key alone" "$(keys "${@:3}")" "$(($# - 2))xencryption-$2"
  same "$1: all Secrets in etcd are encrypted with it" "$(sealed)" "k8s:enc:secretbox:v1:encryption-$2:"
  same "$1: API servers know" "$(for n in "${@:3}"; do said "$n" 'ls /var/lib/vmrun | grep loading || echo yes'; done | sort -u)" yes
}
three=(demo-cp-1 demo-cp-2 demo-cp-3)

# Without a CNI its one Node is not Ready, and the others are yet to join: no rotation, so nothing to be refused.
exits "a cluster, of which no more came than the first control plane" 0 apply --target kubeadm.init.cluster --target 'node.cp-*'
exits "and the rest of it" 0 apply
config=$work/kubeconfig
check "a kubeconfig" vmrun kubeconfig "$recipe" --out "$config"
[ "$failed" -eq 0 ] || exit
same "its key has the name of its secret in the vault" "$(keys "${three[@]}")" "3xencryption"

# Nothing with which a node could join is left.
tokens() { k get secrets -n kube-system -o json | jq -r '.items[] | select(.type == "bootstrap.kubernetes.io/token" or .metadata.name == "kubeadm-certs") | .metadata.name'; }
same "no join token is left, and no certificates" "$(tokens)" ""
same "nor a signature of one" "$(k get configmap -n kube-public cluster-info -o json | jq -r '.data | keys[] | select(startswith("jws"))')" ""

check "a namespace" k create namespace many
for i in $(seq "$many"); do
  printf -- '---\napiVersion: v1\nkind: Secret\nmetadata: {name: s%s, namespace: many}\nstringData: {word: unmistakable-%s}\n' "$i" "$i"
done >"$work/many.yaml"
check "with many Secrets" k create -f "$work/many.yaml"
same "all of them are encrypted" "$(sealed)" "k8s:enc:secretbox:v1:encryption:"
words() { k get secrets -n many -o json | jq -r '[.items[].data.word | @base64d | ltrimstr("unmistakable-") | tonumber] | add'; }
sum=$((many * (many + 1) / 2))
same "they can be read" "$(words)" "$sum"

# A rotation.
exits "a plan for another key" 2 plan encryption_key=2026-11 --detailed-exitcode
has "says what it is" 'name: "encryption" -> "encryption-2026-11"'
has "and touches nothing else" "Plan: 1 to add, 1 to change, 1 to destroy."
start_reading
since=$SECONDS
exits "the rotation" 0 apply encryption_key=2026-11
echo "# it took $((SECONDS - since)) s"
stop_reading "while it was rotated"
steps=$(grep -oE 'demo-cp-[0-9]: (only )?key [a-z0-9-]+ (is added|writes|stays)' <<<"$out" | sed -E 's/demo-cp-([0-9]).* (is added|writes|stays)/\1 \2/' | paste -sd,)
same "added everywhere, then made the first, then left alone, one control plane at a time" "$steps" \
  "1 is added,2 is added,3 is added,1 writes,2 writes,3 writes,1 stays,2 stays,3 stays"
matches "with Secrets counted" "Secrets written with encryption-2026-11: $many of [0-9]+|Secrets written with encryption-2026-11: ([0-9]+) of \1"
rotated_to "after a rotation" 2026-11 "${three[@]}"
same "the Secrets are what they were" "$(words)" "$sum"
same "the vault has the new key alone" "$(in_vault)" "encryption-2026-11"
exits "there is nothing more to do" 0 plan encryption_key=2026-11 --detailed-exitcode
secret=$(on_disk demo-cp-1 | sed -n 's/^ *secret: //p')
same "the key itself is in no log, plan or state" "$(grep -rlF --exclude-dir=machines --exclude='world.db*' -- "$secret" "$work" 2>/dev/null)" ""

# Killed at each point, and gone on with.
n=0 old=2026-11
while IFS='|' read -r name pattern; do
  n=$((n + 1))
  start_reading
  kill_after 1 "$pattern" encryption_key="k$n"
  same "$name: killed" "$code" 137
  has_old() { grep -qw "encryption-$old" <<<"$(in_vault)"; }
  check "$name: the vault keeps the old key" has_old
  exits "$name: the next run ends well" 0 apply encryption_key="k$n"
  stop_reading "$name"
  rotated_to "$name" "k$n" "${three[@]}"
  same "$name: and the old key has gone from the vault" "$(in_vault)" "encryption-k$n"
  exits "$name: which is all" 0 plan encryption_key="k$n" --detailed-exitcode
  old=k$n
done <<'STEPS'
before the first step|vault_random\.encryption: (created|replaced)
while it is added|demo-cp-2: key .* is added
between a file and its API server|encryption\.secrets: command encryption\.yaml
while an API server is waited for|waiting for the API server of demo-cp-1
while it is made the first|demo-cp-2: key .* writes
while Secrets are written|Secrets written with encryption-k[0-9]+: 20
while the old key goes|demo-cp-2: only key
STEPS

# Another key in the middle of a rotation: the unfinished one has written some, too.
start_reading
kill_after 1 'demo-cp-2: key .* writes' encryption_key=half
same "half a rotation" "$(keys demo-cp-1)" "1xencryption-half,encryption-$old"
exits "goes on to yet another key" 0 apply encryption_key=whole
stop_reading "over two keys"
rotated_to "over two keys" whole "${three[@]}"
same "the vault has forgotten both" "$(in_vault)" "encryption-whole"

# Those who join in between, and later, have what the others have.
kill_after 1 'demo-cp-3: key .* writes' encryption_key=five
start_reading
exits "two more control planes in the middle of one" 0 apply encryption_key=five control_planes=5
stop_reading "while they join"
five=("${three[@]}" demo-cp-4 demo-cp-5)
rotated_to "with five" five "${five[@]}"
exits "nothing is left to do" 0 plan encryption_key=five control_planes=5 --detailed-exitcode
same "nor to join with" "$(tokens)" ""
exits "three again" 0 apply encryption_key=five control_planes=3
exits "and five" 0 apply encryption_key=five control_planes=5
rotated_to "who joins later" five "${five[@]}"
apply() { vmrun apply "$recipe" --emulator --yes control_planes=3 "$@"; }
plan() { vmrun plan "$recipe" control_planes=3 "$@"; }
exits "and three" 0 apply encryption_key=five

# A file that somebody has changed: the API server does not know yet, so all can still be read, and the next run mends it.
check "a control plane gets a key of its own" on demo-cp-2 \
  "sed -i 's/name: encryption-five/name: lonely/; s|secret: .*|secret: $(head -c 32 /dev/urandom | base64)|' /etc/kubernetes/encryption.yaml"
exits "a plan sees it" 2 plan encryption_key=five --detailed-exitcode
has "and which keys there are" 'name (changed outside): "encryption-five, lonely" -> "encryption-five"'
start_reading
exits "an apply mends it" 0 apply encryption_key=five
stop_reading "while it is mended"
rotated_to "after that" five "${three[@]}"

check "a control plane loses its file" on demo-cp-2 "rm /etc/kubernetes/encryption.yaml"
exits "a plan sees that" 2 plan encryption_key=five --detailed-exitcode
exits "and it gets that of the others" 0 apply encryption_key=five
rotated_to "with its file again" five "${three[@]}"
exits "which is all" 0 plan encryption_key=five --detailed-exitcode

# The secret in the vault is another one, under the same name.
was=$(vault GET /secrets/encryption-five | jq -r .value)
check "somebody writes another key into the vault" vault PUT /secrets/encryption-five "{\"value\": \"$(head -c 32 /dev/urandom | base64)\"}"
exits "a plan refuses it" 1 plan encryption_key=five
has "and says why" "the control planes have another key of the name encryption-five than the one that is given"
exits "an apply, too" 1 apply encryption_key=five
same "nothing was changed" "$(keys "${three[@]}")" "3xencryption-five"
exits "a name of its own makes it well" 2 plan encryption_key=six --detailed-exitcode
check "and so does the old one" vault PUT /secrets/encryption-five "{\"value\": \"$was\"}"
exits "which is what was there" 0 plan encryption_key=five --detailed-exitcode

# A control plane that is away could not follow.
machine=/subscriptions/{subscription}/resourceGroups/demo-rg/providers/Microsoft.Compute/virtualMachines
check "a control plane loses its kubelet" on demo-cp-3 "systemctl stop kubelet"
not_ready() { k get node demo-cp-3 --no-headers | grep -q NotReady; }
check "its Node turns NotReady" until_true 40 not_ready
exits "a rotation is refused then" 1 apply encryption_key=six
has "with the reason" "control plane demo-cp-3 is not healthy: it could not follow a rotation of the key"
exits "so is one that leaves it out" 1 apply encryption_key=six --exclude 'azure.virtual_machine.cp-3'
has "for the old key is in use" "the control planes use the key encryption-five, and this plan does not rotate it"
exits "and the new key alone" 1 apply encryption_key=six --target azure.vault_random.encryption
same "and nothing was changed" "$(keys "${three[@]}") $(in_vault)" "3xencryption-five encryption-five"
check "it has its kubelet again" on demo-cp-3 "systemctl start kubelet"
ready() { k get node demo-cp-3 --no-headers | grep -qw Ready; }
check "its Node is Ready" until_true 40 ready

# The old key goes before the Secrets are written: what vmrun does not do, done by a vmrun that is broken on purpose. The first API
# server cannot read any more, and does not get ready; so it stops there, and the others serve on.
cp -r "$root/stdlib" "$work/stdlib"
sed -i 's/if not stale then return step "count" end/stale = 0/' "$work/stdlib/kubeadm/encryption_keys.lua"
start_reading
VMRUN_STDLIB=$work/stdlib lag=15 kill_after 1 'demo-cp-1: only key .* stays' control_planes=3 encryption_key=wrong
same "a wrong order does not come to an end" "$code" 137
same "it has got as far as the first control plane" "$(keys "${three[@]}")" "1xencryption-wrong 2xencryption-wrong,encryption-five"
condition() { k get pod -n kube-system kube-apiserver-demo-cp-1 -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}'; }
same "whose API server is not ready" "$(condition)" False
address=$(vmrun emulator list --json | jq -r '.machines[] | select(.hostname == "demo-cp-1") | .address')
direct() { k --server "https://$address:6443" --tls-server-name api.demo.internal "$@"; }
exits "it cannot read" 1 direct get secrets -n many
has "in the words of a real one" 'Internal error occurred: unable to transform key "/registry/secrets/many/'
has "for want of the key" "no matching key was found for the provided Secretbox transformer"
exits "not even one" 1 direct get secret -n many s1
exits "what is no Secret it can" 0 direct get configmaps -n kube-system
exits "it says what it waits for" 1 direct get --raw /readyz
has "in its health" "[-]informer-sync failed: reason withheld"
exits "the right order mends that" 0 apply encryption_key=wrong
stop_reading "all the while, by the others"
rotated_to "in the right order" wrong "${three[@]}"
same "the Secrets are what they were" "$(words)" "$sum"

# One control plane needs no step to make its key known to others.
exits "a cluster of one" 0 vmrun apply "$recipe" --emulator --yes --stack one name=one control_planes=1 workers=1
exits "its rotation" 0 vmrun apply "$recipe" --emulator --yes --stack one name=one control_planes=1 workers=1 encryption_key=alone
lacks "adds nothing first" "is added"
same "and ends well" "$(keys one-cp-1)" "1xencryption-alone"
exits "which is all" 0 vmrun plan "$recipe" --stack one name=one control_planes=1 workers=1 encryption_key=alone --detailed-exitcode
