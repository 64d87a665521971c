#!/usr/bin/env bash
# recipes/cluster.lua with real kubeadm: up, the same again, services, what must not be seen, one worker more and less, a node that
# joins anew, three control planes of which one fails, back to one, gone.
. "$(dirname "$0")/lib/cluster.sh"

planned() { params=("${site[@]}" version=1.20.2 control_planes="$1" workers="$2"); }
destroy() { patience=900 vmrun destroy "$recipe" --yes --include-unmanaged "${params[@]}"; }

planned 1 2
exits "one control plane and two workers" 0 apply
took "the cluster's bring-up"
[ "$failed" -eq 0 ] || exit
check "a kubeconfig" shows_config
same "it is for its owner alone" "$(stat -c %a "$config")" 600
same "kubectl 1.20.2 speaks to a server of the same release, through the load balancer" \
  "$(k version -o json | jq -r '[.clientVersion.gitVersion, .serverVersion.gitVersion] | join(" ")')" "v1.20.2 v1.20.2"
check "three nodes are Ready" until_true 120 nodes_ready 3
same "two of them are workers" "$(k get nodes -l node-role.kubernetes.io/worker -o name | wc -l)" 2
same "all of them run what was asked for" "$(k get nodes -o json | jq -c '[.items[].status.nodeInfo | .kubeletVersion, (.containerRuntimeVersion | sub("[.][0-9]+$"; ""))] | unique')" \
  '["containerd://1.6","v1.20.2"]'
check "all of the system's deployments are available" k -n kube-system wait --for=condition=Available deploy --all --timeout=100s
check "and Flux's" k -n flux-system wait --for=condition=Available deploy --all --timeout=100s
revision=$(vmrun output "$recipe" revision --raw)
same "Flux is at the commit that was pushed" "$(k -n flux-system get kustomization flux-system -o jsonpath='{.status.lastAppliedRevision}')" "$revision"
nginx() { k -n production rollout status deploy nginx --timeout=5s; }
check "what Git says runs in production" until_true 180 nginx

# Services, from everywhere.
check "a pod" k run probe --image=busybox:1.36 --restart=Never --command -- sleep 36000
check "it runs" k wait --for=condition=Ready pod/probe --timeout=100s
address=$(k -n production get service nginx -o jsonpath='{.spec.clusterIP}')
nodes=$(k get nodes -o name | sed 's|node/||')
for node in ${nodes:-none}; do
  same "$node reaches the service" "$(said "$node" curl -sm 5 "http://$address/")" "served by the lab"
done
same "and a pod, by its name" "$(k exec probe -- wget -qO- http://nginx.production.svc.cluster.local/)" "served by the lab"
same "an address that is no service's answers nobody" "$(k exec probe -- /bin/sh -c '/usr/bin/busybox timeout 3 wget -qO- http://10.96.200.200/ 2>/dev/null || echo nobody')" nobody
check "the pod goes" k delete pod probe --grace-period=1
check "logs come from a kubelet with a certificate of the cluster" k -n flux-system logs deploy/source-controller

# The same again writes nothing: in Azure, in the cluster (its own audit log counts), on the machines.
cluster_writes() {
  said demo-cp-1 sudo cat /var/log/kubernetes/audit.log |
    jq -c 'select(.user.username == "kubernetes-admin" and (.verb | IN("create", "update", "patch", "delete", "deletecollection")))' | wc -l
}
settings() { # what is on the disks, but for what the machines themselves write in their daily life
  find "$state"/emulator/machines/*/upper/{etc,usr,opt,root,var/lib/vmrun} ! -type d ! -path '*/var/lib/vmrun/run*' -printf '%p %m %U %s %T@\n' 2>/dev/null | sort
}
nothing_left "there is nothing left to do"
above "the audit log has our writes" "$(cluster_writes)" 20
settings >"$work/settings"
above "the machines' disks have what was set up" "$(wc -l <"$work/settings")" 100
above "Azure has its writes" "$(writes)" 20
first="$(writes) $(cluster_writes)"
exits "the same again" 0 apply
has "there are no changes" "No changes."
same "nothing was written to Azure, the vault, Git or the cluster" "$(writes) $(cluster_writes)" "$first"
same "nothing was written to the machines" "$(settings | diff "$work/settings" - | head -n 5)" ""

# What must not be seen.
check "a secret" k create secret generic marked --from-literal=word=unmistakable-words
same "is not in etcd's files" "$(said demo-cp-1 "sudo grep -rl unmistakable-words /var/lib/etcd || echo none")" none
check "a config map" k create configmap marked --from-literal=word=mistakable-words
has_word() { [ "$(said demo-cp-1 "sudo grep -rl mistakable-words /var/lib/etcd | wc -l")" -gt 0 ]; }
check "which is what one sees of what is not encrypted" until_true 20 has_word
same "a kubelet does not know strangers" "$(said demo-cp-1 "curl -sk -o /dev/null -w '%{http_code}\n' https://10.0.1.5:10250/pods")" 401
same "nor does the API" "$(said demo-cp-1 "curl -sk -o /dev/null -w '%{http_code}\n' https://10.0.1.4:6443/api/v1/secrets")" 403
same "administrators' files are root's alone" "$(said demo-cp-1 "sudo stat -c '%a %U' /etc/kubernetes/admin.conf /etc/kubernetes/encryption.yaml" | sort -u)" "600 root"
same "no token lies on a worker's disk" "$(said worker "sudo grep -rlE '^ *token: [a-z0-9]{6}[.]' /etc/kubernetes /var/lib/vmrun || echo none" | sort -u)" none

