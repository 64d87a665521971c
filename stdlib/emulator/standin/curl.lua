--- curl.
local fetch, parse = require "emulator.machines.fetch", require "emulator.machines.options"

local SHORT = "o:OfsSLm:H:X:A:kV4"
local LONG = { output = "value", ["remote-name"] = true, fail = true, silent = true, ["show-error"] = true, location = true, retry = "value",
  ["retry-delay"] = "value", ["retry-connrefused"] = true, ["retry-all-errors"] = true, ["max-time"] = "value",
  ["connect-timeout"] = "value", header = "value", request = "value", ["user-agent"] = "value", insecure = true, proto = "value",
  ["tlsv1.2"] = true, ipv4 = true, compressed = true, version = true }

return function(machine, call)
  local o, words, unknown = parse(call.argv, SHORT, LONG)
  local url = words[1]
  if unknown then
    call:err(("curl: option %s: is unknown\ncurl: try 'curl --help' or 'curl --manual' for more information\n"):format(unknown))
    return 2
  elseif o.V or o.version then
    call:out("curl 7.88.1 (x86_64-pc-linux-gnu)\n")
    return 0
  elseif not url then
    call:err("curl: no URL specified!\ncurl: try 'curl --help' or 'curl --manual' for more information\n")
    return 2
  end
  local content, why, code = fetch.get(machine, url)
  -- Without -f the page that says so is what is fetched.
  if code == 22 and not (o.f or o.fail) then content = "<html><head><title>404 Not Found</title></head></html>\n" end
  if not content then
    if not (o.s or o.silent) or o.S or o["show-error"] then call:err(("curl: (%d) %s\n"):format(code, why)) end
    return code
  end
  return fetch.deliver(machine, call, content, o.o or o.output or ((o.O or o["remote-name"]) and url:match("([^/?]+)[^/]*$")))
end
