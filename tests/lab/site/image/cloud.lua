-- Azure's cloud provider and its CSI driver, as far as the lab needs them: `cloud.lua node` sets its own Node up by what the machine's
-- metadata service says, `cloud.lua controller` proves that azure.json leads to a token, `cloud.lua probe` answers for the driver's
-- socket, and the rest of the driver only stays.
package.path = "/srv/?.lua;" .. package.path
local cluster = require "cluster"
local crypto, fs, http, json, server, task = require "crypto", require "fs", require "http", require "json", require "server", require "task"

local METADATA = "http://169.254.169.254/metadata/"
local TAINT = "node.cloudprovider.kubernetes.io/uninitialized"
local say = cluster.say

local function option(name)
  for _, word in ipairs(arg) do
    local found = word:match("^%-%-" .. name:gsub("%-", "%%-") .. "=(.*)$")
    if found then return found end
  end
end

-- What the metadata service answers; nil and why.
local function metadata(path)
  local answer, why = http.request { method = "GET", url = METADATA .. path, headers = { Metadata = "true" }, timeout = 10, proxy = "" }
  if not answer then return nil, why end
  if answer.status ~= 200 then return nil, ("%s: HTTP %d"):format(path, answer.status) end
  return json.decode(answer.body)
end

local function addresses_of(told, name)
  local outside = metadata "loadbalancer?api-version=2020-10-01&format=json"
  local list = json.array { { type = "Hostname", address = name } }
  for _, address in ipairs(told.network.interface[1].ipv4.ipAddress) do
    list[#list + 1] = { type = "InternalIP", address = address.privateIpAddress }
    for _, pair in ipairs(outside and outside.loadbalancer.publicIpAddresses or {}) do
      if pair.privateIpAddress == address.privateIpAddress then list[#list + 1] = { type = "ExternalIP", address = pair.frontendIpAddress } end
    end
  end
  return list
end

local function set_up(api, node)
  local told = assert(metadata "instance?api-version=2021-10-01&format=json")
  local compute, taints = told.compute, json.array {}
  for _, taint in ipairs(node.spec.taints or {}) do
    if taint.key ~= TAINT then taints[#taints + 1] = taint end
  end
  local handle = { apiVersion = "v1", kind = "Node", metadata = { name = node.metadata.name } }
  local zone = compute.zone ~= "" and compute.location .. "-" .. compute.zone or compute.platformFaultDomain
  api:merge(handle, { metadata = { labels = { ["node.kubernetes.io/instance-type"] = compute.vmSize,
    ["topology.kubernetes.io/region"] = compute.location, ["topology.kubernetes.io/zone"] = zone } },
    spec = { providerID = "azure://" .. compute.resourceId, taints = taints } })
  api:merge(handle, { status = { addresses = addresses_of(told, node.metadata.name) } }, { subresource = "status" })
  say("set up node %s", node.metadata.name)
end

local programs = {}

function programs.node()
  local api, name = cluster.client(), require("process").env "NODE_NAME"
  while true do
    local ok, why = pcall(function()
      local node = assert(api:get("v1", "Node", nil, name), "our Node is not there")
      for _, taint in ipairs(node.spec.taints or {}) do
        if taint.key == TAINT then set_up(api, node) end
      end
    end)
    if not ok then say("%s", type(why) == "table" and (why.message or why[1]) or tostring(why)) end
    task.sleep(2)
  end
end

-- Health over TLS on loopback, as the real one has it.
local function serve_health(port)
  local ca = assert(crypto.x509_ca { cn = "lab", days = 30 })
  local leaf = assert(crypto.x509_issue { ca = ca, cn = "localhost", dns = { "localhost" }, ip = { "127.0.0.1" }, days = 30, usage = { "server" } })
  return assert(server.listen { host = "127.0.0.1", port = port, tls = leaf, handler = function() return { status = 200, body = "ok" } end })
end

function programs.controller()
  local config = assert(json.decode(assert(fs.read(option "cloud-config"))))
  local token = assert(metadata(("identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/&client_id=%s"):format(
    config.userAssignedIdentityID)))
  say("a token for %s in %s/%s", token.client_id, config.subscriptionId, config.resourceGroup)
  local held = serve_health(tonumber(option "secure-port"))
  cluster.stay()
  held:close()
end

function programs.probe()
  local port = tonumber(option "health-port" or option("http-endpoint"):match("%d+$"))
  local held = assert(server.listen { host = "127.0.0.1", port = port, handler = function() return { status = 200, body = "ok" } end })
  cluster.stay()
  held:close()
end

function programs.stay() cluster.stay() end

programs[arg[1]]()
