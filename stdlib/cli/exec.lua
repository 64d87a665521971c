--- `vmrun exec RECIPE PATTERN -- COMMAND`: a command on hosts, all at once. Hosts that said the same are shown together.
local fail, hosts, json, task = require "fail", require "cli.hosts", require "json", require "task"
local connection = require "host.connection"
local quote = require("host.shell").quote

local M = {}

local function chosen(call)
  if #call.args.words ~= 1 or #call.args.rest == 0 then
    error(fail { "exec wants hosts and a command: vmrun exec RECIPE PATTERN -- COMMAND", code = "usage" })
  end
  return hosts.match(call.session, call.args.words[1])
end

--- The resources whose values are needed.
function M.choose(call)
  connection.later = true
  local rows = {}
  for i, host in ipairs(chosen(call)) do rows[i] = host.row end
  return json.array(rows)
end

-- One word is a line for the host's shell; several are a program and its arguments, as they are.
local function command_of(args)
  local command = args.rest[1]
  if #args.rest > 1 then
    local words = {}
    for i, word in ipairs(args.rest) do words[i] = quote(word) end
    command = table.concat(words, " ")
  end
  if args.user then command = ("sudo -n -u %s -- sh -c %s"):format(quote(args.user), quote(command)) end
  return command
end

local function seconds_of(args)
  if not args.timeout then return nil end
  local seconds = tonumber(args.timeout)
  if not seconds or seconds <= 0 then
    error(fail { ("--timeout wants a number of seconds, got '%s'"):format(args.timeout), code = "usage" })
  end
  return seconds
end

-- { host =, code = (nil: it did not end by itself), stdout =, stderr =, error = }
local function one(session, host, value, command, seconds)
  local told = { host = host.name, address = host.address, stdout = "", stderr = "" }
  if type(value) ~= "table" or not value.address then
    told.error = "is not known yet; apply the recipe first"
    return told
  end
  local ok, conn = pcall(connection.open, session.target, value)
  if not ok then
    told.error = type(conn) == "table" and conn.message or tostring(conn)
    told.hint = type(conn) == "table" and conn.hint or nil
    return told
  end
  local result, message, _, received = conn:exec(command, { timeout = seconds })
  told.error = not result and message or result.signal and "ended by signal " .. result.signal or nil
  result = result or received or {}
  told.code, told.stdout, told.stderr = result.code, result.stdout or "", result.stderr or ""
  return told
end

local function failed(told) return told.error ~= nil or told.code ~= 0 end

local function block(told)
  local lines = {}
  for _, text in ipairs { told.stdout, told.stderr } do
    for line in (text:gsub("\n$", "") .. "\n"):gmatch("([^\n]*)\n") do
      if text ~= "" then lines[#lines + 1] = "  " .. line end
    end
  end
  local word = told.error or (told.code ~= 0 and ("exit code %d"):format(told.code)) or (#lines == 0 and "done") or ""
  if told.hint then lines[#lines + 1] = "  " .. told.hint end
  return (word ~= "" and ": " .. word or ":") .. "\n" .. table.concat(lines, "\n") .. (#lines > 0 and "\n" or "")
end

-- Blocks in the order of their first host; the names of those that share one in front.
local function show(results)
  local order, by_text = {}, {}
  for _, told in ipairs(results) do
    local text = block(told)
    if not by_text[text] then
      by_text[text] = {}
      order[#order + 1] = text
    end
    table.insert(by_text[text], told.host)
  end
  for _, text in ipairs(order) do io.stdout:write(table.concat(by_text[text], ", "), text) end
end

function M.run(call)
  local list, command, seconds = chosen(call), command_of(call.args), seconds_of(call.args)
  local tasks, results, bad = {}, {}, {}
  for i, host in ipairs(list) do
    tasks[i] = task.spawn(function()
      local told = one(call.session, host, call.values[host.row], command, seconds)
      if call.args.json then
        io.stdout:write(json.encode(told), "\n")
        io.stdout:flush()
      end
      return told
    end)
  end
  for i, running in ipairs(tasks) do
    local ok, told = running:join()
    if not ok then error(told, 0) end
    results[i] = told
    if failed(told) then bad[#bad + 1] = told.host end
  end
  if not call.args.json then show(results) end
  io.stdout:flush()
  if #bad > 0 then io.stderr:write(("failed on %d of %d: %s\n"):format(#bad, #list, table.concat(bad, ", "))) end
  return { code = #bad > 0 and 1 or 0 }
end

return M
