--- Runs the tasks of a role on a host: one program checks and one applies, in the same shell.
local connection = require "host.connection"
local fail = require "fail"
local journal = require "host.journal"
local program = require "host.program"
local restart = require "host.restart"
local shell = require "host.shell"
local task = require "task"

local M = {}

-- Programs come on the shell's standard input: nothing of them is an argument. Each is one group of commands, which a shell
-- reads to its end before it starts, so no command inside can eat the rest of it.
local SH = "sh -s"

-- Exit codes that tell of the driver, not of the command: see program.lua and timeout(1).
local UNCHANGED, TIMED_OUT, KILLED = 199, 124, 137

-- How long a host whose connection was lost may take to answer again, and how often it may be lost.
local COME_BACK, LOSSES = 60, 5

-- As whom a role acts: root unless its `become` says another name, or false for whoever logs in.
local function command_for(host, become, command)
  local user = become == nil and "root" or become or host.user
  if user == host.user then return "exec " .. command end
  if user == "root" then return "exec " .. shell.as_root(host, command) end
  if host.user ~= "root" then return ("exec sudo -n -H -u %s -- %s"):format(shell.quote(user), command) end
  return ("exec su -s /bin/sh -c %s -- %s"):format(shell.quote(command), shell.quote(user))
end

-- Only root keeps things in the system's folders.
local function at_home(host, become)
  return (become == nil and "root" or become or host.user) ~= "root"
end

