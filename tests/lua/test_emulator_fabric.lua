local test = require "tap"
local json, stream, task = require "json", require "stream", require "task"
local lab = require "emulator_lab"
test.timeout = 60

local N, C = "~/Microsoft.Network/", "~/Microsoft.Compute/"
local KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC6zy/xERWR+aM7SyXcwXOukHEyK0p+Oub5jXP/dm7lB test"

local function rule(name, priority, port, source, access)
  return { name = name, properties = { protocol = "Tcp", access = access or "Allow", direction = "Inbound", priority = priority,
    sourceAddressPrefix = source, sourcePortRange = "*", destinationAddressPrefix = "*", destinationPortRange = port } }
end

--- One network, a subnet closed by a group, a load balancer with a rule and a NAT rule, two machines behind it.
local function world(l, rules, probe)
  local public = { location = "westus2", sku = { name = "Standard" }, properties = { publicIPAllocationMethod = "Static" } }
  local ip = l:put(N .. "publicIPAddresses/p", public)
  local nsg = l:put(N .. "networkSecurityGroups/n", { location = "westus2", properties = { securityRules = rules } })
  l:put(N .. "virtualNetworks/v", { location = "westus2", properties = { addressSpace = { addressPrefixes = { "10.0.0.0/16" } },
    subnets = { { name = "s", properties = { addressPrefix = "10.0.1.0/24", networkSecurityGroup = { id = nsg.id }, defaultOutboundAccess = false } } } } })
  local subnet = l:call("GET", N .. "virtualNetworks/v/subnets/s").json.id
  local base = ip.id:gsub("publicIPAddresses/p$", "loadBalancers/lb")
  local function part(list, name) return { id = base .. "/" .. list .. "/" .. name } end
  local frontend = part("frontendIPConfigurations", "f")
  l:put(N .. "loadBalancers/lb", { location = "westus2", sku = { name = "Standard" }, properties = {
    frontendIPConfigurations = { { name = "f", properties = { publicIPAddress = { id = ip.id } } } }, backendAddressPools = { { name = "b" } },
    probes = { { name = "h", properties = probe or { protocol = "Tcp", port = 6443 } } },
    loadBalancingRules = { { name = "api", properties = { frontendIPConfiguration = frontend, backendAddressPool = part("backendAddressPools", "b"),
      probe = part("probes", "h"), frontendPort = 6443, backendPort = 6443, protocol = "Tcp" } } },
    inboundNatRules = { { name = "ssh", properties = { frontendIPConfiguration = frontend, frontendPort = 22, backendPort = 22, protocol = "Tcp" } } } } })
  for i = 1, 2 do
    local nic = l:call("PUT", N .. "networkInterfaces/i" .. i, { location = "westus2", properties = { ipConfigurations = { { name = "c", properties = {
      subnet = { id = subnet }, loadBalancerBackendAddressPools = { part("backendAddressPools", "b") },
      loadBalancerInboundNatRules = i == 1 and { part("inboundNatRules", "ssh") } or nil } } } } }).json
    l:put(C .. "virtualMachines/m" .. i, { location = "westus2", properties = { hardwareProfile = { vmSize = "Standard_D2s_v5" },
      osProfile = { adminUsername = "azureuser", computerName = "m" .. i, linuxConfiguration = { ssh = { publicKeys = { { keyData = KEY,
        path = "/home/azureuser/.ssh/authorized_keys" } } } } }, storageProfile = { imageReference = { publisher = "Debian", offer = "debian-12",
        sku = "12-gen2", version = "latest" } }, networkProfile = { networkInterfaces = { { id = nic.id } } } } })
  end
  local addresses = {}
  for _, machine in ipairs(l:ask("GET", "list").machines) do addresses[machine.id:match("[^/]+$")] = machine.address end
  return { ip = ip.properties.ipAddress, subnet = subnet, nsg = nsg, machines = addresses }
end

local OPEN = { rule("ssh", 100, "22", "203.0.113.0/24"), rule("api", 110, "6443", "203.0.113.0/24"),
  rule("probe", 120, "6443", "AzureLoadBalancer") }

local function dial(l, query)
  local answer, status = l:ask("GET", "dial?" .. query)
  if status == 200 then return answer end
  return nil, answer.error.message
end

--- A server on a machine's loopback address that answers with its name.
local function serve(t, host, port, name)
  local listener = assert(stream.listen { host = host, port = port })
  local running = task.spawn(function()
    while true do
      local connection = listener:accept()
      if not connection then return end
      connection:write(name)
      connection:close()
    end
  end)
  t.after(function()
    running:cancel("over")
    listener:close()
  end)
  return listener
