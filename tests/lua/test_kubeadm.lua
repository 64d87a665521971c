-- The stand-in for kubeadm: what it refuses, with the real one's words, and what it makes.
local test = require "tap"
local fs = require "fs"
local lab = require "kubernetes_lab"
local crypto = require "crypto"
local process = require "process"

test.timeout = 120

local TOKEN = "abcdef.0123456789abcdef"
local OLD = "1.20.2-00"
local AGAIN = "[preflight] If you know what you are doing, you can make a check non-fatal with `--ignore-preflight-errors=...`\n"
  .. "To see the stack trace of this error execute with --v=5 or higher\n"

local function new(t, options)
  local l = lab.new(options)
  t.after(l.close)
  return l
end

local function machine(l, name, options)
  local m = l.machine(name, options)
  m:file("/etc/hosts", "127.0.0.1 localhost\n" .. m.private_ip .. " " .. name .. "\n" .. (options and options.hosts or ""))
  return m
end

local function init(m, ...)
  return m:run("kubeadm", "init", "--token", TOKEN, "--pod-network-cidr", "10.244.0.0/16", ...)
end

-- 1.20 takes cgroupfs unless it is told otherwise.
local function init_old(m, ...)
  m:file("/root/kubeadm.yaml", "apiVersion: kubeadm.k8s.io/v1beta2\nkind: InitConfiguration\nbootstrapTokens: [{token: " .. TOKEN .. "}]\n---\n"
    .. "apiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\nkubernetesVersion: v1.20.2\nnetworking: {podSubnet: 10.244.0.0/16}\n---\n"
    .. "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncgroupDriver: systemd\n")
  return m:run("kubeadm", "init", "--config", "/root/kubeadm.yaml", ...)
end

local function preflight(m) return m:run("kubeadm", "init", "phase", "preflight", "--kubernetes-version", "v1.20.2") end

local function refused(t, m, ...)
  local r = preflight(m)
  t.eq(r.code, 1)
  t.eq(r.out, "[preflight] Running pre-flight checks\n")
  t.eq(r.err, "error execution phase preflight: [preflight] Some fatal errors occurred:\n\t[ERROR " .. table.concat({ ... }, "\n\t[ERROR ")
    .. "\n" .. AGAIN)
end

test("preflight says one thing at a time, and all at once", function(t)
  local l = new(t)
  local m = machine(l, "n1", { version = OLD })
  t.eq(preflight(m).code, 0)
  m.swap = { "/swapfile" }
  refused(t, m, "Swap]: running with swap on is not supported. Please disable swap")
  m.swap, m.sysctls["net.bridge.bridge-nf-call-iptables"] = nil, "0"
  refused(t, m, "FileContent--proc-sys-net-bridge-bridge-nf-call-iptables]: /proc/sys/net/bridge/bridge-nf-call-iptables contents are not set to 1")
  m.sysctls["net.bridge.bridge-nf-call-iptables"], m.sysctls["net.ipv4.ip_forward"] = "1", "0"
  refused(t, m, "FileContent--proc-sys-net-ipv4-ip_forward]: /proc/sys/net/ipv4/ip_forward contents are not set to 1")
  m.sysctls["net.ipv4.ip_forward"], m.missing.conntrack = "1", true
  refused(t, m, "FileExisting-conntrack]: conntrack not found in system path")
  m.missing.conntrack, m.ports[6443] = nil, true
  refused(t, m, "Port-6443]: Port 6443 is in use")
  m.ports = {}
  m:file("/etc/kubernetes/manifests/kube-apiserver.yaml", "")
  m:file("/var/lib/etcd/x", "")
  m.sysctls["net.ipv4.ip_forward"] = "0"
  refused(t, m, "FileAvailable--etc-kubernetes-manifests-kube-apiserver.yaml]: /etc/kubernetes/manifests/kube-apiserver.yaml already exists",
    "FileContent--proc-sys-net-ipv4-ip_forward]: /proc/sys/net/ipv4/ip_forward contents are not set to 1", "DirAvailable--var-lib-etcd]: /var/lib/etcd is not empty")
  local r = m:run("kubeadm", "init", "phase", "preflight", "--kubernetes-version", "v1.20.2", "--ignore-preflight-errors=all")
  t.eq(r.code, 0)
  t.has(r.err, "\t[WARNING DirAvailable--var-lib-etcd]: /var/lib/etcd is not empty\n")
end)

