--- The emulator's own paths, `/emulator/...`, for vmrun and for tests. All want the token of endpoint.json.
local json, task = require "json", require "task"
local world, clock, operations = require "emulator.world", require "emulator.clock", require "emulator.arm.operations"

local function answer(body, status) return { status = status or 200, json = body } end

local routes = {}

routes["GET /emulator/status"] = function()
  local count = {}
  for _, record in pairs(world.store:all("arm")) do count[record.type] = (count[record.type] or 0) + 1 end
  return answer { id = world.id, pid = world.pid, dir = world.dir, factor = clock.factor, net = world.addresses.net,
    uptime = task.time() - world.started, resources = count, operations = (function()
      local n = 0
      for _ in pairs(operations.running) do n = n + 1 end
      return n
    end)(), tasks = task.count(), writes = world.writes.counts }
end

routes["GET /emulator/writes"] = function()
  return answer { counts = world.writes.counts, last = json.array(world.writes.last) }
end

--- How many requests came since this was last asked with `reset=1`. `bodies=1` keeps what is sent from now on, and gives what was.
routes["POST /emulator/traffic"] = function(req)
  local traffic, q = world.traffic, req.query
  local told = { counts = traffic.counts(), bodies = traffic.bodies and json.array(traffic.bodies) or nil }
  if q.reset then traffic.reset() end
  if q.bodies then traffic.bodies = {} end
  return answer(told)
end

--- What ran and how long it was scheduled to take (nominal seconds): the weights of a critical path.
routes["GET /emulator/operations"] = function()
  local items = {}
  for _, op in pairs(world.store:all("operation")) do
    items[#items + 1] = { id = op.id, verb = op.verb, action = op.action, resource = op.resource, seconds = op.seconds or 0, status = op.status,
      started = op.started, due = op.ends, finished = op.finished }
  end
  table.sort(items, function(a, b) return a.started < b.started end)
  return answer { factor = clock.factor, operations = json.array(items) }
end

routes["GET /emulator/dial"] = function(req)
  local q = req.query
  local from = q.machine and { machine = q.machine } or { internet = q.source or "203.0.113.250" }
  if q.via and q.via ~= "" then
    local id = world.fabric.machine_at(q.via)
    if not id then return answer({ error = { code = "timeout", message = ("no machine has the address %s"):format(q.via) } }, 404) end
    from = { machine = id }
  end
  local to, why, code = world.fabric.dial(from, q.host or "", tonumber(q.port) or 22)
  if not to then return answer({ error = { code = code or why, message = why } }, 404) end
  -- A machine with a network of its own finds the way there by itself.
  local machine = from.machine and world.machines and world.machines.get(from.machine)
  if machine and machine.reach then to = { host = q.host, port = tonumber(q.port) or 22 } end
  return answer(to)
end

local function machine_list()
  local items = {}
  for _, type_name in ipairs { "Microsoft.Compute/virtualMachines", "Microsoft.Compute/virtualMachineScaleSets/virtualMachines" } do
    for record in world.arm.each(type_name) do
      local machine = world.machines and world.machines.get(record.id)
      if machine then
        items[#items + 1] = { id = record.id, address = machine.address, root = machine.root, power = machine.power,
          hostname = machine.hostname, pids = machine.pids and json.array(machine.pids) or nil }
      end
    end
  end
  return json.array(items)
end

local PARTS = { subnets = true, virtualNetworkPeerings = true } -- inline children that are resources in their own right

