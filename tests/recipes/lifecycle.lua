local sample = use("sample")
local group = sample.group "main" { protect = "yes", ignore_changes = { "tags", "lcation" } }
local net = sample.network "main" { group = group, cidr = "10.0.0.0/16", after = { "sample.group.main" }, create_before_destroy = 1 }
sample.group "slow" { timeouts = { create = "10 min", craete = 5, add = 3, read = 0 } }
sample.group "slower" { timeouts = 600 }
moved { from = "sample.group.old" }
