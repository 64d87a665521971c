# What the stories share: a folder of their own, checks that count, an emulator that does not outlive them.
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
: "${VMRUN:=$root/build/release/vmrun}"
work=$(mktemp -d "${TMPDIR:-/tmp}/vmrun-e2e-XXXXXX")
state=$work/state
recipe=$root/recipes/cluster.lua
export NO_COLOR=1 VMRUN
unset AZURE_SUBSCRIPTION_ID AZURE_TENANT_ID VMRUN_PATH VMRUN_STDLIB VMRUN_LOG KUBECONFIG
passed=0 failed=0 skipped=0 began=$SECONDS

# Every emulator of a state folder below $work ends with the story. KEEP=1 leaves a failed story's folder.
finish() {
  local folder
  for folder in "$work"/state*; do
    [ -d "$folder/emulator" ] && "$VMRUN" emulator stop --state-dir "$folder" >/dev/null 2>&1
  done
  if [ "$failed" -gt 0 ] && [ -n "${KEEP:-}" ]; then echo "kept: $work"; else rm -rf "$work"; fi
  echo "$((SECONDS - began)) s"
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" -eq 0 ]
}
trap 'finish; exit $?' EXIT
trap 'exit 130' INT TERM HUP

pass() { passed=$((passed + 1)); echo "ok - $1"; }
skip() { skipped=$((skipped + 1)); echo "skip - $1"; }
fail() { failed=$((failed + 1)); echo "not ok - $1"; shift; [ $# -eq 0 ] || printf '%s\n' "$@" | sed 's/^/    /' | tail -n 60; }

# check NAME COMMAND...: the command succeeds.
check() {
  local name=$1
  shift
  if out=$("$@" 2>&1); then pass "$name"; else fail "$name" "exit code $?" "$out"; fi
}

# exits NAME CODE COMMAND...: the command ends with that code; what it said is in $out.
exits() {
  local name=$1 want=$2 code=0
  shift 2
  out=$("$@" 2>&1 </dev/null) || code=$?
  if [ "$code" -eq "$want" ]; then pass "$name"; else fail "$name" "exit code $code, not $want" "$out"; fi
}

# has NAME TEXT: $out has it; lacks NAME TEXT: it has not; matches NAME REGEX.
has() { if grep -qF -- "$2" <<<"$out"; then pass "$1"; else fail "$1" "no '$2' in:" "$out"; fi; }
matches() { if grep -qE -- "$2" <<<"$out"; then pass "$1"; else fail "$1" "nothing like '$2' in:" "$out"; fi; }
lacks() { if grep -qF -- "$2" <<<"$out"; then fail "$1" "there is '$2' in:" "$out"; else pass "$1"; fi; }
same() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "this:" "$2" "is not:" "$3"; fi; }

# until_true SECONDS COMMAND...: asks again until it succeeds.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.2
  done
}

# The program with this story's state folder, and the verbs on the recipe.
vmrun() { timeout 150 "$VMRUN" "$1" "$2" --state-dir "$state" "${@:3}"; }
apply() { vmrun apply "$recipe" --emulator --yes "$@"; }
plan() { vmrun plan "$recipe" "$@"; }

# kill_at PATTERN PARAMETER...: applies, and kills vmrun with SIGKILL when a line matches.
kill_at() {
  local pattern=$1 pid line seen=
  shift
  mkfifo "$work/lines"
  timeout 100 "$VMRUN" apply "$recipe" --yes --state-dir "$state" "$@" >"$work/lines" 2>&1 </dev/null &
  pid=$!
  while read -r line; do
    if [[ $line =~ $pattern ]] && [ -z "$seen" ]; then
      seen=1
      pkill -9 -P "$pid" # timeout started vmrun as its only child
    fi
  done <"$work/lines"
  rm "$work/lines"
  code=0
  wait "$pid" 2>/dev/null || code=$?
}

endpoint() { jq -r ".$1" "$state/emulator/endpoint.json"; }

# curl to the emulator's addresses, with its CA.
ask() {
  endpoint ca >"$work/ca.pem"
  curl --silent --show-error --max-time 30 --cacert "$work/ca.pem" "$@"
}

# arm METHOD PATH API-VERSION [BODY]: as a foreign tool would, with a token of the emulator's Entra ID. {subscription} in the
# path is the emulator's. Fails when ARM does; prints what it says.
arm() {
  local method=$1 path=${2//\{subscription\}/$(endpoint subscription)} version=$3 token
  token=$(ask "$(endpoint entra)/$(endpoint tenant)/oauth2/v2.0/token" -d grant_type=client_credentials -d "client_id=$(endpoint client_id)" \
    -d "scope=https://management.azure.com/.default" --data-urlencode "client_secret=$(endpoint client_secret)" | jq -r .access_token)
  set -- "${@:4}"
  ask --fail-with-body -X "$method" "$(endpoint arm)$path?api-version=$version" -H "Authorization: Bearer $token" \
    -H "Content-Type: application/json" ${1+--data "$1"}
}

# The emulator's own paths: what it counted, and the last writes by name.
emulator() { ask "$(endpoint arm)/emulator/$1" -H "Authorization: Bearer $(endpoint token)"; }
writes() { vmrun emulator status --json | jq -r .writes.total; }
machines() { vmrun emulator list --json | jq -r '.machines[].hostname' | sort; }
ids() { vmrun emulator list --json | jq -r '.arm[]' | sort; }

# Everything on the disks of the machines that a write would change: mode, owner, size and time of each file.
disks() {
  find "$state"/emulator/machines/*/root \( -path '*/root/proc' -o -path '*/root/run' -o -path '*/root/tmp' -o -path '*/root/var/log' \) -prune \
    -o ! -type d -printf '%P %m %U %s %T@\n' | sort
}
