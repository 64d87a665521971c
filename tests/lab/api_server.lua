--- A real Kubernetes API server for a test run: etcd and kube-apiserver, and the controller manager and scheduler where a
-- test needs them, on a loopback address of their own. What runs ends with this process, however that ends: each child
-- asks the kernel for it (setpriv --pdeathsig).
--
--     local lab <close> = require("api_server").start { controllers = true }
--     lab.url, lab:parts(), lab:kubeconfig()
--     lab:stop_api(); lab:start_api()                  -- the same server again, with what etcd has
local crypto, fs, http, json = require "crypto", require "fs", require "http", require "json"
local process, task = require "process", require "task"
local credentials = require "credentials"

local Lab = { name = "real" }
for name, method in pairs(credentials) do Lab[name] = method end
Lab.__index = Lab

local HERE = arg[0]:match "^(.*)/[^/]*$" or "."
local READY = 120 -- seconds for a server to answer on a busy machine
local NAMES = { "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc" }

local binaries

--- The folder of Kubernetes' programs, built when the cache has them not.
function Lab.binaries()
  if not binaries then
    local built = assert(process.run { argv = { "bash", HERE .. "/build.sh" }, timeout = 3000 })
    binaries = built.code == 0 and built.stdout:match "([^\n]+)\n$"
    if not binaries then error({ message = "the lab's programs cannot be built: " .. built.stderr:sub(-2000) }, 0) end
  end
  return binaries
end

local started = 0

