--- What stands in for Flux's source and kustomize controllers: it really clones the repositories that GitRepositories name,
-- builds what Kustomizations point to, applies it with server-side apply, prunes, and says how it went.
--
-- Each controller acts only while its Deployment is available, as the real one runs in it. One task an object.
local log = require "log"
local task = require "task"
local value = require "emulator.kubernetes.value"
local source = require "emulator.kubernetes.flux_source"
local kustomization = require "emulator.kubernetes.flux_kustomization"

local Flux = {}
Flux.__index = Flux

local kinds = {
  { key = "source.toolkit.fluxcd.io/gitrepositories", controller = "source-controller", reconcile = source.reconcile },
  { key = "kustomize.toolkit.fluxcd.io/kustomizations", controller = "kustomize-controller", reconcile = kustomization.reconcile },
}

local function by_key(key)
  for _, kind in ipairs(kinds) do
    if kind.key == key then return kind end
  end
end

--- Does some deployment of this controller run?
function Flux:running(controller)
  for _, d in ipairs(self.cluster.store:list "apps/deployments") do
    if d.metadata.name == controller and (value.get(d, "status", "availableReplicas") or 0) > 0 and self.cluster:quorum() then return true end
  end
  return false
end

local function work(self, kind, namespace, name, event)
  while true do
    local object = self.cluster.store:get(kind.key, namespace, name)
    if not object then return end
    local wait
    event:clear()
    if self:running(kind.controller) then
      local ok, seconds = xpcall(kind.reconcile, function(e)
        if type(e) == "table" then return e end
        return debug and debug.traceback(tostring(e), 2) or tostring(e)
      end, self, object)
      if ok then wait = seconds else
        if type(seconds) == "table" and seconds.code == "cancelled" then error(seconds, 0) end
        local text = type(seconds) == "table" and seconds.body and seconds.body.message or tostring(seconds)
        log.warn("flux: %s %s/%s: %s", kind.controller, namespace, name, text)
        wait = 5
      end
    end
    event:wait(wait or 3600)
  end
end

local function start(self, kind, namespace, name)
  local id = kind.key .. "|" .. namespace .. "|" .. name
  if self.workers[id] then return self.workers[id].event:set() end
  local event = task.event()
  local entry = { event = event }
  self.workers[id] = entry
  entry.task = task.spawn(function()
    work(self, kind, namespace, name, event)
    self.workers[id] = nil
  end)
end

local function wake(self, key)
  for id, entry in pairs(self.workers) do
    if not key or id:sub(1, #key + 1) == key .. "|" then entry.event:set() end
  end
end

local function important(event)
  local a, b = event.old, event.object
  if event.type ~= "MODIFIED" then return true end
  return a.metadata.generation ~= b.metadata.generation or a.metadata.deletionTimestamp ~= b.metadata.deletionTimestamp
    or not value.equal(a.metadata.annotations, b.metadata.annotations)
end

local function revision(o) return value.get(o, "status", "artifact", "revision") end
local function ready(o)
  local c = value.find(value.get(o, "status", "conditions"), "type", "Ready")
  return c and c.status
end

local function uses(o, kind, namespace, name)
  local ref = value.get(o, "spec", "sourceRef")
  return ref and ref.kind == kind and ref.name == name and (ref.namespace or o.metadata.namespace) == namespace
end

local function depends(o, namespace, name)
  for _, d in ipairs(value.get(o, "spec", "dependsOn") or {}) do
    if d.name == name and (d.namespace or o.metadata.namespace) == namespace then return true end
  end
end

-- Wakes those objects of a kind for which fn(object) is true.
local function wake_those(self, kind, fn)
  for _, o in ipairs(self.cluster.store:list(kind.key)) do
    if fn(o) then start(self, kind, o.metadata.namespace, o.metadata.name) end
  end
end

--- Wakes the Kustomizations of a source.
function Flux:artifact_changed(repository)
  local m = repository.metadata
  wake_those(self, kinds[2], function(o) return uses(o, repository.kind, m.namespace, m.name) end)
end

local function follow(self, event)
  local kind = by_key(event.kind)
  local m = event.object.metadata
  if kind then
    if event.type ~= "DELETED" and important(event) then start(self, kind, m.namespace, m.name) end
    if kind.controller == "source-controller" and revision(event.old) ~= revision(event.object) then
      self:artifact_changed(event.object)
    elseif kind.controller == "kustomize-controller" and event.type == "MODIFIED" and ready(event.old) ~= ready(event.object) then
      wake_those(self, kinds[2], function(o) return depends(o, m.namespace, m.name) end)
    end
  elseif event.kind == "apps/deployments" then
    for _, k in ipairs(kinds) do
      if m.name == k.controller and (value.get(event.old, "status", "availableReplicas") or 0) == 0
        and (value.get(event.object, "status", "availableReplicas") or 0) > 0 then wake(self, k.key) end
    end
  elseif event.kind == "/secrets" then
    wake_those(self, kinds[1], function(o)
      return o.metadata.namespace == m.namespace and value.get(o, "spec", "secretRef", "name") == m.name
    end)
  end
end

--- Starts following a cluster.
function Flux.start(cluster, world)
  local self = setmetatable({ cluster = cluster, world = world, workers = {}, artifacts = {} }, Flux)
  self.unsubscribe = cluster:subscribe(function(event) follow(self, event) end)
  for _, kind in ipairs(kinds) do
    for _, o in ipairs(cluster.store:list(kind.key)) do start(self, kind, o.metadata.namespace, o.metadata.name) end
  end
  return self
end

--- How long until the next look: an interval such as "1m0s", shortened by the clock factor but never below `floor` seconds.
function Flux:interval(text, floor)
  local nominal = value.duration(text) or 60
  return math.max(nominal / self.world.clock.factor, floor)
end

function Flux:close()
  self.unsubscribe()
  for _, entry in pairs(self.workers) do entry.task:cancel("the emulator stops") end
end

return Flux
