--- `vmrun ssh RECIPE HOST [-- COMMAND]`: the system's ssh, with the host's key in an agent of its own: no key is written
-- to a file, and the host's key is known before.
local fail, fs, hosts, json, process = require "fail", require "fs", require "cli.hosts", require "json", require "process"

local M = {}

local function wanted(call)
  local name = call.args.words[1]
  if not name or call.args.words[2] then
    error(fail { "ssh wants one host: vmrun ssh RECIPE HOST [-- COMMAND]", code = "usage" })
  end
  return hosts.find(call.session, name)
end

--- The resources whose values are needed.
function M.choose(call) return json.array { wanted(call).row } end

-- A host and those that it is reached through, the nearest first.
local function chain(value)
  local list = {}
  while type(value) == "table" do
    table.insert(list, 1, value)
    value = value.via
  end
  return list
end

local function write_config(folder, session, list)
  local lines, known = {}, {}
  for i, host in ipairs(list) do
    local alias = "hop" .. i
    local at = { address = host.address, port = host.port or 22, via = list[i - 1] }
    local address, port = hosts.reach(session, at)
    for _, line in ipairs(host.host_keys or {}) do known[#known + 1] = ("%s %s"):format(alias, line) end
    lines[#lines + 1] = ("Host %s\n  HostName %s\n  Port %d\n  User %s\n  HostKeyAlias %s\n  StrictHostKeyChecking yes\n" ..
      "  UserKnownHostsFile %s/known_hosts\n  LogLevel ERROR%s\n"):format(alias, address, port, host.user or "root", alias, folder,
      i > 1 and "\n  ProxyJump hop" .. (i - 1) or "")
  end
  fail.check(fs.write(folder .. "/config", table.concat(lines, "\n"), { mode = 384 }))
  fail.check(fs.write(folder .. "/known_hosts", table.concat(known, "\n") .. "\n", { mode = 384 }))
  return "hop" .. #list
end

-- The keys reach ssh-add through the environment of a shell that forgets them before ssh starts.
local SCRIPT = [[
i=1
while eval "key=\${VMRUN_KEY_$i-}"; [ -n "$key" ]; do
  printf '%s\n' "$key" | ssh-add -q - || exit 1
  unset "VMRUN_KEY_$i"
  i=$((i + 1))
done
unset key i
exec ssh "$@"
]]

function M.run(call)
  local session, value = call.session, call.values[wanted(call).row]
  if type(value) ~= "table" or not value.address then error(fail { "the host is not known yet", code = "host", hint = "apply the recipe first" }) end
  local list = chain(value)
  local folder = fail.check(fs.mktemp("vmrun-ssh"))
  local cleanup <close> = setmetatable({}, { __close = function() fs.remove(folder, { recursive = true }) end })
  local alias = write_config(folder, session, list)
  local env, seen, n = process.environ(), {}, 0
  for _, host in ipairs(list) do
    if host.key and not seen[host.key] then
      seen[host.key], n = true, n + 1
      env["VMRUN_KEY_" .. n] = host.key
    end
  end
  local argv = { "ssh-agent", "sh", "-c", SCRIPT, "ssh", "-F", folder .. "/config", alias }
  for _, word in ipairs(call.args.rest) do argv[#argv + 1] = word end
  local child, message, code = process.spawn { argv = argv, env = env, stdin = "inherit", stdout = "inherit", stderr = "inherit" }
  if not child then error(fail { message, code = code, hint = "install openssh-client" }) end
  local status, signal = child:wait()
  return { code = status or (signal and 128 + signal) or 1 }
end

return M
