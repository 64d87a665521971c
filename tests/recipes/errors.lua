-- Mistakes of many sorts; all are told at once, in the order of the text.
local sample = use("sample")

local p = params {
  name    = param.string  { default = "demo", match = "^[a-z][a-z0-9-]*$", help = "prefix of every name" },
  workers = param.integer { default = 2, min = 1, max = 100 },
  repo    = param.string  { help = "Git repository that Flux follows" },
  sizes   = param.list    { param.integer {}, defalt = { 1 } },
}

local group = sample.group   "main"  { name = p.name .. "-rg", location = "weast" }
local net   = sample.network "main"  { group = group, cdir = "10.0.0.0/16" }
local wide  = sample.network "wide"  {
  group = group, cidr = "10.0.1.0/33", mtu = "big",
  rules = {
    { name = "ssh", port = 22 },
    { name = "api", prot = 6443 },
    { name = "ssh", port = 70000 },
  },
}
local other = sample.netwrok "other" { group = group }
local third = sample.network "third" { group = net, cidr = { "10.3.0.0/16" } }
local host  = sample.host "one" { address = net.gatway, via = group }
local again = sample.host "one" { address = "10.0.0.9" }
local half  = sample.host "half"

local machines = sample.set "workers" { network = net, capacity = p.worker }

local hosts = each(machines.instances, function(vm)
  return sample.host "vm" { address = vm.privat_ip }
end)

local node = component "node" {
  inputs = { address = param.string {}, count = param.integer { default = 1 } },
  build = function(input)
    return sample.host "inner" { address = input.adress }
  end,
}
node "a" { address = host, cuont = 2 }
node "b" {}

grp = group
local last = sample.host "last" { address = hots[1].address, via = hosts, peers = { "a", 7 } }

outputs {
  id   = net.id,
  text = ("%s"):format(net.id),
}
