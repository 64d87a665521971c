--- Where a connection really goes. On Azure: where it says. On the emulator, addresses of the virtual networks and public ones
-- are translated to loopback by the emulator, which also says what Azure would not let through.
local dial = {}

local known = {}

local function endpoint_of(dir)
  if not known[dir] then known[dir] = require("emulator.endpoint").read(dir) end
  return known[dir]
end

local function escape(text)
  return (tostring(text):gsub("[^%w._~-]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- The "addr:port" that a connection to host:port must be made to, or nil when nothing is translated; nil, message, code when
-- it cannot get there. `via`: the host (a table with `address`) that the connection is made from.
function dial.resolve(target, host, port, via)
  if not target or target.kind ~= "emulator" or host:find("^127%.") then return nil end
  local endpoint = endpoint_of(target.emulator_dir)
  if not endpoint then return nil, "the emulator does not answer", "unreachable" end
  local path = ("dial?host=%s&port=%d"):format(escape(host), port)
  if via then path = path .. "&via=" .. escape(via.address) end
  local answer, status = require("emulator.endpoint").ask(endpoint, "GET", path)
  if not answer then
    known[target.emulator_dir] = nil
    return nil, "the emulator does not answer: " .. tostring(status), "unreachable"
  end
  if status ~= 200 then
    local why = type(answer.error) == "table" and answer.error.message or "no way there"
    return nil, ("connection timed out (%s)"):format(why), "unreachable"
  end
  return ("%s:%d"):format(answer.host, answer.port)
end

return dial
