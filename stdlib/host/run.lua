--- Runs the tasks of a role on a host: one exec that checks, one that applies.
local connection = require "host.connection"
local fail = require "fail"
local program = require "host.program"

local M = {}

-- The program comes on the shell's standard input, whole, before it starts: nothing of it is an argument, and no command
-- inside can eat the rest of it.
local SH = [[sh -c 'eval "$(cat)"']]

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

--- Runs a compiled program. options: timeout, progress(text), on_line(text). Returns the reader, with its answers.
local function run(ctx, host, mode, tasks, options)
  local text, mark = program.compile(mode, tasks, options.asks)
  local conn = connection.open(ctx.target, host)
  local reader = program.reader(mark, tasks, function(i)
    if options.progress then options.progress(tasks[i].title) end
  end)
  local result, message, code = conn:exec(command_for(host), { stdin = text, timeout = options.timeout,
    on_stdout = function(chunk) reader:out(chunk) end, on_stderr = function(chunk) reader:err(chunk) end })
  if not result then
    if code == "lost" then connection.drop(host) end
    error(fail { ("%s: %s"):format(host.address, message), code = code == "lost" and "unreachable" or code })
  end
  if not reader.ended then
    local failed
    for i, t in ipairs(reader.tasks) do
      if t.state == "failed" then failed = i end
    end
    if not failed then
      local said = last_lines(reader.tail, 5)
      error(fail { ("%s: the host's shell ended early (exit code %s)%s"):format(host.address, tostring(result.code),
        said ~= "" and ": " .. said or ""), code = "shell",
        hint = host.user ~= "root" and "'sudo -n' must work for user " .. host.user or nil })
    end
  end
  return reader
end

--- What differs from the declared tasks: a list of { path =, old =, new = }, and the answers.
function M.check(ctx, host, tasks, options)
  local reader = run(ctx, host, "check", tasks, options)
  local changes = {}
  for i, t in ipairs(tasks) do
    local told = reader.tasks[i]
    if told.state == "unclear" then
      error(fail { ("%s: cannot check `%s` (exit code %s)"):format(host.address, t.title, tostring(told.code)), code = "check" })
    elseif told.state == "differs" then
      local shown, any = t.type.shown and t.type.shown(t.fields) or {}, false
      for key, old in pairs(told.old) do
        any = true
        changes[#changes + 1] = { path = t.title .. "." .. key, old = old, new = shown[key] or "" }
      end
      if not any then changes[#changes + 1] = { path = t.title, old = nil, new = M.summary(t, shown) } end
    end
  end
  return changes, reader.answers
end

--- What a task that is wholly missing would make, in one value.
function M.summary(t, shown)
  if t.fields.secret then return "(secret)" end
  return shown.content or shown.entry or shown.line or shown.run or shown.value or shown.address or shown.name or "done"
end

--- Applies; raises the first failure with the command's own last words. Returns how many tasks changed, and the answers.
function M.apply(ctx, host, tasks, options)
  local reader = run(ctx, host, "apply", tasks, options)
  local changed = 0
  for i, t in ipairs(tasks) do
    local told = reader.tasks[i]
    if told.state == "changed" then changed = changed + 1 end
    if told.state == "failed" then
      local why = told.code == 199 and "it ran, but what it should have changed did not change"
        or told.code == 124 and ("no end after %g s"):format(t.fields.timeout)
        or ("exit code %s"):format(tostring(told.code))
      local said = last_lines(told.output, t.type.lines or 40)
      error(fail { ("%s: `%s` failed: %s%s"):format(host.address, t.title, why, said ~= "" and "\n" .. said or ""), code = "task" })
    end
  end
  return changed, reader.answers
end

return M
