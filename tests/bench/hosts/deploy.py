"""The ten tasks of examples/fleet/node.lua for pyinfra: --data release=N."""
from io import StringIO

from pyinfra import host
from pyinfra.facts.files import File
from pyinfra.facts.server import Kernel
from pyinfra.operations import files, server

UNIT = """[Unit]
Description=kubelet %s
[Service]
ExecStart=/usr/bin/kubelet
Restart=always
[Install]
WantedBy=multi-user.target
"""

release = host.data.release
data = f"/var/lib/kubelet-{release}"
done = f"/var/lib/kubelet-done-{release}"

files.put(src=StringIO(f'version = 2\nroot = "/var/lib/containerd"\nrev = {release}\n'), dest="/etc/containerd-role.toml", mode="644")
files.line(path="/etc/hosts", line=f"10.0.0.{release} api.cluster.local")
files.template(src="kubelet.j2", dest="/etc/default/kubelet", mode="644", node=host.name, address=host.data.ssh_hostname, release=release)
files.directory(path=data, mode="750")
files.put(src=StringIO(f"net.ipv4.ip_forward = 1\nnet.bridge.bridge-nf-call-iptables = 1\n# {release}\n"), dest="/etc/sysctl.d/99-k8s.conf", mode="644")
files.put(src=StringIO(UNIT % release), dest="/etc/systemd/system/kubelet.service", mode="644")
server.shell(commands=["dpkg-query -W -f='${Version}' bash"])
if not host.get_fact(File, path=done):
    server.shell(commands=[f"echo init > {done}"])
files.link(path="/opt/kubelet", target=data)
host.get_fact(Kernel)
