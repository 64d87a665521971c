--- Conditions and status of Flux's objects, as its controllers set them.
local json = require "json"
local value = require "emulator.kubernetes.value"

local flux_status = {}

flux_status.FINALIZER = "finalizers.fluxcd.io"
local REQUESTED = "reconcile.fluxcd.io/requestedAt"

--- Sets a condition with the generation that it speaks of.
function flux_status.condition(o, type_, state, reason, message)
  o.status.conditions = o.status.conditions or json.array {}
  local old, at = value.find(o.status.conditions, "type", type_)
  o.status.conditions[at or #o.status.conditions + 1] = { type = type_, status = state, reason = reason, message = message,
    observedGeneration = o.metadata.generation,
    lastTransitionTime = old and old.status == state and old.reason == reason and old.message == message and old.lastTransitionTime or value.time() }
end

--- Removes a condition.
function flux_status.clear(o, type_)
  o.status.conditions = value.filter(o.status.conditions, function(c) return c.type ~= type_ end)
end

--- Writes status. fn(o) changes o.status; the request to reconcile that was handled is noted.
function flux_status.write(flux, key, object, manager, fn)
  return flux.cluster.objects:modify(flux.cluster:res(key), object.metadata.namespace, object.metadata.name, function(o)
    if o.metadata.uid ~= object.metadata.uid then return false end
    o.status = value.copy(o.status or {})
    local result = fn(o)
    o.status.lastHandledReconcileAt = value.get(object, "metadata", "annotations", REQUESTED) or o.status.lastHandledReconcileAt
    return result
  end, { manager = manager, subresource = "status" })
end

--- Says that nothing more is tried until the object changes.
function flux_status.stalled(flux, key, object, manager, message)
  flux_status.write(flux, key, object, manager, function(o)
    o.status.observedGeneration = o.metadata.generation
    flux_status.clear(o, "Reconciling")
    flux_status.condition(o, "Stalled", "True", "InvalidSpec", message)
    flux_status.condition(o, "Ready", "False", "InvalidSpec", message)
  end)
end

--- Makes sure that the object cannot go before its controller has cleaned up.
function flux_status.hold(flux, key, object, manager)
  if value.contains(object.metadata.finalizers, flux_status.FINALIZER) then return end
  flux.cluster.objects:modify(flux.cluster:res(key), object.metadata.namespace, object.metadata.name, function(o)
    o.metadata.finalizers = o.metadata.finalizers or json.array {}
    table.insert(o.metadata.finalizers, flux_status.FINALIZER)
  end, { manager = manager })
end

--- Lets a deleted object go.
function flux_status.release(flux, key, object, manager)
  flux.cluster.objects:modify(flux.cluster:res(key), object.metadata.namespace, object.metadata.name, function(o)
    local kept = value.filter(o.metadata.finalizers, function(f) return f ~= flux_status.FINALIZER end)
    o.metadata.finalizers = #kept > 0 and kept or nil
  end, { manager = manager })
end

return flux_status
