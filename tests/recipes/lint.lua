local sample = use("sample")
local group = sample.group "main" {}
local net = sample.network "main" { group = group, cidr = "10.0.0.0/16" }
local name = "x"
if net.gateway == "10.0.0.1" then name = "y" end
if net.gateway then name = "z" end
if group.name == "main" then name = "w" end
local text = "gateway " .. net.gateway
