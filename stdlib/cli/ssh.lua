--- `vmrun ssh RECIPE HOST [-- COMMAND]`: a shell or a command on a host, over the connection that roles use: the host's key
-- is known before, and its private key is on no disk and in no process's arguments.
local fail, hosts, json, process, task = require "fail", require "cli.hosts", require "json", require "process", require "task"
local connection, terminal = require "host.connection", require "terminal"
local quote = require("host.shell").quote

local M = {}

local LOST = 255 -- as ssh says it

local function wanted(call)
  local name = call.args.words[1]
  if not name or call.args.words[2] then
    error(fail { "ssh wants one host: vmrun ssh RECIPE HOST [-- COMMAND]", code = "usage" })
  end
  return hosts.find(call.session, name)
end

--- The resources whose values are needed.
function M.choose(call)
  connection.later = true
  return json.array { wanted(call).row }
end

local HELP = "\r\n~.   end the connection\r\n~^Z  stop vmrun for now\r\n~~   send a ~\r\n~?   this text\r\n"

--- What a person types, with ssh's escapes: behind a line's start, `~` begins one. Returns a function that takes a chunk
-- and gives what is to be sent, and "end" or "stop" when that was asked for.
function M.escapes(say)
  local at_start, tilde = true, false
  return function(chunk)
    local out = {}
    for c in chunk:gmatch(".") do
      if tilde then
        tilde = false
        if c == "." then return table.concat(out), "end" end
        if c == "\26" then return table.concat(out), "stop" end
        if c == "?" then
          say(HELP)
        elseif c == "~" then
          out[#out + 1], at_start = c, false
        else
          out[#out + 1], at_start = "~" .. c, c == "\r" or c == "\n"
        end
      elseif c == "~" and at_start then
        tilde = true
      else
        out[#out + 1], at_start = c, c == "\r" or c == "\n"
      end
    end
    return table.concat(out)
  end
end

-- Sends what comes on our standard input. Returns "end" when the person said so.
local function send(channel, screen)
  local input = terminal.input()
  if type(input) == "string" then
    channel:write(input)
    channel:eof()
    return
  end
  local escapes = screen and M.escapes(function(text) io.stdout:write(text) io.stdout:flush() end)
  while true do
    local chunk = input:read()
    if not chunk then break end
    local asked
    if escapes then chunk, asked = escapes(chunk) end
    if chunk ~= "" and not channel:write(chunk) then break end
    if asked == "end" then return "end" end
    if asked == "stop" then
      screen:restore()
      process.kill(process.pid(), "STOP")
      screen:raw()
      local columns, rows = screen:size()
      if columns then channel:resize(columns, rows) end
    end
  end
  channel:eof()
end

local function receive(channel)
  while true do
    local stream, data, code = channel:next()
    if not stream then return code == nil, data end
    local file = stream == "stderr" and io.stderr or io.stdout
    file:write(data)
    file:flush()
  end
end

local function follow_size(channel, screen)
  while true do
    local columns, rows = screen:resized()
    if columns then channel:resize(columns, rows) end
  end
end

-- The first of these to end says what happens; then the others are cancelled.
local function converse(channel, screen)
  local over, running, ended = task.event(), {}, nil
  local function start(name, fn)
    running[#running + 1] = task.spawn(function()
      local ok, first, second = pcall(fn, channel, screen)
      if name ~= "send" or not ok or first == "end" then
        ended = ended or { name = name, ok = ok, first = first, second = second }
        over:set()
      end
    end)
  end
  start("send", send)
  start("receive", receive)
  if screen then start("size", follow_size) end
  local stop <close> = setmetatable({}, { __close = function()
    for _, one in ipairs(running) do one:cancel("over") end
    for _, one in ipairs(running) do one:join() end
  end })
  over:wait()
  return ended
end

local function command_of(args)
  if #args.rest <= 1 then return args.rest[1] end
  local words = {}
  for i, word in ipairs(args.rest) do words[i] = quote(word) end
  return table.concat(words, " ")
end

function M.run(call)
  local host, value = wanted(call), nil
  value = call.values[host.row]
  if type(value) ~= "table" or not value.address then
    error(fail { ("host '%s' is not known yet"):format(host.name), code = "host", hint = "apply the recipe first" })
  end
  local command = command_of(call.args)
  local conn = connection.open(call.session.target, value)
  local screen <close> = (not command or call.args.tty) and terminal.open() or nil
  local pty
  if screen then
    local columns, rows = screen:size()
    pty = { term = process.env("TERM"), cols = columns, rows = rows }
  end
  local channel <close> = fail.check(conn:open(command, { pty = pty }))
  if screen then screen:raw() end
  local ended = converse(channel, screen)
  if screen then screen:restore() end
  if not ended.ok then error(ended.first, 0) end
  if ended.name == "send" then
    io.stderr:write(("connection to %s ended\n"):format(host.name))
    return { code = LOST }
  end
  local code, signal, why = channel:wait(10)
  if why or not ended.first then
    io.stderr:write(("connection to %s lost: %s\n"):format(host.name, tostring(why and signal or ended.second)))
    return { code = LOST }
  end
  if signal then io.stderr:write(("%s: ended by signal %s\n"):format(host.name, signal)) end
  return { code = code or LOST }
end

return M
