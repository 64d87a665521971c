local sample = use("sample")
local group = sample.group "main" { name = "x"
local other = 1
