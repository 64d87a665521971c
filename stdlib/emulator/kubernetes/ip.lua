--- IPv4 addresses as numbers.
local ip = {}

--- The number of an address, or nil.
function ip.number(text)
  local a, b, c, d = tostring(text):match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  a, b, c, d = tonumber(a), tonumber(b), tonumber(c), tonumber(d)
  if not a or a > 255 or b > 255 or c > 255 or d > 255 then return nil end
  return a << 24 | b << 16 | c << 8 | d
end

--- The text of a number.
function ip.text(n)
  return ("%d.%d.%d.%d"):format(n >> 24 & 255, n >> 16 & 255, n >> 8 & 255, n & 255)
end

--- First address (number) and length of a range such as "10.96.0.0/12", or nil.
function ip.range(cidr)
  local base, bits = tostring(cidr):match("^([%d.]+)/(%d+)$")
  local n = base and ip.number(base)
  bits = tonumber(bits)
  if not n or bits > 32 then return nil end
  return n & ~((1 << (32 - bits)) - 1), bits
end

--- How many addresses a range has.
function ip.size(cidr)
  local _, bits = ip.range(cidr)
  return 1 << (32 - bits)
end

--- The address at a place in the range, counted from 0.
function ip.nth(cidr, i)
  return ip.text((ip.range(cidr)) + i)
end

--- Is the address inside the range?
function ip.within(address, cidr)
  local n = ip.number(address)
  local base = ip.range(cidr)
  return n ~= nil and base ~= nil and n >= base and n < base + ip.size(cidr)
end

--- The i-th part (from 0) of the given size in a range: ip.part("10.244.0.0/16", 24, 1) is "10.244.1.0/24"; nil when full.
function ip.part(cidr, bits, i)
  local base = ip.range(cidr)
  local step = 1 << (32 - bits)
  if (i + 1) * step > ip.size(cidr) then return nil end
  return ip.text(base + i * step) .. "/" .. bits
end

return ip