test("without containerd there is no container runtime", function(t)
  local l = new(t)
  local m = machine(l, "n1")
  m.services.containerd.active = false
  local r = init(m)
  t.eq(r.code, 1)
  t.has(r.err, "\t[ERROR CRI]: could not connect to the container runtime")
  m.services.containerd.active = true
  m:file("/etc/containerd/config.toml", 'disabled_plugins = ["cri"]\n')
  t.has(init(m).err, "unknown service runtime.v1.RuntimeService")
end)

test("words of configuration", function(t)
  local l = new(t)
  local m = machine(l, "n1", { version = OLD })
  t.eq(m:run("kubeadm", "version", "-o", "short").out, "v1.20.2\n")
  t.eq(m:run("kubeadm", "config", "images", "list", "--kubernetes-version", "v1.20.2", "--image-repository", "vl.test").out, [[
vl.test/kube-apiserver:v1.20.2
vl.test/kube-controller-manager:v1.20.2
vl.test/kube-scheduler:v1.20.2
vl.test/kube-proxy:v1.20.2
vl.test/pause:3.2
vl.test/etcd:3.4.13-0
vl.test/coredns:1.7.0
]])
  m:file("/root/bad.yaml", "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n")
  local r = m:run("kubeadm", "init", "phase", "preflight", "--config", "/root/bad.yaml")
  t.eq(r.code, 1)
  t.has(r.err, 'no kind "InitConfiguration" is registered for version "kubeadm.k8s.io/v1beta4" in scheme')
  t.has(m:run("kubeadm", "init", "--config", "/nope.yaml").err, 'unable to read config from "/nope.yaml" : open /nope.yaml: no such file or directory')
  t.eq(m:run("kubeadm", "kubeconfig", "user").err:match "^[^\n]*", 'unknown command "kubeconfig" for "kubeadm"')
  r = m:run("kubeadm", "init", "--config", "/root/bad.yaml", "--token", TOKEN)
  t.eq({ r.code, r.err:match "^[^\n]*" }, { 3, "can not mix '--config' with arguments [token]" })
end)

test("an init of 1.20 reads as the real one's", function(t)
  local l = new(t)
  local m = machine(l, "n1", { version = OLD, cni = true })
  local r = init_old(m, "--upload-certs")
  t.eq(r.err, "")
  t.eq(r.code, 0)
  for _, line in ipairs {
    "[certs] apiserver serving cert is signed for DNS names [kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local n1] and IPs [10.96.0.1 10.77.0.11]",
    "[certs] etcd/server serving cert is signed for DNS names [localhost n1] and IPs [10.77.0.11 127.0.0.1 ::1]",
    '[kubelet] Creating a ConfigMap "kubelet-config-1.20" in namespace kube-system with the configuration for the kubelets in the cluster',
    "[mark-control-plane] Marking the node n1 as control-plane by adding the taints [node-role.kubernetes.io/master:NoSchedule]",
    "[bootstrap-token] configured RBAC rules to allow Node Bootstrap tokens to get nodes", "[addons] Applied essential addon: kube-proxy",
    "kubeadm join 10.77.0.11:6443 --token " .. TOKEN .. " \\",
  } do t.has(r.out, line .. "\n") end
  t.has(r.out, "\n    --discovery-token-ca-cert-hash sha256:")
  -- the hash is what openssl says
  local pin = process.run { argv = { "sh", "-c", "openssl x509 -pubkey -noout -in $0 | openssl rsa -pubin -outform der 2>/dev/null | openssl dgst -sha256 -hex",
    m.root .. "/etc/kubernetes/pki/ca.crt" } }
  t.has(r.out, "sha256:" .. pin.stdout:match "(%x+)%s*$")
  t.eq(fs.stat(m.root .. "/etc/kubernetes/admin.conf").mode & 511, 384)
  t.eq(fs.stat(m.root .. "/etc/kubernetes/pki/ca.key").mode & 511, 384)
  local ca = crypto.x509_read(fs.read(m.root .. "/etc/kubernetes/pki/apiserver.crt"))
  t.eq(ca.cn, "kube-apiserver")
  r = m:run("kubeadm", "init", "--kubernetes-version", "v1.20.2")
  t.eq(r.code, 1)
  t.has(r.err, "\t[ERROR Port-6443]: Port 6443 is in use\n\t[ERROR Port-10259]: Port 10259 is in use\n\t[ERROR Port-10257]: Port 10257 is in use\n"
    .. "\t[ERROR FileAvailable--etc-kubernetes-manifests-kube-apiserver.yaml]")
end)

