--- `vmrun kubeconfig RECIPE [CLUSTER]`: a kubeconfig, made from the control plane's credentials or, with --user, from a
-- certificate that the cluster signs for this; written 0600.
local crypto, fail, fs, json, yaml = require "crypto", require "fail", require "fs", require "json", require "yaml"
local clusters, connect, dial, process = require "cli.clusters", require "kubernetes.connect", require "dial", require "process"

local M = {}

local WAIT_FOR_SIGNER = 60

local function source(call) return clusters.named(call, connect.KINDS, "cluster", "kubeconfig") end

local function host_of(row) return clusters.reference(row.fields.host) end

--- The resources whose values are needed: of a cluster that kubeadm made, the host where its credentials are.
function M.choose(call)
  local row = source(call)
  return json.array { host_of(row) or row.address }
end

-- The cluster's table, as kinds of Kubernetes see it.
local function cluster_of(call, row)
  local value = call.values[host_of(row) or row.address]
  if type(value) ~= "table" then
    error(fail { ("%s is not known"):format(host_of(row) or row.address), code = "kubeconfig", hint = "see what 'vmrun plan' says of it" })
  end
  if host_of(row) then return connect.of_row(row, value) end
  local cluster = connect.of_row(row)
  cluster.kubeconfig = value.kubeconfig
  return cluster
end

local function contains(list, value)
  for _, item in ipairs(type(list) == "table" and list or {}) do if item == value then return true end end
  return false
end

-- Where kubectl reaches the API, and the name that it must find in the certificate when that is another.
local function server_of(call, cluster)
  local reach, port = cluster.reach or cluster.endpoint, cluster.port or 6443
  local through, why, code = dial.resolve(call.session.target, reach, port)
  if why then error(fail { ("the API at %s:%d: %s"):format(reach, port, why), code = code }) end
  if through then return "https://" .. through, cluster.endpoint end
  local named = reach == cluster.endpoint or contains(cluster.names, reach)
  return ("https://%s:%d"):format(reach:find(":", 1, true) and "[" .. reach .. "]" or reach, port), not named and cluster.endpoint or nil
end

-- Certificates for people, signed by the cluster.

local function hours_of(args)
  local hours = tonumber(args.hours or 8)
  if not hours or hours < 1 / 6 then
    error(fail { ("--hours wants a number, at least a sixth, got '%s'"):format(args.hours), code = "usage" })
  end
  return hours
end

local CSR = { "certificates.k8s.io/v1", "CertificateSigningRequest" }

local function request_of(args, key)
  local csr = fail.check(crypto.x509_csr { key = key, cn = args.user, o = args.groups })
  return { apiVersion = CSR[1], kind = CSR[2],
    metadata = { name = ("vmrun-%s-%s"):format(args.user:lower():gsub("[^%w.-]", "-"):gsub("^[^%w]+", ""), crypto.hex(crypto.random(4))) },
    spec = { request = crypto.base64(csr), signerName = "kubernetes.io/kube-apiserver-client",
      expirationSeconds = math.floor(hours_of(args) * 3600), usages = json.array { "client auth" } } }
end

local function approve(client, request)
  request.status = request.status or {}
  request.status.conditions = json.array { { type = "Approved", status = "True", reason = "VmrunKubeconfig",
    message = "asked for with vmrun kubeconfig" } }
  client:request("PUT", client:path_of(request) .. "/approval", request)
end

local function signed(client, request)
  return client:wait(request, function(now)
    for _, condition in ipairs(now and now.status and now.status.conditions or {}) do
      if condition.type == "Denied" or condition.type == "Failed" then
        error(fail { ("the cluster does not sign it: %s"):format(condition.message or condition.type), code = "kubeconfig" })
      end
    end
    return now and now.status and now.status.certificate
  end, WAIT_FOR_SIGNER, "to be signed")
end

