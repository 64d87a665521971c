--- Waits until an object of Flux's is ready at a revision.
local client, fail = require "kubernetes.client", require "fail"

-- A network that is not there yet, in Go's words and libgit2's: in a cluster that comes up or comes back its DNS may come later than
-- Flux, which tries again.
local NETWORK = { "dial tcp", "no such host", "failed to resolve", "[Cc]ould not resolve", "server misbehaving", "i/o timeout",
  "connection refused", "connection reset", "network is unreachable", "no route to host" }

local function is_network(message)
  for _, words in ipairs(NETWORK) do if message:find(words) then return true end end
  return false
end

--- A failure that Flux reports is a failure now, not at the end of the wait, but for one of the network; what it said of an older
-- revision, or before it handled our request, is stale
-- (https://fluxcd.io/flux/components/source/gitrepositories/#triggering-a-reconcile).
-- @param reference the object's apiVersion, kind and metadata
-- @param request what the object's annotation `reconcile.fluxcd.io/requestedAt` says
-- @param of what of the object says which revision Flux has tried
return function(api, reference, revision, request, seconds, of)
  api:wait(reference, function(now)
    if not now or not now.status or (now.status.observedGeneration or 0) < (now.metadata.generation or 0) then return false end
    if now.status.lastHandledReconcileAt ~= request or of(now) ~= revision then return false end
    local ready, message = client.condition(now, "Ready")
    if ready == "False" and not is_network(tostring(message)) then
      error(fail { ("Flux's %s %s is not ready at %s: %s"):format(reference.kind, reference.metadata.name, revision, tostring(message)),
        code = "flux" })
    end
    return ready == "True"
  end, seconds, "to be ready at " .. revision)
end