test("joins that fail, each in its way", function(t)
  local l = new(t)
  local m = machine(l, "n1", { version = OLD, cni = true })
  local hash = init_old(m).out:match "sha256:%x+"
  local w = machine(l, "n2", { version = OLD, cni = true })
  local function join(token, pin, ...)
    return w:run("kubeadm", "join", "10.77.0.11:6443", "--token", token, pin and "--discovery-token-ca-cert-hash", pin, ...)
  end
  local zeros = "sha256:" .. ("0"):rep(64)
  local r = join(TOKEN, zeros)
  t.eq(r.code, 1)
  t.eq(r.err:match "^[^\n]*", "error execution phase preflight: couldn't validate the identity of the API Server: cluster CA found in cluster-info ConfigMap "
    .. 'is invalid: none of the public keys "' .. hash .. '" are pinned')
  r = join("nonsense", hash)
  t.eq(r.code, 3)
  t.eq(r.err:match "^[^\n]*", '[discovery.bootstrapToken.token: Invalid value: "nonsense": the bootstrap token is invalid, '
    .. 'discovery.tlsBootstrapToken: Invalid value: "nonsense": the bootstrap token is invalid]')
  t.has(join(TOKEN).err, 'discovery.bootstrapToken: Invalid value: "": using token-based discovery without caCertHashes can be unsafe.')
  t.has(join("zzzzzz.0123456789abcdef", hash).err, 'could not find a JWS signature in the cluster-info ConfigMap for token ID "zzzzzz"')
  l.blocked["10.77.0.11:6443"] = "timeout"
  t.has(join(TOKEN, hash).err, "dial tcp 10.77.0.11:6443: i/o timeout")
  l.blocked = {}
  t.has(join(TOKEN, hash, "--control-plane").err, "unable to add a new control plane instance a cluster that doesn't have a stable controlPlaneEndpoint address")
  r = join(TOKEN, hash)
  t.eq({ r.code, r.err }, { 0, "" })
  t.has(r.out, "* Certificate signing request was sent to apiserver and a response was received.\n")
  r = join(TOKEN, hash)
  t.eq(r.err, "error execution phase preflight: [preflight] Some fatal errors occurred:\n"
    .. "\t[ERROR FileAvailable--etc-kubernetes-kubelet.conf]: /etc/kubernetes/kubelet.conf already exists\n\t[ERROR Port-10250]: Port 10250 is in use\n"
    .. "\t[ERROR FileAvailable--etc-kubernetes-pki-ca.crt]: /etc/kubernetes/pki/ca.crt already exists\n" .. AGAIN)
  r = w:run("kubeadm", "reset", "-f")
  t.eq(r.code, 0)
  t.has(r.out, "[reset] Deleting contents of stateful directories: [/var/lib/kubelet /var/lib/dockershim /var/run/kubernetes /var/lib/cni]\n")
end)

