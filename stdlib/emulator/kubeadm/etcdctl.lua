--- etcdctl and etcdutl inside of an etcd container of an emulated machine, or of its image: members, their health, snapshots, what is
-- stored of core kinds.
local crypto = require "crypto"
local fs = require "fs"
local json = require "json"
local world = require "emulator.world"

local etcdctl = {}

local function sorted(members)
  local list = {}
  for _, member in pairs(members) do list[#list + 1] = member end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local verbs = {}

verbs["member list"] = function(call, cluster)
  for _, m in ipairs(sorted(cluster.members)) do
    local started = cluster.alive[m.name] or m.client
    call:out(("%s, %s, %s, %s, %s, %s\n"):format(m.id, started and "started" or "unstarted", started and m.name or "", m.peer,
      m.client or m.peer:gsub(":2380$", ":2379"), tostring(m.learner == true)))
  end
  return 0
end

verbs["member remove"] = function(call, cluster, words)
  for name, m in pairs(cluster.members) do
    if m.id == words[3] then
      if not cluster:quorum() then
        call:err("{\"level\":\"warn\",\"msg\":\"retrying of unary invoker failed\"}\nError: etcdserver: re-configuration failed due to not enough started members\n")
        return 1
      end
      cluster:remove_member(name)
      call:out(("Member %s removed from cluster %s\n"):format(m.id, cluster.id:gsub("-", ""):sub(1, 16)))
      return 0
    end
  end
  call:err("Error: etcdserver: member not found\n")
  return 1
end

verbs["endpoint health"] = function(call, cluster, _, flags, own)
  local quorum, failed = cluster:quorum(), false
  for _, m in ipairs(sorted(cluster.members)) do
    if not m.learner and (flags.cluster or m.name == own) then
      local url = m.client or (m.peer:gsub(":2380$", ":2379"))
      if quorum and cluster.alive[m.name] then
        call:out(url .. " is healthy: successfully committed proposal: took = 2.6ms\n")
      else
        call:err(url .. " is unhealthy: failed to commit proposal: context deadline exceeded\n")
        failed = true
      end
    end
  end
  if failed then call:err("Error: unhealthy cluster\n") end
  return failed and 1 or 0
end

local LOCAL = "127.0.0.1:2379"

-- Who leads: the first that lives, unless another was told to; nobody without a majority.
local function leader_of(cluster)
  if not cluster:quorum() then return nil end
  local led = cluster.leader and cluster.members[cluster.leader]
  if led and cluster.alive[led.name] then return led end
  for _, m in ipairs(sorted(cluster.members)) do if cluster.alive[m.name] and not m.learner then return m end end
end

local function decimal(id) return ("%d"):format(tonumber(id, 16)) end

verbs["endpoint status"] = function(call, cluster, _, flags, own)
  local m, leader = own and cluster.members[own], leader_of(cluster)
  if not m or (flags.w or flags["write-out"]) ~= "fields" then
    call:err(m and "Error: the emulator's etcdctl says its status with -w fields\n" or "Error: context deadline exceeded\n")
    return 1
  end
  call:out(('"MemberID" : %s\n"Leader" : %s\n"Endpoint" : "%s"\n'):format(decimal(m.id), leader and decimal(leader.id) or "0",
    flags.endpoints or LOCAL))
  return 0
end

verbs["move-leader"] = function(call, cluster, words, flags, own)
  local leader, at = leader_of(cluster), flags.endpoints or LOCAL
  if not leader or at ~= leader.client and not (at:find(LOCAL, 1, true) and own == leader.name) then
    call:err(("Error: no leader endpoint given at [%s]\n"):format(at))
    return 1
  end
  for name, m in pairs(cluster.members) do
    if m.id == words[2] and cluster.alive[name] and not m.learner then
      cluster.leader = name
      call:out(("Leadership transferred from %s to %s\n"):format(leader.id, m.id))
      return 0
    end
  end
  call:err("Error: etcdserver: bad leader transferee\n")
  return 1
end

-- A snapshot is all objects of the cluster, one a line. The container sees of the disk only what is mounted.
verbs["snapshot save"] = function(call, cluster, words, _, _, machine, data)
  local path = words[3] or ""
  if path:sub(1, #data + 1) ~= data .. "/" then
    call:err(("Error: could not open %s.part (open %s.part: read-only file system)\n"):format(path, path))
    return 1
  end
  local quorum, why = cluster:quorum()
  if not quorum then
    call:err("Error: rpc error: code = Unavailable desc = " .. why .. "\n")
    return 1
  end
  local lines = { json.encode { revision = cluster.store.revision } }
  for _, kind in ipairs(cluster.store:kinds()) do
    for _, object in ipairs(cluster.store:list(kind)) do
      local m = object.metadata
      lines[#lines + 1] = json.encode { key = kind, object = object, seal = cluster.store:seal(kind, m.namespace, m.name) }
    end
  end
  local text = table.concat(lines, "\n") .. "\n"
  assert(fs.write(machine.root .. path, text .. crypto.sha256(text) .. "\n", { mode = tonumber("600", 8) }))
  call:out("Snapshot saved at " .. path .. "\n")
  return 0
end

-- A key and its value: encrypted it begins with who can read it, and nothing can be read of the rest.
verbs.get = function(call, cluster, words, flags)
  local quorum, why = cluster:quorum()
  if not quorum then
    call:err("Error: rpc error: code = Unavailable desc = " .. why .. "\n")
    return 1
  end
  local plural = (words[2] or ""):match("^/registry/([^/]+)/$")
  if not plural or not flags.prefix then
    call:err("Error: the emulator's etcdctl gets all of a kind: --prefix /registry/PLURAL/\n")
    return 1
  end
  for _, object in ipairs(cluster.store:list("/" .. plural)) do
    local m = object.metadata
    local seal, text = cluster.store:seal("/" .. plural, m.namespace, m.name), json.encode(object)
    local prefix = seal:match("^(k8s:enc:%w+:v1:[^:]+:)")
    call:out(("/registry/%s/%s%s\n%s\n"):format(plural, m.namespace and m.namespace .. "/" or "", m.name,
      prefix and prefix .. crypto.unhex(crypto.sha256(seal .. text)) or "k8s\0\n" .. text))
  end
  return 0
end

-- What a snapshot holds: { revision =, objects = { { key =, object =, seal = } } }, its digest and size; nil where it is none.
local function snapshot_at(path)
  local content = fs.read(path) or ""
  local text, sum = content:match("^(.*\n)(%x+)\n$")
  if not text or crypto.sha256(text) ~= sum then return nil end
  local found = { objects = {} }
  for line in text:gmatch("[^\n]+") do
    local entry = json.decode(line)
    if entry.key then found.objects[#found.objects + 1] = entry else found.revision = entry.revision end
  end
  return found, sum, #content
end

verbs["snapshot status"] = function(call, _, words, _, _, machine)
  local found, sum, size = snapshot_at(machine.root .. (words[3] or ""))
  if not found then
    call:err("Error: snapshot file integrity check failed\n")
    return 1
  end
  call:out(json.encode { hash = tonumber(sum:sub(1, 8), 16), revision = found.revision, totalKey = #found.objects, totalSize = size } .. "\n")
  return 0
end

-- The data folder of a cluster that has what a snapshot holds, and one member.
local function restore(call, machine, words, flags, folder)
  local into = flags["data-dir"] or (flags.name or "default") .. ".etcd"
  local found = snapshot_at(folder(words[3] or ""))
  if not found then
    call:err("Error: snapshot file integrity check failed\n")
    return 1
  end
  if fs.stat(folder(into)) then
    call:err(("Error: data-dir %q not empty or could not be read\n"):format(into))
    return 1
  end
  local cluster = world.kubernetes:new_cluster(found.objects, found.revision + (tonumber(flags["bump-revision"]) or 0))
  cluster:add_member { name = flags.name, peer = flags["initial-advertise-peer-urls"], machine = machine.id,
    client = (flags["initial-advertise-peer-urls"] or ""):gsub(":2380$", ":2379") }
  fs.mkdir(folder(into) .. "/member", tonumber("700", 8))
  fs.write(folder(into) .. "/member/cluster.json", json.encode { cluster = cluster.id, member = flags.name }, { mode = tonumber("600", 8) })
  call:out("restored snapshot\n")
  return 0
end

local VALUED = { "data-dir", "name", "initial-cluster", "initial-advertise-peer-urls", "initial-cluster-token", "bump-revision", "w", "write-out" }

local function parse(args)
  local flags, words, valued = {}, {}, {}
  for _, name in ipairs(VALUED) do valued[name] = true end
  local i = 1
  while args[i] do
    local name, value = args[i]:match("^%-%-?([%w-]+)=?(.*)$")
    if not name then
      words[#words + 1] = args[i]
    elseif value == "" and valued[name] then
      i = i + 1
      flags[name] = args[i]
    else
      flags[name] = value
    end
    i = i + 1
  end
  return flags, words
end

-- From 3.6 on only etcdutl works on files.
local function minor_of(image) return tonumber((image or ""):match(":v?3%.(%d+)")) or 6 end

--- Runs a program of an etcd image in a container of its own: `etcdutl ARGS` or `etcdctl ARGS`. folder(path) is where a path inside
-- of the container lies on this system.
function etcdctl.run_image(machine, call, image, program, args, folder)
  local flags, words = parse(args)
  local minor = minor_of(image)
  if program == "etcdutl" and minor < 5 or program ~= "etcdutl" and program ~= "etcdctl" then
    call:err(('ctr: failed to create shim task: exec: "%s": executable file not found in $PATH\n'):format(program))
    return 1
  end
  if words[1] ~= "snapshot" or words[2] ~= "restore" or program == "etcdctl" and minor >= 6 then
    call:err(("Error: unknown command %q for %q\n"):format(table.concat(words, " "), program))
    return 1
  end
  if flags.help then
    call:out("Usage:\n  " .. program .. " snapshot restore <filename> --data-dir {output dir} [options] [flags]\n"
      .. (program == "etcdutl" and "      --bump-revision uint\n      --mark-compacted\n" or ""))
    return 0
  end
  return restore(call, machine, words, flags, folder)
end

--- Runs `etcdutl ARGS` in a machine's etcd, whose image says whether there is one.
function etcdctl.run_utility(machine, call, args, image)
  local flags, words = parse(args)
  if minor_of(image) < 5 then
    call:err('FATA[0000] execing command in container: exec: "etcdutl": executable file not found in $PATH\n')
    return 1
  end
  if words[1] == "version" then
    call:out(("etcdutl version: 3.%d.0\n"):format(minor_of(image)))
    return 0
  end
  if words[1] == "snapshot" and words[2] == "status" then return verbs["snapshot status"](call, nil, words, flags, nil, machine) end
  call:err(("Error: unknown command %q for \"etcdutl\"\n"):format(words[1] or ""))
  return 1
end

--- Runs `etcdctl ARGS` in a machine's etcd; entry: what runs of it, data: its data folder. Returns the exit code.
function etcdctl.run(machine, call, args, entry, data)
  local flags, words = parse(args)
  for _, flag in ipairs { "cacert", "cert", "key" } do
    local path = flags[flag] or ""
    if path:sub(1, 25) ~= "/etc/kubernetes/pki/etcd/" or not fs.read(machine.root .. path) then
      call:err(("Error: open %s: no such file or directory\n"):format(path))
      return 1
    end
  end
  local name = (words[1] or "") .. " " .. (words[2] or "")
  local verb = verbs[name] or verbs[words[1] or ""]
  if not verb or name == "snapshot status" and minor_of(entry.pod.spec.containers[1].image) >= 6 then
    call:err(("Error: unknown command %q for \"etcdctl\"\n"):format(words[1] or ""))
    return 128
  end
  local own
  for name, m in pairs(entry.cluster.members) do if m.machine == machine.id then own = name end end
  return verb(call, entry.cluster, words, flags, own, machine, data)
end

return etcdctl
