#!/usr/bin/env bash
# Another word for `packages` upgrades Debian's packages and restarts machines that want it, node by node; a run may die anywhere.
. "$(dirname "$0")/lib/story.sh"
. "$(dirname "$0")/lib/nodes.sh"

k() { timeout 30 kubectl --kubeconfig "$config" "$@"; }
left_over() { k get nodes -o json | jq -r '.items[] | select(.spec.unschedulable or .metadata.annotations["vmrun/maintenance"]) | .metadata.name' | tr '\n' ' '; }
boots() { k get nodes -o json | jq -r '.items[] | "\(.metadata.name) \(.status.nodeInfo.bootID)"' | sort; }
restarted() { comm -13 <(echo "$1") <(boots) | awk '{ print $1 }' | tr '\n' ' '; }
newest() { ask --fail-with-body -X POST -H "Authorization: Bearer $(endpoint token)" --get --data-urlencode "name=$1" --data-urlencode "version=$2" \
  -d "security=${3:-0}&restart=${4:-0}" "$(endpoint arm)/emulator/packages"; }
on_all() { vmrun exec "$recipe" all --json -- "$1"; }
version_of() { on_all "dpkg-query -W -f '\${Version}' $1" | jq -r .stdout | sort | uniq -c | awk '{ print $2 " on " $1 }'; }
held() { on_all "dpkg-query -W -f '\${Package} \${Version} \${Status}\n' kubeadm kubelet kubectl containerd.io cri-tools kubernetes-cni" | jq -r .stdout | sort; }
# What is given stays given, so all of it is said each time.
usual=(workers=2 max_unavailable=1 reboot=needed security_only=false)
keep() { apply "${usual[@]}" "$@"; }
look() { plan "${usual[@]}" --detailed-exitcode "$@"; }

# By what an apply said.
workers_at_once() {
  awk '!/maintenance\.worker: / { next } { at = $0; sub(/\/.*/, "", at) } /: draining$/ { away[at] = 1 } /: changed/ { delete away[at] }
    { n = 0; for (x in away) n++; if (n > most) most = n } END { print most + 0 }' <<<"$out"
}

exits "a cluster" 0 keep
config=$work/kubeconfig
check "a kubeconfig" vmrun kubeconfig "$recipe" --out "$config"
[ "$failed" -eq 0 ] || exit
first=$(boots)
before=$(held)

# The first word of Nodes that had none is an upgrade.
exits "a package that Debian has not" 22 newest openssl 1
check "newer packages" newest curl 7.88.1-10+deb12u14
check "a kernel, of the security archive" newest linux-image-cloud-amd64 6.1.153-1 1 1
check "and one more of it" newest socat 1.7.4.4-2+deb12u1 1
exits "nothing is planned for newer packages alone" 0 look
exits "the plan of a word" 2 look packages=one
has "it shows each control plane" 'kubeadm.maintenance.cp-3: change'
matches "with how many packages wait by the lists that are there" 'packages: "0 newer by the lists of 20[0-9-]+" -> "one"'
exits "lists that are newer" 0 on_all "sudo -n apt-get update -qq"
exits "a plan" 2 look packages=one
matches "counts by them" 'packages: "3 newer by the lists of 20[0-9-]+" -> "one"'
has "and is of the five nodes" "Plan: 0 to add, 5 to change, 0 to destroy."
exits "of the security archive" 2 look packages=one security_only=true
matches "there are fewer" 'packages: "2 newer by the lists of 20[0-9-]+" -> "one"'

