--- The second transport: the system's own ssh, for hosts and keys that libssh2 cannot serve. One ssh a host logs in and stays
-- (a control master); each command, terminal and tunnel is a short ssh that goes through it. Connections have the methods of
-- those of `ssh`.
--
-- What an ssh needs to know lies in a private folder that goes with the last connection: known host keys, sockets. Private keys
-- are never there: ssh asks an agent of ours for signatures.
local agent, config, core, fs = require "ssh.agent", require "ssh.config", require "ssh_core", require "fs"
local key_line, process, task = require "ssh.key_line", require "process", require "task"

local M = {}

local turn = require "ssh.turns"(8) -- logins at once
local READY = "vmrun-ready"
local HOST = "vmrun" -- what the short ones call the host: the master knows where it is
local SOCKET_ROOM = 60 -- bytes of a folder's name: those of a socket have an end
local PLAIN = "^/[%w/._+-]*$" -- a folder's name that stands for itself in ssh's options, tokens and commands
local TELLS_KEYS = 8.5 -- the first ssh that has KnownHostsCommand
local SEES_ITS_END = 1 -- seconds that a master may take to say that it has ended

-- A master ends with us, and its files go, whatever becomes of us: its watcher reads from a pipe that we hold.
local WATCHED = [[ssh "$@" </dev/null & exec >&- 2>&-
read -r _; kill $!; wait $!; rm -f "$0".* "$0"-*; rmdir "${0%/*}"]]

-- --- the folder ---

local house   -- { path =, count =, open = (connections), over =, keeper = }
local leaving -- the keeper of the one before

local function folder()
  for _, parent in ipairs { process.env("XDG_RUNTIME_DIR") or "", process.env("TMPDIR") or "", "/tmp" } do
    if #parent <= SOCKET_ROOM and parent:find(PLAIN) then
      local path = fs.mktemp(parent .. "/vmrun-ssh-")
      if path then return path end
    end
  end
  return fs.mktemp("/tmp/vmrun-ssh-")
end

-- The keeper is a task so that it is cancelled, and tidies up, when the run ends in whatever way.
local function enter()
  if house then return house end
  local path, message = folder()
  if not path then return nil, message end
  local made = { path = path, count = 0, open = {}, over = task.event() }
  made.keeper = task.spawn(function()
    local tidy <close> = setmetatable({}, { __close = function()
      if house == made then house = nil end
      for conn in pairs(made.open) do conn:close() end
      fs.remove(path, { recursive = true })
    end })
    made.over:wait()
  end)
  house = made
  return made
end

local function leave(from, conn)
  from.open[conn] = nil
  if next(from.open) or house ~= from then return end
  house, leaving = nil, from.keeper
  from.over:set()
end

--- Ends all connections and waits until nothing of them is left.
function M.close_all()
  for conn in pairs(house and house.open or {}) do conn:close() end
  if leaving then leaving:join() end
  leaving = nil
end

-- --- the master ---

local Connection = {}
Connection.__index = Connection
Connection.__close = function(self) self:close() end

-- Those that need nothing but `start`, `label` and a channel.
for _, name in ipairs { "exec", "program", "upload", "open" } do Connection[name] = core.session[name] end

local version
local asking = require "together"()

local function ask_version()
  local result = process.run { argv = { "ssh", "-V" }, timeout = 10 }
  return result and result.code == 0 and (tonumber(result.stderr:match("OpenSSH_(%d+%.%d+)")) or 0) or nil
end

-- The version of the ssh program; nil: there is none, 0: it does not tell. One asks for all who come at once.
local function installed()
  version = version or asking("version", ask_version)
  return version
end

