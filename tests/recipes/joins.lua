-- What each() gives back is a list to all and any, where the recipe knows the items and where a
-- collection has them.
local sample = use("sample")
local net = sample.network "main" { group = sample.group "main" {}, cidr = "10.0.0.0/16" }
local set = sample.set "workers" { network = net, capacity = 3 }
local members = each(set.instances, function(vm)
  return sample.host "vm" { address = vm.private_ip }
end)
local named = each({ "a", "b" }, function(name)
  return sample.host(name) { address = name, after = any(members) }
end)
sample.group "every" { after = all(members) }
sample.group "most" { after = all { members, named, max_fail = 1 } }
sample.group "first" { after = any { named, set } }
sample.group "two" { after = all { members[1], members[2] } }
each(set.instances, function(vm)
  sample.host "second" { address = vm.hostname, after = all(members) }
end)
