--- Sessions of a connection. A host takes so many of them at once (OpenSSH's MaxSessions) and refuses more, so whoever comes later
-- waits for a place. A shell that has ended a program keeps its place and waits for the next one, until somebody needs the place.
local task = require "task"

local M = {}

-- One less than MaxSessions is where an administrator has not said otherwise: programs that outlive their session, all of them cancelled
-- at once, leave the host a place to hear of it.
local MOST = 9
local TRIES, PAUSE = 10, 0.05 -- a host has a place back when the last process of its session has ended, which may be a moment later

local all = setmetatable({}, { __mode = "k" }) -- connection -> { taken =, idle = (shells), freed = }

local function of(conn)
  all[conn] = all[conn] or { taken = 0, idle = {}, freed = task.event() }
  return all[conn]
end

local Place = {}
Place.__index = Place
function Place:__close()
  self.of.taken = self.of.taken - 1
  self.of.freed:set()
end

local function await_freed(self)
  self.freed:clear()
  self.freed:wait()
end

--- A place for a session, to be closed behind it.
function M.place(conn)
  local self = of(conn)
  while self.taken >= MOST do
    local shell = table.remove(self.idle, 1)
    if shell then shell:close() else await_freed(self) end
  end
  self.taken = self.taken + 1
  return setmetatable({ of = self }, Place)
end

--- The host has refused a session, and its place is given back. Waits until it may take one. slept: how often this one has waited for
-- nobody of ours. Returns that as it is then; nil: there is nothing to wait for.
function M.refused(conn, slept)
  local self = of(conn)
  local shell = table.remove(self.idle, 1)
  if shell then
    shell:close()
  elseif self.taken > 0 then
    await_freed(self)
  elseif slept == TRIES then
    return nil
  else
    slept = slept + 1
    task.sleep(PAUSE * slept)
  end
  return slept
end

-- A shell: `channel`, and whether it has run a program before.
local Shell = {}
Shell.__index = Shell

function Shell:close()
  self.channel:close()
  Place.__close(self.place)
end

function Shell:__close()
  if not self.kept then self:close() end
end

--- A shell that reads programs from its standard input, started by `command`: one that waits, or a new one. It ends with its scope
-- unless it was kept.
function M.shell(conn, command)
  local idle = of(conn).idle
  for i, shell in ipairs(idle) do
    if shell.command == command then
      table.remove(idle, i)
      shell.kept = false
      return shell
    end
  end
  local place = M.place(conn)
  return setmetatable({ place = place, command = command, channel = conn:start(command) }, Shell)
end

--- It has ended its program and waits for the next.
function Shell:keep()
  self.kept, self.used = true, true
  table.insert(self.place.of.idle, self)
end

return M
