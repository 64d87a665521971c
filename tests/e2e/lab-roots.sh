#!/usr/bin/env bash
# Task types of roles on real Debian 12 roots, which debootstrap makes once (tests/lab/debian_root.sh). All runs in namespaces: no
# process, mount, file or network of it outlives the story, however that ends.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
: "${VMRUN:=$root/build/release/vmrun}"
unset VMRUN_PATH VMRUN_STDLIB VMRUN_LOG

if [ "${1:-}" != --inside ]; then
  if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null; then
    echo "lab-roots needs root and debootstrap: script/setup --lab"
    if [ -n "${CI:-}" ]; then echo "lab-roots: 0 passed, 1 failed, 0 skipped"; exit 1; fi
    echo "lab-roots: 0 passed, 0 failed, 1 skipped"
    exit
  fi
  "$root/tests/lab/debian_root.sh" >/dev/null || { echo "lab-roots: 0 passed, 1 failed, 0 skipped"; exit 1; }
  VMRUN=$VMRUN exec unshare --mount --pid --net --fork --kill-child=KILL --mount-proc bash "$root/tests/e2e/lab-roots.sh" --inside "$@"
fi

shift
export TMPDIR=/mnt
ip link set lo up && mount -t tmpfs tmpfs "$TMPDIR" || exit 1
"$VMRUN" lua "$root/tests/lab/roots.lua" "$@" >"$TMPDIR/log" 2>&1
code=$?
grep -v '^ok ' "$TMPDIR/log"
echo "lab-roots: $(grep -c '^ok ' "$TMPDIR/log") passed, $(grep -c '^not ok ' "$TMPDIR/log") failed, $(grep -c '^skip ' "$TMPDIR/log") skipped"
exit "$code"
