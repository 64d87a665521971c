--- Two ways to a lab's server with trouble on them. `faults(lab)`: ends TLS, notes each request, and may answer in the
-- server's place. `wire(lab)`: hands on the bytes, and can break off all connections.
local crypto, http, server, stream, task = require "crypto", require "http", require "server", require "stream", require "task"

local M = {}

local Faults = {}
Faults.__index = Faults

local function forward(self, req)
  local parts = self.lab:parts()
  local headers = { Accept = req.headers.accept, ["Content-Type"] = req.headers["content-type"],
    Authorization = req.headers.authorization,
    ["User-Agent"] = req.headers["user-agent"] }
  local request = { method = req.method, url = parts.server .. req.target, headers = headers, body = req.body ~= ""
    and req.body or nil,
    ca = parts.ca, cert = not headers.Authorization and parts.cert or nil, key = not headers.Authorization and parts.key or nil,
      proxy = "" }
  if not req.query.watch then
    local answer, message = http.request(request)
    if not answer then return { status = 502, body = message } end
    return { status = answer.status, headers = { ["Content-Type"] = answer.headers["content-type"] }, body = answer.body }
  end
  local answer, message = http.open(request)
  if not answer then return { status = 502, body = message } end
  return { status = answer.status, headers = { ["Content-Type"] = answer.headers["content-type"] }, stream = function(w)
    local _ <close> = setmetatable({}, { __close = function() answer:close() end })
    while true do
      local chunk = answer:read(60)
      if not chunk or not w:write(chunk) then return end
    end
  end }
end

--- A proxy with faults: `seen` is a list of { method =, path =, query = }; `answer` (a function of the request and its
-- number) may give an answer instead of the server's. certificate: { cert =, key = } instead of a good one.
function M.faults(lab, certificate)
  local self = setmetatable({ lab = lab, seen = {} }, Faults)
  local tls = certificate or crypto.x509_issue { ca = lab.authority, cn = "proxy", ip = { "127.0.0.1" }, days = 1,
    usage = { "server" } }
  self.listener = assert(server.listen { tls = { cert = tls.cert, key = tls.key, client_ca = lab.authority.cert },
    handler = function(req)
    self.seen[#self.seen + 1] = { method = req.method, path = req.path, query = req.query }
    return self.answer and self.answer(req, #self.seen) or forward(self, req)
  end })
  self.url = ("https://127.0.0.1:%d"):format(self.listener:port())
  return self
end

--- The parts of a client that goes this way.
function Faults:parts(given)
  local parts = self.lab:parts(given)
  parts.server = self.url
  return parts
end

--- How many requests of a method there were whose path has the text.
function Faults:count(method, text)
  local count = 0
  for _, request in ipairs(self.seen) do
    if request.method == method and request.path:find(text or "", 1, true) then count = count + 1 end
  end
  return count
end

function Faults:close() self.listener:close(0) end
Faults.__close = Faults.close

local Wire = {}
Wire.__index = Wire

--- A wire: parts() of a client that goes over it, cut() breaks off all connections.
function M.wire(lab)
  local self = setmetatable({ lab = lab, jobs = {} }, Wire)
  self.listener = assert(stream.listen { host = "127.0.0.1", port = 0 })
  self.task = task.spawn(function()
    while true do
      local near = self.listener:accept()
      if not near then return end
      local job
      job = task.spawn(function()
        local far = stream.connect { host = lab.address, port = 6443 }
        local _ <close> = setmetatable({}, { __close = function()
          near:close()
          if far then far:close() end
          self.jobs[job] = nil
        end })
        if far then stream.pipe(near, far) end
      end)
      self.jobs[job] = near
    end
  end)
  return self
end

function Wire:parts(given)
  local parts = self.lab:parts(given)
  parts.server = ("https://127.0.0.1:%d"):format(self.listener:port())
  return parts
end

--- Breaks off all connections; returns how many there were.
function Wire:cut()
  local jobs = {}
  for job, near in pairs(self.jobs) do jobs[#jobs + 1] = { job = job, near = near } end
  for _, one in ipairs(jobs) do one.job:cancel "cut" end
  for _, one in ipairs(jobs) do
    one.job:join()
    one.near:close()
    self.jobs[one.job] = nil
  end
  return #jobs
end

function Wire:close()
  self.listener:close()
  self.task:join()
  self:cut()
end
Wire.__close = Wire.close

return M
