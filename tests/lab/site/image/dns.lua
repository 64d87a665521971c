-- The cluster's DNS: dnsmasq, whose hosts are the cluster's Services and their endpoints.
package.path = "/srv/?.lua;" .. package.path
local cluster = require "cluster"
local fs, process, task = require "fs", require "process", require "task"

local HOSTS, DOMAIN = "/dev/shm/hosts", "svc.cluster.local"

local api = cluster.client()
local services, endpoints = {}, {}
local ready, changed = { services = false }, task.event()

local function key(object) return object.metadata.namespace .. "/" .. object.metadata.name end

local function addresses(name, service)
  local ip = service.spec.clusterIP
  if ip and ip ~= "" and ip ~= "None" then return { ip } end
  local list = {}
  for _, subset in ipairs(endpoints[name] and endpoints[name].subsets or {}) do
    for _, address in ipairs(subset.addresses or {}) do list[#list + 1] = address.ip end
  end
  return list
end

local function hosts()
  local lines = {}
  for name, service in pairs(services) do
    for _, ip in ipairs(addresses(name, service)) do
      lines[#lines + 1] = ("%s %s.%s.%s"):format(ip, service.metadata.name, service.metadata.namespace, DOMAIN)
    end
  end
  table.sort(lines)
  return table.concat(lines, "\n") .. "\n"
end

local function keep(list)
  return function(event, object)
    list[key(object)] = event ~= "DELETED" and object or nil
    changed:set()
  end
end

assert(fs.write(HOSTS, "", { mode = 420 }))
local server = assert(process.spawn { argv = { "/usr/sbin/dnsmasq", "--no-daemon", "--no-hosts",
  "--addn-hosts=" .. HOSTS, "--local=/cluster.local/", "--cache-size=0", "--pid-file=", "--conf-file=/dev/null" },
  stdin = "null", stdout = "inherit", stderr = "inherit" })
cluster.serve(8080, function() return true end)
cluster.serve(8181, function() return ready.services end)
task.spawn(cluster.follow, api, "v1", "Service", keep(services))
task.spawn(cluster.follow, api, "v1", "Endpoints", keep(endpoints))
task.spawn(function()
  while true do
    changed:wait()
    changed:clear()
    fs.write(HOSTS, hosts(), { atomic = false })
    server:kill(1)
    ready.services = next(services) ~= nil
    task.sleep(0.2) -- what changes in one go is written once
  end
end)
local code = server:wait()
error("dnsmasq ended with " .. tostring(code))
