--- Which keys a controller's queue gets from what was written: functions for a controller's `watches` and `all`.
local pods = require "emulator.kubernetes.controllers.pods"

local keys = {}

--- For `all`: every object of this storage key.
function keys.each(key)
  return function(cluster, add)
    for _, o in ipairs(cluster.store:list(key)) do add(o.metadata.namespace, o.metadata.name) end
  end
end

--- For `watches`: the object that was written.
function keys.itself(event, add) add(event.object.metadata.namespace, event.object.metadata.name) end

--- For `watches`: the controller of what was written, now and before, when it is of this kind.
function keys.owner(kind)
  return function(event, add)
    for _, o in ipairs { event.object, event.old } do
      local ref = pods.controller(o)
      if ref and ref.kind == kind then add(o.metadata.namespace, ref.name) end
    end
  end
end

return keys
