#!/usr/bin/env bash
# Makes a Debian 12 root with debootstrap, once, into a cache outside the tree, and prints its folder.
#   tests/lab/debian_root.sh
# The cache is VMRUN_LAB_CACHE or ~/.cache/vmrun-lab; script/setup --lab installs debootstrap. Needs root.
set -euo pipefail
suite=bookworm
packages=openssh-server,sudo,nftables,xz-utils,unzip,ca-certificates,tzdata,kmod,procps,iproute2,hostname,curl,busybox
key=$(printf %s "$suite $packages" | sha256sum | cut -c 1-12)
cache=${VMRUN_LAB_CACHE:-$HOME/.cache/vmrun-lab}
base=$cache/debian-$suite-$key
[ ! -d "$base" ] || { echo "$base"; exit 0; }
[ "$(id -u)" -eq 0 ] || { echo "tests/lab/debian_root.sh: needs root" >&2; exit 1; }

mkdir -p "$cache"
exec 9>"$cache/debian.lock"
flock 9
[ ! -d "$base" ] || { echo "$base"; exit 0; }
rm -rf "$cache"/debian-unfinished.*
unfinished=$(mktemp -d "$cache/debian-unfinished.XXXXXX")
trap 'rm -rf "$unfinished"' EXIT
chmod 755 "$unfinished"
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
  sed -nE 's/^URIs: *([^ ]+debian)\/?( .*)?$/\1/p; s/^deb (\[[^]]*\] )?([^ ]+debian)\/? .*/\2/p' | sed -n 1p || true)
debootstrap --variant=minbase --include="$packages" "$suite" "$unfinished" "${mirror:-http://deb.debian.org/debian}" >&2
rm -f "$unfinished"/etc/ssh/ssh_host_* "$unfinished"/var/cache/apt/archives/*.deb
mv "$unfinished" "$base"
trap - EXIT
echo "$base"
