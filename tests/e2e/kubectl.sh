#!/usr/bin/env bash
# A real kubectl against the emulator's Kubernetes API: reads, applies, waits, scales, drains and deletes as against a real API
# server. `--update` writes the golden file of this kubectl's version anew.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
: "${VMRUN:=$root/build/release/vmrun}"
unset VMRUN_PATH VMRUN_STDLIB VMRUN_LOG
exec "$VMRUN" lua "$root/tests/e2e/kubectl/run.lua" "${KUBECTL:-kubectl}" "$@"
