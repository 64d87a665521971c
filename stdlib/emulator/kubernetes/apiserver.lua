--- One kube-apiserver: listens on its machine's address with the files that its manifest names.
local fs = require "fs"
local server = require "server"
local task = require "task"
local yaml = require "yaml"
local api = require "emulator.kubernetes.api"
local Encryption = require "emulator.kubernetes.encryption"

local ApiServer = {}
ApiServer.__index = ApiServer

-- Real seconds: in which a load balancer here finds out by its probes, and in which answers are finished.
local PROBED, GRACE = 0.5, 5

local function go_date(version)
  local minor = tonumber(version:match("^v1%.(%d+)")) or 30
  return ("20%02d-0%d-15T12:00:00Z"):format(18 + (minor - 10) // 3, minor % 3 * 3 + 1)
end

--- The path on the machine that a container's path stands for, by the volumes of its pod; nil when it is not mounted.
local function mounted(pod, path)
  local best, where
  for _, m in ipairs(pod.spec.containers[1].volumeMounts or {}) do
    if (path == m.mountPath or path:sub(1, #m.mountPath + 1) == m.mountPath .. "/") and #m.mountPath > (best or -1) then
      for _, v in ipairs(pod.spec.volumes or {}) do
        if v.name == m.name and v.hostPath then
          best, where = #m.mountPath, v.hostPath.path .. path:sub(#m.mountPath + 1)
        end
      end
    end
  end
  return where
end

local needed = { "tls-cert-file", "tls-private-key-file", "client-ca-file", "service-account-key-file", "service-account-signing-key-file",
  "etcd-certfile", "etcd-keyfile", "etcd-cafile", "encryption-provider-config", "audit-policy-file", "kubelet-client-certificate",
  "kubelet-client-key", "proxy-client-cert-file", "proxy-client-key-file", "requestheader-client-ca-file",
  "authentication-config", "authorization-config" }

--- Reads the files that the flags name. Returns {flag = text}, or nil and the last words of the process.
local function read_files(machine, pod, flags)
  local files = {}
  for _, flag in ipairs(needed) do
    local path = flags[flag]
    if path then
      local where = mounted(pod, path)
      local text = where and fs.read(machine.root .. where)
      if not text then return nil, ("Error: open %s: no such file or directory"):format(path) end
      files[flag] = text
    end
  end
  for _, flag in ipairs { "encryption-provider-config", "audit-policy-file" } do
    local document, why = files[flag] and yaml.decode(files[flag])
    if files[flag] and type(document) ~= "table" then
      return nil, ("Error: loading %s from %s: %s"):format(flag, flags[flag], why or "it is empty")
    end
  end
  return files
end

--- Starts a server for a cluster on a machine. flags: of its manifest; pod: the manifest. Returns it, or nil and why.
function ApiServer.start(cluster, machine, pod, flags, version)
  local files, why = read_files(machine, pod, flags)
  if not files then return nil, why end
  local self = setmetatable({ cluster = cluster, machine = machine, flags = flags, release = version, watches = {} }, ApiServer)
  self.encryption, why = Encryption.read(files["encryption-provider-config"])
  if not self.encryption then return nil, "Error: error while parsing file: " .. why end
  local port = tonumber(flags["secure-port"] or "6443")
  local listener, message = server.listen { host = machine.address, port = port,
    tls = { cert = files["tls-cert-file"], key = files["tls-private-key-file"], client_ca = files["client-ca-file"] },
    handler = api.handler(self) }
  if not listener then return nil, ("Error: failed to create listener: failed to listen on 0.0.0.0:%d: %s"):format(port, message) end
  self.listener, self.port = listener, port
  cluster:configure { service_cidr = flags["service-cluster-ip-range"], issuer = flags["service-account-issuer"],
    service_key = files["service-account-signing-key-file"], ca = cluster.ca or { cert = files["client-ca-file"] } }
  return self
end

--- Why it cannot read an object of etcd: an error as storage gives it, or nil.
function ApiServer:unreadable(key, object)
  local m = object.metadata
  local ok, why = self.encryption:reads(key, self.cluster.store:seal(key, m.namespace, m.name))
  if ok then return nil end
  local group, plural = key:match("^(.*)/(.+)$")
  return ('unable to transform key "/registry/%s%s/%s%s": %s'):format(group ~= "" and group .. "/" or "", plural,
    m.namespace and m.namespace .. "/" or "", m.name, why)
end

--- Have its own watches begun? One of them is of all Secrets.
function ApiServer:synced()
  if not self.has_synced then
    for _, object in ipairs(self.cluster.store:list "/secrets") do
      if self:unreadable("/secrets", object) then return false end
    end
    self.has_synced = true
  end
  return true
end

--- Does it take requests, as /readyz says?
function ApiServer:ready() return not self.draining and self:synced() and (self:healthy()) end

--- Ends as it does when it is told to: not ready any more, it serves on while clients find out.
function ApiServer:shut_down()
  self.draining = true
  local delay = tonumber((self.flags["shutdown-delay-duration"] or "0s"):match("^(%d+)s$")) or 0
  if delay > 0 then task.sleep(math.max(delay / self.cluster.factor, PROBED)) end
  self:stop(GRACE)
end

--- Does it reach enough of etcd?
function ApiServer:healthy()
  if self.closed then return false, "it ends" end
  return self.cluster:quorum()
end

--- What /version answers.
function ApiServer:version()
  local major, minor = self.release:match("^v(%d+)%.(%d+)")
  return { major = major, minor = minor, gitVersion = self.release, gitCommit = ("%040x"):format(0), gitTreeState = "clean",
    buildDate = go_date(self.release), goVersion = "go1.25.0", compiler = "gc", platform = "linux/amd64" }
end

--- Notes an open watch, so that it ends with the server. Returns a value to close when the watch ends by itself.
function ApiServer:watching(queue)
  self.watches[queue] = true
  return setmetatable({}, { __close = function() self.watches[queue] = nil end })
end

--- Stops listening and ends all watches; what is being answered may take some seconds.
function ApiServer:stop(grace)
  if self.closed then return end
  self.closed = true
  for queue in pairs(self.watches) do queue:push(false) end
  local listener = self.listener
  if grace then return listener:close(grace) end
  task.spawn(function() listener:close(0) end)
end

return ApiServer
