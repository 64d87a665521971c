--- What tests/rows.tsv says of hosts: the first control plane of recipes/cluster.lua is made ready for Kubernetes, and its disk
-- and what it says of itself are read. What kubeadm's wrapper does after a failure runs on a machine with a kubeadm of straw.
local test = require "tap"
local cluster = require "cluster_lab"
local connection, role = require "host.connection", require "role"
local fs, json = require "fs", require "json"
local machine = require "machine"

local NODE = "node.cp-1/*"

-- Swap in fstab in forms that a search for `/swap` does not find.
local FSTAB = "UUID=1 / ext4 defaults 0 1\n/dev/sdb1\tnone\tswap\tsw\t0\t0\nUUID=2 none swap sw 0 0\n/swapfile none swap sw 0 0\n"

local function host()
  return cluster.stack("host", { targets = { "azure.*" }, given = { "control_planes=1", "workers=0", "version=1.36.0" }, after = function(s)
    local _, hostname = s:file("cp-1", "/etc/hostname")
    fs.write(hostname, "localhost\n")
    fs.write(s:machines()["demo-cp-1"].root .. "/etc/fstab", FSTAB)
    s:apply { NODE }
  end })
end

local function installed(s)
  local found = {}
  for name, version in s:sh("cp-1", "dpkg-query -W -f '${Package} ${Version}\\n'"):gmatch "(%S+) (%S+)" do found[name] = version end
  return found
end

local function held(s)
  local found = {}
  for name in s:sh("cp-1", "apt-mark showhold"):gmatch "%S+" do found[name] = true end
  return found
end

test("the operator's key is in the vault and in no file", function(t)
  local s = host()
  t.eq((s:run("ssh", { "demo-cp-1", "--", "hostname" })), "demo-cp-1\n")
  t.eq(s:leak(s:secret "nodes-private-key":match "\n(%S+)\n"), nil)
end)

test("the inventory has each host in its group", function(t)
  local s = host()
  local inventory = json.decode((s:run("inventory", { "--format", "ansible" })))
  t.eq(inventory.all.hosts["demo-cp-1"].ansible_user, "azureuser")
  t.ok(inventory.all.hosts["demo-cp-1"].ansible_become, "it becomes root")
  t.ok(inventory.all.children and inventory.all.children.control_plane, "a group of control planes")
  t.ok(inventory.all.children.control_plane.hosts["demo-cp-1"])
end)

test("the basic packages are there", function(t)
  local found = installed(host())
  for _, name in ipairs { "ca-certificates", "conntrack", "curl", "ebtables", "ethtool", "iptables", "socat" } do t.ok(found[name], name) end
end)

test("roles become root by sudo without a password", function(t)
  local sudo = 'echo "$*" >>/var/log/sudo; [ "$1" = -n ] || exit 1; shift; exec "$@"'
  local m = machine.start(t, { user = "ops", commands = { sudo = sudo } })
  t.after(connection.close_all)
  local ctx = { target = { kind = "none" }, fields = { host = m }, progress = function() end }
  t.eq(role.perform({ name = "test.role" }, ctx, "apply", function(on) on.file "/etc/made" { content = "x" } end), 1)
  t.eq(m.read "/etc/made", "x")
  t.has(m.read "/var/log/sudo" or "", "-n sh -s")
end)

test("containerd.io is the only container runtime", function(t)
  local found = installed(host())
  t.ok(found["containerd.io"], "containerd.io")
  for _, name in ipairs { "docker.io", "docker-doc", "docker-compose", "docker-compose-v2", "podman-docker", "containerd", "runc" } do
    t.eq(found[name], nil, name)
  end
end)

test("containerd is installed, held and runs", function(t)
  local s = host()
  t.has(installed(s)["containerd.io"] or "", "2.")
  t.ok(held(s)["containerd.io"], "it is held")
  t.eq(s:sh("cp-1", "systemctl is-enabled containerd; systemctl is-active containerd"), "enabled\nactive")
end)

test("containerd's release fits the form of its configuration", function(t)
  for config, version in pairs { [2] = "1.*", [3] = "2.*" } do
    for _, one in ipairs(cluster.declared("containerd.runtime", { config = config })) do
      if one.kind == "package" then t.eq({ one.fields.version, one.fields.hold }, { version, true }) end
    end
  end
end)

