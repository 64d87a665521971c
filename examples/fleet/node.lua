--- What every node of the fleet has: ten tasks, of which a new release changes eight.
local field, role = require "field", require "role"

local KUBELET = [[
# managed for {{node}}
KUBELET_EXTRA_ARGS="--node-ip={{address}} --max-pods=110 --v={{release}}"
]]

local UNIT = [[
[Unit]
Description=kubelet %s
[Service]
ExecStart=/usr/bin/kubelet
Restart=always
[Install]
WantedBy=multi-user.target
]]

return role "fleet.node" {
  doc = "A node of the fleet.",
  inputs = {
    node = field.string { required = true, doc = "What the node is called." },
    release = field.string { required = true, match = "^[%w.]+$", doc = "What it runs." },
  },
  tasks = function(host, f)
    local data = "/var/lib/kubelet-" .. f.release
    host.file "/etc/containerd-role.toml" {
      content = ("version = 2\nroot = \"/var/lib/containerd\"\nrev = %s\n"):format(f.release),
    }
    host.line "api" { path = "/etc/hosts", line = ("10.0.0.%s api.cluster.local"):format(f.release) }
    host.template "/etc/default/kubelet" {
      template = KUBELET, values = { node = f.node, address = host.address, release = f.release },
    }
    host.directory (data) { mode = "0750" }
    host.file "/etc/sysctl.d/99-k8s.conf" {
      content = ("net.ipv4.ip_forward = 1\nnet.bridge.bridge-nf-call-iptables = 1\n# %s\n"):format(f.release),
    }
    host.file "/etc/systemd/system/kubelet.service" { content = UNIT:format(f.release) }
    host.package "bash" {}
    host.command "init" {
      run = ("echo init >/var/lib/kubelet-done-%s"):format(f.release), creates = "/var/lib/kubelet-done-" .. f.release,
    }
    host.symlink "/opt/kubelet" { target = data }
  end,
  -- The tenth: what the host says of itself comes with the same answer.
  asks = { kernel = "uname -r" },
  outputs = { kernel = field.string { doc = "The kernel that runs." } },
  results = function(answers) return { kernel = answers.kernel } end,
}
