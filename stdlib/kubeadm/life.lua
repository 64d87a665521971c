--- Does a cluster live on without the machine of its first control plane? Its API says so to anybody, by a certificate of the
-- cluster's own authority: that takes neither credentials nor a host to get them from.
local client = require "kubernetes.client"
local connect = require "kubernetes.connect"
local fail = require "fail"

local M = {}

--- The path of the change by which a plan shows that the cluster's first control plane is to be another machine.
M.MOVES = "host"

--- Whether the API of a cluster answers with its own authority. f: the fields of its kubeadm.init; known: its recorded outputs.
-- false, why.
function M.ask(ctx, f, known)
  if type(known) ~= "table" or not known.ca then return false, "its certificate authority is not known" end
  local api = client.new { server = ("https://%s:%d"):format(f.endpoint, f.port), ca = known.ca,
    connect_to = connect.way(ctx.target, f) }
  api.patience = ctx.dry and 3 or 60
  -- Ready: etcd has its majority. A server that lets nobody in unknown is there as well.
  local ok, why = pcall(api.request, api, "GET", "/readyz", nil, { ok = { [401] = true, [403] = true } })
  if not ok and fail.is(why) and why.code == "cancelled" then error(why, 0) end
  return ok, not ok and tostring(why) or nil
end

-- Whoever asks the cluster does so after the machine has joined, when it has the cluster's credentials.
local function later(known)
  local outputs = {}
  for name, value in pairs(known) do outputs[name] = value end
  outputs.server = { ["$unknown"] = "the cluster's server" }
  return outputs
end

--- The changes of a plan in which the first control plane is another machine, whether the cluster lives on without the old one,
-- and what is known of it until then; where it does not live, a new cluster would take its place.
function M.moves(ctx, f, known)
  local lives = M.ask(ctx, f, known)
  local new = lives and "another machine, which joins the cluster" or "another machine, with a new cluster"
  local change = { path = M.MOVES, old = "the machine that it was made on", new = new, replace = not lives or nil }
  return { change }, lives, lives and later(known) or known
end

return M
