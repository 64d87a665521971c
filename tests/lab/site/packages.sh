#!/usr/bin/env bash
# What pkgs.k8s.io has for patch releases, from the programs that tests/lab/build.sh built, as an apt repository signed with a key of
# its own.
#   tests/lab/site/packages.sh OUT BASE BIN...     BASE: the Debian root that has the CNI plugins; BIN: a release's programs, in bin-RELEASE
set -euo pipefail
out=$1 base=$2 here=$(cd "$(dirname "$0")" && pwd)
shift 2
rm -rf "$out"
mkdir -p "$out/keys"
chmod 700 "$out/keys"
work=$(mktemp -d)
# gpg leaves its agent behind.
trap 'GNUPGHOME=$out/keys gpgconf --kill all 2>/dev/null; rm -rf "$work"' EXIT

# pack NAME VERSION DEPENDS: what lies in $work/NAME.
pack() {
  mkdir -p "$work/$1/DEBIAN"
  printf 'Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: lab <lab@example.org>\n%sDescription: built in the lab\n' \
    "$1" "$2" "${3:+Depends: $3
}" >"$work/$1/DEBIAN/control"
  dpkg-deb -Zgzip -z1 --root-owner-group --build "$work/$1" "$out/" >/dev/null
}

mkdir -p "$work"/{kubelet,kubeadm,kubectl,cri-tools}/usr/bin "$work/kubernetes-cni/opt/cni/bin"
mkdir -p "$work"/kubelet/{DEBIAN,etc/default,etc/kubernetes/manifests,lib/systemd/system} "$work/kubeadm/lib/systemd/system/kubelet.service.d"
cp "$1/crictl" "$work/cri-tools/usr/bin/crictl"
cp "$base"/usr/lib/cni/* "$work/kubernetes-cni/opt/cni/bin/"
cp "$here/kubelet.service" "$work/kubelet/lib/systemd/system/"
cp "$here/10-kubeadm.conf" "$work/kubeadm/lib/systemd/system/kubelet.service.d/"
: >"$work/kubelet/etc/default/kubelet"
cat >"$work/kubelet/DEBIAN/postinst" <<'SH'
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
[ ! -d /run/systemd/system ] || systemctl daemon-reload
systemctl enable kubelet >/dev/null 2>&1
[ ! -d /run/systemd/system ] || systemctl restart kubelet
SH
chmod 755 "$work/kubelet/DEBIAN/postinst"
pack kubernetes-cni 0.8.7-1.1 ""
pack cri-tools 1.13.0-1.1 ""
for bin; do
  version=${bin##*/bin-}-1.1
  for name in kubelet kubeadm kubectl; do
    ln -f "$bin/$name" "$work/$name/usr/bin/$name" 2>/dev/null || cp "$bin/$name" "$work/$name/usr/bin/$name"
  done
  pack kubectl $version ""
  pack kubelet $version "iptables, kubernetes-cni, iproute2, socat, util-linux, mount, ebtables, ethtool, conntrack"
  pack kubeadm $version "kubelet, kubectl, cri-tools"
done

cd "$out"
export GNUPGHOME=$out/keys
dpkg-scanpackages -m . >Packages 2>/dev/null
printf 'Suite: lab\nDate: %s\nSHA256:\n %s %s Packages\n' "$(LC_ALL=C date -uR)" "$(sha256sum <Packages | cut -d' ' -f1)" "$(wc -c <Packages)" >Release
gpg -q --batch --passphrase '' --quick-gen-key "packages of the lab" ed25519 sign never 2>/dev/null
gpg -q --batch --clearsign -o InRelease Release
gpg -q --armor --export >Release.key
gpgconf --kill all
rm -rf "$out/keys"
