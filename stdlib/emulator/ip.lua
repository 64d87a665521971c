--- IPv4 addresses and ranges as numbers.
local ip = {}

--- The number of an address, or nil.
function ip.number(text)
  local a, b, c, d = tostring(text):match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  if not a then return nil end
  local n = 0
  for _, part in ipairs { a, b, c, d } do
    local octet = tonumber(part)
    if octet > 255 then return nil end
    n = n << 8 | octet
  end
  return n
end

--- The text of a number.
function ip.text(n) return ("%d.%d.%d.%d"):format(n >> 24 & 255, n >> 16 & 255, n >> 8 & 255, n & 255) end

--- First and last number of "10.0.0.0/16" or of one address; nil when it is neither.
function ip.range(text)
  local address, bits = tostring(text):match("^([^/]+)/(%d+)$")
  local n = ip.number(address or text)
  if not n then return nil end
  local length = bits and tonumber(bits) or 32
  if length > 32 then return nil end
  local size = 1 << (32 - length)
  local first = n & ~(size - 1) & 0xffffffff
  return first, first + size - 1, length, n
end

--- Whether a range holds an address (text or number).
function ip.holds(range, address)
  local first, last = ip.range(range)
  local n = type(address) == "number" and address or ip.number(address)
  return first ~= nil and n ~= nil and first <= n and n <= last
end

--- Whether two ranges share an address.
function ip.overlap(a, b)
  local a1, a2 = ip.range(a)
  local b1, b2 = ip.range(b)
  return a1 ~= nil and b1 ~= nil and a1 <= b2 and b1 <= a2
end

--- Whether range a lies inside range b.
function ip.inside(a, b)
  local a1, a2 = ip.range(a)
  local b1, b2 = ip.range(b)
  return a1 ~= nil and b1 ~= nil and b1 <= a1 and a2 <= b2
end

return ip
