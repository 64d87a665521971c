--- The emulator's Kubernetes API as a lab with the methods of api_server.lua: an API server with controllers and a scheduler
-- in this process, on a loopback address of its own.
local crypto, fs, process, task = require "crypto", require "fs", require "process", require "task"
local ApiServer = require "emulator.kubernetes.apiserver"
local Cluster = require "emulator.kubernetes.cluster"
local Manager = require "emulator.kubernetes.controllers.manager"
local credentials = require "credentials"

local Lab = { name = "emulated" }
for name, method in pairs(credentials) do Lab[name] = method end
Lab.__index = Lab

local VERSION, FACTOR = "v1.36.1", 600
local COMPONENTS = { "kube-controller-manager", "kube-scheduler" }

local function memory()
  local rows = {}
  return { put = function(_, key, value) rows[key] = value end, delete = function(_, key) rows[key] = nil end,
    each = function() return next, rows end }
end

local started = 0

--- Starts one. options.controllers is taken as true.
function Lab.start()
  started = started + 1
  local self = setmetatable({ rows = memory(), dir = assert(fs.mktemp "vmrun-lab-") }, Lab)
  self.address = ("127.%d.%d.%d"):format(160 + process.pid() % 40, process.pid() // 40 % 250, started)
  self.url = ("https://%s:6443"):format(self.address)
  self.authority = crypto.x509_ca { cn = "lab", days = 1 }
  local tls = crypto.x509_issue { ca = self.authority, cn = "kube-apiserver", dns = { "localhost", "kubernetes" },
    ip = { self.address, "127.0.0.1" },
    days = 1, usage = { "server" } }
  for name, text in pairs { ["ca.crt"] = self.authority.cert, ["tls.crt"] = tls.cert, ["tls.key"] = tls.key,
    ["sa.key"] = crypto.rsa_key(2048) } do
    assert(fs.write(self.dir .. "/" .. name, text, { mode = tonumber("600", 8) }))
  end
  self:start_api()
  return self
end

--- Starts the API server with what its store has.
function Lab:start_api()
  self.cluster = Cluster.open { table = self.rows, factor = FACTOR, sleep = function(s) task.sleep(s / FACTOR) end,
    record = self.record,
    save = function(record) self.record = record end }
  Manager.start(self.cluster)
  self.cluster:add_member { name = "etcd", peer = "https://127.0.0.1:2380", machine = "api" }
  self.cluster:member_alive("etcd", true)
  local pod = { spec = { containers = { { volumeMounts = { { name = "keys", mountPath = "/keys" } } } },
    volumes = { { name = "keys", hostPath = { path = "" } } } } }
  self.server = assert(ApiServer.start(self.cluster, { root = self.dir, hostname = "api", address = self.address }, pod, {
    ["tls-cert-file"] = "/keys/tls.crt", ["tls-private-key-file"] = "/keys/tls.key", ["client-ca-file"] = "/keys/ca.crt",
    ["service-account-key-file"] = "/keys/sa.key", ["service-account-signing-key-file"] = "/keys/sa.key",
    ["service-cluster-ip-range"] = "10.96.0.0/16" }, VERSION))
  self.cluster:configure { ca = self.authority }
  self.cluster:server_started(self.server, self.address)
  for _, name in ipairs(COMPONENTS) do self.cluster:component_started(name, "api") end
end

--- Stops the API server and what runs by it.
function Lab:stop_api()
  if not self.server then return end
  self.server:stop()
  self.cluster:close()
  self.server = nil
  task.sleep(0.05) -- its connections end in a task of theirs
end

--- Ends the API server and starts it again.
function Lab:restart()
  self:stop_api()
  self:start_api()
end

--- Makes the store forget all revisions before the newest.
function Lab:compact() self.cluster.store:compact() end

--- The version that the server says of itself.
function Lab:version() return VERSION end

--- Ends all of it and removes its folder.
function Lab:close()
  self:stop_api()
  fs.remove(self.dir, { recursive = true })
end
Lab.__close = Lab.close

return Lab
