--- A systemd service.
local field, task = require "field", require "host.task"

return task "service" {
  doc = "A service: whether it starts with the host and runs now. A task that names it in `notify` makes it restart.",
  key = "name",
  fields = {
    name = field.string { required = true, match = "^[%w@_.:-]+$" },
    enabled = field.boolean { default = true },
    state = field.choice { "running", "stopped", "any", default = "running", doc = "`any`: others start and stop it." },
    reload = field.boolean { default = false, doc = "Reload instead of restart when notified." },
  },
  handles = true,
  prepare = function(t)
    t.want_enabled, t.on = t.enabled and "enabled" or "disabled", t.enabled and "enable" or "disable"
    t.want_active = t.state == "running" and "active" or t.state == "stopped" and "inactive" or "any"
    t.go = t.state == "running" and "start" or t.state == "stopped" and "stop" or "any"
    t.again = t.reload and "reload" or "restart"
  end,
  shown = function(t) return { enabled = t.want_enabled, state = t.want_active, restart = "done" } end,
  check = [[r=0
    e=$(systemctl is-enabled {name} 2>/dev/null) || :
    case $e in static | indirect | generated | alias) ;; {want_enabled}) ;; *) oldis enabled "$e"; r=1 ;; esac
    a=$(systemctl is-active {name} 2>/dev/null) || :
    case {want_active},$a in any,* | active,active | active,activating | inactive,inactive | inactive,failed | inactive,unknown) ;;
      *) oldis state "$a"; r=1 ;; esac
    ! pending {mark} || { oldis restart pending; r=1; }
    return $r]],
  apply = [[if pending {mark}; then systemctl daemon-reload || return; fi
    systemctl {on} {name} || return
    if pending {mark} && [ {go} != stop ] && systemctl is-active -q {name}; then systemctl {again} {name}
    elif [ {go} != any ]; then systemctl {go} {name}; fi && settle {mark}]],
}
