--- What runs once when tasks that name it in `notify` have changed something: at the role's end, or at `host.flush()`.
local field, task = require "field", require "host.task"

return task "handler" {
  doc = "A command that runs once when notified.",
  fields = { run = field.string { required = true, doc = "Shell text." } },
  handles = true,
  shown = function(t) return { run = t.run } end,
  check = "! pending {mark} || { oldis run pending; return 1; }",
  apply = "timeout -k 10 {seconds} sh -c {run} && settle {mark}",
}
