#!/usr/bin/env bash
# Builds Kubernetes' programs from Debian 12's source package, once, into a cache outside the tree, and prints their folder.
#   tests/lab/build.sh [--stamp=1.20.2] [kube-apiserver ...]
# Without names: what an API server with controllers needs. Others: kubelet, kubeadm, kube-proxy, kubectl; and crictl, of our own.
# What is there is not built again; crictl is when its source is another. A second stamp is the same source that says another patch
# release of itself.
# The cache is VMRUN_LAB_CACHE or ~/.cache/vmrun-lab; script/setup --lab installs what a build takes.
set -euo pipefail

package=1.20.5+really1.20.2-1.1+deb12u1 stamp=1.20.2
case "${1:-}" in --stamp=*) stamp=${1#--stamp=}; shift ;; esac
[ $# -gt 0 ] || set -- kube-apiserver kube-controller-manager kube-scheduler
for name; do
  case $name in
    kube-apiserver | kube-controller-manager | kube-scheduler | kubelet | kubeadm | kube-proxy | kubectl | crictl) ;;
    *) echo "tests/lab/build.sh: there is no program $name to build" >&2; exit 2 ;;
  esac
done

cache=${VMRUN_LAB_CACHE:-$HOME/.cache/vmrun-lab}/kubernetes-$package
bin=$cache/bin-$stamp tree=$cache/tree crictl=$(cd "$(dirname "$0")" && pwd)/site/crictl/main.go
crictl_key=$(sha256sum <"$crictl" | cut -c 1-16)

there() { [ -x "$bin/$1" ] && { [ "$1" != crictl ] || [ "$(cat "$bin/crictl.key" 2>/dev/null)" = "$crictl_key" ]; }; }
missing() { local name; for name; do there "$name" || echo "$name"; done; }
[ -n "$(missing "$@")" ] || { echo "$bin"; exit 0; }

for tool in /usr/lib/go-1.19/bin/go /usr/bin/dpkg-source /usr/share/gocode/src/github.com/modern-go/reflect2; do
  [ -e "$tool" ] || { echo "tests/lab/build.sh: $tool is not there; run script/setup --lab" >&2; exit 1; }
done

# One build at a time; who waited finds the other's work. What a killed one left unfinished has a name of its own.
mkdir -p "$bin"
exec 9>"$cache/lock"
flock 9
rm -rf "$cache"/unfinished.*
unfinished=$(mktemp -d "$cache/unfinished.XXXXXX")
trap 'rm -rf "$unfinished"' EXIT

unset GOROOT GOBIN
export PATH=/usr/lib/go-1.19/bin:$PATH GO111MODULE=off GOFLAGS='' CGO_ENABLED=0 GOCACHE="$cache/go-cache"

# The source as apt knows it, by lists of its own: the machine's apt needs no deb-src for it.
unpack() {
  local apt=$unfinished/apt
  mkdir -p "$apt/lists/partial"
  cat /etc/apt/sources.list.d/debian.sources 2>/dev/null | sed 's/^Types:.*/Types: deb-src/' >"$apt/debian.sources"
  sed -n 's/^deb /deb-src /p' /etc/apt/sources.list 2>/dev/null >"$apt/debian.list" || true
  cat >"$apt/apt.conf" <<CONF
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt";
Dir::State::lists "$apt/lists";
APT::Sandbox::User "root";
CONF
  export APT_CONFIG=$apt/apt.conf
  apt-get update -qq
  (cd "$unfinished" && apt-get source -qq "kubernetes=$package")
  unset APT_CONFIG
}

# Two things the package leaves to its own build: the API's descriptions are generated, and the vendored reflect2, which
# dies in maps under Go 1.18 and later (the server at its first CRD), gives way to Debian's.
prepare() {
  local root=$unfinished/go/src/k8s.io generated=pkg/generated/openapi/zz_generated.openapi.go tagged
  mkdir -p "$root"
  mv "$unfinished"/kubernetes-*/ "$root/kubernetes"
  cd "$root/kubernetes"
  rm -rf vendor/github.com/modern-go/reflect2
  cp -a /usr/share/gocode/src/github.com/modern-go/reflect2 vendor/github.com/modern-go/
  if [ ! -e $generated ]; then
    tagged=$(grep -RlE --include='*.go' --exclude-dir={code-generator,sample-apiserver,gengo,kube-openapi} \
      '^// \+k8s:openapi-gen=' pkg cmd/kubeadm vendor/k8s.io | xargs -n 1 dirname | sort -u | sed 's|^|k8s.io/kubernetes/|')
    GOPATH=$unfinished/go go build -o "$unfinished/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
    GOPATH=$unfinished/go "$unfinished/openapi-gen" --logtostderr --input-dirs "$(paste -sd, <<<"$tagged")" \
      --output-base "$unfinished/go/src" --output-package k8s.io/kubernetes/pkg/generated/openapi \
      --output-file-base zz_generated.openapi --report-filename /dev/null \
      --go-header-file vendor/k8s.io/code-generator/hack/boilerplate.go.txt
  fi
  cd "$cache"
  mv "$unfinished/go" "$tree"
}

[ -d "$tree" ] || { echo "unpacking kubernetes $package" >&2; unpack >&2; prepare >&2; }

flags="-s -w"
for of in component-base client-go/pkg; do
  for at in k8s.io k8s.io/kubernetes/vendor/k8s.io; do
    variable=$at/$of/version
    flags+=" -X $variable.gitVersion=v$stamp -X $variable.gitMajor=1 -X $variable.gitMinor=20"
    flags+=" -X $variable.gitTreeState=clean -X $variable.gitCommit=debian -X $variable.buildDate=1970-01-01T00:00:00Z"
  done
done
cd "$tree/src/k8s.io/kubernetes"
install -D -m 644 "$crictl" cmd/crictl/main.go
for name in $(missing "$@"); do
  began=$SECONDS
  GOPATH=$tree go build -trimpath -ldflags "$flags" -o "$unfinished/$name" "./cmd/$name" >&2
  [ "$name" != crictl ] || rm -f "$bin/crictl.key"
  mv "$unfinished/$name" "$bin/$name"
  [ "$name" != crictl ] || echo "$crictl_key" >"$bin/crictl.key"
  echo "built $name $stamp in $((SECONDS - began)) s" >&2
done
echo "$bin"
