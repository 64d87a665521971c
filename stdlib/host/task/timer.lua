--- A command that systemd runs at times: a timer and its service.
local field, task = require "field", require "host.task"
local unit = require "host.unit"

local FILES = {
  { path = "file", content = "content", digest = "digest", key = "timer" },
  { path = "service_file", content = "service_content", digest = "service_digest", key = "service", tells = "nobody" },
}

local function merged(into, more)
  for key, value in pairs(more or {}) do into[key] = value end
  return into
end

return task "timer" {
  doc = "A command that systemd runs at times: `NAME.timer` and `NAME.service`.", key = "name",
  fields = {
    name = field.string { required = true, match = "^[%w_.:-]+$", doc = "Without `.timer`." },
    run = field.string { doc = "Shell text. No secrets: it is a file that all may read." },
    calendar = field.list { field.string { match = "^[^\n]+$" }, default = {},
      doc = "OnCalendar=: such as `daily` or `Mon *-*-* 04:30`." },
    boot = field.string { match = "^[^\n]+$", doc = "OnBootSec=: so long after the host's start, such as `10min`." },
    every = field.string { match = "^[^\n]+$", doc = "So long after the last time, such as `1h`." },
    delay = field.string { match = "^[^\n]+$", doc = "RandomizedDelaySec=: at most so much later, by chance." },
    persistent = field.boolean { default = false, doc = "Make up for a time at which the host was off." },
    user = field.string { match = "^[%w_.-]+$", doc = "Who runs it; root unless given." },
    description = field.string { match = "^[^\n]+$" },
    timer = field.map { field.any {}, doc = "More of the [Timer] section, such as { AccuracySec = \"1s\" }." },
    service = field.map { field.any {}, doc = "More of the [Service] section, such as { Environment = { \"A=1\" } }." },
    state = field.choice { "running", "stopped", "absent", default = "running" },
  },
  prepare = function(t, name)
    local function refuse(text, ...) error(("timer \"%s\": " .. text):format(name, ...), 0) end
    t.unit, t.service_unit = t.name .. ".timer", t.name .. ".service"
    t.file, t.service_file = "/etc/systemd/system/" .. t.unit, "/etc/systemd/system/" .. t.service_unit
    t.mark, t.nobody, t.enabled = "timer." .. t.name, "", t.state == "running"
    unit.wants(t)
    t.content, t.service_content = "", ""
    if t.state ~= "absent" then
      if not t.run then refuse "needs 'run'" end
      if #t.calendar == 0 and not t.boot and not t.every and not next(t.timer or {}) then
        refuse "needs a time: 'calendar', 'boot' or 'every'"
      end
      local about = { Description = t.description or t.name }
      local fault, fault_too
      t.content, fault = unit.text { Unit = about, Install = { WantedBy = "timers.target" },
        Timer = merged({ OnCalendar = t.calendar, OnBootSec = t.boot, OnActiveSec = t.every, OnUnitActiveSec = t.every,
          RandomizedDelaySec = t.delay, Persistent = t.persistent or nil }, t.timer) }
      t.service_content, fault_too = unit.text { Unit = about,
        Service = merged({ Type = "oneshot", ExecStart = unit.command(t.run), User = t.user }, t.service) }
      if fault or fault_too then refuse("%s", fault or fault_too) end
    end
    t.digest, t.service_digest = unit.digest(t.content), unit.digest(t.service_content)
  end,
  shown = function(t)
    local there = t.state ~= "absent"
    return { timer = there and t.content or "", service = there and t.service_content or "", ["timer.mode"] = "644 root:root",
      ["service.mode"] = "644 root:root", reload = "done", enabled = t.want_enabled, state = t.want_active, restart = "done",
      run = t.run }
  end,
  shared = { unit.RUNS, unit.FILES },
  check = function(t) return t.state == "absent" and unit.gone(FILES) or unit.check(FILES) end,
  apply = function(t) return t.state == "absent" and unit.remove(FILES, true) or unit.apply(FILES) end,
}
