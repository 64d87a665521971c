--- wget.
local fetch = require "emulator.machines.fetch"

local VALUED = { ["-T"] = true, ["--timeout"] = true, ["-t"] = true }

return function(machine, call)
  local url, path
  local i = 2
  while i <= #call.argv do
    local word = call.argv[i]
    if VALUED[word] then
      i = i + 1
    elseif word == "-O" or word == "-qO" then
      i = i + 1
      path = call.argv[i]
    elseif word == "-qO-" or word == "-O-" then
      path = "-"
    elseif word:sub(1, 1) ~= "-" then
      url = word
    end
    i = i + 1
  end
  if not url then
    call:err("wget: missing URL\n")
    return 1
  end
  local content, why = fetch.get(machine, url)
  if not content then
    call:err(why .. "\n")
    return 4
  end
  return fetch.deliver(machine, call, content, path or url:match("[^/]+$"))
end