local function last_lines(text, count)
  local lines = {}
  for line in text:gmatch("[^\n]+") do
    if line:find("%S") then lines[#lines + 1] = line end
  end
  return table.concat(lines, "\n", math.max(1, #lines - count + 1))
end

local function with_words(message, said)
  return said ~= "" and message .. (said:find("\n", 1, true) and "\n" or ": ") .. said or message
end

-- What a shell says that could not run the program: often that sudo wants a password, or is not there.
local function ended_early(host, result, reader)
  local how = result.signal and "signal " .. result.signal or "exit code " .. tostring(result.code)
  return fail { with_words(("%s: the host's shell ended early (%s)"):format(host.address, how), last_lines(reader.tail, 5)),
    code = "shell", hint = host.user ~= "root" and ("'sudo -n' must work for user %s"):format(host.user) or nil }
end

local function has_failed(reader)
  for _, t in ipairs(reader.tasks) do if t.state == "failed" then return true end end
  return false
end

local function is_complete(reader) return reader.ended or has_failed(reader) end

-- One run of a program, which may take several connections.
local Run = {}
Run.__index = Run

function Run:left() return math.max(0, self.deadline - task.now()) end

local function hears(reader)
  return { out = function(chunk) reader:out(chunk) end, err = function(chunk) reader:err(chunk) end }
end

-- method: of the connection.
function Run:call(method, command, options, hear)
  local conn = connection.open(self.ctx.target, self.host)
  options.timeout, options.collect, options.on_stdout, options.on_stderr = self:left(), false, hear.out, hear.err
  local result, message, code = conn[method](conn, command_for(self.host, self.options.become, command), options)
  if result then return result end
  if code == "lost" then connection.drop(self.host, conn) end
  return nil, message, code
end

function Run:exec(text, hear) return self:call("exec", "sh -c " .. shell.quote(text), {}, hear) end

-- Sends a program. Behind a check the shell goes on.
function Run:send(text, reader)
  local over = self.mode == "check" and function() return reader.done == 2 end or nil
  local result, message, code = self:call("program", SH, { stdin = text, over = over }, hears(reader))
  if result and result.over then result.code = reader.code end
  return result, message, code
end

-- Follows the journal of a program that is at work on the host, or was. hear: what its lines go to; lost: it is our own, whose
-- connection was lost.
function Run:follow(hear, lost)
  return self:exec(journal.follow(self.options.scope, self.home, lost), hear)
end

function Run:unreachable(message, code)
  self.settled = self.settled or code == "lost"
  if code == "timeout" then message = ("the tasks did not end within %g s"):format(self.options.timeout) end
  error(fail { ("%s: %s"):format(self.host.address, message), code = code == "lost" and "unreachable" or code })
end

-- A connection was lost: waits for the host to answer again.
function Run:reconnect(message)
  self.losses = self.losses + 1
  if self.losses > LOSSES then self:unreachable(message, "lost") end
  self.options.progress(("%s: %s; connecting again"):format(self.host.address, message))
  self.settled = true
  connection.wait(self.ctx.target, self.host, math.min(COME_BACK, self:left()), self.options.progress)
  self.settled = false
end

-- What an applying program does when nobody is interested any more: it goes, with its children.
function Run:__close()
  if self.mode ~= "apply" or self.settled then return end
  pcall(task.deadline, 15, function()
    self.deadline = task.now() + 15
    self:exec(journal.cancel(self.options.scope, self.home), {})
  end)
end

-- Another program of this role is at work: one whose vmrun has gone. What it does is waited for.
function Run:wait_for_other()
  self.options.progress(("%s: waiting for an earlier run of this role that is still at work there"):format(self.host.address))
  local rest = ""
  local function hear(chunk)
    rest = rest .. chunk
    for line in rest:gmatch("([^\n]*)\n") do
      if line:find("%S") and not line:find("^@%x+ ") then self.options.output(line) end
    end
    rest = rest:match("[^\n]*$")
  end
  local result, message, code = self:follow { out = hear, err = hear }
  if code == "lost" then return self:reconnect(message) end
  if not result then self:unreachable(message, code) end
end

-- Sends the program and hears what it says, over as many connections as that takes. Returns the reader; nil: to be tried
-- again, which changes nothing twice, for each task is checked before.
function Run:attempt(tasks)
  local options, losses = self.options, self.losses
  local text, mark = program.compile(self.mode, tasks, { scope = options.scope, asks = options.asks,
    if_same = options.if_same, home = self.home })
  local reader = program.reader(mark, tasks, function(i) options.progress(tasks[i].title) end,
    function(i, line) options.output(tasks[i].title .. ": " .. line) end)
  local result, message, code = self:send(text, reader)
  while code == "lost" do
    self:reconnect(message)
    if self.mode == "check" then return nil end
    result, message, code = self:follow(hears(reader), true)
  end
  if not result then self:unreachable(message, code) end
  if reader.busy then return self:wait_for_other() end
  if is_complete(reader) then return reader end
  if self.losses > losses then return nil end
  self.settled = true
  error(ended_early(self.host, result, reader))
end

--- Runs a compiled program. options: scope (the role's name), become, timeout, progress(text), output(line), asks and if_same
-- (see program.lua). Returns the reader, with its answers.
local function run(ctx, host, mode, tasks, options)
  local self <close> = setmetatable({ ctx = ctx, host = host, mode = mode, options = options, losses = 0,
    deadline = task.now() + options.timeout, home = at_home(host, options.become) }, Run)
  local reader
  repeat reader = self:attempt(tasks) until reader
  self.settled = true
  return reader
end

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

local function readable(text) return utf8.len(text) and text or ("(%d bytes that are no text)"):format(#text) end

--- What marks a change that hangs on an earlier one.
function M.known_after(title) return ("(known after %s)"):format(title) end

local function add_difference(changes, t, told)
  local shown = t.type.shown and t.type.shown(t.fields) or {}
  for _, key in ipairs(sorted_keys(told.old)) do
    changes[#changes + 1] = { path = t.title .. "." .. key, old = readable(told.old[key]), new = shown[key] or "" }
  end
  if next(told.old) == nil then changes[#changes + 1] = { path = t.title, new = M.summary(t, shown) } end
end

--- What differs from the declared tasks: a list of { path =, old =, new = }, the answers, and the title of the last task that
-- differs. options.hangs: the title of an earlier task that differs and whose outcome decided on these.
function M.check(ctx, host, tasks, options)
  local reader = run(ctx, host, "check", tasks, options)
  local changes, last = {}, nil
  for i, t in ipairs(tasks) do
    local told, hangs = reader.tasks[i], options.hangs or last
    if told.state == "unclear" and not hangs then
      error(fail { with_words(("%s: cannot check `%s` (exit code %s)"):format(host.address, t.title, tostring(told.code)),
        last_lines(reader.tail, 3)), code = "check" })
    elseif told.state == "unclear" or (told.state == "differs" and options.hangs) then
      changes[#changes + 1] = { path = t.title, new = M.known_after(hangs) }
    elseif told.state == "differs" then
      add_difference(changes, t, told)
      last = t.title
    end
  end
  return changes, reader.answers, last
end

--- What a task that is wholly missing would make, in one value.
function M.summary(t, shown)
  if t.fields.secret then return "(secret)" end
  return shown.content or shown.entry or shown.line or shown.run or shown.value or shown.address or shown.name or "done"
end

local function why(t, told)
  if told.code == UNCHANGED then return "it ran, but what it should have changed did not change" end
  local late = told.seconds and told.seconds >= t.fields.timeout
  if late and (told.code == TIMED_OUT or told.code == KILLED) then return ("no end after %g s"):format(t.fields.timeout) end
  return ("exit code %s"):format(tostring(told.code))
end

-- Restarts the host for a task, and applies the tasks from this one on, which looks at what it made. `restarted`: the task
-- for which that was done before.
local function apply_restarted(ctx, host, tasks, i, options, restarted)
  local t = tasks[i]
  if t == restarted then
    local why_not = "the host was restarted, and it still says that it must be"
    error(fail { ("%s: `%s` failed: %s"):format(host.address, t.title, why_not), code = "task" })
  end
  restart(ctx, host, t.title, t.fields.timeout, function(text)
    return command_for(host, options.become, "sh -c " .. shell.quote(text))
  end, options.progress)
  return M.apply(ctx, host, table.move(tasks, i, #tasks, 1, {}), options, t)
end

--- Applies; raises the first failure with the command's own last words. Returns how many tasks changed, and the answers.
function M.apply(ctx, host, tasks, options, restarted)
  local reader = run(ctx, host, "apply", tasks, options)
  local changed = 0
  for i, t in ipairs(tasks) do
    local told = reader.tasks[i]
    if told.state == "changed" then changed = changed + 1 end
    if told.state == "restarts" then
      local more, answers = apply_restarted(ctx, host, tasks, i, options, restarted)
      return changed + 1 + more, answers
    end
    if told.state == "failed" then
      local said = last_lines(told.output, t.type.lines or 40)
      error(fail { ("%s: `%s` failed: %s%s"):format(host.address, t.title, why(t, told), said ~= "" and "\n" .. said or ""),
        code = "task" })
    end
  end
  return changed, reader.answers
end

return M
