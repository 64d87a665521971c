--- dpkg: what roles ask of it.
return function(machine, call)
  local word, name = call.argv[2], call.argv[3]
  if word == "--print-architecture" then
    call:out("amd64\n")
    return 0
  elseif (word == "-s" or word == "--status") and name then
    local version = machine:package(name)
    if not version then
      call:err(("dpkg-query: package '%s' is not installed and no information is available\n"):format(name))
      return 1
    end
    call:out(("Package: %s\nStatus: install ok installed\nVersion: %s\n"):format(name, version))
    return 0
  elseif word == "-l" or word == "--list" then
    local names = {}
    for package in pairs(machine.packages) do names[#names + 1] = package end
    table.sort(names)
    for _, package in ipairs(names) do call:out(("ii  %s  %s  amd64\n"):format(package, machine:package(package))) end
    return 0
  elseif word == "--configure" then
    return 0
  end
  call:err("dpkg: error: need an action option\n")
  return 2
end
