local sample = use("sample")
local group = sample.group "main" {}
outputs {
  fine = group.id,
  broken = { group = function() end },
}
outputs { fine = "again" }
