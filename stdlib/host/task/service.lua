--- A systemd service.
local field, task = require "field", require "host.task"

return task "service" {
  doc = "A service: whether it starts with the host and runs now. A task that names it in `notify` makes it restart.",
  key = "name",
  fields = {
    name = field.string { required = true, match = "^[%w@_.:-]+$" },
    enabled = field.boolean { default = true },
    running = field.boolean { default = true },
    reload = field.boolean { default = false, doc = "Reload instead of restart when notified." },
  },
  handles = function(t) return "service-" .. t.name end,
  prepare = function(t)
    t.mark = "service-" .. t.name
    t.want_enabled, t.want_active = t.enabled and "enabled" or "disabled", t.running and "active" or "inactive"
    t.on, t.go = t.enabled and "enable" or "disable", t.running and "start" or "stop"
    t.again = t.reload and "reload" or "restart"
  end,
  shown = function(t) return { enabled = t.want_enabled, state = t.want_active, restart = "done" } end,
  check = [[r=0
    e=$(systemctl is-enabled {name} 2>/dev/null) || :
    case $e in static | indirect | generated | alias) ;; {want_enabled}) ;; *) oldis enabled "$e"; r=1 ;; esac
    a=$(systemctl is-active {name} 2>/dev/null) || :
    case $a in {want_active} | activating) ;; failed | unknown) [ {want_active} = inactive ] || { oldis state "$a"; r=1; } ;; *) oldis state "$a"; r=1 ;; esac
    ! pending {mark} || { oldis restart pending; r=1; }
    return $r]],
  apply = [[if pending {mark}; then systemctl daemon-reload || return; fi
    systemctl {on} {name} || return
    if pending {mark} && [ {go} = start ] && systemctl is-active -q {name}; then systemctl {again} {name}
    else systemctl {go} {name}; fi && settle {mark}]],
}
