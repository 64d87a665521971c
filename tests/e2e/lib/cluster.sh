# What the stories of real clusters share: recipes/cluster.lua on machines with systemd (vmrun emulator start --machines=systemd), where
# kubeadm 1.20 and all that is Kubernetes are the real ones, built from Debian's source; packages and images come from servers of a site
# that is cut off from the world. Flux, flannel and CoreDNS are programs of the lab (tests/lab/site). Needs root; script/setup --lab
# installs the rest. What waits here waits long: a story's end does not depend on how fast the machine is.
. "$(dirname "${BASH_SOURCE[0]}")/story.sh"
lab=$root/tests/lab pause=2

absent=$([ "$(id -u)" -eq 0 ] || echo root)
for tool in debootstrap docker-registry skopeo dnsmasq busybox etcd jq curl /usr/lib/go-1.19/bin/go; do
  command -v $tool >/dev/null || absent+=" $tool"
done
if [ -n "$absent" ]; then
  if [ -n "${CI:-}" ]; then fail "a real cluster" "it needs root and script/setup --lab; absent: $absent"; else skip "a real cluster needs root and script/setup --lab; absent: $absent"; fi
  exit
fi

# The machines' disk is ours: a kubelet that sees less than 15 % of it free takes no pods, and a story fills some GiB.
read -r size free < <(df --output=size,avail --block-size=G "$work" | tail -n 1 | tr -d G)
if [ $((free * 100)) -lt $((size * 15 + 600)) ]; then
  fail "room for a cluster" "$free GiB of $size are free at $work: kubelets want 15 %, and the story takes 6 GiB"
  exit
fi

vmrun() { timeout "${patience:-300}" "$VMRUN" "$1" "$2" --state-dir "$state" "${@:3}"; }
apply() { patience=1800 vmrun apply "$recipe" --emulator --yes "${params[@]}" "$@"; }
plan() { vmrun plan "$recipe" --detailed-exitcode "${params[@]}" "$@"; }
on() { vmrun exec "$recipe" "$1" -- "${@:2}"; } # HOST or GROUP COMMAND...
said() { on "$@" 2>/dev/null | sed -n 's/^  //p'; }
k() { timeout 120 "$kubectl" --kubeconfig "$config" "$@"; }
above() { if [ "${2:-0}" -gt "$3" ]; then pass "$1"; else fail "$1" "'$2' is not more than $3"; fi; } # NAME NUMBER NUMBER

# nothing_left NAME [ARGUMENT...]: the plan has no changes. A kubelet whose API server was away while it waited for its certificate
# asks once more, at any time: the one change that may come by itself, and which apply makes up for.
nothing_left() {
  local name=$1 code
  shift
  for _ in 1 2 3; do
    code=0
    out=$(plan "$@" 2>&1 </dev/null) || code=$?
    [ "$code" -eq 2 ] || break
    grep -E '^ *[-+~±?] ' <<<"$out" | grep -qvE 'kubernetes\.node\..*\(field `serving` changed outside: false -> true\)$' && break
    apply "$@" >/dev/null 2>&1 </dev/null
  done
  if [ "$code" -eq 0 ]; then pass "$name"; else fail "$name" "exit code $code, not 0" "$out"; fi
}

# took WHAT: how long it is since the last of these, and how busy the machine was.
busy() { awk '/^cpu / { printf "%d", ($2 + $3 + $4 + $7 + $8) / 100 }' /proc/stat; }
moment=$SECONDS used=$(busy)
took() {
  echo "# $1: $((SECONDS - moment)) s, in which all of the machine took $(($(busy) - used)) s of CPU (load $(cut -d' ' -f1-2 /proc/loadavg))"
  moment=$SECONDS used=$(busy)
}

ready() { k get nodes --no-headers | awk '$2 == "Ready" || $2 == "Ready,SchedulingDisabled" { n++ } END { print n + 0 }'; }
nodes_ready() { [ "$(ready)" -eq "$1" ]; }
# Members of etcd, as one of them that runs tells: `name` a line.
etcdctl() { # CONTROL-PLANE ARGUMENT...
  k -n kube-system exec "etcd-$1" -- etcdctl --cacert /etc/kubernetes/pki/etcd/ca.crt --cert /etc/kubernetes/pki/etcd/server.crt \
    --key /etc/kubernetes/pki/etcd/server.key --endpoints https://127.0.0.1:2379 "${@:2}"
}
members() { etcdctl "${1:-demo-cp-1}" member list | awk -F', ' '$2 == "started" { print $3 }' | sort | paste -sd' '; }
# What the kubelet has just begun counts as healthy after its startup probe, which takes a minute and more. Until then no member may go.
etcd_ready() { k -n kube-system wait --for=condition=Ready pod -l component=etcd --timeout=100s; }
# shop [PROBE [POD]]: four pods of which three are to be there at all times, as YAML; more of their readiness probe, and of them.
shop() {
  cat <<YAML
apiVersion: apps/v1
kind: Deployment
metadata: { name: shop }
spec:
  replicas: 4
  selector: { matchLabels: { app: shop } }
  template:
    metadata: { labels: { app: shop } }
    spec:
      ${2:-}
      containers:
      - name: main
        image: nginx:1.28-alpine
        readinessProbe: { httpGet: { path: /, port: 80 }, periodSeconds: 1${1:+, $1} }
---
apiVersion: policy/v1beta1
kind: PodDisruptionBudget
metadata: { name: shop }
spec: { minAvailable: 3, selector: { matchLabels: { app: shop } } }
YAML
}
# How many of them are there.
shop_ready() {
  k get pods -l app=shop -o json | jq -r '[.items[] | select(.metadata.deletionTimestamp == null) | select(.status.conditions[]? | .type == "Ready" and .status == "True")] | length'
}
config=$work/kubeconfig
shows_config() { vmrun kubeconfig "$recipe" --out "$config"; }
# inside MACHINE OPTION... COMMAND...: in its namespaces, which are those of its first process; options of nsenter say which.
pid_of() { vmrun emulator list --json | jq -r --arg name "$1" '.machines[] | select(.hostname == $name) | .root // empty' | tr -dc 0-9; }
inside() { nsenter -t "$(pid_of "$1")" "${@:2}"; }
of_machine() { echo "/subscriptions/{subscription}/resourceGroups/demo-rg/providers/Microsoft.Compute/virtualMachines/$1"; }

# The emulator, the site beside it, the programs. `site` is how the recipe finds them; a story makes `params` of it.
check "a site with packages and images of 1.20.2 and 1.20.3" bash -c '"$1/site/start.sh" "$2" >"$3"' - "$lab" "$state" "$work/params"
[ "$failed" -eq 0 ] || exit
mapfile -t site < <(grep -v ^version= "$work/params")
kubectl=$("$lab/build.sh" kubectl)/kubectl
took "the emulator and its site"
