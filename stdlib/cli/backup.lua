--- `vmrun backup RECIPE [CLUSTER]`: a cluster of kubeadm in one encrypted file: a snapshot of etcd, keys and authorities, the
-- encryption configuration. Taken from a control plane that is well; `--show FILE` reads such a file instead.
local archive, capture = require "kubeadm.archive", require "kubeadm.capture"
local connect, connection = require "kubernetes.connect", require "host.connection"
local crypto, fail, fs, json, log = require "crypto", require "fail", require "fs", require "json", require "log"
local process, secret, survey, terminal = require "process", require "secret", require "kubeadm.survey", require "terminal"

local M = {}

local VARIABLE = "VMRUN_BACKUP_KEY"
local STARTS = 120 -- seconds: right after a cluster was made etcd does not count as Ready, for a minute and more

-- The row of the cluster that is meant.
local function source(call)
  local rows, names, wanted = {}, {}, call.args.words[1]
  for _, row in ipairs(call.session.rows) do
    if row.kind == "kubeadm.init" then
      names[#names + 1] = row.address
      if not wanted or row.address == wanted or row.address:match("([%w_-]+)$") == wanted then rows[#rows + 1] = row end
    end
  end
  if #rows == 1 then return rows[1] end
  if #names == 0 then
    error(fail { ("stack '%s' has no cluster of kubeadm"):format(call.session.stack), code = "backup", hint = "apply the recipe first" })
  end
  error(fail { wanted and ("there is no cluster '%s'"):format(wanted) or ("stack '%s' has several clusters"):format(call.session.stack),
    code = "backup", hint = "say which: " .. table.concat(names, ", ") })
end

local function ref(value) return type(value) == "table" and value["$ref"] or nil end

-- The addresses of its control planes' hosts, the first one's in front.
local function hosts_of(call, init)
  local hosts = { ref(init.fields.host) }
  for _, row in ipairs(call.session.rows) do
    if row.kind == "kubeadm.join" and row.fields.control_plane == true and ref(row.fields.cluster) == init.address then
      hosts[#hosts + 1] = ref(row.fields.host)
    end
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
