--- What tests/rows.tsv says of the cluster: the whole of recipes/cluster.lua, with one control plane and one worker, is applied,
-- and the cluster, the repository and the machines' disks are read.
local test = require "tap"
local cluster = require "cluster_lab"
local components = require "flux.components"
local crypto, fs, git, json, yaml = require "crypto", require "fs", require "git", require "json", require "yaml"
local process, task = require "process", require "task"

test.timeout = 60

local LAYOUT = cluster.root .. "/recipes/cluster/gitops"
local ENVIRONMENTS = { "development", "staging", "production" }

local function all() return cluster.stack("all", { given = { "control_planes=1", "workers=1" } }) end

local function tree(folder, prefix, files)
  files, prefix = files or {}, prefix or ""
  for _, name in ipairs(fs.list(folder)) do
    local path = folder .. "/" .. name
    if fs.stat(path).type == "directory" then
      tree(path, prefix .. name .. "/", files)
    else
      files[prefix .. name] = fs.read(path)
    end
  end
  return files
end

local function condition(object, kind)
  for _, one in ipairs((object.status or {}).conditions or {}) do if one.type == kind then return one.status, one.message end end
end

local function items(s, ...) return s:get(...).items end

local function container(object) return object.spec.template.spec.containers[1] end

-- kubeadm, Nodes, credentials.

test("kubeadm init makes the cluster that the recipe says", function(t)
  local map = all():object("configmap", "kubeadm-config", "kube-system")
  local config = yaml.decode(map.data.ClusterConfiguration)
  t.eq({ config.networking.podSubnet, config.networking.serviceSubnet, config.controlPlaneEndpoint, config.kubernetesVersion },
    { "10.244.0.0/16", "10.96.0.0/12", "api.demo.internal:6443", "v1.36.1" })
  local names = table.concat(config.apiServer.certSANs, " ")
  t.has(names, "api.demo.internal")
  t.has(names, all():output "load_balancer_ip")
  local file = all():file("cp-1", "/etc/kubernetes/kubeadm.yaml")
  t.has(file, "criSocket: unix:///run/containerd/containerd.sock")
end)

test("the cluster's kubelets use systemd's cgroups", function(t)
  for _, name in ipairs { "cp-1", "worker000000" } do
    local config = yaml.decode(all():file(name, "/var/lib/kubelet/config.yaml"))
    t.eq({ config.cgroupDriver, config.rotateCertificates, config.serverTLSBootstrap }, { "systemd", true, true }, name)
  end
end)

test("a kubeconfig is made on request, for its owner alone, and lies on no host", function(t)
  local s = all()
  local path = s.dir .. "/asked"
  fs.write(path, "", { mode = 420 })
  s:run("kubeconfig", { "--out", path })
  t.eq(fs.stat(path).mode & 511, 384)
  for name, machine in pairs(s:machines()) do
    for _, file in ipairs { "/root/.kube/config", "/home/azureuser/.kube/config", "/etc/profile.d/kubecfg.sh" } do
      t.eq(fs.stat(machine.root .. file), nil, name .. ":" .. file)
    end
  end
end)

