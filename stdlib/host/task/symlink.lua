--- A symbolic link.
local field, task = require "field", require "host.task"

return task "symlink" {
  doc = "A symbolic link.", key = "path",
  fields = {
    path = field.string { required = true, match = "^/.*[^/]$" },
    target = field.string { min = 1, doc = "What it points to; it need not be there." },
    force = field.boolean { default = false, doc = "Take the place of a file." },
    state = field.choice { "present", "absent", default = "present" },
  },
  prepare = function(t, name)
    if t.state == "present" and not t.target then error("symlink \"" .. name .. "\": needs 'target'", 0) end
    t.over = t.force and "1" or ""
  end,
  shown = function(t) return { target = t.state == "present" and t.target or "", name = t.target } end,
  check = function(t)
    if t.state == "absent" then
      return [[[ -L {path} ] || { [ ! -e {path} ] && return 0; echo {path}" is no link, so it is left alone" >&2; return 2; }
        target {path}; oldis target "$link"; return 1]]
    end
    return [[[ -L {path} ] || { [ ! -e {path} ] && return 1; oldis target "(no link)"; return 1; }
      target {path}; [ "$link" = {target} ] || { oldis target "$link"; return 1; }]]
  end,
  inline = true,
  links = function(t) return t.path end,
  proves = function(t) return t.state == "present" end,
  apply = function(t)
    if t.state == "absent" then return "rm -f -- {path}" end
    return [[if [ ! -L {path} ] && [ -e {path} ]; then
        [ ! -d {path} ] || { echo {path}" is a directory, whose place no link takes" >&2; return 1; }
        [ -n {over} ] || { echo {path}" is a file; 'force = true' lets the link take its place" >&2; return 1; }
      fi
      relink {target} {path}]]
  end,
}
