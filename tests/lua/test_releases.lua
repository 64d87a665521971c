--- What follows from a release of Kubernetes, and from the host it runs on: containerd's package, configuration and sandbox image,
-- kubeadm's images. Configurations are compared whole with golden/containerd-*.toml (VMRUN_GOLDEN=write makes them anew).
local test = require "tap"
local cluster = require "cluster_lab"
local config = require "kubeadm.config"
local fs = require "fs"
local process = require "process"
local release = require "kubernetes.release"

local folder = (arg[0]:match "^(.*)/[^/]*$" or ".") .. "/golden"
local ALL, FEW = "000001ffffffffff", "000001fffeffffff" -- capabilities, with that of resources and without

local function runtime(fields, facts)
  local made = { files = {} }
  for _, one in ipairs(cluster.declared("containerd.runtime", fields, facts)) do
    local f = one.fields
    if one.kind == "package" then made.package = f.names[1] .. "=" .. f.version end
    if one.kind == "file" or one.kind == "template" then made.files[f.path] = f.content end
  end
  made.config = made.files["/etc/containerd/config.toml"]
  return made
end

local function golden(t, name, text)
  local path = folder .. "/containerd-" .. name .. ".toml"
  if process.env "VMRUN_GOLDEN" == "write" then fs.write(path, text) end
  t.eq(text, fs.read(path), name)
end

test("the sandbox image is the one that kubeadm of the release names", function(t)
  -- `kubeadm config images list` of these releases
  local named = { ["1.20.2"] = "3.2", ["1.21.14"] = "3.4.1", ["v1.22.17"] = "3.5", ["1.23.17"] = "3.6", ["1.24.17"] = "3.7", ["1.25.16"] = "3.8",
    ["1.27.1"] = "3.9", ["1.30.2"] = "3.9", ["1.31.0"] = "3.10", ["1.34.1"] = "3.10.1", ["1.36.1"] = "3.10.2" }
  for version, tag in pairs(named) do t.eq(release.pause(version), "registry.k8s.io/pause:" .. tag, version) end
  t.eq(release.pause(), "registry.k8s.io/pause:3.10.2", "without a release the newest")
end)

test("containerd's series and form follow from the package and the release", function(t)
  t.eq(runtime().package, "containerd.io=2.*")
  t.eq(runtime({ kubernetes = "1.36.1" }).package, "containerd.io=2.*")
  t.eq(runtime({ kubernetes = "1.22.17" }).package, "containerd.io=1.*", "its kubelet does not speak to 2.x")
  t.eq(runtime({ package = "containerd", kubernetes = "1.36.1" }).package, "containerd=1.*")
  t.eq(runtime({ package = "containerd", config = 3 }).package, "containerd=2.*", "what is said counts")
end)

test("containerd's configuration, whole", function(t)
  golden(t, "v2", runtime({ package = "containerd", kubernetes = "1.20.2" }, { capabilities = ALL }).config)
  golden(t, "v2-restricted", runtime({ package = "containerd", kubernetes = "1.20.2" }, { capabilities = FEW }).config)
  golden(t, "v3", runtime({ kubernetes = "1.36.1" }, { capabilities = ALL }).config)
  golden(t, "v3-restricted", runtime({ kubernetes = "1.36.1" }, { capabilities = FEW }).config)
end)

test("an oom_score_adj is restricted where the host lacks the right to lower it, or as is said", function(t)
  local function restricts(fields, capabilities)
    return runtime(fields, { capabilities = capabilities }).config:find("restrict_oom_score_adj = true", 1, true) ~= nil
  end
  t.eq(restricts({}, ALL), false)
  t.eq(restricts({}, FEW), true)
  t.eq(restricts({}, ""), false, "a host that does not tell")
  t.eq(restricts({ restrict_oom = true }, ALL), true)
  t.eq(restricts({ restrict_oom = false }, FEW), false)
end)

test("mirrors of registries", function(t)
  local files = runtime({ mirrors = { ["docker.io"] = "http://10.1.0.4:5000", ["ghcr.io"] = "https://mirror.example.org" } }).files
  t.eq(files["/etc/containerd/certs.d/docker.io/hosts.toml"],
    'server = "https://registry-1.docker.io"\n\n[host."http://10.1.0.4:5000"]\n  capabilities = ["pull", "resolve"]\n')
  t.eq(files["/etc/containerd/certs.d/ghcr.io/hosts.toml"],
    'server = "https://ghcr.io"\n\n[host."https://mirror.example.org"]\n  capabilities = ["pull", "resolve"]\n')
end)

local function documents(version, more)
  local f = { version = version, node_name = "cp-1", address = "10.0.1.4", endpoint = "api.demo.internal", port = 6443,
    cluster_name = "demo", pods = "10.244.0.0/16", services = "10.96.0.0/12", domain = "cluster.local" }
  for key, value in pairs(more or {}) do f[key] = value end
  local by_kind = {}
  for _, document in ipairs(config.init(f)) do by_kind[document.kind] = document end
  return by_kind
end

test("images come from where they are, whatever kubeadm's own default was", function(t)
  local function images(version, given)
    local c = documents(version, { image_repository = given }).ClusterConfiguration
    return { c.imageRepository or "", c.dns and c.dns.imageRepository or "" }
  end
  t.eq(images "1.20.2", { "registry.k8s.io", "" })
  t.eq(images "1.21.14", { "registry.k8s.io", "registry.k8s.io/coredns" })
  t.eq(images "1.24.17", { "registry.k8s.io", "registry.k8s.io/coredns" })
  t.eq(images "1.25.0", { "", "" })
  t.eq(images("1.21.14", "registry.example.org"), { "registry.example.org", "" })
end)

test("kube-proxy leaves the table of connections alone where the host may not size it", function(t)
  t.eq(documents("1.36.1").KubeProxyConfiguration, nil)
  t.eq(documents("1.36.1", { fixed_conntrack = true }).KubeProxyConfiguration,
    { apiVersion = "kubeproxy.config.k8s.io/v1alpha1", kind = "KubeProxyConfiguration", conntrack = { maxPerCore = 0 } })
  local function written(mode)
    for _, one in ipairs(cluster.declared("kubeadm.init", { node = { version = "1.36.1" }, address = "10.0.1.4", endpoint = "api.internal" },
      { conntrack = mode })) do
      if one.fields.path == "/etc/kubernetes/kubeadm.yaml" then return one.fields.content:find("KubeProxyConfiguration", 1, true) ~= nil end
    end
  end
  t.eq({ written "644", written "444", written "" }, { false, true, false })
end)

test("a mirror of Debian takes the place of the host's own sources", function(t)
  local function sources(mirror)
    local found = {}
    for _, one in ipairs(cluster.declared("linux.base", { mirror = mirror })) do
      if one.kind == "file" then found[one.fields.path] = one.fields.content or one.fields.state end
    end
    return found
  end
  t.eq(sources(nil), {}, "which stay as they are otherwise")
  local signed = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example.org/debian"
  t.eq(sources "http://mirror.example.org/debian", { ["/etc/apt/sources.list.d/debian.sources"] = "absent",
    ["/etc/apt/sources.list"] = signed .. " bookworm main\n" .. signed .. " bookworm-updates main\n" .. signed
      .. "-security bookworm-security main\n" })
end)

test.done()