test("join tokens live for minutes and are shown nowhere", function(t)
  local asked = {}
  local was = package.loaded["host.connection"]
  t.after(function() package.loaded["host.connection"], package.loaded["kubeadm.credentials"] = was, nil end)
  package.loaded["kubeadm.credentials"] = nil
  package.loaded["host.connection"] = { open = function()
    return { exec = function(_, command)
      asked[#asked + 1] = command
      return { code = 0, stdout = "abcdef.0123456789abcdef\n", stderr = "" }
    end }
  end }
  local token = require("kubeadm.credentials").token({}, { host = { address = "192.0.2.1", user = "root" } })
  t.eq(token, "abcdef.0123456789abcdef")
  local minutes = tonumber(asked[1]:match "%-%-ttl (%d+)m")
  t.ok(minutes and minutes <= 30, asked[1])
  local given = { node = { version = "1.36.1" }, address = "10.0.1.4", endpoint = "api" }
  for _, one in ipairs(cluster.declared("kubeadm.init", given)) do
    if one.name == "kubeadm init" then t.has(one.fields.run, "--skip-token-print") end
  end
end)

test("the API is waited for while it is not there", function(t)
  local client = require "kubernetes.client"
  local server, stream = require "server", require "stream"
  -- On an address of its own nobody else takes the port meanwhile.
  local host = ("127.97.%d.%d"):format(process.pid() // 250 % 250, process.pid() % 250 + 1)
  local listener = stream.listen { host = host, port = 0 }
  local port = listener:port()
  listener:close()
  local api = client.new { server = ("http://%s:%d"):format(host, port) }
  local asked = task.spawn(function() return api:request("GET", "/version", nil, { patience = 20 }) end)
  task.sleep(0.3)
  local calls = 0
  local s = assert(server.listen { host = host, port = port, handler = function()
    calls = calls + 1
    if calls == 1 then return { status = 503, headers = {}, body = "" } end
    return { status = 200, headers = {}, body = '{"minor":"36"}' }
  end })
  t.after(function() s:close(0) end)
  local ok, answer = asked:join()
  t.ok(ok, tostring(answer))
  t.eq({ answer.minor, calls }, { "36", 2 })
end)

test("workers are Nodes with their role", function(t)
  local workers = items(all(), "nodes", "-l", "node-role.kubernetes.io/worker", "-o", "json")
  t.eq(#workers, 1)
  t.eq({ workers[1].metadata.name, (condition(workers[1], "Ready")) }, { "demo-worker000000", "True" })
  t.eq(#items(all(), "nodes", "-o", "json"), 2)
end)

test("the addresses of Nodes are those of their interfaces", function(t)
  local s = all()
  local nic = s:arm "~/providers/Microsoft.Network/networkInterfaces/demo-cp-1-nic"
  local ip = nic.ipConfigurations[1].properties.privateIPAddress
  for _, address in ipairs(s:object("node", "demo-cp-1").status.addresses) do
    if address.type == "InternalIP" then t.eq(address.address, ip) end
  end
  local config = yaml.decode_all(s:file("cp-1", "/etc/kubernetes/kubeadm.yaml"))
  t.eq(config[1].localAPIEndpoint.advertiseAddress, ip)
end)

test("control planes join one at a time, with the certificates", function(t)
  local _, needs = cluster.graph("control_planes=5")
  for i = 3, 5 do t.ok(needs("kubeadm.join.cp-" .. i, "kubeadm.join.cp-" .. i - 1), "cp-" .. i .. " after the one before") end
  t.ok(not needs("azure.virtual_machine_scale_set.worker.instances[*]/kubeadm.join.join", "kubeadm.join.cp-2"),
    "workers do not wait for them")
end)

-- Flannel.

test("Flannel is applied over what is there, and nothing is deleted first", function(t)
  local s = all()
  local before = s:object("daemonset", "kube-flannel-ds", "kube-flannel")
  local managers = {}
  local set = s:get("daemonset", "kube-flannel-ds", "-n", "kube-flannel", "-o", "json", "--show-managed-fields")
  for _, field in ipairs(set.metadata.managedFields) do
    managers[field.manager .. " " .. field.operation] = true
  end
  t.ok(managers["vmrun Apply"], "server-side apply")
  s:kubectl("label", "daemonset", "-n", "kube-flannel", "kube-flannel-ds", "k8s-app-")
  local mark = s.lab:ask("GET", "writes").counts.total
  s:run("apply", { "--yes", "control_planes=1", "workers=1", "--target", "flannel.network.flannel" })
  local now = s:object("daemonset", "kube-flannel-ds", "kube-flannel")
  t.eq({ now.metadata.uid, now.metadata.labels["k8s-app"] }, { before.metadata.uid, "flannel" })
  t.eq(s.lab:ask("GET", "writes").counts.total - mark, 1, "one write")
end)

test("Flannel's namespace admits privileged pods", function(t)
  local labels = all():object("namespace", "kube-flannel").metadata.labels
  t.eq(labels["pod-security.kubernetes.io/enforce"], "privileged")
end)

test("Flannel serves kubeadm's pod network by VXLAN", function(t)
  local s = all()
  local map = s:object("configmap", "kube-flannel-cfg", "kube-flannel")
  local net = json.decode(map.data["net-conf.json"])
  t.eq({ net.Network, net.Backend.Type }, { "10.244.0.0/16", "vxlan" })
  local pod = s:object("daemonset", "kube-flannel-ds", "kube-flannel").spec.template.spec
  t.eq(pod.priorityClassName, "system-node-critical")
  t.has(pod.containers[1].image, "ghcr.io/flannel-io/flannel:v")
  t.ok(pod.containers[1].livenessProbe, "a probe")
  local mounts = {}
  for _, mount in ipairs(pod.containers[1].volumeMounts) do mounts[mount.mountPath] = true end
  t.ok(mounts["/run/xtables.lock"], "the lock of iptables")
end)

test("Flannel may do what it needs, and runs on every Node", function(t)
  local s = all()
  local may = {}
  for _, rule in ipairs(s:object("clusterrole", "flannel").rules) do
    for _, resource in ipairs(rule.resources) do may[resource] = table.concat(rule.verbs, " ") end
  end
  t.eq(may, { pods = "get", nodes = "get list watch", ["nodes/status"] = "patch" })
  local binding = s:object("clusterrolebinding", "flannel")
  t.eq({ binding.roleRef.name, binding.subjects[1].name, binding.subjects[1].namespace },
    { "flannel", "flannel", "kube-flannel" })
  local status = s:object("daemonset", "kube-flannel-ds", "kube-flannel").status
  t.eq({ status.desiredNumberScheduled, status.numberReady }, { 2, 2 })
end)

-- Git.

test("the deploy key is in the cluster, and on no host", function(t)
  local s = all()
  local secret = s:object("secret", "flux-system", "flux-system")
  local identity = crypto.unbase64(secret.data.identity)
  t.eq(identity, fs.read(s:output "git_key_file" .. "-deploy"), "the key that may only read")
  local part = identity:match "\n%S+\n(%S+)\n" -- all keys begin alike
  for name, machine in pairs(s:machines()) do
    for _, folder in ipairs { "/root", "/home", "/etc" } do
      for path, text in pairs(fs.stat(machine.root .. folder) and tree(machine.root .. folder) or {}) do
        t.ok(not text:find(part, 1, true), name .. ":" .. folder .. "/" .. path)
      end
    end
  end
end)

test("the deploy key reads and may not push", function(t)
  local s = all()
  local _, _, known = s:repository()
  local key = crypto.unbase64(s:object("secret", "flux-system", "flux-system").data.identity)
  local url = s:output "git_url"
  t.ok(git.head { url = url, branch = "main", key = key, known_hosts = known, timeout = 20 }, "it reads")
  local done = git.commit { url = url, branch = "main", key = key, known_hosts = known, files = { x = "y" }, message = "no",
    author = { name = "t", email = "t@localhost" }, timeout = 20 }
  t.eq(done, nil)
end)

test("the Git host's key is checked, by us and by Flux", function(t)
  local s = all()
  local known = crypto.unbase64(s:object("secret", "flux-system", "flux-system").data.known_hosts)
  local _, _, scanned = s:repository()
  local function bare(line) return line:match "(ssh%S+ %S+)" end
  local fits = false
  for _, line in ipairs(scanned) do fits = fits or bare(line) == bare(known) end
  t.ok(fits, "known_hosts holds the host's own key")
  local access = require "git.access"
  local url, key = s:output "git_url", fs.read(s:output "git_key_file")
  local other = known:gsub("(ssh%S+) %S+", "%1 " .. crypto.keypair("ed25519").public:match "^%S+ (%S+)")
  local head, _, code = git.head(access.options({}, { url = url, branch = "main", key = key, known_hosts = { other } }))
  t.eq({ head, code }, { nil, "hostkey" })
  t.ok(git.head(access.options({}, { url = url, branch = "main", key = key, known_hosts = { known } })))
end)

-- Flux.

test("an apply over a Flux that runs tears nothing down", function(t)
  local s = all()
  local before = s:object("namespace", "flux-system").metadata.uid
  local deployment = s:object("deployment", "source-controller", "flux-system")
  s:kubectl("patch", "secret", "-n", "flux-system", "flux-system", "-p", '{"data":{"identity":"eA=="}}')
  s:run("apply", { "--yes", "control_planes=1", "workers=1", "--target", "flux.bootstrap.flux" })
  local now = s:object("deployment", "source-controller", "flux-system")
  t.eq({ s:object("namespace", "flux-system").metadata.uid, now.metadata.uid, now.metadata.generation },
    { before, deployment.metadata.uid, deployment.metadata.generation })
  for _, write in ipairs(s.lab:ask("GET", "writes").last) do
    t.ok(write.method ~= "DELETE" or not write.path:find("flux-system", 1, true), write.method .. " " .. write.path)
  end
  t.eq(now.metadata.resourceVersion, deployment.metadata.resourceVersion, "what Flux keeps is not applied again")
end)

test("Flux's release is pinned, and its program is on no host", function(t)
  local s = all()
  for _, deployment in ipairs(items(s, "deployments", "-n", "flux-system", "-o", "json")) do
    t.ok(container(deployment).image:find("^ghcr%.io/fluxcd/[%l-]+:v%d+%.%d+%.%d+$"), container(deployment).image)
    t.eq(deployment.metadata.labels["app.kubernetes.io/version"], components.VERSION)
  end
  for _, machine in pairs(s:machines()) do t.eq(fs.stat(machine.root .. "/usr/local/bin/flux"), nil) end
end)

test("the API's certificate is checked against the cluster's authority", function(t)
  local s = all()
  s:kubectl("version")
  local config = yaml.decode(fs.read(s.config))
  local entry, user = config.clusters[1].cluster, config.users[1].user
  local client = require "kubernetes.client"
  local function ask(ca)
    local api = client.new { server = entry.server, server_name = entry["tls-server-name"], ca = ca,
      cert = crypto.unbase64(user["client-certificate-data"]), key = crypto.unbase64(user["client-key-data"]) }
    return api:request("GET", "/version", nil, { patience = 1 })
  end
  t.ok(ask(crypto.unbase64(entry["certificate-authority-data"])).minor, "with the cluster's own")
  local err = t.fails("certificate", ask, crypto.x509_ca { cn = "somebody else", days = 1 }.cert)
  t.eq(err.code, "tls")
end)

test("Flux's controllers run", function(t)
  local found = {}
  for _, deployment in ipairs(items(all(), "deployments", "-n", "flux-system", "-o", "json")) do
    found[deployment.metadata.name] = (condition(deployment, "Available"))
  end
  t.eq(found, { ["source-controller"] = "True", ["kustomize-controller"] = "True" })
end)

test("Flux follows the environment's folder and prunes", function(t)
  local s = all()
  local source = s:object("gitrepository", "flux-system", "flux-system")
  t.eq({ source.spec.url, source.spec.ref.branch, source.spec.secretRef.name, source.spec.interval },
    { s:output "git_url", "main", "flux-system", "1m0s" })
  local sync = s:object("kustomization", "flux-system", "flux-system")
  t.eq({ sync.spec.path, sync.spec.prune, sync.spec.sourceRef.name }, { "./clusters/production", true, "flux-system" })
end)

test("an apply ends well only when Flux does", function(t)
  local s = cluster.stack("broken", { given = { "control_planes=1", "workers=1" },
    targets = { "git.emulator_repository.*" }, after = function(s)
    local repository = s.lab:ask("GET", "git/cluster")
    assert(git.commit { url = repository.url, branch = "main", key = repository.key, known_hosts = repository.known_hosts,
      message = "broken", files = { ["clusters/production/apps.yaml"] = "apiVersion: v1\nkind: [\n" },
      author = { name = "t", email = "t@localhost" }, timeout = 20 })
  end })
  t.has(s:apply(nil, 1).said, "Flux's Kustomization flux-system is not ready")
end)

test("the recipe commits its layout, and nothing else", function(t)
  local s = all()
  local files = s:repository()
  local layout = tree(LAYOUT)
  for path, text in pairs(layout) do t.eq(files[path], text, path) end
  for path in pairs(files) do
    t.ok(layout[path] or path:find "^clusters/production/flux%-system/", path .. " is not of the layout")
  end
end)

test("the controllers' manifest is in Git", function(t)
  local text = all():repository()["clusters/production/flux-system/gotk-components.yaml"]
  t.ok(text, "the file")
  local kinds = {}
  for _, object in ipairs(yaml.decode_all(text)) do kinds[object.kind .. " " .. object.metadata.name] = object end
  for _, name in ipairs(components.DEFAULT) do t.ok(kinds["Deployment " .. name], name) end
  t.ok(kinds["CustomResourceDefinition gitrepositories.source.toolkit.fluxcd.io"])
  t.ok(kinds["CustomResourceDefinition kustomizations.kustomize.toolkit.fluxcd.io"])
end)

test("the sync objects are in Git", function(t)
  local text = all():repository()["clusters/production/flux-system/gotk-sync.yaml"]
  local objects = yaml.decode_all(text)
  t.eq({ objects[1].kind, objects[1].spec.interval, objects[1].spec.secretRef.name }, { "GitRepository", "1m0s", "flux-system" })
  t.eq({ objects[2].kind, objects[2].spec.interval, objects[2].spec.path, objects[2].spec.prune },
    { "Kustomization", "10m0s", "./clusters/production", true })
end)

test("a kustomization in Git holds both", function(t)
  local text = all():repository()["clusters/production/flux-system/kustomization.yaml"]
  t.eq(yaml.decode(text).resources, json.array { "gotk-components.yaml", "gotk-sync.yaml" })
end)

test("the namespaces of the environments come from Git", function(t)
  local s = all()
  local env = { development = "dev", staging = "staging", production = "prod" }
  for name, label in pairs(env) do
    local found = cluster.wait(10, function() return select(2, pcall(s.object, s, "namespace", name)) end)
    t.eq(type(found) == "table" and found.metadata.labels.env, label, name)
  end
end)

local function nginx(s)
  return cluster.wait(10, function()
    local ok, found = pcall(s.object, s, "deployment", "nginx", "production")
    return ok and (found.status or {}).availableReplicas == 2 and found
  end)
end

test("nginx is deployed by Flux, with its service", function(t)
  local s = all()
  local found = nginx(s)
  t.ok(found, "nginx is available in production")
  t.ok(container(found).image:find "^nginx:%d+%.%d+", container(found).image .. " is a pinned image")
  t.eq(found.metadata.labels["kustomize.toolkit.fluxcd.io/name"], "apps")
  local service = s:object("service", "nginx", "production").spec
  t.eq({ service.type, service.ports[1].port, service.selector.app }, { "ClusterIP", 80, "nginx" })
end)

-- Builds a folder of the layout as Flux does.
local function build(path)
  local kustomize = require "emulator.kubernetes.kustomize"
  return kustomize.build(tree(LAYOUT), (path:gsub("^%./", "")))
end

test("every environment of the layout leads to folders that build", function(t)
  local layout = tree(LAYOUT)
  for path in pairs(layout) do t.ok(path:find "%.yaml$", path .. " is a plain file of YAML") end
  for _, environment in ipairs(ENVIRONMENTS) do
    local led = {}
    for _, name in ipairs { "apps", "infrastructure" } do
      local object = yaml.decode(layout[("clusters/%s/%s.yaml"):format(environment, name)] or "null")
      t.eq(object.kind, "Kustomization", environment .. " " .. name)
      led[name] = object.spec.path
      t.ok(#build(object.spec.path) > 0, object.spec.path)
    end
    t.eq(led, { apps = "./apps/" .. environment, infrastructure = "./infrastructure/base" })
    local namespaces = {}
    for _, object in ipairs(build(led.apps)) do namespaces[object.metadata.namespace] = true end
    t.eq(namespaces, { [environment] = true })
  end
end)

-- Mistakes of the old system.

test("secrets on the machines are their owner's alone", function(t)
  local SECRET = { "PRIVATE KEY", "client%-key%-data", "kind: EncryptionConfiguration", "token: %w+%.%w+" }
  local seen = 0
  for name, machine in pairs(all():machines()) do
    for _, folder in ipairs { "/etc/kubernetes", "/var/lib/kubelet", "/var/lib/vmrun", "/root", "/run" } do
      for path, text in pairs(fs.stat(machine.root .. folder) and tree(machine.root .. folder) or {}) do
        for _, secret in ipairs(SECRET) do
          if text:find(secret) then
            seen = seen + 1
            t.eq(fs.stat(machine.root .. folder .. "/" .. path).mode & 63, 0, name .. ":" .. folder .. "/" .. path)
          end
        end
      end
    end
    t.eq(fs.stat(machine.root .. "/run/vmrun-join.yaml"), nil, "the join's token stays on no disk")
  end
  t.ok(seen > 5, "there are secrets to look at")
end)

test("secrets are encrypted in etcd, and who did what is written down", function(t)
  local s = all()
  local encryption = yaml.decode(s:file("cp-1", "/etc/kubernetes/encryption.yaml"))
  t.eq(encryption.resources[1].resources, json.array { "secrets" })
  t.eq(encryption.resources[1].providers[1].secretbox.keys[1].secret, s:secret "encryption")
  local config = yaml.decode(s:object("configmap", "kubeadm-config", "kube-system").data.ClusterConfiguration)
  local args = {}
  for _, arg in ipairs(config.apiServer.extraArgs) do args[arg.name] = arg.value end
  t.eq(args["encryption-provider-config"], "/etc/kubernetes/encryption.yaml")
  t.eq(args["audit-policy-file"], "/etc/kubernetes/audit-policy.yaml")
  for _, rule in ipairs(yaml.decode(s:file("cp-1", "/etc/kubernetes/audit-policy.yaml")).rules) do
    t.ok(rule.level == "None" or rule.level == "Metadata", "no body, and so no secret, in the log")
  end
end)

test("what runs of Flux is what Git has", function(t)
  local s = all()
  local text = s:repository()["clusters/production/flux-system/gotk-components.yaml"]
  local known = {}
  for _, object in ipairs(yaml.decode_all(text)) do known[object.kind .. " " .. object.metadata.name] = true end
  for _, kind in ipairs { "deployments", "serviceaccounts" } do
    for _, object in ipairs(items(s, kind, "-n", "flux-system", "-o", "json")) do
      local name = object.kind .. " " .. object.metadata.name
      t.ok(object.metadata.name == "default" or known[name], name)
    end
  end
  for _, object in ipairs(items(s, "crds", "-o", "json")) do
    t.ok(known["CustomResourceDefinition " .. object.metadata.name], object.metadata.name)
  end
end)

test("what Git says is deployed", function(t)
  local s = all()
  t.ok(nginx(s), "nginx is available in production")
  local paths = {}
  for _, object in ipairs(items(s, "kustomizations", "-n", "flux-system", "-o", "json")) do
    paths[object.spec.path] = cluster.wait(10, function()
      return (condition(s:object("kustomization", object.metadata.name, "flux-system"), "Ready")) == "True"
    end)
  end
  t.eq(paths, { ["./clusters/production"] = true, ["./apps/production"] = true, ["./infrastructure/base"] = true })
end)

test("no folder of the layout is twice in its path, and no kustomization lists itself", function(t)
  for path, text in pairs(tree(LAYOUT)) do
    local before
    for step in path:gmatch "[^/]+" do
      t.ok(step ~= before, path)
      before = step
    end
    local folder = path:match "^(.*)/kustomization%.yaml$"
    if folder then
      for _, resource in ipairs(yaml.decode(text).resources) do
        t.ok(resource ~= "kustomization.yaml" and not resource:find("^" .. folder:match "[^/]+$"), path .. " lists " .. resource)
        local at = process.run { argv = { "realpath", "-m", LAYOUT .. "/" .. folder .. "/" .. resource } }.stdout:gsub("\n", "")
        t.ok(fs.stat(at), path .. " lists " .. resource .. ", which is not there")
      end
    end
  end
end)

test("one writer commits to Git, one after the other", function(t)
  local s = all()
  local _, needs = cluster.graph()
  t.ok(needs("flux.bootstrap.flux", "git.files.layout"), "Flux's files after the layout")
  local _, _, known = s:repository()
  local hosts, key = s.dir .. "/known_hosts", s:output "git_key_file"
  fs.write(hosts, table.concat(known, "\n") .. "\n")
  local clone = 'git clone -q "$0" "$1" && git -C "$1" log --format="%an %p"'
  local ssh = ("ssh -i %s -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=%s"):format(key, hosts)
  local log = process.run { argv = { "sh", "-c", clone, s:output "git_url", s.dir .. "/clone" }, timeout = 30,
    env = { GIT_SSH_COMMAND = ssh } }
  t.eq(log.code, 0, log.stderr)
  local count = 0
  for line in log.stdout:gmatch "[^\n]+" do
    count = count + 1
    t.ok(line:find "^vmrun %x*$", line .. ": ours, and no merge")
  end
  t.eq(count, 2)
end)

test("what the team changed of the layout stays as it is", function(t)
  local s = all()
  local path = "apps/development/kustomization.yaml"
  local files, _, known, key = s:repository()
  local changed = files[path] .. "# ours\n"
  assert(git.commit { url = s:output "git_url", branch = "main", key = key, known_hosts = known,
    files = { [path] = changed }, message = "ours",
    author = { name = "team", email = "team@localhost" }, timeout = 20 })
  t.eq(s:plan { "git.files.layout" }, {})
  s:apply { "git.files.layout" }
  t.eq(s:repository()[path], changed)
end)

cluster.close()
test.done()
