--- dpkg-query -W [-f FORMAT] PATTERN...
local function show(format, name, version, held)
  local text = format:gsub("%${(%w+)[^}]*}", function(field)
    return ({ Status = (held and "hold" or "install") .. " ok installed", Version = version, Package = name, Architecture = "amd64",
      ["db:Status"] = "ii" })[field] or ""
  end)
  return (text:gsub("\\n", "\n"):gsub("\\t", "\t"))
end

return function(machine, call)
  local format, names = "${Package}\\t${Version}\\n", {}
  local i = 2
  while i <= #call.argv do
    local word = call.argv[i]
    if word == "-f" then
      i = i + 1
      format = call.argv[i] or ""
    elseif word:find("^%-f") or word:find("^%-%-showformat=") then
      format = word:match("^%-f=?(.*)$") or word:match("=(.*)$")
    elseif word:sub(1, 1) ~= "-" then
      names[#names + 1] = word
    end
    i = i + 1
  end
  local code = 0
  if #names == 0 then
    for name in pairs(machine.packages) do names[#names + 1] = name end
    table.sort(names)
  end
  for _, name in ipairs(names) do
    local version = machine:package(name)
    if version then
      call:out(show(format, name, version, machine.held[name]))
    else
      call:err(("dpkg-query: no packages found matching %s\n"):format(name))
      code = 1
    end
  end
  return code
end
