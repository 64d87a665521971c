#!/usr/bin/env bash
# One part of the cluster is taken away at a time: the apply fails where a real one would, with the real tool's words (kubeadm's,
# sysctl's, the kubelet's), and with the part put back the apply completes.
#   tests/e2e/broken.sh [PART ...]
. "$(dirname "$0")/lib/story.sh"

parts=${*:-nsg balancer swap module cgroup token}
small=(control_planes=1 workers=1)

# without PART: takes it out of the recipe or of the standard library, which are copied to the working folder.
without() {
  case $1 in
    nsg) sed -i '/{ name = "api", *priority = /d' recipes/cluster.lua ;;
    balancer) sed -i -E '/^  rules  = \{ \{ name = "api"/,/disable_outbound_snat/c\  rules = {},' recipes/cluster.lua ;;
    swap) sed -i 's/linux.base "base" {/& swap = true,/' recipes/cluster/node.lua ;;
    module) sed -i 's/linux.base "base" {/& modules = { "overlay" },/' recipes/cluster/node.lua ;;
    cgroup) sed -i 's/containerd.runtime "runtime" {/& cgroup = "cgroupfs",/' recipes/cluster/node.lua ;;
    token) sed -i 's/^    if not token then/    token = "abcdef.0123456789abcdef"\n&/' stdlib/kubeadm/credentials.lua ;;
  esac
}

# broken PART: the apply without it. Without a worker Flux is waited for for minutes, which says nothing of the token.
broken() {
  local part=$1 code=0 left_out=()
  [ "$part" = token ] && left_out=(--exclude flux.bootstrap.flux)
  VMRUN_STDLIB=$work/$part/stdlib timeout 480 "$VMRUN" apply "$work/$part/recipes/cluster.lua" --emulator --yes \
    --state-dir "$work/state-$part" "${small[@]}" "${left_out[@]}" >"$work/$part/out" 2>"$work/$part/err" </dev/null || code=$?
  echo "$code" >"$work/$part/code"
}

# mended PART: the whole recipe on the same state. What stands behind the API could not be read when the plan was made that opens
# the way to it again, so this takes a second apply.
mended() {
  local part=$1 code=0
  if [ "$part" = nsg ] || [ "$part" = balancer ]; then
    timeout 480 "$VMRUN" apply "$recipe" --yes --state-dir "$work/state-$part" "${small[@]}" >"$work/$part/opened" 2>&1 </dev/null || code=$?
    echo "$code" >"$work/$part/code-opened"
    code=0
  fi
  timeout 480 "$VMRUN" apply "$recipe" --yes --state-dir "$work/state-$part" "${small[@]}" >"$work/$part/mended" 2>&1 </dev/null || code=$?
  echo "$code" >"$work/$part/code"
}

# each FUNCTION: for all parts at once, since nearly all of their time is waiting.
each() {
  local part pids=()
  for part in $parts; do
    "$1" "$part" &
    pids+=($!)
  done
  wait "${pids[@]}"
}

for part in $parts; do
  mkdir "$work/$part"
  cp -r "$root/recipes" "$root/stdlib" "$work/$part"
  (cd "$work/$part" && without "$part")
  changed=$( (diff -rq "$root/recipes" "$work/$part/recipes"; diff -rq "$root/stdlib" "$work/$part/stdlib") | wc -l)
  same "$part: one file is without it" "$changed" 1
done
each broken

# fails PART ADDRESS WORDS...: exit code 1, the step that failed first by its place and address, what the real tool says, what is not done.
fails() {
  local part=$1 address=$2 word
  shift 2
  [ -d "$work/$part" ] || return 0
  out=$(cat "$work/$part/err")
  same "$part: the apply fails" "$(cat "$work/$part/code")" 1
  matches "$part: where" "recipes/cluster(/node)?[.]lua:[0-9]+: $address: create failed"
  for word in "$@"; do has "$part: $word" "$word"; done
  out=$(cat "$work/$part/out")
  matches "$part: what hangs on it is told" "kubernetes.node.worker: not done: "
  matches "$part: and counted" "^[0-9]+ failed, [0-9]+ not done because of that"
}
worker='azure.virtual_machine_scale_set.worker.instances\[0\]/kubeadm.join.join'
unreachable='error execution phase preflight: couldn'\''t validate the identity of the API Server: Get "https://api.demo.internal:6443/api/v1/namespaces/kube-public/configmaps/cluster-info?timeout=10s": dial tcp 203.0.113.2:6443: i/o timeout'
fails nsg "$worker" "$unreachable" "rule DenyAllInBound of the network security group demo-nsg denies"
fails balancer "$worker" "$unreachable" "the load balancer demo-lb has no rule for port 6443"
fails swap kubeadm.init.cluster "[kubelet-check] The kubelet is not healthy after 4m0" \
  "error execution phase wait-control-plane: failed while waiting for the kubelet to start"
fails module node.cp-1/linux.base.base "sysctl: cannot stat /proc/sys/net/bridge/bridge-nf-call-ip6tables: No such file or directory"
fails cgroup kubeadm.init.cluster "A control plane component may have crashed or exited when started by the container runtime." \
  "error execution phase wait-control-plane: "
fails token "$worker" 'could not find a JWS signature in the cluster-info ConfigMap for token ID "abcdef"'

each mended
for part in $parts; do
  if [ -e "$work/$part/opened" ]; then
    out=$(cat "$work/$part/opened")
    same "$part: the way is open again, and the exit code says that something is left" "$(cat "$work/$part/code-opened")" 1
    has "$part: namely" "unknown (unreachable)"
  fi
  out=$(cat "$work/$part/mended")
  same "$part: put back, the apply completes" "$(cat "$work/$part/code")" 0
  has "$part: and ends with the outputs" "resource_group_name"
  exits "$part: nothing is left to do" 0 timeout 60 "$VMRUN" plan "$recipe" --state-dir "$work/state-$part" "${small[@]}" --detailed-exitcode
done
