--- What is asked of a control plane when it is needed, and never kept: join tokens, certificate keys, the administrator's
-- credentials. `cluster` is the table of a kubeadm.init resource. Tasks that ask at once share one answer.
local connection = require "host.connection"
local etcd, shell = require "kubeadm.etcd", require "host.shell"
local fail, task, yaml = require "fail", require "task", require "yaml"

local M = {}
local asking = require "together"()
local kept = {} -- cluster and what -> { value, until_ }

local TOKEN_LIFE, REUSE = "20m", 600

local function run(ctx, cluster, command)
  local host = cluster.host
  local conn = connection.open(ctx.target, host)
  local result, message, code = conn:exec((host.user == "root" and "" or "sudo -n ") .. command, { timeout = 120 })
  if not result then error(fail { ("%s: %s"):format(host.address, message), code = code }) end
  if result.code ~= 0 then
    error(fail { ("%s: `%s` failed (exit code %s): %s"):format(host.address, command:match("^(%S+ ?%S*)"), tostring(result.code),
      result.stderr:gsub("%s+$", "")), code = "kubeadm" })
  end
  return result.stdout
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

--- A join token that lives for 20 minutes; nodes that join within ten share it.
function M.token(ctx, cluster)
  return shared(cluster, "token", REUSE, function()
    local token = run(ctx, cluster, "kubeadm token create --ttl " .. TOKEN_LIFE):match("(%w+%.%w+)%s*$")
    if not token then error(fail { "kubeadm printed no token", code = "kubeadm" }) end
    return token
  end)
end

--- A key to the control plane's certificates, uploaded for two hours.
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

--- Forgets what is kept of a cluster: after its control plane was made anew.
function M.forget(cluster)
  for key in pairs(kept) do
    if key:sub(1, #cluster.host.address + 1) == cluster.host.address .. " " then kept[key] = nil end
  end
end

return M
