--- Serving certificates of kubelets: approved when they are for the node's own names, as part of a Node.
local test = require "tap"
local client = require "kubernetes.client"
local config = require "kubeadm.config"
local crypto, fail = require "crypto", require "fail"
local json = require "json"
local lab = require "kubernetes_lab"
local node = require "kubernetes.node"
local serving = require "kubernetes.serving"
local yaml = require "yaml"

test.timeout = 120

local api
require("kubernetes.connect").client = function() return api end

local function cluster(t)
  local l = lab.new { factor = 50 }
  t.after(l.close)
  local m = l.machine("cp-1", { cni = true })
  m:file("/etc/hosts", "127.0.0.1 localhost api.demo.internal\n")
  m:file("/etc/kubeadm.yaml", yaml.encode_all(config.init { version = "1.36.1", node_name = "cp-1", address = m.private_ip,
    endpoint = "api.demo.internal", port = 6443, cluster_name = "kubernetes", pods = "10.244.0.0/16", services = "10.96.0.0/12",
    domain = "cluster.local" }))
  local result = m:run("kubeadm", "init", "--config", "/etc/kubeadm.yaml")
  t.eq(result.code, 0, result.err .. result.out)
  api = client.new(require("kubernetes.kubeconfig").parts(lab.kubeconfig(m)))
  return m
end

local function context(prior)
  return { fields = { name = "cp-1", cluster = { host = {}, endpoint = "api.demo.internal" }, ready = true, seconds = 20,
    serving = true },
    prior = prior, progress = function() end }
end

