#!/usr/bin/env bash
# recipes/cluster.lua on machines with systemd (vmrun emulator start --machines=systemd): kubeadm 1.20.2 and all that is Kubernetes
# are the real ones, built from Debian's source; packages and images come from servers of a site that is cut off from the world.
# Flux, flannel and CoreDNS are programs of the lab (tests/lab/site). Needs root; script/setup --lab installs the rest. By hand:
# script/test does not run it yet.
. "$(dirname "$0")/../e2e/lib/story.sh"
lab=$root/tests/lab cache=${VMRUN_LAB_CACHE:-$HOME/.cache/vmrun-lab}

if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap docker-registry skopeo dnsmasq >/dev/null; then
  if [ -n "${CI:-}" ]; then fail "a real cluster" "it needs root and what script/setup --lab installs"; else skip "needs root and script/setup --lab"; fi
  exit
fi

params=(version=1.20.2 containerd=containerd kubernetes_repository=http://packages.lab.test
  registry_mirrors=registry.k8s.io=http://images.lab.test,ghcr.io=http://images.lab.test,docker.io=http://images.lab.test)
size=(control_planes=1 workers=2)
vmrun() { timeout "${patience:-150}" "$VMRUN" "$1" "$2" --state-dir "$state" "${@:3}"; }
apply() { patience=1800 vmrun apply "$recipe" --emulator --yes "${params[@]}" "${size[@]}" "$@"; }
plan() { vmrun plan "$recipe" --detailed-exitcode "${params[@]}" "${size[@]}" "$@"; }
destroy() { patience=900 vmrun destroy "$recipe" --yes --include-unmanaged "${params[@]}" "${size[@]}"; }
on() { vmrun exec "$recipe" "$1" -- "${@:2}"; }
said() { on "$@" 2>/dev/null | sed -n 's/^  //p'; }
load() { cut -d' ' -f1 /proc/loadavg; }

# The site: two servers on loopback, which machines find by name on their internet.
exits "the emulator starts" 0 timeout 1200 "$VMRUN" emulator start --state-dir "$state" --machines=systemd
base=$(ls "$cache"/machine-*."$(endpoint id)") base=${base%.*}
check "packages and images" "$lab/site/build.sh" "$base"
[ "$failed" -eq 0 ] || exit
kubectl=$("$lab/build.sh" kubectl)/kubectl
ports=(10080 10050)
"$cache/site/serve" "${ports[@]}" >"$work/site.log" 2>&1 &
site=$!
trap 'kill $site 2>/dev/null; finish; exit $?' EXIT
check "packages are served" until_true 10 curl -fsS "http://127.0.0.1:${ports[0]}/InRelease"
check "images are served" until_true 10 curl -fsS "http://127.0.0.1:${ports[1]}/v2/"
name_servers() {
  jq -nc --arg packages "127.0.0.1:${ports[0]}" --arg images "127.0.0.1:${ports[1]}" \
    '[{name: "packages.lab.test", port: 80, to: $packages}, {name: "images.lab.test", port: 80, to: $images}]' |
    ask --fail-with-body -X PUT "$(endpoint arm)/emulator/internet" -H "Authorization: Bearer $(endpoint token)" --data @-
}
check "machines find them" name_servers
[ "$failed" -eq 0 ] || exit

# CPU seconds that a machine has used since it booted, systemd and all.
cpu_of() { # HOSTNAME
  local root pid
  root=$(vmrun emulator list --json | jq -r --arg name "$1" '.machines[] | select(.hostname == $name) | .root')
  pid=$(tr -dc 0-9 <<<"$root")
  echo $(($(cat "/sys/fs/cgroup/cpuacct$(sed -n 's|.*cpuacct[^:]*:\(.*\)/init.scope$|\1|p; s|.*cpuacct[^:]*:\(.*\)|\1|p' "/proc/$pid/cgroup" | head -n 1)/cpuacct.usage") / 1000000000))
}

since=$SECONDS before=$(load)
exits "one control plane and two workers" 0 apply
echo "# the cluster was up after $((SECONDS - since)) s (load $before, then $(load)); CPU: $(for n in demo-cp-1 demo-worker000000; do cpu_of $n 2>/dev/null || echo unknown; done | paste -sd' ') s"
[ "$failed" -eq 0 ] || exit

config=$work/kubeconfig
check "a kubeconfig" vmrun kubeconfig "$recipe" --out "$config"
same "it is for its owner alone" "$(stat -c %a "$config")" 600
k() { timeout 60 "$kubectl" --kubeconfig "$config" "$@"; }
ready() { k get nodes --no-headers | awk '$2 == "Ready" { n++ } END { print n + 0 }'; }
nodes_ready() { [ "$(ready)" -eq "$1" ]; }
same "kubectl 1.20.2 speaks to a server of the same release, through the load balancer" \
  "$(k version -o json | jq -r '[.clientVersion.gitVersion, .serverVersion.gitVersion] | join(" ")')" "v1.20.2 v1.20.2"
check "three nodes are Ready" nodes_ready 3
same "two of them are workers" "$(k get nodes -l node-role.kubernetes.io/worker -o name | wc -l)" 2
same "all of them run what was asked for" "$(k get nodes -o json | jq -c '[.items[].status.nodeInfo | .kubeletVersion, (.containerRuntimeVersion | sub("[.][0-9]+$"; ""))] | unique')" \
  '["containerd://1.6","v1.20.2"]'
check "all of the system's deployments are available" k -n kube-system wait --for=condition=Available deploy --all --timeout=120s
check "and Flux's" k -n flux-system wait --for=condition=Available deploy --all --timeout=120s
revision=$(vmrun output "$recipe" revision --raw)
same "Flux is at the commit that was pushed" "$(k -n flux-system get kustomization flux-system -o jsonpath='{.status.lastAppliedRevision}')" "$revision"
nginx() { k -n production rollout status deploy nginx --timeout=5s; }
check "what Git says runs in production" until_true 60 nginx

# Services, from everywhere.
check "a pod" k run probe --image=busybox:1.36 --restart=Never --command -- sleep 36000
check "it runs" k wait --for=condition=Ready pod/probe --timeout=60s
address=$(k -n production get service nginx -o jsonpath='{.spec.clusterIP}')
for node in $(k get nodes -o name | sed 's|node/||'); do
  same "$node reaches the service" "$(said "$node" curl -sm 5 "http://$address/")" "served by the lab"
done
same "and a pod, by its name" "$(k exec probe -- wget -qO- http://nginx.production.svc.cluster.local/)" "served by the lab"
same "an address that is no service's answers nobody" "$(k exec probe -- /usr/bin/busybox timeout 3 wget -qO- http://10.96.200.200/ 2>/dev/null)" ""
check "logs come from a kubelet with a certificate of the cluster" k -n flux-system logs deploy/source-controller

# The same again writes nothing: in Azure, in the cluster (its own audit log counts), on the machines.
cluster_writes() {
  said demo-cp-1 sudo cat /var/log/kubernetes/audit.log |
    jq -c 'select(.user.username == "kubernetes-admin" and (.verb | IN("create", "update", "patch", "delete", "deletecollection")))' | wc -l
}
settings() { # what is on the disks, but for what the machines themselves write in their daily life
  find "$state"/emulator/machines/*/upper/{etc,usr,opt,root,var/lib/vmrun} ! -type d ! -path '*/var/lib/vmrun/run*' -printf '%p %m %U %s %T@\n' 2>/dev/null | sort
}
if [ "$(cluster_writes)" -gt 20 ]; then pass "the audit log has our writes"; else fail "the audit log has our writes" "$(cluster_writes)"; fi
settings >"$work/settings"
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
same_names() { k get nodes -o name | sort | paste -sd' '; }
names=$(same_names) size=(control_planes=1 workers=3)
exits "the plan for a worker more" 2 plan
matches "changes and destroys nothing" "^Plan: [0-9]+ to add, 0 to change, 0 to destroy"
since=$SECONDS
exits "a worker more" 0 apply
echo "# it was there after $((SECONDS - since)) s (load $(load))"
check "four nodes are Ready" nodes_ready 4
check "much to run" k create deployment much --image=nginx:1.28-alpine --replicas=8
check "runs" k rollout status deployment much --timeout=90s
newest=$(k get nodes --sort-by=.metadata.creationTimestamp -o name | tail -n 1 | sed 's|node/||')
if [ "$(k get pods -l app=much -o wide --no-headers | grep -c "$newest")" -gt 0 ]; then pass "also on the newest"; else fail "also on the newest" "$(k get pods -o wide)"; fi
evictions() { said demo-cp-1 sudo cat /var/log/kubernetes/audit.log | jq -c 'select(.objectRef.subresource == "eviction" and .responseStatus.code == 201)' | wc -l; }
evicted=$(evictions) size=(control_planes=1 workers=2)
exits "a worker less" 0 apply
same "the others stay" "$(same_names)" "$names"
if [ "$(evictions)" -gt "$evicted" ]; then pass "its pods were evicted"; else fail "its pods were evicted"; fi
check "and run elsewhere" k rollout status deployment much --timeout=60s
check "they go" k delete deployment much

# A node is reset, and joins again.
victim=$(k get nodes -l node-role.kubernetes.io/worker -o name | head -n 1 | sed 's|node/||')
uid=$(k get node "$victim" -o jsonpath='{.metadata.uid}')
exits "a node loses its membership" 0 on "$victim" "sudo kubeadm reset -f >/dev/null 2>&1 && sudo rm -f /var/lib/vmrun/join.done"
check "and its Node" k delete node "$victim"
exits "apply makes it join again" 0 apply
check "three nodes are Ready" nodes_ready 3
if [ "$(k get node "$victim" -o jsonpath='{.metadata.uid}')" != "$uid" ]; then pass "one of them is new"; else fail "one of them is new"; fi
exits "and nothing is left to do" 0 plan

# Three control planes, of which one may fail.
size=(control_planes=3 workers=2)
since=$SECONDS
exits "two control planes more" 0 apply
echo "# they were there after $((SECONDS - since)) s (load $(load))"
check "five nodes are Ready" nodes_ready 5
members() { k -n kube-system exec etcd-demo-cp-1 -- etcdctl --cacert /etc/kubernetes/pki/etcd/ca.crt --cert /etc/kubernetes/pki/etcd/server.crt \
  --key /etc/kubernetes/pki/etcd/server.key --endpoints https://127.0.0.1:2379 member list | grep -c started; }
same "three members of etcd" "$(members)" 3
exits "and nothing is left to do" 0 plan
first_machine=/subscriptions/{subscription}/resourceGroups/demo-rg/providers/Microsoft.Compute/virtualMachines/demo-cp-1
check "the first is powered off" arm POST "$first_machine/powerOff" 2025-04-01
check "the API answers on" until_true 60 k get nodes
not_ready() { [ "$(k get node demo-cp-1 --no-headers | awk '{ print $2 }')" = NotReady ]; }
check "and notices" until_true 90 not_ready
exits "the plan sees that, and that hosts behind it are not reached" 1 plan
has "as stopped" 'power (changed outside): "stopped" -> "running"'
# It is the way to all others: what lies behind it is told apart only when it is there again.
on_again() { apply && plan; }
check "apply starts it" until_true 300 on_again
check "five nodes are Ready" until_true 60 nodes_ready 5

# A static pod is Ready when its startup probe says so: a minute and more after its machine was started. Until then no member may go.
check "etcd is well again" timeout 300 "$kubectl" --kubeconfig "$config" -n kube-system wait --for=condition=Ready pod -l component=etcd --timeout=280s

# Each leaves etcd as it goes, or the last would wait for a majority that is no more.
size=(control_planes=1 workers=2)
exits "back to one control plane" 0 apply
check "three nodes are Ready" nodes_ready 3
same "and they are all" "$(k get nodes -o name | wc -l)" 3
same "one member of etcd" "$(members)" 1
exits "and nothing is left to do" 0 plan

exits "all of it goes" 0 destroy
same "no machine is left" "$(machines)" ""
exits "the emulator stops" 0 vmrun emulator stop
