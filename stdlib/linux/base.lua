--- What every Kubernetes host needs of its operating system before anything of Kubernetes: a name, no swap, kernel modules
-- and parameters, basic packages.
local field, role = require "field", require "role"

-- The sources in both of the forms that images come with.
local function sources(host, mirror)
  local suites, lines = { { mirror, host.codename }, { mirror, host.codename .. "-updates" },
    { mirror .. "-security", host.codename .. "-security" } }, {}
  for i, suite in ipairs(suites) do lines[i] = ("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n"):format(suite[1], suite[2]) end
  host.file "/etc/apt/sources.list.d/debian.sources" { state = "absent" }
  host.file "/etc/apt/sources.list" { content = table.concat(lines), notify = "apt" }
  host.handler "apt" { run = "apt-get update -qq" }
end

return role "linux.base" {
  doc = "The operating system of a Kubernetes host.",
  inputs = {
    hostname = field.string { doc = "The host's name; it must be the machine's name for a cloud provider to find it." },
    packages = field.list { field.string {}, default = { "ca-certificates", "conntrack", "curl", "ebtables", "ethtool", "iptables", "socat" } },
    modules = field.list { field.string {}, default = { "overlay", "br_netfilter" } },
    sysctls = field.map { field.string {}, default = {
      ["net.bridge.bridge-nf-call-iptables"] = "1", ["net.bridge.bridge-nf-call-ip6tables"] = "1",
      ["net.ipv4.ip_forward"] = "1", ["fs.inotify.max_user_instances"] = "8192",
      ["fs.inotify.max_user_watches"] = "524288" } },
    mirror = field.string { match = "^%w+://%S*[^/]$", doc = "A mirror of Debian's archive, in place of the sources that the host has; its security archive is beside it, with `-security` at the end." },
    swap = field.boolean { default = false, doc = "Leave swap as it is; kubelets refuse to start with it." },
  },
  tasks = function(host, f)
    if f.hostname then
      host.hostname (f.hostname) {}
      host.host_entry (f.hostname) { address = "127.0.1.1" }
    end
    -- A machine that cloud-init still works on would change under our hands, and hold apt's lock.
    host.command "cloud-init" { run = "cloud-init status --wait >/dev/null",
      unless = "! command -v cloud-init || cloud-init status | grep -Eq 'status: (done|disabled)'" }
    if f.mirror then sources(host, f.mirror) end
    host.package "packages" { names = f.packages }
    if not f.swap then host.swap "swap" {} end
    for _, name in ipairs(f.modules) do host.kernel_module (name) {} end
    local keys = {}
    for key in pairs(f.sysctls) do keys[#keys + 1] = key end
    table.sort(keys)
    for _, key in ipairs(keys) do host.sysctl (key) { value = f.sysctls[key] } end
  end,
}
