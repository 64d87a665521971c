--- How often kubelets report, and when a node that does not is given up. The clock factor shortens both, down to what a
-- busy machine can keep up with.
local value = require "emulator.kubernetes.value"

local heartbeat = {}

--- Seconds between two reports.
function heartbeat.interval(factor) return math.max(10 / factor, 2) end

--- Seconds without a report after which a node's status is unknown.
function heartbeat.grace(factor) return 4 * heartbeat.interval(factor) end

--- When a node last reported: wall clock seconds.
function heartbeat.last(cluster, node)
  local lease = cluster.store:get("coordination.k8s.io/leases", "kube-node-lease", node.metadata.name)
  local renewed = lease and value.seconds(value.get(lease, "spec", "renewTime")) or 0
  local ready = value.find(value.get(node, "status", "conditions"), "type", "Ready")
  local posted = ready and value.seconds(ready.lastHeartbeatTime) or 0
  return math.max(renewed, posted, value.seconds(node.metadata.creationTimestamp) or 0, cluster.started or 0)
end

return heartbeat
