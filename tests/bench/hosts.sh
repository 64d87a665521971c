#!/usr/bin/env bash
# A role (examples/fleet.lua) on a fleet: vmrun beside Ansible, Mitogen, pyinfra and the floor, which is what vmrun sends, over
# plain libssh2 (hosts/floor.c).
#   script/bench hosts [N] [--inventory FILE [--known-hosts FILE]] [--runs N] [--parts "compare latency upload memory"] [--all]
# N hosts (10) are made here, each a real sshd on an address of its own, unless an inventory names them: what Ansible reads
# (INI, YAML) or the JSON of `vmrun inventory`. Hosts of one's own are changed: /etc/hosts, five files of a Kubernetes node, and
# the folders and marks of releases that go again. Without --known-hosts their keys are asked for and believed.
# Medians of --runs (3); a rival that needs more than a minute runs once, and one that would need half an hour only with --all.
# Client CPU is that of all processes that a tool started; that of the hosts is told apart.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
recipe=$here/../../examples/fleet.lua
count='' inventory='' known_hosts='' runs=3 parts='compare latency upload memory' all=''
while [ $# -gt 0 ]; do
  case $1 in
    --inventory) inventory=$(realpath "$2"); shift ;;
    --known-hosts) known_hosts=$(realpath "$2"); shift ;;
    --runs) runs=$2; shift ;;
    --parts) parts=$2; shift ;;
    --all) all=1 ;;
    [1-9]*) count=$1 ;;
    *) echo "unknown option $1" >&2; exit 1 ;;
  esac
  shift
done
work=$(mktemp -d "${TMPDIR:-/tmp}/vmrun-bench-XXXXXX")
finish() {
  for pid in $fleets $proxies; do kill "$pid" 2>/dev/null || :; done
  for keeper in $keepers; do while kill -0 "$keeper" 2>/dev/null; do sleep 0.05; done; done
  rm -rf "$work"
}
fleets='' proxies='' keepers=''
trap finish EXIT
export NO_COLOR=1 ANSIBLE_CONFIG=$here/hosts/ansible.cfg ANSIBLE_LOCAL_TEMP=$work/ansible
export ANSIBLE_SSH_CONTROL_PATH_DIR=$work/control

cc -O2 -o "$work/measure" "$here/hosts/measure.c"
# shellcheck disable=SC2046
cc -O2 -o "$work/floor" "$here/hosts/floor.c" $(pkg-config --cflags --libs libssh2)

