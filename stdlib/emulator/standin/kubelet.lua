--- `kubelet` called by hand on an emulated machine; the service itself is `emulator/kubernetes/kubelet.lua`.
return function(machine, call)
  if call.argv[2] == "--version" then
    call:out("Kubernetes v" .. (machine:package "kubelet" or "1.30.0"):match("^[%d.]+") .. "\n")
    return 0
  end
  call:err("the emulator runs the kubelet as the service kubelet: systemctl status kubelet\n")
  return 1
end
