--- crictl: whether the runtime answers.
return function(machine, call)
  local unit = machine:service("containerd")
  if not (unit and unit.active) then
    call:err('validate service connection: dial unix /run/containerd/containerd.sock: connect: no such file or directory\n')
    return 1
  end
  if call.argv[2] == "--version" or call.argv[2] == "version" then call:out("crictl version v1.36.0\n") end
  return 0
end
