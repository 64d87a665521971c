--- containerd as the container runtime of a Kubernetes host, with systemd's cgroup driver.
local field, role = require "field", require "role"

-- The same settings in containerd's two configuration formats: 1.x reads version 2, 2.x version 3, where the CRI plugin is
-- split and the keys have other homes (https://github.com/containerd/containerd/blob/main/docs/cri/config.md).
local V2 = [[
version = 2

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{{ pause }}"

[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"

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

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = {{ systemd }}
]]

local function mirror_text(registry, url)
  return ('server = "https://%s"\n\n[host."%s"]\n  capabilities = ["pull", "resolve"]\n'):format(registry, url)
end

return role "containerd.runtime" {
  doc = "containerd, with systemd's cgroup driver.",
  inputs = {
    package = field.choice { "containerd.io", "containerd", default = "containerd.io",
      doc = "Docker's package (2.x) or the distribution's own (1.x)." },
    version = field.string { doc = "A version of the package, or a prefix that ends in `*`; the releases that read `config` unless given." },
    config = field.integer { default = 3, min = 2, max = 3, doc = "The configuration's format: 2 for 1.x, 3 for 2.x." },
    cgroup = field.choice { "systemd", "cgroupfs", default = "systemd", doc = "The cgroup driver; kubelets use systemd's." },
    pause = field.string { default = "registry.k8s.io/pause:3.10.2", doc = "The sandbox image." },
    repository = field.string { default = "https://download.docker.com/linux/debian", doc = "Where containerd.io comes from." },
    mirrors = field.map { field.string {}, default = {}, doc = "Registry -> URL of a mirror." },
  },
  tasks = function(host, f)
    if f.package == "containerd.io" then
      host.apt_repository "docker" { url = f.repository, suite = host.codename, components = { "stable" },
        key_url = f.repository .. "/gpg" }
    end
    host.package (f.package) { version = f.version or ("%d.*"):format(f.config - 1), hold = true }
    host.directory "/etc/containerd/certs.d" {}
    local registries = {}
    for registry in pairs(f.mirrors) do registries[#registries + 1] = registry end
    table.sort(registries)
    for _, registry in ipairs(registries) do
      host.directory ("/etc/containerd/certs.d/" .. registry) {}
      host.file ("/etc/containerd/certs.d/" .. registry .. "/hosts.toml") { content = mirror_text(registry, f.mirrors[registry]) }
    end
    host.template "/etc/containerd/config.toml" { template = f.config == 3 and V3 or V2,
      values = { pause = f.pause, systemd = f.cgroup == "systemd" and "true" or "false" }, notify = "containerd" }
    host.service "containerd" {}
  end,
}
