#!/usr/bin/env bash
# A registry's content (docker-registry's folder) with the images that clusters of Kubernetes 1.20 pull, made of the programs
# that tests/lab/build.sh built, of Debian's, and of the lab's own.
#   tests/lab/site/images.sh OUT BASE VMRUN BIN...     BASE: a Debian root with iptables, conntrack, iproute2; BIN: a release's programs,
# in bin-RELEASE
set -euo pipefail
out=$1 base=$2 vmrun=$3 here=$(cd "$(dirname "$0")" && pwd)
shift 3
work=$(mktemp -d)
registry=
trap '[ -z "$registry" ] || kill "$registry"; rm -rf "$work"' EXIT
mkdir -p "$out"

# closure ROOT INTO FILE...: programs of a root, and the libraries that they load, to the same places below INTO.
closure() {
  local root=$1 into=$2 file
  shift 2
  for file; do printf '%s\n' "$file"; chroot "$root" ldd "$file" 2>/dev/null | grep -oE '/[^ :]+' || true; done | sort -u |
    while read -r file; do
      [ -f "$root$file" ] || continue
      mkdir -p "$into/$(dirname "$file")"
      cp -L "$root$file" "$into/$file"
    done
}

# A layer is a folder $work/NAME; what images share is packed and pushed once.
layer() { # NAME: prints DIGEST DIFF SIZE
  local tar=$work/$1.tar digest
  if [ ! -e "$work/$1.layer" ]; then
    tar -C "$work/$1" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$tar" .
    gzip -1n <"$tar" >"$tar.gz"
    digest=$(sha256sum <"$tar.gz" | cut -d' ' -f1)
    echo "$digest $(sha256sum <"$tar" | cut -d' ' -f1) $(stat -c %s "$tar.gz")" >"$work/$1.layer"
    rm "$tar"
    mkdir -p "$work/blobs"
    mv "$tar.gz" "$work/blobs/$digest"
  fi
  cat "$work/$1.layer"
}

blob() { # prints the digest of what comes on standard input, and keeps it
  local file=$work/blob digest
  cat >"$file"
  digest=$(sha256sum <"$file" | cut -d' ' -f1)
  mkdir -p "$work/blobs"
  mv "$file" "$work/blobs/$digest"
  echo "$digest"
}

# image LAYER NAME:TAG USER COMMAND...
image() {
  local name=$1 target=$2 user=$3 digest diff size config manifest dir=$work/oci
  shift 3
  read -r digest diff size < <(layer "$name")
  config=$(printf '%s\n' "$@" | jq -Rn '[inputs]' | jq -c --arg diff "sha256:$diff" --arg user "$user" '{created: "1970-01-01T00:00:00Z", architecture: "amd64", os: "linux",
    config: {User: $user, Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], Entrypoint: .},
    rootfs: {type: "layers", diff_ids: [$diff]}}' | blob)
  manifest=$(jq -nc --arg config "sha256:$config" --argjson configSize "$(stat -c %s "$work/blobs/$config")" --arg layer "sha256:$digest" \
    --argjson size "$size" '{schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: {mediaType: "application/vnd.oci.image.config.v1+json", digest: $config, size: $configSize},
    layers: [{mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: $layer, size: $size}]}' | blob)
  rm -rf "$dir"
  mkdir -p "$dir/blobs"
  ln -s "$work/blobs" "$dir/blobs/sha256"
  echo '{"imageLayoutVersion":"1.0.0"}' >"$dir/oci-layout"
  jq -nc --arg digest "sha256:$manifest" --argjson size "$(stat -c %s "$work/blobs/$manifest")" \
    '{schemaVersion: 2, manifests: [{mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $digest, size: $size}]}' >"$dir/index.json"
  skopeo copy --quiet --insecure-policy --dest-tls-verify=false "oci:$dir" "docker://$address/$target"
}

cat >"$work/config.yml" <<YML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $out}, delete: {enabled: true}}
http: {addr: "127.0.0.1:0"}
YML
for port in $(shuf -i 20000-29999 -n 5); do
  sed -i "s/127.0.0.1:[0-9]*/127.0.0.1:$port/" "$work/config.yml"
  OTEL_TRACES_EXPORTER=none docker-registry serve "$work/config.yml" >"$work/registry.log" 2>&1 &
  registry=$! address=127.0.0.1:$port
  curl -fsS --retry 30 --retry-connrefused --retry-delay 1 -o /dev/null "http://$address/v2/" 2>/dev/null && break
  kill "$registry" 2>/dev/null || true
  registry=
done
[ -n "$registry" ] || { echo "tests/lab/site/images.sh: the registry does not start: $(cat "$work/registry.log")" >&2; exit 1; }

