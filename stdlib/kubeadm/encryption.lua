--- The key with which a cluster's Secrets are encrypted in etcd. Another one is brought in while the cluster is in use: it is
-- added on each control plane, then made the one that writes, all Secrets are written anew, and the old one goes. Which step is
-- next is what the hosts' files and etcd say (kubeadm.encryption_keys), so a run can end anywhere and the next goes on. In a
-- recipe it comes `after` all that adds, upgrades or stops control planes.
local at_once = require "at_once"
local connect, connection = require "kubernetes.connect", require "host.connection"
local control_plane, etcd = require "kubeadm.control_plane", require "kubeadm.etcd"
local encryption_keys, static_pods = require "kubeadm.encryption_keys", require "kubeadm.static_pods"
local fail, field, kind, role = require "fail", require "field", require "kind", require "role"
local rewrite, shell, survey = require "kubeadm.rewrite", require "host.shell", require "kubeadm.survey"

local MARK = control_plane.LOADING
local READY, PATIENCE = 600, 300 -- seconds for an API server that was started anew, and for one that is away by itself
local ROUNDS = 3 -- of writing all Secrets anew

local function name_of(host) return (host.hostname or host.name):lower() end

local function ask(ctx, host, command)
  local conn = connection.open(ctx.target, host)
  local result, message, code = conn:exec(shell.as_root(host, "sh"), { stdin = command, timeout = 60 })
  if not result then error(fail { ("%s: %s"):format(host.address, message), code = code }) end
  if result.code ~= 0 then
    error(fail { ("%s: %s"):format(host.address, (result.stderr:gsub("%s+$", ""))), code = "encryption" })
  end
  return result.stdout
end

local LOOK = ("if [ -e %s ]; then echo loading; else echo; fi; cat %s 2>/dev/null || :"):format(MARK, encryption_keys.FILE)

-- What the hosts have: { name, host, text, keys, loading }.
local function look(ctx)
  return at_once(ctx.fields.hosts, function(host)
    local mark, text = ask(ctx, host, LOOK):match("^([^\n]*)\n(.*)$")
    text = text ~= "" and text or nil
    return { name = name_of(host), host = host, loading = mark == "loading", text = text,
      keys = text and encryption_keys.decode(text) }
  end)
end

