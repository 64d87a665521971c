-- flanneld with --kube-subnet-mgr and the backend vxlan: each Node's pods by the Node's own podCIDR, over a VXLAN that all Nodes
-- describe in their annotations.
package.path = "/srv/?.lua;" .. package.path
local cluster = require "cluster"
local fs, json, process, task = require "fs", require "json", require "process", require "task"

local DEVICE, VNI, PORT = "flannel.1", 1, 8472
local NOTE = "flannel.alpha.coreos.com/"
local ENVIRONMENT = "/run/flannel/subnet.env"

local run, say = cluster.run, cluster.say
local api = cluster.client()
local network = assert(json.decode(assert(fs.read "/etc/kube-flannel/net-conf.json"))).Network
assert(process.env "POD_NAME" and process.env "POD_NAMESPACE", "POD_NAME and POD_NAMESPACE are not set")

local function own_node()
  local pod = assert(api:get("v1", "Pod", process.env "POD_NAMESPACE", process.env "POD_NAME"), "our pod is not there")
  while true do
    local node = api:get("v1", "Node", nil, pod.spec.nodeName)
    if node and node.spec.podCIDR then return node end
    say("waiting for a podCIDR of node %s", pod.spec.nodeName)
    task.sleep(1)
  end
end

-- The interface of the default route, its address and its MTU.
local function outside()
  local device = run({ "ip", "-4", "route", "show", "default" }):match("dev (%S+)")
  local address = run({ "ip", "-4", "-o", "address", "show", "dev", device }):match("inet ([%d.]+)")
  return device, address, tonumber((assert(fs.read("/sys/class/net/" .. device .. "/mtu")):match("%d+")))
end

local function base(cidr) return (cidr:match("^[%d.]+")) end

local function make_device(node)
  local device, address, mtu = outside()
  local have = process.run { argv = { "ip", "-d", "link", "show", DEVICE }, timeout = 10 }
  if have.code ~= 0 or not have.stdout:find("local " .. address, 1, true) then
    if have.code == 0 then run { "ip", "link", "delete", DEVICE } end
    run { "ip", "link", "add", DEVICE, "type", "vxlan", "id", tostring(VNI), "dev", device, "local", address, "dstport", tostring(PORT),
      "nolearning" }
  end
  run { "ip", "address", "replace", base(node.spec.podCIDR) .. "/32", "dev", DEVICE }
  run { "ip", "link", "set", DEVICE, "mtu", tostring(mtu - 50), "up" }
  return address, assert(fs.read("/sys/class/net/" .. DEVICE .. "/address")):match("%S+"), mtu - 50
end

local function announce(node, address, mac)
  local notes = { [NOTE .. "backend-type"] = "vxlan", [NOTE .. "kube-subnet-manager"] = "true", [NOTE .. "public-ip"] = address,
    [NOTE .. "backend-data"] = json.encode({ VNI = VNI, VtepMAC = mac }, { sort = true }) }
  api:merge({ apiVersion = "v1", kind = "Node", metadata = { name = node.metadata.name } }, { metadata = { annotations = notes } },
    { subresource = "status" })
end

local function masquerade()
  local rules = { { "nat", "POSTROUTING", "-s", network, "-d", network, "-j", "RETURN" },
    { "nat", "POSTROUTING", "-s", network, "!", "-d", "224.0.0.0/4", "-j", "MASQUERADE" },
    { "filter", "FORWARD", "-s", network, "-j", "ACCEPT" }, { "filter", "FORWARD", "-d", network, "-j", "ACCEPT" } }
  for _, rule in ipairs(rules) do
    local words = table.move(rule, 2, #rule, 1, {})
    local function argv(verb) return table.move(words, 1, #words, 6, { "iptables", "-w", "-t", rule[1], verb }) end
    if process.run({ argv = argv "-C", timeout = 20 }).code ~= 0 then run(argv "-A") end
  end
end

local function write_environment(cidr, mtu)
  local text = ("FLANNEL_NETWORK=%s\nFLANNEL_SUBNET=%s\nFLANNEL_MTU=%d\nFLANNEL_IPMASQ=true\n"):format(network,
    cidr:gsub("%d+/", function(last) return tonumber(last:sub(1, -2)) + 1 .. "/" end), mtu)
  assert(fs.mkdir("/run/flannel", 493))
  assert(fs.write(ENVIRONMENT, text, { mode = 420 }))
end

local function meet(node)
  local cidr, address = node.spec.podCIDR, (node.metadata.annotations or {})[NOTE .. "public-ip"]
  local data = json.decode((node.metadata.annotations or {})[NOTE .. "backend-data"] or "null")
  if not cidr or not address or type(data) ~= "table" then return nil end
  return { cidr = cidr, address = address, mac = data.VtepMAC }
end

local peers = {}

local function leave(name)
  local peer = peers[name]
  if not peer then return end
  peers[name] = nil
  for _, argv in ipairs { { "ip", "route", "del", peer.cidr, "dev", DEVICE }, { "ip", "neigh", "del", base(peer.cidr), "dev", DEVICE },
    { "bridge", "fdb", "del", peer.mac, "dev", DEVICE, "dst", peer.address } } do process.run { argv = argv, timeout = 10 } end
  say("%s is gone", name)
end

local function visit(name, peer)
  local old = peers[name]
  if old and old.cidr == peer.cidr and old.address == peer.address and old.mac == peer.mac then return end
  leave(name)
  run { "ip", "neigh", "replace", base(peer.cidr), "lladdr", peer.mac, "dev", DEVICE, "nud", "permanent" }
  run { "bridge", "fdb", "replace", peer.mac, "dev", DEVICE, "dst", peer.address }
  run { "ip", "route", "replace", peer.cidr, "via", base(peer.cidr), "dev", DEVICE, "onlink" }
  peers[name] = peer
  say("%s has %s behind %s", name, peer.cidr, peer.address)
end

local node = own_node()
local address, mac, mtu = make_device(node)
masquerade()
announce(node, address, mac)
write_environment(node.spec.podCIDR, mtu)
cluster.serve(8081, function() return fs.stat(ENVIRONMENT) ~= nil end)
cluster.follow(api, "v1", "Node", function(event, other)
  local name = other.metadata.name
  if name == node.metadata.name then return end
  local peer = event ~= "DELETED" and meet(other)
  if peer then visit(name, peer) else leave(name) end
end)
