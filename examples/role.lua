-- A host of your own and a role from a library beside the recipe: examples/motd/message.lua.
local ssh, motd = use("ssh", "motd")

local p = params {
  address  = param.string { help = "the host's name or address" },
  user     = param.string { default = "root" },
  key      = param.secret { env = "HOST_KEY", help = "the private key" },
  host_key = param.string { help = "the host's public key line, as ssh-keyscan prints it without the name" },
}

local host = ssh.host "host" { address = p.address, user = p.user, key = p.key, host_keys = { p.host_key } }
motd.message "message" { host = host, text = "Kept by vmrun." }
