local sample = use("sample")
local group = sample.group "main" {}
local net = sample.network "main" { group = group, cidr = "10.0.0.0/16" }
local set = sample.set "workers" { network = net, capacity = 2 }
local inner
each(set.instances, function(vm)
  inner = sample.host "vm" { address = vm.private_ip }
end)
local outside = sample.host "outside" { address = "10.0.0.1", via = inner }
