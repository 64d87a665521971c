--- How a host becomes a node of a cluster that is there: what is in the way goes first, then `kubeadm join`. For kubeadm.join,
-- and for a first control plane whose machine was made anew.
local config = require "kubeadm.config"
local connect = require "kubernetes.connect"
local control_plane = require "kubeadm.control_plane"
local credentials = require "kubeadm.credentials"
local fail, yaml = require "fail", require "yaml"
local serving, survey = require "kubernetes.serving", require "kubeadm.survey"

local M = {}

-- The configuration holds a token, so it comes on the standard input and is on the disk only while kubeadm reads it.
local JOIN = [[umask 077; trap 'rm -f /run/vmrun-join.yaml' EXIT; trap 'exit 1' HUP INT TERM
cat > /run/vmrun-join.yaml
kubeadm join --config /run/vmrun-join.yaml]]

local function name_of(f) return f.node_name or f.host.hostname end

local function join_config(f, ctx)
  return yaml.encode(config.join { version = f.node.version, node_name = name_of(f), address = f.address,
    endpoint = f.cluster.endpoint, port = f.cluster.port, cloud_provider = f.cluster.cloud_provider, ca_hash = f.cluster.ca_hash,
    token = credentials.token(ctx, f.cluster),
    certificate_key = f.control_plane and credentials.certificate_key(ctx, f.cluster) or nil })
end

-- Where the API does not answer, kubeadm says best what is wrong.
local function answers(ctx, f)
  local api = connect.client(ctx, f.cluster)
  local ok, err = pcall(api.request, api, "GET", "/version", nil, { patience = 3 })
  if not ok and fail.is(err) and err.code == "cancelled" then error(err, 0) end
  return ok
end

--- Deletes the Node of such a host, if there is one. f: the fields of a kubeadm.join.
function M.delete_node(ctx, f)
  local api, name = connect.client(ctx, f.cluster), name_of(f):lower()
  if not api:get("v1", "Node", nil, name) then return end
  api:delete({ apiVersion = "v1", kind = "Node", metadata = { name = name } }, { wait = 60 })
end

-- "yes": it has joined; "other": not by us; "died": a run did within its join, and what it left on the host is taken away; else
-- it has not. what: by which word the host remembers it.
local function state_of(host, what)
  if host.ask(control_plane.interrupted(what)) == "yes" then return "died" end
  return host.ask(("if [ -e %s ]; then echo yes; elif [ -e /etc/kubernetes/kubelet.conf ]; then echo other; fi"):format(
    control_plane.done(what)))
end

-- What is in the way of a join: the Node of a run that died, or the Node and the member of etcd of a machine that this one is in
-- the place of.
local function clear(f, ctx, state)
  if state == "other" then return end
  ctx:progress(state == "died" and "taking away what a run left that died here" or "looking for what an earlier machine left")
  M.delete_node(ctx, f)
  if f.control_plane and state == "" then credentials.remove_member(ctx, f.cluster, name_of(f):lower(), f.address) end
end

--- Brings a host so far that it may join. Returns whether it has joined already.
function M.prepare(host, f, ctx, what)
  if host.checking then return false end
  local state = state_of(host, what)
  if state == "yes" then return true end
  if answers(ctx, f) then
    clear(f, ctx, state)
    survey.wait_for(ctx, connect.client(ctx, f.cluster), (f.node.version:gsub("^v", "")))
  end
  return false
end

--- Declares the join itself.
function M.join(host, f, ctx, what, joined)
  local joining <close> = not host.checking and not joined and credentials.joining(ctx, f.cluster) or nil
  host.command "kubeadm join" { timeout = credentials.PATIENCE, creates = control_plane.done(what),
    run = control_plane.once(what, JOIN), input = joining and join_config(f, ctx) or "" }
  if joining then host.ask ":" end -- here and now, while they are valid
end

--- Gives the kubelet of a Node that has joined its serving certificate: where its kubernetes.node was planned as one that stays.
function M.certify(ctx, f)
  local api = connect.client(ctx, f.cluster)
  local node = api:get("v1", "Node", nil, name_of(f):lower())
  if not node then return end
  serving.settle(api, node)
  local warning = serving.serve(api, node)
  if warning then ctx:progress(warning) end
end

return M
