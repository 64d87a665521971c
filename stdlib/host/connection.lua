--- Connections to hosts: one a host for the whole run, shared by all verbs, opened when first needed.
local dial = require "dial"
local fail = require "fail"
local login = require "ssh.login"
local ssh = require "ssh"
local stream = require "stream"
local task = require "task"

local M = {}
local dialling = require "together"()
local open = {} -- key -> { conn =, tunnel = (what it goes through, or nil) }

-- What tells connections apart: private addresses may be the same behind different jump hosts. Whether user and port were said
-- or come from somewhere else makes no difference.
local function key_of(host)
  local user, port = login.place(host)
  return ("%s@%s:%d %s %s%s"):format(user, host.address, port, host.transport or "", tostring(host.config or ""),
    host.via and " via " .. key_of(host.via) or "")
end

--- As people know it.
local function name_of(host)
  local user = host.user or not host.config and "root"
  return (user and user .. "@" or "") .. host.address
end

-- Copies what one side says to the other until it ends; whether it has said anything.
local function copy(from, to)
  local some = false
  while true do
    local chunk = from:read()
    some = some or chunk ~= nil
    if not chunk or not to:write(chunk) then break end
  end
  to:shutdown()
  return some
end

-- One connection through a relay, until both sides have ended.
local function carry(self, near, jump, address, port)
  local peer <close> = near
  local far <close>, why = jump:forward(address, port)
  self.why = why
  if not far then return end
  local back = task.spawn(copy, far, peer)
  local tidy <close> = setmetatable({}, { __close = function() back:cancel("over") back:join() end })
  copy(peer, far)
  local _, some = back:join()
  if some then return end
  local code, message = far:wait()
  if not code then self.why = message end
end

local ENDS = 2 -- seconds that connections may take to end of which one side has

