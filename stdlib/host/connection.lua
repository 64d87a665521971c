--- Connections to hosts: one a host for the whole run, shared by all verbs, opened when first needed.
local dial = require "dial"
local fail = require "fail"
local ssh = require "ssh"
local task = require "task"

local M = {}
local open = {} -- key -> { conn =, event =, err = }

--- What tells connections apart.
local function key_of(host) return ("%s@%s:%d"):format(host.user, host.address, host.port or 22) end

local connect

local function attempt(target, host, timeout)
  local via = host.via and connect(target, host.via, timeout) or nil
  local connect_to, reason, reason_code = dial.resolve(target, host.address, host.port or 22, host.via)
  if reason then return nil, reason, reason_code or "unreachable" end
  return ssh.connect { host = host.address, port = host.port or 22, user = host.user, key = host.key,
    host_keys = host.host_keys, via = via, connect_to = connect_to, timeout = timeout, keepalive = 15 }
end

--- The connection to a host ({address, port, user, key, host_keys, via}), from the pool or new. Fails with the code
-- "unreachable", "hostkey" or "auth".
function connect(target, host, timeout)
  local key = key_of(host)
  while open[key] do
    local entry = open[key]
    if entry.conn and not (entry.conn.closed and entry.conn:closed()) then return entry.conn end
    if entry.conn then
      open[key] = nil
    else
      entry.event:wait()
    end
  end
  local entry = { event = task.event() }
  open[key] = entry
  local ok, conn, message, code = pcall(attempt, target, host, timeout or 30)
  if not ok then conn, message, code = nil, conn, nil end
  if conn then
    entry.conn = conn
  else
    open[key] = nil
  end
  entry.event:set()
  if conn then return conn end
  if not ok then error(message, 0) end
  if code == "timeout" or code == "handshake" or code == "lost" then code = "unreachable" end
  error(fail { ("%s@%s: %s"):format(host.user, host.address, tostring(message)), code = code or "unreachable",
    hint = code == "hostkey" and "if the host was made anew on purpose, apply the resource that gives its host keys"
      or code == "auth" and "check the user name and the key of the host"
      or "check that the host runs and that the network lets us in" })
end

M.open = connect

--- Takes a connection out of the pool, when it turned out to be lost: `conn`, or whichever is there.
function M.drop(host, conn)
  local key = key_of(host)
  local entry = open[key]
  if conn and entry and entry.conn ~= conn then return end
  open[key] = nil
  if entry and entry.conn then entry.conn:close() end
end

-- How long a host that answers may refuse our key: a machine that was just made may not have its users yet.
local USERS_COME = 60

--- Waits until a host answers, trying again until the deadline: a machine that was just made is still starting.
function M.wait(target, host, seconds, progress)
  local deadline, pause, refused = task.now() + seconds, 0.2, nil
  while true do
    local ok, conn = pcall(connect, target, host, math.max(1, math.min(15, deadline - task.now())))
    if ok then return conn end
    local code, now = type(conn) == "table" and conn.code, task.now()
    if code == "auth" then refused = refused or now end
    local patient = code == "unreachable" or (code == "auth" and now - refused < USERS_COME)
    if not patient or now + pause >= deadline then error(conn, 0) end
    if progress then progress("waiting for " .. host.address .. ": " .. tostring(conn)) end
    task.sleep(pause)
    pause = math.min(pause * 1.6, 5)
  end
end

--- Closes all; the run is over.
function M.close_all()
  for key, entry in pairs(open) do
    open[key] = nil
    if entry.conn then entry.conn:close() end
  end
end

return M