test("containerd's configuration is ours, also where one is there already", function(t)
  local s = host()
  local text, path = s:file("cp-1", "/etc/containerd/config.toml")
  t.has(text, "version = 3\n")
  t.eq(fs.stat(path).mode & 511, 420)
  fs.write(path, "version = 2\n")
  local plan = s:plan { NODE }
  fs.write(path, text)
  t.ok(plan["node.cp-1/containerd.runtime.runtime"], "a file of somebody else's is a difference")
  t.eq(s:plan { NODE }, {})
end)

test("the pause image is pinned and systemd drives cgroups", function(t)
  local text = host():file("cp-1", "/etc/containerd/config.toml")
  t.ok(text:find 'sandbox = "registry%.k8s%.io/pause:3%.%d+[%d.]*"', text)
  t.has(text, "SystemdCgroup = true")
end)

test("there is no Docker", function(t)
  local s = host()
  for name in pairs(installed(s)) do t.ok(not name:find "docker", name) end
  for _, one in ipairs(cluster.declared "containerd.runtime") do
    for _, name in ipairs(one.kind == "package" and one.fields.names or {}) do t.ok(not name:find "docker", name) end
  end
end)

test("no host runs Python for us", function(t)
  for name in pairs(installed(host())) do t.ok(not name:find "python", name) end
end)