-- A port of ours that leads to where `jump` can connect to: for transports that do not know each other. Until `enough` is
-- called: a login that is tried again connects again.
local function relay(jump, address, port)
  local listener, message, code = stream.listen { host = "127.0.0.1", port = 0 }
  if not listener then return nil, message, code end
  local self, running = { address = "127.0.0.1:" .. listener:port() }, {}
  running[1] = task.spawn(function()
    for near in function() return listener:accept() end do
      running[#running + 1] = task.spawn(carry, self, near, jump, address, port)
    end
  end)
  function self.enough() listener:close() end
  function self.reason() -- why it led nowhere, if that is known
    listener:close()
    task.deadline(ENDS, function() for _, one in ipairs(running) do one:join() end end)
    return self.why
  end
  function self.close()
    listener:close()
    for _, one in ipairs(running) do one:cancel("over") end
    for _, one in ipairs(running) do one:join() end
  end
  return self
end

local connect

local function by_libssh2(host, way, options, unlock)
  local means = login.means(host, way.told, unlock)
  if #means.identities == 0 and #means.locked == 0 then
    local others = means.others[1] and ", but for " .. table.concat(means.others, ", ")
    error(fail { ("%s: there is no key to log in with%s"):format(name_of(host), others or ""), code = "key",
      hint = others and "say transport = \"openssh\": only ssh itself can use these"
        or "give key or key_file, say agent = true, or name an IdentityFile in the configuration" })
  end
  if #means.identities == 0 then means = login.means(host, way.told, true) end
  options.identities, options.host_keys = means.identities, way.host_keys
  local conn, message, code, hint = ssh.connect(options)
  if code == "auth" and #means.locked > 0 then return by_libssh2(host, way, options, true) end
  return conn, message, code, hint
end

local function by_openssh(host, way, options, unlock)
  local means = login.means(host, way.told, unlock)
  options.keys, options.agent, options.file, options.certificate = means.keys, means.agent, means.file, host.certificate
  options.host_keys, options.known_hosts, options.own_command = way.host_keys, login.files(host.known_hosts), false
  -- Whose key it is, wherever the connection goes.
  if options.connect_to then options.known_as = options.known_as or login.name_of_key(way.address, way.port) end
  if way.told then -- ssh reads the files itself; what they say need not be said again
    options.config = login.config_file(host)
    options.host, options.port, options.user = host.address, host.port, host.user
    options.own_command = way.told.known_hosts_command ~= nil
  end
  local conn, message, code, hint = require("ssh.openssh").connect(options)
  if code == "auth" and #means.locked > 0 then return by_openssh(host, way, options, true) end
  return conn, message, code, hint
end

-- One attempt: an entry for the pool; or nil, message, code, hint.
local function attempt(target, host, timeout)
  local way = login.way(host)
  local jump = way.via and connect(target, way.via, timeout) or nil
  local connect_to, reason, reason_code = dial.resolve(target, way.address, way.port, way.via)
  if reason then return nil, reason, reason_code or "unreachable" end
  local options = { host = way.address, port = way.port, user = way.user, known_as = way.known_as, connect_to = connect_to,
    timeout = timeout, keepalive = 15 }
  local same = host.transport ~= "openssh" and jump and jump.start_forward
  local entry = setmetatable({}, { __close = function(self)
    if self.tunnel and not self.conn then self.tunnel.close() end
  end })
  local guard <close> = entry
  if same then
    options.via = jump
  elseif jump then
    local address, port = tostring(connect_to or ""):match("^%[?(.-)%]?:(%d+)$")
    entry.tunnel, reason, reason_code = relay(jump, address or way.address, math.tointeger(tonumber(port)) or way.port)
    if not entry.tunnel then return nil, reason, reason_code end
    options.connect_to = entry.tunnel.address
  end
  local message, code, hint
  entry.conn, message, code, hint = (host.transport == "openssh" and by_openssh or by_libssh2)(host, way, options)
  if entry.tunnel then entry.tunnel.enough() end
  if entry.conn then return entry end
  if entry.tunnel and code == "unreachable" then message = entry.tunnel.reason() or message end
  return nil, message, code, hint
end

local HINTS = {
  hostkey = "if the host was made anew on purpose, apply the resource that gives its host keys",
  auth = "check the user name and the key of the host",
  unreachable = "check that the host runs and that the network lets us in",
  handshake = "say transport = \"openssh\" for this host",
}

local function close(entry)
  entry.conn:close()
  if entry.tunnel then entry.tunnel.close() end
end

-- What it raises is the failure.
local function dial_anew(key, target, host, timeout)
  local entry, message, code, hint = attempt(target, host, timeout or 30)
  if entry then
    open[key] = entry
    return entry.conn
  end
  if code == "hostkey" and host.host_keys then hint = (hint and hint .. "; " or "") .. HINTS.hostkey end
  hint = hint or HINTS[code] or HINTS.unreachable
  if code == "timeout" or code == "lost" then code = "unreachable" end
  error(fail { ("%s: %s"):format(name_of(host), tostring(message)), code = code or "unreachable", hint = hint })
end

-- The connection to a host, from the pool or new.
function connect(target, host, timeout)
  local key = key_of(host)
  while open[key] do
    local entry = open[key]
    if not entry.conn:closed() then return entry.conn end
    open[key] = nil
    close(entry)
  end
  return dialling(key, dial_anew, key, target, host, timeout)
end

-- Seconds after which a host is asked again that says no: it is there, and its sshd may only be restarting.
local NO = { 0.3, 1, 2 }

local function says_no(err)
  return fail.is(err) and err.code == "unreachable"
    and (err.message:find("refused", 1, true) or err.message:find("ended the connection before it said", 1, true)) ~= nil
end

--- The connection to a host (the fields of an ssh.host), from the pool or new. Fails with the code "unreachable", "hostkey",
-- "auth", "handshake" (no algorithm in common), "key", "passphrase" or "config".
function M.open(target, host, timeout)
  for _, pause in ipairs(NO) do
    local ok, conn = pcall(connect, target, host, timeout)
    if ok then return conn end
    if not says_no(conn) then error(conn, 0) end
    task.sleep(pause)
  end
  return connect(target, host, timeout)
end

--- true: hosts are taken as the state has them, and whoever needs one connects then (verbs that tell of each host by itself).
M.later = false

--- Takes a connection out of the pool, when it turned out to be lost: `conn`, or whichever is there.
function M.drop(host, conn)
  local ok, key = pcall(key_of, host)
  if not ok then return end -- what cannot be looked up was never opened
  local entry = open[key]
  if not entry or conn and entry.conn ~= conn then return end
  open[key] = nil
  close(entry)
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
    close(entry)
  end
  if package.loaded["ssh.openssh"] then package.loaded["ssh.openssh"].close_all() end
end

return M
