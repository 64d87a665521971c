requires { vmrun = ">= 0.1, < 9" }
local sample = use("sample")
local group = sample.group "main" {}
check "one" { of = { group.id }, taht = function() return true end }
check "two" { of = { group.id } }
check "three" "no table"
check "four" { that = function() return true end, after = "group" }
check "one two" {}
requires { lua = "5.4" }
