--- containerd called by hand; the service is a unit.
return function(machine, call)
  local version = (machine:package("containerd.io") or machine:package("containerd") or "1.7"):match("^[%d.]+")
  if call.argv[2] == "--version" or call.argv[2] == "-v" then
    call:out(("containerd github.com/containerd/containerd v%s\n"):format(version))
    return 0
  elseif call.argv[2] == "config" and call.argv[3] == "default" then
    call:out("version = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\n  SystemdCgroup = false\n")
    return 0
  end
  call:err("containerd: the emulator runs it as the service containerd\n")
  return 1
end
