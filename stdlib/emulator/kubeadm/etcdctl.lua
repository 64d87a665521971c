--- etcdctl inside of an etcd container of an emulated machine: members, their health, snapshots, what is stored of core kinds.
local crypto = require "crypto"
local fs = require "fs"
local json = require "json"

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
  local lines = {}
  for _, kind in ipairs(cluster.store:kinds()) do
    for _, object in ipairs(cluster.store:list(kind)) do lines[#lines + 1] = json.encode(object) end
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

--- Runs `etcdctl ARGS` in a machine's etcd; entry: what runs of it, data: its data folder. Returns the exit code.
function etcdctl.run(machine, call, args, entry, data)
  local flags, words = {}, {}
  for _, arg in ipairs(args) do
    local name, value = arg:match("^%-%-([%w-]+)=?(.*)$")
    if name then flags[name] = value else words[#words + 1] = arg end
  end
  for _, flag in ipairs { "cacert", "cert", "key" } do
    local path = flags[flag] or ""
    if path:sub(1, 25) ~= "/etc/kubernetes/pki/etcd/" or not fs.read(machine.root .. path) then
      call:err(("Error: open %s: no such file or directory\n"):format(path))
      return 1
    end
  end
  local verb = verbs[(words[1] or "") .. " " .. (words[2] or "")] or verbs[words[1] or ""]
  if not verb then
    call:err(("Error: unknown command %q for \"etcdctl\"\n"):format(words[1] or ""))
    return 128
  end
  local own
  for name, m in pairs(entry.cluster.members) do if m.machine == machine.id then own = name end end
  return verb(call, entry.cluster, words, flags, own, machine, data)
end

return etcdctl
