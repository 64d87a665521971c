--- A fleet for the benchmark: fleet.lua FOLDER N. Each host is a root in namespaces of its own, on a loopback address of its
-- own, behind a real sshd (tests/lua/machine.lua). FOLDER gets `inventory.json` (Ansible's, as JSON), `known_hosts`, `key`, and
-- `ready` once all are up, with the id of the process whose children the hosts are. The fleet ends with this process.
local folder, count = arg[1], math.tointeger(tonumber(arg[2]))
local crypto, fs, json, process, task = require "crypto", require "fs", require "json", require "process", require "task"
local machine = dofile(arg[0]:match("^(.*)/[^/]*$") .. "/../../lua/machine.lua")

local made = 0
-- What a test gives to machine.lua: a fleet ends as a whole, with its process and its folder.
local words = {
  tmp = function()
    made = made + 1
    local path = ("%s/hosts/%d"):format(folder, made)
    assert(fs.mkdir(path, 493))
    return path
  end,
  after = function() end,
  skip = function(reason) error(reason, 0) end,
}

-- What dpkg knows on a host: the essential packages of this machine.
local function essential()
  local list = {}
  for package in ((fs.read("/var/lib/dpkg/status") or "") .. "\n"):gmatch("(.-)\n\n") do
    if package:find("\nEssential: yes", 1, true) then list[#list + 1] = package .. "\n" end
  end
  return table.concat(list, "\n")
end

local client, status = crypto.keypair("ed25519", { comment = "bench" }), essential()
assert(fs.write(folder .. "/key", client.private, { mode = 384 }))
local hosts, known = {}, {}
local second = 100 + process.pid() % 100
for i = 1, count do
  local name = ("node-%03d"):format(i)
  local address = ("127.%d.%d.%d"):format(second, i // 250, i % 250 + 1)
  local host = machine.start(words, { hostname = name, client = client, host = address, port = 2222,
    files = { ["/var/lib/dpkg/status"] = status } })
  for _, path in ipairs { "/etc/default", "/etc/sysctl.d", "/etc/systemd/system", "/opt" } do
    assert(fs.mkdir(host.root .. path, 493))
  end
  hosts[name] = { ansible_host = host.host, ansible_port = host.port, ansible_user = "root",
    ansible_ssh_private_key_file = folder .. "/key" }
  known[i] = ("[%s]:%d %s\n"):format(host.host, host.port, host.host_keys[1])
end
assert(fs.write(folder .. "/inventory.json", json.encode({ all = { hosts = hosts } }, { indent = 2, sort = true })))
assert(fs.write(folder .. "/known_hosts", table.concat(known)))
local children = assert(fs.read(("/proc/self/task/%d/children"):format(process.pid())))
assert(fs.write(folder .. "/ready", children:match("%d+") .. "\n"))
task.event():wait()
