--- A Node is taken away for a while: its pods are moved first, etcd keeps its majority, and it is back before this ends. A mark on
-- the Node, the boot of before, tells whoever comes after a run that died to go on; who was cordoned by somebody else stays so.
local client, credentials = require "kubernetes.client", require "kubeadm.credentials"
local drain = require "kubernetes.drain"
local quorum, static_pods, survey = require "kubeadm.quorum", require "kubeadm.static_pods", require "kubeadm.survey"
local fail, json = require "fail", require "json"

local M = {}

local BACK = 600 -- seconds

local function handle(name) return { apiVersion = "v1", kind = "Node", metadata = { name = name } } end

--- What a Node of the API has of a mark; nil for nothing.
function M.mark_of(node, mark) return node and (node.metadata.annotations or {})[mark] end

--- Why a Node may not be taken away now for what the mark says, and what to do; nil when it may.
function M.objection(now, name, mark)
  local node = now.nodes[name]
  if not node then return ("the cluster has no node %s"):format(name), "let it join first" end
  if node.under_way then return nil end
  if not node.ready and mark == survey.MAINTENANCE then -- another size may be what brings it back
    return ("node %s is not ready, so it stays as it is"):format(name), "see why: kubectl describe node " .. name
  end
  local members = quorum.members(now)
  if members[name] ~= nil and next(members, next(members)) ~= nil then -- where the only member is, there is no majority to keep
    return quorum.objection(members, { [name] = "stopped" })
  end
end

local function begin(ctx, api, name, mark)
  local now = survey.settled(ctx, api)
  local why, hint = M.objection(now, name, mark)
  if why then error(fail { why, code = "quorum", hint = hint }) end
  local node = now.nodes[name]
  local given = M.mark_of(node.object, mark)
  if not given then
    given = node.object.status.nodeInfo.bootID .. (node.cordoned and " cordoned" or "")
    api:merge(handle(name), { metadata = { annotations = { [mark] = given } }, spec = { unschedulable = true } })
    survey.forget(api)
  end
  return node, given:match("^(%S+) ?(.*)$")
end

--- Takes a Node away: fn(boot) gets the id of the boot in which this began, does what is to be done, and returns a function that
-- says of a boot's id whether the Node is back with it.
function M.run(ctx, api, name, mark, fn)
  local node, boot, cordoned = begin(ctx, api, name, mark)
  ctx:progress "draining"
  drain(ctx, api, name)
  if node.control_plane then credentials.hand_over(ctx, ctx.fields.cluster, name) end
  local is_back = fn(boot)
  ctx:progress("waiting for the Node to be ready")
  api:wait(handle(name), function(now)
    return now ~= nil and client.condition(now, "Ready") == "True" and is_back(now.status.nodeInfo.bootID)
  end, BACK, "to be ready after it was away")
  if node.control_plane then static_pods.wait(ctx, api, name, BACK, "to be ready after it was away") end
  api:merge(handle(name), { metadata = { annotations = { [mark] = json.null } },
    spec = cordoned == "" and { unschedulable = json.null } or nil })
  survey.forget(api)
end

return M
