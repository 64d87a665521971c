#!/usr/bin/env bash
# Flux's manifest into an empty Kubernetes 1.20.2 and once more, by vmrun and by kubectl in turn: times faster than kubectl.
#   script/bench kubernetes [RUNS]
# VMRUN_FLUX names the folder with the manifest; KUBECTL another kubectl than the newest that is installed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
: "${VMRUN_FLUX:=$here/../../../shared/flux}"
export VMRUN_FLUX
"$here/../../script/setup" --lab
# Google's kubectl only looks for the real one beside it, which costs it time that is not kubectl's.
newest=$(find -L /usr/lib/google-cloud-sdk/bin -name 'kubectl.1.*' 2>/dev/null | sort -V | tail -n 1)
exec "$VMRUN" lua "$here/../lab/bench.lua" "$VMRUN" "${KUBECTL:-${newest:-$(command -v kubectl)}}" "$@"
