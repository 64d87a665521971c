--- ctr: of what it can do, a program of etcd's image that is run in a container of its own.
local etcdctl = require "emulator.kubeadm.etcdctl"

-- What is mounted into the container: { { source, destination } }.
local function folder_of(machine, mounts)
  return function(path)
    for _, mount in ipairs(mounts) do
      local from, to = mount[1], mount[2]
      if path == to or path:sub(1, #to + 1) == to .. "/" then return machine.root .. from .. path:sub(#to + 1) end
    end
    return machine.root .. "/nonexistent" .. path
  end
end

return function(machine, call)
  local argv, i, mounts = call.argv, 2, {}
  if argv[i] == "-n" then i = i + 2 end
  if argv[i] ~= "run" then return 0 end
  i = i + 1
  while argv[i] and argv[i]:find("^%-") do
    if argv[i] == "--mount" then
      mounts[#mounts + 1] = { argv[i + 1]:match("src=([^,]+)"), argv[i + 1]:match("dst=([^,]+)") }
      i = i + 2
    else
      i = i + (argv[i] == "--rm" and 1 or 2)
    end
  end
  local image = argv[i] or ""
  if not image:find("/etcd:", 1, true) then
    call:err(("ctr: image %q: not found\n"):format(image))
    return 1
  end
  return etcdctl.run_image(machine, call, image, argv[i + 2] or "", table.move(argv, i + 3, #argv, 1, {}), folder_of(machine, mounts))
end
