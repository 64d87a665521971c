--- systemctl.
local fs = require "fs"

local VALUED = { ["-p"] = true, ["--property"] = true, ["-t"] = true, ["-n"] = true }

local function parse(argv)
  local options, words = {}, {}
  local i = 2
  while i <= #argv do
    local word = argv[i]
    if VALUED[word] then
      options[word] = argv[i + 1]
      i = i + 1
    elseif word:sub(1, 1) == "-" then
      local name, value = word:match("^(%-%-[%w-]+)=(.*)$")
      options[name or word] = value or true
    else
      words[#words + 1] = word
    end
    i = i + 1
  end
  return options, words
end

local function unit_name(word) return (word:gsub("%.service$", "")) end

local function state_of(machine, name)
  local unit = machine:service(name)
  if not unit then return nil end
  if name == "kubelet" and unit.active then
    local kubernetes = require("emulator.world").kubernetes
    local state = kubernetes and kubernetes:kubelet_state(machine) or "active"
    return state == "inactive" and "activating" or state
  end
  return unit.active and "active" or unit.failed and "failed" or "inactive"
end

local verbs = {}

verbs["is-active"] = function(machine, call, names, options)
  local code = 0
  for _, name in ipairs(names) do
    local state = state_of(machine, name) or "inactive"
    if not options["-q"] and not options["--quiet"] then call:out(state .. "\n") end
    if state ~= "active" then code = 3 end
  end
  return code
end

verbs["is-enabled"] = function(machine, call, names)
  local code = 0
  for _, name in ipairs(names) do
    local unit = machine:service(name)
    if not unit then
      call:err(("Failed to get unit file state for %s.service: No such file or directory\n"):format(name))
      code = 1
    else
      call:out((unit.masked and "masked" or unit.enabled and "enabled" or "disabled") .. "\n")
      if not unit.enabled or unit.masked then code = 1 end
    end
  end
  return code
end

-- containerd reads its configuration when it starts, and does not start with one that it cannot read.
local function refuses(machine, name)
  if name ~= "containerd" then return false end
  local text = fs.read(machine.root .. "/etc/containerd/config.toml") or ""
  for line in text:gmatch("[^\n]+") do
    local bare = line:gsub("#.*$", ""):match("^%s*(.-)%s*$")
    if bare ~= "" and not bare:find("^%[.*%]$") and not bare:find("^[%w_\"'.-]+%s*=%s*.+$") and not bare:find("^[%]\",'%w]") then
      return true, "containerd: failed to load TOML from /etc/containerd/config.toml: " .. bare
    end
  end
  return false
end

local function start(machine, call, name)
  local unit = machine:service(name)
  local bad, why = refuses(machine, name)
  if unit and bad then
    unit.failed = true
    machine:stop_service(name)
    machine:journal(name, why)
    call:err(("Job for %s.service failed because the control process exited with error code.\nSee \"systemctl status %s.service\" and "
      .. "\"journalctl -xeu %s.service\" for details.\n"):format(name, name, name))
    return 1
  end
  if unit then unit.failed = nil end
  local ok, message = machine:start_service(name)
  if ok then return 0 end
  call:err(("Failed to start %s.service: %s\n"):format(name, message))
  return 5
end

local function each(fn)
  return function(machine, call, names, options)
    local code = 0
    for _, name in ipairs(names) do
      local result = fn(machine, call, name, options)
      if result ~= 0 then code = result end
    end
    return code
  end
end

verbs.start = each(start)
verbs.restart = each(function(machine, call, name)
  if machine:service(name) then machine:stop_service(name) end
  return start(machine, call, name)
end)
verbs["try-restart"], verbs["reload-or-restart"] = verbs.restart, verbs.restart
verbs.reload = each(function(machine, call, name)
  if machine:service(name) then return 0 end
  call:err(("Failed to reload %s.service: Unit %s.service not found.\n"):format(name, name))
  return 5
end)
verbs.stop = each(function(machine, call, name)
  local ok, message = machine:stop_service(name)
  if ok then return 0 end
  call:err(("Failed to stop %s.service: %s\n"):format(name, message))
  return 5
end)
verbs.enable = each(function(machine, call, name, options)
  local ok, message = machine:enable_service(name, true)
  if not ok then
    call:err(("Failed to enable unit: %s\n"):format(message))
    return 1
  end
  return options["--now"] and start(machine, call, name) or 0
end)
verbs.disable = each(function(machine, call, name, options)
  local ok, message = machine:enable_service(name, false)
  if not ok then
    call:err(("Failed to disable unit: %s\n"):format(message))
    return 1
  end
  if options["--now"] then machine:stop_service(name) end
  return 0
end)

local function mask(on)
  return each(function(machine, _, name)
    local unit = machine:service(name)
    if unit then
      unit.masked = on
      if on then unit.active = false end
      machine:changed()
    end
    return 0
  end)
end
verbs.mask, verbs.unmask = mask(true), mask(nil)

verbs["daemon-reload"] = function() return 0 end
verbs["reset-failed"] = verbs["daemon-reload"]

verbs.status = each(function(machine, call, name)
  local state = state_of(machine, name)
  if not state then
    call:err(("Unit %s.service could not be found.\n"):format(name))
    return 4
  end
  local unit = machine:service(name)
  call:out(("* %s.service\n     Loaded: loaded (/lib/systemd/system/%s.service; %s)\n     Active: %s\n"):format(name, name,
    unit.enabled and "enabled" or "disabled", state))
  return state == "active" and 0 or 3
end)

verbs.show = each(function(machine, call, name, options)
  local unit = machine:service(name)
  local values = { LoadState = unit and (unit.masked and "masked" or "loaded") or "not-found", ActiveState = state_of(machine, name) or "inactive",
    UnitFileState = unit and (unit.enabled and "enabled" or "disabled") or "" }
  local wanted = options["-p"] or options["--property"]
  for key, value in pairs(values) do
    if not wanted or wanted == key then call:out(options["--value"] and value .. "\n" or key .. "=" .. value .. "\n") end
  end
  return 0
end)

verbs["list-units"] = function(machine, call, _, options)
  if options["--type"] == "swap" or options["-t"] == "swap" then
    for _, device in ipairs(machine:swaps()) do
      call:out(device:gsub("^/", ""):gsub("/", "-") .. ".swap loaded active active " .. device .. "\n")
    end
    return 0
  end
  local names = {}
  for name in pairs(machine.units) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    if machine.units[name].active then call:out(name .. ".service loaded active running " .. name .. "\n") end
  end
  return 0
end

verbs["is-system-running"] = function(_, call)
  call:out("running\n")
  return 0
end

return function(machine, call)
  local options, words = parse(call.argv)
  local verb = table.remove(words, 1) or "list-units"
  if options["--version"] then
    call:out("systemd 252 (252.39-1~deb12u1)\n")
    return 0
  end
  local run = verbs[verb]
  if not run then
    call:err(("Unknown command verb %s.\n"):format(verb))
    return 1
  end
  for i, word in ipairs(words) do words[i] = unit_name(word) end
  return run(machine, call, words, options)
end
