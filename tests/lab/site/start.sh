#!/usr/bin/env bash
# Puts a site that is cut off from the world beside an emulator whose machines have systemd: starts the emulator, makes the site's
# packages and images once, serves them on addresses of the emulator's own network until it ends, and names them on its machines'
# internet. What serves other content than that of this tree ends first.
#   tests/lab/site/start.sh STATE-DIR     prints the parameters of recipes/cluster.lua, one a line
# VMRUN: the program. Needs root; script/setup --lab installs what it takes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd) state=$1
timeout 1200 "$VMRUN" emulator start --state-dir "$state" --machines=systemd >&2
folder=$state/emulator
endpoint() { jq -r ".$1" "$folder/endpoint.json"; }
base=$(ls "${VMRUN_LAB_CACHE:-$HOME/.cache/vmrun-lab}"/machine-*."$(endpoint id)")
content=$("$here/build.sh" "${base%.*}")
{ read -r apt; read -r registry; } <<<"$content"
packages=$(endpoint net).255.1:10080 images=$(endpoint net).255.2:10050

# One start at a time. Who serves holds a lock as long as it lives, on the file that says what it serves.
exec 9>"$folder/site.lock"
flock -w 120 9
serving=$folder/site.serving
served=$(cat "$serving" 2>/dev/null || true)
wanted=("$(endpoint pid)" "$apt" "$packages" "$registry" "$images")
is_served() { ! flock -n "$serving" true && curl -fsS -m 5 "http://$packages/InRelease" && curl -fsS -m 5 "http://$images/v2/"; }
is_taken() { (: <>"/dev/tcp/${1%:*}/${1#*:}") 2>/dev/null; }
if flock -n "$serving" true || [ "${served#* }" != "${wanted[*]}" ]; then
  flock -n "$serving" true || kill "${served%% *}" || true
  flock -w 20 "$serving" true || { echo "tests/lab/site/start.sh: process ${served%% *} does not stop to serve" >&2; exit 1; }
  # An emulator that has just stopped may have had the same network: its site ends a moment after it.
  for _ in $(seq 100); do is_taken "$packages" || is_taken "$images" || break; sleep 0.2; done
  ! is_taken "$packages" && ! is_taken "$images" || { echo "tests/lab/site/start.sh: somebody else serves $packages or $images" >&2; exit 1; }
  # It waits for the lock: whoever asks whether it is held holds it for that moment.
  # shellcheck disable=SC2016
  setsid bash -c 'file=$1; shift; exec 6>>"$file"; flock -w 20 6 || exit; echo "$$ ${*:2}" >"$file"; exec "$@"' - "$serving" \
    "$here/serve" "${wanted[@]}" </dev/null >"$folder/site.log" 2>&1 9>&- &
  for _ in $(seq 150); do is_served >/dev/null 2>&1 && break; sleep 0.2; done
fi
is_served >/dev/null 2>&1 || {
  echo "tests/lab/site/start.sh: nobody serves $packages and $images; the end of $folder/site.log:" >&2
  tail -n 20 "$folder/site.log" >&2
  exit 1
}
jq -nc --arg packages "$packages" --arg images "$images" \
  '[{name: "packages.lab.test", port: 80, to: $packages}, {name: "images.lab.test", port: 80, to: $images}]' |
  curl -sS -m 30 --fail-with-body --cacert <(endpoint ca) -X PUT "$(endpoint arm)/emulator/internet" \
    -H @<(echo "Authorization: Bearer $(endpoint token)") --data @- >/dev/null

printf '%s\n' version=1.20.2 containerd=containerd kubernetes_repository=http://packages.lab.test \
  registry_mirrors=registry.k8s.io=http://images.lab.test,ghcr.io=http://images.lab.test,docker.io=http://images.lab.test,mcr.microsoft.com=http://images.lab.test
