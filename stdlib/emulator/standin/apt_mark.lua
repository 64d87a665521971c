--- apt-mark hold|unhold|showhold.
return function(machine, call)
  local verb = call.argv[2]
  if verb == "showhold" then
    local names = {}
    for name in pairs(machine.held) do
      if not call.argv[3] or call.argv[3] == name then names[#names + 1] = name end
    end
    table.sort(names)
    for _, name in ipairs(names) do call:out(name .. "\n") end
    return 0
  elseif verb == "hold" or verb == "unhold" then
    for i = 3, #call.argv do
      local name = call.argv[i]
      if not machine:package(name) then
        call:err(("E: Unable to locate package %s\nE: No packages found\n"):format(name))
        return 100
      end
      machine.held[name] = verb == "hold" or nil
      call:out(verb == "hold" and name .. " set on hold.\n" or ("Canceled hold on %s.\n"):format(name))
    end
    machine:changed()
    return 0
  end
  call:err(("E: Invalid operation %s\n"):format(tostring(verb)))
  return 100
end
