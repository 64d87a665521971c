--- A systemd unit of one's own, or a drop-in for another.
local field, task = require "field", require "host.task"
local unit = require "host.unit"

local SUFFIXES = { service = true, socket = true, timer = true, target = true, path = true, mount = true, automount = true,
  swap = true, slice = true }
-- To restart these would take down all that hangs on them.
local CALM = { target = true, slice = true, mount = true, swap = true }

local FILES = { { path = "file", content = "content", digest = "digest", key = "content", tells = "tells" } }

return task "unit" {
  doc = "A unit file of systemd: systemd reads it again when it changed, and what runs by it is restarted.", key = "name",
  fields = {
    name = field.string { required = true, match = "^[%w@_.:-]+$", doc = "Such as `web.timer`; `.service` if nothing is said." },
    sections = field.map { field.any {},
      doc = "Such as { Service = { ExecStart = \"...\", Environment = { \"A=1\", \"B=2\" } } }." },
    content = field.string { doc = "The whole text, instead of `sections`." },
    dropin = field.string { match = "^[%w_.-]+$", doc = "A drop-in's name (`NAME.d/DROPIN.conf`), for a unit that others made." },
    enabled = field.boolean { doc = "Whether it starts with the host; by default so when it has an [Install] section." },
    state = field.choice { "running", "stopped", "any", "absent", default = "any", doc = "`any`: others start and stop it." },
    restart = field.boolean {
      doc = "Restart it when the file changed and it runs; by default so, but for targets, slices and mounts." },
  },
  handles = true,
  title = function(t) return ("unit %s%s"):format(t.unit, t.dropin and " " .. t.dropin or "") end,
  prepare = function(t, name)
    local function refuse(text, ...) error(("unit \"%s\": " .. text):format(name, ...), 0) end
    t.unit = SUFFIXES[t.name:match("%.(%a+)$") or ""] and t.name or t.name .. ".service"
    if t.sections and t.content then refuse "takes 'sections' or 'content', not both" end
    if t.state ~= "absent" and not t.sections and not t.content then refuse "needs 'sections' or 'content'" end
    if t.sections then
      local text, fault = unit.text(t.sections)
      if not text then refuse("'sections' %s", fault) end
      t.content = text
    end
    t.content = t.content or ""
    if t.content ~= "" and t.content:sub(-1) ~= "\n" then t.content = t.content .. "\n" end
    t.folder = t.dropin and ("/etc/systemd/system/%s.d"):format(t.unit) or "/etc/systemd/system"
    t.file = t.dropin and ("%s/%s.conf"):format(t.folder, (t.dropin:gsub("%.conf$", ""))) or t.folder .. "/" .. t.unit
    t.digest = unit.digest(t.content)
    if t.enabled == nil and not t.dropin and ("\n" .. t.content):find("\n%[Install%]") then t.enabled = true end
    if t.restart == nil then t.restart = not CALM[t.unit:match("%a+$")] end
    t.tells = t.restart and t.mark or ""
    unit.wants(t)
  end,
  shown = function(t)
    return { content = t.state == "absent" and "" or t.content, ["content.mode"] = "644 root:root", reload = "done",
      enabled = t.want_enabled, state = t.want_active, restart = "done" }
  end,
  shared = { unit.RUNS, unit.FILES },
  looks_at = function(t) return t.file end,
  check = function(t) return t.state == "absent" and unit.gone(FILES) or unit.check(FILES) end,
  apply = function(t)
    if t.state ~= "absent" then return unit.apply(FILES) end
    if not t.dropin then return unit.remove(FILES, true) end
    return unit.remove(FILES) .. " && { rmdir -- {folder} 2>/dev/null || :; }"
      .. (t.restart and " && systemctl try-restart {unit}" or "")
  end,
}
