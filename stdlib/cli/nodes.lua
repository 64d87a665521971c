--- The Nodes of a stack whose machines are ours, for the REPL: looked at, restarted and upgraded one at a time.
local at_once, clusters = require "at_once", require "cli.clusters"
local connect, connection = require "kubernetes.connect", require "host.connection"
local survey, upkeep = require "kubeadm.survey", require "kubeadm.upkeep"
local fail, field, fs = require "fail", require "field", require "fs"
local hosts, json, task = require "cli.hosts", require "json", require "task"

local M = {}

--- The addresses of the resources whose values are needed: the hosts.
function M.choose(session)
  connection.later = true
  local list = json.array {}
  for _, member in ipairs(clusters.members(session)) do list[#list + 1] = member.host end
  if #list == 0 then error(fail { "the stack has no cluster of kubeadm", code = "nodes", hint = "start with a recipe that was applied" }) end
  table.sort(list)
  return list
end

local function said(name) return function(_, text) io.stderr:write(name, ": ", text, "\n") end end

-- As verbs of kinds have it.
local function context(self, host, more)
  local member, init = host.member, host.member.init
  local cluster, value = connect.of_row(init, self.values[clusters.reference(init.fields.host)]), self.values[host.row]
  if type(value) ~= "table" or type(cluster.host) ~= "table" then
    error(fail { ("%s is not known"):format(host.row), code = "nodes", hint = "see what 'vmrun plan' says of it" })
  end
  local fields = { name = host.node, host = value, cluster = cluster, control_plane = member.control_plane, max_unavailable = "1" }
  for key, one in pairs(more or {}) do fields[key] = one end
  return { fields = fields, target = self.session.target, verb = "update", progress = said(host.node), output = said(host.node) }
end

-- Control planes first, each kind by name.
local function chosen(self, pattern)
  local list = {}
  for _, host in ipairs(hosts.match(self.session, pattern or "all")) do
    host.member = self.members[host.row]
    local value = self.values[host.row]
    if host.member then
      host.node = (host.member.name or type(value) == "table" and value.hostname or host.name):lower()
      list[#list + 1] = host
    end
  end
  if #list == 0 then error(fail { ("no host of '%s' is in a cluster"):format(pattern or "all"), code = "nodes" }) end
  table.sort(list, function(a, b)
    if a.member.control_plane ~= b.member.control_plane then return a.member.control_plane end
    return a.node < b.node
  end)
  return list
end

local OPTIONS = { security = field.boolean {}, reboot = field.choice { "needed", "always", "never", default = "needed" } }

-- Another text each time: whoever says so again means it.
local function word() return os.date "!by hand %Y-%m-%dT%H:%M:%SZ " .. ("%06d"):format(math.floor(task.now() * 1e6) % 1000000) end

-- Who changes Nodes holds the lease that an apply would hold: neither can take a Node away from the other.
local function lease_of(session)
  local lease, why, code = fs.lock(session.folder .. "/lock", ("the state of stack '%s'"):format(session.stack))
  if lease then return lease end
  error(fail { why, code = code, hint = code == "locked" and "wait until it has ended; nodes.list() looks meanwhile" or nil })
end

local function one_by_one(self, pattern, fields)
  local done = json.array {}
  local lease <close> = lease_of(self.session)
  for _, host in ipairs(chosen(self, pattern)) do
    local ctx = context(self, host, fields)
    upkeep.bring(ctx, connect.client(ctx, ctx.fields.cluster))
    done[#done + 1] = host.node
    said(host.node)(nil, "done")
  end
  return done
end

local function look(self, host)
  local ctx = context(self, host)
  local node = survey.shared(ctx, ctx.fields.cluster).nodes[host.node]
  local told = { name = host.node, control_plane = host.member.control_plane, ready = node ~= nil and node.ready,
    version = node and node.kubelet, cordoned = node and node.cordoned or nil }
  local ok, due, waiting, restart = pcall(upkeep.ask, ctx, word())
  if not ok and fail.interrupted(due) then error(due, 0) end
  if ok then told.packages, told.restart = waiting, restart else told.host = tostring(due) end
  return told
end

--- session: what vr_session_describe gives; values: those of the chosen resources. Gives `list(PATTERN)`, `reboot(PATTERN)` and
-- `maintain(PATTERN, { security =, reboot = })`; a pattern is one of `vmrun exec`, and all unless said.
function M.new(session, values)
  local self = { session = session, values = values, members = {} }
  for _, member in ipairs(clusters.members(session)) do self.members[member.host] = member end
  local nodes = {}

  function nodes.list(pattern)
    return json.array(at_once(chosen(self, pattern), function(host) return look(self, host) end))
  end

  function nodes.reboot(pattern) return one_by_one(self, pattern, { restart = word() }) end

  function nodes.maintain(pattern, options)
    local problems = {}
    local fields = field.check_fields(OPTIONS, options or {}, {}, problems)
    if problems[1] then error(fail { "nodes.maintain: " .. problems[1].text, code = "nodes" }) end
    fields.packages = word()
    return one_by_one(self, pattern, fields)
  end

  return nodes
end

return M
