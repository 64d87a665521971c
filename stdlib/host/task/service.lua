--- A systemd service.
local field, task = require "field", require "host.task"
local unit = require "host.unit"

-- What the service was last started with is kept on the host: so a run that died before the restart is made up for, and a
-- change that somebody else made is seen.
local SUMS = [[
sums() { # PATH...: what the files and folders hold, a line a file
  for _p; do
    if [ -d "$_p" ]; then find -L "$_p" -type f -exec sha256sum {} + 2>/dev/null | sort -k 2
    elif [ -e "$_p" ]; then sha256sum -- "$_p"
    else printf 'none  %s\n' "$_p"; fi
  done
}
sums_differ() { { printf '%s\n' "$1"; cat -- "$2"; } | sort | uniq -u | sed 's/^[^ ]* [ *]//' | sort -u; }]]
local WATCH_CHECK = [[
if [ {go} != stop ] && systemctl is-active -q {name}; then
  s=$(sums WATCHES) k=$V/started/{mark}
  if [ ! -f "$k" ]; then oldis restart "not known what it was started with"; r=1
  elif [ "$s" != "$(cat -- "$k")" ]; then oldis restart "$(sums_differ "$s" "$k" | sed 's/$/ changed since its start/')"; r=1; fi
fi
]]
local WATCH_APPLY = [[
s=$(sums WATCHES) k=$V/started/{mark}
[ -f "$k" ] && [ "$s" = "$(cat -- "$k")" ] || notify {mark} || return
]]
local RECORD = [[ || return
mkdir -p "$V/started" && if systemctl is-active -q {name}; then printf '%s\n' "$s" >"$k"; else rm -f -- "$k"; fi]]

-- The paths of a list as words of the shell, each a field of its own.
local function with_paths(t, text)
  local words = {}
  for i, path in ipairs(t.watches) do
    t["watch" .. i] = path
    words[i] = "{watch" .. i .. "}"
  end
  return (text:gsub("WATCHES", table.concat(words, " ")))
end

return task "service" {
  doc = "A service: whether it starts with the host and runs now. A task that names it in `notify` makes it restart.",
  key = "name",
  fields = {
    name = field.string { required = true, match = "^[%w@_.:-]+$" },
    enabled = field.boolean { default = true },
    state = field.choice { "running", "stopped", "any", default = "running", doc = "`any`: others start and stop it." },
    reload = field.boolean { default = false, doc = "Reload instead of restart when notified." },
    watches = field.list { field.string { match = "^/." }, default = {},
      doc = "Files and folders: when one is not as at the service's last start, whoever changed it, the service restarts." },
  },
  handles = true,
  prepare = function(t)
    unit.wants(t)
    t.again = t.reload and "reload" or "restart"
  end,
  shown = function(t) return { enabled = t.want_enabled, state = t.want_active, restart = "done" } end,
  shared = function(t) return { unit.RUNS, #t.watches > 0 and SUMS or nil } end,
  check = function(t)
    local watch = #t.watches > 0 and with_paths(t, WATCH_CHECK) or ""
    return "unit_runs {name} {want_enabled} {want_active} {mark}\n" .. watch .. "return $r"
  end,
  apply = function(t)
    local watched = #t.watches > 0
    return (watched and with_paths(t, WATCH_APPLY) or "") .. [[
      if pending {mark}; then systemctl daemon-reload || return; fi
      unit_go {name} {on} {go} {again} {mark}]] .. (watched and RECORD or "")
  end,
}
