#!/usr/bin/env bash
# The emulator beside what Azure answered: every story of the folder that VMRUN_ARM_RECORDINGS names is sent to it by the folder's judge.
#   script/bench azure [-v] [STORY ...]
# What disagrees is listed in azure.tsv with the reason; one that is not there, or a reason that nothing needs, is an error.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
verbose=0
[ "${1:-}" = -v ] && { verbose=1; shift; }
if [ -z "${VMRUN_ARM_RECORDINGS:-}" ]; then
  echo "no recordings: VMRUN_ARM_RECORDINGS names no folder" >&2
  exit 0
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/vmrun-bench-XXXXXX")
finish() {
  "$VMRUN" emulator stop --state-dir "$work/state" >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT
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
