--- etcd's majority: may control planes leave? A member that is well takes itself out of etcd when its host is reset; one that is
-- not stays a member, and counts against the others.
local connect, credentials = require "kubernetes.connect", require "kubeadm.credentials"
local fail, survey = require "fail", require "kubeadm.survey"

local M = {}

local going = {} -- endpoint -> true: this run takes the whole cluster away, which may lose everything

--- Says whether this run's plan takes a whole cluster away.
function M.whole(endpoint, is_whole) going[endpoint] = is_whole or nil end

--- Whether this run takes the whole cluster away.
function M.is_going(cluster) return going[cluster.endpoint or ""] == true end

--- The members of etcd by a survey: { [name] = is it well? }. Who only takes its time to start is: a step waits for it.
function M.members(now)
  local members = {}
  for name, node in pairs(now.nodes) do
    if node.control_plane then members[name] = node.etcd == true or node.etcd == false and node.starting ~= nil end
  end
  return members
end

local function listed(names)
  table.sort(names)
  return table.concat(names, ", ")
end

--- Why these members (a set of names: "gone", or "stopped" for those that stay members) may not leave, what to do, and who else would
-- have to be well for it (as text; nil: nobody). Nil when they may.
function M.objection(members, leaving)
  local count, well, left, total, ill, names = 0, 0, 0, 0, {}, {}
  for name, is_well in pairs(members) do
    count = count + 1
    well = well + (is_well and 1 or 0)
    if not is_well then ill[#ill + 1] = name end
    if leaving[name] then names[#names + 1] = name end
    if is_well and not leaving[name] then left = left + 1 end
    if not (is_well and leaving[name] == "gone") then total = total + 1 end
  end
  if #names == 0 then return nil end
  local majority = count // 2 + 1
  local state = #ill > 0 and ("; of %d members %s %s not healthy"):format(count, listed(ill), #ill == 1 and "is" or "are") or ""
  local needed = #ill > 0 and listed(ill) or nil
  if well < majority then
    return ("etcd has no majority now, so no member can be taken out of it%s"):format(state), "bring members back first", needed
  end
  if left < total // 2 + 1 then
    return ("etcd would lose its majority without %s: %d of %d would be left%s"):format(listed(names), left, total, state),
      needed and "bring " .. needed .. " back first" or "destroy the whole cluster if that is meant, or add control planes first", needed
  end
end

--- Right before a control plane is reset: raises when the others could not go on without it, and has one of them lead etcd. Others
-- that are not well get the time that a static pod may take to start: one that has just joined is not always seen to be starting.
-- cluster: the table of its kubeadm.init.
function M.guard(ctx, cluster, name)
  if M.is_going(cluster) then return end
  local leaving = { [name:lower()] = "gone" }
  local function lack(now)
    local why, hint, needed = M.objection(M.members(now), leaving)
    return needed and { words = ("waiting for etcd of %s"):format(needed), message = why, hint = hint, code = "quorum" }
  end
  local ok, now = pcall(function() return survey.settled(ctx, connect.client(ctx, cluster), lack) end)
  if not ok and fail.is(now) and now.code == "quorum" then error(now, 0) end
  if not ok then
    error(fail { ("%s stays: it is not known whether etcd keeps its majority without it: %s"):format(name, tostring(now)),
      code = "quorum", hint = "bring the API back first; the whole cluster goes with `vmrun destroy`" })
  end
  local why, hint = M.objection(M.members(now), leaving)
  if why then error(fail { why, code = "quorum", hint = hint }) end
  credentials.hand_over(ctx, cluster, name:lower())
end

return M