bench() { awk -v n="$1" -v v="$2" -v f="$3" -v u="$4" 'BEGIN { printf "bench %s " f " %s\n", n, v, u }'; }
# median FILE COLUMN
median() { awk -v n="$2" '{ print $n }' "$1" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
quotient() { awk -v a="$1" -v b="$2" 'BEGIN { print a / b }'; }
difference() { awk -v a="$1" -v b="$2" 'BEGIN { print a - b }'; }
sum() { awk -v a="$1" -v b="$2" 'BEGIN { print a + b }'; }
wants() { [[ " $parts " = *" $1 "* ]]; }
wait_for() { while [ ! -e "$1" ]; do kill -0 "$2" 2>/dev/null || { cat "$3" >&2; exit 1; }; sleep 0.05; done; }

# make_fleet FOLDER N: its inventory.json, known_hosts and key are in the folder.
make_fleet() {
  mkdir -p "$1"
  "$VMRUN" lua "$here/hosts/fleet.lua" "$1" "$2" >"$1/log" 2>&1 &
  fleets="$fleets $!"
  wait_for "$1/ready" $! "$1/log"
  keepers="$keepers $(cat "$1/ready")"
}

# read_fleet FOLDER: the same of an inventory of somebody else.
read_fleet() {
  mkdir -p "$1"
  local given=$inventory
  # Ansible takes JSON only from a file that says so in its name.
  if [ "$(head -c 1 "$given")" = '{' ]; then given=$1/given.json; cp "$inventory" "$given"; fi
  ansible-inventory -i "$given" --list >"$1/listed"
  jq --argjson most "${count:-100000}" '._meta.hostvars as $vars
    | [.[] | objects | .hosts // [] | arrays[]] + ($vars | keys) | unique | .[:$most]
    | map({ key: ., value: (($vars[.] // {}) as $v | { ansible_host: ($v.ansible_host // .), ansible_port: ($v.ansible_port // 22),
        ansible_user: ($v.ansible_user // "root"), ansible_ssh_private_key_file: $v.ansible_ssh_private_key_file }) })
    | { all: { hosts: from_entries } }' "$1/listed" >"$1/inventory.json"
  jq -r '.all.hosts[].ansible_ssh_private_key_file // empty' "$1/inventory.json" | sort -u >"$1/keys"
  [ "$(grep -c . "$1/keys")" -eq 1 ] || { echo "$inventory: its hosts must share one ansible_ssh_private_key_file" >&2; exit 1; }
  (cd "$(dirname "$inventory")" && install -m 600 "$(cat "$1/keys")" "$1/key")
  if [ -n "$known_hosts" ]; then cp "$known_hosts" "$1/known_hosts"
  else jq -r '.all.hosts[] | "-p \(.ansible_port) \(.ansible_host)"' "$1/inventory.json" |
    xargs -P 20 -L 1 ssh-keyscan -t ed25519,ecdsa,rsa 2>/dev/null | grep -v '^#' >"$1/known_hosts"
  fi
}


# arguments FOLDER: the recipe and its parameters.
arguments() { given=("$recipe" "inventory=$1/inventory.json" "known_hosts=$1/known_hosts" "key=@$1/key" --state-dir "$1/state"); }

# measured LOG COMMAND...: wall, CPU and peak memory; then the CPU of the hosts that were made here, whose last processes end a
# little later.
host_cpu() {
  local files=() keeper
  for keeper in $keepers; do files+=("/proc/$keeper/stat"); done
  awk '{ n += $16 + $17 } END { print n / 100 }' /dev/null "${files[@]}"
}
measured() {
  local before figures
  before=$(host_cpu)
  figures=$("$work/measure" "$@") || { tail -n 20 "$1" >&2; return 1; }
  sleep 0.2
  echo "$figures $(difference "$(host_cpu)" "$before")"
}

# apply FOLDER RELEASE
apply() {
  arguments "$1"
  measured "$1/log" "$VMRUN" apply "${given[@]}" --yes "release=$2"
}
no_change() {
  apply "$1" "$2"
  grep -q '^No changes' "$1/log" || { echo "a second apply changed something:" >&2; cat "$1/log" >&2; return 1; }
}

# agrees FOLDER RELEASE: the hosts are as the role has them at a release, whoever brought that about.
agrees() {
  arguments "$1"
  "$VMRUN" plan "${given[@]}" "release=$2" >"$1/plan"
  if grep '^      ' "$1/plan" | grep -v 'no longer declared' >&2; then
    echo "the hosts are not as release $2 wants them" >&2
    return 1
  fi
}

# record FOLDER TO RELEASE: what is sent to each host in an apply, in TO.
record() {
  local stdlib=$work/stdlib
  if [ ! -d "$stdlib" ]; then
    cp -r "$here/../../stdlib" "$stdlib"
    mv "$stdlib/ssh.lua" "$stdlib/ssh_plain.lua"
    cp "$here/hosts/record.lua" "$stdlib/ssh.lua"
  fi
  mkdir "$2"
  VMRUN_STDLIB=$stdlib VMRUN_BENCH_RECORD=$2 apply "$1" "$3" >/dev/null
  jq -r --arg key "$1/key" --arg to "$2" '.all.hosts[] | "\(.ansible_host):\(.ansible_port)" as $at
    | "\(.ansible_host) \(.ansible_port) \(.ansible_user) \($key) \($to)/\($at)"' "$1/inventory.json" >"$2.list"
}
# How many shells were started on every host.
shells() { find "$1" -name '*.command' | sed 's/.*\/\([0-9]*\)\.command/\1/' | sort -n | tail -n 1; }

# forget FOLDER RELEASE: takes back what a release leaves behind, so that it is new once more.
forget() {
  local undo="sed -i '/^10\.0\.0\.$2 /d' /etc/hosts && rm -rf /var/lib/kubelet-$2 /var/lib/kubelet-done-$2"
  arguments "$1"
  "$VMRUN" exec "${given[@]}" all -- "$undo" >/dev/null
}

# --- the rivals: NAME_run FOLDER RELEASE

find_rivals() {
  rivals=''
  if command -v ansible-playbook >/dev/null; then rivals=ansible; else echo "hosts: Ansible is left out: it is not installed"; fi
  local venv=$work/venv
  if python3 -m venv "$venv" && "$venv/bin/pip" -q install pyinfra >"$work/pip.log" 2>&1; then rivals="$rivals pyinfra"
  else echo "hosts: pyinfra is left out: no package index offers it here"; fi
  if [ -x "$venv/bin/pip" ] && "$venv/bin/pip" -q install mitogen >>"$work/pip.log" 2>&1 &&
    mitogen=$("$venv/bin/python" -c 'import ansible_mitogen, os; print(os.path.dirname(ansible_mitogen.__file__))' 2>/dev/null) &&
    [[ $rivals = ansible* ]]; then rivals="$rivals mitogen"
  else echo "hosts: Mitogen is left out: no package index offers it here"; fi
}
ansible_run() {
  ANSIBLE_SSH_ARGS="-o ControlMaster=auto -o ControlPersist=60s -o IdentitiesOnly=yes" \
    measured "$1/log" ansible-playbook --ssh-common-args "-o UserKnownHostsFile=$1/known_hosts" -i "$1/inventory.json" \
    -e "release=$2" "$here/hosts/site.yml"
}
mitogen_run() { ANSIBLE_STRATEGY=mitogen_linear ANSIBLE_STRATEGY_PLUGINS=$mitogen/plugins/strategy ansible_run "$@"; }
pyinfra_run() {
  (cd "$here/hosts" && PYTHONDONTWRITEBYTECODE=1 BENCH_INVENTORY=$1/inventory.json BENCH_KNOWN_HOSTS=$1/known_hosts \
    measured "$1/log" "$work/venv/bin/pyinfra" -y --data "release=$2" pyinfra_inventory.py deploy.py)
}
# The most hosts that a rival gets without --all.
most() { case $1 in pyinfra) echo 1000 ;; *) echo 100 ;; esac; }

# --- compare: everybody in turns, each turn a release of its own

compare() {
  local folder=$1 n=$2 release=0 turn i rival wanted='' out=$work/figures
  mkdir "$out"
  find_rivals
  for rival in $rivals; do
    if [ -n "$all" ] || [ "$n" -le "$(most "$rival")" ]; then wanted="$wanted $rival"
    else echo "hosts: $rival is left out for $n hosts: it takes too long; --all has it"; fi
  done
  apply "$folder" "$tag$release" >/dev/null
  record "$folder" "$work/changed" "${tag}f"
  record "$folder" "$work/same" "${tag}f"
  local sent_changed sent_same
  sent_changed=$(shells "$work/changed") sent_same=$(shells "$work/same")
  echo "hosts: vmrun starts $sent_same shell on a host where nothing changes, $sent_changed where something does"
  for turn in $(seq "$runs"); do
    for i in 1 2 3; do
      release=$((release + 1))
      apply "$folder" "$tag$release" >>"$out/vmrun.changed"
      no_change "$folder" "$tag$release" >>"$out/vmrun.same"
      forget "$folder" "${tag}f"
      measured "$folder/log" "$work/floor" "$work/changed.list" "$sent_changed" >>"$out/floor.changed"
      agrees "$folder" "${tag}f"
      measured "$folder/log" "$work/floor" "$work/same.list" "$sent_same" >>"$out/floor.same"
      forget "$folder" "$tag$release"
    done
    for rival in $wanted; do
      [ ! -e "$out/$rival.slow" ] || continue
      release=$((release + 1))
      "${rival}_run" "$folder" "$tag$release" >>"$out/$rival.changed"
      "${rival}_run" "$folder" "$tag$release" >>"$out/$rival.same"
      agrees "$folder" "$tag$release"
      forget "$folder" "$tag$release"
      [ "$(tail -n 1 "$out/$rival.same" | cut -d. -f1)" -lt 60 ] || touch "$out/$rival.slow"
    done
  done
  forget "$folder" "${tag}f"
  forget "$folder" "${tag}0"
  tell "$n" "$out" "$wanted"
}

tell() {
  local n=$1 out=$2 who how
  for who in vmrun floor $3; do
    for how in changed same; do
      bench "hosts.$n.$who.$how.wall" "$(median "$out/$who.$how" 1)" %.3f s
      bench "hosts.$n.$who.$how.client_cpu" "$(median "$out/$who.$how" 2)" %.3f s
      [ -z "$keepers" ] || bench "hosts.$n.$who.$how.host_cpu" "$(median "$out/$who.$how" 4)" %.2f s
    done
  done
  bench "hosts.$n.memory" "$(median "$out/vmrun.changed" 3)" %.1f MiB
  for who in $3; do
    for how in changed same; do
      bench "hosts.$n.$who.$how" "$(quotient "$(median "$out/$who.$how" 1)" "$(median "$out/vmrun.$how" 1)")" %.1f x
    done
    bench "hosts.$n.$who.cpu" "$(quotient "$(sum "$(median "$out/$who.changed" 2)" "$(median "$out/$who.same" 2)")" \
      "$(sum "$(median "$out/vmrun.changed" 2)" "$(median "$out/vmrun.same" 2)")")" %.1f x
  done
  for how in changed same; do
    bench "hosts.$n.floor.$how" "$(quotient "$(median "$out/vmrun.$how" 1)" "$(median "$out/floor.$how" 1)")" %.2f x
    bench "hosts.$n.floor.$how.cpu" "$(quotient "$(median "$out/vmrun.$how" 2)" "$(median "$out/floor.$how" 2)")" %.2f x
  done
}

# lengthen FOLDER SECONDS: wires of that round-trip time before the hosts; the fleet at their near ends is FOLDER/far.
lengthen() {
  rm -rf "$1/far"
  "$VMRUN" lua "$here/hosts/wires.lua" "$1" "$2" >"$work/wires.log" 2>&1 &
  wires=$!
  proxies="$proxies $wires"
  wait_for "$1/far/ready" "$wires" "$work/wires.log"
}

# --- latency: the wall over a wire of 200 ms, and how many round trips that is

latency() {
  local folder=$1 n=$2 release
  lengthen "$folder" 0.2
  apply "$folder/far" "${tag}l" >/dev/null
  for release in 1 2 3; do
    apply "$folder/far" "${tag}l$release" >>"$work/latency.changed"
    no_change "$folder/far" "${tag}l$release" >>"$work/latency.same"
    forget "$folder/far" "${tag}l$release"
  done
  forget "$folder/far" "${tag}l"
  kill "$wires"
  for how in same changed; do
    bench "hosts.latency.$n.$how" "$(median "$work/latency.$how" 1)" %.2f s
    bench "hosts.latency.$n.$how.trips" "$(quotient "$(median "$work/latency.$how" 1)" 0.2)" %.1f round-trips
  done
}

# --- upload: 200 MB to one host, beside scp

upload() {
  local folder=$1 ms megabytes=200 target port address user options
  local first='.all.hosts | to_entries | sort_by(.key)[0].value | "\(.ansible_host) \(.ansible_port) \(.ansible_user)"'
  head -c "${megabytes}000000" /dev/urandom >"$work/big"
  for ms in 0 50; do
    target=$folder
    if [ "$ms" -gt 0 ]; then lengthen "$folder" "0.0$ms"; target=$folder/far; fi
    read -r address port user < <(jq -r "$first" "$target/inventory.json")
    options=(-q -o "UserKnownHostsFile=$target/known_hosts" -o IdentitiesOnly=yes -i "$target/key")
    for _ in 1 2 3; do
      "$VMRUN" lua "$here/hosts/upload.lua" "$target" "$work/big" 1 >>"$work/upload.$ms"
      measured "$work/log" scp "${options[@]}" -P "$port" "$work/big" "$user@$address:/tmp/vmrun-bench" >>"$work/scp.$ms"
    done
    bench "hosts.upload.$ms.vmrun" "$(quotient "$megabytes" "$(median "$work/upload.$ms" 1)")" %.0f MB/s
    bench "hosts.upload.$ms" "$(quotient "$(median "$work/scp.$ms" 1)" "$(median "$work/upload.$ms" 1)")" %.2f x
  done
  ssh "${options[@]}" -p "$port" "$user@$address" rm -f /tmp/vmrun-bench || :
  kill "$wires"
}

# --- memory: whole applies on many hosts

memory() {
  local n folder
  for n in 200 1000; do
    folder=$work/fleet$n
    make_fleet "$folder" "$n"
    apply "$folder" 1 >"$work/first.$n"
    no_change "$folder" 1 >"$work/second.$n"
    bench "hosts.$n.first.wall" "$(median "$work/first.$n" 1)" %.1f s
    bench "hosts.$n.second.wall" "$(median "$work/second.$n" 1)" %.1f s
    bench "hosts.memory.$n" "$(cat "$work/first.$n" "$work/second.$n" | awk '$3 > n { n = $3 } END { print n }')" %.1f MiB
  done
}

tag=$$x
fleet=$work/fleet
if [ -n "$inventory" ]; then read_fleet "$fleet"; else make_fleet "$fleet" "${count:-10}"; fi
count=$(jq '.all.hosts | length' "$fleet/inventory.json")
if wants compare; then compare "$fleet" "$count"; fi
if wants latency; then latency "$fleet" "$count"; fi
if wants upload; then upload "$fleet"; fi
if wants memory && [ -z "$inventory" ]; then memory; fi
