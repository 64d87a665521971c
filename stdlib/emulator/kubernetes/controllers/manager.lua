--- Runs a cluster's controllers: each write puts the keys that it concerns into a queue, and one task brings them into
-- order, key by key. A controller is a table: name, component ("kube-controller-manager" or "kube-scheduler"), watches
-- {[storage key] = function(event, add)}, reconcile(cluster, namespace, name, manager), all(cluster, add).
--
-- They act only while that component runs on some control plane and etcd has its quorum.
local log = require "log"
local task = require "task"
local status = require "emulator.kubernetes.status"

local Manager = {}
Manager.__index = Manager

local function load_controllers()
  local list = {}
  for _, module in ipairs { "workloads", "jobs", "scheduler", "nodes", "services", "namespaces", "garbage", "certificates", "roles",
    "budgets" } do
    for _, controller in ipairs(require("emulator.kubernetes.controllers." .. module)) do list[#list + 1] = controller end
  end
  return list
end

local function push(self, controller, namespace, name)
  local key = controller.name .. "|" .. (namespace or "") .. "|" .. (name or "")
  if self.waiting[key] then return end
  self.waiting[key] = true
  self.last = self.last + 1
  self.queue[self.last] = { key = key, controller = controller, namespace = namespace, name = name }
  self.event:set()
end

local function run(self, item)
  local ok, why = xpcall(item.controller.reconcile, function(e)
    if type(e) == "table" then return e end
    return debug and debug.traceback(tostring(e), 2) or tostring(e)
  end, self.cluster, item.namespace, item.name, self)
  if ok then
    self.failures[item.key] = nil
    return
  end
  if type(why) == "table" and why.code == "cancelled" then error(why, 0) end
  if not status.is(why) then log.error("kubernetes: controller %s: %s", item.controller.name, tostring(why)) end
  local n = (self.failures[item.key] or 0) + 1
  self.failures[item.key] = n
  self:after(math.min(2 ^ n, 300), item.controller, item.namespace, item.name)
end

local function work(self)
  while not self.closed do
    if self.first > self.last then
      self.event:clear()
      self.first, self.last = 1, 0
      self.event:wait()
    else
      local item = self.queue[self.first]
      self.queue[self.first] = nil
      self.first = self.first + 1
      self.waiting[item.key] = nil
      if self.active[item.controller.component] then run(self, item) end
    end
  end
end

--- Starts the controllers of a cluster; they wait until `check` finds their component running.
function Manager.start(cluster)
  local self = setmetatable({ cluster = cluster, queue = {}, first = 1, last = 0, waiting = {}, failures = {}, timers = {},
    active = {}, event = task.event(), watches = {} }, Manager)
  self.controllers = load_controllers()
  for _, controller in ipairs(self.controllers) do
    local function add(namespace, name) push(self, controller, namespace, name) end
    for key, fn in pairs(controller.watches) do
      self.watches[key] = self.watches[key] or {}
      table.insert(self.watches[key], { component = controller.component, call = function(event) fn(event, add, cluster) end })
    end
  end
  self.unsubscribe = cluster:subscribe(function(event)
    for _, name in ipairs { event.kind, "*" } do
      for _, watch in ipairs(self.watches[name] or {}) do
        if self.active[watch.component] then watch.call(event) end
      end
    end
  end)
  cluster.manager = self
  self.task = task.spawn(work, self)
  self:check()
  return self
end

--- Looks again at which components run; those that come up go through everything once.
function Manager:check()
  local quorum = self.cluster:quorum()
  for _, component in ipairs { "kube-controller-manager", "kube-scheduler" } do
    local running = quorum and next(self.cluster.controllers[component] or {}) ~= nil
    if running and not self.active[component] then
      self.active[component] = true
      for _, controller in ipairs(self.controllers) do
        if controller.component == component and controller.all then
          controller.all(self.cluster, function(namespace, name) push(self, controller, namespace, name) end)
        end
      end
    elseif not running then
      self.active[component] = nil
    end
  end
end

--- Reconciles a key again after nominal seconds.
function Manager:after(seconds, controller, namespace, name, floor)
  local key = controller.name .. "|" .. (namespace or "") .. "|" .. (name or "")
  if self.timers[key] then return end
  self.timers[key] = task.spawn(function()
    if floor then task.sleep(math.max(floor, seconds / self.cluster.factor)) else self.cluster.sleep(seconds) end
    self.timers[key] = nil
    if not self.closed then push(self, controller, namespace, name) end
  end)
end

--- Puts a key into the queue now.
function Manager:add(controller, namespace, name) push(self, controller, namespace, name) end

--- Ends all controllers.
function Manager:close()
  self.closed = true
  self.unsubscribe()
  for _, timer in pairs(self.timers) do timer:cancel("the emulator stops") end
  self.task:cancel("the emulator stops")
  self.cluster.manager = nil
end

return Manager