# One worker more, and one less: what ran on it moves before it goes.
names() { k get nodes -o name | sort | paste -sd' '; }
before=$(names)
planned 1 3
exits "the plan for a worker more" 2 plan
matches "changes and destroys nothing" "^Plan: [0-9]+ to add, 0 to change, 0 to destroy"
took "the same again, services, secrets"
exits "a worker more" 0 apply
took "a worker more"
check "four nodes are Ready" until_true 120 nodes_ready 4
check "much to run" k create deployment much --image=nginx:1.28-alpine --replicas=8
check "runs" k rollout status deployment much --timeout=110s
newest=$(k get nodes --sort-by=.metadata.creationTimestamp -o name | tail -n 1 | sed 's|node/||')
above "also on the newest" "$(k get pods -l app=much -o wide --no-headers | grep -c "${newest:-none}")" 0
evictions() { said demo-cp-1 sudo cat /var/log/kubernetes/audit.log | jq -c 'select(.objectRef.subresource == "eviction" and .responseStatus.code == 201)' | wc -l; }
evicted=$(evictions)
planned 1 2
exits "a worker less" 0 apply
same "the others stay" "$(names)" "$before"
same "they are three" "$(wc -w <<<"$before")" 3
above "its pods were evicted" "$(evictions)" "$evicted"
check "and run elsewhere" k rollout status deployment much --timeout=110s
check "they go" k delete deployment much

# A node is reset, and joins again; not while another program is in the kubelet's place.
victim=$(k get nodes -l node-role.kubernetes.io/worker -o name | head -n 1 | sed 's|node/||')
uid=$(k get node "$victim" -o jsonpath='{.metadata.uid}')
exits "a node loses its membership" 0 on "$victim" "sudo kubeadm reset -f >/dev/null 2>&1 && sudo rm -f /var/lib/vmrun/join.done"
check "and its Node" k delete node "$victim"
nsenter -t "$(pid_of "$victim")" -n busybox nc -l -p 10250 </dev/null >/dev/null 2>&1 &
children=("$!")
taken() { inside "$victim" -n ss -Hltn 'sport = :10250' | grep -q .; }
check "another program has the kubelet's port" until_true 30 taken
exits "it cannot join then" 1 apply
has "and says what is in the way" "10250 is in use"
kill "${children[@]}"
children=()
exits "apply makes it join again" 0 apply
check "three nodes are Ready" until_true 120 nodes_ready 3
same "one of them is new" "$(k get nodes -o json | jq -r --arg old "${uid:-none}" '[.items[] | select(.metadata.uid == $old)] | length')" 0
nothing_left "and nothing is left to do"

# Three control planes, of which one may fail.
took "a worker less, a node that joins anew"
planned 3 2
exits "two control planes more" 0 apply
took "two control planes more"
check "five nodes are Ready" until_true 120 nodes_ready 5
same "three members of etcd" "$(members)" "demo-cp-1 demo-cp-2 demo-cp-3"
nothing_left "and nothing is left to do"
check "the first is powered off" arm POST "$(of_machine demo-cp-1)/powerOff" 2025-04-01
check "the API answers on" until_true 180 k get nodes
not_ready() { [ "$(k get node demo-cp-1 --no-headers | awk '{ print $2 }')" = NotReady ]; }
check "and notices" until_true 240 not_ready
exits "the plan sees that, and that hosts behind it are not reached" 1 plan
has "as stopped" 'power (changed outside): "stopped" -> "running"'
# It is the way to all others: what lies behind it is told apart only when it is there again.
on_again() { apply && plan; }
check "apply starts it" until_true 600 on_again
check "five nodes are Ready" until_true 180 nodes_ready 5

check "etcd is well again" until_true 400 etcd_ready
took "a control plane that was powered off"

# Each leaves etcd as it goes, or the last would wait for a majority that is no more.
planned 1 2
exits "back to one control plane" 0 apply
check "three nodes are Ready" until_true 120 nodes_ready 3
same "and they are all" "$(k get nodes -o name | wc -l)" 3
same "one member of etcd" "$(members)" demo-cp-1
nothing_left "and nothing is left to do"

took "back to one control plane"
same "there are three machines" "$(machines | wc -l)" 3
exits "all of it goes" 0 destroy
same "no machine is left" "$(vmrun emulator list --json | jq -c .machines)" "[]"
exits "the emulator stops" 0 vmrun emulator stop
