# What the stories share: a folder of their own, checks that count, an emulator that does not outlive them.
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${VMRUN:=$root/build/release/vmrun}"
work=$(mktemp -d "${TMPDIR:-/tmp}/vmrun-e2e-XXXXXX")
state=$work/state
export NO_COLOR=1
passed=0 failed=0

finish() {
  "$VMRUN" emulator stop --state-dir "$state" >/dev/null 2>&1
  for other in "$work"/state-*; do
    [ -d "$other" ] && "$VMRUN" emulator stop --state-dir "$other" >/dev/null 2>&1
  done
  if [ "$failed" -gt 0 ] && [ -n "${KEEP:-}" ]; then echo "kept: $work"; else rm -rf "$work"; fi
  echo "$passed passed, $failed failed, 0 skipped"
  [ "$failed" -eq 0 ]
}
trap 'finish; exit' EXIT

pass() { passed=$((passed + 1)); echo "ok - $1"; }
fail() { failed=$((failed + 1)); echo "not ok - $1"; shift; [ $# -eq 0 ] || printf '%s\n' "$@" | sed 's/^/    /' | tail -n 60; }

# check NAME COMMAND...: the command succeeds.
check() {
  local name=$1 out
  shift
  if out=$("$@" 2>&1); then pass "$name"; else fail "$name" "exit code $?" "$out"; fi
}

# exits NAME CODE COMMAND...: the command ends with that code; what it said is in $out.
exits() {
  local name=$1 want=$2 code=0
  shift 2
  out=$("$@" 2>&1) || code=$?
  if [ "$code" -eq "$want" ]; then pass "$name"; else fail "$name" "exit code $code, not $want" "$out"; fi
}

# has NAME TEXT: $out has it; lacks NAME TEXT: it has not.
has() { if grep -qF -- "$2" <<<"$out"; then pass "$1"; else fail "$1" "no '$2' in:" "$out"; fi; }
matches() { if grep -qE -- "$2" <<<"$out"; then pass "$1"; else fail "$1" "nothing like '$2' in:" "$out"; fi; }
lacks() { if grep -qF -- "$2" <<<"$out"; then fail "$1" "there is '$2' in:" "$out"; else pass "$1"; fi; }
same() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "'$2' is not '$3'"; fi; }

# until_true SECONDS COMMAND...: asks again until it succeeds.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.2
  done
}

vmrun() { "$VMRUN" "$@" --state-dir "$state"; }
apply() { vmrun apply "$root/recipes/cluster.lua" --emulator --yes "$@"; }
plan() { vmrun plan "$root/recipes/cluster.lua" "$@"; }

# How many writes the emulator has counted, of all services.
writes() { vmrun emulator status --json | jq .writes; }