local function with_file(hosts)
  local list = {}
  for _, host in ipairs(hosts) do if host.text then list[#list + 1] = host end end
  return list
end

-- Why the cluster is not fit for a step; nil when it is. An API server that we have stopped ourselves may be away. ahead: a plan
-- looks, in which a host without a file and a Node is yet to join.
local function unfit(now, hosts, ahead)
  local known = {}
  for _, host in ipairs(hosts) do
    known[host.name] = true
    local node = now.nodes[host.name]
    if not node then
      if host.text or not ahead then return ("the cluster has no Node %s"):format(host.name), "let it join first" end
    elseif not host.loading and not (node.ready and node.api_ready) then
      return ("control plane %s is not healthy: it could not follow a rotation of the key"):format(host.name),
        "bring it back first: kubectl describe node " .. host.name
    end
  end
  for name, node in pairs(now.nodes) do
    if node.control_plane and not known[name] then
      return ("control plane %s is not among the hosts of the rotation: it would not get the new key"):format(name),
        "add it to the recipe, or take it out of the cluster"
    end
  end
end

-- The only API server is away for our sake: nobody can be asked, and nobody else would be harmed.
local function is_down(hosts) return #hosts == 1 and hosts[1].loading end

local function raise(why, hint) error(fail { why, code = "encryption", hint = hint }) end

-- Waits for control planes that are away for a moment.
local function settle(ctx, api, hosts)
  survey.await(ctx, api, PATIENCE, function(now)
    local why, hint = unfit(now, hosts)
    return why and { words = why, message = why, code = "encryption", hint = hint } or nil
  end)
end

-- Steps.

-- What was not loaded is known by a mark that is there before the file is, and goes when the API server is ready with it.
local LOAD = static_pods.RESTART .. ([[set -e; umask 077
mkdir -p /var/lib/vmrun; : >MARK
cat >FILE.new
if cmp -s FILE.new FILE; then rm -f FILE.new; else sync FILE.new MARK; mv -f FILE.new FILE; sync /etc/kubernetes; fi
restart kube-apiserver
end=$(($(date +%s) + 300))
until [ -n "$(crictl ps -q --name '^kube-apiserver$' | head -n 1)" ]; do
  [ "$(date +%s)" -lt $end ] || { echo 'kube-apiserver does not start' >&2; exit 1; }
  sleep 1
done
]]):gsub("MARK", MARK):gsub("FILE", encryption_keys.FILE)

local ID = "crictl ps -q --name '^kube-apiserver$' | head -n 1"

local function container_of(pod)
  for _, status in ipairs(pod and pod.status and pod.status.containerStatuses or {}) do
    if status.name == "kube-apiserver" then return (status.containerID or ""):match("([^/]*)$"), status.ready end
  end
end

-- Writes a host's file and starts its API server with it. It is ready only when it can read all Secrets: among its own watches
-- is one of them.
local function load(ctx, api, step)
  local host = step.host
  local on_host = setmetatable({ fields = { host = host.host } }, { __index = ctx })
  local page = { name = "kubeadm.encryption", seconds = 700, asks = { id = ID } }
  local _, answers = role.perform(page, on_host, "apply", function(declare)
    declare.command "encryption.yaml" { run = LOAD, input = encryption_keys.encode(step.keys), timeout = 600 }
  end)
  ctx:progress(("waiting for the API server of %s"):format(host.name))
  local id = (answers.id:gsub("%s+$", ""))
  local pod = { apiVersion = "v1", kind = "Pod", metadata = { name = "kube-apiserver-" .. host.name, namespace = "kube-system" } }
  local ok, err = pcall(api.wait, api, pod, function(now)
    local running, ready = container_of(now)
    return running == id and ready == true
  end, READY, "to be ready with its new encryption.yaml")
  if not ok then
    if fail.is(err) and err.code == "timeout" then
      err.hint = ("see why on %s: crictl logs %s; the other control planes were not touched"):format(host.name, id:sub(1, 13))
    end
    error(err, 0)
  end
  ask(ctx, host.host, "rm -f " .. MARK)
end

-- How many Secrets etcd has that are not encrypted with a key, at one revision. Each value begins a line, as each key does; what
-- etcd did not tell to the end counts for nothing.
local function count(ctx, host, key)
  local prefix = "k8s:enc:secretbox:v1:" .. key.name:gsub("%W", "[%0]") .. ":"
  local page = { name = "kubeadm.encryption", seconds = 300, asks = { found = etcd.CTL .. ([[
{ etcdctl get --prefix /registry/secrets/ && echo /registry/whole; } |
  LC_ALL=C grep -aoE '^(/registry/secrets/|/registry/whole$|%s)' | sort | uniq -c]]):format(prefix) } }
  local on_host = setmetatable({ fields = { host = host.host } }, { __index = ctx })
  local _, answers = role.perform(page, on_host, "apply", function() end)
  if not answers.found:find("1 /registry/whole", 1, true) then
    raise(("etcd of %s does not tell what it has"):format(host.name), "is its member well? crictl logs of etcd says more")
  end
  local all = tonumber(answers.found:match("(%d+) /registry/secrets/")) or 0
  return all - (tonumber(answers.found:match("(%d+) k8s:enc:")) or 0)
end

local WORDS = {
  load = "%s: the API server reads its keys", add = "%s: key %s is added", first = "%s: key %s writes from here on",
  remove = "%s: only key %s stays",
}

local function rotate(ctx)
  local f, stale, rounds = ctx.fields, nil, 0
  local flaw = encryption_keys.flaw(f.key)
  if flaw then raise(("key %s cannot be a key of Secrets: %s"):format(f.name, flaw), "let vmrun make it: azure.vault_random") end
  while true do
    local hosts = look(ctx)
    local target = { name = f.name, secret = f.key }
    local why, hint = encryption_keys.objection(hosts, encryption_keys.named(with_file(hosts), target))
    if why then raise(why, hint) end
    target = encryption_keys.named(hosts, target)
    local step = encryption_keys.next(hosts, target, stale)
    if step.action == "done" then return {} end
    local api = connect.client(ctx, f.cluster)
    if not is_down(hosts) then settle(ctx, api, hosts) end
    if step.action == "count" then
      stale = count(ctx, hosts[1], target)
    elseif step.action == "rewrite" then
      rounds = rounds + 1
      if rounds > ROUNDS then raise(("%d Secrets are not written with key %s yet"):format(stale, target.name), "apply again") end
      rewrite.secrets(api, function(done, total)
        ctx:progress(("Secrets written with %s: %d of %d"):format(target.name, done, total))
      end)
      stale = count(ctx, hosts[1], target)
    else
      ctx:progress(WORDS[step.action]:format(step.host.name, target.name))
      load(ctx, api, step)
      survey.forget(api)
    end
  end
end

-- A key that is yet to be made: what the hosts have now can be said all the same.
local KEYS = { key = true, ["cluster.encryption_key"] = true }

local function has_unknown(unknown)
  for path in pairs(unknown or {}) do if not KEYS[path] then return true end end
  return false
end

-- What a plan says of it.
local function differences(ctx, hosts)
  local f, old, seen = ctx.fields, {}, {}
  for _, host in ipairs(hosts) do
    for _, key in ipairs(host.keys or {}) do
      if not seen[key.name] then old[#old + 1], seen[key.name] = key.name, true end
    end
  end
  return { { path = "name", old = table.concat(old, ", "), new = f.name } }
end

local function read(ctx)
  local f = ctx.fields
  if has_unknown(ctx.unknown) then return ctx.prior and { outputs = ctx.prior.outputs } or nil end
  local hosts = look(ctx)
  local given = { name = f.name, secret = not (ctx.unknown or {}).key and f.key or nil }
  -- A file that is not there comes, or comes back, before this: by a join.
  local present = with_file(hosts)
  local target = encryption_keys.named(present, given)
  encryption_keys.refuse(f.cluster.endpoint, nil)
  local is_done = #present > 0 and encryption_keys.is_done(present, target)
  if is_done and given.secret then return { fields = f, outputs = {}, changes = {} } end
  local why, hint = encryption_keys.objection(present, target)
  if not why and not is_down(hosts) then
    local ok, now = pcall(survey.shared, ctx, f.cluster)
    if ok then
      why, hint = unfit(now, hosts, true)
    else
      why, hint = "the control planes' state is not known: " .. tostring(now), "a rotation begins with a healthy cluster"
    end
  end
  if why then encryption_keys.refuse(f.cluster.endpoint, { why = why, hint = hint }) end
  return { fields = f, outputs = {}, changes = differences(ctx, hosts) }
end

return kind "kubeadm.encryption" {
  doc = "The key that encrypts a cluster's Secrets in etcd: another one is rotated to, with the API in use.",
  timeouts = { create = 14400, update = 14400 },
  fields = {
    cluster = field.resource { "kubeadm.init", required = true, replace = true, doc = "The cluster." },
    hosts = field.list { field.resource { "ssh.host" }, required = true, ignore = true, doc = "Of all control planes." },
    name = field.string { required = true, match = "^[%w._-]+$", doc = "What etcd calls the key; another key has another name." },
    key = field.secret { required = true, doc = "32 bytes in base64." },
  },
  outputs = {},
  identity = function(f)
    local cluster = connect.identity(f.cluster)
    return cluster and cluster .. "/encryption" or nil
  end,
  read = read, create = rotate, update = rotate,
  delete = function() end, -- it goes with its cluster
}