start_watch
exits "the upgrade" 0 keep packages=one security_only=true
stop_watch
order=$(grep -oE 'kubeadm\.maintenance\.[a-z0-9-]+: changed \(' <<<"$out" | grep -oE 'cp-[0-9]|worker' | tr '\n' ' ')
same "control planes one after the other, then workers" "$order" "cp-1 cp-2 cp-3 worker worker "
matches "etcd is led by one that stays" "cp-1: etcd's leadership goes from demo-cp-1 to demo-cp-2"
same "one control plane was away at once" "$(most_away demo-cp)" 1
same "and one worker" "$(most_away demo-worker)" 1
same "all were restarted, for the kernel" "$(restarted "$first")" "demo-cp-1 demo-cp-2 demo-cp-3 demo-worker000000 demo-worker000001 "
same "what the security archive has is there" "$(version_of socat)" "1.7.4.4-2+deb12u1 on 5"
same "and nothing else" "$(version_of curl)" "7.88.1-10+deb12u12 on 5"
same "what is held was not touched, and is held" "$(held)" "$before"
same "no Node is cordoned or marked" "$(left_over)" ""
exits "the next plan has no changes" 0 look packages=one
lacks "and nothing wants a restart" "wants a restart"
exits "nor has one without the word" 0 look --unset packages

# Without a reason there is no restart; a person's cordon stays; two workers of three at once.
second=$(boots)
exits "a third worker" 0 keep packages=one workers=3
same "that has just come is left alone" "$(restarted "$second")" "demo-worker000002 "
same "with the packages that it came with" "$(version_of linux-image-cloud-amd64)" "6.1.140-1 on 1
6.1.153-1 on 5"
exits "which is so from then on" 0 look packages=one workers=3
second=$(boots)
check "somebody cordons a worker" k cordon demo-worker000002
exits "another word" 0 keep packages=two workers=3 max_unavailable=67%
same "the new one alone was restarted, for the kernel" "$(restarted "$second")" "demo-worker000002 "
same "two workers at once" "$(workers_at_once)" 2
same "newer are all" "$(version_of curl) $(version_of linux-image-cloud-amd64)" "7.88.1-10+deb12u14 on 6 6.1.153-1 on 6"
same "but for what is held" "$(held | sort -u)" "$(sort -u <<<"$before")"
same "the cordoned one stays so" "$(left_over)" "demo-worker000002 "
check "it is given back" k uncordon demo-worker000002
exits "two workers again" 0 keep packages=two
check "a host wants a restart" vmrun exec "$recipe" demo-cp-2 -- "echo tests | sudo -n tee /run/reboot-required.pkgs /run/reboot-required"
exits "every plan says so" 0 look packages=two
has "with who asked" "node demo-cp-2 wants a restart: needed by tests"

# Killed in each step, and gone on with.
check "newer ones" newest curl 7.88.1-10+deb12u16
word=0
while IFS='|' read -r name pattern; do
  word=$((word + 1))
  second=$(boots)
  given=(packages="killed-$word" reboot=always)
  kill_after 1 "$pattern" "${usual[@]}" "${given[@]}"
  same "$name: killed" "$code" 137
  exits "$name: the next run ends well" 0 keep "${given[@]}"
  same "$name: all were restarted" "$(restarted "$second" | wc -w)" 5
  same "$name: no Node is cordoned or marked" "$(left_over)" ""
  exits "$name: the next plan has no changes" 0 look "${given[@]}"
done <<'STEPS'
while a control plane is drained|maintenance\.cp-1: draining
while its packages are upgraded|maintenance\.cp-1: package_upgrade
while it restarts|maintenance\.cp-2: .*restarting
while its etcd is waited for|maintenance\.cp-2: command etcd is healthy
while a worker restarts|kubeadm\.maintenance\.worker: .*restarting
while its Node is waited for|kubeadm\.maintenance\.worker: waiting for the Node
STEPS
# A word that was taken back: what was begun is ended.
kill_after 1 'maintenance\.cp-1: draining' "${usual[@]}" packages=lost
same "killed once more" "$(left_over)" "demo-cp-1 "
exits "without the word it is seen" 2 look --unset packages
has "as what it is" 'packages: "under way" -> '
exits "and ended" 0 keep --unset packages
same "with no Node cordoned" "$(left_over)" ""
exits "the word again" 0 keep packages=lost

