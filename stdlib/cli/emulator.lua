--- `vmrun emulator start|status|list|env|stop|reset|serve`: the emulator of a state folder.
local fail, json, near = require "fail", require "json", require "recipe.nearest"

local M = {}

local function endpoint() return require "emulator.endpoint" end
local function launch() return require "emulator.launch" end

-- What endpoint.json says, if the emulator really answers there.
local function running(dir)
  local value = endpoint().read(dir)
  local status = value and endpoint().alive(value)
  return status and value or nil, status or nil
end

local function wanted(dir)
  local value, status = running(dir)
  if not value then
    error(fail { ("no emulator runs for %s"):format(dir), code = "absent", hint = "start it: vmrun emulator start" })
  end
  return value, status
end

local verbs = {}

function verbs.start(call)
  local factor = call.clock and (tonumber(call.clock) or error(fail { ("--clock wants a number, got '%s'"):format(call.clock), code = "usage" }))
  local value = launch().ensure(call.dir, { factor = factor })
  if call.json then return { text = json.encode({ arm = value.arm, pid = value.pid, subscription = value.subscription }, { indent = 2 }) } end
  return { text = ("the emulator answers at %s (pid %d, subscription %s)"):format(value.arm, value.pid, value.subscription) }
end

function verbs.status(call)
  local value, status = running(call.dir)
  if not value then
    return { text = call.json and '{"running": false}' or "not running", code = call.json and 0 or 1 }
  end
  if call.json then
    status.running = true
    return { text = json.encode(status, { indent = 2, sort = true }) }
  end
  local lines = { ("running at %s (pid %d, for %d s)"):format(value.arm, value.pid, status.uptime // 1),
    ("clock: %g times the world's"):format(status.factor), ("subscription: %s"):format(value.subscription) }
  local types = {}
  for name in pairs(status.resources or {}) do types[#types + 1] = name end
  table.sort(types)
  for _, name in ipairs(types) do lines[#lines + 1] = ("%6d %s"):format(status.resources[name], name) end
  return { text = table.concat(lines, "\n") }
end

local function is_empty(world)
  for _, list in pairs(world) do
    if type(list) == "table" and next(list) ~= nil then return false end
  end
  return true
end

function verbs.list(call)
  local world = fail.check(endpoint().ask(wanted(call.dir), "GET", "list"))
  if call.json then return { text = json.encode(world, { indent = 2, sort = true }) } end
  if is_empty(world) then return { text = "nothing" } end
  local lines = {}
  for _, id in ipairs(world.arm or {}) do lines[#lines + 1] = id end
  for _, vault in ipairs(world.deleted_vaults or {}) do
    lines[#lines + 1] = ("%s (soft-deleted until %s)"):format(vault.name, vault.until_date)
  end
  for _, machine in ipairs(world.machines or {}) do
    lines[#lines + 1] = ("machine %s at %s: %s"):format(machine.hostname or machine.id, machine.address, machine.power)
  end
  for _, object in ipairs(world.kubernetes or {}) do
    lines[#lines + 1] = "kubernetes " .. (type(object) == "table" and json.encode(object) or tostring(object))
  end
  return { text = table.concat(lines, "\n") }
end

local function quote(text) return "'" .. tostring(text):gsub("'", "'\\''") .. "'" end

function verbs.env(call)
  local value = wanted(call.dir)
  local variables = launch().env(value, call.dir)
  if call.json then return { text = json.encode(variables, { indent = 2, sort = true }) } end
  local names, lines = {}, {}
  for name in pairs(variables) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do lines[i] = ("export %s=%s"):format(name, quote(variables[name])) end
  return { text = table.concat(lines, "\n") }
end

function verbs.stop(call)
  local stopped = launch().stop(call.dir)
  return { text = stopped and "stopped; its world stays" or "not running" }
end

function verbs.reset(call)
  launch().reset(call.dir)
  return { text = "the emulator and its world are gone" }
end

function verbs.serve(call)
  require("emulator.main").serve(call.dir, { factor = tonumber(call.clock or ""), ready = function()
    io.stdout:write("ready\n")
    io.stdout:flush()
  end })
  return {}
end

function M.run(call)
  local verb = verbs[call.verb]
  if not verb then
    error(fail { ("the emulator has no verb '%s'%s"):format(call.verb, near.hint(call.verb, verbs)), code = "usage",
      hint = "it is one of start, status, list, env, stop, reset, serve" })
  end
  return verb(call)
end

return M
