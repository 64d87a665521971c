--- SSH: connections, commands, files and tunnels. The single steps are C's (ssh_core); here is their order.
local core = require "ssh_core"
local sessions = require "ssh.sessions"
local task = require "task"

local M = {}
local session, channel = core.session, core.channel

--- Closes a thing when its scope is left, unless `keep` was called.
local guard = {}
guard.__index = guard
guard.__close = function(self) if self.thing then self.thing:close() end end

local function hold(thing) return setmetatable({ thing = thing }, guard) end

function guard:keep()
  local thing = self.thing
  self.thing = nil
  return thing
end

--- Starts something and waits until it is ready: it, or nil, message, code, hint.
local function started(thing, message, code, hint)
  if not thing then return nil, message, code, hint end
  local held <close> = hold(thing)
  local ok
  ok, message, code, hint = thing:ready()
  if not ok then return nil, message, code, hint end
  return held:keep()
end

local function with_key(options, key)
  local copy = {}
  for name, value in pairs(options) do copy[name] = value end
  copy.key, copy.passphrase = key, nil
  return copy
end

--- Logs in to a host.
-- @param options host, port (22), user, key (private key: a text, or what `ssh.key` gave), passphrase, identities (instead of
-- key: a list of what to try in turn, keys and {blob=, name=, sign=function(data) -> bare signature, or nil and why}),
-- host_keys (lines of "type base64", one of which the host must show, or what `ssh.known_hosts` gave), known_as (the host's
-- name in them), via (a connection to jump through), connect_to ("addr:port": where the TCP connection goes instead), timeout
-- (30 s, waiting for a turn apart), keepalive (15 s of silence before the host is asked whether it is there)
-- @return the connection; or nil, message, code (unreachable, hostkey, auth, passphrase, timeout, handshake), hint
function M.connect(options)
  local conn, message, code, hint
  if options.passphrase then
    local key
    key, message, code, hint = core.key(options.key, options.passphrase)
    if not key then return nil, message, code, hint end
    options = with_key(options, key)
  end
  conn, message, code, hint = core.connect(options)
  if not conn then return nil, message, code, hint end
  local held <close> = hold(conn)
  local ok
  repeat
    ok, message, code, hint = conn:ready()
    if ok == "sign" then conn:sign(options.identities[message].sign(code)) end
  until ok ~= "sign"
  if not ok then return nil, message, code, hint end
  return held:keep()
end

--- Reads a private key. A passphrase takes long to try, which is done beside the loop.
-- @return the key: `blob()` (its public half), `name()`, `sign(data [, algorithm])`; or nil, message, code ("passphrase":
-- missing or wrong; "auth"), hint
M.key = core.key

--- "ssh-ed25519 SHA256:..." of a public key as it is on the wire; nil when it is none.
M.key_name = core.key_name

--- The lines of known_hosts files, to be given as `host_keys`, and how many keys they have.
-- @param files a list of {name, text}
M.known_hosts = core.known_hosts

--- How many handshakes this process has going at once (32), and how many logins at one address (8); the others wait in line.
M.limit = core.limit

local KEY_TYPES = "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,ssh-rsa"

