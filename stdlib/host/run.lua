--- Runs the tasks of a role on a host: one exec that checks, one that applies.
local connection = require "host.connection"
local fail = require "fail"
local program = require "host.program"

local M = {}

-- The program comes on the shell's standard input, whole, before it starts: nothing of it is an argument, and no command
-- inside can eat the rest of it.
local SH = [[sh -c 'eval "$(cat)"']]

-- Exit codes that tell of the driver, not of the command: see program.lua and timeout(1).
local UNCHANGED, TIMED_OUT, KILLED = 199, 124, 137

local function command_for(host)
  return host.user == "root" and SH or "sudo -n " .. SH
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

--- Runs a compiled program. options: timeout, progress(text), asks. Returns the reader, with its answers.
local function run(ctx, host, mode, tasks, options)
  local text, mark = program.compile(mode, tasks, options.asks)
  local conn = connection.open(ctx.target, host)
  local reader = program.reader(mark, tasks, function(i)
    if options.progress then options.progress(tasks[i].title) end
  end)
  local result, message, code = conn:exec(command_for(host), { stdin = text, timeout = options.timeout, collect = false,
    on_stdout = function(chunk) reader:out(chunk) end, on_stderr = function(chunk) reader:err(chunk) end })
  if not result then
    if code == "lost" then connection.drop(host, conn) end
    error(fail { ("%s: %s"):format(host.address, message), code = code == "lost" and "unreachable" or code })
  end
  if not reader.ended and not has_failed(reader) then error(ended_early(host, result, reader)) end
  return reader
end

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

local function readable(text) return utf8.len(text) and text or ("(%d bytes that are no text)"):format(#text) end

--- What differs from the declared tasks: a list of { path =, old =, new = }, and the answers.
function M.check(ctx, host, tasks, options)
  local reader = run(ctx, host, "check", tasks, options)
  local changes = {}
  for i, t in ipairs(tasks) do
    local told = reader.tasks[i]
    if told.state == "unclear" then
      error(fail { with_words(("%s: cannot check `%s` (exit code %s)"):format(host.address, t.title, tostring(told.code)),
        last_lines(reader.tail, 3)), code = "check" })
    elseif told.state == "differs" then
      local shown = t.type.shown and t.type.shown(t.fields) or {}
      for _, key in ipairs(sorted_keys(told.old)) do
        changes[#changes + 1] = { path = t.title .. "." .. key, old = readable(told.old[key]), new = shown[key] or "" }
      end
      if next(told.old) == nil then changes[#changes + 1] = { path = t.title, new = M.summary(t, shown) } end
    end
  end
  return changes, reader.answers
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

--- Applies; raises the first failure with the command's own last words. Returns how many tasks changed, and the answers.
function M.apply(ctx, host, tasks, options)
  local reader = run(ctx, host, "apply", tasks, options)
  local changed = 0
  for i, t in ipairs(tasks) do
    local told = reader.tasks[i]
    if told.state == "changed" then changed = changed + 1 end
    if told.state == "failed" then
      local said = last_lines(told.output, t.type.lines or 40)
      error(fail { ("%s: `%s` failed: %s%s"):format(host.address, t.title, why(t, told), said ~= "" and "\n" .. said or ""),
        code = "task" })
    end
  end
  return changed, reader.answers
end

return M
