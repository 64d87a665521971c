# What the stories of single verbs share: a folder of their own to stand in, vmrun with its two streams kept, checks that count.
# A story that started something overrides at_exit.
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
VMRUN=${VMRUN:-$root/build/release/vmrun}
work=$(mktemp -d)
at_exit() { :; }
trap 'at_exit; rm -rf "$work"' EXIT
cd "$work" || exit 1
unset AZURE_SUBSCRIPTION_ID AZURE_TENANT_ID VMRUN_PATH SSH_AUTH_SOCK
passed=0 failed=0

ok() { passed=$((passed + 1)); }
not_ok() {
  failed=$((failed + 1))
  echo "not ok: $1"
  sed 's/^/    /' out err 2>/dev/null | head -40
}

# run CODE ARGS...: runs vmrun, keeps out and err, and wants that exit code
run() {
  local wanted=$1 code=0
  shift
  "$VMRUN" "$@" >out 2>err </dev/null || code=$?
  if [ "$code" -eq "$wanted" ]; then ok; else not_ok "vmrun $* (exit code $code, wanted $wanted)"; fi
}

has() { if grep -qF -- "$2" "$1"; then ok; else not_ok "$1 has no '$2'"; fi; }
hasnt() { if grep -qF -- "$2" "$1"; then not_ok "$1 has '$2'"; else ok; fi; }
is() { if [ "$1" = "$2" ]; then ok; else not_ok "'$1' is not '$2'"; fi; }

# The story's end: what it counted, and its exit code.
finish() {
  echo "$(basename "$0" .sh): $passed passed, $failed failed, 0 skipped"
  [ "$failed" -eq 0 ]
}
