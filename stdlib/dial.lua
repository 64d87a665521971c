--- Where an address of a target answers for programs of this machine. On Azure that is the address itself; the emulator keeps
-- its machines on loopback addresses and lets in only whom its security groups and balancers would.
local fs, http, json = require "fs", require "http", require "json"

local M = {}

local function is_local(host) return host == "localhost" or host == "::1" or host:find("^127%.%d+%.%d+%.%d+$") ~= nil end

local function escape(text)
  return (tostring(text):gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function endpoint_of(target)
  local text = target.emulator_dir and fs.read(target.emulator_dir .. "/endpoint.json")
  local value = text and json.decode(text)
  return type(value) == "table" and value or nil
end

--- "addr:port" where a connection goes; nil when it is the address itself; nil, message, code ("unreachable") when nothing
-- lets us through. `via` is the jump host that connects ({address=}), or nil: we do.
function M.resolve(target, host, port, via)
  if type(target) ~= "table" or target.kind ~= "emulator" or is_local(host) then return nil end
  local endpoint = endpoint_of(target)
  if not endpoint then return nil, "the emulator does not run; start it: vmrun emulator start", "unreachable" end
  local query = ("host=%s&port=%d"):format(escape(host), port) .. (via and "&via=" .. escape(via.address) or "")
  local answer, message = http.request { url = endpoint.arm .. "/emulator/dial?" .. query, ca = endpoint.ca, timeout = 30,
    connect_timeout = 5, proxy = "", headers = { Authorization = "Bearer " .. tostring(endpoint.token) } }
  if not answer then return nil, "the emulator does not answer: " .. message, "unreachable" end
  local told = json.decode(answer.body)
  if answer.status == 200 and type(told) == "table" and told.host then return ("%s:%d"):format(told.host, told.port) end
  local why = type(told) == "table" and type(told.error) == "table" and told.error.message or ("HTTP %d"):format(answer.status)
  return nil, why == "timeout" and "the connection timed out" or why == "refused" and "the connection was refused" or why,
    "unreachable"
end

return M
