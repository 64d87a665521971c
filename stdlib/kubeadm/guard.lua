--- Before the first step of a plan: would it break a cluster of kubeadm? An upgrade that may not be, or has no healthy cluster to
-- begin with; a rotation of the key that not all control planes could follow; control planes without which etcd loses its
-- majority. What the plan's reads found out is used again; a plan of a part (`--target`) that did not ask the cluster is judged
-- by what the state says.
local away, connect = require "kubeadm.away", require "kubernetes.connect"
local encryption_keys, json = require "kubeadm.encryption_keys", require "json"
local life = require "kubeadm.life"
local quorum, skew, survey = require "kubeadm.quorum", require "kubeadm.skew", require "kubeadm.survey"

local M = {}

local function text(value) return type(value) == "string" and value or nil end

local function deny(row, message, hint)
  return { level = "deny", address = row.address, message = message, hint = hint, file = row.file, line = row.line }
end

local function listed(names) return table.concat(names, ", ") end

local function change_of(row, path)
  for _, change in ipairs(row.changes or {}) do if change.path == path then return change end end
end

-- What the state says of hosts: address of the resource -> host name.
local function host_names(state)
  local names = {}
  for _, row in ipairs(state) do
    if row.kind == "ssh.host" then names[row.address] = text(row.fields.hostname) or text(row.fields.name) end
  end
  return names
end

local function name_of(row, hosts)
  local f = row.fields or {}
  local host = type(f.host) == "table" and f.host or {}
  local name = text(f.node_name) or text(host.hostname) or hosts[host["$ref"] or ""]
  return name and name:lower()
end

-- Upgrades.

local SETS = { create = true, update = true, replace = true }

-- The version that a Node shall have after this plan, if the plan has to do with it; and whether it has another now. (All
-- fields of what is new are changes.)
local function wanted(row)
  local change = row.kind == "kubernetes.node" and SETS[row.action] and change_of(row, "version")
  if not change then return nil end
  return text(change.after), row.action == "update"
end