local function requests()
  local list = {}
  for _, request in ipairs(api:list("certificates.k8s.io/v1", "CertificateSigningRequest")) do
    if request.spec.signerName == "kubernetes.io/kubelet-serving" then list[#list + 1] = request end
  end
  return list
end

-- A request as a kubelet would make it; it is made in the kubelet's name, as the API server notes it.
local function ask(m, changes)
  local csr = crypto.x509_csr { key = crypto.ec_key(), cn = changes.cn or "system:node:cp-1", o = changes.o or { "system:nodes" },
    dns = changes.dns or { "cp-1" }, ip = changes.ip or { m.private_ip } }
  local request = { apiVersion = "certificates.k8s.io/v1", kind = "CertificateSigningRequest", metadata = { name = "test" },
    spec = { request = crypto.base64(csr), signerName = "kubernetes.io/kubelet-serving", username = "system:node:cp-1",
      usages = json.array(changes.usages or { "digital signature", "server auth" }) } }
  return request
end

test("a new Node's request is waited for and approved", function(t)
  cluster(t)
  node.create(context())
  local list = requests()
  t.eq(#list, 1)
  t.eq(list[1].status.conditions[1].type, "Approved")
  local cert = lab.wait(5, function() return requests()[1].status.certificate end)
  t.eq(crypto.x509_read(crypto.unbase64(cert)).dns, { "cp-1" })
  t.eq(node.read(context()).fields.serving, true)
end)

test("what an earlier Node of its name has asked for does not count", function(t)
  cluster(t)
  node.create(context())
  local made = api:get("v1", "Node", nil, "cp-1")
  made.metadata.creationTimestamp = "2999-01-01T00:00:00Z"
  t.eq(serving.settle(api, made, 0.5), false)
  made.metadata.creationTimestamp = requests()[1].metadata.creationTimestamp
  t.eq(serving.settle(api, made, 0.5), true)
end)

test("a request that nobody answered is a difference", function(t)
  local m = cluster(t)
  lab.wait(10, function() return #requests() > 0 end)
  t.eq(node.read(context()).fields.serving, false)
  node.update(context { fields = {}, outputs = { uid = api:get("v1", "Node", nil, "cp-1").metadata.uid } })
  t.eq(node.read(context()).fields.serving, true)
  -- In somebody else's cluster it is not our business.
  local ctx = context()
  ctx.fields.cluster = { name = "theirs" }
  t.eq(node.read(ctx).fields.serving, true)

  -- What is not the node's own is refused, by name.
  local real, self = api.list, api:get("v1", "Node", nil, "cp-1")
  local function refused(text, changes)
    api.list = function() return { ask(m, changes) } end
    t.fails(text, serving.approve, api, self)
    api.list = real
  end
  refused("it names 10.77.0.99, which is not an address of the Node", { ip = { "10.77.0.99" } })
  refused("it names cp-2", { dns = { "cp-1", "cp-2" } })
  refused("its subject is another", { cn = "system:node:cp-2" })
  refused("its subject is another", { o = { "system:nodes", "system:masters" } })
  refused("it is for client auth", { usages = { "client auth" } })
  refused("it names nothing", { dns = {}, ip = {} })
end)

-- A server that holds requests and one Node; `watch` brings what comes next.
local function fake(now, first, second)
  local list, put = { first }, {}
  return { list = function() return list end, get = function() return now end, path_of = function(_, request) return request.metadata.name end,
    request = function(_, _, path) put[#put + 1] = path end,
    watch = function(_, _, _, _, _, seen)
      if not second then return nil end
      list[2] = second
      return seen("ADDED", second)
    end }, put
end

test("a kubelet whose addresses are others asks again, and that is waited for", function(t)
  local function of(name, ips, approved)
    local request = ask({ private_ip = "10.0.0.4" }, { ip = ips })
    request.metadata = { name = name, creationTimestamp = "2026-11-29T00:00:01Z" }
    request.status = approved and { conditions = { { type = "Approved" } } } or nil
    return request
  end
  local function made(...)
    local addresses = { { type = "Hostname", address = "cp-1" } }
    for _, ip in ipairs { ... } do addresses[#addresses + 1] = { type = "InternalIP", address = ip } end
    return { metadata = { name = "cp-1", uid = "u", creationTimestamp = "2026-11-29T00:00:00Z" }, status = { addresses = addresses } }
  end
  local both = { "10.0.0.4", "20.0.0.9" }
  local server, put = fake(made(table.unpack(both)), of("first", { "10.0.0.4" }, true), of("second", both))
  t.eq(serving.settle(server, made(table.unpack(both)), 1), true)
  t.eq(put, { "second/approval" })
  -- The Node as it was read may be older than what the kubelet knows.
  server, put = fake(made(table.unpack(both)), of("first", both))
  t.eq(serving.settle(server, made("10.0.0.4"), 1), true)
  t.eq(put, { "first/approval" })
  server = fake(made "10.0.0.4", of("first", { "10.0.0.4" }, true))
  t.eq(serving.settle(server, made(table.unpack(both)), 0.1), false)
  -- A cloud provider says the addresses of a Node after it has lifted its taint.
  local function of_cloud(...)
    local object = made(...)
    object.spec = { providerID = "azure:///machine" }
    return object
  end
  local told, waited = of_cloud "10.0.0.4", {}
  table.insert(told.status.addresses, { type = "ExternalIP", address = "20.0.0.9" })
  server, put = fake(nil, of("first", { "10.0.0.4" }, true), of("second", both))
  local now = of_cloud "10.0.0.4"
  function server.get() return now end
  function server.wait(_, _, done)
    waited[#waited + 1] = done(now) or done(told)
    now = told
    return true, told
  end
  t.eq({ serving.settle(server, now, 1), put, waited }, { true, { "second/approval" }, { true } })
  -- The Node may go meanwhile.
  now = of_cloud "10.0.0.4"
  server = fake(nil, of("first", { "10.0.0.4" }, true))
  function server.get() return now end
  function server.wait()
    now = nil
    return true
  end
  t.eq(serving.settle(server, now, 1), false)
  -- It may have no more to say.
  server, put = fake(of_cloud "10.0.0.4", of("first", { "10.0.0.4" }))
  function server.wait() error(fail { "waited 5 s", code = "timeout" }, 0) end
  t.eq({ serving.settle(server, of_cloud "10.0.0.4", 1), put[1] }, { true, "first/approval" })
  function server.wait() error(fail { "no answer", code = "unreachable" }, 0) end
  t.fails("no answer", serving.settle, server, of_cloud "10.0.0.4", 1)
end)

test("a kubelet that asks again before it has its certificate is approved again, until the API server reaches it", function(t)
  local function of(name)
    local request = ask({ private_ip = "10.0.0.4" }, {})
    request.metadata = { name = name }
    return request
  end
  local self = { metadata = { name = "cp-1" }, status = { addresses = { { type = "Hostname", address = "cp-1" },
    { type = "InternalIP", address = "10.0.0.4" } } } }
  local server, put = fake(self, of "first", of "second")
  local approve, asked = server.request, 0
  function server.request(api_, method, path, body)
    if method ~= "GET" then return approve(api_, method, path, body) end
    t.eq(path, "/api/v1/nodes/cp-1/proxy/healthz")
    asked = asked + 1
    return nil, { status = put[2] and 200 or 503 }
  end
  t.eq(serving.serve(server, self, 5), nil)
  t.eq(put, { "first/approval", "second/approval" })
  t.eq(asked, 2)
  -- One that never serves is a warning, also where the API server waits for it and does not answer.
  server = fake(self, of "first")
  server.request = function() return nil, { status = 503 } end
  local failures = { "unreachable", "unreachable", "refused" }
  function server.request(_, method, _, _, options)
    if method ~= "GET" then return end
    t.eq(options.patience, 0)
    error(fail { "no answer", code = table.remove(failures, 1) or "unreachable" }, 0)
  end
  t.eq(t.fails("no answer", serving.serve, server, self, 5).code, "refused")
  server.request = function() return nil, { status = 503 } end
  t.has(serving.serve(server, self, 0.1), "after 0.1 s the API server does not reach the kubelet of cp-1: kubectl logs and exec fail there")
end)

test("a kubelet that has no certificate serves no logs", function(t)
  cluster(t)
  lab.wait(10, function() return #requests() > 0 end)
  local function healthz()
    return api:request("GET", "/api/v1/nodes/cp-1/proxy/healthz", nil, { ok = { [503] = true } })
  end
  local _, answer = healthz()
  t.eq(answer.status, 503)
  t.has(answer.body, "error trying to reach service: remote error: tls: internal error")
  local log = "/api/v1/namespaces/kube-system/pods/etcd-cp-1/log"
  _, answer = api:request("GET", log, nil, { ok = { [500] = true } })
  t.has(json.decode(answer.body).message, ':10250/containerLogs/kube-system/etcd-cp-1/etcd": remote error: tls: internal error')
  t.eq(node.create(context()).note, nil)
  _, answer = healthz()
  t.eq({ answer.status, answer.body }, { 200, "ok" })
  t.eq(select(2, api:request("GET", log)).status, 200)
end)

test.done()
