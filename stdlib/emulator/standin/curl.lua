--- curl.
local fetch = require "emulator.machines.fetch"

local VALUED = { ["--retry"] = true, ["--max-time"] = true, ["-m"] = true, ["--connect-timeout"] = true, ["-H"] = true, ["-A"] = true }

return function(machine, call)
  local url, path
  local i = 2
  while i <= #call.argv do
    local word = call.argv[i]
    if VALUED[word] then
      i = i + 1
    elseif word == "-o" or word == "--output" then
      i = i + 1
      path = call.argv[i]
    elseif word == "--" then
      url = call.argv[i + 1]
      break
    elseif word:sub(1, 1) ~= "-" then
      url = word
    end
    i = i + 1
  end
  if not url then
    call:err("curl: try 'curl --help' or 'curl --manual' for more information\n")
    return 2
  end
  local content, why, code = fetch.get(machine, url)
  if not content then
    call:err(("curl: (%d) %s\n"):format(code, why))
    return code
  end
  return fetch.deliver(machine, call, content, path)
end
