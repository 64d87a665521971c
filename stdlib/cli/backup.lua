--- `vmrun backup RECIPE [CLUSTER]`: a cluster of kubeadm in one encrypted file: a snapshot of etcd, keys and authorities, the
-- encryption configuration. Taken from a control plane that is well; `--show FILE` reads such a file instead.
local archive, capture = require "kubeadm.archive", require "kubeadm.capture"
local clusters, connect, connection = require "cli.clusters", require "kubernetes.connect", require "host.connection"
local crypto, fail, fs, json, log = require "crypto", require "fail", require "fs", require "json", require "log"
local process, secret, survey, terminal = require "process", require "secret", require "kubeadm.survey", require "terminal"

local M = {}

local VARIABLE = "VMRUN_BACKUP_KEY"
local STARTS = 120 -- seconds: right after a cluster was made etcd does not count as Ready, for a minute and more

local function source(call) return clusters.named(call, { "kubeadm.init" }, "cluster of kubeadm", "backup") end

-- The addresses of its control planes' hosts, the first one's in front.
local function hosts_of(call, init)
  local hosts = {}
  for _, member in ipairs(clusters.members(call.session)) do
    if member.init == init and member.control_plane then hosts[#hosts + 1] = member.host end
  end
  return hosts
end

--- The resources whose values are needed.
function M.choose(call)
  if call.args.from then return json.array {} end
  connection.later = true
  return json.array(hosts_of(call, source(call)))
end

-- The passphrase. again: a person types it twice.
local function key_of(args, again)
  local text
  if args.key_file == "-" then
    local input = terminal.input()
    if type(input) == "string" then
      text = input
    else
      text = ""
      for chunk in function() return input:read() end do text = text .. chunk end
    end
  elseif args.key_file then
    text = fail.check(fs.read(args.key_file))
  else
    text = process.env(VARIABLE)
    if not text then
      text = secret.ask "passphrase of the backup"
      if text and again and secret.ask "once more" ~= text then
        error(fail { "the two passphrases differ", code = "usage" })
      end
    end
  end
  text = text and text:gsub("\r?\n$", "")
  if not text or text == "" then
    error(fail { text and "the passphrase is empty" or "there is no passphrase for the backup", code = "usage",
      hint = "give --key-file FILE (- is stdin), or set " .. VARIABLE })
  end
  log.mask(text)
  return text
end

local function told(failure) return type(failure) == "table" and failure.message or tostring(failure) end

-- A control plane that is well, by what the API says to one that can be reached: its host, its name, the survey, the client.
local function healthy(call, init)
  local ctx, reasons = { target = call.session.target, dry = true }, {}
  local hosts = {}
  for _, address in ipairs(hosts_of(call, init)) do
    local value = call.values[address]
    if type(value) == "table" and value.address then hosts[#hosts + 1] = value end
  end
  for _, host in ipairs(hosts) do
    local ok, client, now = pcall(function()
      local api = connect.client(ctx, connect.of_row(init, host))
      return api, survey.with_etcd(ctx, api, STARTS)
    end)
    if ok then
      local by_name = {}
      for _, other in ipairs(hosts) do by_name[(other.hostname or other.name or ""):lower()] = other end
      local names = {}
      for name, node in pairs(now.nodes) do
        if node.control_plane and node.etcd and by_name[name] then names[#names + 1] = name end
      end
      table.sort(names)
      for _, name in ipairs(names) do
        local open, why = pcall(connection.open, ctx.target, by_name[name])
        if open then return by_name[name], name, now, client end
        reasons[#reasons + 1] = told(why)
      end
      if #names == 0 then reasons[#reasons + 1] = "the control planes whose etcd runs are not among the recipe's" end
      break
    end
    if fail.is(client) and client.code == "cancelled" then error(client, 0) end
    reasons[#reasons + 1] = told(client)
  end
  error(fail { "no control plane is well enough for a backup: " .. (#reasons > 0 and table.concat(reasons, "; ") or "none is known"),
    code = "backup", hint = "see 'vmrun plan'" })
end

local function configuration(api)
  local map = api:get("v1", "ConfigMap", "kube-system", "kubeadm-config")
  local text = map and map.data and map.data.ClusterConfiguration
  if not text then error(fail { "the cluster has no configuration of kubeadm (ConfigMap kubeadm-config)", code = "backup" }) end
  return text
end

local function size_words(bytes)
  return bytes < 1 << 20 and ("%d KiB"):format(bytes // 1024 + 1) or ("%.1f MiB"):format(bytes / (1 << 20))
end

local function take(call)
  local init = source(call)
  local key = key_of(call.args, true)
  local host, name, now, api = healthy(call, init)
  if not now.version then error(fail { "the cluster does not say of which release it is", code = "backup" }) end
  local text = configuration(api)
  local taken <close> = capture.from(call.session.target, host)
  table.insert(taken.files, 1, { name = "cluster-configuration.yaml", size = #text, sha256 = crypto.sha256(text), content = text })
  local files, control_planes = {}, {}
  for i, file in ipairs(taken.files) do files[i] = { name = file.name, size = file.size, sha256 = file.sha256 } end
  for other, node in pairs(now.nodes) do if node.control_plane then control_planes[#control_planes + 1] = other end end
  table.sort(control_planes)
  local created = os.date("!%Y-%m-%dT%H:%M:%SZ")
  local manifest = { format = 1, created = created, kubernetes = now.version, taken_from = name,
    cluster = { name = init.fields.cluster_name, endpoint = init.fields.endpoint }, control_planes = json.array(control_planes),
    etcd = taken.status, files = json.array(files) }
  local path = call.args.out or ("%s-%s.backup"):format(call.session.stack, created:gsub("[-:]", ""))
  archive.write(path, key, manifest, function(put)
    for _, file in ipairs(taken.files) do if file.content then put(file.content) end end
    for data in taken.read do put(data) end
  end)
  io.stderr:write(("%s, Kubernetes %s, taken from %s: %s of etcd, %s objects\n"):format(manifest.cluster.endpoint, now.version, name,
    size_words(files[#files].size), tostring(taken.status.totalKey)))
  return { text = path }
end

function M.run(call)
  local path = call.args.from
  if not path then return take(call) end
  if call.args.out then error(fail { "--show and --out exclude each other", code = "usage" }) end
  return { text = json.encode(archive.verify(path, key_of(call.args, false)), { indent = 2 }) }
end

return M
