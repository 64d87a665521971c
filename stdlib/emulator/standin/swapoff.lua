--- swapoff -a | DEVICE...
return function(machine, call)
  local keep, gone = {}, {}
  for i = 2, #call.argv do gone[call.argv[i]] = true end
  for _, device in ipairs(machine:swaps()) do
    if not gone["-a"] and not gone["--all"] and not gone[device] then keep[#keep + 1] = device end
  end
  machine.swaps_on = keep
  machine:changed()
  return 0
end
