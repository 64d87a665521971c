--- The objects of one cluster: what etcd is to an API server. In memory, written through to a durable table; each write
-- has a revision, and the last writes are kept so that a watch can begin in the past.
--
-- Of each object it knows the seal, which says with which key of an API server it was written (encryption.lua); `sealed` has the
-- kinds of which some had one.
--
-- Objects are never changed in place: whoever wants to change one copies it. Keys of resources are "group/plural".
local value = require "emulator.kubernetes.value"

local Store = {}
Store.__index = Store

local HISTORY = 4096

-- Kinds that are renewed all the time: lost with the process, as nobody misses them.
local volatile = { ["coordination.k8s.io/leases"] = true }

local function id(namespace, name)
  return (namespace or "") .. "/" .. name
end

--- Writes an object and its seal to a durable table that no store has open.
function Store.keep(table_, kind, object, seal)
  local key = kind .. "|" .. id(object.metadata.namespace, object.metadata.name)
  table_:put(key, object)
  if seal ~= "" then table_:put("seal|" .. key, seal) end
end

--- Opens a store. table_: durable table with put(key, value), delete(key), each() -> iterator of key, value; or nil.
function Store.open(table_)
  local self = setmetatable({ table = table_, data = {}, seals = {}, sealed = {}, lists = {}, revision = 1, log = {}, first = 1,
    subscribers = {}, oldest = 1 }, Store)
  if table_ then
    for key, object in table_:each() do
      if key == "revision" then
        self.revision = math.max(self.revision, math.tointeger(tonumber(object)) or 1)
      elseif key:find("^seal|") then
        self.seals[key:sub(6)] = object
        self.sealed[key:match("^seal|([^|]+)")] = true
      else
        local kind, where = key:match("^([^|]+)|(.+)$")
        self:bucket(kind)[where] = object
        self.revision = math.max(self.revision, math.tointeger(tonumber(object.metadata.resourceVersion)) or 1)
      end
    end
  end
  self.oldest = self.revision
  return self
end

function Store:bucket(kind)
  local bucket = self.data[kind]
  if not bucket then bucket = {}; self.data[kind] = bucket end
  return bucket
end

--- The object, or nil.
function Store:get(kind, namespace, name)
  local bucket = self.data[kind]
  return bucket and bucket[id(namespace, name)]
end

--- All objects of a kind (of one namespace when given), by namespace and name.
function Store:list(kind, namespace)
  local sorted = self.lists[kind]
  if not sorted then
    sorted = {}
    for _, key in ipairs(value.keys(self.data[kind])) do sorted[#sorted + 1] = self.data[kind][key] end
    self.lists[kind] = sorted
  end
  if not namespace then return sorted end
  local out = {}
  for _, object in ipairs(sorted) do
    if object.metadata.namespace == namespace then out[#out + 1] = object end
  end
  return out
end

--- Every kind that has ever had an object.
function Store:kinds() return value.keys(self.data) end

local function trim(self)
  if #self.log - self.first < HISTORY then return end
  local kept, half = {}, self.first + HISTORY // 2
  for i = half, #self.log do kept[#kept + 1] = self.log[i] end
  self.oldest = self.log[half - 1].revision
  self.log, self.first = kept, 1
end

local function publish(self, event)
  self.log[#self.log + 1] = event
  trim(self)
  self.lists[event.kind] = nil
  for subscriber in next, self.subscribers do subscriber(event) end
end

local function persist(self, kind, where, object)
  if not self.table or volatile[kind] then return end
  if object then self.table:put(kind .. "|" .. where, object) else
    self.table:delete(kind .. "|" .. where)
    self.table:put("revision", tostring(self.revision))
  end
end

local function stamp(self, object)
  self.revision = self.revision + 1
  object.metadata.resourceVersion = tostring(self.revision)
end

-- Says by what an object is written; "" or nil: it is not encrypted.
local function set_seal(self, kind, where, seal)
  local key = kind .. "|" .. where
  seal = seal ~= "" and seal or nil
  if self.seals[key] == seal then return end
  self.seals[key] = seal
  self.sealed[kind] = self.sealed[kind] or seal ~= nil
  if not self.table then return end
  if seal then self.table:put("seal|" .. key, seal) else self.table:delete("seal|" .. key) end
end

--- By what an object was written; "" when it is not encrypted.
function Store:seal(kind, namespace, name) return self.seals[kind .. "|" .. id(namespace, name)] or "" end

--- Adds or replaces an object, written with a seal; gives it its revision and tells the subscribers.
function Store:put(kind, object, seal)
  local bucket = self:bucket(kind)
  local where = id(object.metadata.namespace, object.metadata.name)
  local old = bucket[where]
  stamp(self, object)
  bucket[where] = object
  persist(self, kind, where, object)
  set_seal(self, kind, where, seal)
  publish(self, { type = old and "MODIFIED" or "ADDED", kind = kind, object = object, old = old, revision = self.revision })
  return object
end

--- Removes an object and returns its last form, or nil.
function Store:remove(kind, namespace, name)
  local bucket = self:bucket(kind)
  local where = id(namespace, name)
  local old = bucket[where]
  if not old then return nil end
  local last = value.shallow(old)
  last.metadata = value.shallow(old.metadata)
  stamp(self, last)
  bucket[where] = nil
  persist(self, kind, where, nil)
  set_seal(self, kind, where, nil)
  publish(self, { type = "DELETED", kind = kind, object = last, old = old, revision = self.revision })
  return last
end

--- Calls fn(event) on each write, from inside the write: fn must not yield. event: type, kind, object, old, revision.
-- Returns a function that ends it.
function Store:subscribe(fn)
  self.subscribers[fn] = true
  return function() self.subscribers[fn] = nil end
end

--- The writes after a revision, oldest first; nil when they are no longer known.
function Store:since(revision)
  if revision < self.oldest then return nil end
  local out = {}
  for i = #self.log, self.first, -1 do
    if self.log[i].revision <= revision then break end
    table.insert(out, self.log[i])
  end
  local n = #out
  for i = 1, n // 2 do out[i], out[n - i + 1] = out[n - i + 1], out[i] end
  return out
end

--- The objects of a kind as they were at a revision, by namespace and name; nil when that is no longer known.
function Store:at(kind, revision, namespace)
  if revision == self.revision then return self:list(kind, namespace) end
  if revision < self.oldest then return nil end
  local then_ = value.shallow(self:bucket(kind))
  for i = #self.log, self.first, -1 do
    local event = self.log[i]
    if event.revision <= revision then break end
    if event.kind == kind then then_[id(event.object.metadata.namespace, event.object.metadata.name)] = event.old end
  end
  local out = {}
  for _, key in ipairs(value.keys(then_)) do
    if not namespace or then_[key].metadata.namespace == namespace then out[#out + 1] = then_[key] end
  end
  return out
end

--- Forgets all revisions before the newest.
function Store:compact()
  self.log, self.first, self.oldest = {}, 1, self.revision
end

--- Forgets everything, also what is durable.
function Store:wipe()
  if self.table then
    local keys = {}
    for key in self.table:each() do keys[#keys + 1] = key end
    for _, key in ipairs(keys) do self.table:delete(key) end
  end
  self.data, self.seals, self.sealed, self.lists, self.log, self.first = {}, {}, {}, {}, {}, 1
end

return Store
