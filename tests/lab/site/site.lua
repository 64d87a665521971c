-- A site without a way out: a network of its own, and in it a machine that serves packages and images to its neighbours.
local azure = use "azure"
local key = params { public_key = param.string { help = "who may log in" } }.public_key
local SERVICE = [[
#cloud-config
write_files:
  - path: /etc/systemd/system/site.service
    content: |
      [Unit]
      StartLimitIntervalSec=0
      [Service]
      ExecStart=/srv/site/serve
      Restart=always
      RestartSec=1
      [Install]
      WantedBy=multi-user.target
runcmd:
  - systemctl enable --now site
]]
local group = azure.resource_group "site" { name = "site-rg", location = "westus2" }
local network = azure.virtual_network "site" { group = group, name = "site-vnet", cidr = "10.1.0.0/16" }
local subnet = azure.subnet "site" { vnet = network, name = "site", cidr = "10.1.0.0/24" }
local interface = azure.network_interface "site" { group = group, name = "site-nic", subnet = subnet }
azure.virtual_machine "site" {
  group = group, name = "site", interface = interface, size = "Standard_D2s_v5", image = "debian-12", user = "ops",
  public_key = key, custom_data = SERVICE,
}
outputs { network = network.id, address = interface.private_ip }
