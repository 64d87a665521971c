#!/usr/bin/env bash
# What a site without a way out keeps for its clusters: a signed apt repository and a registry's content, made once into a cache
# outside the tree. Prints their folder: apt/, registry/, and `serve`, which serves both.
#   tests/lab/site/build.sh BASE     BASE: the Debian root of the machines
# VMRUN: the program of the images. script/setup --lab installs what this takes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd) base=$1 vmrun=$(readlink -f "$VMRUN")
for tool in docker-registry skopeo dnsmasq busybox etcd etcdctl gpg jq; do
  command -v $tool >/dev/null || { echo "tests/lab/site/build.sh: there is no $tool; run script/setup --lab" >&2; exit 1; }
done
bins=()
for stamp in 1.20.2 1.20.3; do # of two releases, the second to upgrade to
  bins+=("$("$here/../build.sh" --stamp=$stamp kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubeadm kubectl crictl)")
done
plugins=("$(dirname "$vmrun")"/vmrun-*.so)
key() { cat "$@" | sha256sum | cut -c 1-16; }
packages=$(key "$here"/{build,packages}.sh "$here"/*.service "$here"/*.conf "${bins[0]}/crictl")
images=$(key "$here"/{build,images}.sh "$here"/image/* "$vmrun" "${plugins[@]}")

cache=${VMRUN_LAB_CACHE:-$HOME/.cache/vmrun-lab}
site=$cache/site
mkdir -p "$site"
exec 9>"$site/lock"
flock 9
# made NAME KEY COMMAND...: into $site/NAME, when it is not of this key.
made() {
  local name=$1 key=$2
  shift 2
  [ "$(cat "$site/$name.key" 2>/dev/null)" != "$key" ] || return 0
  rm -rf "$site/$name" "$site/$name.key"
  "$@"
  echo "$key" >"$site/$name.key"
}
made apt "$packages" "$here/packages.sh" "$site/apt" "$base" "${bins[@]}" >&2
made registry "$images" "$here/images.sh" "$site/registry" "$base" "$vmrun" "${bins[@]}" >&2
cp "$here/serve" "$site/"
echo "$site"
