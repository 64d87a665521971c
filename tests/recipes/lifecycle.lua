local sample = use("sample")
local group = sample.group "main" { protect = "yes", ignore_changes = { "tags", "lcation" } }
local net = sample.network "main" { group = group, cidr = "10.0.0.0/16", after = { "sample.group.main" }, create_before_destroy = 1 }
moved { from = "sample.group.old" }
