--- What tasks about systemd's units share: the text of a unit, and the shell text that brings files, enablement and state about.
local crypto = require "crypto"

local M = {}

--- Shell text for enablement and state.
M.RUNS = [[
unit_runs() { # UNIT WANT-ENABLED WANT-ACTIVE MARK; r is 1 when it is otherwise
  if [ "$2" != any ]; then
    _e=$(systemctl is-enabled "$1" 2>/dev/null) || :
    case $_e in static | indirect | generated | alias | "$2") ;; *) oldis enabled "$_e"; r=1 ;; esac
  fi
  _a=$(systemctl is-active "$1" 2>/dev/null) || :
  case $3,$_a in any,* | active,active | active,activating | inactive,inactive | inactive,failed | inactive,unknown) ;;
    *) oldis state "$_a"; r=1 ;; esac
  ! pending "$4" || { oldis restart pending; r=1; }
}
unit_go() { # UNIT enable|disable|any start|stop|any restart|reload MARK
  [ "$2" = any ] || systemctl "$2" "$1" || return
  if pending "$5" && [ "$3" != stop ] && systemctl is-active -q "$1"; then systemctl "$4" "$1"
  elif [ "$3" != any ]; then systemctl "$3" "$1"; fi && settle "$5"
}]]

--- Shell text for unit files.
M.FILES = [[
unit_file() { # FILE DIGEST KEY; r is 1 when it is otherwise
  digest "$1"
  if [ "$sum" != "$2" ]; then r=1; look "$1"; oldfile "$3" "$1"
  else look "$1"; [ "$mode $ids" = '644 0:0' ] || { r=1; oldis "$3.mode" "$mode $owner"; }; fi
}
unit_stale() { [ "$(systemctl show -p NeedDaemonReload "$1" 2>/dev/null)" = NeedDaemonReload=yes ]; }
unit_put() { # FILE DIGEST MARK; `new` prints it. Whoever runs must be told, even if this program dies
  digest "$1" && [ "$sum" = "$2" ] && { look "$1"; [ "$mode $ids" = '644 0:0' ]; } && return
  [ -z "$3" ] || notify "$3" || return
  { [ -d "${1%/*}" ] || mkdir -p -- "${1%/*}"; } && put "$1" 644 root:root && changed=1
}]]

--- What systemd is to be told of a task's fields `enabled` (true, false, nil: as it is) and `state`.
function M.wants(t)
  t.want_enabled = t.enabled == nil and "any" or t.enabled and "enabled" or "disabled"
  t.on = t.enabled == nil and "any" or t.enabled and "enable" or "disable"
  t.want_active = t.state == "running" and "active" or t.state == "stopped" and "inactive" or "any"
  t.go = t.state == "running" and "start" or t.state == "stopped" and "stop" or "any"
end

--- A command line of a unit that gives a text to the shell: systemd's own quotes, specifiers and variables do not touch it.
function M.command(text)
  local escaped = text:gsub('[\\"]', "\\%0"):gsub("%%", "%%%%"):gsub("%$", "$$"):gsub("\n", "\\n"):gsub("%c", function(c)
    return ("\\x%02x"):format(c:byte())
  end)
  return '/bin/sh -c "' .. escaped .. '"'
end

local RANK = { Unit = 0, Install = 2 }

local function line(section, key, value)
  local text = value == true and "yes" or value == false and "no" or tostring(value)
  local fault = type(key) ~= "string" and "is no key"
    or not key:find("^[%w@_.-]+$") and "is no key"
    or type(value) == "table" and "holds a table"
    or text:find("[\n\r%z]") and "has more than one line; a list has a line for each item"
    or text:find("\\$") and "ends in a backslash, which would join it with the next line"
  if fault then return nil, ("[%s] %s %s"):format(section, tostring(key), fault) end
  return key .. "=" .. text
end

local function sorted(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    local ra, rb = RANK[a] or 1, RANK[b] or 1
    if ra ~= rb then return ra < rb end
    return tostring(a) < tostring(b)
  end)
  return keys
end

--- The text of a unit: { Unit = { Description = "..." }, Service = { ExecStart = "...", Environment = { "A=1", "B=2" } } }.
-- Unit comes first, Install last. nil and what is wrong with it.
function M.text(sections)
  local parts = {}
  for _, section in ipairs(sorted(sections)) do
    local keys = sections[section]
    if type(section) ~= "string" or not section:find("^[%w-]+$") or type(keys) ~= "table" then
      return nil, "wants sections such as { Service = { ExecStart = \"...\" } }"
    end
    local lines = { "[" .. section .. "]" }
    for _, key in ipairs(sorted(keys)) do
      local values = type(keys[key]) == "table" and keys[key] or { keys[key] }
      for _, value in ipairs(values) do
        local text, fault = line(section, key, value)
        if not text then return nil, fault end
        lines[#lines + 1] = text
      end
    end
    parts[#parts + 1] = table.concat(lines, "\n") .. "\n"
  end
  return table.concat(parts, "\n")
end

--- The snippets for files of units: `files` are { name of the field with the path, with the content, with its digest, what it is
-- called on the screen }; t.unit is the unit that is enabled and started, t.mark its mark.
function M.check(files)
  local parts = {}
  for _, file in ipairs(files) do
    parts[#parts + 1] = ("[ -f {%s} ] && [ ! -L {%s} ] || return 1"):format(file.path, file.path)
  end
  for _, file in ipairs(files) do parts[#parts + 1] = ("unit_file {%s} {%s} %s"):format(file.path, file.digest, file.key) end
  parts[#parts + 1] = "! unit_stale {unit} || { oldis reload pending; r=1; }"
  parts[#parts + 1] = "unit_runs {unit} {want_enabled} {want_active} {mark}; return $r"
  return table.concat(parts, "\n")
end

function M.apply(files)
  local parts = { "changed=" }
  for _, file in ipairs(files) do
    parts[#parts + 1] = ("new() { printf %%s {%s}; }; unit_put {%s} {%s} {%s} || return"):format(file.content, file.path,
      file.digest, file.tells or "mark")
  end
  parts[#parts + 1] = "[ -z \"$changed\" ] && ! unit_stale {unit} || systemctl daemon-reload || return"
  parts[#parts + 1] = "unit_go {unit} {on} {go} restart {mark}"
  return table.concat(parts, "\n")
end

--- Takes files away, and first what they started.
function M.remove(files, stop)
  local parts = { stop and "[ ! -f {" .. files[1].path .. "} ] || systemctl disable --now {unit} || return" or ":" }
  for _, file in ipairs(files) do parts[#parts + 1] = ("rm -f -- {%s} || return"):format(file.path) end
  parts[#parts + 1] = "systemctl daemon-reload"
  return table.concat(parts, "\n")
end

function M.gone(files)
  local parts = {}
  for _, file in ipairs(files) do
    parts[#parts + 1] = ("[ ! -e {%s} ] && [ ! -L {%s} ] || { oldis %s present; r=1; }"):format(file.path, file.path, file.key)
  end
  return table.concat(parts, "\n") .. "\nreturn $r"
end

--- The digest of a content, as `unit_file` wants it.
function M.digest(content) return crypto.sha256(content) end

return M