--- The keys that a host shows, as lines of "type base64". Nothing vouches for them: compare or trust on first use.
-- @param options host, port, connect_to, via, timeout
-- @return a list; or nil, message, code
function M.scan(options)
  local function look(types)
    local conn <close>, message, code = started(core.connect {
      host = options.host, port = options.port, connect_to = options.connect_to, via = options.via,
      timeout = options.timeout, scan = types,
    })
    if not conn then return nil, message, code end
    return conn:host_key(), conn:host_key_types()
  end
  local line, offered, code = look(KEY_TYPES)
  if not line then return nil, offered, code end
  local lines, offers = { line }, {}
  for name in (offered or ""):gmatch("[^,]+") do offers[name] = true end
  for name in KEY_TYPES:gmatch("[^,]+") do
    if offers[name] and name ~= line:match("^%S+") then
      local other = look(name)
      if other then lines[#lines + 1] = other end
    end
  end
  return lines
end

--- Starts a command (nil: the user's shell) and leaves its streams to the caller: `read`, `read_error`, `write`, `eof`,
-- `wait`, `resize`, `close`.
-- @param options pty (true or {term=, cols=, rows=})
function session:open(command, options)
  return started(self:start(command, options and options.pty))
end

--- A TCP connection that the host makes: `read`, `write`, `shutdown`, `close`.
function session:forward(host, port)
  return started(self:start_forward(host, port))
end

-- Collects what a channel sends until it ends, the time is over or `options.over` says that this was all. Whether there was something,
-- what it was, and why no more came.
local function collect(ch, options, deadline)
  local parts, some = { stdout = {}, stderr = {} }, false
  local heard = { stdout = options.on_stdout, stderr = options.on_stderr }
  local function result() return { stdout = table.concat(parts.stdout), stderr = table.concat(parts.stderr) } end
  while true do
    local stream, data, code = ch:next(deadline and deadline - task.now())
    if not stream then return some, result(), data, code end
    some = true
    if options.collect ~= false then table.insert(parts[stream], data) end
    if heard[stream] then heard[stream](data) end
    if options.over and options.over() then return some, result(), nil, "over" end
  end
end

local PIECE = 32768

local feeder = {}
feeder.__close = function(self)
  self.task:cancel("the command has ended")
  self.task:join()
end

-- Gives a command its input, to which there may come more: a long one piece by piece as the host takes it, so that it does not lie
-- here twice.
local function feed(ch, options)
  local text, more = options.stdin, options.over ~= nil
  if text and #text > PIECE then
    return setmetatable({ task = task.spawn(function()
      for from = 1, #text, PIECE do
        if not ch:write(text, nil, from, from + PIECE - 1) then return end
      end
      if not more then ch:eof() end
    end) }, feeder)
  end
  if text then ch:queue(text) end
  if not more and (text or not options.pty) then ch:eof() end
end

-- Whether something came, and what `exec` returns.
local function converse(self, ch, options)
  local deadline = options.timeout and task.now() + options.timeout
  local feeder <close> = feed(ch, options)
  local some, result, message, code = collect(ch, options, deadline)
  if code == "over" then
    result.over = true
    return some, result
  elseif code == nil then
    result.code, message, code = ch:wait(deadline and deadline - task.now())
    if result.code then
      result.signal = message
      return some, result
    end
  end
  if code == "timeout" then
    message = ("%s: the command did not end within %g s"):format(self:label(), options.timeout)
  end
  return some, nil, message, code, result
end

-- Each attempt says first whether it met a shell that had run a program before.

local function exec_once(self, command, options)
  local place <close> = sessions.place(self)
  local ch <close> = self:start(command, options.pty)
  return false, converse(self, ch, options)
end

local function program_once(self, command, options)
  local shell <close> = sessions.shell(self, command)
  local used = shell.used
  local some, result, message, code, received = converse(self, shell.channel, options)
  if result and result.over then shell:keep() end
  return used, some, result, message, code, received
end

-- Tries again where nothing has come of it: a shell that waited may have ended meanwhile, and a host may have no session left.
local function insist(self, once, command, options)
  local slept = 0
  while true do
    local used, some, result, message, code, received = once(self, command, options)
    if some or code == "timeout" or code == "lost" then return result, message, code, received end
    if not used then
      slept = code == "channel" and sessions.refused(self, slept)
      if not slept then return result, message, code, received end
    end
  end
end

--- Runs a command to its end.
-- @param options stdin (text), timeout (seconds, once the host has a place for it), on_stdout, on_stderr (called with each chunk, may
-- wait), pty, collect (false: only the callbacks get the output)
-- @return {code= (-1: ended by a signal), signal= (its name), stdout=, stderr=}; or nil, message, code (timeout, lost, channel) and, as the
-- fourth value, what was received
function session:exec(command, options) return insist(self, exec_once, command, options or {}) end

--- Runs a program, a shell's compound command, in a shell that reads programs from its standard input and may have run others.
-- @param command what starts such a shell, as `exec sh -s`
-- @param options as of `exec`, with the program as stdin; and over: asked after each piece of output whether the program has ended.
-- The shell then waits for the next one; without `over` it ends with the program.
-- @return as `exec`; a program that is over has no exit code
function session:program(command, options) return insist(self, program_once, command, options) end

local function quote(text) return "'" .. text:gsub("'", [['\'']]) .. "'" end

-- The temporary file is new (noclobber), its length is checked before it takes the name, and it goes whatever happens.
local UPLOAD = [[
p=$1 n=$2 m=$3; t=$p.vmrun-$4
umask 077; set -C; : >"$t" || exit 1; set +C
trap 'rm -f "$t"' EXIT; trap 'exit 1' HUP INT TERM
cat >"$t" && got=$(wc -c <"$t") && [ "$got" -eq "$n" ] || { echo "only ${got:-0} of $n bytes arrived" >&2; exit 1; }
chmod "$m" "$t" && mv -f "$t" "$p" && trap - EXIT]]

local uploads = 0

--- Writes a file on the host: as a whole or not at all.
-- @param mode its permissions (an integer such as 0x1a4, or "644"); 644 if absent
-- @param options timeout
-- @return true; or nil, message, code ("upload": the host could not)
function session:upload(path, data, mode, options)
  uploads = uploads + 1
  mode = math.type(mode) and ("%o"):format(mode) or mode or "644"
  local tag = ("%x-%x-%x"):format(math.floor(task.time() * 1000), uploads, math.random(0, 0xffffff))
  local command = ("exec sh -c %s sh %s %d %s %s"):format(quote(UPLOAD), quote(path), #data, quote(mode), tag)
  local result, message, code = self:exec(command, { stdin = data, timeout = options and options.timeout })
  if not result then return nil, message, code end
  if result.code == 0 then return true end
  local reason = result.stderr:match("[^\n]+") or ("exit code " .. tostring(result.code or result.signal))
  return nil, ("%s: cannot write %s: %s"):format(self:label(), path, reason), "upload"
end

M.channel = channel
return M
