--- wget.
local fetch, parse = require "emulator.machines.fetch", require "emulator.machines.options"

local LONG = { ["output-document"] = "value", quiet = true, ["no-verbose"] = true, timeout = "value", tries = "value", header = "value",
  ["show-progress"] = true, ["https-only"] = true, version = true }

return function(machine, call)
  local o, words, unknown = parse(call.argv, "qO:T:t:nvcV", LONG)
  local url = words[1]
  if unknown then
    call:err(("wget: unrecognized option '%s'\nTry `wget --help' for more options.\n"):format(unknown))
    return 2
  elseif o.V or o.version then
    call:out("GNU Wget 1.21.3 built on linux-gnu.\n")
    return 0
  elseif not url then
    call:err("wget: missing URL\n")
    return 1
  end
  local content, why, code = fetch.get(machine, url)
  if not content then
    if not (o.q or o.quiet) then call:err(why .. "\n") end
    return code == 22 and 8 or 4
  end
  return fetch.deliver(machine, call, content, o.O or o["output-document"] or url:match("([^/?]+)[^/]*$"))
end
