#!/usr/bin/env bash
# The Azure SDK for JavaScript, unmodified: the lines of `emulator env` are all that it gets.
. "$(dirname "$0")/lib/story.sh"
cp "$root"/tests/e2e/sdk/* "$work"
check "the SDK from npm" npm --prefix "$work" ci --prefer-offline --no-audit --no-fund --loglevel error
check "an emulator" vmrun emulator start
eval "$("$VMRUN" emulator env --state-dir "$state")"
timeout 300 node "$work/steps.mjs" >"$work/told" 2>&1 </dev/null
code=$?
cat "$work/told"
passed=$((passed + $(grep -c '^ok - ' "$work/told"))) failed=$((failed + $(grep -c '^not ok - ' "$work/told")))
same "it ran to its end" "$code $(tail -n 1 "$work/told")" "0 # the end"
