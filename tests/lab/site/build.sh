#!/usr/bin/env bash
# What a site without a way out keeps for its clusters: a signed apt repository and a registry's content, each made once into a folder
# of a cache outside the tree whose name tells what it is made of. Prints their two folders, a line each.
#   tests/lab/site/build.sh BASE     BASE: the Debian root of the machines
# VMRUN: the program of the images. script/setup --lab installs what this takes. What has not been asked for for a day, and nobody
# serves (site/serve), is removed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd) base=$1 vmrun=$(readlink -f "$VMRUN")
for tool in docker-registry skopeo dnsmasq busybox etcd etcdctl gpg jq curl dpkg-scanpackages gcc; do
  command -v $tool >/dev/null || { echo "tests/lab/site/build.sh: there is no $tool; run script/setup --lab" >&2; exit 1; }
done
bins=()
for stamp in 1.20.2 1.20.3; do # of two releases, the second to upgrade to
  bins+=("$("$here/../build.sh" --stamp=$stamp kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubeadm kubectl crictl)")
done
plugins=("$(dirname "$vmrun")"/vmrun-*.so)
key() { { printf '%s\n' "$(basename "$base")" "${bins[@]}"; cat "$@"; } | sha256sum | cut -c 1-16; }

cache=${VMRUN_LAB_CACHE:-$HOME/.cache/vmrun-lab}
site=$cache/site
mkdir -p "$site"
exec 9>"$site/lock"
flock 9
rm -rf "$site"/unfinished.*

# made NAME KEY COMMAND...: the folder NAME-KEY, by COMMAND INTO ARGUMENT... when it is not there.
made() {
  local folder=$site/$1-$2 unfinished
  if [ ! -d "$folder" ]; then
    unfinished=$(mktemp -d "$site/unfinished.XXXXXX")
    "$3" "$unfinished/content" "${@:4}" >&2 9>&- # the lock is nobody else's, however they end
    mv "$unfinished/content" "$folder"
    rmdir "$unfinished"
  fi
  touch "$folder"
  echo "$folder"
}
made apt "$(key "$here"/{build,packages}.sh "$here"/*.service "$here"/*.conf "${bins[0]}/crictl")" "$here/packages.sh" "$base" "${bins[@]}"
made registry "$(key "$here"/{build,images}.sh "$here"/image/* "$vmrun" "${plugins[@]}" "$(command -v etcd)" "$(command -v dnsmasq)" "$(command -v busybox)")" \
  "$here/images.sh" "$base" "$vmrun" "${bins[@]}"
find "$site" -maxdepth 1 -type d \( -name 'apt-*' -o -name 'registry-*' \) -mmin +1440 | while read -r folder; do
  flock -n "$folder" rm -rf "$folder" || true
done