local function option(argv, name, value)
  argv[#argv + 1] = "-o"
  argv[#argv + 1] = name .. "=" .. value
end

-- The keys of a recipe as a known_hosts file.
local function write_known(self, host_keys)
  local lines = {}
  for _, line in ipairs(host_keys) do
    local parts = key_line.parse(line)
    if parts then lines[#lines + 1] = key_line.text(parts, "*") end
  end
  assert(fs.write(self.base .. ".known", table.concat(lines, "\n") .. "\n"))
  return { self.base .. ".known" }
end

local function add_known_hosts(argv, self, options)
  local files = options.host_keys and write_known(self, options.host_keys) or options.known_hosts
  if files then
    option(argv, "UserKnownHostsFile", config.all_quoted(files))
    option(argv, "GlobalKnownHostsFile", "/dev/null")
    option(argv, "VerifyHostKeyDNS", "no")
  end
  if options.known_as then option(argv, "HostKeyAlias", options.known_as) end
  option(argv, "StrictHostKeyChecking", "yes")
  option(argv, "NoHostAuthenticationForLocalhost", "no")
  option(argv, "UpdateHostKeys", "no")
  if installed() >= TELLS_KEYS and (files or not options.own_command) then -- tells us which key the host showed
    local keep = [[/bin/sh -c '[ "$2" = NONE ] || echo "$1 $2" >"$0"' %s %%t %%K]]
    option(argv, "KnownHostsCommand", keep:format(self.base .. ".seen"))
  end
end

local function add_keys(argv, self, options)
  local path = options.agent
  if #options.keys > 0 then
    path = self.base .. ".agent"
    local message
    self.agent, message = agent.serve(path, options.keys, options.agent)
    if not self.agent then return nil, message end
  end
  option(argv, "IdentityAgent", path and config.quoted(path) or "none")
  if options.file then option(argv, "IdentityFile", config.quoted(options.file)) end
  if options.certificate then
    assert(fs.write(self.base .. "-cert.pub", options.certificate .. "\n"))
    option(argv, "CertificateFile", self.base .. "-cert.pub")
  end
  if not options.config and not options.file then option(argv, "IdentityFile", "none") end
  return true
end

local FIXED = { ControlMaster = "yes", ControlPersist = "no", BatchMode = "yes", ClearAllForwardings = "yes", ForwardAgent = "no",
  ForwardX11 = "no", RemoteCommand = "none", RequestTTY = "no", PermitLocalCommand = "yes", LocalCommand = "echo " .. READY,
  CheckHostIP = "no", PasswordAuthentication = "no", KbdInteractiveAuthentication = "no", LogLevel = "INFO", EscapeChar = "none" }

local function command_line(self, options)
  local argv = { "sh", "-c", WATCHED, self.base }
  if not options.config then
    table.move({ "-F", "/dev/null" }, 1, 2, #argv + 1, argv)
  elseif options.config ~= true then
    table.move({ "-F", options.config }, 1, 2, #argv + 1, argv)
  end
  for name, value in pairs(FIXED) do option(argv, name, value) end
  option(argv, "ControlPath", self.base .. ".ctl")
  option(argv, "ServerAliveInterval", tostring(math.max(1, math.floor(options.keepalive or 15))))
  option(argv, "ServerAliveCountMax", "3")
  option(argv, "ConnectTimeout", tostring(math.max(1, math.ceil(options.timeout))))
  if options.user then option(argv, "User", options.user) end
  add_known_hosts(argv, self, options)
  local ok, message = add_keys(argv, self, options)
  if not ok then return nil, message end
  local port = options.port
  if options.connect_to then
    local host, other = options.connect_to:match("^%[?(.-)%]?:(%d+)$")
    option(argv, "HostName", host)
    option(argv, "ProxyJump", "none")
    port = other
  end
  if port then table.move({ "-p", tostring(port) }, 1, 2, #argv + 1, argv) end
  table.move({ "-N", "--", options.host }, 1, 3, #argv + 1, argv)
  return argv
end

-- What ssh said, without its frame and what is of no help.
local function said(text)
  local lines = {}
  for line in text:gmatch("[^\r\n]+") do
    if line:find("[^@%s]") and not line:find("^channel %d+: open failed") then lines[#lines + 1] = line end
  end
  return lines
end

local function expected_keys(options)
  local text = ""
  for _, line in ipairs(options.host_keys or {}) do
    local parts = key_line.parse(line)
    if parts and not parts.mark then text = text .. "\n  expected " .. parts.name end
  end
  return text
end

local function host_key_refused(self, options, text)
  local changed, print = text:find("IDENTIFICATION HAS CHANGED", 1, true), text:match("SHA256:[%w+/]+")
  local kind = text:match("for the (%w+) key sent") or text:match("No (%w+) host key is known")
  local file, line = text:match("Offending %S+ key in (.-):(%d+)")
  local message
  if text:find("REVOKED HOST KEY", 1, true) then
    message = ("WARNING: REVOKED HOST KEY: the key of %s was marked as revoked"):format(self.name)
  elseif changed then
    message = ("WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED: %s has another host key than expected%s"):format(self.name,
      expected_keys(options)) .. (print and ("\n  got      %s %s"):format(kind or "", print) or "")
  else
    message = ("the host key of %s is not known%s"):format(self.name, kind and (" (%s)"):format(kind) or "")
  end
  local own = not file or file == self.base .. ".known"
  if not own then message = message .. ("\n  %s:%s"):format(file, line) end
  local hint = changed and "somebody may be listening in, or the host was installed anew: compare the fingerprint with the " ..
    "host's console" or "compare the fingerprint with the host's console, then add the key to the known ones"
  if changed and not own then
    hint = hint .. ("; take the old key out with: ssh-keygen -f '%s' -R '%s'"):format(file, options.known_as or self.name)
  end
  return message, "hostkey", hint
end

-- Why a login did not come about: message, code, hint.
local function why_not(self, options, text)
  local lines = said(text)
  local last = lines[#lines] or "ssh has ended without a word"
  if text:find("Host key verification failed", 1, true) or text:find("REVOKED HOST KEY", 1, true) or
    text:find("you have requested strict checking", 1, true) then
    return host_key_refused(self, options, text)
  end
  local unsigned = text:match("signing failed for ([^\r\n]+)")
  if unsigned and last:find("Permission denied", 1, true) then
    return ("%s: no login: nobody has signed with key %s"):format(self.name, unsigned), "auth",
      "is the ssh-agent locked (ssh-add -X unlocks it), or does it wait for somebody to confirm the key's use?"
  end
  if last:find("Permission denied", 1, true) or last:find("Too many authentication failures", 1, true) then
    local whom = options.user and ("user '%s'"):format(options.user) or "the login"
    return ("%s refused %s: %s"):format(self.name, whom, last), "auth",
      "is the key's public half in the user's authorized_keys on the host?"
  end
  if text:find("Unable to negotiate", 1, true) then return ("%s: %s"):format(self.name, last), "handshake" end
  if text:find("Bad configuration option", 1, true) or text:find("Can't open user config", 1, true) then
    return ("%s: ssh cannot read its configuration: %s"):format(self.name, last), "config"
  end
  return ("%s: %s"):format(self.name, last:gsub("^ssh: ", "")), "unreachable"
end

-- Reads what the master says until it has ended.
local function listen(self)
  self.said = ""
  self.listener = task.spawn(function()
    while true do
      local chunk = self.master:read_error()
      if not chunk then break end
      self.said = (self.said .. chunk):sub(-8192)
    end
    self.ended:set()
  end)
end

local function await_ready(self)
  local out = ""
  repeat
    local chunk = self.master:read()
    out = out .. (chunk or "")
  until not chunk or out:find(READY, 1, true)
  if out:find(READY, 1, true) then return true end
  self.ended:wait()
  return false
end

local function loss(self)
  local lines = said(self.said)
  return ("the connection to %s was lost: %s"):format(self.name, lines[#lines] or "ssh has ended")
end

-- From now on its end is a loss.
local function watch(self)
  self.watcher = task.spawn(function()
    repeat until not self.master:read()
    self.ended:wait()
    self.lost = self.lost or loss(self)
  end)
end

local function log_in(self, options)
  local argv, message = command_line(self, options)
  if not argv then return nil, message, "agent" end
  local code
  self.master, message, code = process.spawn { argv = argv, env = { SSH_AUTH_SOCK = false, SSH_ASKPASS = false, DISPLAY = false,
    SHELL = "/bin/sh", LC_ALL = "C" } }
  if not self.master then return nil, message, code end
  listen(self)
  local ok, why
  ok, why, code = task.deadline(options.timeout, await_ready, self)
  if ok then return true end
  if code == "timeout" then
    return nil, ("%s: no login within %g s"):format(self.name, options.timeout), "timeout"
  elseif ok == nil then
    return nil, tostring(why), code
  end
  return nil, why_not(self, options, self.said)
end

--- Logs in to a host by the system's ssh.
-- @param options host, port, user, keys (what `ssh.key` gave), agent (another's socket), file (a key's file, for ssh to read),
-- certificate (text), host_keys (lines) or known_hosts (files), known_as (the host's name in them, whatever the port), config
-- (true: the person's files; a file's name), own_command (the configuration has a KnownHostsCommand of its own), connect_to
-- ("addr:port"), timeout, keepalive
-- @return the connection; or nil, message, code (as ssh.connect), hint
function M.connect(options)
  if not installed() then
    return nil, "transport = \"openssh\" needs the ssh program, and none is installed", "config", "install OpenSSH's client"
  end
  local mine <close> = turn()
  local from, message = enter()
  if not from then return nil, message, "io" end
  from.count = from.count + 1
  local self = setmetatable({ house = from, base = ("%s/%d"):format(from.path, from.count),
    name = options.port and options.port ~= 22 and ("[%s]:%d"):format(options.host, options.port) or options.host,
    ended = task.event(), channels = {}, logs = 0 }, Connection)
  from.open[self] = true
  local guard <close> = setmetatable({}, { __close = function() if not self.ready then self:close() end end })
  local ok, code, hint
  ok, message, code, hint = log_in(self, options)
  if not ok then return nil, message, code, hint end
  self.ready = true
  watch(self)
  return self
end

--- As people know it.
function Connection:label() return self.name end

--- The key that the host showed, "type base64"; nil where ssh does not tell.
function Connection:host_key()
  local text = fs.read(self.base .. ".seen")
  return text and text:match("^(%S+ %S+)")
end

--- Whether it is over, and why.
function Connection:closed()
  return self.lost ~= nil, self.lost
end

--- Ends it, with what goes on over it.
function Connection:close()
  if self.gone then return end
  self.gone = true
  self.lost = self.lost or ("the connection to %s was closed"):format(self.name)
  for channel in pairs(self.channels) do channel:close() end
  if self.master then
    if self.watcher then self.watcher:cancel("closed") end
    pcall(self.master.close_stdin, self.master) -- its watcher ends it, and it takes its socket along
    self.ended:wait(SEES_ITS_END)
    self.master:close()
    self.listener:cancel("closed")
  end
  if self.agent then self.agent:close() end
  leave(self.house, self)
end

-- --- channels ---

local Channel = {}
Channel.__index = Channel
Channel.__close = function(self) self:close() end

-- A short ssh through the master. It does not come to a login of its own: that would be without a key.
local function through(self, words, pty)
  self.logs = self.logs + 1
  local log_file = ("%s-%d.log"):format(self.base, self.logs)
  local argv = { "ssh", "-F", "/dev/null", "-S", self.base .. ".ctl", "-o", "ControlMaster=no", "-o", "ProxyCommand=false", "-o",
    "LogLevel=ERROR", "-e", "none", "-E", log_file }
  table.move(words, 1, #words, #argv + 1, argv)
  local child, message, code = process.spawn { argv = argv, pty = pty,
    env = { SSH_AUTH_SOCK = false, TERM = pty and pty.term or nil } }
  return child, log_file, message, code
end

-- What comes on a stream of the child goes to the reader one piece at a time.
local function pass_on(self, name, read)
  return task.spawn(function()
    while true do
      local chunk = read(self.child)
      if not chunk then break end
      self.inbox[#self.inbox + 1] = { name, chunk }
      self.news:set()
      while #self.inbox > 8 do
        self.taken:clear()
        self.taken:wait()
      end
    end
    self.open_streams = self.open_streams - 1
    self.news:set()
  end)
end

local function new_channel(conn, child, log_file, pty)
  local self = setmetatable({ conn = conn, child = child, log_file = log_file, inbox = {}, news = task.event(),
    taken = task.event(), open_streams = pty and 1 or 2, outbox = task.queue(), pty = pty }, Channel)
  conn.channels[self] = true
  self.tasks = { pass_on(self, "stdout", child.read) }
  if not pty then self.tasks[2] = pass_on(self, "stderr", child.read_error) end
  self.tasks[#self.tasks + 1] = task.spawn(function() -- what was queued
    while true do
      local text = self.outbox:pop()
      if not text then break end
      if not child:write(text) then break end
    end
    if not pty then pcall(child.close_stdin, child) end
  end)
  return self
end

local function failed_channel(message, code)
  local self = { message = message, code = code }
  return setmetatable({}, { __index = function(_, name)
    if name == "close" or name == "queue" or name == "eof" then return function() end end
    return function() return nil, self.message, self.code end
  end, __close = function() end })
end

--- Starts a command (nil: the user's shell), as ssh's own connections do; not ready yet.
function Connection:start(command, pty)
  if self.lost then return failed_channel(self.lost, "lost") end
  if pty == true then pty = {} end
  local words = { pty and "-tt" or "-T", "--", HOST, command }
  local child, log_file, message, code = through(self, words, pty)
  if not child then return failed_channel(message, code) end
  return new_channel(self, child, log_file, pty)
end

--- A TCP connection that the host makes.
function Connection:forward(host, port)
  if self.lost then return nil, self.lost, "lost" end
  local to = (host:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(host, port)
  local child, log_file, message, code = through(self, { "-W", to, "--", HOST })
  if not child then return nil, message, code end
  return new_channel(self, child, log_file)
end

-- Why the short ssh has failed, or nil: then 255 is the command's own exit code. A master that has ended may not have told us
-- yet, but does not answer.
local function failure_of(self)
  local conn = self.conn
  if not conn.lost then
    local result = process.run { argv = { "ssh", "-F", "/dev/null", "-S", conn.base .. ".ctl", "-O", "check", "--", HOST },
      timeout = 10 }
    if result and result.code ~= 0 then
      conn.ended:wait(SEES_ITS_END)
      conn.lost = conn.lost or loss(conn)
    end
  end
  if conn.lost then return conn.lost, "lost" end
  local lines = said(fs.read(self.log_file) or "")
  if #lines == 0 then return nil end
  local refused = conn.said:match(".*channel %d+: open failed: ([^\r\n]+)") -- the master knows more
  return ("%s: cannot open a channel: %s"):format(conn.name, refused or lines[1]), "channel"
end

function Channel:ready() return true end

--- The next piece of output and where it came: "stdout" or "stderr"; nil at the end of both.
function Channel:next(timeout)
  local stop = timeout and task.now() + timeout
  while true do
    if self.gone then return nil, "the channel was closed", "closed" end
    local piece = table.remove(self.inbox, 1)
    if piece then
      self.taken:set()
      return piece[1], piece[2]
    end
    if self.open_streams == 0 then
      local code, signal = self:ended_as()
      if code then return nil end
      return nil, signal.message, signal.code
    end
    self.news:clear()
    if not self.news:wait(stop and math.max(0, stop - task.now())) then return nil, "nothing was received in time", "timeout" end
  end
end

local function read_one(self, wanted, timeout)
  while true do
    for i, piece in ipairs(self.inbox) do
      if piece[1] == wanted then
        table.remove(self.inbox, i)
        self.taken:set()
        return piece[2]
      end
    end
    if self.gone then return nil, "the channel was closed", "closed" end
    if self.open_streams == 0 then return nil end
    self.news:clear()
    if not self.news:wait(timeout) then return nil, "nothing was received in time", "timeout" end
  end
end

function Channel:read(timeout) return read_one(self, "stdout", timeout) end
function Channel:read_error(timeout) return read_one(self, "stderr", timeout) end

function Channel:queue(text) return self.outbox:push(text) end

--- Writes; waits while the other side is slow.
function Channel:write(text, _, from, to)
  if from then text = text:sub(from, to) end
  if self.gone then return nil, "the channel was closed", "closed" end
  local ok, message, code = self.child:write(text)
  if ok then return true end
  return nil, message, code
end

--- Nothing more will be written.
function Channel:eof() self.outbox:close() end
Channel.shutdown = Channel.eof

function Channel:resize(columns, rows)
  if not self.gone then self.child:resize(columns, rows) end
end

-- Its exit code; or nil and why it did not come to one.
function Channel:ended_as(timeout)
  local code, signal, why = self.child:wait(timeout)
  if not code then return nil, { message = signal, code = why } end
  if code == 255 then
    local message, what = failure_of(self)
    if message then return nil, { message = message, code = what } end
  end
  return code
end

--- How the command ended: its exit code. ssh says 255 for one that a signal has ended.
function Channel:wait(timeout)
  if self.gone then return nil, "the channel was closed", "closed" end
  local code, why = self:ended_as(timeout)
  if code then return code, nil end
  return nil, why.message, why.code
end

function Channel:close()
  if self.gone then return end
  self.gone = true
  self.outbox:close()
  for _, one in ipairs(self.tasks) do one:cancel("closed") end
  self.child:close()
  self.news:set()
  self.taken:set()
  self.conn.channels[self] = nil
  fs.remove(self.log_file)
end

return M
