--- A command, for what has no task of its own.
local field, task = require "field", require "host.task"

return task "command" {
  doc = "A command. Without `creates`, `unless` or `only_if` it runs at each apply.",
  fields = {
    run = field.string { required = true, doc = "Shell text. No secrets: it may be seen in a process list; use `input`." },
    creates = field.string { match = "^/", doc = "A path that is there once the command has run." },
    unless = field.string { doc = "Shell text: success means that there is nothing to do." },
    onlyif = field.string { doc = "Shell text: failure means that there is nothing to do." },
    input = field.secret { doc = "What the command reads on its standard input." },
  },
  prepare = function(t) t.input = t.input or "" end,
  shown = function(t) return { run = t.run } end,
  check = function(t)
    local lines = {}
    if t.onlyif then lines[#lines + 1] = "timeout -k 10 {seconds} sh -c {onlyif} >/dev/null 2>&1 || return 0" end
    if t.creates then lines[#lines + 1] = "[ ! -e {creates} ] || return 0" end
    if t.unless then lines[#lines + 1] = "! timeout -k 10 {seconds} sh -c {unless} >/dev/null 2>&1 || return 0" end
    lines[#lines + 1] = "return 1"
    return table.concat(lines, "\n")
  end,
  inline = true,
  -- `timeout` ends the command with its children.
  apply = function(t) return (t.input ~= "" and "printf %s {input} | " or "") .. "timeout -k 10 {seconds} sh -c {run}" end,
  always = function(t) return not (t.creates or t.unless) end,
}
