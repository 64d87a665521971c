--- lsmod.
return function(machine, call)
  call:out("Module                  Size  Used by\n")
  local names = {}
  for name in pairs(machine.modules) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do call:out(("%-20s %8d  0\n"):format(name, 32768)) end
  return 0
end
