--- crictl: whether the runtime answers, and of the containers those of the static pods: list, stop, run a command in etcd's.
local world = require "emulator.world"
local etcdctl = require "emulator.kubeadm.etcdctl"

local function static_of(machine)
  return world.kubernetes:kubelet(machine).static
end

-- By its whole id or the beginning of it.
local function find(machine, id)
  for name, entry in pairs(static_of(machine).running) do
    if id and #id >= 12 and entry.id:sub(1, #id) == id then return name, entry end
  end
end

local verbs = {}

function verbs.ps(machine, call)
  local quiet, pattern = false, "."
  local i = 3
  while call.argv[i] do
    local word = call.argv[i]
    if word == "-q" or word == "--quiet" then
      quiet = true
    elseif word == "--name" then
      i = i + 1
      pattern = call.argv[i] or pattern
    elseif word ~= "--state" then
      call:err(("flag provided but not defined: %s\n"):format(word))
      return 1
    else
      i = i + 1
    end
    i = i + 1
  end
  local names = {}
  for name in pairs(static_of(machine).running) do if name:find((pattern:gsub("%-", "%%-"))) then names[#names + 1] = name end end
  table.sort(names)
  if not quiet then call:out("CONTAINER           STATE               NAME\n") end
  for _, name in ipairs(names) do
    local id = static_of(machine).running[name].id
    call:out(quiet and id .. "\n" or ("%-20s%-20s%s\n"):format(id:sub(1, 13), "Running", name))
  end
  return 0
end

-- The kubelet starts a static pod's container again.
function verbs.stop(machine, call)
  local code, first = 0, 3
  while call.argv[first] == "--timeout" or call.argv[first] == "-t" do first = first + 2 end
  for i = first, #call.argv do
    local name = find(machine, call.argv[i])
    if name then
      static_of(machine):end_one(name)
      call:out(call.argv[i] .. "\n")
    else
      call:err(('E stopping the container %q: rpc error: code = NotFound desc = an error occurred when try to find container\n')
        :format(call.argv[i]))
      code = 1
    end
  end
  machine:changed()
  return code
end

function verbs.exec(machine, call)
  local name, entry = find(machine, call.argv[3])
  if not name then
    call:err(("FATA[0000] execing command in container: container %q not found\n"):format(tostring(call.argv[3])))
    return 1
  end
  local program = name == "etcd" and call.argv[4]
  if program ~= "etcdctl" and program ~= "etcdutl" then
    call:err(("FATA[0000] execing command in container: exec: %q: executable file not found in $PATH\n"):format(tostring(call.argv[4])))
    return 1
  end
  local data = "/var/lib/etcd"
  for _, word in ipairs(entry.pod.spec.containers[1].command or {}) do data = word:match("^%-%-data%-dir=(.+)$") or data end
  local args = table.move(call.argv, 5, #call.argv, 1, {})
  if program == "etcdutl" then return etcdctl.run_utility(machine, call, args, entry.pod.spec.containers[1].image) end
  return etcdctl.run(machine, call, args, entry, data)
end

return function(machine, call)
  local unit = machine:service("containerd")
  if not (unit and unit.active) then
    call:err('validate service connection: dial unix /run/containerd/containerd.sock: connect: no such file or directory\n')
    return 1
  end
  local verb = verbs[call.argv[2]]
  if verb then return verb(machine, call) end
  if call.argv[2] == "--version" or call.argv[2] == "version" then call:out("crictl version v1.36.0\n") end
  return 0
end
