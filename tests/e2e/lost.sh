#!/usr/bin/env bash
# Control planes' machines that somebody deletes: the plan shows the loss, apply puts others in their place, and the cluster lives on,
# also when it is the first control plane, which has the credentials and is the way to all others.
. "$(dirname "$0")/lib/story.sh"

k() { timeout 30 kubectl --kubeconfig "$work/kubeconfig" "$@"; }
others() { k get nodes -o json | jq -c --arg but "demo-$1" '[.items[].metadata | select(.name != $but) | [.name, .uid]] | sort'; }
uid() { k get node "demo-$1" -o jsonpath='{.metadata.uid}'; }
shown() { vmrun emulator list --json | jq -c '[.kubernetes[] | select(.type == "kubernetes.cluster") | .members | keys]'; }
deleted() { arm DELETE "/subscriptions/{subscription}/resourceGroups/demo-rg/providers/Microsoft.Compute/virtualMachines/demo-$1" 2025-04-01; }
gone() { ! machines | grep -qx "demo-$1"; }
lose() {
  check "$1: its machine is deleted" deleted "$1"
  check "$1: it is gone" until_true 20 gone "$1"
}
three=(control_planes=3 workers=1)
all='[["demo-cp-1","demo-cp-2","demo-cp-3"]]'

exits "three control planes and a worker" 0 apply "${three[@]}"
check "a kubeconfig" vmrun kubeconfig "$recipe" --out "$work/kubeconfig"
[ "$failed" -eq 0 ] || exit

# lost NAME ROW: what the plan says of it, and that it is made up for.
lost() {
  local before stay
  before=$(uid "$1") stay=$(others "$1")
  same "$1: three others" "$(jq length <<<"$stay")" 3
  lose "$1"
  exits "$1: the plan" 2 plan "${three[@]}" --detailed-exitcode
  has "$1: it shows the loss" "azure.virtual_machine.$1: create (was deleted outside)"
  matches "$1: and that another takes its place" "$2"
  lacks "$1: no secret is said to have changed" "(secret) changed"
  same "$1: nothing is done about another" "$(grep -E '^ *[-+~±]' <<<"$out" | grep -v "$1" | grep -vF 'kubeadm.init.cluster: change')" ""
  exits "$1: apply" 0 apply "${three[@]}"
  same "$1: what the lost one left went before the other joined" \
    "$(grep -oE "looking for what an earlier machine left|command kubeadm (join|init)$" <<<"$out" | paste -sd,)" \
    "looking for what an earlier machine left,command kubeadm join"
  same "$1: three members" "$(shown)" "$all"
  same "$1: the other Nodes are the same" "$(others "$1")" "$stay"
  if [ -n "$before" ] && [ "$(uid "$1")" ] && [ "$(uid "$1")" != "$before" ]; then pass "$1: and this one is new"; else fail "$1: and this one is new" "$before"; fi
  exits "$1: then there are no changes" 0 plan "${three[@]}" --detailed-exitcode
}
lost cp-3 '± kubeadm\.join\.cp-3: replace'
joins='~ kubeadm\.init\.cluster: change \(field `host` changed outside: the machine that it was made on -> another machine, which joins the cluster\)'
lost cp-1 "$joins"

# Who does so may be killed, too, and a control plane that is asked for a token may be busy with its own.
exits "one that answers at the second time" 0 vmrun exec "$recipe" demo-cp-2 -- 'p=$(sudo sh -c "command -v kubeadm"); sudo mv "$p" "$p.away"
printf "#!/bin/sh\n[ \"\$1\" = token ] || exec %s \"\$@\"\nmv -f %s %s\necho etcdserver: leader changed >&2; exit 1\n" "$p.away" "$p.away" "$p" |
  sudo tee "$p" >/dev/null && sudo chmod 755 "$p"'
lose cp-1
kill_after 1 'kubeadm\.init\.cluster: looking for what an earlier machine left' "${three[@]}"
same "killed before it joined" "$code" 137
exits "the next run ends well" 0 apply "${three[@]}"
matches "who was busy was asked again" '`kubeadm token` failed \(exit code 1\): etcdserver: leader changed; asking again'
same "with three members" "$(shown)" "$all"
exits "and no changes" 0 plan "${three[@]}" --detailed-exitcode

# One that somebody has reset joins again; a new cluster beside the one that lives would be the end of it.
exits "the first is reset" 0 vmrun exec "$recipe" demo-cp-1 -- "sudo kubeadm reset -f && sudo rm /var/lib/vmrun/init.done"
check "and its Node deleted" k delete node demo-cp-1
exits "the plan" 2 plan "${three[@]}" --detailed-exitcode
matches "it joins again" "$joins"
exits "apply" 0 apply "${three[@]}"
same "with three members" "$(shown)" "$all"
exits "and no changes" 0 plan "${three[@]}" --detailed-exitcode

# Without others it is the whole cluster that is lost.
exits "the third leads etcd" 0 vmrun exec "$recipe" demo-cp-1 -- 'p=/etc/kubernetes/pki/etcd
e="sudo crictl exec $(sudo crictl ps -q --name "^etcd$") etcdctl --cacert=$p/ca.crt --cert=$p/healthcheck-client.crt --key=$p/healthcheck-client.key"
$e move-leader "$($e member list | sed -n "s/, started, demo-cp-3,.*//p")"'
exits "one control plane" 0 apply control_planes=1 workers=1
matches "who leads hands that over before it leaves" "cp-3: etcd's leadership goes from demo-cp-3 to demo-cp-[12]"
lose cp-1
touched=$(writes)
exits "which is not made anew unasked" 1 apply control_planes=1 workers=1
has "it says why" "a new, empty cluster would take the place of this one, and what its etcd holds would be lost"
has "and what to say if it is meant" "--replace kubeadm.init.cluster"
same "nothing was written" "$(writes)" "$touched"
