--- The clusters of a stack as verbs see them: which one is meant, and whose hosts are in it.
local fail = require "fail"

local M = {}

--- The address of the resource that a row's field stands for, or nil.
function M.reference(value) return type(value) == "table" and value["$ref"] or nil end

--- The row of the cluster that is meant: by its address or the end of it, or the only one.
-- @param call what the verb was given; its first word names the cluster
-- @param kinds of which kinds a cluster may be
-- @param what the kinds' name for people
-- @param code the failure's, when there is none or it is not clear which
function M.named(call, kinds, what, code)
  local rows, names, wanted = {}, {}, call.args.words[1]
  local known = {}
  for _, kind in ipairs(kinds) do known[kind] = true end
  for _, row in ipairs(call.session.rows) do
    if known[row.kind] then
      names[#names + 1] = row.address
      if not wanted or row.address == wanted or row.address:match("([%w_-]+)$") == wanted then rows[#rows + 1] = row end
    end
  end
  if #rows == 1 then return rows[1] end
  if #names == 0 then
    error(fail { ("stack '%s' has no %s"):format(call.session.stack, what), code = code, hint = "apply the recipe first" })
  end
  error(fail { wanted and ("there is no cluster '%s'"):format(wanted) or ("stack '%s' has several clusters"):format(call.session.stack),
    code = code, hint = "say which: " .. table.concat(names, ", ") })
end

--- The hosts that are in clusters of kubeadm: a list of `{ host = address, init = row of the cluster's kubeadm.init, name = the
-- Node's if it was given, control_plane = }`, first those that began a cluster.
function M.members(session)
  local by_address, members = {}, {}
  local function add(row, init, control_plane)
    local host = M.reference(row.fields.host)
    if host then members[#members + 1] = { host = host, init = init, name = row.fields.node_name, control_plane = control_plane } end
  end
  for _, row in ipairs(session.rows or {}) do
    if row.kind == "kubeadm.init" then
      by_address[row.address] = row
      add(row, row, true)
    end
  end
  for _, row in ipairs(session.rows or {}) do
    local init = row.kind == "kubeadm.join" and by_address[M.reference(row.fields.cluster) or ""]
    if init then add(row, init, row.fields.control_plane == true) end
  end
  return members
end

return M
