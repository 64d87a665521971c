"""An inventory for pyinfra from Ansible's as JSON, in the file that BENCH_INVENTORY names; BENCH_KNOWN_HOSTS has the keys."""
import json
import os

with open(os.environ["BENCH_INVENTORY"]) as file:
    found = json.load(file)["all"]["hosts"]

hosts = [(name, {
    "ssh_hostname": host["ansible_host"], "ssh_port": host["ansible_port"], "ssh_user": host["ansible_user"],
    "ssh_key": host["ansible_ssh_private_key_file"], "ssh_known_hosts_file": os.environ["BENCH_KNOWN_HOSTS"],
    "ssh_strict_host_key_checking": "yes", "ssh_allow_agent": False, "ssh_look_for_keys": False,
}) for name, host in sorted(found.items())]
