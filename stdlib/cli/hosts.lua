--- The hosts of a stack, as the verbs `ssh`, `exec` and `inventory` see them: rows of kind ssh.host in the state.
local fail, near = require "fail", require "recipe.nearest"

local M = {}

local function text(value) return type(value) == "string" and value ~= "" and value or nil end

-- Names that are unique: the host's own, with its number where several share it.
local function settle_names(hosts)
  local count, seen = {}, {}
  for _, host in ipairs(hosts) do count[host.name] = (count[host.name] or 0) + 1 end
  for _, host in ipairs(hosts) do
    if count[host.name] > 1 then
      seen[host.name] = (seen[host.name] or 0) + 1
      host.name = host.name .. "-" .. seen[host.name]
    end
  end
end

--- A list of `{ row =, name =, address =, port =, user =, groups =, via = (another host or nil), host_key =, host_keys =,
-- key_file =, known_hosts =, config =, given = { port =, user = } (by the recipe) }`, by name.
function M.list(session)
  local hosts, by_row = {}, {}
  for _, row in ipairs(session.rows) do
    if row.kind == "ssh.host" then
      local f = row.fields
      local own = row.address:match("([^/]+)$"):gsub("^ssh%.host%.", "")
      local name = text(f.name)
      -- A template's resources share a name; the host's own tells them apart.
      if not name or name == own then name = text(f.hostname) or name or own end
      local out = row.outputs
      local host = { row = row.address, name = name, address = f.address, port = f.port or out.port or 22,
        user = f.user or out.user or "root", given = { port = f.port, user = f.user }, config = f.config or nil,
        key_file = text(f.key_file), known_hosts = type(f.known_hosts) == "table" and f.known_hosts or nil,
        groups = type(f.groups) == "table" and f.groups or {}, via_row = type(f.via) == "table" and f.via["$ref"] or nil,
        host_key = out.host_key, host_keys = type(f.host_keys) == "table" and f.host_keys or {} }
      hosts[#hosts + 1], by_row[row.address] = host, host
    end
  end
  settle_names(hosts)
  for _, host in ipairs(hosts) do host.via = host.via_row and by_row[host.via_row] or nil end
  table.sort(hosts, function(a, b) return a.name < b.name end)
  return hosts
end

local function names(hosts)
  local list = {}
  for i, host in ipairs(hosts) do list[i] = host.name end
  return list
end

local function no_hosts(session)
  error(fail { ("stack '%s' has no hosts"):format(session.stack), code = "host", hint = "apply the recipe first" })
end

local function those(hosts, fits)
  local found = {}
  for _, host in ipairs(hosts) do if fits(host) then found[#found + 1] = host end end
  return found
end

local function ends_with(hosts, text)
  return those(hosts, function(host) return text ~= "" and host.name:sub(-#text) == text end)
end

--- The host of a name, an address, a resource's address or the end of a name. Raises a failure with the nearest name.
function M.find(session, given)
  local hosts = M.list(session)
  if #hosts == 0 then no_hosts(session) end
  local found = those(hosts, function(host) return host.name == given or host.row == given end)
  if #found == 0 then found = those(hosts, function(host) return host.address == given end) end
  if #found == 0 then found = ends_with(hosts, given) end
  if #found == 1 then return found[1] end
  if #found > 1 then
    error(fail { ("'%s' may be one of several hosts"):format(given), code = "host", hint = "say which: " .. table.concat(names(found), ", ") })
  end
  local best = near.nearest(given, names(hosts))
  error(fail { ("there is no host '%s'%s"):format(given, best and ("; did you mean '%s'?"):format(best) or ""), code = "host",
    hint = "hosts are " .. table.concat(names(hosts), ", ") })
end

local function glob(pattern)
  return "^" .. pattern:gsub("[%^%$%(%)%%%.%[%]%+%-]", "%%%0"):gsub("%*", ".*"):gsub("%?", ".") .. "$"
end

local function has_group(host, pattern)
  for _, group in ipairs(host.groups) do
    if group:find(pattern) then return true end
  end
  return false
end

-- The hosts that one part of a pattern means.
local function part_of(hosts, part)
  local group = part:match("^@(.+)$")
  local wanted = glob(group or part)
  local found = those(hosts, function(host)
    if group then return has_group(host, wanted) end
    return part == "all" or host.name:find(wanted) or has_group(host, wanted) or host.row == part or host.address == part
  end)
  if #found > 0 or group or part:find("[*?]") then return found end
  found = ends_with(hosts, part)
  return #found == 1 and found or {}
end

--- The hosts that a pattern means: `all`, names and groups with `*` and `?`, `@GROUP`; several with commas between, `!` in
-- front of those to leave out. Each part must fit a host: a misspelt one shall not pass unseen.
function M.match(session, pattern)
  local hosts, chosen, left_out, positive = M.list(session), {}, {}, false
  if #hosts == 0 then no_hosts(session) end
  for word in pattern:gmatch("[^,]+") do
    local part = word:match("^!(.+)$")
    local found = part_of(hosts, part or word)
    if #found == 0 then
      error(fail { ("no host fits '%s'"):format(word), code = "host", hint = "hosts are " .. table.concat(names(hosts), ", ") })
    end
    positive = positive or not part
    for _, host in ipairs(found) do (part and left_out or chosen)[host] = true end
  end
  local list = those(hosts, function(host) return (chosen[host] or not positive) and not left_out[host] end)
  if #list == 0 then error(fail { ("no host is left of '%s'"):format(pattern), code = "host" }) end
  return list
end

--- Where a host answers for programs of this machine: address and port. On the emulator that is a loopback address.
function M.reach(session, host)
  local ok, found = pcall(require("dial").resolve, session.target, host.address, host.port, host.via)
  local address, port = tostring(ok and found or ""):match("^(.*):(%d+)$")
  if address then return address, math.tointeger(tonumber(port)) end
  return host.address, host.port
end

return M
