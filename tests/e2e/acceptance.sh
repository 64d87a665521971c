#!/usr/bin/env bash
# The script for whoever has a subscription, on the emulator; and what it refuses.
. "$(dirname "$0")/lib/story.sh"
acceptance() { timeout 400 "$root/script/azure-acceptance" "$@"; }
id=00000000-0000-0000-0000-000000000001
exits "without a target" 2 acceptance
has "says what is missing" "--subscription ID or --emulator"
exits "without a ceiling" 2 acceptance --subscription $id --yes
has "says what is missing" "--ceiling USD"
exits "a ceiling below what it may cost" 2 acceptance --subscription $id --yes --ceiling 0.2
has "says both" "more than the ceiling of 0.2"
exits "without a yes" 2 acceptance --subscription $id --ceiling 10
has "says what it would do" "6 machines in subscription $id"
export TMPDIR=$work
exits "on the emulator" 0 acceptance --emulator
has "all steps pass" "11 passed, 0 failed, 0 skipped"
same "its folder is gone" "$(find "$work" -maxdepth 1 -name 'vmrun-acceptance-*')" ""
# What it began it ends, also when a step fails.
exits "a step that fails" 1 acceptance --emulator kubernetes_repository=http://127.0.0.1:9/
has "is told" "not ok - the cluster is made"
has "what there was is destroyed" "destroying what is left"
same "and the folder is gone" "$(find "$work" -maxdepth 1 -name 'vmrun-acceptance-*')" ""
