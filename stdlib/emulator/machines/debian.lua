--- Debian 12 roots, made with debootstrap once and kept outside of any state folder: $VMRUN_LAB_CACHE or ~/.cache/vmrun-lab,
-- in a folder whose name tells suite and packages. Those of older lists are removed.
local crypto, fs, process, task = require "crypto", require "fs", require "process", require "task"
local fail = require "fail"

local debian = {}

local SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
local PATIENCE = 900 -- seconds for a build
local QUIET = 0.2 -- seconds between two looks whether another process has built it: its lock says nothing when it goes

--- Seconds after which the last word is said again: who starts an emulator takes a long silence for its end (emulator/launch.lua).
debian.BREATH = 10

--- What a machine with systemd has from the start.
debian.MACHINE = "systemd,systemd-sysv,dbus,libpam-systemd,udev,openssh-server,sudo,containerd,runc,containernetworking-plugins,iptables,"
  .. "nftables,iproute2,conntrack,socat,ethtool,ebtables,procps,ca-certificates,kmod,iputils-ping,curl,gnupg,hostname,tzdata,xz-utils,unzip"

--- Where this machine gets Debian from.
function debian.mirror()
  local files = { "/etc/apt/sources.list" }
  for _, name in ipairs(fs.list "/etc/apt/sources.list.d" or {}) do files[#files + 1] = "/etc/apt/sources.list.d/" .. name end
  for _, path in ipairs(files) do
    for line in (fs.read(path) or ""):gmatch("[^\n]+") do
      local url = line:match("^URIs:%s*(%S+/debian)/?%s*$") or line:match("^deb%s+%[?[^%]]*%]?%s*(%S+/debian)/?%s")
      if url then return url end
    end
  end
  return MIRROR
end

local function cache()
  local given = process.env "VMRUN_LAB_CACHE"
  return given and given ~= "" and given or (process.env "HOME" or "/root") .. "/.cache/vmrun-lab"
end

-- debootstrap says what it does, which is passed on: who waits sees that it goes on.
local function bootstrap(folder, packages, say)
  local log = folder .. ".log"
  local child = fail.check(process.spawn { argv = { "debootstrap", "--variant=minbase", "--include=" .. packages, SUITE, folder,
    debian.mirror() }, stdin = "null", stdout = "pipe", stderr = log })
  local last = ""
  local code = task.deadline(PATIENCE, function()
    while true do
      local chunk = child:read()
      if not chunk then break end
      last = chunk:match("([^\n]+)\n?$") or last
      say(last)
    end
    return child:wait()
  end)
  if code == nil then child:kill("KILL") end
  child:close()
  local errors = fs.read(log) or ""
  fs.remove(log)
  if code ~= 0 then
    error(fail { ("debootstrap could not make a Debian root: %s"):format(errors ~= "" and errors:sub(-500) or last), code = "debootstrap",
      hint = "it is run as: debootstrap --variant=minbase " .. SUITE .. " " .. folder .. " " .. debian.mirror() })
  end
end

local function build(path, packages, say)
  local unfinished = cache() .. "/machine-unfinished"
  fs.remove(unfinished, { recursive = true })
  fail.check(fs.mkdir(unfinished, 493))
  bootstrap(unfinished, packages, say)
  for _, name in ipairs(fs.list(unfinished .. "/etc/ssh") or {}) do
    if name:find("^ssh_host_") then fs.remove(unfinished .. "/etc/ssh/" .. name) end
  end
  for _, name in ipairs(fs.list(unfinished .. "/var/cache/apt/archives") or {}) do
    if name:find("%.deb$") then fs.remove(unfinished .. "/var/cache/apt/archives/" .. name) end
  end
  fail.check(fs.rename(unfinished, path))
end

-- Roots of other lists of packages go, unless an emulator uses one: it holds a lock beside it.
local function remove_outdated(current)
  local roots, used = {}, { [current] = true }
  for _, name in ipairs(fs.list(cache()) or {}) do
    local root, user = name:match("^(machine%-%w+%-%x+)(%.?.*)$")
    local lock = root and user ~= "" and fs.lock(cache() .. "/" .. name)
    if root and user == "" then
      roots[#roots + 1] = name
    elseif lock then
      fs.remove(cache() .. "/" .. name)
      lock:close()
    elseif root then
      used[root] = true
    end
  end
  for _, root in ipairs(roots) do
    if not used[root] then fs.remove(cache() .. "/" .. root, { recursive = true }) end
  end
end

local function ready(name, user, packages, say)
  local path = cache() .. "/" .. name
  if not fs.stat(path) then build(path, packages, say) end
  local use = fail.check(fs.lock(("%s.%s"):format(path, user)))
  remove_outdated(name)
  return path, use
end

-- work(say), of which the last word is repeated as long as it goes on.
local function aloud(say, work)
  if not say then return work(function() end) end
  local last = "looking for a Debian root"
  local voice = task.spawn(function()
    while true do
      task.sleep(debian.BREATH)
      say(last)
    end
  end)
  local guard <close> = setmetatable({}, { __close = function() voice:cancel() end })
  return work(function(text)
    last = text
    say(text)
  end)
end

-- Waits for other processes that make one, and makes it where they did not.
local function await(name, user, packages, say)
  local deadline, told = task.now() + PATIENCE, false
  while true do
    local lock, why, code = fs.lock(cache() .. "/machine.lock")
    if lock then
      local held <close> = lock
      return ready(name, user, packages, say)
    elseif code ~= "locked" or task.now() > deadline then
      error(fail { code == "locked" and "another process has been making a Debian root for too long" or why, code = code })
    end
    if not told then say("another process makes a Debian root") end
    told = true
    task.sleep(QUIET)
  end
end

--- The folder of a root with what a machine has; made when it is not there. It stays until what is returned second is closed.
-- `user` tells emulators apart; `say(text)` hears of the progress.
function debian.root(user, say)
  local packages = debian.MACHINE
  local name = ("machine-%s-%s"):format(SUITE, crypto.sha256(SUITE .. " " .. packages):sub(1, 12))
  local program = process.run { argv = { "/bin/sh", "-c", "command -v debootstrap" }, timeout = 10 }
  if not fs.stat(cache() .. "/" .. name) and program.code ~= 0 then
    error(fail { "debootstrap is not installed, and there is no Debian root in " .. cache(), code = "absent",
      hint = "apt-get install debootstrap" })
  end
  fail.check(fs.mkdir(cache(), 493))
  return aloud(say, function(tell) return await(name, user, packages, tell) end)
end

return debian
