local sample = use("sample")
local group = sample.group "first" {
  tags = { text = second.id },
}
local net = sample.network "third" { group = group, cidr = "10.0.0.0/16" }
local second = sample.group "second" {
  tags = { text = "x" ..
    net.id },
}
sample.group "early" { tags = { text = later.id } }
local later = sample.group "later" {}
local one
each({ 1 }, function() sample.group "inner" { tags = { text = one.id } } end)
one = sample.group "one" {}
sample.group "none" { tags = { text = nothing.id } }