-- 127.X.Y.Z by the process and a counter, so that labs of several processes never meet.
local function address()
  started = started + 1
  local pid = process.pid()
  return ("127.%d.%d.%d"):format(100 + pid // 65536 % 50, pid // 256 % 256, 1 + (pid + started * 37) % 254)
end

local function write(self, name, text)
  local path = self.dir .. "/" .. name
  assert(fs.write(path, text, { mode = tonumber("600", 8) }))
  return path
end

local function certificates(self)
  self.authority = crypto.x509_ca { cn = "lab", days = 1 }
  local server = crypto.x509_issue { ca = self.authority, cn = "kube-apiserver", dns = NAMES, ip = { self.address, "127.0.0.1" },
    days = 1, usage = { "server" } }
  local accounts = crypto.rsa_key(2048)
  local public = assert(process.run { argv = { "openssl", "rsa", "-pubout" }, stdin = accounts, timeout = 30 })
  for name, text in pairs { ["ca.crt"] = self.authority.cert, ["ca.key"] = self.authority.key, ["server.crt"] = server.cert,
    ["server.key"] = server.key, ["sa.key"] = accounts, ["sa.pub"] = public.stdout } do write(self, name, text) end
end

local function spawn(self, name, argv)
  -- The signal comes when the thread dies that started the child: the one that runs the loop, so with this process.
  local guarded = { "setpriv", "--pdeathsig", "KILL", "--", table.unpack(argv) }
  local log = self.dir .. "/" .. name .. ".log"
  local child, why = process.spawn { argv = guarded, stdin = "null", stdout = log, stderr = log }
  if not child then error({ message = ("%s does not start: %s"):format(name, why) }, 0) end
  self.children[name] = child
  return child
end

local function last_words(self, name)
  local text = fs.read(self.dir .. "/" .. name .. ".log") or ""
  return text:sub(-1500)
end

local function wait_for(self, name, url, seconds)
  local ends = task.now() + seconds
  while true do
    local answer = http.request { method = "GET", url = url, ca = self.authority.cert, timeout = 2, proxy = "" }
    if answer and answer.status == 200 then return end
    if not process.alive(self.children[name].pid) or task.now() > ends then
      error({ message = ("%s does not become ready: %s"):format(name, last_words(self, name)) }, 0)
    end
    task.sleep(0.05)
  end
end

local function stop(self, name, signal)
  local child = self.children[name]
  if not child then return end
  self.children[name] = nil
  child:kill(signal or "TERM")
  if not child:wait(10) then child:kill "KILL"; child:wait(10) end
  child:close()
end

local function start_etcd(self)
  local client, peer = ("http://%s:2379"):format(self.address), ("http://%s:2380"):format(self.address)
  spawn(self, "etcd", { "etcd", "--data-dir", self.dir .. "/etcd", "--unsafe-no-fsync", "--log-level", "error", "--logger", "zap",
    "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
    "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" .. peer })
  wait_for(self, "etcd", client .. "/health", READY)
end

--- Starts the API server, and waits until it says that it is ready.
function Lab:start_api()
  local d = self.dir
  spawn(self, "kube-apiserver", { self.bin .. "/kube-apiserver", "--etcd-servers=http://" .. self.address .. ":2379",
    "--bind-address=" .. self.address, "--secure-port=6443", "--advertise-address=" .. self.address,
    "--endpoint-reconciler-type=none", "--cert-dir=" .. d .. "/run", "--tls-cert-file=" .. d .. "/server.crt",
    "--tls-private-key-file=" .. d .. "/server.key", "--client-ca-file=" .. d .. "/ca.crt", "--authorization-mode=Node,RBAC",
    "--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged=true",
    "--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" .. d .. "/sa.pub",
    "--service-account-signing-key-file=" .. d .. "/sa.key", table.unpack(self.flags) })
  wait_for(self, "kube-apiserver", self.url .. "/readyz", READY)
end

--- Stops the API server; signal: TERM (it ends what is under way) unless KILL is wanted.
function Lab:stop_api(signal) stop(self, "kube-apiserver", signal) end

local function start_controllers(self)
  for name, user in pairs { ["kube-controller-manager"] = "system:kube-controller-manager",
    ["kube-scheduler"] = "system:kube-scheduler" } do
    local made = self:certificate(user)
    write(self, name .. ".kubeconfig", self:kubeconfig { ["client-certificate-data"] = crypto.base64(made.cert),
      ["client-key-data"] = crypto.base64(made.key) })
  end
  local d = self.dir
  spawn(self, "kube-controller-manager", { self.bin .. "/kube-controller-manager", "--kubeconfig=" .. d
    .. "/kube-controller-manager.kubeconfig",
    "--bind-address=" .. self.address, "--secure-port=10257", "--port=0", "--cert-dir=" .. d .. "/run", "--leader-elect=false",
    "--use-service-account-credentials=true", "--service-account-private-key-file=" .. d .. "/sa.key", "--root-ca-file=" .. d
      .. "/ca.crt",
    "--cluster-signing-cert-file=" .. d .. "/ca.crt", "--cluster-signing-key-file=" .. d .. "/ca.key",
    "--node-monitor-grace-period=1h" }) -- our nodes have no heart
  spawn(self, "kube-scheduler", { self.bin .. "/kube-scheduler", "--kubeconfig=" .. d .. "/kube-scheduler.kubeconfig",
    "--bind-address=" .. self.address, "--secure-port=10259", "--port=0", "--cert-dir=" .. d .. "/run", "--leader-elect=false" })
end

--- Ends the API server and starts it again.
function Lab:restart()
  self:stop_api "KILL"
  self:start_api()
end

local function etcd(self, path, body)
  local answer = assert(http.request { method = "POST", url = ("http://%s:2379/v3/kv/%s"):format(self.address, path),
    body = json.encode(body),
    proxy = "" })
  assert(answer.status == 200, answer.body)
  return json.decode(answer.body)
end

-- The newest revision.
local function revision(self) return etcd(self, "range", { key = "AA==" }).header.revision end

--- Makes etcd forget all revisions before the newest, as its API server would in five minutes.
function Lab:compact() etcd(self, "compaction", { revision = revision(self), physical = true }) end

--- Waits until a server that was just started has written all that it writes by itself: nothing for a second.
function Lab:settle()
  local last, since = revision(self), task.now()
  while task.now() - since < 1 do
    task.sleep(0.1)
    local now = revision(self)
    if now ~= last then last, since = now, task.now() end
  end
end

--- The version that the server says of itself.
function Lab:version()
  local answer = assert(http.request { method = "GET", url = self.url .. "/version", ca = self.authority.cert, proxy = "" })
  return json.decode(answer.body).gitVersion
end

-- Folders of labs whose process was killed before it could remove them.
local function sweep()
  local tmp = process.env "TMPDIR" or "/tmp"
  for _, name in ipairs(fs.list(tmp) or {}) do
    local pid = name:find "^vmrun%-lab%-" and tonumber((fs.read(tmp .. "/" .. name .. "/pid")))
    if pid and not process.alive(pid) then fs.remove(tmp .. "/" .. name, { recursive = true }) end
  end
end

--- Starts one. options: controllers (controller manager and scheduler too), flags (more of kube-apiserver).
function Lab.start(options)
  options = options or {}
  local self = setmetatable({ bin = Lab.binaries(), address = address(), children = {}, flags = options.flags or {} }, Lab)
  self.url = ("https://%s:6443"):format(self.address)
  sweep()
  self.dir = assert(fs.mktemp "vmrun-lab-")
  write(self, "pid", tostring(process.pid()))
  local ok, why = pcall(function()
    certificates(self)
    start_etcd(self)
    self:start_api()
    if options.controllers then start_controllers(self) end
  end)
  if not ok then
    self:close()
    error(why, 0)
  end
  return self
end

--- Ends all of it and removes its folder.
function Lab:close()
  for _, name in ipairs { "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd" } do stop(self, name, "KILL") end
  fs.remove(self.dir, { recursive = true })
end
Lab.__close = Lab.close

return Lab
