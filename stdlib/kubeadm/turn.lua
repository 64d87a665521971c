--- Turns of the workers of one cluster: no more of them are away at once than may be, and none begins after one has failed.
-- Who is away is what the API says, so that what an earlier run left behind counts, and who came back by itself does not.
local fail, skew, survey, task = require "fail", require "kubeadm.skew", require "kubeadm.survey", require "task"

local M = {}

local PATIENCE = 600 -- seconds for Nodes that are not ours to come back

local clusters = setmetatable({}, { __mode = "k" }) -- client -> { busy = { [name] = true }, failed, ended = event }

local function state_of(api)
  clusters[api] = clusters[api] or { busy = {}, ended = task.event() }
  return clusters[api]
end

-- Workers that are away, but for `name`; and those of them that no turn of ours has taken away.
local function away(api, name, busy)
  local list, strangers, workers = {}, {}, 0
  for other, node in pairs(survey.recent(api).nodes) do
    if not node.control_plane then
      workers = workers + 1
      if other ~= name and (busy[other] or node.under_way or not node.ready) then
        list[#list + 1] = other
        if not busy[other] then strangers[#strangers + 1] = other end
      end
    end
  end
  table.sort(strangers)
  return #list, strangers, workers
end

local function refused(state, name, what)
  error(fail { ("the %s of node %s was not begun: that of %s has failed"):format(what, name, state.failed), code = "stopped",
    hint = "see to that node, then apply again: it goes on from there" })
end

--- A plan was made: what failed before is forgotten.
function M.reset(api)
  local state = clusters[api]
  if state and next(state.busy) == nil then state.failed = nil end
end

--- Waits for a worker's turn and runs fn in it. `begun`: the worker is away already, so nothing is lost by going on with it.
-- what: a word for what is done, for messages.
function M.run(ctx, api, name, what, begun, max_unavailable, fn)
  local state, patience = state_of(api), task.now() + PATIENCE
  while true do
    if state.failed then refused(state, name, what) end
    local ended = state.ended
    local count, strangers, workers = away(api, name, state.busy)
    if begun or count < skew.limit(max_unavailable, workers) and not state.failed then break end
    if #strangers > 0 and next(state.busy) == nil and task.now() > patience then
      error(fail { ("%s %s not ready, and max_unavailable is %s: node %s stays as it is"):format(table.concat(strangers, ", "),
        #strangers == 1 and "is" or "are", max_unavailable, name), code = "unavailable",
        hint = "bring it back (kubectl describe node), or raise max_unavailable" })
    end
    ctx:progress("waiting for its turn")
    ended:wait(next(state.busy) and 60 or 5) -- a Node that comes back by itself ends no turn
  end
  state.busy[name] = true
  local ok, err = pcall(fn)
  state.busy[name] = nil
  if not ok then state.failed = state.failed or name end
  survey.forget(api)
  local ended = state.ended
  state.ended = task.event()
  ended:set()
  if not ok then error(err, 0) end
end

return M
