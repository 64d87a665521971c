--- cloud-init status: the first boot's work is done before a machine is reachable.
return function(_, call)
  if call.argv[2] == "status" then
    call:out("status: done\n")
    return 0
  end
  call:err("usage: cloud-init [-h] {init,modules,single,query,status}\n")
  return 2
end
