--- The emulator's memory: JSON values by table and key, in SQLite. Reads are from memory; writes gather, and one task
-- commits all that gathered meanwhile. Whoever answers a request calls `sync` first, so that what was said is kept.
local json, sqlite, task = require "json", require "sqlite", require "task"
local fail = require "fail"

local store = {}
store.__index = store

local ENDED = { done = true, failed = true, cancelled = true }
local SCHEMA = "create table if not exists item (tab text not null, key text not null, value text not null, "
  .. "primary key (tab, key)) without rowid"

local function commit(self, batch)
  self.db:transaction(function()
    for tab, keys in pairs(batch) do
      for key in pairs(keys) do
        local value = self.tables[tab] and self.tables[tab][key]
        if value == nil then
          fail.check(self.db:exec("delete from item where tab = ? and key = ?", tab, key))
        else
          fail.check(self.db:exec("insert or replace into item values (?, ?, ?)", tab, key, fail.check(json.encode(value))))
        end
      end
    end
  end)
end

local function writer(self)
  while true do
    self.work:wait()
    self.work:clear()
    while self.held == 0 and next(self.dirty) do
      local batch, upto = self.dirty, self.written
      self.dirty = {}
      commit(self, batch)
      self.committed = upto
      local waiting = self.waiting
      self.waiting = task.event()
      waiting:set()
    end
    if self.closing then return end
  end
end

-- However the writer ends, those who wait for it are told.
local function write_until_closed(self)
  local told <close> = setmetatable({}, { __close = function() self.waiting:set() end })
  writer(self)
end

local function mark(self, tab, key)
  self.dirty[tab] = self.dirty[tab] or {}
  self.dirty[tab][key] = true
  self.written = self.written + 1
  self.work:set()
end

--- The value of a key, or nil. It is the value itself: change it, then `put` it.
function store:get(tab, key)
  local items = self.tables[tab]
  return items and items[key]
end

--- Keeps a value.
function store:put(tab, key, value)
  self.tables[tab] = self.tables[tab] or {}
  self.tables[tab][key] = value
  mark(self, tab, key)
  return value
end

--- Forgets a key.
function store:delete(tab, key)
  if self.tables[tab] and self.tables[tab][key] ~= nil then
    self.tables[tab][key] = nil
    mark(self, tab, key)
  end
end

--- All values of a table by key: not to be changed while walked.
function store:all(tab)
  self.tables[tab] = self.tables[tab] or {}
  return self.tables[tab]
end

--- Iterates over a table in the order of its keys; keys may be deleted meanwhile.
function store:each(tab)
  local keys, i = {}, 0
  for key in pairs(self:all(tab)) do keys[#keys + 1] = key end
  table.sort(keys)
  return function()
    repeat
      i = i + 1
      local key = keys[i]
      if key == nil then return nil end
      local value = self.tables[tab][key]
      if value ~= nil then return key, value end
    until false
  end
end

--- Runs a function whose writes are committed together or not at all.
function store:batch(fn)
  self.held = self.held + 1
  local release <close> = setmetatable({}, { __close = function()
    self.held = self.held - 1
    self.work:set()
  end })
  return fn()
end

--- Waits until everything written so far is on disk.
function store:sync()
  local upto = self.written
  while self.committed < upto do
    if ENDED[self.task:status()] then error(fail { "the emulator's store is closed", code = "store" }) end
    self.waiting:wait()
  end
end

--- Commits and closes.
function store:close()
  self.closing = true
  self.work:set()
  self.task:join()
  self.db:close()
end

--- Opens the file, made when absent.
local function open(path)
  -- A killed process loses nothing with synchronous=NORMAL; a power cut loses at most the last moments.
  local db = fail.check(sqlite.open(path, { synchronous = "NORMAL" }))
  fail.check(db:exec(SCHEMA))
  local self = setmetatable({ db = db, tables = {}, dirty = {}, written = 0, committed = 0, held = 0, work = task.event(),
    waiting = task.event() }, store)
  for _, row in ipairs(fail.check(db:query("select tab, key, value from item"))) do
    self.tables[row.tab] = self.tables[row.tab] or {}
    self.tables[row.tab][row.key] = fail.check(json.decode(row.value))
  end
  self.task = task.spawn(write_until_closed, self)
  return self
end

return { open = open }
