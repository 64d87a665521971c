--- vmrun kubeconfig over an emulated control plane: what is written, where, for whom, and that a real client gets in with it.
local test = require "tap"
local config = require "kubeadm.config"
local crypto = require "crypto"
local fs = require "fs"
local lab = require "kubernetes_lab"
local process = require "process"
local yaml = require "yaml"

-- The host of the control plane: what goes to it over SSH elsewhere is read from its root.
local asked = {}
package.loaded["host.connection"] = { open = function(_, host)
  return { exec = function(_, command)
    asked[#asked + 1] = command
    return { code = 0, stdout = fs.read(host.machine.root .. command:match("cat (%S+)$")), stderr = "" }
  end }
end }
local way = { through = nil }
package.loaded.dial = { resolve = function(_, host, port)
  if way.why then return nil, way.why, "unreachable" end
  return way.through and way.through(host, port)
end }
local kubeconfig = require "cli.kubeconfig"

test.timeout = 120

local function cluster(t)
  local l = lab.new { factor = 50 }
  t.after(l.close)
  local m = l.machine("cp-1", { cni = true })
  m:file("/etc/hosts", "127.0.0.1 localhost api.demo.internal\n")
  m:file("/etc/kubeadm.yaml", yaml.encode_all(config.init { version = "1.36.1", node_name = "cp-1", address = m.private_ip,
    endpoint = "api.demo.internal", port = 6443, cluster_name = "kubernetes", pods = "10.244.0.0/16", services = "10.96.0.0/12",
    domain = "cluster.local", names = { "203.0.113.10" } }))
  local result = m:run("kubeadm", "init", "--config", "/etc/kubeadm.yaml")
  t.eq(result.code, 0, result.err .. result.out)
  local dir = t.tmp()
  local row = { address = "kubeadm.init.cluster", kind = "kubeadm.init", outputs = {},
    fields = { host = { ["$ref"] = "ssh.host.cp" },
    endpoint = "api.demo.internal", port = 6443, reach = "203.0.113.10", names = { "203.0.113.10" } } }
  local session = { stack = "demo", folder = dir, target = { kind = "emulator" }, rows = { row } }
  way.through = function(_, port) return m.address .. ":" .. port end
  way.why = nil
  local function call(args)
    args = args or {}
    args.words, args.groups = args.words or {}, args.groups or {}
    return { session = session, args = args,
      values = { ["ssh.host.cp"] = { address = m.private_ip, user = "root", machine = m } } }
  end
  require("kubeadm.credentials").forget { host = { address = m.private_ip } }
  return call, dir, row, m
end

local function kubectl(path, ...)
  return process.run { argv = { "kubectl", "--kubeconfig", path, ... }, timeout = 20, env = { HOME = "/nonexistent" } }
end

local function has_kubectl() return process.run { argv = { "sh", "-c", "command -v kubectl" } }.code == 0 end

test("the administrator's", function(t)
  local call, dir, row, m = cluster(t)
  t.eq(kubeconfig.choose(call()), { "ssh.host.cp" })
  local path = kubeconfig.run(call()).text
  t.eq(path, dir .. "/kubeconfig")
  t.eq(fs.stat(path).mode & 511, 384)
  local made = yaml.decode(fs.read(path))
  t.eq({ made.clusters[1].name, made.users[1].name, made["current-context"] }, { "demo", "demo-admin", "demo" })
  t.eq(made.clusters[1].cluster.server, ("https://%s:6443"):format(m.address))
  t.eq(made.clusters[1].cluster["tls-server-name"], "api.demo.internal")
  if has_kubectl() then
    local result = kubectl(path, "get", "nodes", "-o", "name")
    t.eq(result.stdout, "node/cp-1\n", result.stderr)
  end

  -- On Azure the API is reached where the recipe says; the certificate names that address, or the endpoint is looked for.
  way.through = nil
  t.eq(yaml.decode(kubeconfig.run(call { out = "-" }).text).clusters[1].cluster.server, "https://203.0.113.10:6443")
  t.eq(yaml.decode(kubeconfig.run(call { out = "-" }).text).clusters[1].cluster["tls-server-name"], nil)
  row.fields.names = {}
  t.eq(yaml.decode(kubeconfig.run(call { out = "-" }).text).clusters[1].cluster["tls-server-name"], "api.demo.internal")
  row.fields.reach = nil
  t.eq(yaml.decode(kubeconfig.run(call { out = "-" }).text).clusters[1].cluster.server, "https://api.demo.internal:6443")
  way.why = "no rule lets us in"
  t.fails("the API at api.demo.internal:6443: no rule lets us in", kubeconfig.run, call())
end)

test("a user's, signed by the cluster", function(t)
  local call, dir = cluster(t)
  local path = kubeconfig.run(call { user = "jane@example.org", groups = { "viewers" }, hours = "2" }).text
  t.eq(path, dir .. "/kubeconfig-jane@example.org")
  local made = yaml.decode(fs.read(path))
  local user = made.users[1].user
  local cert = crypto.x509_read(crypto.unbase64(user["client-certificate-data"]))
  t.eq({ cert.cn, cert.o }, { "jane@example.org", { "viewers" } })
  local hours = (cert.not_after - cert.not_before) / 3600
  t.ok(hours >= 1.9 and hours <= 2.2, "it is good for two hours: " .. hours)
  t.has(crypto.unbase64(user["client-key-data"]), "PRIVATE KEY")
  t.eq(made["current-context"], "demo-jane@example.org")
  local admin = kubeconfig.run(call()).text
  if has_kubectl() then
    local result = kubectl(path, "get", "nodes")
    t.eq(result.code, 1)
    t.has(result.stderr, 'User "jane@example.org" cannot list resource "nodes"')
    t.eq(kubectl(admin, "get", "csr", "-o", "name").stdout:find("vmrun", 1, true), nil, "the request is gone")
  end
  t.fails("--hours wants a number", kubeconfig.run, call { user = "x", hours = "many" })
  t.fails("--group and --hours are for the certificate of a --user", kubeconfig.run, call { groups = { "x" } })
end)

test("merged into one that is there", function(t)
  local call, dir, row = cluster(t)
  local path = dir .. "/home/.kube/config"
  local function run(args)
    -- $KUBECONFIG is read where the verb runs: in this process it is what the test was started with.
    local real = process.env
    process.env = function(name) return name == "HOME" and dir .. "/home" or name ~= "KUBECONFIG" and real(name) or nil end
    local ok, result = pcall(kubeconfig.run, call(args))
    process.env = real
    if not ok then error(result, 0) end
    return result.text
  end
  t.eq(run { merge = true }, path)
  t.eq({ fs.stat(path).mode & 511, fs.stat(dir .. "/home/.kube").mode & 511 }, { 384, 448 })
  local mine = yaml.decode(fs.read(path))
  table.insert(mine.clusters, { name = "other", cluster = { server = "https://192.0.2.1" } })
  mine.users[1].user = { token = "old" }
  fs.write(path, yaml.encode(mine))
  run { merge = true }
  local merged = yaml.decode(fs.read(path))
  t.eq({ #merged.clusters, #merged.users, #merged.contexts, merged["current-context"] }, { 2, 1, 1, "demo" })
  t.eq(merged.users[1].user.token, nil)
  t.fails("--merge and --out exclude each other", run, { merge = true, out = "x" })
  t.eq(row.kind, "kubeadm.init")
end)

test("no cluster, and several", function(t)
  local session = { stack = "demo", rows = {}, target = { kind = "none" } }
  local function call(word) return { session = session, args = { words = { word }, groups = {} }, values = {} } end
  t.fails("stack 'demo' has no cluster", kubeconfig.choose, call())
  session.rows = { { address = "kubeadm.init.a", kind = "kubeadm.init", fields = { host = { ["$ref"] = "ssh.host.a" } },
    outputs = {} },
    { address = "kubernetes.cluster.b", kind = "kubernetes.cluster", fields = {}, outputs = {} } }
  local err = t.fails("stack 'demo' has several clusters", kubeconfig.choose, call())
  t.eq(err.hint, "say which: kubeadm.init.a, kubernetes.cluster.b")
  t.eq(kubeconfig.choose(call "a"), { "ssh.host.a" })
  t.eq(kubeconfig.choose(call "kubernetes.cluster.b"), { "kubernetes.cluster.b" })
  t.fails("there is no cluster 'c'", kubeconfig.choose, call "c")
  t.fails("ssh.host.a is not known", kubeconfig.run, call "a")
end)

test.done()
