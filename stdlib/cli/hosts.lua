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

--- A list of `{ row =, name =, address =, port =, user =, groups =, via = (another host or nil), host_key = }`, by name.
function M.list(session)
  local hosts, by_row = {}, {}
  for _, row in ipairs(session.rows) do
    if row.kind == "ssh.host" then
      local f = row.fields
      local own = row.address:match("([^/]+)$"):gsub("^ssh%.host%.", "")
      local name = text(f.name)
      -- A template's resources share a name; the host's own tells them apart.
      if not name or name == own then name = text(f.hostname) or name or own end
      local host = { row = row.address, name = name, address = f.address, port = f.port or 22, user = f.user or "root",
        groups = type(f.groups) == "table" and f.groups or {}, via_row = type(f.via) == "table" and f.via["$ref"] or nil,
        host_key = row.outputs.host_key, host_keys = f.host_keys }
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

--- The host of a name (or row address). Raises a failure with the nearest name.
function M.find(session, name)
  local hosts = M.list(session)
  for _, host in ipairs(hosts) do
    if host.name == name or host.row == name then return host end
  end
  if #hosts == 0 then
    error(fail { ("stack '%s' has no hosts"):format(session.stack), code = "host", hint = "apply the recipe first" })
  end
  local found = near.nearest(name, names(hosts))
  error(fail { ("there is no host '%s'"):format(name), code = "host",
    hint = found and ("did you mean '%s'?"):format(found) or "it is one of " .. table.concat(names(hosts), ", ") })
end

local function glob(pattern)
  return "^" .. pattern:gsub("[%^%$%(%)%%%.%[%]%+%-]", "%%%0"):gsub("%*", ".*"):gsub("%?", ".") .. "$"
end

--- The hosts that a pattern means: `all`, a group, or names with `*` and `?`, several with commas between.
function M.match(session, pattern)
  local chosen, seen = {}, {}
  local hosts = M.list(session)
  for part in pattern:gmatch("[^,]+") do
    local wanted = glob(part)
    for _, host in ipairs(hosts) do
      local fits = part == "all" or host.name:find(wanted) or host.row == part
      for _, group in ipairs(host.groups) do fits = fits or group == part end
      if fits and not seen[host] then
        seen[host] = true
        chosen[#chosen + 1] = host
      end
    end
  end
  if #chosen == 0 then
    error(fail { ("no host fits '%s'"):format(pattern), code = "host",
      hint = #hosts > 0 and "hosts are " .. table.concat(names(hosts), ", ") or "apply the recipe first" })
  end
  return chosen
end

--- Where a host answers for programs of this machine: address and port. On the emulator that is a loopback address.
function M.reach(session, host)
  local target = session.target
  if type(target) == "table" and target.kind == "emulator" then
    local ok, found = pcall(function()
      return require("dial").resolve(target, host.address, host.port, host.via and { address = host.via.address, port = host.via.port })
    end)
    local address, port = tostring(ok and found or ""):match("^(.*):(%d+)$")
    if address then return address, math.tointeger(tonumber(port)) end
  end
  return host.address, host.port
end

return M
