local sample = use("sample")
local group = sample.group "main" {}
local net = sample.network "main" { group = group, cidr = "10.0.0.0/16" }
local set = sample.set "workers" { network = net, capacity = 2 }
local hosts = each(set.instances, function(vm)
  return sample.host "vm" { address = vm.private_ip }
end)
each(net.gateway, function() end)
each(set, function() end)
each(hosts)
local count = #hosts
