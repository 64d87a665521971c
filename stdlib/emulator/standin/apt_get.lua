--- apt-get: update, install, remove, upgrade, over the repositories that the machine's files name.
local fs = require "fs"
local world = require "emulator.world"
local packages = require "emulator.machines.packages"

-- The repositories of /etc/apt: { url, key (path) }.
local function repositories(machine)
  local list = { { url = packages.DEBIAN } }
  for _, name in ipairs(fs.list(machine.root .. "/etc/apt/sources.list.d") or {}) do
    for line in (fs.read(machine.root .. "/etc/apt/sources.list.d/" .. name) or ""):gmatch("[^\n]+") do
      local options, url = line:match("^deb%s+%[(.-)%]%s+(%S+)")
      url = url or line:match("^deb%s+(%S+)")
      if url then list[#list + 1] = { url = url, key = options and options:match("signed%-by=(%S+)"), file = name, line = line } end
    end
  end
  return list
end

local function host_of(url) return url:match("^%w+://([^/:]+)") end

local function update(machine, call, strict)
  local way, why = world.fabric.egress(machine.id)
  local failed, fetched = {}, {}
  for _, repository in ipairs(repositories(machine)) do
    local host = host_of(repository.url) or repository.url
    local key = repository.key and fs.read(machine.root .. repository.key)
    if not way then
      call:err(("Err:1 %s InRelease\n  Could not connect to %s:80, connection timed out (%s)\n"):format(repository.url, host, why))
      failed[#failed + 1] = ("W: Failed to fetch %s  Could not connect to %s:80, connection timed out"):format(repository.url, host)
    elseif not packages.at(repository.url) then
      call:err(("Err:1 %s InRelease\n  Could not resolve '%s'\n"):format(repository.url, host))
      failed[#failed + 1] = ("W: Failed to fetch %s  Could not resolve '%s'"):format(repository.url, host)
    elseif repository.file and not (key and key:find("%S")) then
      failed[#failed + 1] = ("W: GPG error: %s InRelease: The following signatures couldn't be verified because the public key is not "
        .. "available: NO_PUBKEY 234654DA9A296436\nE: The repository '%s InRelease' is not signed."):format(repository.url, repository.url)
    else
      call:out(("Get:1 %s InRelease\n"):format(repository.url))
      fetched[#fetched + 1] = repository.url
    end
  end
  machine.updated, machine.lists = fetched, packages.serial()
  fs.write(machine.root .. "/var/lib/apt/lists/emulator_Packages", table.concat(fetched, "\n"))
  machine:changed()
  if #failed == 0 then
    call:out("Reading package lists...\n")
    return 0
  end
  call:err(table.concat(failed, "\n") .. "\n")
  local fatal = strict or table.concat(failed):find("E: ", 1, true) ~= nil
  if not fatal then call:err("W: Some index files failed to download. They have been ignored, or old ones used instead.\n") end
  return fatal and 100 or 0
end

local function find(machine, name, wanted)
  local seen = false
  for _, url in ipairs(machine.updated or {}) do
    local offered = packages.at(url)
    local package = offered and offered[name]
    if package then
      seen = true
      local newer = url == packages.DEBIAN and packages.newest(name, machine.lists or 0)
      if newer and (not wanted or wanted == newer.version) then return package, newer.version, newer end
      local version = packages.choose(package, wanted)
      if version then return package, version end
    end
  end
  return nil, seen
end

-- As a package's script does.
local function ask_for_restart(machine, name)
  fs.write(machine.root .. "/run/reboot-required", "*** System restart required ***\n")
  local path = machine.root .. "/run/reboot-required.pkgs"
  fs.write(path, name .. "\n", { append = fs.stat(path) ~= nil or nil, atomic = false })
end

-- Fetches what is planned, { name, version, package, newer }, and sets it up.
local function fetch(machine, call, plan)
  local way, why = world.fabric.egress(machine.id)
  for _, item in ipairs(plan) do
    if machine:package(item.name) ~= item.version then
      if not way then
        call:err(("E: Failed to fetch %s  Could not connect, connection timed out (%s)\nE: Unable to fetch some archives, maybe run "
          .. "apt-get update or try with --fix-missing?\n"):format(item.name, why))
        return 100
      end
      world.clock.sleep(8)
      machine:install(item.name, item.version, item.package)
      call:out(("Setting up %s (%s) ...\n"):format(item.name, item.version))
      if item.newer and item.newer.restart then ask_for_restart(machine, item.name) end
    end
  end
  return 0
end

local function install(machine, call, words, options)
  local plan = {}
  local function add(name, wanted)
    if plan[name] then return 0 end
    local package, version, newer = find(machine, name, wanted)
    if not package then
      if version then
        call:err(("E: Version '%s' for '%s' was not found\n"):format(wanted, name))
      elseif not machine:package(name) then
        call:err(("E: Unable to locate package %s\n"):format(name))
      else
        return 0
      end
      return 100
    end
    plan[name], plan[#plan + 1] = true, { name = name, version = version, package = package, newer = newer }
    for _, other in ipairs(package.needs or {}) do
      if not machine:package(other) then
        local code = add(other)
        if code ~= 0 then return code end
      end
    end
    return 0
  end
  for _, word in ipairs(words) do
    local name, wanted = word:match("^([^=]+)=(.+)$")
    local code = add(name or word, wanted)
    if code ~= 0 then return code end
  end
  for _, item in ipairs(plan) do
    local have = machine:package(item.name)
    if have and have ~= item.version and machine.held[item.name] and not options["--allow-change-held-packages"] then
      call:err("E: Held packages were changed and -y was used without --allow-change-held-packages.\n")
      return 100
    end
  end
  return fetch(machine, call, plan)
end

local function remove(machine, call, words)
  for _, name in ipairs(words) do
    if machine:package(name) then
      machine:uninstall(name)
      call:out(("Removing %s ...\n"):format(name))
    end
  end
  return 0
end

-- Whether a version comes after another, by its numbers.
local function is_after(version, other)
  local numbers = version:gmatch "%d+"
  for number in other:gmatch "%d+" do
    local mine = tonumber(numbers() or -1)
    if mine ~= tonumber(number) then return mine > tonumber(number) end
  end
  return numbers() ~= nil
end

-- What is installed, not held, and newer in the lists, by name.
local function upgradable(machine)
  local plan = {}
  for name in pairs(machine.packages) do
    local package, version, newer = find(machine, name)
    if package and not machine.held[name] and is_after(version, machine:package(name)) then
      plan[#plan + 1] = { name = name, version = version, package = package, newer = newer }
    end
  end
  table.sort(plan, function(a, b) return a.name < b.name end)
  return plan
end

local function upgrade(machine, call, options)
  local plan = upgradable(machine)
  if not options["-s"] then return fetch(machine, call, plan) end
  for _, item in ipairs(plan) do
    local origin = item.newer and item.newer.security and "Debian-Security:12/oldstable-security" or "Debian:12.12/oldstable"
    call:out(("Inst %s [%s] (%s %s [amd64])\n"):format(item.name, machine:package(item.name), item.version, origin))
  end
  return 0
end

return function(machine, call)
  local options, words, verb = {}, {}, nil
  local i = 2
  while i <= #call.argv do
    local word = call.argv[i]
    if word == "-o" then
      i = i + 1
      options[call.argv[i] or ""] = true
    elseif word:sub(1, 1) == "-" then
      options[word] = true
    elseif not verb then
      verb = word
    else
      words[#words + 1] = word
    end
    i = i + 1
  end
  if verb == "update" then return update(machine, call, options["APT::Update::Error-Mode=any"]) end
  if verb == "install" then return install(machine, call, words, options) end
  if verb == "remove" or verb == "purge" then return remove(machine, call, words) end
  if verb == "upgrade" then return upgrade(machine, call, options) end
  if verb == "autoremove" or verb == "clean" or verb == "dist-upgrade" then return 0 end
  call:err(("E: Invalid operation %s\n"):format(tostring(verb)))
  return 100
end
