--- Seconds that ssh.lua takes for uploads: upload.lua FOLDER FILE TIMES prints a line each; the first host of FOLDER gets FILE.
local folder, path, times = arg[1], arg[2], tonumber(arg[3])
local fs, json, ssh, task = require "fs", require "json", require "ssh", require "task"

local hosts, first = json.decode(fs.read(folder .. "/inventory.json")).all.hosts, nil
for name in pairs(hosts) do first = not (first and first < name) and name or first end
local host = hosts[first]
local keys, at = {}, ("[%s]:%d"):format(host.ansible_host, host.ansible_port)
for known, line in fs.read(folder .. "/known_hosts"):gmatch("(%S+)[ \t]+(%S+[ \t]+%S+)") do
  if known == at or (host.ansible_port == 22 and known == host.ansible_host) then keys[#keys + 1] = line end
end
local data = assert(fs.read(path))
for _ = 1, times do
  local began = task.now()
  local conn <close> = assert(ssh.connect { host = host.ansible_host, port = host.ansible_port, user = host.ansible_user,
    key = fs.read(folder .. "/key"), host_keys = keys })
  assert(conn:upload("/tmp/vmrun-bench", data, "600"))
  print(("%.3f"):format(task.now() - began))
end
