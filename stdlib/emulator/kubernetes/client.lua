--- A client of the API as programs on a machine are: over TLS, through that machine's name resolution and the emulated
-- network. Used by the stand-ins for kubeadm and the kubelet.
local crypto = require "crypto"
local fs = require "fs"
local http = require "http"
local json = require "json"
local task = require "task"
local yaml = require "yaml"
local hosts = require "emulator.kubernetes.hosts"

local Client = {}
Client.__index = Client

--- options: server ("https://name:port"), ca, cert, key, token, insecure, agent, timeout.
function Client.new(world, machine, options)
  local host, port = options.server:match("^https://%[?([^/%]]-)%]?:(%d+)")
  if not host then host, port = options.server:match("^https://([^/:]+)"), "443" end
  return setmetatable({ world = world, machine = machine, host = host, port = tonumber(port), options = options }, Client)
end

local function pem(entry, name, machine)
  local data = entry[name .. "-data"]
  if data then return crypto.unbase64(data) end
  local path = entry[name]
  return path and fs.read(machine.root .. path)
end

--- A client by a kubeconfig file of the machine; nil and why.
function Client.from_kubeconfig(world, machine, path, agent)
  local text, why = fs.read(machine.root .. path)
  if not text then return nil, why end
  local config = yaml.decode(text)
  if type(config) ~= "table" then return nil, path .. " is no kubeconfig" end
  local function named(list, name)
    for _, e in ipairs(list or {}) do
      if e.name == name then return e end
    end
  end
  local context = named(config.contexts, config["current-context"]) or (config.contexts or {})[1]
  local cluster = context and named(config.clusters, context.context.cluster)
  local user = context and named(config.users, context.context.user)
  if not cluster or not user then return nil, path .. ": no current context" end
  return Client.new(world, machine, { server = cluster.cluster.server, ca = pem(cluster.cluster, "certificate-authority", machine),
    cert = pem(user.user, "client-certificate", machine), key = pem(user.user, "client-key", machine), token = user.user.token,
    agent = agent })
end

local function go_words(self, method, path, why, code)
  local url = ("https://%s:%d%s"):format(self.host, self.port, path)
  local verb = method:sub(1, 1) .. method:sub(2):lower()
  return ('%s "%s": %s'):format(verb, url, why), code
end

local PAUSE, PATIENCE = 0.05, 0.35 -- seconds: how kubeadm retries what got no answer
local LOST = { connect = true, refused = true, reset = true }

local function attempt(self, method, path, body, content_type)
  local o = self.options
  local where, why, reason = hosts.dial(self.world, self.machine, self.host, self.port)
  if not where then return nil, go_words(self, method, path, why, reason) end
  local headers = { ["User-Agent"] = o.agent or "kubeadm", Accept = "application/json" }
  if o.token then headers.Authorization = "Bearer " .. o.token end
  if body then headers["Content-Type"] = content_type or "application/json" end
  local answer, message, code = http.request { method = method, url = ("https://%s:%d%s"):format(self.host, self.port, path),
    headers = headers, body = body and json.encode(body), ca = o.ca, cert = o.cert, key = o.key, insecure = o.insecure,
    connect_to = ("%s:%d"):format(where.host, where.port), timeout = o.timeout or 30, connect_timeout = 10, proxy = "" }
  if not answer then
    local words = { connect = ("dial tcp %s:%d: connect: connection refused"):format(self.host, self.port), timeout = "net/http: request canceled",
      reset = "EOF" }
    if code == "tls" then message = "x509: " .. message end
    return nil, go_words(self, method, path, words[code] or message, code)
  end
  return answer.status, json.decode(answer.body) or answer.body
end

--- Sends a request. body: a table or nil. Returns status and the decoded answer; or nil, message (in Go's words), code.
function Client:request(method, path, body, content_type)
  local ends = task.now() + (self.options.agent == "kubeadm" and PATIENCE or 0)
  while true do
    local status, answer, code = attempt(self, method, path, body, content_type)
    if status or not LOST[code] or task.now() > ends then return status, answer, code end
    task.sleep(PAUSE)
  end
end

--- Like `request`, but an answer that is no success is nil, its message, its code (a number).
function Client:call(method, path, body, content_type)
  local code, answer, reason = self:request(method, path, body, content_type)
  if not code then return nil, answer, reason end
  if code >= 300 then return nil, type(answer) == "table" and answer.message or ("the server answered %d"):format(code), code end
  return answer
end

--- Creates an object, or replaces it when it exists.
function Client:put(path, object)
  local answer, message, code = self:call("POST", path, object)
  if code ~= 409 then return answer, message, code end
  local full = path .. "/" .. object.metadata.name
  local old, why, reason = self:call("GET", full)
  if not old then return nil, why, reason end
  object.metadata.resourceVersion = old.metadata.resourceVersion
  if object.kind == "Service" then object.spec.clusterIP = old.spec.clusterIP end
  return self:call("PUT", full, object)
end

return Client
