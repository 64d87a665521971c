--- What the words `all`, `any` and `serial` declare: a point where several things meet, though some of them may fail.
local kind = require "kind"

return kind "check.join" {
  doc = "A point where several resources meet: all { a, b, max_fail = 1 }, any { a, b }, or between two of serial(list, ...).",
  fields = {},
  outputs = {},
  timeouts = { read = 30 },
  read = function(ctx) return { fields = ctx.fields, outputs = {} } end,
}
