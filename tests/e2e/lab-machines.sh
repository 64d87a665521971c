#!/usr/bin/env bash
# Machines with systemd (vmrun emulator start --machines=systemd): their life by ARM's verbs, the network between them, twenty at
# once, and nothing of them left, however they end. Needs root and debootstrap (script/setup --lab).
. "$(dirname "$0")/lib/story.sh"
stack=$root/tests/lab/machines/stack.lua

if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null; then
  why="machines with systemd need root and debootstrap: script/setup --lab"
  if [ -n "${CI:-}" ]; then fail "$why"; else skip "$why"; fi
  exit
fi

web=Allow
apply() { timeout 300 "$VMRUN" apply "$stack" --state-dir "$state" --emulator --yes web=$web "$@"; }
plan() { vmrun plan "$stack" --detailed-exitcode web=$web "$@"; }
on() { vmrun exec "$stack" "$1" -- "${@:2}"; }
said() { on "$@" 2>/dev/null | sed -n 's/^  //p'; }
start() { timeout 900 "$VMRUN" emulator start --state-dir "$state" "$@"; }
stop() { "$VMRUN" emulator stop --state-dir "$state"; }
dial() { emulator "dial?host=$1&port=$2"; }
refusal() { dial "$1" "$2" | jq -r .error.message; }
group=/subscriptions/{subscription}/resourceGroups/lab-rg/providers
worker() { echo "$group/Microsoft.Compute/virtualMachineScaleSets/worker/virtualMachines/${1:-0}"; }
power() { arm GET "$(worker "${1:-0}")/instanceView" 2025-04-01 | jq -r '.statuses[].code | select(startswith("PowerState/")) | sub("PowerState/"; "")'; }
power_is() { [ "$(power "${2:-0}")" = "$1" ]; }
curl_code() { return "$(said "$1" "curl -sm 5 $2 >/dev/null; echo \$?")"; }
host_is_running() { [ "$(said "$1" systemctl is-system-running)" = running ]; }

# What there is of this world's machines: processes, mounts, network namespaces, cgroups.
world() { echo "vmrun-$(jq -r .id "$state/emulator/endpoint.json" | cut -c 1-8)-"; }
firsts() { vmrun emulator list --json | jq -r '.machines[].root // empty' | tr -dc '0-9\n'; }
keeper() { pgrep -P "$(endpoint pid)" -f "vmrun machines"; }
networks() {
  local pid
  for pid in $(firsts); do readlink "/proc/$pid/ns/net"; done
  find "/proc/$(keeper)/fd" -lname 'net:*' -exec readlink {} + | grep -vFx "$(readlink /proc/self/ns/net)"
}
cgroups() { find /sys/fs/cgroup -type d -name "$prefix*"; }
left() {
  grep -lF "$prefix" /proc/[0-9]*/cgroup 2>/dev/null
  grep -lF "$state" /proc/[0-9]*/mountinfo 2>/dev/null
  { find /proc/[0-9]*/ns/net -printf '%l\n'; find /proc/[0-9]*/fd -lname 'net:*' -printf '%l\n'; } 2>/dev/null | grep -Fx "$nets"
  cgroups
}
nothing_left() { [ -z "$(left)" ]; }
no_machine_left() { [ -z "$(left | grep -v ^/sys/fs/cgroup)" ]; } # a keeper that was killed could not remove cgroups

