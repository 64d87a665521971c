#!/usr/bin/env bash
# Rotates the key of Secrets in etcd of a cluster with real kubeadm, API server and etcd; join tokens; certificates; and what a real API
# server makes of a key that does not fit.
. "$(dirname "$0")/lib/cluster.sh"

# What begins the values of Secrets in etcd, each once.
sealed() { # CONTROL-PLANE
  said "$1" "sudo sh -c 'pki=/etc/kubernetes/pki/etcd
    crictl exec \$(crictl ps -q --name \"^etcd\$\") etcdctl --cacert=\$pki/ca.crt --cert=\$pki/healthcheck-client.crt \
      --key=\$pki/healthcheck-client.key get --prefix /registry/secrets/ | LC_ALL=C grep -aoE \"^k8s(:enc:[^:]*:v1:[^:]*:|.)\" | sort -u'"
}
keys() { said "$1" "sudo sed -n 's/^ *- name: //p' /etc/kubernetes/encryption.yaml" | paste -sd,; }

# rotate WORD CONTROL-PLANE...: to another key, which has that word in its name.
rotate() {
  local word=$1 node since
  shift
  check "a Secret before it" k create secret generic "before-$word" --from-literal=word="was-there-$word"
  since=$SECONDS
  exits "the key is rotated to $word" 0 apply encryption_key="$word"
  echo "# the rotation took $((SECONDS - since)) s (load $(cut -d' ' -f1 /proc/loadavg))"
  same "the Secret is what it was" "$(k get secret "before-$word" -o jsonpath='{.data.word}' | base64 -d)" "was-there-$word"
  for node in "$@"; do
    same "$node has that key alone" "$(keys "$node")" "encryption-$word"
    same "its API server knows" "$(said "$node" 'sudo ls /var/lib/vmrun | grep loading || echo yes')" yes
  done
  same "all Secrets in etcd are encrypted with it" "$(sealed "$1")" "k8s:enc:secretbox:v1:encryption-$word:"
  same "etcd's files say so" "$(said "$1" "sudo grep -rlaF k8s:enc:secretbox:v1:encryption-$word: /var/lib/etcd | grep -q . && echo yes")" yes
  exits "there is nothing more to do" 0 plan encryption_key="$word"
}

# Nothing with which a node could join is left after an apply.
no_way_in() { # CONTROL-PLANE
  same "no join token is left" "$(said "$1" 'sudo kubeadm token list | tail -n +2')" ""
  same "nor the certificates of control planes" "$(k get secret -n kube-system kubeadm-certs -o name 2>/dev/null)" ""
}

# A run that died within a renewal of certificates: the next renews them, and all that reads them is started with them.
renew() { # CONTROL-PLANE PARAMETER...
  local was since
  was=$(said "$1" sudo openssl x509 -noout -serial -in /etc/kubernetes/pki/apiserver.crt)
  exits "a renewal that has not ended" 0 on "$1" sudo touch /var/lib/vmrun/certificates.renewing
  since=$SECONDS
  exits "is made up for" 0 apply "${@:2}"
  echo "# the renewal took $((SECONDS - since)) s"
  if [ "$(said "$1" sudo openssl x509 -noout -serial -in /etc/kubernetes/pki/apiserver.crt)" != "$was" ]; then pass "with new certificates"; else fail "with new certificates" "$was"; fi
  same "which the API server shows" "$(said "$1" "sudo openssl s_client -connect 127.0.0.1:6443 </dev/null 2>/dev/null | openssl x509 -noout -serial")" \
    "$(said "$1" sudo openssl x509 -noout -serial -in /etc/kubernetes/pki/apiserver.crt)"
  check "the API answers" k get --raw /readyz
}

# What a real API server makes of a key that does not fit, which is what the emulated one is held to. It gets its own file back.
wrong_order() { # CONTROL-PLANE
  local file=/etc/kubernetes/encryption.yaml reload
  reload='old=$(crictl ps -q --name "^kube-apiserver\$"); crictl stop $old >/dev/null; for i in $(seq 120); do
    new=$(crictl ps -q --name "^kube-apiserver\$"); [ -z "$new" ] || [ "$new" = "$old" ] || exit 0; sleep 1; done; exit 1'
  local ask='curl -sk --cert /etc/kubernetes/pki/apiserver-kubelet-client.crt --key /etc/kubernetes/pki/apiserver-kubelet-client.key https://127.0.0.1:6443'
  on_root() { on "$1" "sudo sh -c $(printf %q "$2")"; }
  check "a key of its own" on_root "$1" "cp -p $file $file.good; sed -i 's/name: encryption.*/name: lonely/; s|secret: .*|secret: $(head -c 32 /dev/urandom | base64)|' $file; $reload"
  refused() { said "$1" "sudo $ask/api/v1/namespaces/default/secrets" | grep -q 'unable to transform key'; }
  check "its API server cannot read" until_true 60 refused "$1"
  out=$(said "$1" "sudo $ask/api/v1/namespaces/default/secrets" | grep message)
  has "in these words" 'Internal error occurred: unable to transform key \"/registry/secrets/default/'
  has "for want of the key" "no matching key was found for the provided Secretbox transformer"
  out=$(said "$1" "sudo $ask/readyz")
  has "it is not ready" "[-]informer-sync failed: reason withheld"
  check "the good file" on_root "$1" "mv -f $file.good $file; $reload"
  ready() { [ "$(said "$1" "sudo $ask/readyz")" = ok ]; }
  check "makes it ready again" until_true 120 ready "$1"
}

params=("${site[@]}" version=1.20.2 control_planes=1 workers=1)
exits "a cluster" 0 apply
took "a cluster"
check "a kubeconfig" shows_config
[ "$failed" -eq 0 ] || exit
no_way_in demo-cp-1
rotate 2026-11 demo-cp-1
wrong_order demo-cp-1
renew demo-cp-1 encryption_key=2026-11
