--- `vmrun exec RECIPE PATTERN -- COMMAND`: a command on hosts, all at once; each line with its host's name in front.
local fail, hosts, json, task = require "fail", require "cli.hosts", require "json", require "task"

local M = {}

local function chosen(call)
  if #call.args.words ~= 1 or #call.args.rest == 0 then
    error(fail { "exec wants hosts and a command: vmrun exec RECIPE PATTERN -- COMMAND", code = "usage" })
  end
  return hosts.match(call.session, call.args.words[1])
end

--- The resources whose values are needed.
function M.choose(call)
  local rows = {}
  for i, host in ipairs(chosen(call)) do rows[i] = host.row end
  return json.array(rows)
end

local function quote(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

local function command_of(args)
  local command = args.rest[1]
  if #args.rest > 1 then
    local words = {}
    for i, word in ipairs(args.rest) do words[i] = quote(word) end
    command = table.concat(words, " ")
  end
  if args.user then command = ("sudo -n -u %s sh -c %s"):format(quote(args.user), quote(command)) end
  return command
end

-- Whole lines with a name in front, as they come.
local function printer(name, file)
  local rest = ""
  return function(chunk)
    rest = rest .. (chunk or "")
    for line in rest:gmatch("([^\n]*)\n") do file:write(name, " | ", line, "\n") end
    rest = rest:match("([^\n]*)$")
    if not chunk and rest ~= "" then file:write(name, " | ", rest, "\n") end
    file:flush()
  end
end

local function one(session, host, value, command)
  if type(value) ~= "table" or not value.address then return 1, "is not known yet" end
  local connection = require "host.connection"
  local ok, conn = pcall(connection.open, session.target, value)
  if not ok then return 1, type(conn) == "table" and conn.message or tostring(conn) end
  local out, err = printer(host.name, io.stdout), printer(host.name, io.stderr)
  local result, message = conn:exec(command, { on_stdout = out, on_stderr = err, collect = false })
  out(nil)
  err(nil)
  if not result then return 1, message end
  return result.code or 1, result.signal and "ended by signal " .. result.signal or nil
end

function M.run(call)
  local list, command = chosen(call), command_of(call.args)
  local tasks, worst = {}, 0
  for i, host in ipairs(list) do
    tasks[i] = task.spawn(one, call.session, host, call.values[host.row], command)
  end
  for i, host in ipairs(list) do
    local ok, code, message = tasks[i]:join()
    if not ok then code, message = 1, tostring(code) end
    if message then io.stderr:write(host.name, ": ", message, "\n") end
    if code ~= 0 then
      io.stderr:write(("%s: exit code %d\n"):format(host.name, code))
      worst = math.max(worst, code)
    end
  end
  return { code = worst }
end

return M
