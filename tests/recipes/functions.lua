local sample = use("sample")
local group = sample.group "main" {}
local text = yaml { a = 1, b = { 2, 3 } }
sample.group "x" { tags = { host = cidr_host("10.0.0.0/24", 5), id = base64(group.id), bad = fn.bsae64("x") } }
sample.group "y" { tags = { host = cidr_host("10.0.0.0/24", 5000) } }
