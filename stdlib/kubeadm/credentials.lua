--- What is asked of a control plane when it is needed, and never kept: join tokens, certificate keys, the administrator's
-- credentials. `cluster` is the table of a kubeadm.init resource. Tasks that ask at once share one answer. What lets a node join
-- is taken back when the last of those that join at a time has ended; where that cannot be done it expires.
local connection = require "host.connection"
local encryption_keys = require "kubeadm.encryption_keys"
local etcd, shell = require "kubeadm.etcd", require "host.shell"
local fail, task, yaml = require "fail", require "task", require "yaml"

local M = {}
local asking = require "together"()
local kept = {} -- cluster and what -> { value, until_ }

--- Seconds that a join may take, with what it waits for: a token that is handed out lives longer.
M.PATIENCE = 900

local TOKEN_LIFE, REUSE, TAKE_BACK = "30m", 600, 20

local others = {} -- endpoint -> hosts of the cluster's other control planes, by address

--- Tells of another control plane's host. What is asked of the first is asked of it when the first cannot say.
function M.offer(cluster, host)
  if type(cluster) ~= "table" or not cluster.endpoint or type(host) ~= "table" or not host.address then return end
  others[cluster.endpoint] = others[cluster.endpoint] or {}
  others[cluster.endpoint][host.address] = host
end

