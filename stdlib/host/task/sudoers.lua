--- A file of sudo's rules.
local field, task = require "field", require "host.task"
local file = require "host.task.file"

-- The file is read by visudo alone, then as a part of a copy of all that sudo reads: a name that another file uses as well
-- would lock everybody out of sudo. A configuration that was broken before says nothing about this file.
local CHECKED = [[needs visudo sudo || return
  mkdir -p "$V" && d=$V/sudoers.$$ && mkdir -m 700 "$d" || return
  trap 'rm -rf "$d"; exit 143' HUP INT TERM
  new() { printf %s {content}; }
  tried() {
    cp -a /etc/sudoers.d "$d/all" && put "$d/all/"{name} 440 root:root && visudo -cf "$d/all/"{name} >&2 || return
    visudo -c >/dev/null 2>&1 || return 0
    sed "s|/etc/sudoers\.d|$d/all|" /etc/sudoers >"$d/main" && chmod 440 "$d/main" && visudo -cf "$d/main" >&2
  }
  o=$(tried 2>&1); r=$?; rm -rf "$d"
  [ $r -eq 0 ] || { printf '%s\n' "$o" | sed "s|$d/all|/etc/sudoers.d|; s|$d/main|/etc/sudoers|" >&2; return 1; }
  put {path} 440 root:root]]

return task "sudoers" {
  doc = "A file in /etc/sudoers.d. What sudo cannot read is refused, and the file stays as it was.", key = "name",
  fields = {
    name = field.string { required = true, match = "^[%w_-]+$", doc = "The file's name; sudo takes none with a dot." },
    content = field.string { doc = "The rules." },
    state = field.choice { "present", "absent", default = "present" },
  },
  prepare = function(t, name)
    if t.state == "present" and not t.content then error("sudoers \"" .. name .. "\": needs 'content'", 0) end
    if t.content and not t.content:find("\n$") then t.content = t.content .. "\n" end
    t.path, t.mode, t.owner = "/etc/sudoers.d/" .. t.name, "440", "root:root"
    if t.content then file.measure(t) end
  end,
  shown = file.shown, check = file.check, looks_at = file.looks_at,
  apply = function(t) return t.state == "absent" and "rm -f -- {path}" or CHECKED end,
}
