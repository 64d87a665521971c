--- `vmrun emulator start|status|list|env|approve|fault|evict|publish|stop|reset|serve`: the emulator of a state folder.
local fail, field, json, near = require "fail", require "field", require "json", require "recipe.nearest"

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

-- A word that must be one of these names, or nil; `problem` is what is said of another one.
local function one_of(names, word, problem, more)
  if word == nil or names[word] then return word end
  local values = {}
  for name in pairs(names) do values[#values + 1] = name end
  table.sort(values)
  error(fail { (problem .. "%s"):format(word, near.hint(word, names)), code = "usage",
    hint = "it is " .. field.wants { type = "choice", values = values } .. (more or "") })
end

local function profile_of(call) return one_of(require("emulator.clock").profiles, call.profile, "no profile is named '%s'") end

local BACKENDS = { namespaces = true, systemd = true }

local function machines_of(call) return one_of(BACKENDS, call.machines, "no machines are named '%s'") end

local verbs = {}

function verbs.start(call)
  local factor = call.clock and tonumber(call.clock)
  if call.clock and not factor then
    error(fail { ("--clock wants a number, got '%s'"):format(call.clock), code = "usage" })
  end
  local value = launch().ensure(call.dir, { factor = factor, profile = profile_of(call), seed = call.seed,
    machines = machines_of(call) })
  if call.machines and call.machines ~= value.machines then
    error(fail { ("this emulator's machines are '%s', not '%s'"):format(value.machines, call.machines), code = "usage",
      hint = "forget its world first: vmrun emulator reset" })
  end
  if call.json then
    return { text = json.encode({ arm = value.arm, pid = value.pid, subscription = value.subscription }, { indent = 2 }) }
  end
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
  local variables = launch().env(value, call.dir, call.cloud)
  if call.json then return { text = json.encode(variables, { indent = 2, sort = true }) } end
  local names, lines = {}, {}
  for name in pairs(variables) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do lines[i] = ("export %s=%s"):format(name, quote(variables[name])) end
  return { text = table.concat(lines, "\n") }
end

function verbs.approve(call)
  local value = wanted(call.dir)
  local code = call.words[1] or error(fail { "approve wants the code that the login shows", code = "usage" })
  local answer, status = endpoint().ask(value, "POST", "approve?code=" .. code)
  if not answer or status ~= 200 then
    error(fail { ("no login waits for the code %s"):format(code), code = "absent", hint = "a code is good for 15 minutes, once" })
  end
  return { text = "approved" }
end

local NUMBERS = { status = true, times = true, skip = true, retry_after = true, delay = true }
local TEXTS = { method = true, path = true, code = true, message = true, fail = true, zone = true, reset = true }

local function rule_of(words)
  local named = require("emulator.faults").named
  local base = named[one_of(named, words[1], "no fault is named '%s'", "; or list, clear")]
  local rule = {}
  for key, item in pairs(base) do rule[key] = item end
  for i = 2, #words do
    local key, item = words[i]:match("^([%w_]+)=(.+)$")
    local number = NUMBERS[key or ""] and tonumber(item)
    if not number and not TEXTS[key or ""] then
      error(fail { ("'%s' says nothing of a fault"):format(words[i]), code = "usage",
        hint = "method=, path=, times=, skip=, status=, code=, message=, retry_after=, delay= or zone=" })
    end
    rule[key] = number or item
  end
  if words[1] == "zone-outage" and not rule.zone then error(fail { "which zone? zone=1", code = "usage" }) end
  return rule
end

function verbs.fault(call)
  local value = wanted(call.dir)
  local what = call.words[1] or "list"
  if what == "clear" then
    fail.check(endpoint().ask(value, "PUT", "faults", json.array {}))
    return { text = "no faults" }
  elseif what == "list" then
    local rules = fail.check(endpoint().ask(value, "GET", "faults")).rules
    if call.json then return { text = json.encode(rules, { indent = 2, sort = true }) } end
    local lines = {}
    for i, rule in ipairs(rules) do lines[i] = json.encode(rule, { sort = true }) end
    return { text = #lines > 0 and table.concat(lines, "\n") or "no faults" }
  end
  local answer = fail.check(endpoint().ask(value, "POST", "faults", rule_of(call.words)))
  return { text = answer.machines and ("%d machines went down"):format(answer.machines) or "from now on" }
end

--- Azure takes the capacity of a Spot machine back.
function verbs.evict(call)
  local value = wanted(call.dir)
  local id = call.words[1]
    or error(fail { "evict wants the id of a machine", code = "usage", hint = "vmrun emulator list shows them" })
  local _, status = endpoint().ask(value, "POST", "evict?id=" .. id)
  if status ~= 200 then error(fail { ("no machine has the id %s"):format(id), code = "absent" }) end
  return { text = "evicted" }
end

--- A newer version of an image.
function verbs.publish(call)
  local value = wanted(call.dir)
  local image = call.words[1] or error(fail { "publish wants an image", code = "usage", hint = "PUBLISHER:OFFER:SKU:VERSION" })
  local answer, status = endpoint().ask(value, "POST", "images?image=" .. image)
  if status ~= 200 then error(fail { answer and answer.error and answer.error.message or "no such image", code = "usage" }) end
  return { text = "published" }
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
  local function say(text)
    io.stdout:write(text, "\n")
    io.stdout:flush()
  end
  require("emulator.main").serve(call.dir, { factor = tonumber(call.clock or ""), profile = profile_of(call), seed = call.seed,
    machines = machines_of(call), ready = function() say("ready") end, say = function(text) say("- " .. text) end })
  return {}
end

function M.run(call)
  return verbs[one_of(verbs, call.verb or "", "the emulator has no verb '%s'")](call)
end

return M
