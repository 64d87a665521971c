#!/usr/bin/env bash
# The unit suites, the native modules' Lua tests and a story, built with AddressSanitizer and UndefinedBehaviorSanitizer.
set -u
cd "$(dirname "$0")/.."
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1
script/build asan >/dev/null || { echo "0 passed, 1 failed, 0 skipped"; exit 1; }
passed=0 failed=0
run() {
  if "$@" >"$log" 2>&1; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "not ok - $*"
    tail -n 40 "$log"
  fi
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for unit in base keys net machine engine script; do VMRUN_SEEDS=40 run "build/asan/tests/unit-$unit"; done
for name in json fs process stream http server git task; do run build/asan/vmrun lua "tests/lua/test_$name.lua"; done
# libssh2 1.10 does not give back all of a login that is broken off in the middle.
for file in tests/lua/test_ssh.lua tests/lua/test_connections_*.lua; do
  ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 run build/asan/vmrun lua "$file"
done
run build/asan/vmrun check recipes/cluster.lua
VMRUN=$PWD/build/asan/vmrun run bash tests/e2e/one_by_one.sh # several sessions in one program
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