-- Rows by cluster and version: { cluster, version, names, workers = is one a worker?, changes = does one change?, first }.
local function upgrades_of(resources)
  local groups, list = {}, {}
  for _, row in ipairs(resources) do
    local version, changes = wanted(row)
    if version and type(row.fields.cluster) == "table" then
      local key = tostring(row.fields.cluster.endpoint) .. " " .. version
      local group = groups[key]
      if not group then
        group = { cluster = row.fields.cluster, version = version, names = {}, first = row }
        groups[key], list[#list + 1] = group, group
      end
      if text(row.fields.name) then group.names[row.fields.name] = true end
      group.workers = group.workers or row.fields.control_plane ~= true
      if changes and not group.changes then group.changes, group.first = true, row end
    end
  end
  return list
end

local function judge(group)
  local api = connect.opened(group.cluster)
  if not api then return nil end -- a cluster that is not there yet
  local ok, now = pcall(survey.recent, api)
  if not ok then
    return deny(group.first, "the cluster's versions are not known: " .. tostring(now),
      "an upgrade begins with a healthy cluster")
  end
  local why, hint = skew.objection(now, group.version)
  if why then return deny(group.first, why, hint) end
  local unwell = {}
  for _, name in ipairs(group.changes and skew.unwell(now) or {}) do
    if not now.nodes[name].under_way then unwell[#unwell + 1] = name end -- one under way is what goes on
  end
  if #unwell > 0 then
    return deny(group.first, ("control plane %s is not healthy: an upgrade begins with a healthy cluster"):format(listed(unwell)),
      "see why: kubectl describe node")
  end
  local lagging = skew.lagging(now, group.version, group.names)
  if group.workers and #lagging > 0 then
    local words = "a kubelet of %s would be newer than the API server of %s, which this plan does not upgrade"
    return deny(group.first, words:format(group.version, listed(lagging)), "upgrade the control planes with it or before")
  end
end

-- Maintenance.

-- Workers that are not ready, and are not away for something of ours.
local function strangers(now)
  local names, workers = {}, 0
  for name, node in pairs(now.nodes) do
    workers = workers + (node.control_plane and 0 or 1)
    if not (node.control_plane or node.ready or node.under_way) then names[#names + 1] = name end
  end
  table.sort(names)
  return names, workers
end

local function judge_maintenance(row)
  local f = row.fields or {}
  local name, api = text(f.name), type(f.cluster) == "table" and connect.opened(f.cluster)
  if row.kind ~= "kubeadm.maintenance" or row.action ~= "update" or not (name and api) then return nil end
  local ok, now = pcall(survey.recent, api)
  if not ok then
    return deny(row, "it is not known how the cluster's Nodes are: " .. tostring(now), "maintenance begins with a healthy cluster")
  end
  name = name:lower()
  local why, hint = away.objection(now, name, survey.MAINTENANCE)
  if why then return deny(row, why, hint) end
  local others, workers = strangers(now)
  if f.control_plane ~= true and not now.nodes[name].under_way and #others >= skew.limit(f.max_unavailable, workers) then
    return deny(row, ("%s %s not ready, and max_unavailable is %s: node %s stays as it is"):format(listed(others),
      #others == 1 and "is" or "are", tostring(f.max_unavailable), name), "bring it back (kubectl describe node), or raise max_unavailable")
  end
end

-- The packages' repository goes to another minor release before any Node does: by what the state says of the Node.
local function judge_packages(resources, state, told)
  local recorded = {}
  for _, row in ipairs(state) do
    if row.kind == "kubernetes.node" and text(row.fields.name) then recorded[row.fields.name] = text(row.fields.version) end
  end
  local said = {}
  for _, row in ipairs(resources) do
    local version = row.kind == "kubeadm.node" and row.action == "update" and text((row.fields or {}).version)
    version = version and version:gsub("^v", "")
    local was = version and recorded[name_of(row, {}) or ""]
    if was and not told[version] then
      local why, hint = skew.objection({ version = was, nodes = {} }, version)
      if why then
        said[#said + 1], told[version] = deny(row, why, hint), true
      end
    end
  end
  return said
end

-- The key of Secrets in etcd: what its resource's read has found in the way.
local function judge_rotation(row)
  local cluster = row.kind == "kubeadm.encryption" and row.action == "update" and row.fields.cluster
  local refusal = type(cluster) == "table" and encryption_keys.refusal(cluster.endpoint)
  return refusal and deny(row, refusal.why, refusal.hint) or nil
end

-- A key that goes from where it is kept, while the plan does not bring the control planes to another: it is what a backup is read
-- by.
local function judge_keys(resources, state)
  local used, said = {}, {}
  for _, row in ipairs(state) do
    if row.kind == "kubeadm.encryption" and text(row.fields.name) then used[row.fields.name] = row.address end
  end
  for _, row in ipairs(resources) do if row.kind == "kubeadm.encryption" then return said end end
  for _, row in ipairs(resources) do
    local change = row.action == "replace" and change_of(row, "name")
    local name = change and text(change.before) or row.action == "delete" and text((row.fields or {}).name)
    if row.kind == "azure.vault_random" and used[name or ""] then
      said[#said + 1] = deny(row, ("the control planes use the key %s, and this plan does not rotate it"):format(name),
        "let the plan have " .. used[name])
    end
  end
  return said
end

-- etcd.

-- The control planes that the state knows, by cluster: endpoint -> { init = row, names = { [name] = row } }.
local function clusters_of(state)
  local hosts, by_address, clusters = host_names(state), {}, {}
  for _, row in ipairs(state) do
    local name = row.kind == "kubeadm.init" and name_of(row, hosts)
    if name then
      local cluster = { init = row, endpoint = text(row.fields.endpoint) or row.address, names = { [name] = row.address } }
      by_address[row.address], clusters[#clusters + 1] = cluster, cluster
    end
  end
  for _, row in ipairs(state) do
    local f = row.fields
    local joins = row.kind == "kubeadm.join" and f.control_plane == true and type(f.cluster) == "table"
    local of = joins and by_address[f.cluster["$ref"] or ""]
    local name = of and name_of(row, hosts)
    if name then of.names[name] = row.address end
  end
  return clusters
end

-- A machine that is made anew cannot take itself out: the new one does that for it, when it joins.
local TAKES = { delete = "gone", replace = "stopped" }

local function leaving_of(cluster, resources)
  local addresses, leaving, rows = {}, {}, {}
  for name, address in pairs(cluster.names) do addresses[address] = name end
  for _, row in ipairs(resources) do
    local how = TAKES[row.action]
    local name = addresses[row.address]
    if not name and row.kind == "azure.virtual_machine" then
      name = text((row.fields or {}).name)
      name = name and cluster.names[name:lower()] and name:lower()
      local power = change_of(row, "power")
      if power and power.after == "deallocated" then how = how or "stopped" end
    end
    if name and how then
      leaving[name] = leaving[name] ~= "gone" and how or "gone"
      if not rows[name] or row.kind == "azure.virtual_machine" then rows[name] = row end
    end
  end
  return leaving, rows
end

local function row_of(resources, address)
  for _, row in ipairs(resources) do if row.address == address then return row end end
end

-- All of it is destroyed; or made anew by somebody who said so.
local function is_whole(cluster, resources)
  local init = row_of(resources, cluster.init.address)
  if init and init.action == "replace" and init.reason == "asked for" then return true end
  for _, address in pairs(cluster.names) do
    local row = row_of(resources, address)
    if not row or row.action ~= "delete" then return false end
  end
  return true
end

-- Backups that a plan makes clusters of.

local function restored_from(row)
  local restore = row and SETS[row.action] and row.action ~= "update" and (row.fields or {}).restore
  return type(restore) == "table" and text(restore.file) and restore or nil
end

local function judge_restore(row)
  local restore = row.kind == "kubeadm.init" and restored_from(row)
  if not restore then return nil end
  local file, problem = tostring(restore.file), text(restore.problem)
  if problem then return deny(row, ("%s cannot be restored: %s"):format(file, problem), text(restore.hint)) end
  return { level = "note", address = row.address, message = ("the cluster is made of the backup %s, of %s, Kubernetes %s"):format(
    file, tostring(restore.created), tostring(restore.kubernetes)), file = row.file, line = row.line }
end

-- A backup takes the place of a cluster of which nothing is left.
local function is_lost(cluster, leaving, rows)
  for name in pairs(cluster.names) do
    if not leaving[name] or rows[name].kind == "azure.virtual_machine" then return false end
  end
  local api = connect.opened { endpoint = cluster.endpoint }
  return not (api and pcall(survey.recent, api))
end

local function judge_etcd(cluster, resources)
  local whole = is_whole(cluster, resources)
  quorum.whole(cluster.endpoint, whole)
  local leaving, rows = leaving_of(cluster, resources)
  if whole or next(leaving) == nil then return nil end
  local names = {}
  for name in pairs(leaving) do names[#names + 1] = name end
  table.sort(names)
  local first = rows[names[1]]
  local init = row_of(resources, cluster.init.address)
  local lost = restored_from(init) and is_lost(cluster, leaving, rows)
  connect.lose(cluster.endpoint, lost)
  if lost then return nil end
  if init and init.action == "replace" and restored_from(init) then
    return deny(init, "a backup would take the place of a cluster of which control planes are left",
      "bring the others back without restore; where that cannot be, delete all machines of control planes first")
  elseif init and init.action == "replace" then
    return deny(init, "a new, empty cluster would take the place of this one, and what its etcd holds would be lost",
      "if that is meant, say so: --replace " .. init.address)
  end
  local api = connect.opened { endpoint = cluster.endpoint }
  if not api and init and init.action == "update" and change_of(init, life.MOVES) then
    return deny(first, ("it is not known whether etcd keeps its majority without %s: the way to the cluster is the machine that "
      .. "would be replaced"):format(listed(names)), "delete that machine if it is meant: the next apply replaces it")
  end
  local ok, now = pcall(survey.recent, api)
  if not ok or not api then
    return deny(first, ("it is not known whether etcd keeps its majority without %s: %s"):format(listed(names),
      api and tostring(now) or "this plan did not ask the cluster"), "bring the API back first, or plan without --target")
  end
  local members = quorum.members(now)
  for name in pairs(cluster.names) do if members[name] == nil then members[name] = false end end
  local why, hint = quorum.objection(members, leaving)
  return why and deny(first, why, hint) or nil
end

--- What is to be said of a plan: a list of { level, address, message, hint, file, line }. argument: resources (the rows that
-- write, of clusters and machines), state (its rows).
function M.run(argument)
  local said, told = json.array {}, {}
  for _, group in ipairs(upgrades_of(argument.resources)) do
    local denial = judge(group)
    if denial then said[#said + 1], told[group.version] = denial, true end
  end
  for _, denial in ipairs(judge_packages(argument.resources, argument.state, told)) do said[#said + 1] = denial end
  for _, row in ipairs(argument.resources) do
    said[#said + 1] = judge_maintenance(row)
    said[#said + 1] = judge_rotation(row)
    said[#said + 1] = judge_restore(row)
  end
  for _, denial in ipairs(judge_keys(argument.resources, argument.state)) do said[#said + 1] = denial end
  for _, cluster in ipairs(clusters_of(argument.state)) do
    said[#said + 1] = judge_etcd(cluster, argument.resources)
  end
  return said
end

return M
