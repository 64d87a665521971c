#!/usr/bin/env bash
# Puts a site that is cut off from the world beside an emulator whose machines have systemd: starts the emulator, makes the site's
# packages and images once, serves them on loopback until the emulator ends, and names them on its machines' internet.
#   tests/lab/site/start.sh STATE-DIR [PACKAGES-PORT IMAGES-PORT]     prints the parameters of recipes/cluster.lua, one a line
# VMRUN: the program. Needs root; script/setup --lab installs what it takes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd) state=$1 packages=127.0.0.1:${2:-10080} images=127.0.0.1:${3:-10050}
timeout 1200 "$VMRUN" emulator start --state-dir "$state" --machines=systemd >&2
endpoint() { jq -r ".$1" "$state/emulator/endpoint.json"; }
base=$(ls "${VMRUN_LAB_CACHE:-$HOME/.cache/vmrun-lab}"/machine-*."$(endpoint id)")
site=$("$here/build.sh" "${base%.*}")

is_served() { curl -fsS "http://$packages/InRelease" && curl -fsS "http://$images/v2/"; }
if ! is_served >/dev/null 2>&1; then
  setsid sh -c '"$1" "$2" "$3" & tail --pid="$4" -f /dev/null; kill $!' - \
    "$site/serve" "${packages#*:}" "${images#*:}" "$(endpoint pid)" </dev/null >/dev/null 2>&1 &
  for _ in $(seq 50); do is_served >/dev/null 2>&1 && break; sleep 0.2; done
  is_served >/dev/null
fi
jq -nc --arg packages "$packages" --arg images "$images" \
  '[{name: "packages.lab.test", port: 80, to: $packages}, {name: "images.lab.test", port: 80, to: $images}]' |
  curl -sS --fail-with-body --cacert <(endpoint ca) -X PUT "$(endpoint arm)/emulator/internet" \
    -H @<(echo "Authorization: Bearer $(endpoint token)") --data @- >/dev/null

printf '%s\n' version=1.20.2 containerd=containerd kubernetes_repository=http://packages.lab.test \
  registry_mirrors=registry.k8s.io=http://images.lab.test,ghcr.io=http://images.lab.test,docker.io=http://images.lab.test,mcr.microsoft.com=http://images.lab.test
