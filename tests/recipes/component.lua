local sample = use("sample")
local node = component "node" {
  input = { address = param.string {} },
  build = function(input) return input end,
}
local other = component "other" { inputs = { x = 5 }, build = function() end }
