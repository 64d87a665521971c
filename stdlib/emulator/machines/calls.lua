--- Answers the commands of machines: a listener for the stand-in program (runtime/machine/standin.h).
local json, log, stream, task = require "json", require "log", require "stream", require "task"

local M = {}

local Call = {}
Call.__index = Call

local function frame(kind, text)
  return string.pack(">c1s4", kind, text)
end

function Call:out(text) return self.connection:write(frame("o", text)) end
function Call:err(text) return self.connection:write(frame("e", text)) end

--- All of the command's standard input, read when it is asked for.
local function read_input(self)
  local parts = { self.rest }
  while true do
    local chunk = self.connection:read()
    if not chunk then break end
    parts[#parts + 1] = chunk
  end
  return table.concat(parts)
end

local meta = { __index = function(self, key)
  if key == "stdin" then
    local text = read_input(self)
    rawset(self, "stdin", text)
    return text
  end
  return Call[key]
end }

local function head(connection)
  local text = ""
  while true do
    local at = text:find("\n", 1, true)
    if at then return json.decode(text:sub(1, at - 1)), text:sub(at + 1) end
    local chunk = connection:read(10)
    if not chunk or #text > 4 << 20 then return nil end
    text = text .. chunk
  end
end

local function run(machine, call)
  local name = call.argv[1]
  local ok, standin = pcall(require, "emulator.standin." .. name:gsub("[^%w_]", "_"))
  if not ok then
    call:err(("%s: no stand-in: %s\n"):format(name, tostring(standin)))
    return 127
  end
  local done, code = pcall(standin, machine, call)
  if done then return code or 0 end
  if type(code) == "table" and code.code == "cancelled" then error(code, 0) end
  log.error("%s on %s: %s", name, machine.hostname, tostring(code))
  call:err(("%s: the stand-in failed: %s\n"):format(name, tostring(code)))
  return 70
end

local function serve(connection, find)
  local held <close> = connection
  local told, rest = head(connection)
  local machine = told and find(told.token)
  if not machine then return end
  local call = setmetatable({ connection = connection, rest = rest, argv = told.argv, cwd = told.cwd, env = told.env or {}, uid = told.uid },
    meta)
  local code = run(machine, call)
  connection:write(frame("x", tostring(code)))
end

--- Listens at an address; `find(token)` gives the machine. Returns the listener.
function M.listen(address, find)
  local listener = assert(stream.listen { host = address, port = 0, backlog = 128 })
  task.spawn(function()
    while true do
      local connection = listener:accept()
      if not connection then return end
      task.spawn(serve, connection, find)
    end
  end)
  return listener
end

return M
