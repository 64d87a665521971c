--- sysctl: values of this machine's kernel.
local fs = require "fs"

return function(machine, call)
  local quiet, bare, words, system, files = false, false, {}, false, {}
  local i = 2
  while i <= #call.argv do
    local word = call.argv[i]
    if word == "-n" then bare = true
    elseif word == "-q" then quiet = true
    elseif word == "--system" then system = true
    elseif word == "-p" then
      files[#files + 1] = call.argv[i + 1] or "/etc/sysctl.conf"
      i = i + 1
    elseif word:sub(1, 1) ~= "-" then words[#words + 1] = word
    end
    i = i + 1
  end
  if system then
    for _, name in ipairs(fs.list(machine.root .. "/etc/sysctl.d") or {}) do files[#files + 1] = "/etc/sysctl.d/" .. name end
  end
  for _, file in ipairs(files) do machine:read_sysctls(file) end
  if #files > 0 then machine:changed() end
  local code = 0
  for _, word in ipairs(words) do
    local key, value = word:match("^([^=%s]+)%s*=%s*(.*)$")
    key = key or word
    local now = machine:sysctl(key)
    if now == nil then
      call:err(("sysctl: cannot stat /proc/sys/%s: No such file or directory\n"):format(key:gsub("%.", "/")))
      code = 255
    elseif value then
      machine:set_sysctl(key, value)
      if not quiet then call:out(("%s = %s\n"):format(key, value)) end
    else
      call:out(bare and now .. "\n" or ("%s = %s\n"):format(key, now))
    end
  end
  return code
end
