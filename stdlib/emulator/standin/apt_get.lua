--- apt-get: update, install, remove, over the repositories that the machine's files name.
local fs = require "fs"
local world = require "emulator.world"
local packages = require "emulator.machines.packages"

local DEBIAN = "http://deb.debian.org/debian"

-- The repositories of /etc/apt: { url, key (path) }.
local function repositories(machine)
  local list = { { url = DEBIAN } }
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

local function update(machine, call)
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
  machine.updated = fetched
  fs.write(machine.root .. "/var/lib/apt/lists/emulator_Packages", table.concat(fetched, "\n"))
  machine:changed()
  if #failed == 0 then
    call:out("Reading package lists...\n")
    return 0
  end
  call:err(table.concat(failed, "\n") .. "\n")
  local fatal = table.concat(failed):find("E: ", 1, true) ~= nil
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
      local version = packages.choose(package, wanted)
      if version then return package, version end
    end
  end
  return nil, seen
end

local function install(machine, call, words, options)
  local plan = {}
  local function add(name, wanted)
    if plan[name] then return 0 end
    local package, version = find(machine, name, wanted)
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
    plan[name], plan[#plan + 1] = true, { name = name, version = version, package = package }
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
    end
  end
  return 0
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

return function(machine, call)
  local options, words, verb = {}, {}, nil
  local i = 2
  while i <= #call.argv do
    local word = call.argv[i]
    if word == "-o" then
      i = i + 1
    elseif word:sub(1, 1) == "-" then
      options[word] = true
    elseif not verb then
      verb = word
    else
      words[#words + 1] = word
    end
    i = i + 1
  end
  if verb == "update" then return update(machine, call) end
  if verb == "install" then return install(machine, call, words, options) end
  if verb == "remove" or verb == "purge" then return remove(machine, call, words) end
  if verb == "autoremove" or verb == "clean" or verb == "upgrade" or verb == "dist-upgrade" then return 0 end
  call:err(("E: Invalid operation %s\n"):format(tostring(verb)))
  return 100
end
