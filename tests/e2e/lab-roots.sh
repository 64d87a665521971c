#!/usr/bin/env bash
# Task types of roles on real Debian 12 roots, which debootstrap makes once (tests/lab/debian_root.sh). All runs in namespaces: no
# process, mount or network of it outlives the story, however that ends.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
: "${VMRUN:=$root/build/release/vmrun}"
unset VMRUN_PATH VMRUN_STDLIB VMRUN_LOG
if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null; then
  echo "lab-roots needs root and debootstrap: script/setup --lab"
  echo "lab-roots: 0 passed, 1 failed, 0 skipped"
  exit 1
fi
"$root/tests/lab/debian_root.sh" >/dev/null || { echo "lab-roots: 0 passed, 1 failed, 0 skipped"; exit 1; }
log=$(mktemp)
work=$(mktemp -d)
trap 'rm -rf "$log" "$work"' EXIT
trap 'exit 130' INT TERM HUP
# What the roots write is kept in memory, and goes with the rest.
TMPDIR=$work unshare --mount --pid --net --fork --kill-child=KILL --mount-proc sh -c '
  ip link set lo up && mount -t tmpfs tmpfs "$TMPDIR" && exec "$@"' sh "$VMRUN" lua "$root/tests/lab/roots.lua" "$@" >"$log" 2>&1 &
wait $!
code=$?
grep -v '^ok ' "$log"
echo "lab-roots: $(grep -c '^ok ' "$log") passed, $(grep -c '^not ok ' "$log") failed, $(grep -c '^skip ' "$log") skipped"
exit "$code"