# One machine and its gate.
exits "it starts" 0 start --machines=systemd
prefix=$(world)
exits "a gate and a worker" 0 apply
[ "$failed" -eq 0 ] || exit
exits "the same again" 0 plan
same "they run systemd, all of it" "$(said all systemctl is-system-running | sort -u)" running
same "each has its own name" "$(said all hostname | sort | paste -sd' ')" "gate worker000000"
same "and its own address" "$(said worker ip -4 -o address show eth0 | awk '{ print $4 }')" 10.0.1.5/24
same "its mounts are shared with what runs in it" "$(said worker 'for at in / /var/lib/kubelet; do findmnt -no PROPAGATION $at; done' | sort -u)" shared
same "its own boot" "$(said all cat /proc/sys/kernel/random/boot_id | sort -u | wc -l)" 2
same "its own cgroups" "$(cgroups | sed 's/.*-//' | sort -u | wc -l)" 2
same "custom data was written, and its commands ran when the system was up" "$(said gate 'cat /etc/motd; sudo cat /root/first-boot')" "written firstactive"
exits "containerd answers" 0 on worker sudo ctr version
container() {
  on worker 'd=/srv/container; mkdir -p proc; for file in /bin/cat $(ldd /bin/cat | grep -o "/lib[^ ]*"); do sudo mkdir -p $d/proc $d/sys $d/dev
    sudo cp --parents -L $file $d; done; sudo ctr run --rm --memory-limit 50000000 --rootfs $d one /bin/cat /proc/self/cgroup'
}
exits "and runs a container" 0 container
matches "in a cgroup of its own" ":/default/one$"
same "what the kernel says is in no machine's journal" "$(said worker 'sudo journalctl -q -b _TRANSPORT=kernel | wc -l')" 0
exits "modules that the kernel has are there" 0 on worker 'sudo modprobe br_netfilter && sudo modprobe overlay'
exits "one that it has not is not" 1 on worker sudo modprobe no_such_module
same "containers, pods and etcd are kept on a real file system" "$(said worker 'for d in containerd kubelet etcd; do findmnt -no FSTYPE -T /var/lib/$d; done' | grep -c overlay)" 0
exits "what the kubelet sets can be set" 0 on worker sudo sysctl -w vm.overcommit_memory=1 kernel.panic=10 kernel.panic_on_oops=1
exits "what it reads is there" 0 on worker 'test -c /dev/kmsg && sudo conntrack -L'
exits "packages are known" 0 on worker dpkg-query -W openssh-server
exits "kernel settings of the network are the machine's own" 0 on worker sudo sysctl -w net.ipv4.ip_forward=1
swappiness=$(cat /proc/sys/vm/swappiness)
[ "$swappiness" != 7 ] || fail "the real swappiness is not the one that is tried"
same "those of the kernel do not reach the real one" "$(said worker 'sudo sysctl -qw vm.swappiness=7; sudo sysctl -n vm.swappiness') $(cat /proc/sys/vm/swappiness)" "7 $swappiness"

# The network: what the security group says, the load balancer, the way out, names, metadata.
serve() { on worker sudo systemd-run --quiet --unit="web-$1" socat "TCP-LISTEN:$1,fork,reuseaddr" EXEC:/srv/web; }
web() { [ "$(said gate curl -sm 3 http://10.0.1.5:8080/)" = here ]; }
check "a server on port 8080" serve 8080
check "the gate reaches it" until_true 5 web
web=Deny
exits "the rule denies it" 0 apply
if web; then fail "the denied port is closed"; else pass "the denied port is closed"; fi
web=Allow
exits "the rule allows it" 0 apply
check "the gate reaches it again" web
address=$(vmrun output "$stack" address --raw)
same "a port that no rule names is closed to the internet" "$(refusal "$address" 443)" "the load balancer lab-lb has no rule for port 443"
nobody="port 8081 of worker000000 does not answer: 10.0.1.5:8081: connection refused"
same "nobody is behind the load balancer" "$(refusal "$address" 80)" "$nobody"
check "a server behind the load balancer" serve 8081
balanced() { [ "$(curl -sm 3 "$(dial "$address" 80 | jq -r '"\(.host):\(.port)"')")" = here ]; }
check "which is reached from outside" until_true 5 balanced
same "and by a machine, which goes out by NAT" "$(said gate curl -sm 5 "http://$address/")" here
exits "it stops" 0 on worker sudo systemctl stop web-8081
same "nobody is behind the load balancer any more" "$(refusal "$address" 80)" "$nobody"
same "machines know each other's names" "$(said gate getent ahostsv4 worker000000 | awk '{ print $1; exit }')" 10.0.1.5
zone=$group/Microsoft.Network/privateDnsZones/lab.internal
check "a private zone" arm PUT "$zone" 2024-06-01 '{"location":"global"}'
check "with a record" arm PUT "$zone/A/api" 2024-06-01 '{"properties":{"ttl":60,"aRecords":[{"ipv4Address":"10.0.1.99"}]}}'
if [ -z "$(said gate getent ahostsv4 api.lab.internal)" ]; then pass "it is unknown to a network that it is not linked with"; else fail "it is unknown to a network that it is not linked with"; fi
network=/subscriptions/$(endpoint subscription)/resourceGroups/lab-rg/providers/Microsoft.Network/virtualNetworks/lab-vnet
check "a link" arm PUT "$zone/virtualNetworkLinks/lab" 2024-06-01 "{\"location\":\"global\",\"properties\":{\"registrationEnabled\":false,\"virtualNetwork\":{\"id\":\"$network\"}}}"
until_true 10 eval '[ -n "$(said gate getent ahostsv4 api.lab.internal)" ]'
same "makes it known" "$(said gate getent ahostsv4 api.lab.internal | awk '{ print $1; exit }')" 10.0.1.99
check "the link goes" arm DELETE "$zone/virtualNetworkLinks/lab" 2024-06-01
check "and the zone" until_true 10 arm DELETE "$zone" 2024-06-01
same "a machine's metadata are its own" "$(said gate "curl -sm 5 -H Metadata:true 'http://169.254.169.254/metadata/instance?api-version=2021-02-01' " | grep -o '"name":"gate"' | head -n 1)" '"name":"gate"'