for bin; do
  version=v${bin##*/bin-}
  for name in kube-apiserver kube-controller-manager kube-scheduler; do
    mkdir -p "$work/$name-$version/usr/local/bin"
    cp "$bin/$name" "$work/$name-$version/usr/local/bin/"
    image "$name-$version" "$name:$version" "" "/usr/local/bin/$name"
  done
done

closure / "$work/etcd" /usr/bin/etcd /usr/bin/etcdctl
mkdir -p "$work/etcd/usr/local/bin"
mv "$work"/etcd/usr/bin/etcd* "$work/etcd/usr/local/bin/"
image etcd etcd:3.4.13-0 "" /usr/local/bin/etcd

mkdir -p "$work/pause"
gcc -static -Os -s -o "$work/pause/pause" "$1/../tree/src/k8s.io/kubernetes/build/pause/linux/pause.c"
for tag in 3.2 3.10.2; do image pause pause:$tag 65535:65535 /pause; done

# iptables loads its extensions by name.
tables() {
  closure "$base" "$1" /usr/sbin/xtables-nft-multi /usr/sbin/conntrack /usr/bin/kmod "${@:2}" \
    $(cd "$base" && ls usr/lib/x86_64-linux-gnu/xtables/*.so | sed 's,^,/,')
  local name
  for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    ln -sf xtables-nft-multi "$1/usr/sbin/$name"
  done
  mkdir -p "$1/sbin"
  ln -sf ../usr/bin/kmod "$1/sbin/modprobe"
}
for bin; do
  version=v${bin##*/bin-}
  mkdir -p "$work/kube-proxy-$version/usr/local/bin"
  cp "$bin/kube-proxy" "$work/kube-proxy-$version/usr/local/bin/"
  tables "$work/kube-proxy-$version"
  image "kube-proxy-$version" "kube-proxy:$version" "" /usr/local/bin/kube-proxy
done

# One root for what runs scripts of the lab, with busybox for those who look around in it.
lab=$work/lab
mkdir -p "$lab"/{etc,srv,tmp,usr/local/bin,root,bin,opt/bin}
chmod 1777 "$lab/tmp"
plugins=("$(dirname "$vmrun")"/vmrun-*.so)
cp "$vmrun" "${plugins[@]}" "$lab/usr/local/bin/"
closure / "$lab" "$vmrun" "${plugins[@]}" /usr/bin/busybox /usr/sbin/dnsmasq /usr/lib/x86_64-linux-gnu/libnss_files.so.2 \
  /usr/lib/x86_64-linux-gnu/libnss_dns.so.2
rm -f "$lab$vmrun" "${plugins[@]/#/$lab}"
tables "$lab" /usr/sbin/ip /usr/sbin/bridge /bin/ip /sbin/bridge
for name in sh cp cat ls wget nslookup httpd sleep; do ln -sf ../usr/bin/busybox "$lab/bin/$name"; done
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n' >"$lab/etc/passwd"
printf 'root:x:0:\nnobody:x:65534:\n' >"$lab/etc/group"
echo 'hosts: files dns' >"$lab/etc/nsswitch.conf"
cp "$here"/image/* "$lab/srv/"
echo 'served by the lab' >"$lab/srv/index.html"
cat >"$lab/opt/bin/flanneld" <<'SH'
#!/bin/sh
exec /usr/local/bin/vmrun lua /srv/flannel.lua "$@"
SH
cp "$here/image/cni-flannel" "$lab/flannel"
chmod 755 "$lab/opt/bin/flanneld" "$lab/flannel" "$lab/srv/run"
for name in controller node; do # their pods start them by name
  printf '#!/bin/sh\nexec /srv/run /usr/local/bin/vmrun lua /srv/cloud.lua %s "$@"\n' $name >"$lab/usr/local/bin/cloud-$name-manager"
done
chmod 755 "$lab"/usr/local/bin/cloud-*-manager
image lab coredns:1.7.0 "" /srv/run /usr/local/bin/vmrun lua /srv/dns.lua
image lab flannel-io/flannel:v0.28.9 "" /opt/bin/flanneld
image lab flannel-io/flannel-cni-plugin:v1.9.1-flannel3 "" /bin/cp
for name in source-controller kustomize-controller; do
  image lab "fluxcd/$name:v1.9.4" 65534:65534 /srv/run /usr/local/bin/vmrun lua /srv/flux.lua $name
done
for name in controller node; do
  image lab "oss/kubernetes/azure-cloud-$name-manager:v0.7.6" "" "/usr/local/bin/cloud-$name-manager"
done
image lab oss/kubernetes-csi/livenessprobe:v2.6.0 "" /srv/run /usr/local/bin/vmrun lua /srv/cloud.lua probe
for name in azuredisk-csi:v1.18.0 csi-provisioner:v3.1.0 csi-attacher:v3.4.0 csi-resizer:v1.4.0 csi-node-driver-registrar:v2.5.0; do
  image lab "oss/kubernetes-csi/$name" "" /srv/run /usr/local/bin/vmrun lua /srv/cloud.lua stay
done
image lab library/nginx:1.28-alpine "" /srv/run /bin/httpd -f -p 80 -h /srv
image lab library/busybox:1.36 "" /bin/sh
