--- Addresses of one world: a 127.X.0.0/16 of its own, and the public addresses that ARM shows.
-- 127.X.0.1 is the emulator itself, 127.X.1.0 to 127.X.15.255 are frontends of load balancers, the rest are machines.
local crypto = require "crypto"
local fail = require "fail"
local ip = require "emulator.ip"

local addresses = {}
addresses.__index = addresses

local RANGES = {
  frontend = { first = 1 << 8, last = (16 << 8) - 1 },
  machine = { first = 16 << 8, last = (255 << 8) - 1 },
  public = { first = 0, last = 3 * 254 - 1 },
  prefix = { first = 0, last = 63 },
}
-- Of public prefixes: blocks of 2,048 addresses of 198.18.0.0/15, which is kept for measurements.
local PREFIXES = 198 << 24 | 18 << 16
local PUBLIC = { "203.0.113", "198.51.100", "192.0.2" } -- documentation ranges: nobody on the internet has these

local function shown(self, kind, number)
  if kind == "prefix" then return ip.text(PREFIXES + (number << 11)) end
  if kind == "public" then return ("%s.%d"):format(PUBLIC[number // 254 + 1], number % 254 + 1) end
  return ("%s.%d.%d"):format(self.net, number >> 8, number & 255)
end

--- The address of a key ("machine", id), the same each time. Kinds: "frontend", "machine", "public", "prefix".
function addresses:allocate(kind, key)
  local tab = "address." .. kind
  local number = self.store:get(tab, key)
  if not number then
    local range, taken = RANGES[kind], {}
    for _, other in pairs(self.store:all(tab)) do taken[other] = true end
    for candidate in function(_, at) return at < range.last and at + 1 or nil end, nil, range.first - 1 do
      local last = candidate & 255
      if not taken[candidate] and (kind == "public" or kind == "prefix" or (last ~= 0 and last ~= 255)) then
        number = candidate
        break
      end
    end
    if not number then error(fail { "no " .. kind .. " address is left in this emulator", code = "addresses" }) end
    self.store:put(tab, key, number)
  end
  return shown(self, kind, number)
end

--- The address that a key has, or nil.
function addresses:find(kind, key)
  local number = self.store:get("address." .. kind, key)
  return number and shown(self, kind, number)
end

--- Gives an address back.
function addresses:release(kind, key) self.store:delete("address." .. kind, key) end

--- Claims a network: the remembered one when it is free, else the next one from a start that the folder gives.
-- `take(net)` listens there; false: somebody else is.
local function claim(store, dir, take)
  local remembered = store:get("world", "net")
  local start = remembered or tonumber(crypto.sha256(dir):sub(1, 4), 16) % 250
  for i = 0, 249 do
    local number = (start + i) % 250
    local net = ("127.%d"):format(number + 2)
    if take(net) then
      if remembered ~= number then store:put("world", "net", number) end
      return setmetatable({ net = net, front = net .. ".0.1", store = store }, addresses)
    end
  end
  error(fail { "no 127.X.0.0/16 network is free on this machine", code = "addresses",
    hint = "stop other emulators: vmrun emulator stop" })
end

--- The port of a network's first address on which who has claimed it listens.
return { claim = claim, PORT = 8443 }
