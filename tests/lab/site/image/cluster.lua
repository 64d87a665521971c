--- What the lab's programs in pods share: the API as their service account sees it, and an answer for those who probe.
local client = require "kubernetes.client"
local fs, process, stream, task = require "fs", require "process", require "stream", require "task"

local M = {}

local ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/"
local FOREVER = 1e9

local function parts()
  local host, port = process.env "KUBERNETES_SERVICE_HOST", process.env "KUBERNETES_SERVICE_PORT"
  return { server = ("https://%s:%s"):format(host, port), ca = assert(fs.read(ACCOUNT .. "ca.crt")),
    token = assert(fs.read(ACCOUNT .. "token")), renew = parts }
end

function M.client() return client.new(parts()) end

--- Follows a kind for ever: each(event, object).
function M.follow(api, version, kind, each)
  while true do
    local ok, why = pcall(api.watch, api, version, kind, {}, FOREVER, function(event, object) each(event, object) end)
    if not ok then M.say("watching %s: %s", kind, tostring(why)) end
    task.sleep(1)
  end
end

function M.say(text, ...) io.stderr:write(text:format(...), "\n") end

local function answer(connection, alive)
  connection:read(10)
  connection:write(alive() and "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
    or "HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
  connection:close()
end

--- Answers whoever asks on a port: 200 while alive() says so.
function M.serve(port, alive)
  local listener = assert(stream.listen { host = "0.0.0.0", port = port })
  task.spawn(function()
    while true do
      local connection = listener:accept()
      if connection then task.spawn(pcall, answer, connection, alive) end
    end
  end)
end

--- Runs a command; raises what it said when it failed.
function M.run(argv, stdin)
  local result = assert(process.run { argv = argv, stdin = stdin or "", timeout = 60 })
  if result.code ~= 0 then error(table.concat(argv, " ") .. ": " .. result.stderr, 0) end
  return result.stdout
end

--- Where a program of the image waits for its end.
function M.stay() while true do task.sleep(3600) end end

return M
