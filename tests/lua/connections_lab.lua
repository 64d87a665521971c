--- What the tests of connections share: hosts of the servers of sshd.lua, and what is asked of them.
local connection, fs, task = require "host.connection", require "fs", require "task"

local M = { TARGET = { kind = "none" } }

--- An ssh.host of a server, with changes; false takes a field away.
function M.host_of(server, changes)
  local host = { address = server.host, port = server.port, user = server.user, key = server.key, host_keys = server.host_keys }
  for name, value in pairs(changes or {}) do host[name] = value or nil end
  return host
end

function M.open(t, host, timeout)
  t.after(connection.close_all)
  return connection.open(M.TARGET, host, timeout or 10)
end

function M.says(t, host, command)
  local result = assert(M.open(t, host):exec(command or "echo in"))
  return (result.stdout:gsub("%s+$", ""))
end

--- The failure of a connection that must not come about.
function M.refused(t, host, code, timeout)
  t.after(connection.close_all)
  local ok, err = pcall(connection.open, M.TARGET, host, timeout or 10)
  t.ok(not ok, "it was opened")
  if type(err) ~= "table" then error(err, 0) end
  t.eq(err.code, code, err.message)
  return err
end

--- How often somebody has logged in at a server.
function M.logins(server)
  local count = 0
  for _ in fs.read(server.dir .. "/log"):gmatch("Accepted publickey") do count = count + 1 end
  return count
end

function M.authorize(server, ...)
  fs.write(server.dir .. "/authorized", fs.read(server.dir .. "/authorized") .. table.concat({ ... }))
end

function M.wait_until(what, fn)
  local stop = task.now() + 20
  while not fn() do
    if task.now() > stop then error("it did not come to be that " .. what, 2) end
    task.sleep(0.01)
  end
end

--- Processes whose arguments hold a text.
function M.running(text)
  local found = {}
  for _, pid in ipairs(fs.list("/proc")) do
    local line = pid:find("^%d+$") and fs.read("/proc/" .. pid .. "/cmdline")
    if line and line:find(text, 1, true) then found[#found + 1] = math.tointeger(tonumber(pid)) end
  end
  return found
end

function M.by_openssh(server, changes)
  local host = M.host_of(server, { transport = "openssh" })
  for name, value in pairs(changes or {}) do host[name] = value or nil end
  return host
end

return M
