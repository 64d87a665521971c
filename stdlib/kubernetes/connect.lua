--- The client of a cluster that a recipe names: one a cluster for the whole run.
local client = require "kubernetes.client"
local dial = require "dial"
local fail = require "fail"
local kubeconfig = require "kubernetes.kubeconfig"

local M = {}
local open, opening = {}, require "together"()

--- The kinds whose resources stand for a cluster: what a field `cluster` may hold.
M.KINDS = { "kubeadm.init", "kubernetes.cluster" }

--- Where the API of a cluster of kubeadm is reached, by its endpoint, port and reach: a function that gives "addr:port", or nil
-- where the endpoint's name says it.
function M.way(target, cluster)
  local host = cluster.reach or cluster.endpoint
  return function()
    local address, why = dial.resolve(target, host, cluster.port)
    if why then error(fail { ("the API at %s:%d: %s"):format(host, cluster.port, why), code = "unreachable" }) end
    if address or host == cluster.endpoint then return address end
    return ("%s:%d"):format(host:find(":", 1, true) and "[" .. host .. "]" or host, cluster.port)
  end
end

local function from_kubeadm(ctx, cluster)
  local credentials = require "kubeadm.credentials"
  local function parts(config)
    local made = kubeconfig.parts(config)
    made.server, made.server_name = ("https://%s:%d"):format(cluster.endpoint, cluster.port), nil
    made.connect_to = M.way(ctx.target, cluster)
    made.renew = function()
      credentials.forget(cluster)
      return parts(credentials.admin(ctx, cluster))
    end
    return made
  end
  return parts(credentials.admin(ctx, cluster))
end

--- The client of a cluster's table (a resource of one of M.KINDS).
function M.client(ctx, cluster)
  local given = cluster.kubeconfig
  local key = given and given .. "\n" .. (cluster.context or "") or ("%s %s"):format(cluster.endpoint, cluster.host.address)
  open[key] = open[key] or opening(key, function() -- a plugin is asked once
    return client.new(given and kubeconfig.parts(given, cluster.context) or from_kubeadm(ctx, cluster))
  end)
  -- A plan says "unreachable" soon; an apply waits for a server that is being made or joined.
  open[key].patience = ctx.dry and 10 or 120
  return open[key]
end

--- The client of a cluster of kubeadm that this run has asked already, by its endpoint; nil when it has not.
function M.opened(cluster)
  for key, client in pairs(open) do
    if cluster.endpoint and key:sub(1, #cluster.endpoint + 1) == cluster.endpoint .. " " then return client end
  end
end

local lost = {} -- endpoint -> true

--- Says that nothing is left of a cluster, and that this run makes it anew: what was in it has gone with it.
function M.lose(endpoint, is_lost) lost[endpoint] = is_lost or nil end

--- Whether nothing is left of it that could be deleted.
function M.is_lost(cluster) return cluster ~= nil and lost[cluster.endpoint or ""] == true end

--- The table of a cluster, as kinds see it, of its row in the state: its fields and outputs, and the host that has its credentials.
function M.of_row(row, host)
  local cluster = {}
  for _, part in ipairs { row.fields, row.outputs } do
    for name, value in pairs(part) do cluster[name] = value end
  end
  cluster.host = host
  return cluster
end

--- What identifies the cluster, as text.
function M.identity(cluster)
  return cluster and (cluster.endpoint or cluster.name) or nil
end

return M