end

local function ask(target)
  local connection = stream.connect { host = target.host, port = target.port, timeout = 5 }
  if not connection then return nil end
  local text = connection:read(5)
  connection:close()
  return text
end

test("who is let in: rules, sources, addresses nobody has", function(t)
  local l = lab.open(t)
  local w = world(l, OPEN)
  local function why(query, part)
    local found, message = dial(l, query)
    t.ok(not found, query)
    t.has(message, part)
  end
  local ssh = t.ok(dial(l, ("host=%s&port=22"):format(w.ip)))
  t.eq(ssh.port, 20022)
  t.has(ask(ssh) or "", "SSH-2.0-")
  why(("host=%s&port=22&source=8.8.8.8"):format(w.ip), "DenyAllInBound")
  why(("host=%s&port=80"):format(w.ip), "no rule for port 80")
  why("host=10.0.1.5&port=22", "not reached from the internet")
  why("host=203.0.113.77&port=22", "not reached from the internet")
  local through = t.ok(dial(l, ("host=10.0.1.5&port=22&via=%s"):format(w.ip)), "by the jump host that the NAT rule leads to")
  t.eq({ through.host, through.port }, { w.machines.m2, 20022 })
  why(("host=10.0.1.99&port=22&via=%s"):format(w.ip), "nothing of the network")
  l:finish(l:call("DELETE", N .. "networkSecurityGroups/n/securityRules/ssh"))
  why(("host=%s&port=22"):format(w.ip), "DenyAllInBound")
  t.ok(dial(l, "host=10.0.1.5&port=22&via=10.0.1.4"), "inside the network the default rule admits")
  l:finish(l:call("PUT", N .. "networkSecurityGroups/n/securityRules/closed", { properties = rule("x", 200, "22", "VirtualNetwork", "Deny").properties }))
  why("host=10.0.1.5&port=22&via=10.0.1.4", "rule closed")
end)

test("the load balancer forwards to machines whose probe answers", function(t)
  local l = lab.open(t)
  local w = world(l, OPEN)
  local query = ("host=%s&port=6443"):format(w.ip)
  local found, message = dial(l, query)
  t.eq(found, nil)
  t.has(message, "probe of rule api")
  serve(t, w.machines.m2, 6443, "m2")
  local target
  local limit = task.now() + 5
  repeat
    target = dial(l, query)
    task.sleep(0.02)
  until target or task.now() > limit
  t.ok(target)
  for _ = 1, 3 do t.eq(ask(target), "m2", "the one that is healthy") end
  serve(t, w.machines.m1, 6443, "m1")
  task.sleep(0.2)
  local seen = {}
  for _ = 1, 8 do seen[ask(target) or "none"] = true end
  t.eq({ seen.m1, seen.m2 }, { true, true }, "both in turn")
  -- Without a rule that admits probes no machine is healthy.
  l:finish(l:call("PUT", N .. "networkSecurityGroups/n/securityRules/blind",
    { properties = rule("x", 105, "6443", "AzureLoadBalancer", "Deny").properties }))
  found, message = dial(l, query)
  t.ok(not found)
  t.has(message, "probe")
  t.eq(ask(target), nil, "what listens lets nobody through")
end)

test("ways out: a gateway, a rule, or none", function(t)
  local l = lab.open(t)
  local w = world(l, OPEN)
  local id = l:call("GET", C .. "virtualMachines/m1").json.id
  local escaped = id:gsub("/", "%%2F")
  local query = ("host=%s&port=22&machine=%s"):format(w.ip, escaped)
  local found, message = dial(l, query)
  t.ok(not found)
  t.has(message, "no way out")
  local out = l:put(N .. "publicIPAddresses/out", { location = "westus2", sku = { name = "Standard" }, properties = { publicIPAllocationMethod = "Static" } })
  local nat = l:put(N .. "natGateways/nat", { location = "westus2", sku = { name = "Standard" }, properties = { publicIpAddresses = { { id = out.id } } } })
  l:put(N .. "virtualNetworks/v/subnets/s", { properties = { addressPrefix = "10.0.1.0/24", networkSecurityGroup = { id = w.nsg.id },
    natGateway = { id = nat.id }, defaultOutboundAccess = false } })
  t.ok(dial(l, query), "it comes in by its gateway's address, which the rule admits")
  t.eq(json.is_array(l:ask("GET", "operations").operations), true)
end)

test.done()
