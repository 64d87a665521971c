--- endpoint.json: where an emulator answers and how to log in. Only its owner may read it.
local fs, json, http = require "fs", require "json", require "http"

local endpoint = {}

function endpoint.path(dir) return dir .. "/endpoint.json" end

--- What the file says, or nil.
function endpoint.read(dir)
  local text = fs.read(endpoint.path(dir))
  local value = text and json.decode(text)
  return type(value) == "table" and value or nil
end

function endpoint.write(dir, value)
  return fs.write(endpoint.path(dir), json.encode(value, { indent = 2 }) .. "\n", { mode = 384, atomic = true })
end

function endpoint.remove(dir) fs.remove(endpoint.path(dir)) end

--- Asks one of the emulator's own paths. Returns the decoded answer and its status, or nil, message, code.
function endpoint.ask(value, method, path, body, timeout)
  local answer, why, code = http.request { method = method, url = value.arm .. "/emulator/" .. path, ca = value.ca,
    headers = { Authorization = "Bearer " .. value.token, ["Content-Type"] = body and "application/json" or nil },
    body = body and json.encode(body), timeout = timeout or 30, connect_timeout = 5 }
  if not answer then return nil, why, code end
  return json.decode(answer.body), answer.status
end

--- Whether an emulator answers there, and is the one that the file speaks of.
function endpoint.alive(value)
  local status = endpoint.ask(value, "GET", "status", nil, 5)
  return status ~= nil and status.id == value.id and status or nil
end

return endpoint
