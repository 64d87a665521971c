--- apt-cache policy.
return function(machine, call)
  if call.argv[2] ~= "policy" then
    call:err("E: Invalid operation " .. tostring(call.argv[2]) .. "\n")
    return 100
  end
  for i = 3, #call.argv do
    call:out(("%s:\n  Installed: %s\n"):format(call.argv[i], machine:package(call.argv[i]) or "(none)"))
  end
  return 0
end
