-- One role on every host of an inventory: Ansible's YAML, or what `vmrun inventory RECIPE` prints of another stack. What is
-- changed there is seen before it is done: `vmrun plan fleet.lua release=2`.
local ssh, fleet = use("ssh", "fleet")

local p = params {
  inventory   = param.file { help = "the hosts: Ansible's inventory in YAML or JSON" },
  known_hosts = param.file { help = "their keys, a line `NAME TYPE KEY` each, as in ~/.ssh/known_hosts" },
  key         = param.secret { env = "HOST_KEY", help = "the private key that the hosts let in" },
  release     = param.string { default = "1", help = "what the hosts run; a new one changes them" },
}

-- The keys of a host by the name or address that it is reached under, and its port where that is not 22.
local keys = {}
for names, line in p.known_hosts:gmatch("([^%s#]%S*)[ \t]+(%S+[ \t]+%S+)[^\n]*") do
  for name in names:gmatch("[^,]+") do
    keys[name] = keys[name] or {}
    table.insert(keys[name], line)
  end
end

local hosts, names = yaml_decode(p.inventory).all.hosts, {}
for name in pairs(hosts) do names[#names + 1] = name end
table.sort(names)

for _, name in ipairs(names) do
  local vars = hosts[name]
  local address, port = vars.ansible_host or name, vars.ansible_port or 22
  local at = port == 22 and address or ("[%s]:%d"):format(address, port)
  local host = ssh.host(name) {
    address = address, port = port, user = vars.ansible_user, key = p.key, host_keys = keys[at] or {},
  }
  fleet.node(name) { host = host, node = name, release = p.release }
end
