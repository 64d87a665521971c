--- kubeadm's configuration documents in each of its API versions, compared whole with golden/*.yaml. With VMRUN_GOLDEN=write
-- the files are made anew: read them before they are committed.
local test = require "tap"
local config = require "kubeadm.config"
local fs = require "fs"
local process = require "process"
local yaml = require "yaml"

local folder = (arg[0]:match "^(.*)/[^/]*$" or ".") .. "/golden"

local function golden(t, name, text)
  local path = folder .. "/" .. name .. ".yaml"
  if process.env "VMRUN_GOLDEN" == "write" then fs.write(path, text) end
  t.eq(text, fs.read(path), name)
end

local function base(version, more)
  local f = { version = version, node_name = "cp-1", address = "10.0.1.4", endpoint = "api.demo.internal", port = 6443,
    cluster_name = "demo", pods = "10.244.0.0/16", services = "10.96.0.0/12", domain = "cluster.local" }
  for key, value in pairs(more or {}) do f[key] = value end
  return f
end

local JOIN = { node_name = "worker-1", address = "10.0.1.7", token = "abcdef.0123456789abcdef",
  ca_hash = "sha256:0000000000000000000000000000000000000000000000000000000000000000" }
local KEY = ("e"):rep(64)

local VERSIONS = { v1beta2 = "1.21.14", v1beta3 = "v1.30.2", v1beta4 = "1.36.1" }

for api, version in pairs(VERSIONS) do
  test("kubeadm init, " .. api, function(t)
    golden(t, "init-" .. api, yaml.encode_all(config.init(base(version))))
    golden(t, "init-full-" .. api, yaml.encode_all(config.init(base(version, { names = { "203.0.113.10" }, encryption = true,
      audit = true, cloud_provider = true, image_repository = "registry.example.org/k8s" }))))
  end)

  test("kubeadm join, " .. api, function(t)
    golden(t, "join-" .. api, yaml.encode(config.join(base(version, JOIN))))
    local control = base(version, JOIN)
    control.certificate_key, control.cloud_provider = KEY, true
    golden(t, "join-control-plane-" .. api, yaml.encode(config.join(control)))
  end)
end

test("the API version follows the release", function(t)
  local expected = { ["1.15.0"] = "v1beta2", ["1.21.9"] = "v1beta2", ["1.22.0"] = "v1beta3", ["v1.30.14"] = "v1beta3",
    ["1.31.0"] = "v1beta4", ["1.36.1"] = "v1beta4" }
  for version, api in pairs(expected) do t.eq(config.api_version(version), "kubeadm.k8s.io/" .. api, version) end
end)

-- What is true of every version, whatever the files say.
test("what a cluster with a stable endpoint and more than one control plane needs", function(t)
  for _, version in pairs(VERSIONS) do
    local documents = config.init(base(version, { names = { "203.0.113.10" } }))
    local init, cluster, kubelet = documents[1], documents[2], documents[3]
    t.eq({ init.kind, cluster.kind, kubelet.kind }, { "InitConfiguration", "ClusterConfiguration", "KubeletConfiguration" })
    t.eq(cluster.kubernetesVersion, "v" .. version:gsub("^v", ""))
    t.eq(cluster.controlPlaneEndpoint, "api.demo.internal:6443")
    local names = {}
    for _, name in ipairs(cluster.apiServer.certSANs) do names[name] = true end
    for _, name in ipairs { "api.demo.internal", "127.0.0.1", "203.0.113.10" } do t.ok(names[name], name) end
    t.eq({ kubelet.cgroupDriver, kubelet.rotateCertificates, kubelet.serverTLSBootstrap }, { "systemd", true, true })
    t.eq(init.nodeRegistration.criSocket, "unix:///run/containerd/containerd.sock")
    t.ok(init.bootstrapTokens == nil and init.certificateKey == nil, "no token and no key lies on a disk")
    t.eq(config.join(base(version, JOIN)).controlPlane, nil)
  end
end)

test("a cluster is reached where its recipe says, by whatever name its certificate has", function(t)
  local connect = require "kubernetes.connect"
  local azure = { kind = "azure" }
  local function way(reach) return connect.way(azure, { endpoint = "api.demo.internal", port = 6443, reach = reach })() end
  t.eq(way "203.0.113.2", "203.0.113.2:6443")
  t.eq(way "2001:db8::1", "[2001:db8::1]:6443")
  t.eq(way "lb.example.org", "lb.example.org:6443")
  t.eq(way(nil), nil, "the name says it")
end)

test.done()
