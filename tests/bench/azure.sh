#!/usr/bin/env bash
# The Azure half of recipes/cluster.lua in the latencies of Azure: wall over critical path, and requests. Then the emulator beside what Azure
# answered: every story of the folder that VMRUN_ARM_RECORDINGS names is sent to it by the folder's judge.
#   script/bench azure [-v] [STORY ...]
# What disagrees is listed in azure.tsv with the reason; one that is not there, or a reason that nothing needs, is an error.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
verbose=0
[ "${1:-}" = -v ] && { verbose=1; shift; }
work=$(mktemp -d "${TMPDIR:-/tmp}/vmrun-bench-XXXXXX")
finish() {
  "$VMRUN" emulator stop --state-dir "$work/state" >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT

# A minute of Azure's is six seconds here: still long beside what the program itself needs.
"$VMRUN" emulator start --state-dir "$work/state" --profile azure --seed "${SEED:-1}" --clock 10 >/dev/null
run() { "$VMRUN" "$1" "$here/../../recipes/cluster.lua" --target 'azure.*' --state-dir "$work/state" "${@:2}" >/dev/null 2>"$work/err" || [ $? -eq 2 ]; }
traffic() {
  curl -sf --noproxy '*' --cacert "$work/ca.pem" -X POST -H "Authorization: Bearer $(jq -r .token "$work/state/emulator/endpoint.json")" \
    "$(jq -r .arm "$work/state/emulator/endpoint.json")/emulator/traffic?reset=1" >"$work/traffic"
}
# requests NAME COMMAND...: what a command sends, to ARM, the vaults and for tokens.
requests() {
  local name=$1
  shift
  traffic
  "$@"
  traffic
  jq -r --arg name "$name" '"bench azure.requests.\($name) \(.counts | .arm + .vault + .token) requests"' "$work/traffic"
}
jq -r .ca "$work/state/emulator/endpoint.json" >"$work/ca.pem"
began=$(date +%s.%N)
requests first run apply --emulator --yes
ended=$(date +%s.%N)
path=$("$VMRUN" lua "$here/critical_path.lua" "$work/state/stacks/cluster/report.json")
awk -v a="$began" -v b="$ended" -v p="$path" 'BEGIN { printf "wall %.2f s, critical path %.2f s\n", b - a, p; printf "bench azure.makespan %.3f x\n", (b - a) / p }'
requests noop run plan
cp "$work/traffic" "$work/noop"
jq -r '(.counts.by | keys | map(select(startswith("GET ")) | rtrimstr("[]")) | unique | length) as $arm
  | ([.counts.vault, 1] | min) as $vault | "goal of the no-op: \($arm + $vault + .counts.token): \($arm) collections of ARM, \($vault
  ) of a vault, \(.counts.token) tokens"' "$work/noop"
requests onefield run apply admin_cidr=198.51.100.0/24 --yes
"$VMRUN" emulator reset --state-dir "$work/state" >/dev/null

if [ -z "${VMRUN_ARM_RECORDINGS:-}" ]; then
  echo "no recordings: VMRUN_ARM_RECORDINGS names no folder" >&2
  exit 0
fi
stories=()
for story in "$@"; do stories+=("$VMRUN_ARM_RECORDINGS/$story.json"); done
[ $# -gt 0 ] || stories=("$VMRUN_ARM_RECORDINGS"/*.json)

# The judge does not wait for the operations of disks and private DNS: they must be over at once.
"$VMRUN" emulator start --state-dir "$work/state" --clock 100000 >/dev/null
base=$(jq -r .arm "$work/state/emulator/endpoint.json")
jq -r .ca "$work/state/emulator/endpoint.json" >"$work/ca.pem"
eval "$("$VMRUN" emulator env --state-dir "$work/state" | grep AZURE_)"
token=$(curl -sf --noproxy '*' --cacert "$work/ca.pem" "$base/$AZURE_TENANT_ID/oauth2/v2.0/token" \
  --data-urlencode client_secret@<(printf %s "$AZURE_CLIENT_SECRET") \
  -d "grant_type=client_credentials&client_id=$AZURE_CLIENT_ID&scope=https://management.azure.com/.default" | jq -r .access_token)
[ -n "$token" ] || { echo "the emulator gave no token" >&2; exit 1; }
python3 "$VMRUN_ARM_RECORDINGS/replay.py" "$base" "$token" "$AZURE_SUBSCRIPTION_ID" "${stories[@]}" --ca "$work/ca.pem" -v >"$work/out"
[ "$verbose" -eq 0 ] || cat "$work/out"

bad=0
grep '^ ' "$work/out" >"$work/disagree" || true
sed -n '/^disagreement\t/,$p' "$here/azure.tsv" | sed 1d | cut -f1 >"$work/known"
grep -vEf "$work/known" "$work/disagree" >"$work/unknown" || true
if [ -s "$work/unknown" ]; then
  echo "$(wc -l <"$work/unknown") without a reason:"
  head -n 20 "$work/unknown"
  bad=1
fi
if [ $# -eq 0 ]; then
  while IFS= read -r pattern; do
    grep -qE -- "$pattern" "$work/disagree" || { echo "a reason that nothing needs: $pattern"; bad=1; }
  done <"$work/known"
fi
tail -n 1 "$work/out"
exit "$bad"
