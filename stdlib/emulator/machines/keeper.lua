--- The keeper: the child that owns namespaces and listeners (runtime/machine/keeper.h). One request a line; answers by id.
local json, log, process, task = require "json", require "log", require "process", require "task"

local Keeper = {}
Keeper.__index = Keeper

local function reader(self, child)
  local rest = ""
  while true do
    local chunk = child:read()
    if not chunk then break end
    rest = rest .. chunk
    while true do
      local at = rest:find("\n", 1, true)
      if not at then break end
      local message = json.decode(rest:sub(1, at - 1))
      rest = rest:sub(at + 1)
      local waiting = message and self.waiting[message.id]
      if waiting then
        waiting.answer = message
        waiting.event:set()
      elseif message and message.event and self.happened then
        task.spawn(self.happened, message)
      end
    end
  end
  -- It ended: who waits is told, and the owner starts it anew.
  if self.child == child then self.child = nil end
  for id, waiting in pairs(self.waiting) do
    waiting.answer = waiting.answer or { error = "the keeper of the machines ended" }
    waiting.event:set()
    self.waiting[id] = nil
  end
  if not self.closed then
    log.warn("the keeper of the machines ended; it is started anew")
    self.lost()
  end
end

local function start(self)
  local child, why = process.spawn { argv = { self.program, "machines" }, cwd = "/", stdin = "pipe", stdout = "pipe", stderr = "inherit" }
  if not child then error("the keeper of the machines cannot be started: " .. tostring(why), 0) end
  self.child = child
  task.spawn(reader, self, child)
end

--- `program` is a copy of ours; `lost` is called when the keeper ended by itself, with all machines; `happened(message)` when
-- it tells of something by itself.
function Keeper.new(program, lost, happened)
  return setmetatable({ program = program, waiting = {}, next = 0, lost = lost, happened = happened, closed = false }, Keeper)
end

--- Something that has no answer.
function Keeper:tell(message)
  if self.child then self.child:write(json.encode(message) .. "\n") end
end

--- One request: the answer, or nil, why and its code.
function Keeper:ask(message)
  if not self.child then start(self) end
  self.next = self.next + 1
  message.id = self.next
  local waiting = { event = task.event() }
  self.waiting[message.id] = waiting
  local ok, why = self.child:write(json.encode(message) .. "\n")
  if not ok then
    self.waiting[message.id] = nil
    return nil, tostring(why)
  end
  waiting.event:wait()
  self.waiting[message.id] = nil
  local answer = waiting.answer
  if answer.error then return nil, answer.error .. (answer.hint and " (" .. answer.hint .. ")" or ""), answer.code end
  return answer
end

function Keeper:pid() return self.child and self.child.pid end

function Keeper:close()
  self.closed = true
  local child = self.child
  self.child = nil
  if child then
    child:close_stdin()
    if child:wait(10) == nil then child:kill(9) end
  end
end

return Keeper
