#!/usr/bin/env bash
# Every kind of stdlib/azure by every fault that the emulator knows by name, on create, read, update and delete: faults/matrix.lua runs
# the cells, and fails for a kind or a fault that has none.
. "$(dirname "$0")/lib/story.sh"

timeout 400 "$VMRUN" lua "$root/tests/e2e/faults/matrix.lua" "$work" "$@" 2>&1 | tee "$work/said"
code=${PIPESTATUS[0]}
read -r passed failed skipped < <(sed -nE 's/^cells: ([0-9]+) right, ([0-9]+) wrong, ([0-9]+) known gaps$/\1 \2 \3/p' "$work/said")
: "${passed:=0}" "${failed:=0}" "${skipped:=0}"
# A matrix that broke off is wrong, whatever it counted.
[ "$code" -eq 0 ] || [ "$failed" -gt 0 ] || fail "the matrix ended with $code"
[ "$passed" -gt 0 ] || fail "no cell ran"
