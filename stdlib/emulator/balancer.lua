--- Load balancers as people's own tools meet them: each frontend has a loopback address that listens on the ports of its rules
-- and forwards to a healthy machine; health probes are really sent.
local http, log, stream, task = require "http", require "log", require "stream", require "task"
local world = require "emulator.world"
local records = require "emulator.arm.records"
local fabric = require "emulator.fabric"
local balancer = {}

local listeners = {} -- "address:port" -> { listener, balancer (id), frontend (id), port }
local CLIENT = "203.0.113.250" -- who a connection on loopback is taken for
local FRESH, FRESH_BAD = 0.2, 0.1 -- seconds that a probe's answer holds: Azure's five, on a fast clock

-- Probes: asked for when somebody wants to know, one at a time for each target.

local answers, probing = {}, require "together"()

local function probe_once(host, port, probe)
  if probe.protocol == "Tcp" then
    local connection = stream.connect { host = host, port = port, timeout = 2 }
    if connection then connection:close() end
    return connection ~= nil
  end
  local scheme = probe.protocol == "Https" and "https" or "http"
  local answer = http.request { method = "GET", url = ("%s://%s:%d%s"):format(scheme, host, port, probe.requestPath or "/"),
    insecure = true, timeout = 2, connect_timeout = 2 }
  return answer ~= nil and answer.status == 200
end

--- Whether a target answers its probe.
function balancer.healthy(host, port, probe)
  local key = ("%s:%d %s %s"):format(host, port, probe.protocol, probe.requestPath or "")
  local entry = answers[key]
  if entry and task.now() - entry.at < (entry.ok and FRESH or FRESH_BAD) then return entry.ok end
  return probing(key, function()
    local ok = probe_once(host, port, probe)
    answers[key] = { ok = ok, at = task.now() }
    return ok
  end)
end

-- Listeners.

local function serve(connection, entry)
  local client <close> = connection
  local owner, frontend = records.get(entry.balancer), records.child(entry.frontend)
  local rule, nat = nil, nil
  if owner and frontend then rule, nat = fabric.rule_for(owner, frontend, entry.port) end
  -- Azure would drop the packets; a closed connection says the same sooner.
  if not rule then return end
  local target = fabric.backend(owner, rule, nat, { ip = CLIENT, tags = { Internet = true } })
  local backend = target and stream.connect { host = target.host, port = target.port, timeout = 5 }
  if not backend then return end
  local other <close> = backend
  stream.pipe(client, other)
end

local function accept(entry)
  while true do
    local connection = entry.listener:accept()
    if not connection then return end
    task.spawn(serve, connection, entry)
  end
end

--- Makes a frontend listen on a port; returns its loopback address, or nil when it cannot.
function balancer.listen(owner, frontend, port)
  local id = frontend.id or owner.id .. "/frontendIPConfigurations/" .. frontend.name
  local address = world.addresses:allocate("frontend", id:lower())
  local key = ("%s:%d"):format(address, port)
  if listeners[key] then return address end
  local listener, why = stream.listen { host = address, port = fabric.port(port), backlog = 128 }
  if not listener then
    log.warn("the load balancer %s cannot listen on %s: %s", owner.name, key, why)
    return nil
  end
  local entry = { listener = listener, balancer = owner.id, frontend = id, port = port }
  listeners[key] = entry
  task.spawn(accept, entry)
  return address
end

local function close(key)
  listeners[key].listener:close()
  listeners[key] = nil
end

local function rules_of(owner)
  local list = {}
  for _, name in ipairs { "loadBalancingRules", "inboundNatRules" } do
    for _, rule in ipairs(owner.body.properties[name] or {}) do
      if rule.properties.frontendPort then list[#list + 1] = rule end -- a range of ports has no listener
    end
  end
  return list
end

-- What listens is what the rules say.
local function reconcile(owner)
  local wanted, exists = {}, records.get(owner.id) ~= nil
  if exists then
    for _, frontend in ipairs(owner.body.properties.frontendIPConfigurations or {}) do
      for _, rule in ipairs(rules_of(owner)) do
        local port = rule.properties.frontendPort
        if fabric.rule_for(owner, frontend, port) then
          local address = balancer.listen(owner, frontend, port)
          if address then wanted[("%s:%d"):format(address, port)] = true end
        end
      end
    end
  end
  for key, entry in pairs(listeners) do
    if entry.balancer:lower() == owner.id:lower() and not wanted[key] then close(key) end
  end
end

--- Begins: listens for all rules there are, and follows what changes.
function balancer.start()
  for record in records.each("Microsoft.Network/loadBalancers") do reconcile(record) end
  records.on_change(function(record)
    if record.type:lower() == "microsoft.network/loadbalancers" then task.spawn(reconcile, record) end
  end)
end

function balancer.stop()
  for key in pairs(listeners) do close(key) end
end

return balancer