-- The first control plane's host, then the others. The first may be the way to them, as what it is now.
local function hosts_of(cluster)
  local list, first = { cluster.host }, cluster.host
  for address, host in pairs(others[cluster.endpoint or ""] or {}) do
    if address ~= first.address then
      local copy = {}
      for name, value in pairs(host) do copy[name] = value end
      if copy.via and copy.via.address == first.address then copy.via = first end
      list[#list + 1] = copy
    end
  end
  table.sort(list, function(a, b) return a == first or (b ~= first and a.address < b.address) end)
  return list
end

local function run_on(ctx, host, command)
  local conn = connection.open(ctx.target, host)
  local result, message, code = conn:exec(shell.as_root(host, command), { timeout = 120 })
  if not result then error(fail { ("%s: %s"):format(host.address, message), code = code }) end
  if result.code == 0 then return result.stdout end
  local there = conn:exec(shell.as_root(host, "test -e /etc/kubernetes/admin.conf"), { timeout = 30 })
  error(fail { ("%s: `%s` failed (exit code %s): %s"):format(host.address, command:match("^(%S+ ?%S*)"), tostring(result.code),
    result.stderr:gsub("%s+$", "")), code = there and there.code == 1 and "absent" or "kubeadm" })
end

-- Asks one after the other until one is a control plane that can be reached.
local function run_on_any(ctx, cluster, command)
  local first
  for _, host in ipairs(hosts_of(cluster)) do
    local ok, result = pcall(run_on, ctx, host, command)
    if ok then return result end
    first = first or result
    if not fail.is(result) or (result.code ~= "unreachable" and result.code ~= "absent") then error(result, 0) end
  end
  error(first, 0)
end

-- Seconds until what failed is asked again: right after a control plane was lost etcd may be electing, and an API server restarting.
local AGAIN = { 2, 5, 10 }

-- The same, for what may be asked again.
local function run(ctx, cluster, command)
  for attempt = 1, #AGAIN do
    local ok, result = pcall(run_on_any, ctx, cluster, command)
    if ok then return result end
    if ctx.dry or not fail.is(result) or result.code ~= "kubeadm" then error(result, 0) end
    if ctx.progress then ctx:progress(("%s; asking again"):format(result.message)) end
    task.sleep(AGAIN[attempt])
  end
  return run_on_any(ctx, cluster, command)
end

local function shared(cluster, what, seconds, ask)
  local key = cluster.host.address .. " " .. what
  local entry = kept[key]
  if entry and entry.until_ > task.now() then return entry.value end
  return asking(key, function()
    local value = ask()
    kept[key] = { value = value, until_ = task.now() + seconds }
    return value
  end)
end

--- A join token that lives for half an hour; nodes that join within ten minutes share it. Within `joining` alone.
function M.token(ctx, cluster)
  return shared(cluster, "token", REUSE, function()
    local token = run(ctx, cluster, "kubeadm token create --ttl " .. TOKEN_LIFE):match("(%w+%.%w+)%s*$")
    if not token then error(fail { "kubeadm printed no token", code = "kubeadm" }) end
    return token
  end)
end

--- A key to the control plane's certificates, uploaded for two hours. Within `joining` alone.
function M.certificate_key(ctx, cluster)
  return shared(cluster, "certificate key", REUSE, function()
    local out = run(ctx, cluster, "kubeadm init phase upload-certs --upload-certs")
    local key = out:match("(%x+)%s*$")
    if not key or #key ~= 64 then error(fail { "kubeadm printed no certificate key", code = "kubeadm" }) end
    return key
  end)
end

--- The administrator's kubeconfig, as a table.
function M.admin(ctx, cluster)
  return shared(cluster, "admin", 3600, function()
    return fail.check(yaml.decode(run(ctx, cluster, "cat /etc/kubernetes/admin.conf")))
  end)
end

--- Takes the member of a machine that is gone out of etcd: it would count against the others, and its name and address are to
-- be another's. etcd itself refuses that where it has no majority.
function M.remove_member(ctx, cluster, name, address)
  run(ctx, cluster, "sh -c " .. shell.quote(etcd.remove(name, address)))
end

--- Before a control plane goes away for a while, or for good: another member of etcd leads where its own does, which spares the
-- cluster an election. Where that cannot be done there is one.
function M.hand_over(ctx, cluster, name)
  if not cluster.host then return end -- only its API is known to us
  local ok, leader = pcall(run_on_any, ctx, cluster, "sh -c " .. shell.quote(etcd.hand_over(name)))
  if not ok and fail.interrupted(leader) then error(leader, 0) end
  if not ok then ctx:progress(("etcd's leadership stays with %s: %s"):format(name, tostring(leader))) end
  if ok and leader ~= "" then ctx:progress(("etcd's leadership goes from %s to %s"):format(name, (leader:gsub("%s+$", "")))) end
end

local joins = {} -- address of the cluster's host -> how many nodes are joining

local function delete_secret(api, name)
  api:delete { apiVersion = "v1", kind = "Secret", metadata = { name = name, namespace = "kube-system" } }
end

-- The certificates go with a token without a use, whose end they wait for.
local function take_back(ctx, cluster, token, certificates)
  local api = require("kubernetes.connect").client(ctx, cluster)
  if token then delete_secret(api, "bootstrap-token-" .. token:match("^%w+")) end
  local uploaded = certificates and api:get("v1", "Secret", "kube-system", "kubeadm-certs")
  for _, owner in ipairs(uploaded and uploaded.metadata.ownerReferences or {}) do delete_secret(api, owner.name) end
  if uploaded then delete_secret(api, "kubeadm-certs") end
  return true
end

--- A value to close when a node has joined, or has not: with the last one, what let them in is taken back.
function M.joining(ctx, cluster)
  local address = cluster.host.address
  joins[address] = (joins[address] or 0) + 1
  return setmetatable({}, { __close = function()
    joins[address] = joins[address] - 1
    if joins[address] > 0 then return end
    local token, certificates = kept[address .. " token"], kept[address .. " certificate key"]
    kept[address .. " token"], kept[address .. " certificate key"] = nil, nil
    if not token and not certificates then return end
    local ok, why = pcall(function()
      fail.check(task.deadline(TAKE_BACK, function() return take_back(ctx, cluster, token and token.value, certificates) end))
    end)
    if not ok then ctx:progress(("what let nodes join was not taken back, and expires by itself: %s"):format(tostring(why))) end
  end })
end

--- The encryption.yaml that the control planes have now; nil where they have none.
function M.encryption(ctx, cluster)
  local file = encryption_keys.FILE
  local text = run(ctx, cluster, ("sh -c 'test -e /etc/kubernetes/admin.conf && { [ ! -e %s ] || cat %s; }'"):format(file, file))
  return text ~= "" and text or nil
end

--- Forgets what is kept of a cluster: after its control plane was made anew.
function M.forget(cluster)
  for key in pairs(kept) do
    local of = key:match("^(%S+)")
    -- What let nodes in is taken back by those that join.
    if of == cluster.host.address and ((joins[of] or 0) == 0 or key == of .. " admin") then kept[key] = nil end
  end
end

return M
