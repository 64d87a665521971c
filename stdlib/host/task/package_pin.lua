--- What version of packages apt prefers.
local field, task = require "field", require "host.task"
local file = require "host.task.file"

return task "package_pin" {
  doc = "A pin of packages for apt, in /etc/apt/preferences.d.", key = "name",
  fields = {
    name = field.string { required = true, match = "^[%w_-]+$", doc = "Names the file, and the package unless `packages` does." },
    packages = field.list { field.string { match = "^[%w*/][%w+.*/-]*$" } },
    version = field.string { match = "^[%w.+:~*-]+$", doc = "Such as `1.36.*`." },
    origin = field.string { match = "^%S+$", doc = "The repository's host, instead of a version." },
    release = field.string { match = "^[^\n]+$",
      doc = "As apt's `Pin: release` says it, such as `a=stable`, instead of a version." },
    priority = field.integer { default = 1001, doc = "Above 1000 also takes an older version; below 0 never installs it." },
    state = field.choice { "present", "absent", default = "present" },
  },
  prepare = function(t, name)
    local pins = {}
    for _, what in ipairs { "version", "origin", "release" } do
      if t[what] then pins[#pins + 1] = what .. " " .. t[what] end
    end
    if t.state == "present" and #pins ~= 1 then
      error("package_pin \"" .. name .. "\": needs one of 'version', 'origin' and 'release'", 0)
    end
    if t.priority == 0 then error("package_pin \"" .. name .. "\": apt knows no 'priority' of 0", 0) end
    t.path, t.mode, t.owner = ("/etc/apt/preferences.d/%s.pref"):format(t.name), "644", "root:root"
    local packages = table.concat(t.packages or { t.name }, " ")
    t.content = ("Package: %s\nPin: %s\nPin-Priority: %d\n"):format(packages, pins[1] or "", t.priority)
    file.measure(t)
  end,
  shown = file.shown, check = file.check, looks_at = file.looks_at, proves = file.proves,
  apply = function(t)
    if t.state == "absent" then return "rm -f -- {path}" end
    return "mkdir -p /etc/apt/preferences.d && { " .. file.apply(t) .. "; }"
  end,
}