test("the packages of Kubernetes come from the repository of their minor release, signed", function(t)
  local s = host()
  local entry = s:file("cp-1", "/etc/apt/sources.list.d/kubernetes.list")
  t.has(entry, "https://pkgs.k8s.io/core:/stable:/v1.36/deb/ /")
  local keyring = entry:match "signed%-by=(%S+)%]"
  t.ok(keyring, "signed by a key of its own")
  t.ok(#(s:file("cp-1", keyring) or "") > 0, keyring)
end)

test("kubelet, kubeadm and kubectl are of the release that was asked for", function(t)
  local found = installed(host())
  for _, name in ipairs { "kubelet", "kubeadm", "kubectl" } do t.eq((found[name] or ""):match "^[%d.]+%d", "1.36.0", name) end
end)

test("swap is off, now and after a restart", function(t)
  local tasks = cluster.declared("linux.base", { hostname = "h" })
  local swap = 0
  for _, one in ipairs(tasks) do if one.kind == "swap" then swap = swap + 1 end end
  t.eq(swap, 1, "the role turns it off")
  local s = host()
  t.eq(s:sh("cp-1", "sudo -n swapon --show=NAME --noheadings"), "")
  t.has(s:file("cp-1", "/etc/fstab"), "#/swapfile none swap")
end)

test("kernel modules and parameters are set and kept over a restart", function(t)
  local s = host()
  local loaded = s:sh("cp-1", "lsmod")
  for _, name in ipairs { "overlay", "br_netfilter" } do
    t.has(loaded, name)
    t.has(s:file("cp-1", "/etc/modules-load.d/" .. name .. ".conf") or "", name)
  end
  for _, name in ipairs { "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables", "net.ipv4.ip_forward" } do
    t.eq(s:sh("cp-1", "sudo -n sysctl -n " .. name), "1", name)
    t.has(s:file("cp-1", "/etc/sysctl.d/90-" .. name .. ".conf") or "", name .. " = 1")
  end
end)

test("a host has the name that it is given", function(t)
  local s = host()
  t.eq(s:file("cp-1", "/etc/hostname"), "demo-cp-1\n")
  t.ok(s:file("cp-1", "/etc/hosts"):find "127%.0%.1%.1%s+demo%-cp%-1")
end)

-- Mistakes of the old system.

test("a second run takes no package away and installs none", function(t)
  local s = host()
  local before = installed(s)
  t.eq(s:plan { NODE }, {})
  s:apply { NODE }
  t.has(s.said, "No changes.")
  t.eq(installed(s), before)
end)

test("each format of containerd has the settings where it reads them", function(t)
  local texts = {}
  for config = 2, 3 do
    for _, one in ipairs(cluster.declared("containerd.runtime", { config = config, pause = "pause:9" })) do
      if one.name == "/etc/containerd/config.toml" then texts[config] = one.fields.content end
    end
  end
  local function value(text, section, key)
    local body = text:match("%[" .. section:gsub("[%p]", "%%%0") .. "%]\n(.-)\n%f[[\0]") or text:match("%[" .. section:gsub("[%p]", "%%%0") .. "%]\n(.*)$")
    return body and body:match("%f[%w_]" .. key .. " = ([^\n]+)")
  end
  t.eq(texts[2]:match "^version = (%d)", "2")
  t.eq(value(texts[2], [[plugins."io.containerd.grpc.v1.cri"]], "sandbox_image"), '"pause:9"')
  t.eq(value(texts[2], [[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]], "SystemdCgroup"), "true")
  t.eq(texts[3]:match "^version = (%d)", "3")
  t.eq(value(texts[3], "plugins.'io.containerd.cri.v1.images'.pinned_images", "sandbox"), '"pause:9"')
  t.eq(value(texts[3], "plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options", "SystemdCgroup"), "true")
end)

test("what must not be upgraded by chance is pinned and held", function(t)
  local s = host()
  local hold = held(s)
  for _, name in ipairs { "kubelet", "kubeadm", "kubectl", "containerd.io", "cri-tools", "kubernetes-cni" } do t.ok(hold[name], name) end
  for _, one in ipairs(cluster.declared("kubeadm.node", { version = "1.36.1" })) do
    if one.kind == "package" then t.ok(one.fields.hold, one.title) end
    if one.name == "kubernetes" and one.kind == "package" then t.eq(one.fields.version, "1.36.1-*") end
  end
end)

test("the node's name, the host's and the machine's are one", function(t)
  local s = host()
  local vm = s:arm "~/providers/Microsoft.Compute/virtualMachines/demo-cp-1"
  t.eq(s:file("cp-1", "/etc/hostname"), vm.osProfile.computerName .. "\n")
  local inventory = json.decode((s:run("inventory")))
  t.ok(inventory.all.hosts[vm.name], "the host's name is the machine's")
  local row = json.decode((s:run("state show", { "node.cp-1/linux.base.base", "--json" })))
  t.eq((row.fields or row[1].fields).hostname, vm.name)
end)

test("swap is found in fstab by the third field", function(t)
  t.eq(host():file("cp-1", "/etc/fstab"), (FSTAB:gsub("\n/dev/sdb1", "\n#/dev/sdb1"):gsub("\nUUID=2", "\n#UUID=2"):gsub("\n/swapfile", "\n#/swapfile")))
end)

-- kubeadm's wrapper, with a kubeadm that writes down what it is asked and fails while /etc/broken is there.

local KUBEADM = 'echo "$*" >>/var/log/kubeadm; [ "$1" != init ] || : >/var/lib/etcd/data; [ "$1" = reset ] && rm -f /var/lib/etcd/data; [ ! -e /etc/broken ]'

local function straw(t)
  local m = machine.start(t, { commands = { kubeadm = KUBEADM }, files = { ["/var/lib/etcd/.keep"] = "" } })
  local once = require("kubeadm.control_plane").once
  function m.go(what) return m.run { "/bin/sh", "-c", once(what, "kubeadm " .. what) }.code end
  function m.asked() return (m.read "/var/log/kubeadm" or ""):gsub("\n", ";") end
  return m
end

test("only what our own try left is reset", function(t)
  local m = straw(t)
  m.write("/etc/kubernetes/manifests/etcd.yaml", "somebody else's")
  m.write("/var/lib/etcd/member", "data")
  t.eq(m.go "init", 0)
  t.eq((m.asked()), "init;", "somebody else's cluster is never reset")
  t.eq(m.read "/var/lib/etcd/member", "data")
end)

test("etcd is never wiped by a run that comes later", function(t)
  local m = straw(t)
  t.eq({ m.go "init", m.go "init", m.go "init" }, { 0, 0, 0 })
  t.eq((m.asked()), "init;")
  t.eq(m.read "/var/lib/etcd/data", "")
end)

test("an init that failed halfway is reset before the next", function(t)
  local m = straw(t)
  m.write("/etc/broken", "")
  t.ok(m.go "init" ~= 0, "it fails")
  fs.remove(m.root .. "/etc/broken")
  t.eq(m.go "init", 0)
  t.eq((m.asked()), "init;reset -f;init;")
end)

test("a node joins once", function(t)
  local m = straw(t)
  t.eq({ m.go "join", m.go "join" }, { 0, 0 })
  t.eq((m.asked()), "join;")
  t.ok(fs.stat(m.root .. require("kubeadm.control_plane").done "join"), "the mark by which the role knows it")
end)

cluster.close()
test.done()
