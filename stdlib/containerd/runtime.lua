--- containerd as the container runtime of a Kubernetes host, with systemd's cgroup driver.
local field, release, role = require "field", require "kubernetes.release", require "role"

-- The same settings in containerd's two configuration formats: 1.x reads version 2, 2.x version 3, where the CRI plugin is
-- split and the keys have other homes (https://github.com/containerd/containerd/blob/main/docs/cri/config.md).
local V2 = [[
version = 2

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{{ pause }}"
{{ adjust }}
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/opt/cni/bin"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = {{ systemd }}
]]
local V3 = [[
version = 3

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{{ pause }}"

[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = "/etc/containerd/certs.d"
{{ adjust }}
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = {{ systemd }}
]]
-- Where the line goes: into the section before it, or into one of its own.
local ADJUST = { [2] = "  restrict_oom_score_adj = true\n", [3] = "\n[plugins.'io.containerd.cri.v1.runtime']\n  restrict_oom_score_adj = true\n" }

-- Registries whose images have another host than the one in their names.
local SERVERS = { ["docker.io"] = "registry-1.docker.io" }

local function mirror_text(registry, url)
  return ('server = "https://%s"\n\n[host."%s"]\n  capabilities = ["pull", "resolve"]\n'):format(SERVERS[registry] or registry, url)
end

local function config_of(f)
  if f.config then return f.config end
  local old = f.package == "containerd" or f.kubernetes and not release.speaks_to_containerd_2(f.kubernetes)
  return old and 2 or 3
end

local RESOURCE = 24 -- CAP_SYS_RESOURCE

-- In a container, or a small virtual machine, that may not lower an oom_score_adj, no pod that asks for it would start.
local function restricted(host, f)
  if f.restrict_oom ~= nil then return f.restrict_oom end
  local capabilities = tonumber(host.capabilities or "", 16)
  return capabilities ~= nil and capabilities >> RESOURCE & 1 == 0
end

return role "containerd.runtime" {
  doc = "containerd, with systemd's cgroup driver.",
  inputs = {
    package = field.choice { "containerd.io", "containerd", default = "containerd.io",
      doc = "Docker's package (2.x; 1.x for a Kubernetes before 1.23) or the distribution's own (1.x)." },
    version = field.string { doc = "A version of the package, or a prefix that ends in `*`; the releases that read `config` unless given." },
    kubernetes = field.string { match = "^v?1%.%d+%.%d+$", doc = "The release that it is for: decides `config` and `pause`." },
    config = field.integer { min = 2, max = 3, doc = "The configuration's format: 2 for 1.x, 3 for 2.x. Follows from package and release unless given." },
    cgroup = field.choice { "systemd", "cgroupfs", default = "systemd", doc = "The cgroup driver; kubelets use systemd's." },
    pause = field.string { doc = "The sandbox image; the release's unless given." },
    restrict_oom = field.boolean { doc = "Keep pods' oom_score_adj at what containerd itself has: for hosts without CAP_SYS_RESOURCE, which are known unless this is given." },
    repository = field.string { default = "https://download.docker.com/linux/debian", doc = "Where containerd.io comes from." },
    mirrors = field.map { field.string {}, default = {}, doc = "Registry -> URL of a mirror, such as `http://10.1.0.4:5000`." },
  },
  facts = { capabilities = "awk '/^CapBnd:/ { print $2 }' /proc/self/status 2>/dev/null" },
  tasks = function(host, f)
    if f.package == "containerd.io" then
      host.apt_repository "docker" { url = f.repository, suite = host.codename, components = { "stable" },
        key_url = f.repository .. "/gpg" }
    end
    local config = config_of(f)
    host.package (f.package) { version = f.version or ("%d.*"):format(config - 1), hold = true }
    host.directory "/etc/containerd/certs.d" {}
    local registries = {}
    for registry in pairs(f.mirrors) do registries[#registries + 1] = registry end
    table.sort(registries)
    for _, registry in ipairs(registries) do
      host.directory ("/etc/containerd/certs.d/" .. registry) {}
      host.file ("/etc/containerd/certs.d/" .. registry .. "/hosts.toml") { content = mirror_text(registry, f.mirrors[registry]) }
    end
    host.template "/etc/containerd/config.toml" { template = config == 3 and V3 or V2, values = {
      pause = f.pause or release.pause(f.kubernetes), systemd = f.cgroup == "systemd" and "true" or "false",
      adjust = restricted(host, f) and ADJUST[config] or "" }, notify = "containerd" }
    host.service "containerd" {}
  end,
}