--- All resources: `{id, type, state, owner}`; the owner is what a resource came with (a set's instance, a machine's disk).
local function resource_list()
  local items = {}
  for record in world.arm.each() do
    items[#items + 1] = { id = record.id, type = record.type, state = record.state, owner = record.owner }
    for list in pairs(world.arm.statement(record.type).children or {}) do
      for _, element in ipairs(PARTS[list] and record.body.properties[list] or {}) do
        items[#items + 1] = { id = element.id, type = element.type, state = record.state }
      end
    end
  end
  table.sort(items, function(a, b) return a.id < b.id end)
  return json.array(items)
end

--- Everything that exists here, as the world shows it. `arm`: the ids of what was asked for by name.
routes["GET /emulator/list"] = function()
  local resources, arm = resource_list(), {}
  for _, item in ipairs(resources) do
    if not item.owner then arm[#arm + 1] = item.id end
  end
  local vaults = {}
  for i, gone in ipairs(world.vaults.list_deleted()) do
    vaults[i] = { name = gone.name, id = gone.properties.vaultId, until_date = gone.properties.scheduledPurgeDate }
  end
  return answer { arm = json.array(arm), resources = resources, deleted_vaults = json.array(vaults), machines = machine_list(),
    kubernetes = world.kubernetes and world.kubernetes.list and world.kubernetes:list() or json.array {},
    leftovers = json.array(world.machines and world.machines.leftovers and world.machines.leftovers() or {}) }
end

routes["GET /emulator/faults"] = function() return answer { rules = json.array(world.faults.rules) } end

routes["PUT /emulator/faults"] = function(req)
  local rules = json.decode(req.body)
  if type(rules) ~= "table" then return answer({ error = { code = "BadRequest", message = "wants a JSON list of rules" } }, 400) end
  world.faults.rules = rules
  return answer {}
end

--- One rule more; a rule with a zone takes the zone's machines down.
routes["POST /emulator/faults"] = function(req)
  local rule = json.decode(req.body)
  if type(rule) ~= "table" then return answer({ error = { code = "BadRequest", message = "wants a rule as a JSON object" } }, 400) end
  table.insert(world.faults.rules, rule)
  return answer { machines = rule.zone and world.faults.darken(rule.zone) or nil }
end

routes["PUT /emulator/clock"] = function(req)
  local body = json.decode(req.body)
  local factor = type(body) == "table" and tonumber(body.factor)
  if not factor or factor <= 0 then return answer({ error = { code = "BadRequest", message = "wants {\"factor\": NUMBER}" } }, 400) end
  clock.factor = factor
  world.store:put("world", "factor", factor)
  return answer { factor = factor }
end

--- Evicts a Spot machine: what Azure does when it needs the capacity back.
routes["POST /emulator/evict"] = function(req)
  local record = world.arm.get(req.query.id or "/")
  if not record then return answer({ error = { code = "NotFound", message = "no machine has this id" } }, 404) end
  world.arm.statement("Microsoft.Compute/virtualMachines").actions.simulateEviction.run(record, {}, {})
  return answer {}
end

--- The key and certificate of the principal whose client id endpoint.json has.
routes["POST /emulator/certificate"] = function()
  return answer { pem = world.entra.certificate(world.store:get("principal", world.client_id)) }
end

--- The key by which tokens of an issuer are believed (`{issuer=, key=}`, PEM): what its discovery document would lead to.
routes["PUT /emulator/issuers"] = function(req)
  local body = json.decode(req.body)
  if type(body) ~= "table" or type(body.issuer) ~= "string" or type(body.key) ~= "string" then
    return answer({ error = { code = "BadRequest", message = "wants {\"issuer\": URL, \"key\": PEM}" } }, 400)
  end
  world.store:put("issuer", body.issuer, body.key)
  return answer {}
end

--- A person approves a device code: `code`, the one to be typed.
routes["POST /emulator/approve"] = function(req)
  if world.entra.approve(req.query.code or "") then return answer {} end
  return answer({ error = { code = "NotFound", message = "no login waits for this code" } }, 404)
end

routes["POST /emulator/stop"] = function()
  world.stopping:set()
  return answer { pid = world.pid }
end

--- Lets another part answer paths of its own: `admin.route("GET /emulator/x", function(req) -> {status=, json=})`.
local function route(form, fn) routes[form] = fn end

-- A form "/emulator/git/*" answers all paths below it.
local function find(req)
  local below = req.path:match("^(/emulator/[^/]+/)[^/]+$")
  return routes[req.method .. " " .. req.path] or below and routes[req.method .. " " .. below .. "*"]
end

local function handle(req)
  if req.headers.authorization ~= "Bearer " .. world.token then
    return answer({ error = { code = "Unauthorized", message = "the token of endpoint.json is required" } }, 401)
  end
  local fn = find(req)
  if not fn then return answer({ error = { code = "NotFound", message = "no such path: " .. req.path } }, 404) end
  local result = fn(req)
  world.store:sync()
  return result
end

return { handle = handle, route = route }