# A budget that forbids to move a pod.
k create deployment web --image=nginx --replicas=2 >/dev/null
k rollout status deployment web --timeout=60s >/dev/null
k create poddisruptionbudget web --selector=app=web --min-available=2 >/dev/null
lag=5 kill_after 1 'maintenance\.worker: draining: ' "${usual[@]}" packages=budget
same "waits at it" "$code" 137
same "control planes were before" "$(grep -cE 'maintenance\.cp-[123]: changed' "$work/lines")" 3
same "one worker is away, for this" "$(left_over | wc -w)" 1
check "the budget is gone" k delete poddisruptionbudget web
exits "the next run ends well" 0 keep packages=budget
same "no Node is cordoned or marked any more" "$(left_over)" ""
same "the pods are there" "$(k get deployment web -o jsonpath='{.status.readyReplicas}')" 2

# By hand, in the REPL.
repl() { printf '%s\n' "$@" | timeout 120 "$VMRUN" repl "$recipe" --state-dir "$state"; }
second=$(boots)
check "the REPL lists Nodes" repl 'n = nodes.list()' 'n[1].name, n[5].name, n[5].version, n[1].packages'
matches "control planes first" '"demo-cp-1"'
matches "with what waits" '"0 newer by the lists of 20[0-9-]+"'
check "and restarts them" repl 'nodes.reboot "demo-cp-2,@worker"'
has "one after the other" '{ "demo-cp-2", "demo-worker000000", "demo-worker000001" }'
same "these, and no other" "$(restarted "$second")" "demo-cp-2 demo-worker000000 demo-worker000001 "
check "newer packages" newest curl 7.88.1-10+deb12u18
check "and upgrades them" repl 'nodes.maintain("demo-cp-1", { security = true })' 'nodes.maintain "demo-worker000001"'
same "where it was told to" "$(version_of curl)" "7.88.1-10+deb12u16 on 4
7.88.1-10+deb12u18 on 1"
same "nobody is left cordoned by it" "$(left_over)" ""
exits "which is nothing to a plan" 0 look packages=budget
busy() { (flock -n 9 && repl "$@") 9>>"$state/stacks/cluster/lock"; }
exits "not while an apply runs" 1 busy 'nodes.reboot "demo-cp-2"'
has "which is told as to an apply" "the state of stack 'cluster' is in use by"
check "but one may look" busy '#nodes.list()'
exits "what is no pattern of hosts is told" 1 repl 'nodes.reboot "nobody"'
has "as for exec" "no host fits 'nobody'"

# etcd's majority, and who cannot be reached.
machine=/subscriptions/{subscription}/resourceGroups/demo-rg/providers/Microsoft.Compute/virtualMachines
not_ready() { k get node "$1" --no-headers | grep -q NotReady; }
check "a control plane is stopped" arm POST "$machine/demo-cp-3/deallocate" 2025-04-01
check "its Node turns NotReady" until_true 40 not_ready demo-cp-3
touched=$(boots)
exits "then no other may go" 1 keep packages=ill --exclude azure.virtual_machine.cp-3
has "with the reason" "etcd would lose its majority without demo-cp-1: 1 of 3 would be left"
has "and nothing is touched" "nothing was changed"
same "which is so" "$(boots)$(left_over)" "$touched"
check "it is back" arm POST "$machine/demo-cp-3/start" 2025-04-01
ready() { k get node "$1" --no-headers | grep -qw Ready; }
check "and Ready" until_true 60 ready demo-cp-3
exits "a kubelet stops" 0 vmrun exec "$recipe" demo-worker000001 -- sudo -n systemctl stop kubelet
check "its Node turns NotReady, too" until_true 40 not_ready demo-worker000001
exits "that is refused as well" 1 look packages=ill
has "as what it is" "node demo-worker000001 is not ready, so it stays as it is"
has "and so are the others" "demo-worker000001 is not ready, and max_unavailable is 1: node demo-worker000000 stays as it is"
exits "it runs" 0 vmrun exec "$recipe" demo-worker000001 -- sudo -n systemctl start kubelet
check "and is Ready" until_true 60 ready demo-worker000001
exits "then all goes well" 0 keep packages=ill
same "nobody is left cordoned" "$(left_over)" ""
exits "destroy" 0 vmrun destroy "$recipe" --yes
