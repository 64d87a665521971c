#!/usr/bin/env bash
# recipes/cluster.lua on the emulator: wall, peak memory, and the wall over the critical path of what really ran; and how long
# the program takes to start. Medians of three runs, each in a fresh state folder whose emulator already answers.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/vmrun-bench-XXXXXX")
trap 'for d in "$work"/*/; do timeout 20 "$VMRUN" emulator stop --state-dir "$d" >/dev/null 2>&1 || :; done; rm -rf "$work"' EXIT

median() { sort -n | sed -n "$((($1 + 1) / 2))p"; }

# Seconds of one run of a command, as the shell sees it.
seconds() {
  local began ended
  began=$(date +%s.%N)
  "$@" >/dev/null 2>&1
  ended=$(date +%s.%N)
  awk -v a="$began" -v b="$ended" 'BEGIN { printf "%.4f\n", b - a }'
}

ours=$(for _ in 1 2 3 4 5; do seconds "$VMRUN" version; done | median 5)
if command -v terraform >/dev/null 2>&1; then
  theirs=$(for _ in 1 2 3 4 5; do CHECKPOINT_DISABLE=1 seconds terraform version; done | median 5)
  awk -v a="$ours" -v b="$theirs" 'BEGIN { printf "bench start %.1f x\n", b / a }'
else
  awk -v a="$ours" 'BEGIN { printf "bench start.vmrun %.1f ms\n", a * 1000 }'
fi

for run in 1 2 3; do
  state=$work/$run
  mkdir -m 700 "$state"
  "$VMRUN" emulator start --state-dir "$state" >/dev/null
  python3 -ISE "$here/measure.py" "$state/bench.log" "$VMRUN" "$here/../../recipes/cluster.lua" --emulator --yes --state-dir "$state" >>"$work/figures"
  path=$("$VMRUN" lua "$here/critical_path.lua" "$state/stacks/cluster/report.json")
  wall=$(tail -n 1 "$work/figures" | awk '{ print $1 }')
  awk -v w="$wall" -v p="$path" 'BEGIN { printf "%.3f\n", w / p }' >>"$work/makespan"
done
awk '{ print $1 }' "$work/figures" | median 3 | awk '{ printf "bench cluster.wall %.2f s\n", $1 }'
awk '{ print $3 }' "$work/figures" | median 3 | awk '{ printf "bench cluster.memory %.1f MiB\n", $1 }'
median 3 <"$work/makespan" | awk '{ printf "bench cluster.makespan %.2f x\n", $1 }'