# What this machine serves for them, on their internet: a package repository.
mkdir -p "$work/repository" "$work/package/DEBIAN"
printf 'Package: lab-hello\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@lab.test>\nDescription: hello\n' >"$work/package/DEBIAN/control"
install -D -m 755 /dev/stdin "$work/package/usr/bin/lab-hello" <<<$'#!/bin/sh\necho hello'
dpkg-deb --root-owner-group --build "$work/package" "$work/repository/lab-hello.deb" >/dev/null
{ dpkg-deb -f "$work/repository/lab-hello.deb"; echo "Filename: lab-hello.deb"; stat -c 'Size: %s' "$work/repository/lab-hello.deb"
  echo "SHA256: $(sha256sum <"$work/repository/lab-hello.deb" | cut -d' ' -f1)"; } >"$work/repository/Packages"
python3 -u -c 'import http.server as h, functools as f, sys
s = h.ThreadingHTTPServer(("127.0.0.1", 0), f.partial(h.SimpleHTTPRequestHandler, directory=sys.argv[1])); print(s.server_port); s.serve_forever()' \
  "$work/repository" >"$work/port" 2>/dev/null &
repository=$!
children=("$repository")
until_true 10 test -s "$work/port"
served() { ask "$(endpoint arm)/emulator/internet" -X PUT -H "Authorization: Bearer $(endpoint token)" -d "$1"; }
same "a server gets an address" "$(served "[{\"name\":\"packages.test\",\"port\":80,\"to\":\"127.0.0.1:$(cat "$work/port")\"}]")" '{"packages.test":"198.18.0.1"}'
apt='echo "deb [trusted=yes] http://packages.test/ ./" | sudo tee /etc/apt/sources.list >/dev/null; sudo apt-get -qq update && sudo apt-get -qq install lab-hello'
exits "apt installs from it" 0 on worker "$apt"
same "what it brings runs" "$(said worker lab-hello)" hello
refused() { # curl may see the reset while it connects, or afterwards
  local code=0
  curl_code worker http://packages.test:81/ || code=$?
  [ "$code" -eq 7 ] || [ "$code" -eq 56 ]
}
check "a port that is not served is refused" refused
served "[]" >/dev/null
exits "no longer served, it has no name" 6 curl_code worker http://packages.test/
kill "$repository"
children=()

# Power, by ARM and from inside.
born() { said worker 'ps -o lstart= -p 1' | grep ' 20[0-9][0-9]$'; }
check "a file on the disk" on worker "echo kept | sudo tee /var/kept"
first=$(firsts | sort)
check "powered off" arm POST "$(worker)/powerOff" 2025-04-01
check "it is off" until_true 30 power_is stopped
same "one of the two runs" "$(firsts | wc -l)" 1
same "nothing is left of it meanwhile" "$(cgroups | sed 's/.*-//' | sort -u | wc -l)" 1
exits "the plan sees it, and that its host is not reached" 1 plan
has "as stopped" 'power (changed outside): "stopped" -> "running"'
has "with the reason" "the machine at 10.0.1.5 does not run"
started() { apply && host_is_running worker000000; }
check "apply starts it" until_true 30 started
same "with its disk" "$(said worker cat /var/kept)" kept
since=$(born)
sleep 1.1 # the resolution of what ps says
check "restarted" arm POST "$(worker)/restart" 2025-04-01
restarted() { [ -n "$(born)" ] && [ "$(born)" != "$since" ]; }
check "it boots again" until_true 30 restarted
same "with its disk" "$(said worker cat /var/kept)" kept
since=$(born) boot=$(said worker cat /proc/sys/kernel/random/boot_id)
sleep 1.1
on worker sudo systemctl reboot >/dev/null 2>&1
check "a reboot from inside is one" until_true 30 restarted
another_boot() { now=$(said worker cat /proc/sys/kernel/random/boot_id) && [ -n "$now" ] && [ "$now" != "$boot" ]; }
check "with a boot id of its own" until_true 30 another_boot
on worker sudo systemctl poweroff >/dev/null 2>&1
check "a power-off from inside, too" until_true 30 power_is stopped
check "apply starts it again" until_true 30 started
check "deallocated" arm POST "$(worker)/deallocate" 2025-04-01
check "it is" until_true 30 power_is deallocated
check "and started" until_true 30 started
key=$(said worker cat /etc/ssh/ssh_host_ed25519_key.pub)
check "reimaged" arm POST "$(worker)/reimage" 2025-04-01
reimaged() { emulator "dial?host=10.0.1.5&port=22&source=10.0.1.4" >/dev/null; [ "$(ls "$state"/emulator/machines/*/upper/var/kept 2>/dev/null | wc -l)" -eq 0 ] && power_is running; }
check "its disk is new" until_true 30 reimaged
exits "apply wants to be told of its new key" 1 apply
has "and says so" "has another host key than expected"
exits "it is" 0 apply --replace "azure.virtual_machine_scale_set.worker.instances[0]/azure.host_keys.worker"
if [ "$(said worker cat /etc/ssh/ssh_host_ed25519_key.pub)" != "$key" ]; then pass "which is another"; else fail "which is another"; fi
exits "without workers" 0 apply workers=0
same "the gate is alone" "$(machines)" gate
same "with its cgroups" "$(cgroups | sed 's/.*-//' | sort -u | wc -l)" 1
same "and its disk" "$(vmrun emulator list --json | jq -c .leftovers)" "[]"

# Twenty at once.
since=$SECONDS
exits "twenty workers" 0 apply workers=20
echo "# twenty workers: $((SECONDS - since)) s"
exits "all answer" 0 on all systemctl is-system-running
same "and run" "$(grep -c . <<<"$(firsts)") $(sed -n 's/^  //p' <<<"$out" | sort -u)" "21 running"
exits "fifteen go" 0 apply workers=5
check "their cgroups with them" until_true 10 eval '[ "$(cgroups | sed "s/.*-//" | sort -u | wc -l)" -eq 6 ]'

# Nothing stays behind, however it ends.
nets=$(networks)
if [ "$(grep -c . <<<"$nets")" -eq 7 ] && [ -n "$(left)" ]; then pass "there is something to be left"; else fail "there is something to be left" "$nets"; fi
exits "the emulator stops" 0 stop
check "and nothing is left" until_true 10 nothing_left
exits "it starts again" 0 start
check "and all machines with it" until_true 60 host_is_running gate
exits "which is all there is to do" 0 plan workers=5
nets=$(networks)
kill -KILL "$(endpoint pid)"
check "killed: nothing is left" until_true 20 nothing_left
exits "it starts again" 0 start
nets=$(networks) victims="$(endpoint pid) $(keeper)"
# shellcheck disable=SC2086
kill -KILL $victims
check "killed with its keeper: no process, mount or network is left" until_true 20 no_machine_left
if [ -n "$(cgroups)" ]; then pass "but cgroups are"; else fail "but cgroups are"; fi
exits "the next start" 0 start
check "brings the machines back" until_true 60 host_is_running worker000004 || said all systemctl is-system-running
same "in cgroups of theirs alone" "$(cgroups | sed 's/.*-//' | sort -u | wc -l)" 6
nets=$(networks) victim=$(keeper)
kill -KILL "$victim"
check "the keeper alone is killed: another brings all back" until_true 60 host_is_running worker000003
for moment in 0.5 1.5; do
  nets=$(networks)
  "$VMRUN" apply "$stack" --state-dir "$state" --emulator --yes web=$web workers=12 >/dev/null 2>&1 </dev/null &
  victim=$!
  sleep "$moment"
  victims="$(endpoint pid) $(keeper)"
  # shellcheck disable=SC2086
  kill -KILL "$victim" $victims
  wait "$victim" 2>/dev/null
  check "killed $moment s into a boot: nothing runs" until_true 20 no_machine_left
  exits "the next start" 0 start
  exits "and apply end well" 0 apply workers=12
  same "with nothing twice" "$(machines | wc -l) $(firsts | wc -l) $(cgroups | sed 's/.*-//' | sort -u | wc -l)" "13 13 13"
  same "and nothing over" "$(vmrun emulator list --json | jq -c .leftovers)" "[]"
  exits "back to five" 0 apply workers=5
done
nets=$(networks)
exits "destroyed" 0 vmrun destroy "$stack" --yes --include-unmanaged
same "no machine is left" "$(machines)" ""
exits "the emulator stops" 0 stop
check "nothing is left" until_true 10 nothing_left
same "and no mount" "$(grep -cF "$work" /proc/self/mountinfo)" 0

# What cannot be.
exits "another kind of machines in the same world" 1 start --machines=namespaces
has "is refused" "this emulator's machines are 'systemd', not 'namespaces'"
exits "an unknown kind" 1 "$VMRUN" emulator start --state-dir "$state-2" --machines=sistemd
has "has a nearest one" "did you mean 'systemd'?"
bare() { unshare -m bash -c 'umount -R -l /sys/fs/cgroup; exec "$@"' - "$VMRUN" emulator start --state-dir "$state-2" --machines=systemd; }
exits "without cgroups" 1 bare
has "it says so, too" "no cgroups are mounted that containers can use"
same "and made no machine's folder" "$(find "$state-2/emulator/machines" -mindepth 1 ! -name vmrun | wc -l)" 0
hollow() { unshare -m bash -c 'umount -R -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec "$@"' - "$VMRUN" emulator start --state-dir "$state-2" --machines=systemd; }
if grep -q cpu /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
  exits "version 2 with its controllers" 0 hollow
else
  exits "version 2 without controllers" 1 hollow
  has "it says which" "the cgroup controller cpu is not in /sys/fs/cgroup"
fi

# The roots that machines begin with: an old one goes when nobody uses it.
cache=${VMRUN_LAB_CACHE:-$HOME/.cache/vmrun-lab} old=machine-bookworm-000000000000 used=machine-bookworm-111111111111
mkdir -p "$work/cache/$old/bin" "$work/cache/$used/bin"
for name in "$cache"/machine-bookworm-????????????; do ln -s "$name" "$work/cache/"; done
: >"$work/cache/$old.gone"
flock -F "$work/cache/$used.there" sleep 60 &
holder=$!
children=("$holder")
until_true 5 eval '! flock -n "$work/cache/$used.there" true'
exits "with another cache" 0 env VMRUN_LAB_CACHE="$work/cache" "$VMRUN" emulator start --state-dir "$state-3" --machines=systemd
same "the old root is gone, the one in use is not" "$(find "$work/cache" -name "$old*" | wc -l) $(find "$work/cache" -maxdepth 1 -name "$used*" | wc -l)" "0 2"
"$VMRUN" emulator stop --state-dir "$state-3" >/dev/null
kill "$holder"
children=()

# Somebody else may not read where this was built.
mkdir -m 777 "$work/nobody"
chmod 755 "$work"
cp "$VMRUN" "$(dirname "$(readlink -f "$VMRUN")")"/vmrun-*.so "$work/nobody/"
chmod 755 "$work"/nobody/vmrun*
exits "without root" 1 setpriv --reuid 65534 --clear-groups "$work/nobody/$(basename "$VMRUN")" emulator start --state-dir "$work/nobody/state" --machines=systemd
has "it says so" "machines with systemd need root"
