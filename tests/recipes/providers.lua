local sample, azzure = use("sample", "azzure")
azzure.thing "x" { anything = 1 }
local net = sample.network
local group = sample.group { name = "x" }
sample.group "bad name" {}
sample.group "nil" (nil)