-- { client-certificate-data, client-key-data }: the private key is made here and leaves only into the kubeconfig.
local function certificate(client, args)
  local key = crypto.ec_key()
  local request = client:create(request_of(args, key))
  local asked = { apiVersion = CSR[1], kind = CSR[2], metadata = { name = request.metadata.name } }
  local gone <close> = setmetatable({}, { __close = function() pcall(client.delete, client, asked) end })
  approve(client, request)
  return { ["client-certificate-data"] = signed(client, asked), ["client-key-data"] = crypto.base64(key) }
end

-- The file.

local function named(list, name)
  for _, entry in ipairs(type(list) == "table" and list or {}) do if entry.name == name then return entry end end
end

-- What is used of the credentials that the control plane has.
local function parts_of(config)
  local context = named(config.contexts, config["current-context"])
  local cluster = context and named(config.clusters, context.context.cluster)
  local user = context and named(config.users, context.context.user)
  if not cluster or not user then error(fail { "the control plane's admin.conf has no usable context", code = "kubeconfig" }) end
  return cluster.cluster, user.user
end

local function build(call, row)
  local args, cluster = call.args, cluster_of(call, row)
  local ctx = { target = call.session.target }
  local config = cluster.kubeconfig and fail.check(yaml.decode(cluster.kubeconfig))
    or require("kubeadm.credentials").admin(ctx, cluster)
  local api, user = parts_of(config)
  local entry = { server = api.server, ["certificate-authority-data"] = api["certificate-authority-data"],
    ["tls-server-name"] = api["tls-server-name"] }
  if not cluster.kubeconfig then entry.server, entry["tls-server-name"] = server_of(call, cluster) end
  if args.user then user = certificate(connect.client(ctx, cluster), args) end
  local name = call.session.stack
  local who = name .. "-" .. (args.user or "admin")
  return { apiVersion = "v1", kind = "Config", preferences = {},
    clusters = json.array { { name = name, cluster = entry } }, users = json.array { { name = who, user = user } },
    contexts = json.array { { name = args.user and who or name, context = { cluster = name, user = who } } },
    ["current-context"] = args.user and who or name }
end

local function write(path, config)
  fail.check(fs.write(path, yaml.encode(config), { mode = 384, atomic = true })) -- 0600
  fail.check(fs.chmod(path, 384))
end

-- Entries of ours take the place of those with their names; all others stay.
local function merge(config)
  local home = process.env("HOME") or ""
  local path = (process.env("KUBECONFIG") or ""):match("^[^:]+") or home .. "/.kube/config"
  local text = fs.read(path)
  local all = text and fail.check(yaml.decode(text)) or {}
  if type(all) ~= "table" then error(fail { path .. " is no kubeconfig", code = "kubeconfig" }) end
  for _, list in ipairs { "clusters", "users", "contexts" } do
    local entry, kept = config[list][1], {}
    for _, old in ipairs(type(all[list]) == "table" and all[list] or {}) do
      if old.name ~= entry.name then kept[#kept + 1] = old end
    end
    kept[#kept + 1] = entry
    all[list] = json.array(kept)
  end
  all.apiVersion, all.kind, all["current-context"] = "v1", "Config", config["current-context"]
  fail.check(fs.mkdir(path:match("^(.*)/") or ".", 448)) -- 0700
  write(path, all)
  return path, config["current-context"]
end

function M.run(call)
  local args = call.args
  if args.merge and args.out then error(fail { "--merge and --out exclude each other", code = "usage" }) end
  if not args.user and (#args.groups > 0 or args.hours) then
    error(fail { "--group and --hours are for the certificate of a --user", code = "usage" })
  end
  local config = build(call, source(call))
  if args.out == "-" then return { text = yaml.encode(config) } end
  if args.merge then
    local path, context = merge(config)
    io.stderr:write(("kubectl --context %s get nodes\n"):format(context))
    return { text = path }
  end
  local path = args.out or call.session.folder .. "/kubeconfig" .. (args.user and "-" .. args.user:gsub("[^%w@._-]", "_") or "")
  write(path, config)
  io.stderr:write(("kubectl --kubeconfig %s get nodes\n"):format(require("host.shell").quote(path)))
  return { text = path }
end

return M