test("cgroup drivers that differ keep the control plane down", function(t)
  local l = new(t)
  local m = machine(l, "n4", { version = OLD })
  local r = init(m, "--kubernetes-version", "v1.20.2")
  t.eq(r.code, 1)
  t.has(r.out, "[kubelet-check] Initial timeout of 40s passed.\n\n\tUnfortunately, an error has occurred:\n\t\ttimed out waiting for the condition\n")
  t.eq(r.err:match "^[^\n]*", "error execution phase wait-control-plane: couldn't initialize a Kubernetes cluster")
  t.has(table.concat(m.lines, "\n"), 'expected cgroupsPath to be of format \\"slice:prefix:name\\" for systemd cgroups')
  m = machine(l, "n5")
  m:file("/etc/containerd/config.toml", "version = 3\n  SystemdCgroup = false\n")
  r = init(m)
  t.eq(r.code, 1)
  t.has(r.out, "A control plane component may have crashed or exited when started by the container runtime.")
  t.has(r.err, "error execution phase wait-control-plane: ")
  t.has(table.concat(m.lines, "\n"), "cgroup driver")
end)

test("swap that is left on stops a new kubelet", function(t)
  local l = new(t)
  local m = machine(l, "n6")
  m.swap = { "/dev/sda2" }
  local r = init(m)
  t.eq(r.code, 1)
  t.has(r.err, "\t[WARNING Swap]: ")
  t.has(r.out, "[kubelet-check] The kubelet is not healthy after")
  t.has(table.concat(m.lines, "\n"), "running with swap on is not supported")
end)

test("tokens and certificates", function(t)
  local l = new(t)
  local m = machine(l, "cp", { cni = true, hosts = "127.0.0.1 api.lab\n" })
  t.eq(init(m, "--control-plane-endpoint", "api.lab:6443").code, 0)
  local command = m:run("kubeadm", "token", "create", "--ttl", "10m", "--print-join-command").out
  t.ok(command:match "^kubeadm join api%.lab:6443 %-%-token %w+%.%w+ %-%-discovery%-token%-ca%-cert%-hash sha256:%x+ \n$", command)
  local list = m:run("kubeadm", "token", "list").out
  t.ok(list:match "^TOKEN +TTL +EXPIRES +USAGES +DESCRIPTION +EXTRA GROUPS\n")
  t.has(list, TOKEN)
  t.has(list, "authentication,signing")
  t.eq(m:run("kubeadm", "token", "delete", "abcdef").out, 'bootstrap token "abcdef" deleted\n')
  t.eq(m:run("kubeadm", "token", "delete", "abcdef").code, 1)
  local key = m:run("kubeadm", "init", "phase", "upload-certs", "--upload-certs").out:match "(%x+)\n$"
  t.eq(#key, 64)
  t.has(m:run("kubeadm", "certs", "check-expiration").out, "etcd-healthcheck-client    ")
  local before = fs.read(m.root .. "/etc/kubernetes/pki/apiserver.crt")
  local r = m:run("kubeadm", "certs", "renew", "all")
  t.eq(r.code, 0, r.err)
  t.has(r.out, "certificate for serving the Kubernetes API renewed\n")
  t.ok(before ~= fs.read(m.root .. "/etc/kubernetes/pki/apiserver.crt"))
  r = m:run("kubeadm", "kubeconfig", "user", "--client-name", "jo", "--org", "ops")
  t.has(r.out, "jo@kubernetes")
  r = m:run("kubeadm", "upgrade", "plan", "v1.36.2")
  t.eq(r.code, 0, r.err)
  t.has(r.out, "kube-apiserver            v1.36.1   v1.36.2\n")
end)

test.done()
