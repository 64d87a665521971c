--- Task types of roles: what may be declared on a host. A type is a page stdlib/host/task/NAME.lua:
--
--     return task "directory" {
--       doc = "...", key = "path",                       -- the field that the call's first text fills
--       fields = { mode = field.string { default = "0755" }, ... },
--       check = function(t, sh) return snippet end,      -- returns 0: as it should be, 1: differs, else: cannot tell
--       apply = function(t, sh) return snippet end,      -- makes it so; run only when check said 1
--       shown = function(t) return { mode = t.mode } end -- what check's `old KEY` values are compared with on the screen
--       looks_at = function(t) return t.path end,        -- what check asks `look` and `digest` about
--       links = function(t) return t.path end,           -- a link that check asks `target` about
--       puts = true,                                     -- apply makes that path by `put`
--       proves = function(t) return true end,            -- apply looks itself at what it made: no check after it; it changes
--                                                        -- no other thing than what `looks_at` says
--       inline = true,                                   -- both snippets need no shell of their own: they set no trap, no
--                                                        -- option, no folder, do not exit, and say `oldis` in no subshell
--       handles = true,                                  -- a task's `notify` may name it; check asks `pending {mark}`
--       marked = true,                                   -- {mark} is the task's own name on the host, which it keeps something by
--       restarts = true,                                 -- the host is restarted behind its apply
--       shared = { "name() { ...; }" },                  -- (or a function of t) shell text that both use: once a program
--     }
--
-- Snippets are POSIX sh with `{field}` for the quoted value of a field. In check, `oldis KEY TEXT` and `old KEY` (text on
-- stdin) report what is there. Secrets may stand in apply snippets only: those reach the host on the shell's input.
local field = require "field"
local shell = require "host.shell"

local M = {}
local meta = { __name = "task type" }
local types = {}

-- Options that every task takes.
local COMMON = {
  notify = field.list { field.string {}, doc = "Names of handlers and services of this role that must act when this task changes something." },
  timeout = field.number { default = 900, min = 1, doc = "Seconds before the task is ended." },
}

function M.is(value) return getmetatable(value) == meta end

--- The name of the mark on the host that says that a service or handler of a role was notified and has not acted yet.
function M.mark(scope, name) return ((scope .. "." .. name):gsub("[^%w_.@-]", "_")) end

--- The type of a name; nil when there is none.
function M.find(name)
  if types[name] then return types[name] end
  local ok, found = pcall(require, "host.task." .. name)
  if ok and M.is(found) then return found end
  if not ok and not tostring(found):find("module 'host.task." .. name .. "' not found", 1, true) then error(found, 0) end
end

M.NAMES = { "apt_repository", "archive", "authorized_key", "block", "ca_certificate", "certificate", "command", "directory",
  "download", "file", "filesystem", "firewall", "group", "handler", "host_entry", "hostname", "ini_value", "json_value",
  "kernel_module", "line", "mount", "package", "package_pin", "package_upgrade", "reboot", "service", "sudoers", "swap", "symlink", "sysctl",
  "template", "timer", "timezone", "toml_value", "unit", "user", "yaml_value" }

function M.names() return M.NAMES end

local MOST = 1000 -- things of a sort that are kept
local pieces, count = {}, 0

local function snippet(text, t)
  if type(text) == "function" then text = text(t, shell) end
  if not pieces[text] then
    if count == MOST then pieces, count = {}, 0 end
    pieces[text], count = shell.pieces(text), count + 1
  end
  return shell.fill(pieces[text], t)
end

--- What a declared task's check and apply run.
function M.check(t)
  local what = t.made
  what.check = what.check or snippet(t.type.check, t.fields)
  return what.check
end

function M.apply(t)
  local what = t.made
  what.apply = what.apply or snippet(t.type.apply, t.fields)
  return what.apply
end

-- What all tasks share that say the same: checking fields and filling snippets costs more than all else that a host in a large fleet
-- asks of us.
local function make(kind, name, given, scope)
  local fields, problems = {}, {}
  for key, value in pairs(given) do fields[key] = value end
  if kind.key and fields[kind.key] == nil then fields[kind.key] = name end
  for key, value in pairs(fields) do
    local spec = kind.all_fields[key]
    if type(value) == "string" and spec and spec.type == "list" then fields[key] = { value } end
  end
  local checked = field.check_fields(kind.all_fields, fields, {}, problems)
  if problems[1] then error(("%s \"%s\": %s"):format(kind.name, name, problems[1].text), 0) end
  checked.seconds = ("%d"):format(math.ceil(checked.timeout))
  checked.mark = (kind.handles or kind.marked) and M.mark(scope, name) or nil
  if kind.prepare then kind.prepare(checked, name) end
  return { title = kind.title and kind.title(checked, name) or ("%s %s"):format(kind.name, name), fields = checked,
    notify = checked.notify or {} }
end

local LONGEST = 8192 -- bytes of values of a task that is kept for the next that says the same
local made, kept = {}, 0 -- type -> what was said -> what came of it

-- All that was said of a task; nil where that is much, or more than words.
local function key_of(kind, name, given, scope)
  if type(name) ~= "string" then return nil end
  local parts, n, size, left = { #name, name, #scope, scope }, 4, 0, 0
  for _ in next, given do left = left + 1 end
  for _, field_name in ipairs(kind.order) do
    local value = given[field_name]
    if value ~= nil then
      local class = type(value)
      if class == "string" then size = size + #value elseif class ~= "boolean" and class ~= "number" then return nil end
      parts[n + 1], parts[n + 2], parts[n + 3] = field_name, class == "string" and #value or math.type(value) or class, tostring(value)
      n, left = n + 3, left - 1
    end
  end
  return left == 0 and size <= LONGEST and table.concat(parts, " ") or nil
end

--- A declared task: its type, its fields in canonical form, its title for people. `scope` is the role's name: marks of
-- notified services and handlers are told apart by it. Raises what is wrong with it.
function M.declare(kind, name, given, scope)
  scope = scope or ""
  local key = key_of(kind, name, given, scope)
  local what = key and made[kind] and made[kind][key]
  if not what then
    what = make(kind, name, given, scope)
    if key then
      if kept == MOST then made, kept = {}, 0 end
      made[kind] = made[kind] or {}
      made[kind][key], kept = what, kept + 1
    end
  end
  return { type = kind, name = name, title = what.title, fields = what.fields, notify = what.notify, scope = scope, made = what }
end

return setmetatable(M, { __call = function(_, name)
  return function(page)
    page.name = name
    page.all_fields = {}
    for key, spec in pairs(COMMON) do page.all_fields[key] = spec end
    for key, spec in pairs(page.fields or {}) do page.all_fields[key] = spec end
    page.order = {}
    for key in pairs(page.all_fields) do page.order[#page.order + 1] = key end
    types[name] = setmetatable(page, meta)
    return page
  end
end })
